"""The options that commands share, and how the texts of options are read."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.errors import InputError, check_whole, nearest_name
from sparsebench.experiments.levels import NEARLY_ALL
from sparsebench.report import console
from sparsebench.system.resources import default_workers

if TYPE_CHECKING:
    from sparsebench.registry import Choice, ProblemChoice
    from sparsebench.run.shards import Share
    from sparsebench.statistics.measures import Success

# The largest size or number of trials that is taken.
LARGEST = 1_000_000


def _hush(quiet: bool) -> bool:
    console.news.quiet = quiet
    return quiet


def _keep_apart(as_json: bool) -> bool:
    console.out.stderr = as_json
    return as_json


Algorithms = Annotated[
    list[str] | None,
    typer.Option(
        "-a",
        "--algorithms",
        metavar="PATTERNS",
        help="Which algorithms, with options in brackets; "
        "may be given several times, e.g. -a 'omp,htp,sea*' -a 'iht[step=1/L,max_iter=500]'.",
    ),
]
ProblemText = Annotated[
    str | None,
    typer.Option(
        "-p", "--problem", metavar="NAME", help="Which problem, e.g. 'deconvolution[width=3]'."
    ),
]
Preset = Annotated[str, typer.Option(help="quick, default, family or paper.")]
Size = Annotated[int | None, typer.Option("--n", help="Atoms (columns of the dictionary).")]
Measurements = Annotated[
    int | None,
    typer.Option("--m", help="Measurements; by default what the problem says: n, n/factor or n/2."),
]
Seed = Annotated[int, typer.Option(help="Root seed.")]
Workers = Annotated[
    int | None, typer.Option("-j", "--jobs", help="Processes; by default one a core.")
]
# As --plugin, made absolute before a plug-in can change the working directory.
Out = Annotated[
    Path, typer.Option("-o", "--out", resolve_path=True, help="Folder for all that a run writes.")
]
RESULTS = Path("results")
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        resolve_path=True,
        help="A Python file with your own functions (A, y, k) -> x. Their version, part of the key "
        "of their rows, is what the file holds, the modules that it imports from its folder and "
        "the files that a text in them names; not what it reads or imports otherwise.",
    ),
]
SuccessText = Annotated[
    str | None,
    typer.Option(
        "--success",
        metavar="MEASURE",
        help="What counts as a success: exact (the support, by default), no_false, no_missed, or a "
        "measure and its level, as 'f1>=.9', 'relative_error<1e-3', 'relative_error<2*noise', "
        "'nmse<-40', 'near_1<=.1'.",
    ),
]
Level = Annotated[
    float | None,
    typer.Option(help="The success rate whose k is found beside that of 0.5, instead of 0.95."),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        help="Seconds that a solve may compute or wait before it counts as failed; those in which "
        "the machine does other things do not count. Drawing an instance may take as long, or a "
        "minute; a dictionary that all trials share, an hour."
    ),
]
Retry = Annotated[
    str | None,
    typer.Option(
        metavar="STATUSES",
        help="Compute rows of these statuses anew: time-out, error, or both with a comma; older: "
        "those computed before all that a row tells today was recorded.",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Compute the I-th of N parts only, e.g. 2/8, in a folder of its own (--out), and draw "
        "nothing: `merge` makes one folder of all parts. A diagram is divided by curves, an "
        "algorithm at an m each, since its rows decide where the next are, with --grid, too; "
        "everything else by trials. Parts beyond their number have nothing to do.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu (compiled kernels), cuda, cuda:1 or torch-cpu (their torch twins, many problems "
        "at once), or auto. Rows of a device are kept apart from those of the cpu."
    ),
]
Precision = Annotated[str, typer.Option(help="float64; on a device also float32.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=_hush, help="Say no progress, only warnings and what went wrong."
    ),
]

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_keep_apart,
        help="Print the rows of the CSV as JSON instead of a table; all else is said on standard "
        "error.",
    ),
]


def preset_named(known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the settings of a command's preset."""
    if name not in known:
        raise InputError(nearest_name(name, known, "preset"))
    return known[name]


