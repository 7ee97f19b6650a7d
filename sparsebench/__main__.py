"""``python -m sparsebench``."""

import os
import sys


def main() -> None:
    """Run the command line with one BLAS thread: parallelism is across trials."""
    from sparsebench.system.processes import THREADS
    from sparsebench.system.stopping import stoppable

    os.environ.update(THREADS)
    with stoppable():  # while numba is imported, too
        from sparsebench.types import InputError

        try:
            from sparsebench.cli import run
        except InputError as error:  # no folder for compiled kernels
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        run()


if __name__ == "__main__":
    main()
