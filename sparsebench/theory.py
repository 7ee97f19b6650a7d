"""What theory says: limits that curves are drawn against, and guarantees of a dictionary."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import combinations, islice

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.errors import LARGEST_INTEGER, InputError, check_whole
from sparsebench.types import FloatArray, IntArray, as_array, as_numbers, as_reals

# Subsets that are enumerated at most, and together.
_MOST_SUBSETS = 10_000_000
_SUBSETS_AT_ONCE = 2**15


@cache
def donoho_tanner(delta: float) -> float:
    """Return the weak threshold rho = k/m of l1 minimisation at undersampling delta = m/n.

    The n -> infinity limit of the 50 % point of basis pursuit for signed coefficients and
    Gaussian dictionaries. It bounds no other algorithm.

    Parameters
    ----------
    delta : float
        Undersampling ratio m/n, 0 < delta < 1.

    Raises
    ------
    InputError
        If delta is outside (0, 1).

    References
    ----------
    Donoho and Tanner, "Counting faces of randomly projected polytopes when the projection
    radically lowers dimension", J. AMS 22, 2009. Parametric form: Donoho, Maleki and Montanari,
    PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    z = minimax_threshold(delta)
    return 1 - z * _tail(z) / _density(z)


def donoho_tanner_curve(deltas: np.ndarray) -> np.ndarray:
    """Return `donoho_tanner` at each of `deltas`, same shape."""
    return np.array([donoho_tanner(float(delta)) for delta in deltas])


@cache
def complex_l1_limit(delta: float) -> float:
    """Return the weak threshold rho = k/m of complex l1 minimisation at undersampling delta = m/n.

    The n -> infinity limit of the 50 % point of min Σ|x_i| subject to A x = y, with A complex
    Gaussian and the phases of x uniform. It lies above the Donoho-Tanner curve: a modulus joins two
    real numbers that are zero together.

    With z the threshold, A = exp(-z²) - √pi z erfc(z) the risk at zero of the soft thresholding of
    standard complex noise and 1 + z² that at infinity, it is the largest
    (1 - A / delta) / (1 + z² - A) of all z.

    Parameters
    ----------
    delta : float
        Undersampling ratio m/n, 0 < delta < 1.

    Raises
    ------
    InputError
        If delta is outside (0, 1).

    References
    ----------
    Maleki, Anitori, Yang and Baraniuk, "Asymptotic analysis of complex LASSO via complex
    approximate message passing (CAMP)", IEEE Trans. Inf. Theory 59, 2013,
    doi:10.1109/TIT.2013.2252232.
    """
    z = minimax_threshold(delta, True)
    at_zero, _ = _complex_risk_at_zero(z)
    return (1 - at_zero / delta) / (1 + z * z - at_zero)


def l1_limit(delta: float, complex_numbers: bool) -> float:
    """Return `complex_l1_limit` or `donoho_tanner`."""
    return complex_l1_limit(delta) if complex_numbers else donoho_tanner(delta)