def load_files(plugin: list[Path] | None) -> None:
    """Load the files of plug-ins, and print their warnings."""
    if not plugin:
        return
    from sparsebench.registry import load_plugin

    for path in plugin:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_plugin(path)
        for warning in caught:
            console.err.print(f"warning: {warning.message}", soft_wrap=True)


def wanted_algorithms(
    patterns: list[str] | None,
    plugin: list[Path] | None,
    usual: str,
    problem: ProblemChoice | None = None,
) -> list[Choice]:
    """Return the chosen algorithms: by default the usual ones and whatever the plug-ins add.

    Of the usual ones, those that are for real numbers are left out where the problem is complex.
    """
    if patterns:
        return algorithms_named(patterns)
    from sparsebench.registry import load_plugin

    own = [name for path in plugin or () for name in load_plugin(path)]
    chosen = algorithms_named([usual, *own])
    if problem is None:
        return chosen
    from sparsebench.problems import is_complex

    if not is_complex(problem):
        return chosen
    able = [one for one in chosen if one.complex_numbers]
    if len(able) < len(chosen):
        left_out = ", ".join(one.label for one in chosen if one not in able)
        console.news.print(
            f"{problem.label} is complex: without {left_out}, for real numbers only", soft_wrap=True
        )
    return able


def algorithms_named(patterns: str | list[str]) -> list[Choice]:
    """Return the algorithms that patterns select; the first call loads all of them."""
    from sparsebench import solvers as solvers  # registers them
    from sparsebench.registry import choose_algorithms

    return choose_algorithms(patterns)


def problem_named(text: str, given: dict[str, Any] | None = None) -> ProblemChoice:
    """Return the problem that a text names; the first call loads all of them."""
    from sparsebench import problems as problems  # registers them
    from sparsebench.registry import choose_problem

    with warnings.catch_warnings(record=True) as caught:  # of a matrix that is read
        warnings.simplefilter("always")
        chosen = choose_problem(text, given)
    for warning in caught:
        console.err.print(f"warning: {warning.message}", soft_wrap=True)
    return chosen


def success_named(text: str | None) -> Success:
    """Read what counts as a success, by default the exact support."""
    from sparsebench.statistics import measures

    return measures.EXACT if text is None else measures.read_success(text)


def success_rate(level: float | None) -> float:
    """Check the success rate whose k is looked for, by default 0.95."""
    if level is not None and not 0 < level < 1:
        raise InputError(f"--level is a success rate between 0 and 1, not {level}")
    return NEARLY_ALL if level is None else level


def check_success(success: Success, problem: ProblemChoice) -> None:
    """Refuse a level in units of a noise that the problem has not."""
    from sparsebench.run import successes

    successes.check_success(success, problem)


def atoms(n: int | None, problem: ProblemChoice, default: int) -> int:
    """Check a number of atoms, by default that of the problem's own matrix or of the preset."""
    from sparsebench.problems import stated_atoms

    own = stated_atoms(problem)
    if own is not None and n not in (None, own):
        raise InputError(f"{problem.label} has {own} atoms: leave out --n, or say --n {own}")
    return at_least_one("--n", n, default if own is None else own)


def possible_measurements(ms: list[int], problem: ProblemChoice, n: int) -> list[int]:
    """Return those m of a preset that a problem with a matrix of its own can have."""
    from sparsebench.problems import default_measurements, is_fixed, stated_atoms

    if stated_atoms(problem) is None:
        return ms
    rows = default_measurements(problem, n)
    return [rows] if is_fixed(problem) else [m for m in ms if m <= rows] or [rows]


def possible_sparsities(ks: list[int], problem: ProblemChoice, m: int, n: int) -> list[int]:
    """Return those k of a preset that a problem with a matrix of its own can have."""
    from sparsebench.problems import stated_atoms

    return ks if stated_atoms(problem) is None else [k for k in ks if k <= min(m, n)] or [1]


def measurements(m: int | None, problem: ProblemChoice, n: int) -> int:
    """Check a number of measurements, by default what the problem says."""
    from sparsebench.problems import default_measurements

    return at_least_one("--m", default_measurements(problem, n) if m is None else m)


def check_device(name: str, precision: str) -> None:
    """Refuse a device that is not there, and a precision that it has not."""
    from sparsebench.registry import devices

    devices.check_precision(devices.resolve(name), precision)


