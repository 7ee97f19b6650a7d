"""Choices: algorithms, chains and problems with all of their options, ready to be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from sparsebench.registry import calls, devices
from sparsebench.registry.catalogue import algorithms, get_algorithm, get_problem
from sparsebench.registry.contents import file_hash, named_file
from sparsebench.registry.grammar import Option, filled, label
from sparsebench.registry.records import Algorithm, ProblemGenerator, flops
from sparsebench.registry.selecting import selected
from sparsebench.types import Dictionary, FloatArray, InputError, Instance, Result, Stage, Status

Options = tuple[tuple[str, Option], ...]
# Options that name a file, with the hash of what is in it.
Contents = tuple[tuple[str, str], ...]
_CHANGED = "a file of {} has changed since it was read; run the same command again"
# What links have found on one instance, in their order, by the links themselves.
Known = dict[tuple[Any, ...], tuple[Result, ...]]


@dataclass(frozen=True, order=True)
class ProblemChoice:
    """A registered problem with all of its options: plain data that travels to workers and stores.

    Attributes
    ----------
    name, version : str
        Which problem.
    options : tuple of (str, value)
        Every option, defaults included, sorted by name.
    label : str
        The short text: the name, with those options that differ from their defaults.
    contents : tuple of (str, str)
        Options that name a file, with the hash of what is in it: this is what the recipe holds.
    """

    name: str
    options: Options
    version: str
    label: str = field(compare=False)
    contents: Contents = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """What determines it, as JSON data."""
        options = {**dict(self.options), **dict(self.contents)}
        return {"name": self.name, "version": self.version, "options": options}

    def check_contents(self) -> None:
        """Refuse code or files that are not what they were when it was chosen."""
        record = self.record
        if self.contents and problem_contents(record, dict(self.options)) != self.contents:
            raise InputError(_CHANGED.format(self.label))

    @property
    def record(self) -> ProblemGenerator:
        """What is registered; `InputError` if another has its name by now."""
        found = get_problem(self.name)
        _check_version(self, found.version)
        return found


@dataclass(frozen=True)
class Link:
    """One algorithm with its options: the whole of a choice, or one link of a chain."""

    algorithm: Algorithm
    options: dict[str, Option]

    @property
    def version(self) -> str:
        """The version of its results."""
        return self.algorithm.version_at(self.options)

    @property
    def label(self) -> str:
        """The short text: the name, with those options that differ from their defaults."""
        return label(self.algorithm.name, self.algorithm.options, self.options)

    def solve(self, dictionary: Dictionary, y: FloatArray, k: int, **given: Any) -> Result:
        """Solve for one signal whose inputs have been checked, as `calls.call` does."""
        return calls.call(self.algorithm, self.options, dictionary, y, k, **given)


@dataclass(frozen=True, order=True)
class Choice:
    """An algorithm or a chain, with all of its options and where it runs.

    Only what is compared, and the label, travels to workers and stores; there the links are
    found again.

    Attributes
    ----------
    name, version : str
        Which algorithm; of a chain, those of its links joined by +.
    options : tuple of (str, value)
        Every option, defaults included, sorted by name; in a chain prefixed: ``sea.step``.
    label : str
        The short text: the names, with what differs from the defaults.
    device, precision : str
        Where it runs: ``cpu``, ``torch-cpu`` or ``cuda``, in ``float64`` or ``float32``.
    contents : tuple of (str, str)
        Options that name a file, with the hash of what is in it: this is what the recipe holds.
    """

    name: str
    options: Options
    version: str
    label: str = field(compare=False)
    device: str = "cpu"
    precision: str = "float64"
    contents: Contents = ()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the links behind: a function of a plug-in does not travel."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Each algorithm with its options; `InputError` if another has its name by now."""
        return bind(self.registered(), dict(self.options)).links

    def registered(self) -> list[Algorithm]:
        """Return what has its names; `InputError` if that is another by now."""
        options = dict(self.options)
        entries = _with_rules([get_algorithm(name) for name in self.name.split("+")], options)
        _check_version(self, "+".join(link.version for link in _links(entries, options)))
        if self.contents and contents_of(options) != self.contents:
            raise InputError(_CHANGED.format(self.label))
        return entries

    @property
    def recipe(self) -> dict[str, Any]:
        """What determines it, as JSON data: rows of a device are told apart by options."""
        options = {**dict(self.options), **dict(self.contents)}
        if self.device != "cpu":
            options["device"] = self.device
        if self.precision != "float64":
            options["precision"] = self.precision
        options = dict(sorted(options.items()))
        return {"name": self.name, "version": self.version, "options": options}

    @cached_property
    def _starts(self) -> tuple[tuple[Any, ...], ...]:
        """What tells its first link, its first two, ... from those of other choices."""
        keys = [
            (link.algorithm.name, link.version, *sorted(link.options.items()))
            for link in self.links
        ]
        return tuple(tuple(keys[: i + 1]) for i in range(len(keys)))

    @property
    def told(self) -> tuple[str, ...]:
        """What it is told beyond A and y."""
        return tuple(dict.fromkeys(item for link in self.links for item in link.algorithm.told))

    @property
    def shares(self) -> tuple[str, ...]:
        """The `Dictionary` quantities it reads."""
        return tuple(dict.fromkeys(item for link in self.links for item in link.algorithm.shares))

    @property
    def family(self) -> str:
        """The family of its last link."""
        return self.links[-1].algorithm.family

    @property
    def plain(self) -> bool:
        """Whether a link is a function of the array, which keeps what it compiles to itself."""
        return any(link.algorithm.plain for link in self.links)

    @property
    def has_twin(self) -> bool:
        """Whether every link has a torch twin."""
        return all(link.algorithm.twin for link in self.links)

    @property
    def complex_numbers(self) -> bool:
        """Whether every link is for complex numbers, too."""
        return all(link.algorithm.complex_numbers for link in self.links)

    def check_complex(self) -> None:
        """Refuse complex numbers where a link is for real ones."""
        for link in self.links:
            if not link.algorithm.complex_numbers:
                raise InputError(calls.real_only(link.algorithm))

    @cached_property
    def takes_k(self) -> bool:
        """Whether a link is handed k."""
        return any(link.algorithm.takes_k for link in self.links)

    @cached_property
    def takes_noise(self) -> bool:
        """Whether a link is handed the noise level."""
        return any(link.algorithm.takes_noise for link in self.links)

    def accepts(self, given: str) -> bool:
        """Whether it takes a start, the true support, the noise level, or a wish for a history."""
        if given == "noise":
            return self.takes_noise
        return self.links[0].algorithm.accepts(given)

    def told_of(self, instance: Instance) -> dict[str, Any]:
        """Return what it is told of an instance beyond A, y and k, to be given to `solve`."""
        told = {"support": instance.support, "noise": instance.noise}
        return {name: value for name, value in told.items() if self.accepts(name)}

    def solve(
        self,
        dictionary: Dictionary,
        y: FloatArray,
        k: int,
        *,
        known: Known | None = None,
        **given: Any,
    ) -> Result:
        """Solve for one signal whose inputs have been checked, on the processor.

        Each link starts from the estimate before it; their costs add up. Its first links are not
        solved again where `known` has what they find on this instance; what it finds is added.

        Raises
        ------
        InputError
            If an algorithm returns something else than a finite x, shape (n,), with at most k
            non-zeros if it is told k; or if it is one that runs on a device.
        """
        if self.device != "cpu":
            raise InputError(f"{self.label}: on a device, solve(..., device={self.device!r})")
        found = self._known(known)
        noise = {"noise": given.pop("noise")} if "noise" in given else {}
        for place, link in enumerate(self.links[len(found) :], len(found)):
            if found:
                if found[-1].status == Status.DIVERGED:
                    break
                given = {"start": found[-1].x}
            level = noise if link.algorithm.takes_noise else {}
            found = (*found, link.solve(dictionary, y, k, **given, **level))
            if known is not None:
                known[self._starts[place]] = found
        last = found[-1]
        if len(self.links) == 1:
            return last
        counts = [None if one.n_iter is None else int(one.n_iter) for one in found]
        stages = [
            Stage(link.algorithm.name, count, one.seconds)
            for link, count, one in zip(self.links, counts, found, strict=False)
        ]
        total = None if None in counts else sum(counts)  # type: ignore[arg-type]
        seconds = sum(one.seconds for one in found)
        history = next((one.history for one in found if one.history), None)
        return Result(last.x, total, last.status, seconds, tuple(stages), history)

    def _known(self, known: Known | None) -> tuple[Result, ...]:
        """Return what is known of as many of its first links as there is."""
        if known:
            for start in reversed(self._starts):
                if start in known:
                    return known[start]
        return ()

    def seconds_known(self, known: Known) -> float:
        """Return the seconds of those of its first links that are known, NaN if not told."""
        return sum(one.seconds for one in self._known(known))

    def compile(self, complex_numbers: bool = False) -> None:
        """Run its links on a tiny problem, so that what they compile is compiled."""
        for link in self.links:
            calls.compile_kernels(link.algorithm, link.options, complex_numbers)

    def flops(self, m: int, n: int, k: int, iterations: Sequence[float | None]) -> float:
        """Return the stated flops of so many iterations of its links; NaN where unknown."""
        if not iterations:
            return float("nan")
        return sum(
            flops(link.algorithm, m, n, k) * (float("nan") if count is None else count)
            for link, count in zip(self.links, iterations, strict=False)
        )

    def on(self, device: str, precision: str = "float64") -> Choice:
        """Return it as rows of a device name it; the device need not be there.

        Two cards of one machine count as one device: which of them computed a row is not part of
        its key.

        Raises
        ------
        InputError
            If the device is none, or a link has no twin.
        """
        kind = device.partition(":")[0]
        if kind not in devices.KINDS:
            raise InputError(f"rows are of the devices cpu, torch-cpu or cuda, not of {device!r}")
        devices.check_precision(kind, precision)
        if kind == "cpu":
            return self
        for link in self.links:
            if not link.algorithm.twin:
                able = ", ".join(entry.name for entry in algorithms() if entry.twin)
                name = link.algorithm.name
                raise InputError(f"{name} runs on the processor only; on a device: {able}")
        where = kind if precision == "float64" else f"{kind}, {precision}"
        return replace(self, device=kind, precision=precision, label=f"{self.label} on {where}")