@cache
def minimax_threshold(delta: float, complex_numbers: bool = False) -> float:
    """Return the minimax soft threshold, in units of the noise level, at undersampling delta = m/n.

    The parameter z of the Donoho-Tanner curve, or of `complex_l1_limit`. No other threshold lets
    approximate message passing succeed, whatever the amplitudes, up to a larger k/m.

    Parameters
    ----------
    delta : float
        Undersampling ratio m/n, 0 < delta < 1.
    complex_numbers : bool
        Whether A and x are complex.

    Raises
    ------
    InputError
        If delta is outside (0, 1).

    References
    ----------
    Donoho, Maleki and Montanari, PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    if not 0 < delta < 1:
        raise InputError(f"the undersampling ratio must lie in (0, 1), not {delta}")

    from scipy.optimize import brentq

    def excess(z: float) -> float:
        if complex_numbers:
            at_zero, fall = _complex_risk_at_zero(z)
            return at_zero + fall * (1 + z * z - at_zero) / (2 * z + fall) - delta
        return 2 * _density(z) / (z + 2 * (_density(z) - z * _tail(z))) - delta

    return float(brentq(excess, 1e-12, 30.0, xtol=1e-14))


def minimax_l1_risk(delta: float, rho: float) -> float:
    """Return the minimax risk of the Lasso: E||x̂ - x||² / n over the variance of the noise.

    In the limit n -> infinity, for a Gaussian A of unit columns, m = delta n and k = rho m: of the
    best penalty and the least favourable amplitudes. With M the minimax risk of the soft
    thresholding of one number that is zero with probability 1 - rho delta, it is M / (1 - M /
    delta); infinite from rho = `donoho_tanner` on, where M = delta.

    Parameters
    ----------
    delta, rho : float
        Undersampling ratio m/n, 0 < delta < 1, and sparsity k/m, 0 < rho < 1.

    Raises
    ------
    InputError
        If one of them is outside.

    References
    ----------
    Donoho, Maleki and Montanari, "The noise-sensitivity phase transition in compressed sensing",
    IEEE Trans. Inf. Theory 57, 2011, doi:10.1109/TIT.2011.2165823.
    """
    if not 0 < delta < 1 or not 0 < rho < 1:
        raise InputError(f"m/n and k/m must lie in (0, 1), not at {delta} and {rho}")

    from scipy.optimize import minimize_scalar

    density = rho * delta

    def risk(z: float) -> float:
        at_zero = 2 * ((1 + z * z) * _tail(z) - z * _density(z))
        return density * (1 + z * z) + (1 - density) * at_zero

    least = float(minimize_scalar(risk, bounds=(0, 10), options={"xatol": 1e-10}).fun)
    return least / (1 - least / delta) if least < delta else math.inf


def state_evolution(delta: float, rho: float, threshold: float, iterations: int) -> np.ndarray:
    """Return the mean squared error ||x_t - x||² / n of approximate message passing, t = 0, 1, ...

    In the limit n -> infinity, without noise, x_t + Aᵀz_t is distributed as x plus Gaussian noise
    of variance E(x_t - x)² / delta, of which the next x_t is the soft thresholding. Here x is
    zero with probability 1 - rho delta and else uniform on [-2, -1] ∪ [1, 2].

    Parameters
    ----------
    delta, rho : float
        Undersampling ratio m/n > 0 and sparsity k/m.
    threshold : float
        In units of the noise's standard deviation.
    iterations : int

    Returns
    -------
    ndarray, shape (iterations + 1,)
        The first entry is that of x_0 = 0.

    References
    ----------
    Donoho, Maleki and Montanari, PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    density = rho * delta
    nodes, weights = np.polynomial.legendre.leggauss(60)
    amplitudes, weights = 1.5 + 0.5 * nodes, 0.5 * weights
    error = density * float(weights @ amplitudes**2)
    errors = [error]
    for _ in range(iterations):
        sigma = np.sqrt(error / delta)
        at_zero = _soft_threshold_risk(np.zeros(1), threshold)[0]
        elsewhere = float(weights @ _soft_threshold_risk(amplitudes / sigma, threshold))
        error = sigma**2 * float((1 - density) * at_zero + density * elsewhere)
        errors.append(error)
    return np.array(errors)


def babel(A: ArrayLike) -> FloatArray:
    """Return the Babel function mu_1(s) of a dictionary at s = 0, ..., n - 1.

    The largest sum of |cosines| between one atom and s others. mu_1(1) is the mutual coherence mu,
    and mu_1(s) <= s mu. Atoms of norm 1 have restricted isometry constants of at most mu_1(s - 1).

    Parameters
    ----------
    A : array_like, shape (m, n)
        Its atoms are scaled to norm 1.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    InputError
        If `A` is not a finite matrix, or has a zero column.

    References
    ----------
    Tropp, "Greed is good: algorithmic results for sparse approximation", IEEE Trans. Inf. Theory
    50, 2004, doi:10.1109/TIT.2004.834793.
    """
    atoms = _unit_atoms(A)
    cosines = np.abs(atoms.conj() @ atoms.T)
    np.fill_diagonal(cosines, 0.0)
    others = -np.sort(-cosines, axis=1)[:, :-1]  # the zero of the atom itself comes last
    return np.concatenate([[0.0], others.cumsum(axis=1).max(axis=0)])


