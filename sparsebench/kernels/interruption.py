"""How a compiled loop sees that it was interrupted, by Ctrl-C or by the end of its time limit."""

from __future__ import annotations

from numba import njit, types

# Of CPython's interface, by name, so that the compiled code can be cached.
_check_signals = types.ExternalFunction("PyErr_CheckSignals", types.int32())
_raised = types.ExternalFunction("PyErr_Occurred", types.uintp())
_clear = types.ExternalFunction("PyErr_Clear", types.void())
_this_thread = types.ExternalFunction("PyThread_get_thread_ident", types.uintp())
_raise_later = types.ExternalFunction(
    "PyThreadState_SetAsyncExc", types.int32(types.uintp, types.uintp)
)


@njit(cache=True)
def interrupted():
    """Whether a signal's handler raised: the loop returns, whatever it has, and it is raised then.

    Some 6 ns. The loop returns in order instead of raising, since compiled code that raises never
    frees its arrays.
    """
    if _check_signals() == 0:
        return False
    _raise_later(_this_thread(), _raised())
    _clear()
    return True
