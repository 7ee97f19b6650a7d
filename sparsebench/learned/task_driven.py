"""Task-driven dictionary learning: elastic-net codes, and the gradient through their active set.

For signals X of shape (N, m), a dictionary D of shape (m, p), codes A of shape (N, p):

    a(x) = argmin ½||x - D a||² + l1 ||a||₁ + ½ l2 ||a - t||²,      t = 0 unless stated.

A code moves smoothly with D while its support S and signs stay: with g the gradient of a loss with
respect to a, and b = (D_SᵀD_S + l2 I)⁻¹ g_S on S, zero elsewhere, the gradient with respect to D is
(x - D a) bᵀ - D b aᵀ.

References
----------
Mairal, Bach and Ponce, Task-driven dictionary learning, IEEE TPAMI 34, 2012, arXiv:1009.5358.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from sparsebench.kernels.homotopy import lasso_path
from sparsebench.learned.optimal_codes import least_squares
from sparsebench.system.stopping import check_stopped

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
#: Of logits (N, C): the mean loss, and its gradient with respect to them; the places are those of
#: the samples in their set.
Loss = Callable[[Floats, Places], tuple[float, Floats]]

_BREAKPOINTS = 10_000
# It has diverged when the loss of a batch exceeds 1, and that of the start, by this factor.
_DIVERGED = 1e3


@dataclass
class Model:
    """A dictionary whose codes end in a linear layer.

    Attributes
    ----------
    D : ndarray, shape (m, p)
    weight, bias : ndarray, shapes (C, p) and (C,)
    l1, l2 : float
        Penalties of a code.
    """

    D: Floats
    weight: Floats
    bias: Floats
    l1: float
    l2: float

    def logits(self, codes: Floats) -> Floats:
        """Return the outputs of the linear layer, shape (N, C)."""
        return codes @ self.weight.T + self.bias


@dataclass(frozen=True)
class Descent:
    """Projected stochastic gradient descent on D and the linear layer.

    Attributes
    ----------
    rate : float
        rho: the rate is that of the first tenth of the steps, and falls as 1 / t from there on.
    epochs : int
    batch : int
        Samples a step.
    decay : float
        nu: ½ nu ||weight||² is part of the loss.
    """

    rate: float = 1.0
    epochs: int = 3
    batch: int = 200
    decay: float = 1e-5


def elastic_net_codes(
    D: Floats, X: NDArray[np.floating], l1: float, l2: float, towards: Floats | None = None
) -> Floats:
    """Return the codes of signals, exact to rounding, by the path of `homotopy`.

    The quadratic penalty makes it the Lasso of D with sqrt(l2) I below it.

    Parameters
    ----------
    D : ndarray, shape (m, p)
    X : ndarray, shape (N, m)
    l1, l2 : float
    towards : ndarray, shape (N, p), optional
        t.
    """
    root = np.sqrt(l2)
    below = root * np.eye(D.shape[1]) if l2 else np.zeros((D.shape[1], 0))
    atoms = np.ascontiguousarray(np.hstack([D.T, below]))
    gram = atoms @ atoms.T
    tail = np.zeros((len(X), below.shape[1]))
    if towards is not None and l2:
        tail = root * towards
    signals = np.ascontiguousarray(np.hstack([X, tail]), np.float64)
    first = np.abs(signals @ atoms.T).max(axis=1)
    codes = np.zeros((len(X), D.shape[1]))
    for i in np.flatnonzero(first > l1):
        codes[i] = lasso_path(atoms, gram, signals[i], l1, False, _BREAKPOINTS)[0]
        if i % 256 == 0:
            check_stopped()
    check_stopped()  # a path that was interrupted is not whole
    return codes


def gradients(
    model: Model, X: NDArray[np.floating], codes: Floats, slope: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the gradients with respect to D, weight and bias of a loss of the logits.

    Parameters
    ----------
    model : Model
    X : ndarray, shape (N, m)
    codes : ndarray, shape (N, p)
        Those of the model.
    slope : ndarray, shape (N, C)
        The gradient of the loss with respect to the logits.
    """
    gram = model.D.T @ model.D + model.l2 * np.eye(model.D.shape[1])
    b = least_squares(gram, slope @ model.weight, codes != 0)
    rest = X - codes @ model.D.T
    return rest.T @ b - model.D @ (b.T @ codes), slope.T @ codes, slope.sum(axis=0)


def cross_entropy(labels: Places) -> Loss:
    """Return the mean cross-entropy of the softmax, for samples of these classes."""

    def loss(logits: Floats, places: Places) -> tuple[float, Floats]:
        own = labels[places]
        logarithms = scipy.special.log_softmax(logits, axis=1)
        rows = np.arange(len(own))
        slope = np.exp(logarithms)
        slope[rows, own] -= 1
        return -float(logarithms[rows, own].mean()), slope / len(own)

    return loss


def descend(
    model: Model,
    X: NDArray[np.floating],
    loss: Loss,
    descent: Descent,
    seed: int,
    judge: Callable[[Model], float],
    towards: Callable[[Places, Floats], Floats] | None = None,
) -> tuple[Model, list[float], str]:
    """Return the best model by `judge`, of the start and the ends of the epochs.

    Atoms of norm above 1 are scaled to 1 after every step.

    Parameters
    ----------
    model : Model
        Where it starts; left as it is.
    X : ndarray, shape (N, m)
    loss : callable
    descent : Descent
    seed : int
        Of the order of the samples.
    judge : callable
        Less is better.
    towards : callable, optional
        Takes the places of a batch and all codes as they were last, returns the batch's t.

    Returns
    -------
    model : Model
    judged : list of float
        At the start and after every epoch.
    diverged : str
        Empty, or where that was seen.
    """
    now, best = copy.deepcopy(model), model
    judged = [judge(model)]
    steps = -(-len(X) // descent.batch)
    total = steps * descent.epochs
    known = elastic_net_codes(now.D, X, now.l1, now.l2) if towards else np.zeros((0, 0))
    for epoch in range(descent.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(X))
        for step in range(steps):
            places = order[step * descent.batch : (step + 1) * descent.batch]
            target = towards(places, known) if towards else None
            codes = elastic_net_codes(now.D, X[places], now.l1, now.l2, target)
            if towards:
                known[places] = codes
            value, slope = loss(now.logits(codes), places)
            if not value <= _DIVERGED * max(judged[0], 1.0):
                return best, judged, f"diverged in step {step + 1} of epoch {epoch + 1}"
            to_D, to_weight, to_bias = gradients(now, X[places], codes, slope)
            done = epoch * steps + step + 1
            rate = descent.rate * min(1.0, total / (10 * done))
            now.D -= rate * to_D
            now.D /= np.maximum(np.linalg.norm(now.D, axis=0), 1.0)
            now.weight -= rate * (to_weight + descent.decay * now.weight)
            now.bias -= rate * to_bias
        judged.append(judge(now))
        if judged[-1] <= min(judged):
            best = copy.deepcopy(now)
    return best, judged, ""
