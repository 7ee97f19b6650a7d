"""A part of an experiment: one machine's share of it, in a folder of its own, to be merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sparsebench.registry import Choice
from sparsebench.run.pool import Each
from sparsebench.run.rows import Block, Curve, Decision, Experiment, Kept, Wave


@dataclass(frozen=True)
class Share:
    """The `number`-th of `count` parts, counted from 1."""

    number: int
    count: int

    def has(self, place: int) -> bool:
        """Whether the thing at a place, counted from 0, is in this part: they are dealt in turn."""
        return place % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


class Shard(Experiment):
    """The part of an experiment whose rows one machine computes.

    What is never divided (a curve whose rows decide where the next are; a trial of a fixed design)
    is in one part, so that the rows are those of the whole.

    Parameters
    ----------
    whole : Experiment
    share : Share
    """

    def __init__(self, whole: Experiment, share: Share) -> None:
        self.name = f"{whole.name}, shard {share}"
        self.algorithms = whole.algorithms
        self._whole = whole
        self._share = share
        self._cells: set[tuple[Choice, int]] = set()

    def wanted(self) -> list[Block]:
        """Return this part of the next wave."""
        wanted = []
        for block in self._whole.wanted():
            places = self._whole.places(block)
            pairs = tuple(
                pair
                for pair, place in zip(block.pairs, places, strict=True)
                if self._share.has(place)
            )
            if pairs:
                wanted.append(replace(block, pairs=pairs))
                self._cells.update((chosen, block.m) for chosen, _ in pairs)
        return wanted

    def take(self, rows: Wave, each: Each) -> None:
        """Take the rows of a wave."""
        self._whole.take(rows, each)

    def take_up(self, kept: Kept) -> None:
        """Go on from what was decided on rows that are all there."""
        self._whole.take_up(kept)

    def decided(self) -> dict[Curve, Decision]:
        """Return what the last wave decided."""
        return self._whole.decided()

    def solves_to_go(self) -> dict[tuple[Choice, int], int]:
        """Forecast the solves beyond the wave in progress, by (algorithm, m)."""
        ahead = self._whole.solves_to_go()
        return {cell: count for cell, count in ahead.items() if cell in self._cells}

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the rows, as JSON data."""
        return self._whole.recipe() | {"shard": [self._share.number, self._share.count]}
