"""What workers on Linux are copies of: a process that has loaded all that they need.

A page of memory that nobody writes to is then there once, however many workers there are. It has
one thread, and has solved nothing of a run. To be imported by a server of `multiprocessing` only.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress

from sparsebench.system.processes import THREADS, end_with_parent

end_with_parent()  # and its copies with it
os.environ.update(THREADS)  # before numpy is imported

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import scipy.special  # noqa: E402, F401
from numba.core import event  # noqa: E402

from sparsebench.registry import choose_algorithms, is_ours  # noqa: E402
from sparsebench.run.worker import KERNELS, compile_one  # noqa: E402


class _Absent(BaseException):
    """Raised where a kernel would have to be compiled."""


class _Refusal(event.Listener):
    """Lets nothing be compiled here, one kernel after the other: the workers do that at once."""

    def on_start(self, _: event.Event) -> None:
        raise _Absent

    def on_end(self, _: event.Event) -> None:
        pass


with suppress(Exception):  # what goes wrong here goes wrong in a worker, where it is told
    for chosen in choose_algorithms(os.environ[KERNELS]):
        if all(is_ours(entry) for entry in chosen.registered()):
            with suppress(_Absent), event.install_listener("numba:compile", _Refusal()):
                compile_one(chosen)
# A copy of this state would give every worker the same numbers.
os.register_at_fork(after_in_child=np.random.seed)
gc.collect()
gc.freeze()  # or the next collection would write to every page that holds an object
