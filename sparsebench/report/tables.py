"""The tables that the command line prints of what it has found, and the sentences below them."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.table import Table

from sparsebench.environment import describe
from sparsebench.experiments.levels import GRID_TRIALS, NOT_MONOTONE
from sparsebench.problems import is_fixed
from sparsebench.report import console
from sparsebench.report.words import percent, rate_of
from sparsebench.types import APPROXIMATE, AT_LEAST, Status

if TYPE_CHECKING:  # a table of what is stored needs nothing that runs
    from sparsebench.experiments.phase_transition import PhaseTransition
    from sparsebench.experiments.support_distance import SupportDistance
    from sparsebench.run.engine import Report

# Numbers of an algorithm in a user's signal, and on signals planted like it.
_RECOVERED = (
    *("relative_residual", "agreement", "stability", "estimate", "lower", "upper"),
    *("distance", "distance_lower", "distance_upper"),
)
# Experiments and counts that `status` names, so that it has ten lines.
_MOST_EXPERIMENTS = 4
_MOST_COUNTS = 8
# A difference is called clear below this p-value.
_CLEAR = 0.01


def print_diagram(
    thresholds: pd.DataFrame, experiment: PhaseTransition, coherences: list[float]
) -> None:
    """Print both thresholds at each m, how their intervals ended, and what sampling has saved."""
    for level in experiment.levels:
        _print_thresholds(thresholds, level, experiment)
    _print_stops(thresholds, experiment)
    cells = thresholds[thresholds["level"] == experiment.levels[0]]
    solves, full = int(cells["trials"].sum()), int(cells["grid_solves"].sum())
    console.say(
        f"{solves:,} solves; a full grid, {GRID_TRIALS} at every k up to where fewer than one in a "
        f"thousand succeeds, would have taken {full:,}: {full / solves:.0f} times as many"
    )
    console.out.print(
        "mutual coherence of the first dictionaries: "
        + ", ".join(_number(c, ".2f") or "not drawn" for c in coherences)
    )


def _print_thresholds(thresholds: pd.DataFrame, level: float, experiment: PhaseTransition) -> None:
    cells = {}
    point: Any
    for point in thresholds[thresholds["level"] == level].itertuples():
        value = "< 1" if point.estimate < 1 else f"{point.estimate:.1f}"
        mark = "*" if point.half_width > experiment.targets(point.m)[level] else ""
        text = f"{value} ±{point.half_width:.1f}{mark}"
        cells[point.algorithm, point.m] = "none" if point.stopped == NOT_MONOTONE else text
    console.print_cells(
        f"k at which {rate_of(level, experiment.success.text)}, ± half-width of the 95 % interval "
        f"({experiment.problem.label}, n = {experiment.n})",
        [chosen.label for chosen in experiment.algorithms],
        "m",
        experiment.ms,
        cells,
    )


def _print_stops(thresholds: pd.DataFrame, experiment: PhaseTransition) -> None:
    several = thresholds[thresholds["stopped"] == NOT_MONOTONE]
    if len(several):
        where = several.groupby("algorithm", sort=False)["m"].unique()
        console.say(
            "none: the success rate falls, rises and falls again with k (tested below the point "
            "found): "
            + "; ".join(f"{name} at m = {', '.join(map(str, ms))}" for name, ms in where.items())
        )
    for kind, why in (
        (AT_LEAST, "cover more often than 95 %: success falls within about three k"),
        (APPROXIMATE, "are approximate: too few trials to see what rows of one trial share"),
    ):
        many = int((thresholds["coverage"] == kind).sum())
        if many:
            console.say(f"{many} of {len(thresholds)} intervals {why}")
    cells = zip(thresholds["m"], thresholds["level"], strict=True)
    wide = thresholds[
        thresholds["half_width"] > [experiment.targets(m)[level] for m, level in cells]
    ]
    wide = wide[wide["stopped"] != NOT_MONOTONE]
    if len(wide):
        reasons = ", ".join(sorted(set(wide["stopped"])))
        unit = " m" if experiment.share_of_m else ""
        targets = ", ".join(
            f"{experiment.half_widths[level]:g}{unit} at {100 * level:g}%"
            for level in experiment.levels
        )
        console.out.print(
            f"* {len(wide)} of {len(thresholds)} intervals are wider than their target "
            f"(half-width {targets}); reason: {reasons}"
        )


def print_distances(distances: pd.DataFrame, experiment: SupportDistance, coherence: float) -> None:
    """Print the mean support distance at each k."""
    cells = {}
    point: Any
    for point in distances.itertuples():
        half_width = (point.upper - point.lower) / 2
        cells[point.algorithm, point.k] = f"{point.estimate:.2f} ±{half_width:.2f}"
    console.print_cells(
        f"mean support distance, ± half-width of the 95 % interval ({experiment.problem.label}, "
        f"m = {experiment.m}, n = {experiment.n}, {experiment.trials} trials)",
        [chosen.label for chosen in experiment.algorithms],
        "k",
        experiment.ks,
        cells,
    )
    which = "dictionary" if is_fixed(experiment.problem) else "first dictionary"
    console.out.print(
        f"mutual coherence of the {which}: {_number(coherence, '.4f') or 'not drawn'}"
    )


def print_curves(frame: pd.DataFrame, axis: str) -> None:
    """Print success and the error at each value of an axis."""
    point: Any
    for metric, rows in frame.groupby("metric", sort=False):
        form, cells = ".1f" if metric == "nmse" else ".2f", {}
        for point in rows.itertuples():
            half_width = (point.upper - point.lower) / 2
            cells[point.algorithm, point.x] = f"{point.estimate:{form}} ±{half_width:{form}}"
        what = "NMSE in dB" if metric == "nmse" else f"share of solves with {metric}"
        problem = str(rows["problem"].iloc[0])
        if axis == "snr":  # which is one of its options
            problem = problem.partition("[")[0]
        names, xs = (list(dict.fromkeys(rows[column])) for column in ("algorithm", "x"))
        title = f"{what}, ± half-width of the 95 % interval ({problem})"
        console.print_cells(title, names, axis, xs, cells)


def print_solutions(solutions: pd.DataFrame) -> None:
    """Print what each algorithm found in one instance."""
    table = Table("algorithm", "support distance", "relative residual", "status", "message")
    row: Any
    for row in solutions.dropna(subset="status").drop_duplicates("series").itertuples():
        numbers = f"{row.support_distance:.2f}", f"{row.relative_residual:.1e}"
        table.add_row(row.series, *numbers, row.status, row.message)
    console.print_whole(table)


def print_recovery(rows: pd.DataFrame) -> None:
    """Print what each algorithm found in a user's signals, and how far to believe it."""
    first = rows.iloc[0]
    options = json.loads(first["problem_options"])
    whole = rows.drop_duplicates(["algorithm", "signal"])
    means = whole.groupby("algorithm", sort=False)[list(_RECOVERED)].mean()
    failed = whole["status"].isin(["error", "time-out", "diverged"])
    failures = failed.groupby(whole["algorithm"], sort=False).sum()
    many = whole["signal"].nunique()
    table = Table(
        *("algorithm", "relative residual", "agreement", "found again", "right when planted"),
        *("distance when planted", "failures"),
    )
    row: Any
    for _, row in means.sort_values("estimate", ascending=False, kind="stable").iterrows():
        table.add_row(
            str(row.name),
            f"{row['relative_residual']:.1e}",
            _number(row["agreement"], ".0%"),
            _number(row["stability"], ".0%"),
            f"{row['estimate']:.0%} [{row['lower']:.0%}, {row['upper']:.0%}]",
            f"{row['distance']:.2f} [{row['distance_lower']:.2f}, {row['distance_upper']:.2f}]",
            str(failures[row.name]) if failures[row.name] else "",
        )
    console.print_whole(table)
    best = means.loc[means["estimate"] == means["estimate"].max()].iloc[0]
    level = means.index[means["upper"] >= best["lower"]]
    snr = "no noise" if options["snr"] == float("inf") else f"noise at {options['snr']:g} dB"
    means_over = f"means over {many} signals; " if many > 1 else ""
    console.say(
        f"{means_over}agreement: the share of its atoms that another algorithm finds too; found "
        f"again: with the noise drawn anew; planted: {first['trials']} signals on this dictionary "
        f"with k = {first['k']} non-zeros of the sizes found and {snr}, 95 % intervals"
    )
    if best["upper"] < 0.5:
        console.say(
            f"to believe: none; the best, {best.name}, finds the whole support of "
            f"{best['estimate']:.0%} of such signals, and {1 - best['distance']:.0%} of their atoms"
        )
    else:
        alike = ", whose intervals meet" if len(level) > 1 else ""
        console.say(f"to believe: {', '.join(map(str, level))}{alike}")


