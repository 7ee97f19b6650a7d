"""The command line."""

from __future__ import annotations

import io
import shlex
import sqlite3
import sys
import textwrap
import warnings
from dataclasses import asdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from sparsebench import __version__, problems, solvers
from sparsebench.environment import describe
from sparsebench.experiments import presets
from sparsebench.experiments.exploration import Workload, check_explorations, explore
from sparsebench.experiments.instance import solutions
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.sampling import NOT_MONOTONE
from sparsebench.experiments.study import Study
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.experiments.timing import choose_workloads, usual_algorithms
from sparsebench.experiments.timing import run as run_timing
from sparsebench.registry import (
    FAMILIES,
    Choice,
    choose_algorithms,
    choose_problem,
    devices,
    load_plugin,
    nearest_name,
    on_device,
    split,
)
from sparsebench.run.engine import Report, compile_all
from sparsebench.run.engine import run as run_experiment
from sparsebench.run.pool import WorkerDied
from sparsebench.run.progress import Doing
from sparsebench.run.store import Store, plain_columns
from sparsebench.run.worker import first_coherence
from sparsebench.seeding import digest
from sparsebench.statistics import APPROXIMATE, AT_LEAST
from sparsebench.system.folders import check_writable, settle_matplotlib, written_whole
from sparsebench.system.resources import default_workers
from sparsebench.system.stopping import when_stopped
from sparsebench.types import InputError, Status, check_whole

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="An honest comparison of sparse-recovery algorithms. "
    "Results go to a folder (`--out`, by default `results/`); the same command continues a run "
    "that was stopped, and computes nothing twice.",
)
# The largest size or number of trials that is taken.
_LARGEST = 1_000_000
# Names and paths are no markup. In a file or a pipe a sentence is a line, and a table that cannot
# be cut into parts is as wide as it is.
_PIPED = sys.stdout is None or not sys.stdout.isatty()  # None where it was closed
_out = Console(markup=False, emoji=False, highlight=False, soft_wrap=_PIPED)
_wide = Console(markup=False, emoji=False, highlight=False, width=1000 if _PIPED else None)
_err = Console(stderr=True, markup=False, emoji=False, highlight=False)
# Progress: what --quiet leaves out.
_news = Console(stderr=True, markup=False, emoji=False, highlight=False)


