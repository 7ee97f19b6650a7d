"""``python -m sparsebench``."""

import os


def main() -> None:
    """Run the command line with one BLAS thread: parallelism is across trials."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    from sparsebench.system import stoppable

    with stoppable():  # while numba is imported, too
        from sparsebench.cli import run

        run()


if __name__ == "__main__":
    main()