def bind(entries: Sequence[Algorithm], given: dict[str, Any]) -> Choice:
    """Return the chain of these algorithms, with what is given over their defaults.

    Raises
    ------
    InputError
        If an option is unknown, a value does not fit, a network is not trained, or a later link
        cannot start from an estimate.
    """
    entries = _with_rules(entries, given)
    for entry in entries if len(entries) > 1 else ():
        if not entry.takes_k:
            raise InputError(f"{entry.name} stands in no chain: it is not told k")
    for entry in entries[1:]:
        if not entry.accepts("start"):
            able = ", ".join(e.name for e in algorithms() if e.accepts("start"))
            raise InputError(f"{entry.name} cannot continue another algorithm; these can: {able}")
    name = "+".join(entry.name for entry in entries)
    prefixed = list(zip(prefixes(entries), entries, strict=True))
    defaults = {prefix + key: v for prefix, entry in prefixed for key, v in entry.options.items()}
    options = filled(name, defaults, given)
    if options.get("weights") == "":
        raise InputError(
            f"{name} must be trained first: 'python -m sparsebench train {name}' "
            f"prints the name of its weights, as in {name}[weights=...]"
        )
    links = _links(entries, options)
    version = "+".join(link.version for link in links)
    short = "+".join(link.label for link in links)
    chosen = Choice(
        name, tuple(sorted(options.items())), version, short, contents=contents_of(options)
    )
    chosen.__dict__["links"] = links
    return chosen