def print_isometry(rows: pd.DataFrame) -> None:
    """Print for each k and kind of atoms what the bound on SEA promises, and what happens."""
    table = Table(
        "k", "atoms", "instances", "premise holds", "met at the latest in", "met beyond the premise"
    )
    for (k, curve), part in rows.groupby(["k", "curve"], sort=False):
        inside = (part["premise"] * part["trials"]).sum()
        within, beyond = part[part["premise"] > 0], part[part["premise"] == 0]
        latest = f"{within['first_largest'].max():.0f} iterations" if len(within) else ""
        met = (beyond["estimate"] * beyond["trials"]).sum() / max(beyond["trials"].sum(), 1)
        table.add_row(
            str(k),
            str(curve),
            f"{part['trials'].sum():,}",
            f"{inside / part['trials'].sum():.1%}",
            latest,
            f"{met:.1%}" if len(beyond) else "",
        )
    console.print_whole(table)
    inside = (rows["premise"] * rows["trials"]).sum()
    console.say(
        f"the bound is broken by {rows['broken'].sum()} of {inside:,.0f} instances within its "
        f"premise; guarantees of OMP, l1 and HTP are broken {rows['contradicted'].sum()} times"
    )


def print_front(points: pd.DataFrame) -> None:
    """Print, of each problem, success and price, and which algorithms are beaten by none."""
    for (problem, m, n, k), part in points.groupby(["problem", "m", "n", "k"], sort=False):
        table = Table(
            *(
                "algorithm",
                "success",
                "interval",
                "seconds",
                "interval",
                "flops",
                "beaten by none in",
            ),
            title=f"{problem}, m = {m}, n = {n}, k = {k}",
            box=box.ROUNDED,
        )
        row: Any
        for row in part.itertuples():
            ahead = [price for price in ("seconds", "flops") if getattr(row, f"{price}_front")]
            table.add_row(
                row.algorithm,
                f"{row.estimate:.2f}",
                f"[{row.lower:.2f}, {row.upper:.2f}]",
                f"{row.seconds:.2g}",
                f"[{row.seconds_lower:.2g}, {row.seconds_upper:.2g}]",
                _number(row.flops, ".2g"),
                ", ".join(ahead),
            )
        console.print_whole(table)


