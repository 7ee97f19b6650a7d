"""Swaps, insertions and removals: their formulas by brute force, and what the searches promise."""

from itertools import combinations

import numpy as np
import pytest
import references

import sparsebench
from sparsebench.kernels.exchange import (
    best_addition,
    best_removal,
    best_swap,
    exchange,
    independent,
    refresh,
    room,
)
from sparsebench.types import Dictionary

SEARCHES = ["els", "ompr", "ompr[step=0.5]", "sbr", "splicing", "splicing[c_max=0]"]
INSTANCES = [("gaussian", {"m": 40, "n": 80, "k": 14, "trial": t}) for t in range(3)] + [
    ("deconvolution", {"m": 80, "n": 80, "k": 8, "width": w, "trial": t, "snr": snr})
    for w in (1.0, 3.0, 5.0)
    for snr, t in ((np.inf, 0), (30.0, 1))
]


def residual(A, y, x):
    return np.linalg.norm(y - A @ x) / np.linalg.norm(y)


def noisy_spikes(width, seed):
    """(A, y), neighbours of which are alike; y is in the span of no few of them."""
    shifts = np.subtract.outer(np.arange(50), np.arange(50))
    A = np.exp(-0.5 * (shifts / width) ** 2)
    rng = np.random.default_rng(seed)
    return A, A @ rng.standard_normal(50) + 0.1 * rng.standard_normal(50)


