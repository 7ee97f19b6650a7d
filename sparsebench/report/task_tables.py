"""The tables of classification and clustering: those of the paper, of pairs, of open choices."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from sparsebench.experiments.learned.tasks import (
    CHOSEN,
    PUBLISHED,
    PUBLISHED_SIZES,
    WITHOUT_ATOMS,
    Found,
    TaskComparison,
    method_name,
    published,
    summary,
)
from sparsebench.report import console
from sparsebench.report.tables import duration

_TABLES = {
    ("classification", "mnist"): "Table 4: classification, MNIST (28 x 28)",
    ("classification", "indian-pines"): "Table 5: classification, Indian Pines (single spectra)",
    ("clustering", "coil20"): "Table 6: clustering, COIL-20",
    ("clustering", "pie"): "Table 7: clustering, CMU PIE (pose 27)",
}
# Beside the errors, at the largest p: metric, heading and form.
_BESIDE = {
    "classification": {"seconds": "1,000 samples", "seconds_single": "one by one"},
    "clustering": {"nmi": "NMI", "ari": "ARI"},
}


def print_tasks(found: Found, plan: TaskComparison) -> None:
    """Print a plan's tables, who is ahead, what went wrong, and what the numbers mean."""
    means = summary(found.rows)
    for data, _ in plan.seeds:
        own = means[(means["problem"] == data) & (means["method"] != "data")]
        if len(plan.variants) > 1:
            _print_variants(own, plan, data)
        else:
            _print_table(own, plan, data)
    if len(plan.variants) == 1:
        _print_pairs(found.pairs, plan)
    if plan.task == "classification":
        _print_chosen(found.rows)
        _print_costs(means)
    _print_troubles(means)
    _print_left(found.curves, plan)
    sentences = [
        f"{data}: {count} seeds of dictionary, {'split and ' * (plan.task == 'classification')}"
        "training"
        for data, count in plan.seeds
    ]
    if "digits" in dict(plan.seeds):
        sentences.append(
            "ran on the 1,797 digits of 8 x 8 pixels embedded in scikit-learn, not on the paper's "
            "data (--preset paper)"
        )
    judged = "of the test samples"
    if plan.task == "clustering":
        judged = "1 - accuracy under the best matching of clusters to classes, seen at the end only"
    console.say(
        f"error in %: {judged}; ± is the half-width of the 95 % interval over seeds; "
        + "; ".join(sentences)
    )


def _cell(row: pd.Series, trouble: float) -> str:
    """Write a mean with the half-width of its interval, and what its seeds have suffered."""
    half = max(row["upper"] - row["estimate"], row["estimate"] - row["lower"])
    text = f"{row['estimate']:.2f} ±{half:.2f}"
    return f"{text} ({trouble:.0f} bad)" if trouble else text