def print_timing(rows: pd.DataFrame) -> None:
    """Print a table of times for each workload, and what the floor is."""
    for _, part in rows.groupby("workload", sort=False):
        _print_workload(part)
    console.say(
        f"products of matrices run at {rows['dgemm_rate'].iloc[0] / 1e9:.1f} Gflop/s on one thread "
        f"of {describe()['processor']}; the floor is the stated flops at that rate"
    )


def _print_workload(rows: pd.DataFrame) -> None:
    """Print one workload's table: times a signal, then what was found, then what went wrong."""
    first = rows.iloc[0]
    console.out.print(
        f"{first['workload']}: {first['problem']}, m = {first['m']}, n = {first['n']}, "
        f"k = {first['k']}; times of one signal with the Gram matrix at hand, or alone"
    )
    columns: dict[str, list[str]] = {
        "algorithm": list(rows["algorithm"]),
        "time": [duration(value) for value in rows["seconds"]],
        "quartiles": [
            f"{duration(lower)} .. {duration(upper)}" if lower == lower else ""
            for lower, upper in zip(rows["lower_quartile"], rows["upper_quartile"], strict=True)
        ],
        "alone": [duration(value) for value in rows["alone"]],
        "exact": [_number(value, ".2f") for value in rows["exact"]],
        "distance": [_number(value, ".3f") for value in rows["distance"]],
        "residual": [_number(value, ".0e") for value in rows["residual"]],
        "iterations": [_number(value, ".0f") for value in rows["iterations"]],
        "floor": [duration(value) for value in rows["floor"]],
        "x floor": [_number(value, ".1f") for value in rows["over_floor"]],
        "x peer": [_number(value, ".2f") for value in rows["over_peer"]],
        "peer": list(rows["peer"]),
        "alone x peer": [_number(value, ".2f") for value in rows["alone_over_peer"]],
        "peer alone": list(rows["alone_peer"]),
        "family": list(rows["family"]),
        "turns": [str(value) for value in rows["turns"]],
        "signals": [str(value) for value in rows["signals"]],
    }
    console.print_columns(columns)
    row: Any
    for row in rows[rows["errors"] > 0].itertuples():
        console.say(f"{row.algorithm}: {row.errors} failed: {row.message}")


