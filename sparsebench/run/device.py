"""Blocks to rows on a device: as many problems at once as its memory holds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from sparsebench.batched import memory, problems
from sparsebench.problems import is_complex, is_ordered
from sparsebench.run.guard import attempt, failed_row, measured, with_near
from sparsebench.run.rows import Block, Outcome, Outcomes
from sparsebench.run.worker import Solved, draw
from sparsebench.types import Dictionary, Instance, Result, Status

# Of the memory of a device, the part that the dictionaries of a group of blocks may take, and most
# blocks of a group: what a run that is stopped computes again.
_DICTIONARIES = 0.25
_MOST_BLOCKS = 1024


class DeviceError(OSError):
    """A device stopped answering; the message is one line that says what is kept and what to do."""


def solve_together(
    missing: list[tuple[int, Block]], device: str
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block as it is done on a device: as many at once as their dictionaries fit."""
    alike: dict[tuple[Any, ...], list[tuple[int, Block]]] = defaultdict(list)
    for index, block in missing:
        alike[block.problem, block.seed, block.n, block.m].append((index, block))
    for (_, _, n, m), same in alike.items():
        free = _DICTIONARIES * memory.memory_at_hand(memory.torch_device(device))
        number = 32 if is_complex(same[0][1].problem) else 16
        size = int(min(max(free / (number * n * (m + n)), 1), _MOST_BLOCKS))
        groups = [same[i : i + size] for i in range(0, len(same), size)]
        while groups:
            group = groups.pop(0)
            try:
                solved = solve_blocks([block for _, block in group], device)
            except (RuntimeError, MemoryError) as error:
                if memory.out_of_memory(error) and len(group) > 1:
                    half = len(group) // 2
                    groups[:0] = [group[:half], group[half:]]
                    continue
                if memory.out_of_memory(error):
                    ((index, block),) = group
                    failed = failed_row(Status.ERROR, f"out of memory on {device}", 0.0)
                    yield index, block, Solved([failed] * len(block.pairs), 0.0, 0.0, 0.0)
                    continue
                if memory.lost(error):
                    raise DeviceError(
                        f"the device {device} does not answer any more ({_first_line(error)}); "
                        "finished blocks are kept, and the same command continues; with "
                        "--device cpu the kernels compute rows of their own"
                    ) from error
                raise
            for (index, block), done in zip(group, solved, strict=True):
                yield index, block, done


def solve_blocks(blocks: Sequence[Block], device: str) -> list[Solved]:
    """Solve blocks of one problem and size on a device: an algorithm's pairs all at once.

    A time limit holds for a batch as a whole, that of one solve times their number: the problems
    of a batch advance together. It counts the CPU time of all threads of this process, that of
    waiting for a card included as far as torch waits by looking. Seconds are shares of a batch's.
    """
    start = time.perf_counter()
    ordered = is_ordered(blocks[0].problem)
    group = _drawn(blocks, ordered)
    drawn = time.perf_counter()
    stacks: dict[str, Any] = {}
    spent = 0.0
    for chosen in dict.fromkeys(chosen for block in blocks for chosen, _ in block.pairs):
        wanted = [
            (index, k)
            for index, block in enumerate(blocks)
            for other, k in block.pairs
            if other == chosen and (index, k) in group.instances
        ]
        if not wanted:
            continue
        if chosen.precision not in stacks:
            stacks[chosen.precision] = problems.stack(group.dictionaries, device, chosen.precision)
        solve = partial(
            problems.solve_problems,
            chosen,
            stacks[chosen.precision],
            np.array([group.owners[index] for index, _ in wanted]),
            np.stack([group.instances[pair].y for pair in wanted]),
            np.array([k for _, k in wanted]),
            device,
        )
        begin = time.perf_counter()
        found = attempt(solve, blocks[0].time_limit * len(wanted), passing=memory.lost)
        spent += time.perf_counter() - begin
        for position, (index, k) in enumerate(wanted):
            if isinstance(found, Outcome):
                outcome = replace(found, seconds=(found.seconds or 0.0) / len(wanted))
            else:
                outcome = _read(group.instances[index, k], found[position], device, ordered)
            group.outcomes[index][chosen, k] = with_near(outcome, ordered)
    share = 1 / len(blocks)
    total = time.perf_counter() - drawn
    return [
        Solved(
            [outcomes[pair] for pair in block.pairs],
            (drawn - start) * share,
            (total - spent) * share,
            spent * share,
        )
        for block, outcomes in zip(blocks, group.outcomes, strict=True)
    ]


@dataclass
class _Group:
    """Blocks that are drawn; by a block's place its dictionary's place, and with k its instance."""

    outcomes: list[Outcomes]
    dictionaries: list[Dictionary] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)
    instances: dict[tuple[int, int], Instance] = field(default_factory=dict)


def _drawn(blocks: Sequence[Block], ordered: bool) -> _Group:
    """Draw the instances of blocks; one that cannot be drawn has its rows."""
    group = _Group([{} for _ in blocks])
    known: dict[int, int] = {}
    for index, block in enumerate(blocks):
        for k, found in draw(block, ordered).items():
            if isinstance(found, Outcome):
                failed = ((pair, found) for pair in block.pairs if pair[1] == k)
                group.outcomes[index].update(failed)
                continue
            group.instances[index, k] = found
            shared = found.dictionary  # a fixed dictionary is one for all blocks
            if id(shared) not in known:
                known[id(shared)] = len(group.dictionaries)
                group.dictionaries.append(shared)
            group.owners[index] = known[id(shared)]
    return group


def _read(instance: Instance, result: Result | None, device: str, ordered: bool) -> Outcome:
    """Return the row of one result of a device."""
    if result is None:
        return failed_row(Status.ERROR, f"out of memory on {device}", 0.0)
    if result.status == Status.ERROR:
        return failed_row(Status.ERROR, result.message, result.seconds)
    return measured(instance, result, ordered)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
