"""The two main commands as functions: the same runs, rows and files, with objects for texts."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from sparsebench.errors import InputError
from sparsebench.notebook.objects import function_file, matrix_file
from sparsebench.notebook.results import Results

_Algorithms = str | Callable[..., Any] | Iterable[str | Callable[..., Any]] | None


def phase_transition(
    algorithms: _Algorithms = None,
    problem: Any = None,
    *,
    n: int | None = None,
    ratios: Sequence[float] | str | None = None,
    preset: str = "default",
    success: str | None = None,
    level: float | None = None,
    half_width: float | None = None,
    max_trials: int | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    jobs: int | None = None,
    plugins: Sequence[str | Path] = (),
    out: str | Path = "results",
) -> Results:
    """Draw the diagram: up to which sparsity does each algorithm recover the support?

    The command ``phase-transition``, whose rows and files these are: it computes what is not in the
    folder already.

    Parameters
    ----------
    algorithms : str, callable, or several of them
        Names and patterns as ``-a`` takes them, and functions ``(A, y, k, **options) -> x`` of this
        session; by default those of the preset. The rows of a function are keyed by its source and
        all that it uses.
    problem : str or array_like, shape (m, n)
        As ``-p`` takes it, or a matrix of one's own, of whose rows each trial draws some.
    n, ratios, preset, success, level, half_width, max_trials, seed, time_limit, jobs
        As the options of the command; `ratios` may be a list.
    plugins : sequence of path
        Plug-in files.
    out : str or Path
        The folder.

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    options = {
        "n": n,
        "ratios": ratios,
        "preset": preset,
        "success": success,
        "level": level,
        "half-width": half_width,
        "max-trials": max_trials,
    }
    common = {"seed": seed, "time-limit": time_limit, "jobs": jobs}
    given = algorithms, problem, ",subsample=rows", plugins, Path(out)
    return _run("phase-transition", options | common, *given)


def support_distance(
    algorithms: _Algorithms = None,
    problem: Any = None,
    *,
    n: int | None = None,
    m: int | None = None,
    ks: Sequence[int] | str | None = None,
    preset: str = "default",
    trials: int | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    jobs: int | None = None,
    plugins: Sequence[str | Path] = (),
    out: str | Path = "results",
) -> Results:
    """Draw the mean support distance of each algorithm against the sparsity k.

    The command ``support-distance``, as `phase_transition` is that of its name.

    Parameters
    ----------
    algorithms, problem, plugins, out
        As for `phase_transition`; a matrix is used whole.
    n, m, ks, preset, trials, seed, time_limit, jobs
        As the options of the command; `ks` may be a list.

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    options = {"n": n, "m": m, "ks": ks, "preset": preset, "trials": trials}
    common = {"seed": seed, "time-limit": time_limit, "jobs": jobs}
    return _run("support-distance", options | common, algorithms, problem, "", plugins, Path(out))


def _run(
    figure: str,
    options: dict[str, Any],
    algorithms: _Algorithms,
    problem: Any,
    of_matrix: str,
    plugins: Sequence[str | Path],
    out: Path,
) -> Results:
    """Run a command in this process; what it prints but its progress is left out."""
    words = [figure]
    for name, value in options.items():
        if value is not None:
            many = isinstance(value, Iterable) and not isinstance(value, str)
            words += [f"--{name}", ",".join(map(str, value)) if many else str(value)]
    patterns, files = _algorithms(algorithms, out / "functions")
    for pattern in patterns:
        words += ["--algorithms", pattern]
    for file in (*plugins, *files):
        words += ["--plugin", str(file)]
    if problem is not None:
        words += ["--problem", _problem(problem, of_matrix, out / "matrices")]
    words += ["--out", str(out)]
    from sparsebench.cli.application import app

    before = sys.argv
    sys.argv = ["sparsebench", *words]  # what the run is recorded by
    try:
        with threadpool_limits(1), contextlib.redirect_stdout(io.StringIO()):
            app(words, standalone_mode=False)
    except SystemExit:
        raise RuntimeError(f"the run was given up, see above: {shlex.join(words)}") from None
    except Exception as error:
        if hasattr(error, "format_message"):  # of an option, by whichever click typer brings
            raise InputError(error.format_message()) from None
        raise
    finally:
        sys.argv = before
    return Results(out, figure)


def _algorithms(given: _Algorithms, folder: Path) -> tuple[list[str], list[Path]]:
    """Return patterns, and the files of the functions among them."""
    if given is None:
        return [], []
    several = [given] if isinstance(given, str) or callable(given) else list(given)
    patterns, files = [], []
    for one in several:
        if isinstance(one, str):
            patterns.append(one)
        elif callable(one):
            files.append(function_file(one, folder))
            patterns.append(one.__name__)
        else:
            raise InputError(f"an algorithm is a name or a function, not {type(one).__name__}")
    return patterns, files


def _problem(given: Any, of_matrix: str, folder: Path) -> str:
    """Return the text of a problem; a matrix becomes a file."""
    if isinstance(given, str):
        return given
    path = matrix_file(given, folder)
    if set("[],=") & set(str(path)):
        raise InputError(f"the folder {folder} has one of [ ] , = in its name: choose another")
    return f"matrix[file={path}{of_matrix}]"