def print_report(report: Report, written: list[Path] | None, out: Path) -> None:
    """Say what was computed, what failed, where the time went and what was written, if asked."""
    _print_failures(report)
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
        console.out.print(
            f"{report.computed:,} rows computed in {report.wall:.1f} s with {report.workers} "
            f"workers{kept} ({shares})"
        )
    else:
        console.out.print(
            f"nothing to compute: all {report.found:,} rows were in {out / 'results.db'}"
        )
    if written:
        console.say_written(written)
    elif written is not None:
        console.say("the CSVs and their pictures are as they were")


def _print_failures(report: Report) -> None:
    """Say which solves failed, why, and which of them are the problem's failures."""
    for label, statuses in report.statuses.items():
        failed = {s: c for s, c in statuses.items() if Status(s).failed}
        if failed:
            total = sum(statuses.values())
            counts = ", ".join(f"{count:,} {status}" for status, count in failed.items())
            console.out.print(f"{label}: {counts} of {total:,} solves, counted as failures")
            for message, count in report.messages[label].most_common(3):
                console.out.print(f"    {count:,} times: {message}")
    if any(statuses[Status.TIME_OUT] for statuses in report.statuses.values()):
        console.out.print("the same command with --retry time-out computes the time-outs anew")
    if report.undrawn:
        total = report.computed + report.found
        console.say(
            f"no instance could be drawn at all: the failures of all {total:,} rows are the "
            "problem's, and say nothing of the algorithms"
            if report.undrawn == total
            else f"{report.undrawn:,} of {total:,} rows are failures because the problem could not "
            "draw their instance"
        )