def _troubles(own: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Return, by keys, how many seeds have diverged or collapsed."""
    bad = own[own["metric"].isin(("diverged", "collapsed"))]
    counts = (bad["estimate"] * bad["trials"]).round()
    return counts.groupby([bad[key] for key in keys]).max()


def _print_table(own: pd.DataFrame, plan: TaskComparison, data: str) -> None:
    """Print the errors of one data set, with the published figures beside them."""
    has_published = (plan.task, data) in PUBLISHED
    table = Table("method", box=box.ROUNDED, title=_TABLES.get((plan.task, data), data))
    for p in plan.ps:
        table.add_column(f"p = {p}", justify="right", no_wrap=True)
        if has_published and p in PUBLISHED_SIZES:
            table.add_column("paper", justify="right", no_wrap=True)
    for heading in _BESIDE[plan.task].values():
        table.add_column(heading, justify="right", no_wrap=True)
    keys = ["method", "size", "stages", "n"]
    troubles = _troubles(own, keys)
    errors = own[own["metric"] == "error"]
    key: Any
    for key, rows in errors.groupby(keys[:3], sort=False):
        name = method_name(*key)
        cells = [name]
        for p in plan.ps:
            at = plan.ps[0] if key[0] in WITHOUT_ATOMS else p
            row = rows[rows["n"] == at].iloc[0]
            cells.append(_cell(row, float(troubles.get((*key, at), 0.0))))
            if has_published and p in PUBLISHED_SIZES:
                figure = published(data, p, name)
                cells.append("" if math.isnan(figure) else f"{figure:.2f}")
        same = (own[keys[:3]] == pd.Series(key, index=keys[:3])).all(axis=1)
        last = own[same & (own["n"] == rows["n"].max())].set_index("metric")["estimate"]
        for metric in _BESIDE[plan.task]:
            value = last.get(metric, math.nan)
            seconds = metric.startswith("seconds")
            cells.append(duration(value) if seconds else f"{value:.3f}")
        table.add_row(*cells)
    console.print_whole(table)


def _print_chosen(rows: pd.DataFrame) -> None:
    """Say which M the validation part has chosen, seed by seed."""
    chosen = rows[(rows["method"] == CHOSEN) & (rows["metric"] == "chosen")]
    for (data, p), own in chosen.groupby(["problem", "n"], sort=False):
        sizes = ", ".join(f"{size:.0f}" for size in own.sort_values("seed")["value"])
        console.say(f"{data}, p = {p}: M chosen by the validation part, seed by seed: {sizes}")


def _print_pairs(pairs: pd.DataFrame, plan: TaskComparison) -> None:
    """Print the paired differences of errors, and whether they are any."""
    table = Table(box=box.ROUNDED, title="error of the first less that of the second, in points")
    for heading in ("data", "p", "first", "second"):
        table.add_column(heading)
    for heading in ("difference", "paper", "p-value", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    row: Any
    for row in pairs.itertuples():
        table.add_row(
            str(row.problem),
            str(row.n),
            str(row.first),
            str(row.second),
            f"{row.estimate:+.2f} ±{row.upper - row.estimate:.2f}",
            "" if math.isnan(row.published) else f"{row.published:+.2f}",
            "" if math.isnan(row.p_value) else f"{row.p_value:.2g}",
            str(row.verdict),
        )
    console.print_whole(table)
    test = " and McNemar's test on the same test samples (twice the median of the seeds' p-values)"
    console.say(
        "tie: not told apart by Student's 95 % interval of the seeds' differences"
        + (test if plan.task == "classification" else "")
    )


def _print_variants(own: pd.DataFrame, plan: TaskComparison, data: str) -> None:
    """Print what each open choice does to the error of each method."""
    errors = own[own["metric"] == "error"]
    keys = ["variant", "method", "size", "stages", "n"]
    troubles = _troubles(own, keys)
    for p in plan.ps:
        rows = errors[errors["n"] == p]
        methods = list(rows[keys[1:4]].drop_duplicates().itertuples(index=False))
        table = Table("variant", box=box.ROUNDED, title=f"error in %, {data}, p = {p}")
        for method in methods:
            table.add_column(method_name(*method), justify="right", no_wrap=True)
        cells = rows.set_index(keys)
        for variant in plan.variants:
            places = [(variant, *method, p) for method in methods]
            table.add_row(
                variant, *(_cell(cells.loc[at], float(troubles.get(at, 0.0))) for at in places)
            )
        console.print_whole(table)


def _print_costs(means: pd.DataFrame) -> None:
    """Say what a code costs: TDSC's exact one beside the encoder's, measured in one run."""
    exact = means[means["method"] == "tdsc"]
    for (data, p), own in exact.groupby(["problem", "n"], sort=False):
        value = own[own["variant"] == "default"].set_index("metric")["estimate"]
        single, beside = value["seconds_single"], value["encoder_seconds_single"]
        console.say(
            f"{data}, p = {p}: 1,000 codes one by one take TDSC {duration(single)}, the encoder of "
            f"two stages beside it {duration(beside)} ({single / beside:.1f} times), and "
            f"{duration(value['encoder_seconds'])} at once "
            f"({value['seconds'] / value['encoder_seconds']:.0f} times)"
        )


def _print_troubles(means: pd.DataFrame) -> None:
    """Say which trainings diverged and which have collapsed; their rows count like the others."""
    for metric, said in (("diverged", "diverged"), ("collapsed", "collapsed to few labels")):
        bad = means[(means["metric"] == metric) & (means["estimate"] > 0)]
        row: Any
        for row in bad.itertuples():
            console.say(
                f"{said}: {method_name(row.method, row.size, row.stages)}, {row.problem}, "
                f"p = {row.n}, {row.variant}, in {round(row.estimate * row.trials)} of "
                f"{row.trials} seeds (counted in the mean)"
            )


def _print_left(curves: pd.DataFrame, plan: TaskComparison) -> None:
    """Say what the last tenth of the epochs has still gained."""
    if curves.empty:
        return
    gains = []
    keys = ["problem", "n", "variant", "method", "size", "stages", "seed"]
    for key, rows in curves.groupby(keys, sort=False):
        losses = rows["loss"].to_numpy()
        cut = max(len(losses) - max(len(losses) // 10, 1), 1)
        before, after = losses[:cut].min(), losses.min()
        gains.append((key[3], 1 - after / before if before > 0 else 0.0))
    frame = pd.DataFrame(gains, columns=["method", "gain"]).groupby("method", sort=False)["gain"]
    what = "validation loss" if plan.task == "classification" else "objective"
    told = ", ".join(f"{name} {100 * gain:.1f} %" for name, gain in frame.mean().items())
    console.say(f"by the last tenth of the epochs the least {what} still fell by: {told}")
