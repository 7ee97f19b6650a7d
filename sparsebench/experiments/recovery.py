"""What algorithms find in a user's own signals, and which of them is to be believed there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from rich.console import Console

from sparsebench.errors import LARGEST_INTEGER, InputError, check_seed, check_sizes, check_whole
from sparsebench.experiments.instance import values_of
from sparsebench.experiments.presets import RECOVER, TIME_LIMIT
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.metrics import relative_residual
from sparsebench.problems import add_noise
from sparsebench.registry import Choice, choose_algorithms, choose_problem
from sparsebench.registry.contents import hash_of
from sparsebench.run.engine import run
from sparsebench.run.guard import attempt
from sparsebench.run.rows import Outcome
from sparsebench.run.store import Store
from sparsebench.seeding import generator
from sparsebench.statistics import COLUMNS, mean_interval, wilson
from sparsebench.types import Dictionary, FloatArray, IntArray, Status, as_numbers

# Digits of the amplitudes, and decimals of the dB, of the signals planted: those of signals that
# differ by less are the same.
_DIGITS, _DECIMALS = 3, 1


@dataclass(frozen=True)
class Found:
    """What one algorithm found in one signal.

    Attributes
    ----------
    chosen : Choice
    signal : int
    x : ndarray, shape (n,)
        Zero where it failed.
    status, message : str
    seconds : float
        NaN where not known.
    residual : float
        ||y - A x|| / ||y||.
    kept : ndarray
        The support found in each of the signals with resampled noise, a row of n booleans each.
    """

    chosen: Choice
    signal: int
    x: FloatArray
    status: str
    message: str
    seconds: float
    residual: float
    kept: FloatArray

    @property
    def support(self) -> IntArray:
        """Sorted indices of the non-zeros."""
        return np.flatnonzero(self.x)


def find(
    dictionary: Dictionary,
    signals: FloatArray,
    k: int,
    algorithms: list[Choice],
    *,
    resamples: int,
    seed: int,
    time_limit: float,
    report: Callable[[str], None] = lambda doing: None,
) -> list[Found]:
    """Solve every signal, and again with its noise resampled.

    A resampled signal is A x, for the x that the algorithm found, with Gaussian noise of the norm
    of what x left: the parametric bootstrap of Efron and Tibshirani (1993).

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    signals : ndarray, shape (m, B)
    k : int
        Non-zeros.
    algorithms : list of Choice
    resamples : int
        Noises a signal.
    seed : int
    time_limit : float
        Seconds of CPU time a solve.
    report : callable
        Told what is being done.
    """
    found = []
    for b in range(signals.shape[1]):
        y = np.ascontiguousarray(signals[:, b])
        for chosen in algorithms:
            report(f"recovering: {chosen.label}, signal {b + 1} of {signals.shape[1]}")
            x, facts = _solved(chosen, dictionary, y, k, time_limit)
            left = relative_residual(dictionary.A, y, x) if x.any() else 1.0
            kept = []
            for i in range(resamples if x.any() else 0):
                clean = dictionary.A @ x
                rng = generator({"recover": "noise", "signal": b, "resample": i, "seed": seed})
                noisy = add_noise(clean, noise_level(clean, y - clean), rng)
                kept.append(_solved(chosen, dictionary, noisy, k, time_limit)[0] != 0)
            n = dictionary.shape[1]
            found.append(Found(chosen, b, x, *facts, left, np.array(kept).reshape(-1, n)))
    return found


def _solved(
    chosen: Choice, dictionary: Dictionary, y: FloatArray, k: int, time_limit: float
) -> tuple[FloatArray, tuple[str, str, float]]:
    result = attempt(partial(chosen.solve, dictionary, y, k), time_limit)
    nothing = np.zeros(dictionary.shape[1], dictionary.dtype)
    if isinstance(result, Outcome):
        return nothing, (str(result.status), result.message, result.seconds or math.nan)
    status = Status(str(result.status))
    x = nothing if status.failed else np.asarray(result.x, dtype=dictionary.dtype)
    return x, (str(status), "", float(result.seconds))


def noise_level(clean: FloatArray, left: FloatArray) -> float:
    """Return ||A x||² / ||left||² in dB, inf where nothing is left but rounding."""
    power, noise = (float(np.vdot(v, v).real) for v in (clean, left))
    if noise <= (1e-10) ** 2 * power:
        return math.inf
    return float(np.clip(10 * math.log10(power / noise), -300.0, 300.0))


def fingerprint(signals: FloatArray) -> str:
    """Return what stands for signals in a recipe: a hash of the numbers."""
    return hash_of(f"{signals.shape}".encode() + np.ascontiguousarray(signals).tobytes())


def planted_options(found: list[Found], dictionary: Dictionary, k: int) -> dict[str, Any]:
    """Return amplitudes and noise of signals like these, as options of the problem `matrix`.

    Of each signal the estimate that leaves least counts. Its magnitudes, sorted, are averaged over
    the signals; so is the energy of what is left, which m - k degrees of freedom have seen of the
    m that noise has.

    Raises
    ------
    InputError
        If no algorithm found k atoms in any signal.
    """
    m = dictionary.shape[0]
    best: dict[int, Found] = {}
    for one in found:
        if len(one.support) == k and (
            one.signal not in best or one.residual < best[one.signal].residual
        ):
            best[one.signal] = one
    if not best:
        raise InputError(f"no algorithm found {k} atoms: there is nothing to plant signals like")
    sizes = np.array([np.sort(np.abs(one.x[one.support]))[::-1] for one in best.values()])
    shares = np.array([one.residual**2 for one in best.values()])  # of ||y||²
    share = float(shares.mean()) * m / max(m - k, 1)
    snr = math.inf if shares.mean() <= 1e-20 else 10 * math.log10(max(1 - share, 1e-3) / share)
    values = sizes.mean(axis=0)
    return {
        "amplitudes": ";".join(f"{value:.{_DIGITS}g}" for value in values),
        "snr": round(snr, _DECIMALS),
    }


def recover(
    A: ArrayLike,
    y: ArrayLike,
    k: int,
    *,
    algorithms: str | Sequence[str] = RECOVER["algorithms"],
    trials: int = RECOVER["trials"],
    resamples: int = RECOVER["resamples"],
    labels: Sequence[str] = (),
    seed: int = 0,
    time_limit: float = TIME_LIMIT,
    workers: int = 1,
) -> pd.DataFrame:
    """Return what each algorithm finds in signals of one's own, and how often it is right on such.

    As the command ``recover`` does, without a file: `docs/problems.md` says what is done, and
    `docs/columns.md` what each column is.

    Parameters
    ----------
    A : array_like, shape (m, n)
        Real or complex.
    y : array_like, shape (m,) or (m, B)
        One signal, or B.
    k : int
        Non-zeros of each x.
    algorithms : str or sequence of str
        Names and patterns, as of ``-a``; of the usual ones those that A's numbers allow.
    trials : int
        Planted signals.
    resamples : int
        Times that the noise of each signal is drawn anew.
    labels : sequence of str
        One for each column of A; of a pandas frame its own are taken.
    seed : int
    time_limit : float
        Seconds of CPU time a solve.
    workers : int
        Processes for the planted signals.

    Returns
    -------
    DataFrame
        One row an atom that an algorithm found in a signal.

    Raises
    ------
    InputError
        If A, y or k cannot be used, an algorithm is for real numbers and A is complex, or none
        finds k atoms.
    """
    for name, value in {"trials": trials, "resamples": resamples, "workers": workers}.items():
        check_whole(name, value, 1, LARGEST_INTEGER)
    check_seed(seed)
    if not len(labels):
        labels = [str(name) for name in getattr(A, "columns", ())]
    dictionary = Dictionary(A)
    m, n = dictionary.shape
    if len(labels) not in (0, n):
        raise InputError(f"there are {len(labels)} labels for {n} columns of A")
    signals = as_numbers(y, "y")
    if signals.ndim not in (1, 2) or signals.shape[0] != m or 0 in signals.shape:
        raise InputError(f"y must have shape ({m},) or ({m}, B) to match A, not {signals.shape}")
    signals = signals.reshape(m, -1)
    if not signals.any(axis=0).all():
        raise InputError("a signal is zero: there is nothing to find")
    check_sizes(m, n, k)
    if signals.dtype.kind == "c":
        dictionary = dictionary.complexified
    chosen = choose_algorithms(algorithms)
    for one in chosen:
        if one.accepts("noise"):
            raise InputError(
                f"{one.label} is told the noise level, which nobody knows of these signals: leave "
                "it out here, and give the level to sparsebench.solve(..., noise=...)"
            )
    if dictionary.is_complex:
        signals = signals.astype(dictionary.dtype)
        if algorithms == RECOVER["algorithms"]:
            chosen = [one for one in chosen if one.complex_numbers]
        for one in chosen:
            one.check_complex()
    found = find(
        dictionary, signals, int(k), chosen, resamples=resamples, seed=seed, time_limit=time_limit
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "A.npy"
        np.save(file, dictionary.A)
        with Store(Path(folder)) as store:
            planted = signals_like(
                found,
                {"file": str(file)},
                dictionary,
                int(k),
                chosen,
                trials=trials,
                seed=seed,
                time_limit=time_limit,
            )
            run(
                planted,
                store,
                workers=workers,
                command="sparsebench.recover",
                environment={},
                console=Console(quiet=True),
            )
    return table(found, planted, tuple(labels), m, int(k), seed)


def signals_like(
    found: list[Found],
    given: dict[str, Any],
    dictionary: Dictionary,
    k: int,
    algorithms: list[Choice],
    *,
    trials: int,
    seed: int,
    time_limit: float,
) -> SupportDistance:
    """Return the experiment on signals like those found, planted on a matrix in a file.

    Parameters
    ----------
    found : list of Found
    given : dict
        The options of `matrix` that name the file.
    dictionary, k, algorithms, seed, time_limit
        As for `find`.
    trials : int
        Planted signals.
    """
    m, n = dictionary.shape
    return SupportDistance(
        algorithms=algorithms,
        problem=choose_problem("matrix", given | planted_options(found, dictionary, k)),
        n=n,
        m=m,
        ks=[k],
        trials=trials,
        seed=seed,
        time_limit=time_limit,
    )


def as_json(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the table as JSON data: signals, of each its algorithms, of each its atoms.

    What is not known is null; an snr without noise is "inf".
    """
    atom = ["index", "label", "value", "phase", "votes", "kept"]
    whole = ["problem", "problem_options", "m", "n", "k", "seed"]
    own = [name for name in rows if name not in (*atom, *whole, "signal")]
    atom = [name for name in atom if name in rows]
    signals = []
    for signal, of_signal in rows.groupby("signal", sort=False):
        found = []
        for _, part in of_signal.groupby("algorithm", sort=False):
            atoms = _records(part.loc[part["index"].notna(), atom])
            found.append(_records(part[own].iloc[:1])[0] | {"atoms": atoms})
        signals.append({"signal": int(str(signal)), "algorithms": found})
    facts = _records(rows[whole].iloc[:1])[0]
    facts["problem_options"] = json.loads(
        facts["problem_options"], parse_constant=lambda text: text.removesuffix("inity").lower()
    )
    return facts | {"signals": signals}


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON data, with null for what is not known."""
    return list(json.loads(rows.to_json(orient="records", double_precision=15)))


def table(
    found: list[Found], planted: SupportDistance, labels: tuple[str, ...], m: int, k: int, seed: int
) -> pd.DataFrame:
    """Return one row an atom that an algorithm found in a signal, or one where it found none.

    Columns: algorithm, signal, index, label, value (of complex numbers the modulus, and phase in
    radians); votes, how many of the algorithms found this
    atom in this signal; kept, the share of resampled signals in which it is found again; of the
    algorithm in this signal: status, message, seconds, relative_residual, agreement (the share of
    its atoms that another algorithm has found too, mean over the others), stability (the share
    found again) with its interval; of the algorithm on planted signals: estimate, lower, upper,
    trials of the success rate, and distance with its interval.
    """
    trust = {chosen.label: _trust(planted, chosen) for chosen in planted.algorithms}
    rows = []
    for one in found:
        beside = [o for o in found if o.signal == one.signal]
        others = [o for o in beside if o is not one and len(o.support)]
        shares = [
            len(np.intersect1d(one.support, o.support)) / max(len(one.support), 1) for o in others
        ]
        held = one.kept[:, one.support].mean(axis=1) if len(one.support) and len(one.kept) else []
        stability = mean_interval(held) if len(held) else (math.nan,) * 3
        facts = {
            "status": one.status,
            "message": one.message,
            "seconds": one.seconds,
            "relative_residual": one.residual,
            "agreement": float(np.mean(shares)) if shares else math.nan,
            **dict(
                zip(("stability", "stability_lower", "stability_upper"), stability, strict=True)
            ),
            **trust[one.chosen.label],
        }
        name = {"algorithm": one.chosen.label, "signal": one.signal}
        if not len(one.support):
            rows.append({**name, **facts})
        for j in one.support:
            atom = {
                "index": j,
                "label": labels[j] if labels else "",
                **values_of(one.x[j]),
                "votes": sum(o.x[j] != 0 for o in beside),
                "kept": float(one.kept[:, j].mean()) if len(one.kept) else math.nan,
            }
            rows.append({**name, **atom, **facts})
    made = pd.DataFrame(rows).astype({"index": "Int64", "votes": "Int64"})
    return made.assign(
        problem=planted.problem.label,
        problem_options=json.dumps(planted.problem.recipe["options"]),
        m=m,
        n=planted.n,
        k=k,
        seed=seed,
    )


def _trust(planted: SupportDistance, chosen: Choice) -> dict[str, float]:
    """Return how often an algorithm succeeds on the planted signals, and its distance."""
    (row,) = (r for r in planted.distances().to_dict("records") if r["algorithm"] == chosen.label)
    lower, upper = wilson(row["exact"], row["trials"])
    names = ("distance", "distance_lower", "distance_upper")
    return {
        "estimate": row["exact"] / row["trials"],
        "lower": float(lower),
        "upper": float(upper),
        "trials": row["trials"],
        **{name: row[column] for name, column in zip(names, COLUMNS, strict=True)},
    }