def print_status(held: dict[str, Any]) -> None:
    """Say in at most ten lines what a store holds."""
    statuses = held["statuses"]
    size = f"{held['bytes'] / 2**20:.2f} MiB"
    console.say(f"{held['file']}: {held['rows']:,} rows, {size}, written {held['written']} UTC")
    for name in ("problems", "algorithms", "statuses"):
        console.say(f"{name}: {_counts(held[name])}")
    failed = [status for status in ("time-out", "error") if status in statuses]
    if failed:
        console.say(f"--retry {','.join(failed)} with the command of a run computes these anew")
    experiments = held["experiments"]
    for one in experiments[:_MOST_EXPERIMENTS]:
        missing = "all rows are there" if one["missing"] == 0 else ""
        if one["missing"]:
            missing = f"{one['missing']:,} of {one['wanted']:,} rows are missing"
        elif one["missing"] is None and one["state"] != "finished":
            missing = "how many rows are missing is not known before it ends"
        said = [
            f"{one['state']} {one['finished'] or 'since ' + one['started']}"
            if one["state"] != "stopped"
            else f"stopped, began {one['started']}",
            f"{one['rows']:,} rows computed",
            missing,
            f"recipe {one['recipe'][:8]}",
        ]
        console.say(f"{one['experiment']}: {', '.join(filter(None, said))}: {one['command']}")
    if len(experiments) > _MOST_EXPERIMENTS:
        console.say(f"and {len(experiments) - _MOST_EXPERIMENTS} earlier ones: --json has them")


def _counts(rows: dict[str, int]) -> str:
    """Write the largest of some counts, and how many are left out."""
    shown = [f"{name} {count:,}" for name, count in list(rows.items())[:_MOST_COUNTS]]
    left = len(rows) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "") if rows else "none"


def print_stored(summary: pd.DataFrame) -> None:
    """Print how many rows of each problem and algorithm a store holds, and how they ended."""
    table = Table(
        *("problem", "version", "seed", "algorithm", "version", "time limit"),
        *("rows", "exact", "failures", "time-outs", "core seconds"),
    )
    row: Any
    for row in summary.itertuples(index=False):
        table.add_row(
            str(row.problem),
            str(row.problem_version)[:8],
            str(row.seed),
            str(row.algorithm),
            str(row.algorithm_version)[:8],
            f"{row.time_limit:g} s",
            *(f"{n:,}" for n in (row.rows, row.exact, row.failures, row.time_outs)),
            _number(row.seconds, ".1f"),
        )
    console.print_whole(table)


def print_differences(rows: pd.DataFrame, by: str) -> None:
    """Print the differences from one other algorithm, and where each of the two is ahead."""
    made = rows.iloc[0]
    first, other = made["first"], made["other"]
    sizes = f"{made['problem']}, version {made['problem_version']}, n = {made['n']}"
    if by == "threshold":
        at, form, what = "m", ".1f", f"k at {percent(made['level'])}"
    else:
        at, form, what, sizes = "k", ".3f", "support distance", f"{sizes}, m = {made['m']}"
    what += f", {made['success']}" if "success" in rows else ""
    table = Table(
        *(at, first, other, "difference", "interval", "p", "p (Holm)", "alone", "p (McNemar)"),
        title=f"{what}: {first} less {other} ({sizes}, seed {made['seed']})",
        box=box.ROUNDED,
    )
    row: Any
    for row in rows.itertuples():
        one, two = (
            "< 1" if by == "threshold" and value < 1 else _number(value, form) or "none"
            for value in (row.first_estimate, row.other_estimate)
        )
        none = row.difference != row.difference
        table.add_row(
            str(getattr(row, at)),
            one,
            two,
            "" if none else f"{row.difference:+{form}}",
            "" if none else f"[{row.lower:+{form}}, {row.upper:+{form}}]",
            "" if none else f"{row.p_value:.1g}",
            "" if none else f"{row.p_holm:.1g}",
            f"{row.only_first} : {row.only_other} of {row.shared}",
            f"{row.p_mcnemar:.1g}",
        )
    console.print_whole(table)
    if by == "threshold":
        _print_coverage(rows)
    for name, part in zip((first, other), _ahead(rows, by), strict=True):
        values = _ranges(set(part[at]), sorted(rows[at].unique()))
        where = f"{len(part)} of {len(rows)} values of {at}"
        console.say(
            f"{name} is ahead with p < {_CLEAR:g} (Holm) at {where}"
            + (f": {values} (largest p {part['p_holm'].max():.1g})" if values else "")
        )


