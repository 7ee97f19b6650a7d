"""Studies that sweep noise, widths, grids, budgets and steps, a stated number of trials a point."""

from __future__ import annotations

from typing import Any

from sparsebench.experiments.studies.kinds import STUDIES, Axis, Panel, Sweep, named


def _sizes(quick: tuple[float, ...], paper: tuple[float, ...], trials: int) -> dict[str, Any]:
    """Return the sizes of a sweep: values on the x axis by preset, and the trials of a paper."""
    return {
        "quick": {"n": 100, "x": quick, "trials": 5},
        "paper": {"n": 500, "x": paper, "trials": trials},
    }


# Without CoSaMP, which takes longest and comes last on coherent atoms.
_USUAL = named("omp,ompr,els,iht,niht,htp,nhtp,sp,sea,omp+sea,els+sea,homotopy,ridge,pinv")
_DECONVOLUTION = "deconvolution[width=3]"
_NOISE = (
    ("no noise", _DECONVOLUTION),
    *((f"{snr} dB", f"deconvolution[width=3,snr={snr}]") for snr in (60, 40, 30, 20)),
)
_SPARSITY: Axis = ("sparsity k", {"scale": "whole"})
_SPARSITIES = (2, 5, 10), (5, 10, 20, 30, 40, 50)
# The two problems of the explorations: hard for every algorithm, one for each of the figures.
_HARD = (
    Panel("Gaussian, m = n/2, k = {k}", "gaussian", m=0.5, k=0.09, metrics=("exact",)),
    Panel("deconvolution, k = {k}", _DECONVOLUTION, k=0.04),
)

# Random ones that theory treats alike, then those that nature correlates.
_ENSEMBLES = {
    "Gaussian": "gaussian[columns=unit]",
    "signs": "bernoulli",
    "rows of the cosine transform": "dct",
    "rows of a Hadamard matrix": "hadamard",
    "rows of the Fourier transform": "fourier",
    "eight ones a column": "sparse-binary",
    "neighbours correlate at .9": "toeplitz[rho=0.9]",
    "tomography": "tomography[amplitudes=uniform]",
    "spectra": "unmixing[amplitudes=uniform]",
    "directions": "steering",
}

# What is told the noise level, of which a multiple counts; and what is told nothing, once.
_TUNED = {
    "omp[k=noise]": "omp[k=noise,factor={x}]",
    "sbr[k=noise]": "sbr[k=noise,factor={x}]",
    "homotopy[k=noise]": "homotopy[k=noise,factor={x}]",
    **{
        name: f"{name}[factor={{x}}]"
        for name in ("bpdn", "lasso-universal", "iht-universal", "sbl-noise")
    },
    **named("omp[k=mdl],debiased"),
}
_DETECTED = ("recall", "false_discovery")

STUDIES |= {
    "detection": Sweep(
        "what is detected against false alarms, as the noise level counts for less or more",
        (
            Panel("Gaussian, m = n/2, k = {k}, 20 dB", "gaussian[snr=20]", 0.5, 0.12, _DETECTED),
            Panel("Gaussian, m = n/2, k = {k}, 10 dB", "gaussian[snr=10]", 0.5, 0.08, _DETECTED),
            Panel("deconvolution, k = {k}, 40 dB", "deconvolution[snr=40]", 1.0, 0.02, _DETECTED),
        ),
        _TUNED,
        {
            "quick": {"n": 100, "x": (0.5, 1, 2), "trials": 5},
            "paper": {"n": 250, "x": (0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5), "trials": 40},
        },
        {},  # a picture of its own
    ),
    "ensembles": Sweep(
        "dictionaries that theory treats alike, and some that it does not, at m = n/2",
        tuple(
            Panel(title, problem, m=0.5, metrics=("exact",))
            for title, problem in _ENSEMBLES.items()
        ),
        named("omp,els,niht,nhtp,sp,sea,els+sea,homotopy,fista"),
        {  # n is a square and a power of two
            "quick": {"n": 64, "x": (2, 6), "trials": 5},
            "paper": {"n": 256, "x": (2, 4, 8, 16, 24, 32, 40, 48, 56), "trials": 50},
        },
        {"ensembles": _SPARSITY},
    ),
    "noise": Sweep(
        "deconvolution with noise at five levels",
        tuple(Panel(title, problem) for title, problem in _NOISE),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
        {"noise": _SPARSITY},
    ),
    "tolerance": Sweep(
        "deconvolution scored by distances that forgive an error of one or two indices",
        tuple(
            Panel(title, problem, metrics=("support_distance", "near_1", "near_2"))
            for title, problem in (_NOISE[0], _NOISE[2])
        ),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
        {"tolerance": _SPARSITY},
    ),
    "widths": Sweep(
        "deconvolution with filters of four widths",
        tuple(
            Panel(f"filter width {width}", f"deconvolution[width={width}]")
            for width in (1, 2, 3, 5)
        ),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
        {"widths": _SPARSITY},
    ),
    "noise-level": Sweep(
        "deconvolution against the noise level: from where on does sparsity help?",
        tuple(Panel("k = {k}", "deconvolution[width=3,snr={snr}]", k=k) for k in (0.01, 0.04, 0.1)),
        {**_USUAL, "oracle": "oracle"},
        _sizes((0, 1e-12, 1e-6, 1e-2), (0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2), 100),
        {"noise-level": ("relative noise ‖e‖ / ‖Ax‖", {"scale": "log with zero"})},
    ),
    "super-resolution": Sweep(
        "spikes on a grid finer than the samples, where no inverse exists",
        tuple(
            Panel(
                f"{factor} times finer, {noise}",
                f"super-resolution[factor={factor},width=3,snr={snr}]",
                m=1 / factor,
            )
            for factor in (2, 4)
            for noise, snr in (("no noise", "inf"), ("40 dB", "40"))
        ),
        _USUAL,
        # Fewer trials: without an inverse nearly all loops spend their 1000 iterations.
        _sizes(*_SPARSITIES, 40),
        {"super-resolution": _SPARSITY},
    ),
    "budget": Sweep(
        "what more iterations buy, beside restarts at equal cost",
        _HARD,
        {
            name: f"{name}[max_iter={{x}}]"
            for name in "sea,omp+sea,els+sea,htp,iht,htp-restarts,iht-restarts,els".split(",")
        },
        _sizes((1, 10, 100), (1, 3, 10, 30, 100, 300, 1000, 3000, 10000), 50),
        {
            "budget": ("iteration budget of the last stage", {"scale": "log"}),
            "budget-flops": ("mean flops of a solve", {"scale": "log", "x": "flops"}),
        },
    ),
    "eta": Sweep(
        "the step of support exploration from a warm start, beside the starts themselves",
        _HARD,
        {
            "omp+sea": "omp+sea[step={x}/L]",
            "els+sea": "els+sea[step={x}/L]",
            **named("sea,omp,els"),
        },
        _sizes(
            (0.018, 1.8, 180), (0.018, 0.056, 0.18, 0.56, 1.8, 5.6, 18, 56, 180, 560, 1800), 100
        ),
        {"eta": ("step of SEA, in units of 1/‖A‖²", {"scale": "log"})},
    ),
}
