"""The command that makes one folder of results of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cli.application import command
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped


@command(
    "merge",
    "sparsebench merge shard-1 shard-2 shard-3 --out results",
    "sparsebench merge results /mnt/workstation/results --out both",
)
def merge_folders(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", resolve_path=True, help="The folder that gets all rows.")
    ],
) -> None:
    """Add the rows of folders of results to one: shards, or what several machines computed.

    All or none: what was stopped, or refused, has merged nothing, and the same command can be given
    again at any time. Each row keeps its run, with the host and the processor. The ordinary command
    then computes what is missing, and draws.
    """
    from sparsebench.run.merge import merge

    when_stopped("stopped; nothing was merged; the same command begins anew")
    for one in merge(folders, out):
        console.say(f"{one.folder}: {one.rows:,} rows, {one.new:,} of them new")
    console.say(f"the same command as that of the parts, without --shard, draws from {out}")