def _hush(quiet: bool) -> bool:
    _news.quiet = quiet
    return quiet


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
Preset = Annotated[str, typer.Option("--preset", help="quick, default, family or paper.")]
Size = Annotated[int | None, typer.Option("--n", help="Atoms (columns of the dictionary).")]
Measurements = Annotated[
    int | None,
    typer.Option("--m", help="Measurements; by default what the problem says: n, n/factor or n/2."),
]
Seed = Annotated[int, typer.Option("--seed", help="Root seed.")]
Workers = Annotated[
    int | None, typer.Option("-j", "--jobs", help="Processes; by default one a core.")
]
# As --plugin, made absolute before a plug-in can change the working directory.
Out = Annotated[
    Path, typer.Option("-o", "--out", resolve_path=True, help="Folder for all that a run writes.")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        resolve_path=True,
        help="A Python file with your own functions (A, y, k) -> x. What the file contains is "
        "their version, part of the key of their rows; what it reads or imports is not.",
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        "--time-limit",
        help="Seconds of CPU time that a solve may use before it counts as failed; one that waits "
        "instead may take ten times as long. Drawing an instance may take as long, or a minute; a "
        "dictionary that all trials share, an hour.",
    ),
]
Retry = Annotated[
    str | None,
    typer.Option(
        "--retry",
        metavar="STATUSES",
        help="Compute rows of these statuses anew: time-out, error, or time-out,error.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="cpu (compiled kernels), cuda, cuda:1 or torch-cpu (their torch twins, many problems "
        "at once), or auto. Rows of a device are kept apart from those of the cpu.",
    ),
]
Precision = Annotated[str, typer.Option("--precision", help="float64; on a device also float32.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=_hush, help="Say no progress, only warnings and what went wrong."
    ),
]


def run() -> None:
    """Run the command line; every expected trouble is one line on standard error."""
    settle_matplotlib()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or file that cannot show "±"
        sys.stdout.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except InputError as error:
        _stop(f"error: {error}", 2)
    except MemoryError as error:
        _stop(f"error: out of memory: {error}", 1)
    except WorkerDied as error:
        _stop(f"error: {error}; with -j 1 there are none", 1)
    except sqlite3.Error as error:
        _stop(f"error: the store failed: {error}; finished blocks are kept", 1)
    except OSError as error:
        _stop(f"error: {error}", 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        _out.print(f"sparsebench {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command(
    "phase-transition",
    epilog="""
**Examples**

`python -m sparsebench phase-transition --preset quick`

`python -m sparsebench phase-transition -a 'omp,sea' -a 'htp[step=1.8/L]' --ratios 0.3,0.5,0.7`

`python -m sparsebench phase-transition -a 'omp,homotopy' --ratios 0.1:0.9:0.05`

`python -m sparsebench phase-transition --plugin my_algorithm.py -a 'omp,my_algorithm'`
""",
)
def phase_transition(
    algorithms: Algorithms = None,
    problem: ProblemText = None,
    preset: Preset = "default",
    n: Size = None,
    ratios: Annotated[
        str | None,
        typer.Option(
            help="Undersampling ratios m/n, e.g. 0.1,0.5,0.9 or first:last:step, the last one "
            "included where a step meets it; m is the nearest whole number (even between two), "
            "at least 1."
        ),
    ] = None,
    half_width: Annotated[
        float | None, typer.Option(help="Target half-width of every interval, in units of k.")
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(
            help="Most trials (dictionaries) an algorithm and m; each is solved at up to six k."
        ),
    ] = None,
    grid: Annotated[
        int,
        typer.Option(
            metavar="TRIALS",
            help="Instead of sampling where the information is: this many trials "
            "at every k, for checking.",
        ),
    ] = 0,
    seed: Seed = 0,
    jobs: Workers = None,
    out: Out = Path("results"),
    plugin: Plugins = None,
    time_limit: TimeLimit = presets.TIME_LIMIT,
    retry: Retry = None,
    device: Device = "cpu",
    precision: Precision = "float64",
    quiet: Quiet = False,
) -> None:
    """Draw the diagram: up to which sparsity does each algorithm recover the support?"""
    chosen = _preset(presets.PHASE_TRANSITION, preset)
    _load_plugins(plugin)
    n = _at_least_one("--n", chosen["n"] if n is None else n)
    parts = chosen["ratios"] if ratios is None else _ratios(ratios)
    share_of_m = chosen["share_of_m"] and half_width is None
    unit = 1 if share_of_m else n
    half_widths = {level: width * unit for level, width in chosen["half_widths"].items()}
    if half_width is not None:
        if not half_width > 0:
            raise InputError(f"--half-width must be positive, not {half_width}")
        half_widths = dict.fromkeys(half_widths, half_width)
    if not 0 <= grid <= _LARGEST:
        raise InputError(f"--grid is a number of trials up to {_LARGEST:,}, not {grid}")
    placed, device = on_device(_algorithms(algorithms, plugin, chosen), device, precision)
    experiment = PhaseTransition(
        algorithms=placed,
        problem=choose_problem(problem or chosen["problem"]),
        n=n,
        ms=sorted({max(1, round(part * n)) for part in parts}),
        half_widths=half_widths,
        max_trials=_at_least_one(
            "--max-trials", chosen["max_trials"] if max_trials is None else max_trials
        ),
        grid=grid,
        seed=seed,
        time_limit=_positive("--time-limit", time_limit),
        share_of_m=share_of_m,
    )
    coherences = [
        first_coherence(experiment.problem, m, n, seed, experiment.time_limit)
        for m in experiment.ms
    ]
    report = _run(experiment, out, jobs, plugin, device, retry)
    thresholds = _told(experiment.thresholds(), experiment.algorithms)
    _write_csv(_traced(thresholds, experiment.recipe()), out / "thresholds.csv")
    _write_csv(experiment.cells(), out / "cells.csv")
    from sparsebench.report import figures

    drawn = figures.draw(out / "thresholds.csv", out)
    for level in (0.95, 0.5):
        _print_thresholds(thresholds, level, experiment)
    _print_stops(thresholds, experiment)
    _print_savings(thresholds)
    _out.print(
        "mutual coherence of the first dictionaries: "
        + ", ".join(_number(c, ".2f") or "not drawn" for c in coherences)
    )
    _print_report(report, [*drawn, out / "thresholds.csv", out / "cells.csv"], out)


@app.command(
    "support-distance",
    epilog="""
**Examples**

`python -m sparsebench support-distance --preset quick`

`python -m sparsebench support-distance -p 'deconvolution[width=2,snr=40]' --ks 5:50:5`

`python -m sparsebench support-distance -p 'super-resolution[factor=4]' --ks 5:40:5`

`python -m sparsebench support-distance -p gaussian --m 250 --ks 20,40,60 -a 'omp,sea'`
""",
)
def support_distance(
    algorithms: Algorithms = None,
    problem: ProblemText = None,
    preset: Preset = "default",
    n: Size = None,
    m: Measurements = None,
    ks: Annotated[
        str | None, typer.Option(help="Sparsities, e.g. 5,10,20 or first:last:step.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials at each k.")] = None,
    seed: Seed = 0,
    jobs: Workers = None,
    out: Out = Path("results"),
    plugin: Plugins = None,
    time_limit: TimeLimit = presets.TIME_LIMIT,
    retry: Retry = None,
    device: Device = "cpu",
    precision: Precision = "float64",
    quiet: Quiet = False,
) -> None:
    """Draw the mean support distance of each algorithm against the sparsity k."""
    chosen = _preset(presets.SUPPORT_DISTANCE, preset)
    _load_plugins(plugin)
    n = _at_least_one("--n", chosen["n"] if n is None else n)
    generator = choose_problem(problem or chosen["problem"])
    if m is None:
        m = problems.default_measurements(generator, n)
    placed, device = on_device(_algorithms(algorithms, plugin, chosen), device, precision)
    experiment = SupportDistance(
        algorithms=placed,
        problem=generator,
        n=n,
        m=_at_least_one("--m", m),
        ks=_whole_numbers("--ks", ks) if ks else chosen["ks"],
        trials=_at_least_one("--trials", chosen["trials"] if trials is None else trials),
        seed=seed,
        time_limit=_positive("--time-limit", time_limit),
    )
    for k in experiment.ks:
        problems.check_sizes(m, n, k)
    coherence = first_coherence(generator, experiment.m, n, seed, experiment.time_limit)
    report = _run(experiment, out, jobs, plugin, device, retry)
    distances = _told(experiment.distances(), experiment.algorithms)
    _write_csv(_traced(distances, experiment.recipe()), out / "distances.csv")
    from sparsebench.report import figures

    drawn = figures.draw(out / "distances.csv", out)
    _print_distances(distances, experiment)
    which = "of the dictionary" if problems.is_fixed(generator) else "of the first dictionary"
    _out.print(f"mutual coherence {which}: {_number(coherence, '.4f') or 'not drawn'}")
    _print_report(report, [*drawn, out / "distances.csv"], out)


@app.command(
    "instance",
    epilog="""
**Examples**

`python -m sparsebench instance`

`python -m sparsebench instance -p 'deconvolution[width=3,snr=30]' --k 10 -a 'omp,sea,ridge'`

`python -m sparsebench instance -p 'super-resolution[factor=4]' --trial 3`
""",
)
def instance(
    algorithms: Algorithms = None,
    problem: ProblemText = None,
    n: Size = None,
    m: Measurements = None,
    k: Annotated[int | None, typer.Option("--k", help="Non-zeros of x*.")] = None,
    trial: Annotated[int, typer.Option(help="Which instance.")] = 0,
    window: Annotated[
        int | None,
        typer.Option(help="Atoms in the region that is enlarged, the one with most spikes."),
    ] = None,
    seed: Seed = 0,
    out: Out = Path("results"),
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Draw one instance: the signal, the true spikes and what each algorithm finds."""
    preset = presets.INSTANCE
    _load_plugins(plugin)
    generator = choose_problem(problem or preset["problem"])
    n = _at_least_one("--n", preset["n"] if n is None else n)
    m = problems.default_measurements(generator, n) if m is None else m
    k = preset["k"] if k is None else k
    problems.check_sizes(m, n, k)
    problems.check_seed(seed)
    chosen = _algorithms(algorithms, plugin, preset)
    sizes = {
        "n": n,
        "m": m,
        "k": k,
        "trial": check_whole("--trial", trial, 0, 10**9),
        "seed": seed,
        "window": check_whole(
            "--window", min(preset["window"], n) if window is None else window, 1, n
        ),
    }
    problems.draw_dictionary(generator, m, n, sizes["trial"], seed)  # refuses sizes it cannot have
    _check_out(out)  # what stands in the way is said before anything runs
    compile_all(chosen, _news)
    found = solutions(generator, chosen, **sizes)
    recipe = {
        "experiment": "instance",
        "problem": generator.recipe,
        "algorithms": [one.recipe for one in chosen],
        **sizes,
    }
    _write_csv(_traced(found, recipe), out / "instance.csv")
    from sparsebench.report import figures

    written = [*figures.draw(out / "instance.csv", out), out / "instance.csv"]
    _print_solutions(found)
    _out.print("wrote " + ", ".join(str(path) for path in written), soft_wrap=True)


@app.command(
    "exploration",
    epilog="""
**Examples**

`python -m sparsebench exploration`

`python -m sparsebench exploration -a 'sea[max_iter=10000],els+sea[step=18/L]' --trials 30`
""",
)
def exploration(
    algorithms: Algorithms = None,
    trials: Annotated[int | None, typer.Option(help="Instances of each problem.")] = None,
    seed: Seed = 0,
    jobs: Workers = None,
    out: Out = Path("results"),
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Draw how many supports an exploration meets, and its best residual, as iterations pass."""
    preset = presets.EXPLORATION
    _load_plugins(plugin)
    chosen = _algorithms(algorithms, None, preset)
    workloads = [Workload(*sizes) for sizes in preset["workloads"]]
    trials = _at_least_one("--trials", preset["trials"] if trials is None else trials)
    workers = default_workers() if jobs is None else _at_least_one("--jobs", jobs)
    problems.check_seed(seed)
    check_explorations(chosen, trials)
    _check_out(out)  # what stands in the way is said before anything runs
    when_stopped("stopped; the same command begins anew")
    compile_all(chosen, _news)
    with Doing(_news, "exploring") as doing:
        found = explore(
            chosen,
            workloads,
            trials=trials,
            seed=seed,
            workers=workers,
            plugins=[str(path) for path in plugin or ()],
            report=lambda done, total: doing.update(f"exploring: {done} of {total} instances"),
        )
    recipe = {
        "experiment": "exploration",
        "workloads": [asdict(workload) for workload in workloads],
        "algorithms": [one.recipe for one in chosen],
        "trials": trials,
        "seed": seed,
    }
    _write_csv(_traced(found, recipe), out / "exploration.csv")
    from sparsebench.report import figures

    written = [*figures.draw(out / "exploration.csv", out), out / "exploration.csv"]
    row: Any
    for row in found.drop_duplicates(["problem", "algorithm"]).itertuples():
        if row.failures:
            _out.print(f"{row.algorithm}: {row.failures} of {trials} solves failed: {row.problem}")
    _out.print("wrote " + ", ".join(str(path) for path in written), soft_wrap=True)


@app.command(
    "timing",
    epilog="""
**Examples**

`python -m sparsebench timing`

`python -m sparsebench timing --workload gaussian -a 'omp,ista,sklearn-*,spams-*'`

`python -m sparsebench timing --workload batch --repeats 3 --budget 60`
""",
)
def timing(
    algorithms: Algorithms = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "-w",
            "--workload",
            metavar="PATTERNS",
            help="gaussian, gaussian-2000, deconvolution, batch; by default all.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds in which every algorithm has a turn.")] = 10,
    budget: Annotated[
        float, typer.Option(help="Seconds an algorithm may spend on a workload.")
    ] = 10.0,
    seed: Seed = 0,
    out: Out = Path("results"),
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Time the algorithms, and the published packages that are installed, on one thread."""
    _load_plugins(plugin)
    chosen = _algorithms(algorithms, plugin, {"algorithms": ",".join(usual_algorithms())})
    workloads = choose_workloads(workload or ())
    problems.check_seed(seed)
    _check_out(out)  # what stands in the way is said before anything is timed
    when_stopped("stopped; the same command begins anew")
    rows = run_timing(
        chosen,
        workloads,
        repeats=_at_least_one("--repeats", repeats),
        budget=_positive("--budget", budget),
        seed=seed,
        console=_news,
    )
    _write_csv(rows, out / "timing.csv")
    for part in workloads:
        _print_timing(rows[rows["workload"] == part.name])
    _out.print(
        f"products of matrices run at {rows['dgemm_rate'].iloc[0] / 1e9:.1f} Gflop/s on one thread "
        f"of {describe()['processor']}; the floor is the stated flops at that rate",
        soft_wrap=True,
    )
    _out.print(f"wrote {out / 'timing.csv'}", soft_wrap=True)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="algorithms, problems, presets or all.")] = "all",
    plugin: Plugins = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/algorithms.md.")
    ] = False,
) -> None:
    """List algorithms, problems and presets, with their options and what they are told."""
    _load_plugins(plugin)
    if markdown:
        _out.print(algorithm_table(), soft_wrap=True)
        return
    kinds = ("all", "algorithms", "problems", "presets")
    if what not in kinds:
        raise InputError(nearest_name(what, kinds, "list"))
    if what in ("all", "algorithms"):
        _print_entries(
            "algorithms",
            [
                (
                    entry.name if entry.installed else f"{entry.name} (needs {entry.requires})",
                    f"{entry.family}; told {', '.join(entry.told)}"
                    + (f"; options {_options_text(entry.options)}" if entry.options else ""),
                    entry.summary,
                    entry.source,
                )
                for entry in solvers.algorithms()
            ],
        )
        lacking: dict[str, list[str]] = {}
        for entry in solvers.algorithms():
            if entry.needs:
                lacking.setdefault(entry.needs, []).append(entry.name)
        for needs, names in lacking.items():
            line = f"not installed: {', '.join(names)}: needs {needs}"
            _out.print(_wrap("", "  ").fill(line), soft_wrap=True)
    if what in ("all", "problems"):
        _print_entries(
            "problems",
            [
                (one.name, f"options {_options_text(one.options)}", one.summary, one.source)
                for one in problems.problems()
            ],
        )
    if what in ("all", "presets"):
        _print_entries(
            "presets",
            [
                (
                    f"{command} --preset {name}",
                    f"algorithms {', '.join(split(settings['algorithms']))}",
                    _options_text({k: v for k, v in settings.items() if k != "algorithms"}),
                )
                for command, known in (
                    ("phase-transition", presets.PHASE_TRANSITION),
                    ("support-distance", presets.SUPPORT_DISTANCE),
                )
                for name, settings in known.items()
            ],
        )


def _wrap(first: str, next_ones: str) -> textwrap.TextWrapper:
    """Return what breaks a text into lines of the page, between words alone."""
    return textwrap.TextWrapper(
        width=_out.width,
        initial_indent=first,
        subsequent_indent=next_ones,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print_entries(title: str, entries: list[tuple[str, ...]]) -> None:
    """Print names, each with indented lines about it, wrapped between words."""
    _out.print(f"{title}:")
    wrap = _wrap("    ", "      ")
    for name, *about in entries:
        _out.print(f"\n{name}", soft_wrap=True)
        for text in filter(None, about):
            _out.print(wrap.fill(text), soft_wrap=True)
    _out.print()


def algorithm_table() -> str:
    """Return the Markdown table of the package's algorithms: what, told, start, cost, source."""
    lines = [
        "| algorithm | what it is | told | may continue another | flops an iteration | source |",
        "|---|---|---|---|---|---|",
    ]
    entries = [e for e in solvers.algorithms() if e.family != "plug-in"]
    for entry in sorted(entries, key=lambda e: FAMILIES.index(e.family)):
        cost = entry.cost.replace("**3", "³").replace("**2", "²").replace("*", "")
        what = entry.summary.rstrip(".").replace("|", "\\|")
        lines.append(
            f"| `{entry.name}` | {what} | {', '.join(entry.told)} "
            f"| {'yes' if entry.accepts('start') else ''} | {cost} | {entry.source} |"
        )
    return "\n".join(lines)


@app.command()
def status(out: Out = Path("results")) -> None:
    """Show what a folder of results holds."""
    with Store(out, writable=False) as store:
        table = Table(
            *("problem", "version", "seed", "algorithm", "version", "time limit"),
            *("rows", "exact", "failures", "time-outs", "core seconds"),
        )
        summary = store.summary()
        row: Any
        for row in summary.itertuples(index=False):
            table.add_row(
                str(row.problem),
                str(row.problem_version)[:8],
                str(row.seed),
                str(row.algorithm),
                str(row.algorithm_version)[:8],
                f"{row.time_limit:g} s",
                f"{row.rows:,}",
                f"{row.exact:,}",
                f"{row.failures:,}",
                f"{row.time_outs:,}",
                _number(row.seconds, ".1f"),
            )
        _print_whole(table)
        runs = store.runs()
        for run_row in runs.itertuples(index=False):
            ended = run_row.finished if isinstance(run_row.finished, str) else "did not finish"
            _out.print(
                f"run {run_row.id}: {run_row.started} to {ended}: {run_row.command}", soft_wrap=True
            )
        size = store.path.stat().st_size / 2**20
        _out.print(f"{store.path}: {int(summary['rows'].sum()):,} rows, {size:.1f} MiB")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to: .csv, .csv.gz or .parquet.")],
    out: Out = Path("results"),
) -> None:
    """Write every trial row of a folder of results to one file."""
    if not file.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise InputError(f"cannot write {file.name}: end its name in .csv, .csv.gz or .parquet")
    with Store(out, writable=False) as store:
        rows = plain_columns(store.frame())
    try:
        with written_whole(file) as part:
            if file.suffix == ".parquet":
                rows.to_parquet(part, index=False)
            else:
                rows.to_csv(part, index=False)
    except ImportError:
        raise InputError("parquet needs pyarrow: pip install pyarrow, or write .csv") from None
    except OSError as error:
        raise InputError(str(error)) from None
    _out.print(f"{file}: {len(rows):,} rows")


def _run(
    experiment: PhaseTransition | SupportDistance | Study,
    out: Path,
    jobs: int | None,
    plugin: list[Path] | None,
    device: str = "cpu",
    retry: str | None = None,
) -> Report:
    problems.check_seed(experiment.seed)
    statuses = _statuses(retry)
    workers = default_workers() if jobs is None else _at_least_one("--jobs", jobs)
    with Store(out) as store:
        when_stopped(
            f"stopped; finished blocks are kept in {store.path}; the same command continues"
        )
        try:
            return run_experiment(
                experiment,
                store,
                workers=workers,
                command=_command_line(sys.argv[1:]),
                environment=describe() | devices.describe(device),
                plugins=[str(path) for path in plugin or ()],
                console=_news,
                device=device,
                retry=statuses,
            )
        except WorkerDied as error:
            _stop(
                f"error: {error}; finished blocks are kept in "
                f"{store.path}; the same command continues, with -j 1 to see the culprit",
                1,
            )


def _check_out(out: Path) -> None:
    """Refuse a folder of results that cannot be written."""
    check_writable(out, "choose another folder with --out")


def _stop(message: str, code: int) -> NoReturn:
    _err.print(message, soft_wrap=True)
    raise SystemExit(code)


def _load_plugins(plugin: list[Path] | None) -> None:
    for path in plugin or ():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_plugin(path)
        for warning in caught:
            _err.print(f"warning: {warning.message}", soft_wrap=True)


def _algorithms(
    patterns: list[str] | None, plugin: list[Path] | None, preset: dict[str, Any]
) -> list[Choice]:
    """Return the chosen algorithms: by default the preset's and whatever the plug-ins add."""
    if patterns:
        return choose_algorithms(patterns)
    own = [name for path in plugin or () for name in load_plugin(path)]
    return choose_algorithms([preset["algorithms"], *own])


def _preset(known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in known:
        raise InputError(nearest_name(name, known, "preset"))
    return known[name]


def _ratios(text: str) -> list[float]:
    """Read ``0.1,0.5,0.9`` or ``first:last:step``, whose decimals are added exactly."""
    try:
        if ":" in text:
            first, last, step = (Decimal(part) for part in text.split(":"))
            if not (0 < first <= last <= 1 and step > 0 and last - first <= _LARGEST * step):
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


def _whole_numbers(option: str, text: str) -> list[int]:
    """Read ``5,10,20`` or ``first:last:step``."""
    try:
        if ":" in text:
            first, last, *step = (int(part) for part in text.split(":"))
            run = range(first, last + 1, *step)
            if run.step < 0 or len(run) > _LARGEST:
                raise ValueError
            values = list(run)
        else:
            values = [int(part) for part in text.split(",")]
        if not 0 < len(values) <= _LARGEST:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{option} takes 5,10,20 or first:last:step, not {text!r}") from None
    return sorted(set(values))


def _at_least_one(option: str, value: int) -> int:
    return check_whole(option, value, 1, _LARGEST)


def _positive(option: str, value: float) -> float:
    if not 0 < value <= 1e6:
        raise InputError(f"{option} must be a positive number of seconds up to 1e6, not {value}")
    return value


def _statuses(retry: str | None) -> list[str]:
    """Read which rows are computed anew: of statuses that a machine may be to blame for."""
    statuses = [] if retry is None else retry.split(",")
    for one in statuses:
        if one not in (Status.TIME_OUT, Status.ERROR):
            raise InputError(f"--retry takes time-out, error or time-out,error, not {retry!r}")
    return statuses


def _options_text(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _told(frame: pd.DataFrame, algorithms: list[Choice]) -> pd.DataFrame:
    """Add what each algorithm is told and its family."""
    by_label = {chosen.label: chosen for chosen in algorithms}
    return frame.assign(
        told=[",".join(by_label[label].told) for label in frame["algorithm"]],
        family=[by_label[label].family for label in frame["algorithm"]],
    )


def _traced(frame: pd.DataFrame, recipe: Any) -> pd.DataFrame:
    """Add what made the rows: the recipe's hash, the version and the command."""
    return frame.assign(
        recipe=digest(recipe), version=__version__, command=_command_line(_deciding(sys.argv[1:]))
    )


def _command_line(words: list[str]) -> str:
    """Return the command as text that any file can hold, whatever bytes a path is made of."""
    return ("sparsebench " + shlex.join(words)).encode("utf-8", "replace").decode()


def _deciding(words: list[str]) -> list[str]:
    """Leave out of a command line what does not decide its results."""
    unimportant = ("-o", "--out", "-j", "--jobs", "--retry")
    return [
        word
        for before, word in pairwise(["", *words])
        if word.partition("=")[0] not in unimportant and before not in unimportant
    ]


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with written_whole(path) as part:
        frame.to_csv(part, index=False, float_format="%.6g")


def _print_thresholds(thresholds: pd.DataFrame, level: float, experiment: PhaseTransition) -> None:
    cells = {}
    point: Any
    for point in thresholds[thresholds["level"] == level].itertuples():
        value = "< 1" if point.estimate < 1 else f"{point.estimate:.1f}"
        mark = "*" if point.half_width > experiment.targets(point.m)[level] else ""
        text = f"{value} ±{point.half_width:.1f}{mark}"
        cells[point.algorithm, point.m] = "none" if point.stopped == NOT_MONOTONE else text
    _print_table(
        f"k at which {level:.0%} of supports are recovered, ± half-width of the 95 % interval "
        f"({experiment.problem.label}, n = {experiment.n})",
        [chosen.label for chosen in experiment.algorithms],
        "m",
        experiment.ms,
        cells,
    )


def _print_table(
    title: str, rows: list[str], name: str, columns: list[int], cells: dict[Any, str]
) -> None:
    """Print a table of (row, column) cells, in as many parts as the terminal's width asks for."""
    _out.print(title)
    first = max(len("algorithm"), *(len(row) for row in rows)) + 4
    widest = max(len(cell) for cell in cells.values()) + 3
    each = max((_out.width - first) // widest, 1)
    for start in range(0, len(columns), each):
        part = columns[start : start + each]
        table = Table(Column("algorithm", overflow="fold"), box=box.ROUNDED)
        for column in part:
            table.add_column(f"{name} = {column}", justify="right", no_wrap=True)
        for row in rows:
            table.add_row(row, *(cells[row, column] for column in part))
        _out.print(table)


def _print_whole(table: Table) -> None:
    """Print a table that cannot be cut into parts: no cell loses a letter."""
    for column in table.columns:
        column.overflow = "fold"
    _wide.print(table)


def _print_solutions(solutions: pd.DataFrame) -> None:
    table = Table("algorithm", "support distance", "relative residual", "status", "message")
    row: Any
    for row in solutions.dropna(subset="status").drop_duplicates("series").itertuples():
        numbers = f"{row.support_distance:.2f}", f"{row.relative_residual:.1e}"
        table.add_row(row.series, *numbers, row.status, row.message)
    _print_whole(table)


def _print_stops(thresholds: pd.DataFrame, experiment: PhaseTransition) -> None:
    several = thresholds[thresholds["stopped"] == NOT_MONOTONE]
    if len(several):
        where = several.groupby("algorithm", sort=False)["m"].unique()
        _out.print(
            "none: the success rate falls, rises and falls again with k (tested below the point "
            "found): "
            + "; ".join(f"{name} at m = {', '.join(map(str, ms))}" for name, ms in where.items()),
            soft_wrap=True,
        )
    for kind, why in (
        (AT_LEAST, "cover more often than 95 %: success falls within about three k"),
        (APPROXIMATE, "are approximate: too few trials to see what rows of one trial share"),
    ):
        many = int((thresholds["coverage"] == kind).sum())
        if many:
            _out.print(f"{many} of {len(thresholds)} intervals {why}", soft_wrap=True)
    cells = zip(thresholds["m"], thresholds["level"], strict=True)
    wide = thresholds[
        thresholds["half_width"] > [experiment.targets(m)[level] for m, level in cells]
    ]
    wide = wide[wide["stopped"] != NOT_MONOTONE]
    if len(wide):
        reasons = ", ".join(sorted(set(wide["stopped"])))
        unit = " m" if experiment.share_of_m else ""
        targets = ", ".join(
            f"{width:g}{unit} at {level:.0%}" for level, width in experiment.half_widths.items()
        )
        _out.print(
            f"* {len(wide)} of {len(thresholds)} intervals are wider than their target "
            f"(half-width {targets}); reason: {reasons}"
        )


def _print_savings(thresholds: pd.DataFrame) -> None:
    cells = thresholds[thresholds["level"] == 0.95]
    solves, full = int(cells["trials"].sum()), int(cells["grid_solves"].sum())
    _out.print(
        f"{solves:,} solves; a full grid, 1000 at every k up to where fewer than one in a thousand "
        f"succeeds, would have taken {full:,}: {full / solves:.0f} times as many",
        soft_wrap=True,
    )


def _print_distances(distances: pd.DataFrame, experiment: SupportDistance) -> None:
    cells = {}
    point: Any
    for point in distances.itertuples():
        half_width = (point.upper - point.lower) / 2
        cells[point.algorithm, point.k] = f"{point.estimate:.2f} ±{half_width:.2f}"
    _print_table(
        f"mean support distance, ± half-width of the 95 % interval ({experiment.problem.label}, "
        f"m = {experiment.m}, n = {experiment.n}, {experiment.trials} trials)",
        [chosen.label for chosen in experiment.algorithms],
        "k",
        experiment.ks,
        cells,
    )


def _print_timing(rows: pd.DataFrame) -> None:
    """Print one workload's table: times a signal, then what was found, then what went wrong."""
    first = rows.iloc[0]
    _out.print(
        f"{first['workload']}: {first['problem']}, m = {first['m']}, n = {first['n']}, "
        f"k = {first['k']}; times of one signal with the Gram matrix at hand, or alone"
    )
    columns: dict[str, list[str]] = {
        "algorithm": list(rows["algorithm"]),
        "time": [_duration(value) for value in rows["seconds"]],
        "quartiles": [
            f"{_duration(lower)} .. {_duration(upper)}" if lower == lower else ""
            for lower, upper in zip(rows["lower_quartile"], rows["upper_quartile"], strict=True)
        ],
        "alone": [_duration(value) for value in rows["alone"]],
        "exact": [_number(value, ".2f") for value in rows["exact"]],
        "distance": [_number(value, ".3f") for value in rows["distance"]],
        "residual": [_number(value, ".0e") for value in rows["residual"]],
        "iterations": [_number(value, ".0f") for value in rows["iterations"]],
        "floor": [_duration(value) for value in rows["floor"]],
        "x floor": [_number(value, ".1f") for value in rows["over_floor"]],
        "x peer": [_number(value, ".2f") for value in rows["over_peer"]],
        "peer": list(rows["peer"]),
        "alone x peer": [_number(value, ".2f") for value in rows["alone_over_peer"]],
        "peer alone": list(rows["alone_peer"]),
        "family": list(rows["family"]),
        "turns": [str(value) for value in rows["turns"]],
        "signals": [str(value) for value in rows["signals"]],
    }
    _print_columns(columns)
    row: Any
    for row in rows[rows["errors"] > 0].itertuples():
        _out.print(f"{row.algorithm}: {row.errors} failed: {row.message}", soft_wrap=True)


def _print_columns(columns: dict[str, list[str]]) -> None:
    """Print columns in as many tables as the terminal's width asks for, each with the first."""
    (title, names), *rest = columns.items()
    widths = {key: 3 + max(len(text) for text in (key, *cells)) for key, cells in columns.items()}
    while rest:
        table, left = (
            Table(Column(title, overflow="fold"), box=box.ROUNDED),
            _out.width - widths[title] - 1,
        )
        shown = [names]
        while rest and (len(shown) == 1 or widths[rest[0][0]] <= left):
            key, cells = rest.pop(0)
            table.add_column(key, justify="right", no_wrap=True)
            left -= widths[key]
            shown.append(cells)
        for cells_of_row in zip(*shown, strict=True):
            table.add_row(*cells_of_row)
        _out.print(table)


def _duration(seconds: float) -> str:
    """Three digits with a unit: 41.2 µs, 3.08 ms, 12.0 s; nothing for NaN."""
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(1e6 * seconds)} µs" if seconds == seconds else ""


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _number(value: float, form: str) -> str:
    return format(value, form) if value == value else ""


def _print_report(report: Report, written: list[Path], out: Path) -> None:
    """Say what was computed, what failed, where the time went and what was written."""
    for label, statuses in report.statuses.items():
        failed = {s: c for s, c in statuses.items() if Status(s).failed}
        if failed:
            total = sum(statuses.values())
            counts = ", ".join(f"{count:,} {status}" for status, count in failed.items())
            _out.print(f"{label}: {counts} of {total:,} solves, counted as failures")
            for message, count in report.messages[label].most_common(3):
                _out.print(f"    {count:,} times: {message}")
    if any(statuses[Status.TIME_OUT] for statuses in report.statuses.values()):
        _out.print("the same command with --retry time-out computes the time-outs anew")
    if report.undrawn:
        total = report.computed + report.found
        _out.print(
            f"no instance could be drawn at all: the failures of all {total:,} rows are the "
            "problem's, and say nothing of the algorithms"
            if report.undrawn == total
            else f"{report.undrawn:,} of {total:,} rows are failures because the problem could not "
            "draw their instance",
            soft_wrap=True,
        )
    if report.computed:
        core_seconds = (report.wall - report.compiling) * report.workers
        shares = ", ".join(
            f"{name} {100 * seconds / core_seconds:.0f} %"
            for name, seconds in (
                ("instances", report.drawing),
                ("Gram and norms", report.deriving),
                ("solving", report.solving),
                ("overhead", report.overhead),
            )
        )
        kept = f", {report.found:,} rows were there" if report.found else ""
        _out.print(
            f"{report.computed:,} rows computed in {report.wall:.1f} s with {report.workers} "
            f"workers{kept} ({shares})"
        )
    else:
        _out.print(f"nothing to compute: all {report.found:,} rows were in {out / 'results.db'}")
    if written:
        _out.print("wrote " + ", ".join(str(path) for path in written), soft_wrap=True)


# Their commands belong to `app`.
from sparsebench import cli_encoders, cli_studies, cli_unrolling  # noqa: E402, F401
