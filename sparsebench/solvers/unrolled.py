"""Trained networks as algorithms: each is chosen with the name of its weights."""

from __future__ import annotations

import numpy as np

from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ended, read_off
from sparsebench.types import Dictionary, FloatArray, InputError, Result

# Weights are float32; a dictionary is that of the training if it agrees to this accuracy.
_SAME = 1e-6
_CPSS = "Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038"
_ENCODERS = "Wang, Ling and Huang, AAAI 2016, arXiv:1509.00153"
_NAMES = {
    "lista": (
        "LISTA: ISTA with learnt matrices and thresholds",
        f"Gregor and LeCun, ICML 2010; in the form of {_CPSS}",
    ),
    "lista-cp": ("LISTA with coupled weights: one learnt matrix a stage", _CPSS),
    "lista-cpss": ("LISTA with coupled weights and support selection", _CPSS),
    "alista": (
        "ALISTA: the analytic weight, with learnt steps and thresholds",
        f"Liu, Chen, Wang and Yin, ICLR 2019; support selection: {_CPSS}",
    ),
    "hyperlista": (
        "HyperLISTA: three constants for the analytic weight with momentum",
        "Chen, Liu, Wang and Yin, NeurIPS 2021, arXiv:2110.15900",
    ),
    "na-alista": (
        "NA-ALISTA: a recurrent network sets step and threshold by signal",
        "Behrens, Sauder and Jung, ICLR 2021, arXiv:2010.01930",
    ),
    "liht": (
        "Learned iterative hard thresholding: learnt matrices, the M largest entries",
        "Xin, Wang, Gao and Wipf, NeurIPS 2016, arXiv:1605.01636",
    ),
    "deep-l0": ("Deep l0-regularised encoder: shared learnt matrices and HELU", _ENCODERS),
    "deep-m-sparse": ("Deep M-sparse encoder: shared learnt matrices, M largest", _ENCODERS),
}


def encode(name: str, dictionary: Dictionary, signals: FloatArray, weights: str) -> FloatArray:
    """Return a trained network's codes, shape (B, n), of signals, shape (B, m).

    Raises
    ------
    InputError
        If no weights are named, or they are of another network or another dictionary.
    """
    import torch

    from sparsebench.learned.weights import load

    trained = load(weights)
    recipe = trained.recipe
    if recipe["network"] != name:
        raise InputError(f"the weights {weights} are of {recipe['network']}, not of {name}")
    if dictionary.shape != (recipe["m"], recipe["n"]):
        raise InputError(
            f"{name}[weights={weights}] was trained for m = {recipe['m']}, n = {recipe['n']}, "
            f"not for m = {dictionary.shape[0]}, n = {dictionary.shape[1]}"
        )
    known = trained.network.A.numpy()
    if np.abs(known - dictionary.A).max() > _SAME * np.abs(known).max():
        raise InputError(f"{name}[weights={weights}] was trained for another dictionary")
    with torch.no_grad():
        codes = trained.network(torch.tensor(signals, dtype=torch.float32))
    return codes.double().numpy()


def _register(name: str, summary: str, source: str) -> None:
    def several(
        dictionary: Dictionary, signals: FloatArray, k: int, *, weights: str
    ) -> tuple[FloatArray, np.ndarray]:
        from sparsebench.learned.weights import load

        codes = encode(name, dictionary, signals, weights)
        pairs = zip(signals, codes, strict=True)
        estimates = np.stack([read_off(dictionary, y, k, code) for y, code in pairs])
        return estimates, np.full(len(signals), load(weights).recipe["depth"])

    def solve(dictionary: Dictionary, y: FloatArray, k: int, *, weights: str = "") -> Result:
        estimates, n_iter = several(dictionary, y[None], k, weights=weights)
        return ended(estimates[0], int(n_iter[0]), CONVERGED)

    solve.__doc__ = f"""{summary}.

    Least squares on the k largest entries of the code after the last stage.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n): the one it was trained for.
    y : ndarray, shape (m,)
    k : int
    weights : str
        Their name, as `train` printed it.
    """
    algorithm(
        name,
        told=("k", "training"),
        family="learned",
        source=source,
        requires="torch",
        several=several,
        cost="4*m*n",
    )(solve)


for _name, (_summary, _source) in _NAMES.items():
    _register(_name, _summary, _source)