def placed(chosen: list[Choice], device: str, precision: str) -> tuple[list[Choice], str]:
    """Return the algorithms as they run on a device, and which of the devices it is."""
    from sparsebench.registry import on_device

    return on_device(chosen, device, precision)


def at_least_one(option: str, value: int | None, default: int = 0) -> int:
    """Check a whole number, or its default where none is stated."""
    return check_whole(option, default if value is None else value, 1, LARGEST)


def positive_seconds(option: str, value: float) -> float:
    """Check a number of seconds."""
    if not 0 < value <= 1e6:
        raise InputError(f"{option} must be a positive number of seconds up to 1e6, not {value}")
    return value


def worker_count(jobs: int | None, option: str = "--jobs") -> int:
    """Return how many processes or threads are wanted: by default one a core."""
    return default_workers() if jobs is None else at_least_one(option, jobs)


def read_ratios(text: str) -> list[float]:
    """Read ``0.1,0.5,0.9`` or ``first:last:step``, whose decimals are added exactly."""
    try:
        if ":" in text:
            first, last, step = (Decimal(part) for part in text.split(":"))
            if not (0 < first <= last <= 1 and step > 0 and last - first <= LARGEST * step):
                raise ValueError
            count = int((last - first) // step) + 1
            values = [float(first + i * step) for i in range(count)]
        else:
            values = [float(part) for part in text.split(",")]
        if not all(0 < value <= 1 for value in values):
            raise ValueError
    except (ValueError, ArithmeticError):
        raise InputError(
            f"--ratios are m/n in (0, 1], as 0.1,0.5,0.9 or first:last:step, not {text!r}"
        ) from None
    return values


def read_whole_numbers(option: str, text: str) -> list[int]:
    """Read ``5,10,20`` or ``first:last:step``."""
    try:
        if ":" in text:
            first, last, *step = (int(part) for part in text.split(":"))
            run = range(first, last + 1, *step)
            if run.step < 0 or len(run) > LARGEST:
                raise ValueError
            values = list(run)
        else:
            values = [int(part) for part in text.split(",")]
        if not 0 < len(values) <= LARGEST:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{option} takes 5,10,20 or first:last:step, not {text!r}") from None
    return sorted(set(values))


def read_share(shard: str | None) -> Share | None:
    """Read ``2/8``."""
    if shard is None:
        return None
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", shard)
    number, count = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= count <= LARGEST:
        raise InputError(f"--shard takes I/N with 1 <= I <= N, e.g. 2/8, not {shard!r}")
    from sparsebench.run.shards import Share

    return Share(number, count)


def read_axis(
    x: str | None, xs: str | None, k: int | None, ks: str | None, success: str | None
) -> list[float]:
    """Read the values of an axis, and refuse what does not go with it."""
    if x is None:
        for name, value in (("--xs", xs), ("--k", k), ("--success", success)):
            if value is not None:
                raise InputError(f"{name} goes with --x: say --x snr, --x k or --x m")
        return []
    if x not in ("snr", "k", "m"):
        raise InputError(nearest_name(x, ("snr", "k", "m"), "--x"))
    if xs is None or ks is not None:
        raise InputError(f"say the values of {x} in --xs, and leave out --ks")
    if (k is None) != (x == "k"):
        raise InputError("say the sparsity in --k, or with --x k in --xs alone")
    if x != "snr":
        return list(map(float, read_whole_numbers("--xs", xs)))
    try:
        if ":" in xs:
            first, last, step = (Decimal(part) for part in xs.split(":"))
            if not (first <= last and step > 0 and last - first <= LARGEST * step):
                raise ValueError
            return [float(first + i * step) for i in range(int((last - first) // step) + 1)]
        return sorted({float(part) for part in xs.split(",")})
    except (ValueError, ArithmeticError):
        raise InputError(f"--xs takes 10,20,30 or first:last:step, not {xs!r}") from None


def read_statuses(retry: str | None) -> list[str]:
    """Read which rows are computed anew: of statuses a machine may be to blame for, or older."""
    statuses = [] if retry is None else retry.split(",")
    for one in statuses:
        if one not in ("time-out", "error", "older"):
            raise InputError(f"--retry takes time-out, error, older or several, not {retry!r}")
    return statuses