def gaussian(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((25, 50)) * rng.uniform(0.5, 2, 50), rng.standard_normal(25)


class State:
    """A support with its terms, as the searches keep them."""

    def __init__(self, A, y, support, most, orthogonal=False):
        self.dictionary, self.y, self.k = Dictionary(A), y, len(support)
        self.support = np.zeros(most, dtype=np.intp)
        self.support[: self.k] = support
        self.terms = room(y, A.shape[1], most)
        self.fixed = (self.dictionary.atoms, self.dictionary.gram, A.T @ y, y, self.support)
        self.squared, self.age = refresh(*self.fixed, self.k, self.terms, orthogonal)

    def move(self, out, entering):
        self.squared, self.age = exchange(*self.fixed, self.k, out, entering, self.terms, self.age)
        self.k += (entering >= 0) - (out >= 0)

    @property
    def members(self):
        return [int(j) for j in self.support[: self.k]]


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("case", ["gaussian", 0.7, 2.0, 3.0])
def test_best_moves_are_those_of_brute_force(case, orthogonal):
    for seed in range(3):
        A, y = gaussian(seed) if case == "gaussian" else noisy_spikes(case, seed)
        support = list(np.random.default_rng(seed).choice(50, 6, replace=False))
        if case != "gaussian":
            support[:3] = [20, 21, 22]
            support = list(dict.fromkeys(support))
        state = State(A, y, support, len(support), orthogonal)
        now = np.sum((y - A @ references.on_support(A, y, support)) ** 2)
        np.testing.assert_allclose(state.squared, now, rtol=1e-10)
        squared = references.all_swaps(A, y, support)
        i, j, change = best_swap(state.k, state.terms)
        np.testing.assert_allclose(now + change, squared.min(), rtol=1e-8)
        assert (i, j) == np.unravel_index(np.argmin(squared), squared.shape)
        others = set(range(50)) - set(support)
        added = {
            j: np.sum((y - A @ references.on_support(A, y, [*support, j])) ** 2) for j in others
        }
        j, fall = best_addition(state.terms)
        assert j == min(added, key=added.get)
        np.testing.assert_allclose(now - fall, added[j], rtol=1e-8)
        np.testing.assert_allclose(
            references.additions(A, y, support)[list(others)],
            [now - added[j] for j in others],
            atol=1e-9 * now,
        )
        removed = [
            np.sum((y - A @ references.on_support(A, y, support[:i] + support[i + 1 :])) ** 2)
            for i in range(len(support))
        ]
        i, rise = best_removal(state.k, state.terms)
        assert i == np.argmin(removed)
        np.testing.assert_allclose(now + rise, removed[i], rtol=1e-8)
        np.testing.assert_allclose(now + references.removals(A, y, support), removed, rtol=1e-7)


@pytest.mark.parametrize("width", [0.7, 3.0])
def test_the_swaps_of_the_reference_are_those_of_brute_force(width):
    for seed in range(3):
        A, y = noisy_spikes(width, seed)
        support = [3, 20, 21, 22, 40]
        np.testing.assert_allclose(
            references.swaps(A, y, support), references.all_swaps(A, y, support), rtol=1e-8
        )
        for start in (None, np.zeros(50)):
            quick = references.els(A, y, 4, start)
            slow = references.els(A, y, 4, start, references.all_swaps)
            assert np.array_equal(quick != 0, slow != 0)


def test_sweeps_keep_what_a_factorisation_gives():
    rng = np.random.default_rng(1)
    A, y = rng.standard_normal((60, 100)), rng.standard_normal(60)
    state = State(A, y, rng.choice(100, 8, replace=False), 30)
    swept = 0
    for move in range(60):
        out = int(rng.integers(state.k)) if move % 3 or state.k > 20 else -1
        others = np.setdiff1d(np.arange(100), state.members)
        entering = int(rng.choice(others)) if move % 4 or state.k < 5 else -1
        state.move(out, entering)
        swept += state.age > 0
        fresh = State(A, y, state.members, 30, orthogonal=True)
        np.testing.assert_allclose(state.squared, fresh.squared, rtol=1e-11)
        k = state.k
        for name in ("coefficients", "inverse", "duals", "distances", "gradient", "remainder"):
            ours, theirs = getattr(state.terms, name), getattr(fresh.terms, name)
            if name in ("coefficients", "duals"):
                ours, theirs = ours[:k], theirs[:k]
            if name == "inverse":
                ours, theirs = ours[:k, :k], theirs[:k, :k]
            np.testing.assert_allclose(ours, theirs, atol=1e-9, err_msg=name)
    assert swept > 40


def test_atoms_in_the_span_are_closed_and_near_ones_are_measured():
    rng = np.random.default_rng(2)
    A, y = rng.standard_normal((20, 12)), rng.standard_normal(20)
    A[:, 5] = A[:, 0]
    A[:, 6] = A[:, 0] - 3 * A[:, 1]
    A[:, 7] = 0.0
    off = rng.standard_normal(20)
    off -= A[:, :3] @ np.linalg.lstsq(A[:, :3], off)[0]
    A[:, 8] = A[:, 0] + A[:, 2] + 1e-7 * off
    for orthogonal in (False, True):
        state = State(A, y, [0, 1, 2], 3, orthogonal)
        assert not state.terms.distances[[0, 1, 2, 5, 6, 7]].any()
        expected = 1e-14 * (off @ off)
        np.testing.assert_allclose(state.terms.distances[8], expected, rtol=1e-6)
        np.testing.assert_allclose(state.terms.gradient[8], 1e-7 * (off @ y), rtol=1e-6)
    kept = np.zeros(4, dtype=np.intp)
    dictionary = Dictionary(A)
    indices = np.array([0, 1, 5, 6])
    assert independent(dictionary.atoms, dictionary.gram, indices, kept) == 2
    assert kept[:2].tolist() == [0, 1]


@pytest.mark.parametrize("name", SEARCHES)
def test_never_above_the_start(name):
    for problem, recipe in INSTANCES:
        instance = sparsebench.draw(problem, **recipe)
        A, y, k = instance.A, instance.y, recipe["k"]
        rng = np.random.default_rng(recipe["trial"])
        crowd = rng.integers(20, 50) + np.arange(k)
        supports = [rng.choice(80, k, replace=False), crowd, crowd[: k // 2], instance.support]
        for support in supports:
            start = references.on_support(A, y, support)
            found = sparsebench.solve(name, A, y, k, start=start).x
            assert residual(A, y, found) <= residual(A, y, start) + 1e-12
        zero = sparsebench.solve(name, A, y, k, start=np.zeros(80)).x
        assert residual(A, y, zero) < 1.0


@pytest.mark.parametrize("name", SEARCHES)
def test_a_start_of_dependent_atoms(name):
    rng = np.random.default_rng(4)
    A = rng.standard_normal((12, 20))
    A[:, 1] = A[:, 0]
    A[:, 2] = A[:, 0] + A[:, 3]
    A[:, 4] = 0.0
    y = rng.standard_normal(12)
    start = np.zeros(20)
    start[:6] = 1.0, 2.0, -1.0, 0.5, 3.0, 1.0
    found = sparsebench.solve(name, A, y, 6, start=start).x
    assert np.isfinite(found).all()
    basis = [0, 3, 5]  # of what the six span
    assert residual(A, y, found) <= residual(A, y, references.on_support(A, y, basis))
    if name in ("els", "sbr"):
        support = np.flatnonzero(found)
        assert np.linalg.cond(A[:, support]) < 1e3
    if name == "els":
        assert len(support) == 6


def test_starts_agree_with_the_plain_loops():
    rules = {
        "els": references.els,
        "sbr": references.sbr,
        "splicing[c_max=0]": references.splicing,
        "ompr[step=1]": lambda A, y, k, start: references.ompr(
            A, y, k, references.unit_step(A), start
        ),
    }
    for name, rule in rules.items():
        for trial in range(8):
            instance = sparsebench.draw("gaussian", m=40, n=80, k=12, trial=trial, snr=20.0)
            start = np.zeros(80)
            start[np.random.default_rng(trial).choice(80, 3 * (trial % 5), replace=False)] = 1.0
            expected = rule(instance.A, instance.y, 12, start)
            found = sparsebench.solve(name, instance.A, instance.y, 12, start=start).x
            assert np.array_equal(found != 0, expected != 0), (name, trial)


@pytest.mark.parametrize("name", ["els", "omp+els", "splicing+els", "sbr+els"])
def test_brute_force_finds_no_better_swap_at_the_answer_of_els(name):
    full = 0
    for problem, recipe in INSTANCES:
        instance = sparsebench.draw(problem, **recipe)
        A, y = instance.A, instance.y
        support = list(sparsebench.solve(name, A, y, recipe["k"]).support)
        now = np.linalg.norm(y - A @ references.on_support(A, y, support))
        if now <= 1e-10 * np.linalg.norm(y):
            continue
        full += 1
        assert len(support) == recipe["k"]
        assert np.sqrt(references.swaps(A, y, support).min()) >= now - 2e-12 * np.linalg.norm(y)
    assert full >= 4


def test_els_alone_is_els_after_omp_and_counts_its_swaps():
    for trial in range(5):
        instance = sparsebench.draw("gaussian", m=40, n=80, k=14, trial=trial)
        alone = sparsebench.solve("els", instance.A, instance.y, 14)
        chained = sparsebench.solve("omp+els", instance.A, instance.y, 14)
        assert np.array_equal(alone.x, chained.x)
        before = residual(instance.A, instance.y, references.omp(instance.A, instance.y, 14))
        for swaps in range(1, int(alone.n_iter) + 1):
            part = sparsebench.solve("els", instance.A, instance.y, 14, max_iter=swaps)
            assert part.n_iter == swaps
            after = residual(instance.A, instance.y, part.x)
            assert after < before
            before = after


@pytest.mark.parametrize("coherent", [False, True])
def test_how_often_the_best_of_all_supports_is_reached(coherent):
    n, m, k, draws = 14, 9, 3, 40
    reached = dict.fromkeys(SEARCHES, 0)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((m, n))
        if coherent:
            A = A + 2 * rng.standard_normal((m, 1))
        y = rng.standard_normal(m)
        best = min(
            np.linalg.norm(y - A @ references.on_support(A, y, list(S)))
            for S in combinations(range(n), k)
        )
        for name in SEARCHES:
            found = np.linalg.norm(y - A @ sparsebench.solve(name, A, y, k).x)
            assert found >= best - 1e-12
            reached[name] += found <= best + 1e-12
    least = {"els": 0.5, "sbr": 0.4}
    for name, times in reached.items():
        assert times >= least.get(name, 0.15) * draws, reached
    assert reached["els"] >= reached["ompr"]


def test_sbr_leaves_behind_what_rounding_makes_it_do_and_undo():
    """On these supports the terms keep eight digits, too few to tell a tie."""
    for trial in range(4):
        instance = sparsebench.draw("deconvolution", width=5.0, m=100, n=100, k=30, trial=trial)
        result = sparsebench.solve("sbr", instance.A, instance.y, 30)
        assert result.status == "converged"
        greedy = sparsebench.solve("ols", instance.A, instance.y, 30).x
        found, before = (np.linalg.norm(instance.y - instance.A @ x) for x in (result.x, greedy))
        assert found <= 2 * before
