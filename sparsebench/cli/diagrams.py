"""The commands of the two main figures: the phase transition and the support distance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import InputError, check_seed, check_sizes
from sparsebench.experiments import presets
from sparsebench.experiments.levels import HALF, NEARLY_ALL

if TYPE_CHECKING:
    import pandas as pd

    from sparsebench.experiments.study import Point, Study
    from sparsebench.registry import Choice
    from sparsebench.statistics.measures import Success

Ratios = Annotated[
    str | None,
    typer.Option(
        help="Undersampling ratios m/n, e.g. 0.1,0.5,0.9 or first:last:step, the last one "
        "included where a step meets it; m is the nearest whole number (even between two), "
        "at least 1."
    ),
]
HalfWidth = Annotated[
    float | None, typer.Option(help="Target half-width of every interval, in units of k.")
]
MaxTrials = Annotated[
    int | None,
    typer.Option(
        help="Most trials (dictionaries) an algorithm and m; each is solved at up to six k."
    ),
]
Grid = Annotated[
    int,
    typer.Option(
        metavar="TRIALS",
        help="Instead of sampling where the information is: this many trials "
        "at every k, for checking.",
    ),
]


@command(
    "phase-transition",
    "sparsebench phase-transition --preset quick",
    "sparsebench phase-transition -a 'omp,sea' -a 'htp[step=1.8/L]' --ratios 0.3,0.5,0.7",
    "sparsebench phase-transition -a 'omp,homotopy' --ratios 0.1:0.9:0.05",
    "sparsebench phase-transition -p 'gaussian[snr=30]' --success 'f1>=.9' --level 0.99",
    "sparsebench phase-transition --plugin my_algorithm.py -a 'omp,my_algorithm'",
    "sparsebench phase-transition --shard 2/8 --out shard-2",
)
def phase_transition(
    algorithms: options.Algorithms = None,
    problem: options.ProblemText = None,
    preset: options.Preset = "default",
    n: options.Size = None,
    ratios: Ratios = None,
    success: options.SuccessText = None,
    level: options.Level = None,
    half_width: HalfWidth = None,
    max_trials: MaxTrials = None,
    grid: Grid = 0,
    seed: options.Seed = 0,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    time_limit: options.TimeLimit = presets.TIME_LIMIT,
    retry: options.Retry = None,
    device: options.Device = "cpu",
    precision: options.Precision = "float64",
    shard: options.ShardOf = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw the diagram: up to which sparsity does each algorithm recover the support?"""
    options.success_rate(level)
    met = options.success_named(success)
    chosen = options.preset_named(presets.PHASE_TRANSITION, preset)
    options.at_least_one("--n", n, chosen["n"])
    parts = chosen["ratios"] if ratios is None else options.read_ratios(ratios)
    if half_width is not None and not half_width > 0:
        raise InputError(f"--half-width must be positive, not {half_width}")
    if not 0 <= grid <= options.LARGEST:
        raise InputError(f"--grid is a number of trials up to {options.LARGEST:,}, not {grid}")
    max_trials = options.at_least_one("--max-trials", max_trials, chosen["max_trials"])
    time_limit = options.positive_seconds("--time-limit", time_limit)
    check_seed(seed)
    workers, statuses = options.worker_count(jobs), options.read_statuses(retry)
    share = options.read_share(shard)
    options.check_device(device, precision)
    options.load_files(plugin)
    generator = options.problem_named(problem or chosen["problem"])
    n = options.atoms(n, generator, chosen["n"])
    ms = sorted({max(1, round(part * n)) for part in parts})
    if ratios is None:
        ms = options.possible_measurements(ms, generator, n)
    half_widths, share_of_m = _targets(chosen, half_width, n, level)
    options.check_success(met, generator)
    wanted = options.wanted_algorithms(algorithms, plugin, chosen["algorithms"], generator)
    placed, device = options.placed(wanted, device, precision)
    from sparsebench.experiments.phase_transition import PhaseTransition
    from sparsebench.report import tables
    from sparsebench.run.worker import first_coherence

    experiment = PhaseTransition(
        algorithms=placed,
        problem=generator,
        n=n,
        ms=ms,
        half_widths=half_widths,
        max_trials=max_trials,
        grid=grid,
        seed=seed,
        time_limit=time_limit,
        share_of_m=share_of_m,
        success=met,
    )
    coherences = [first_coherence(generator, m, n, seed, time_limit) for m in experiment.ms]
    report = results.run_stored(experiment, out, workers, plugin, device, statuses, share)
    if share:
        results.say_shard([report], share, out)
        return
    thresholds = _told(experiment.thresholds(), experiment.algorithms)
    cells = out / "cells.csv"
    recipe = experiment.recipe()
    written = [cells] if results.write_csv(experiment.cells(), recipe, cells) else []
    from sparsebench.report.diagrams import diagram_names

    names = diagram_names(experiment.levels)
    written += results.publish(thresholds, recipe, out / "thresholds.csv", names)
    if as_json:
        results.say_rows(thresholds, recipe)
    else:
        tables.print_diagram(thresholds, experiment, coherences)
    tables.print_report(report, written, out)