def guaranteed_sparsity(A: ArrayLike) -> dict[str, int]:
    """Return the largest k whose every x is recovered without noise, as the Babel function tells.

    With atoms of norm 1, by ``omp`` in k iterations and by l1 minimisation (``bp``) if
    mu_1(k) + mu_1(k - 1) < 1, and by ``htp`` with step 1 in k iterations if
    2 mu_1(k) + mu_1(k - 1) < 1. Coherence alone guarantees less: k < (1 + 1/mu)/2 and
    k < (1 + 1/mu)/3.

    Parameters
    ----------
    A : array_like, shape (m, n)
        Its atoms are scaled to norm 1.

    Returns
    -------
    dict of str to int
        By the algorithm's name, at most n - 1; 0 where nothing is guaranteed.

    Raises
    ------
    InputError
        If `A` is not a finite matrix, or has a zero column.

    References
    ----------
    OMP and l1: Tropp, IEEE Trans. Inf. Theory 50, 2004, doi:10.1109/TIT.2004.834793. HTP: Foucart
    and Rauhut, "A Mathematical Introduction to Compressive Sensing", section 5.5, Birkhäuser, 2013,
    doi:10.1007/978-0-8176-4948-7. Coherence: Donoho and Elad, PNAS 100, 2003,
    doi:10.1073/pnas.0437847100.
    """
    sums = babel(A)
    greedy, pursuit = sums[1:] + sums[:-1], 2 * sums[1:] + sums[:-1]  # both grow with k
    return {
        "omp": int((greedy < 1).sum()),
        "bp": int((greedy < 1).sum()),
        "htp": int((pursuit < 1).sum()),
    }


def exact_recovery_coefficient(A: ArrayLike, support: ArrayLike) -> float:
    """Return the largest l1 norm of A_S⁺ a_j over the atoms a_j outside a support S.

    Below 1, ``omp`` recovers every x on S from A x in |S| iterations, and so does l1 minimisation
    (``bp``). At 1 or above, there is an x on S for which OMP's first choice is not in S, or is
    tied. It is at most mu_1(k) / (1 - mu_1(k - 1)), k = |S|, where that denominator is positive.

    Parameters
    ----------
    A : array_like, shape (m, n)
        Its atoms are scaled to norm 1.
    support : array_like of int
        Indices of S, all different.

    Returns
    -------
    float
        Infinite where the atoms of S are linearly dependent; 0 where no atom is outside.

    Raises
    ------
    InputError
        If `A` is not a finite matrix or has a zero column, or `support` is empty or not one.

    References
    ----------
    Tropp, IEEE Trans. Inf. Theory 50, 2004, doi:10.1109/TIT.2004.834793.
    """
    atoms = _unit_atoms(A)
    chosen = as_array(support, "support")
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise InputError(f"support must be a list of at least one index, not {support!r}")
    if len(set(chosen.tolist())) < chosen.size or not 0 <= chosen.min() <= chosen.max() < len(
        atoms
    ):
        raise InputError(f"support must have different indices in 0 .. {len(atoms) - 1}")
    inside, outside = atoms[chosen].T, np.delete(atoms, chosen, axis=0).T
    left, values, right = np.linalg.svd(inside, full_matrices=False)
    smallest = np.finfo(float).eps * max(inside.shape) * values[0]
    if len(values) < chosen.size or values[-1] <= smallest:
        return math.inf
    coefficients = right.conj().T @ ((left.conj().T @ outside) / values[:, np.newaxis])
    return float(np.abs(coefficients).sum(axis=0).max(initial=0.0))


def restricted_isometry(A: ArrayLike, order: int) -> float:
    """Return the restricted isometry constant of A, exactly: every subset of atoms is looked at.

    The least delta with (1 - delta) ||x||² <= ||A x||² <= (1 + delta) ||x||² for all x with at
    most `order` non-zeros: the largest distance to 1 of an eigenvalue of A_SᴴA_S, |S| = `order`.
    It takes n! / (order! (n - order)!) subsets: of n = 20 atoms 1,140 of three and 15,504 of five.

    Parameters
    ----------
    A : array_like, shape (m, n)
        Taken as it is: its atoms are not scaled.
    order : int
        1 <= order <= n.

    Raises
    ------
    InputError
        If `A` is not a finite matrix, or there are more than ten million subsets.

    References
    ----------
    Candès and Tao, IEEE Trans. Inf. Theory 51, 2005, doi:10.1109/TIT.2005.858979.
    """
    matrix = _matrix(A)
    n = matrix.shape[1]
    order = check_whole("order", order, 1, n)
    if math.comb(n, order) > _MOST_SUBSETS:
        raise InputError(
            f"{math.comb(n, order):,} subsets of {order} of {n} atoms are more than "
            f"{_MOST_SUBSETS:,}: for atoms of norm 1, babel(A)[{order - 1}] bounds the constant"
        )
    gram = matrix.conj().T @ matrix
    delta = 0.0
    for sets in _subsets(n, order):
        eigenvalues = np.linalg.eigvalsh(gram[sets[:, :, np.newaxis], sets[:, np.newaxis, :]])
        delta = max(delta, float(eigenvalues[:, -1].max()) - 1, 1 - float(eigenvalues[:, 0].min()))
    return delta


