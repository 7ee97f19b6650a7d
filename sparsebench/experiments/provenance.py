"""What made the rows of a file: the hash of its recipe, version, command and sampling rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from sparsebench import __version__
from sparsebench.seeding import digest

#: The columns that say it.
COLUMNS = ("recipe", "version", "command", "rule")


def stated(rows: pd.DataFrame, recipe: Any, command: str) -> pd.DataFrame:
    """Return rows with what made them: `COLUMNS`.

    Parameters
    ----------
    rows : DataFrame
    recipe : dict, or list of dict
        Everything that decides the rows, as JSON data, with the name of the experiment.
    command : str
    """
    made = digest(recipe), __version__, command, sampling_rule(recipe)
    return rows.assign(**dict(zip(COLUMNS, made, strict=True)))


def sampling_rule(recipe: Any) -> str:
    """Say in words which instances were solved, and how many, by recipes of experiments."""
    recipes = recipe if isinstance(recipe, list) else [recipe]
    return "; ".join(dict.fromkeys(_RULES[one["experiment"]](one) for one in recipes))


def _diagram(recipe: dict[str, Any]) -> str:
    if "grid" in recipe:
        return f"{recipe['grid']} trials at every k"
    targets = " and ".join(f"{width:g}" for width in recipe["half_widths"])
    unit = "m" if recipe.get("half_widths_of") == "m" else "k"
    return (
        f"adaptive (rule {recipe['rule']}), until half-widths are {targets} in {unit} or "
        f"{recipe['max_trials']} trials are spent"
    )


def _study(recipe: dict[str, Any]) -> str:
    counts = sorted({point["trials"] for point in recipe["points"]})
    return f"{', '.join(map(str, counts))} trials a point"


def _seeds(recipe: dict[str, Any]) -> str:
    seeds = recipe["seeds"]
    if isinstance(seeds[0], (tuple, list)):
        return "; ".join(f"{name}: seeds 0 to {count - 1}" for name, count in seeds)
    return f"seeds {', '.join(map(str, seeds))}"


_RULES: dict[str, Callable[[dict[str, Any]], str]] = {
    "phase-transition": _diagram,
    "support-distance": lambda one: f"{one['trials']} trials at each k",
    "study": _study,
    "instance": lambda one: f"trial {one['trial']} alone",
    "exploration": lambda one: f"{one['trials']} instances a problem",
    "isometry": lambda one: (
        f"{one['dictionaries']} dictionaries a kind, {one['signals']} signals on each a k and "
        "noise level"
    ),
    "recover": lambda one: (
        f"{one['trials']} planted signals; noise drawn {one['resamples']} times anew"
    ),
    "timing": lambda one: f"{one['repeats']} rounds, {one['budget']:g} s an algorithm and workload",
    "front": lambda one: f"{one['trials']} instances a problem",
    "comparison": lambda one: "all trials that both have",
    "unrolling": lambda one: f"{one['tests']} fresh signals",
    "encoders": _seeds,
    "classification": _seeds,
    "clustering": _seeds,
    "optimum": lambda one: f"{one['draws']} problems a kind of atoms",
    "unrolling order": lambda one: f"{one['tests']} fresh signals",
    "history": lambda one: f"asv's, at each of {len(one['commits'])} commits",
}