def _links(entries: Sequence[Algorithm], options: dict[str, Any]) -> tuple[Link, ...]:
    """Return each algorithm with its own of the options of all."""
    return tuple(
        Link(entry, {key: options.get(prefix + key, v) for key, v in entry.options.items()})
        for prefix, entry in zip(prefixes(entries), entries, strict=True)
    )


def _with_rules(entries: Sequence[Algorithm], given: dict[str, Any]) -> list[Algorithm]:
    """Return the algorithms, those for which k is given by a rule as what finds it by that."""
    return [
        selected(entry, given[prefix + "k"])
        if prefix + "k" in given and "k" not in entry.options
        else entry
        for prefix, entry in zip(prefixes(entries), entries, strict=True)
    ]


def prefixes(entries: Sequence[Algorithm]) -> list[str]:
    """Return what each link's options are prefixed with in a chain: ``els.``, ``sea.``.

    A name that comes again is numbered: ``htp+els+htp`` has ``htp.``, ``els.`` and ``htp2.``.
    """
    if len(entries) == 1:
        return [""]
    names = [entry.name for entry in entries]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [f"{n}{count if count > 1 else ''}." for n, count in zip(names, counts, strict=True)]


def contents_of(options: dict[str, Option]) -> Contents:
    """Return those options that name a file, with the hash of what is in it."""
    files = {key: named_file(value) for key, value in sorted(options.items())}
    return tuple((key, file_hash(file)) for key, file in files.items() if file)


def problem_contents(record: ProblemGenerator, options: dict[str, Option]) -> Contents:
    """Return what stands for options that name a file: what the problem says, or their hashes."""
    if hasattr(record.factory, "contents"):
        return tuple(sorted(record.factory(**options).contents().items()))
    return contents_of(options)


def _check_version(chosen: Choice | ProblemChoice, version: str) -> None:
    if version != chosen.version:
        raise InputError(
            f"{chosen.name} has changed since it was chosen (version {version}, not "
            f"{chosen.version}): choose it again, or run the same command again"
        )
