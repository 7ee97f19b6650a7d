"""``python -m sparsebench``."""

import os


def main() -> None:
    """Run the command line with one BLAS thread: parallelism is across trials."""
    from sparsebench.system.processes import THREADS
    from sparsebench.system.stopping import stoppable

    os.environ.update(THREADS)
    with stoppable():  # while packages are imported, too
        from sparsebench.cli import run

        run()


if __name__ == "__main__":
    main()
