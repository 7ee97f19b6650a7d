"""What a command leaves in a folder: rows in a store, CSVs, and the pictures drawn from them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.cli.application import stop
from sparsebench.report import ENDINGS, console
from sparsebench.run.pool import WorkerDied
from sparsebench.system.folders import check_writable, written_whole
from sparsebench.system.stopping import when_stopped

if TYPE_CHECKING:
    import pandas as pd

    from sparsebench.run.engine import Report
    from sparsebench.run.rows import Experiment
    from sparsebench.run.shards import Share
    from sparsebench.run.store import Store


def run_stored(
    experiment: Experiment,
    out: Path,
    workers: int,
    plugin: list[Path] | None,
    device: str = "cpu",
    retry: Sequence[str] = (),
    share: Share | None = None,
) -> Report:
    """Run an experiment, or a share of it, through the store of a folder."""
    from sparsebench.environment import describe
    from sparsebench.registry import devices
    from sparsebench.run.engine import run
    from sparsebench.run.store import Store
    from sparsebench.system.processes import identity

    if share:
        from sparsebench.run.shards import Shard

        experiment = Shard(experiment, share)
    with Store(out) as store:
        say_network(store)
        when_stopped(
            f"stopped; finished blocks are kept in {store.path}; the same command continues"
        )
        try:
            return run(
                experiment,
                store,
                workers=workers,
                command=_command_line(sys.argv[1:]),
                environment=describe() | devices.describe(device) | {"process": identity()},
                plugins=[str(path) for path in plugin or ()],
                console=console.news,
                device=device,
                retry=retry,
            )
        except WorkerDied as error:
            stop(
                f"error: {error}; finished blocks are kept in "
                f"{store.path}; the same command continues, with -j 1 to see where it was",
                1,
            )


def say_network(store: Store) -> None:
    """Say, once, that a store lies on a network file system."""
    if store.network:
        _news_once(
            f"{store.path.parent} is on a network file system ({store.network}): rows are stored "
            "there in a way that is safe, and slower; let no two machines write to it at once"
        )


@cache
def _news_once(text: str) -> None:
    console.news.print(text, soft_wrap=True)


def say_shard(reports: Sequence[Report], share: Share, out: Path) -> None:
    """Say what a shard computed, and what is done with it."""
    from sparsebench.report import tables

    for report in reports:
        if report.computed or report.found:
            tables.print_report(report, None, out)
    if not any(report.computed or report.found for report in reports):
        console.say(f"shard {share} has nothing to do: there are fewer curves, or trials")
    console.say(
        f"shard {share} is done: when all are, `python -m sparsebench merge FOLDERS --out FOLDER` "
        "makes one of them, from which the same command without --shard draws"
    )


def check_out(out: Path) -> None:
    """Refuse a folder of results that cannot be written, before anything runs."""
    check_writable(out, "choose another folder with --out")


def publish(
    frame: pd.DataFrame, recipe: Any, path: Path, pictures: Sequence[str] = ()
) -> list[Path]:
    """Write a CSV that says what made it, draw its pictures beside it, and return all of them.

    Where the CSV is as it was, and so are the `pictures` that were drawn from it, nothing is
    written.
    """
    changed = write_csv(frame, recipe, path)
    drawn = [path.with_name(f"{name}.{ending}") for name in pictures for ending in ENDINGS]
    if drawn and not changed and all(_is_newer(picture, path) for picture in drawn):
        return []
    from sparsebench.report import figures

    return [*figures.draw(path, path.parent), path]


def write_csv(frame: pd.DataFrame, recipe: Any, path: Path) -> bool:
    """Write a CSV that says what made its rows: recipe, version, command and sampling rule.

    Returns
    -------
    bool
        Whether it is another than what was there, which is left alone otherwise.
    """
    text = _stated(frame, recipe).to_csv(index=False, float_format="%.6g").encode()
    if path.is_file() and path.read_bytes() == text:
        return False
    with written_whole(path) as part:
        part.write_bytes(text)
    return True


def say_rows(frame: pd.DataFrame, recipe: Any) -> None:
    """Print, as JSON, the rows that the CSV has."""
    console.say_json(_stated(frame, recipe))


def _stated(frame: pd.DataFrame, recipe: Any) -> pd.DataFrame:
    from sparsebench.experiments.provenance import stated

    return stated(frame, recipe, _command_line(_deciding(sys.argv[1:])))


def _is_newer(picture: Path, data: Path) -> bool:
    """Whether a picture was drawn after its CSV was written."""
    return picture.is_file() and picture.stat().st_mtime_ns >= data.stat().st_mtime_ns


def _command_line(words: list[str]) -> str:
    """Return the command as text that any file can hold, whatever bytes a path is made of."""
    return ("sparsebench " + shlex.join(words)).encode("utf-8", "replace").decode()


def _deciding(words: list[str]) -> list[str]:
    """Leave out of a command line what does not decide its results."""
    unimportant = ("-o", "--out", "-j", "--jobs", "--retry")
    alone = ("-q", "--quiet", "--json")
    return [
        word
        for before, word in pairwise(["", *words])
        if word.partition("=")[0] not in unimportant + alone and before not in unimportant
    ]