def exploration_bound(error: ArrayLike, k: int) -> FloatArray:
    """Return in how many iterations support exploration meets the true support: our own theorem.

    If A has columns of norm 1, x* at most k non-zeros, y = A x* + e, and

        error = (delta ||x*|| + epsilon) / min |x*_i|  <  1 / (k + 1),

    delta the restricted isometry constant of order 2k + 1, epsilon at least every |a_iᵀ P e| (P
    the projection that takes away any k atoms; ||e|| is enough), then one of the first
    1 + floor(k (1 - 2 error) / (1 - (k + 1) error)) supports of SEA from zero contains that of
    x*. The proof is in ``docs/recovery.md``.

    Parameters
    ----------
    error : array_like
        Any shape.
    k : int
        The sparsity that SEA is told.

    Returns
    -------
    ndarray
        Infinite where the premise does not hold.

    Raises
    ------
    InputError
        If an error is negative or not a number, or k is not a whole number of at least 1.
    """
    k = check_whole("k", k, 1, LARGEST_INTEGER)
    errors = as_reals(as_array(error, "error"), "error")
    if not (errors >= 0).all():
        raise InputError("error must be 0 or a positive number")
    room = 1 - (k + 1) * errors
    holds = room > 0
    failing = k * (1 - 2 * errors) / np.where(holds, room, 1.0)
    # What rounding may have brought below a whole number is that number.
    return np.where(holds, 1 + np.floor(failing * (1 + 1e-12)), np.inf)


def _matrix(A: ArrayLike) -> FloatArray:
    """Return A as a fresh matrix of finite numbers."""
    matrix = as_numbers(A, "A")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"A must have shape (m, n) with m, n >= 1, not {matrix.shape}")
    return matrix


def _unit_atoms(A: ArrayLike) -> FloatArray:
    """Return the columns of A, scaled to norm 1, as rows."""
    atoms = _matrix(A).T
    atoms = atoms / np.maximum(np.abs(atoms).max(axis=1, keepdims=True), np.finfo(float).tiny)
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    if not norms.all():
        raise InputError(f"atom {int(np.argmin(norms))} of A is zero: remove it")
    return np.asarray(atoms / norms)


def _subsets(n: int, size: int) -> Iterator[IntArray]:
    """Yield all subsets of so many of n indices, as rows of arrays of bounded length."""
    every = combinations(range(n), size)
    while rows := list(islice(every, _SUBSETS_AT_ONCE)):
        yield np.array(rows, dtype=np.intp)


def _density(z: float) -> float:
    """Return the standard normal density."""
    return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _complex_risk_at_zero(z: float) -> tuple[float, float]:
    """Return E max(|Z| - z, 0)² for standard complex normal Z, and minus its derivative."""
    fall = math.sqrt(math.pi) * math.erfc(z)
    return math.exp(-z * z) - z * fall, fall


def _tail(z: float) -> float:
    """Return the standard normal probability of more than z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _soft_threshold_risk(means: np.ndarray, threshold: float) -> np.ndarray:
    """Return E(soft(mu + Z) - mu)² for standard normal Z, by mean mu >= 0."""
    from scipy.special import ndtr

    over, under = threshold - means, threshold + means
    inside = ndtr(over) - ndtr(-under)
    risk = 1 + threshold**2 + (means**2 - 1 - threshold**2) * inside
    densities = np.exp(-0.5 * np.stack([under, over]) ** 2) / math.sqrt(2 * math.pi)
    return np.asarray(risk - over * densities[0] - under * densities[1])