def _ahead(rows: pd.DataFrame, by: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows at which the first, and the other, is clearly ahead."""
    first = rows["difference"] > 0 if by == "threshold" else rows["difference"] < 0
    clear = rows["p_holm"] < _CLEAR
    return rows[first & clear], rows[~first & clear]


def print_verdict(found: pd.DataFrame, by: str) -> None:
    """Print, of each other, who is ahead over all points, and for how many p is adjusted."""
    tested = int(found["p_value"].notna().sum())
    for (first, other), rows in found.groupby(["first", "other"], sort=False):
        ours, theirs = _ahead(rows, by)
        none = int(rows["difference"].isna().sum())
        console.say(
            f"verdict over all {len(rows)} points: {first} is ahead at {len(ours)}, {other} at "
            f"{len(theirs)}, neither clearly at {len(rows) - len(ours) - len(theirs) - none}"
            + (f"; no single point, or one beyond the rows, at {none}" if none else "")
            + f" (p < {_CLEAR:g}, by Holm for {tested} tests)"
        )


def print_plain_differences(found: pd.DataFrame, latex: bool) -> None:
    """Print all differences as one Markdown or LaTeX table, to be copied."""
    where = "level" if "level" in found else "k"
    lines = [["comparison", "problem", "m", "n", where, "difference", "95 % interval", "p (Holm)"]]
    row: Any
    for row in found.itertuples():
        why = [
            str(text)
            for text in (getattr(row, "first_without", ""), getattr(row, "other_without", ""))
        ]
        numbers = ["no single point: " + "; ".join(filter(None, why)), "", ""]
        if row.difference == row.difference:
            interval = f"[{row.lower:+.3g}, {row.upper:+.3g}]"
            numbers = [f"{row.difference:+.3g}", interval, f"{row.p_holm:.1g}"]
        pair = f"{row.first} less {row.other}"
        at = f"{getattr(row, where):g}"
        lines.append([pair, row.problem, str(row.m), str(row.n), at, *numbers])
    if latex:
        _say_latex(lines)
        return
    for i, line in enumerate(lines):
        console.say("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
        if i == 0:
            console.say("|" + "---|" * len(line))


_LATEX = str.maketrans({one: f"\\{one}" for one in "&%$#_{}"} | {"^": "\\^{}", "~": "\\~{}"})


def _say_latex(lines: list[list[str]]) -> None:
    """Print a table as LaTeX, with the rules of booktabs."""
    console.say("\\begin{tabular}{" + "l" * len(lines[0]) + "}\n\\toprule")
    for i, line in enumerate(lines):
        # A bracket at the beginning of a line would be an option of the one before.
        console.say(" & ".join(f"{{{cell.translate(_LATEX)}}}" for cell in line) + " \\\\")
        if i == 0:
            console.say("\\midrule")
    console.say("\\bottomrule\n\\end{tabular}")


def _print_coverage(rows: pd.DataFrame) -> None:
    """Say which differences of thresholds are approximate, and why some are none."""
    about = rows.loc[rows["coverage"] == APPROXIMATE, "m"]
    if len(about):
        console.out.print(f"approximate, of few trials: at m = {', '.join(map(str, about))}")
    for which in ("first", "other"):
        for why, part in rows[rows[f"{which}_without"] != ""].groupby(f"{which}_without"):
            ms = ", ".join(map(str, part["m"]))
            console.say(f"none: {part[which].iloc[0]} at m = {ms}: {why}")


def _ranges(some: set[int], every: list[int]) -> str:
    """Write those values of a sorted list that are in a set, neighbours together: 3 to 9, 12."""
    runs = [list(run) for inside, run in groupby(every, some.__contains__) if inside]
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def duration(seconds: float) -> str:
    """Three digits with a unit: 41.2 µs, 3.08 ms, 12.0 s; nothing for NaN."""
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(1e6 * seconds)} µs" if seconds == seconds else ""


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _number(value: float, form: str) -> str:
    return format(value, form) if value == value else ""