def _targets(
    preset: dict[str, Any], half_width: float | None, n: int, level: float | None
) -> tuple[dict[float, float], bool]:
    """Return which half-widths intervals are to reach at each level, and whether in units of m."""
    share_of_m = preset["share_of_m"] and half_width is None
    unit = 1 if share_of_m else n
    targets = preset["half_widths"]
    if level is not None:
        targets = {level: targets[NEARLY_ALL], HALF: targets[HALF]}
    half_widths = {
        level: width * unit if half_width is None else half_width
        for level, width in targets.items()
    }
    return half_widths, share_of_m


@command(
    "support-distance",
    "sparsebench support-distance --preset quick",
    "sparsebench support-distance -p 'deconvolution[width=2,snr=40]' --ks 5:50:5",
    "sparsebench support-distance -p 'super-resolution[factor=4]' --ks 5:40:5",
    "sparsebench support-distance -p gaussian --m 250 --ks 20,40,60 -a 'omp,sea'",
    "sparsebench support-distance -p gaussian --m 250 --k 20 --x snr --xs 0:40:5 -a 'omp,oracle'",
)
def support_distance(
    algorithms: options.Algorithms = None,
    problem: options.ProblemText = None,
    preset: options.Preset = "default",
    n: options.Size = None,
    m: options.Measurements = None,
    ks: Annotated[
        str | None, typer.Option(help="Sparsities, e.g. 5,10,20 or first:last:step.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials at each k.")] = None,
    success: options.SuccessText = None,
    x: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS", help="Draw success and NMSE instead, against snr, k or m, at --xs."
        ),
    ] = None,
    xs: Annotated[
        str | None, typer.Option(help="Values of --x, e.g. 10,20,30 or first:last:step.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Sparsity, where --x is another.")] = None,
    seed: options.Seed = 0,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    time_limit: options.TimeLimit = presets.TIME_LIMIT,
    retry: options.Retry = None,
    device: options.Device = "cpu",
    precision: options.Precision = "float64",
    shard: options.ShardOf = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw the mean support distance of each algorithm against the sparsity k."""
    chosen = options.preset_named(presets.SUPPORT_DISTANCE, preset)
    options.at_least_one("--n", n, chosen["n"])
    values = options.read_axis(x, xs, k, ks, success)
    met = options.success_named(success)
    sparsities = options.read_whole_numbers("--ks", ks) if ks else chosen["ks"]
    trials = options.at_least_one("--trials", trials, chosen["trials"])
    time_limit = options.positive_seconds("--time-limit", time_limit)
    check_seed(seed)
    workers, statuses = options.worker_count(jobs), options.read_statuses(retry)
    share = options.read_share(shard)
    options.check_device(device, precision)
    options.load_files(plugin)
    generator = options.problem_named(problem or chosen["problem"])
    n = options.atoms(n, generator, chosen["n"])
    m = options.measurements(m, generator, n)
    if x:
        usual = "omp,niht,htp,homotopy,oracle"
        wanted = options.wanted_algorithms(algorithms, plugin, usual, generator)
        placed, device = options.placed(wanted, device, precision)
        problem = problem or chosen["problem"]
        points = _points(x, values, problem, (m, n, k or 0), trials, placed, met)
        from sparsebench.experiments.study import Study

        study = Study("curves", points, seed, time_limit)
        _publish_curves(study, x, out, (workers, plugin, device, statuses), as_json)
        return
    if not ks:
        sparsities = options.possible_sparsities(sparsities, generator, m, n)
    for k in sparsities:
        check_sizes(m, n, k)
    wanted = options.wanted_algorithms(algorithms, plugin, chosen["algorithms"], generator)
    placed, device = options.placed(wanted, device, precision)
    from sparsebench.experiments.support_distance import SupportDistance
    from sparsebench.report import tables
    from sparsebench.run.worker import first_coherence

    experiment = SupportDistance(
        algorithms=placed,
        problem=generator,
        n=n,
        m=m,
        ks=sparsities,
        trials=trials,
        seed=seed,
        time_limit=time_limit,
    )
    coherence = first_coherence(generator, m, n, seed, time_limit)
    report = results.run_stored(experiment, out, workers, plugin, device, statuses, share)
    if share:
        results.say_shard([report], share, out)
        return
    distances = _told(experiment.distances(), experiment.algorithms)
    names = ("support-distance",)
    written = results.publish(distances, experiment.recipe(), out / "distances.csv", names)
    if as_json:
        results.say_rows(distances, experiment.recipe())
    else:
        tables.print_distances(distances, experiment, coherence)
    tables.print_report(report, written, out)


def _points(
    x: str,
    values: list[float],
    problem: str,
    sizes: tuple[int, int, int],
    trials: int,
    algorithms: list[Choice],
    success: Success,
) -> list[Point]:
    """Return the points of curves over an axis; refuse what one of them cannot have."""
    from sparsebench.experiments.study import Point

    points = []
    for value in values:
        here = dict(zip("mnk", sizes, strict=True))
        given = {"snr": float(value)} if x == "snr" else {}
        here |= {} if x == "snr" else {x: int(value)}
        generator = options.problem_named(problem, given)
        check_sizes(**here)
        options.check_success(success, generator)
        curves = {one.label: one for one in algorithms}
        metrics = success.text, "nmse"
        m, n, k = here["m"], here["n"], here["k"]
        points.append(Point("", float(value), generator, m, n, k, trials, curves, metrics))
    return points


def _publish_curves(study: Study, x: str, out: Path, how: tuple[Any, ...], as_json: bool) -> None:
    """Run curves over an axis, write and draw them."""
    from sparsebench.report import tables

    report = results.run_stored(study, out, *how)
    frame = _told(study.estimates(), study.algorithms).assign(axis=x)
    names, recipe = ("curves-success", "curves-nmse"), study.recipe() | {"axis": x}
    written = results.publish(frame, recipe, out / "curves.csv", names)
    if as_json:
        results.say_rows(frame, recipe)
    else:
        tables.print_curves(frame, x)
    tables.print_report(report, written, out)


def _told(frame: pd.DataFrame, algorithms: list[Choice]) -> pd.DataFrame:
    """Add what each algorithm is told and its family."""
    by_label = {chosen.label: chosen for chosen in algorithms}
    return frame.assign(
        told=[",".join(by_label[label].told) for label in frame["algorithm"]],
        family=[by_label[label].family for label in frame["algorithm"]],
    )
