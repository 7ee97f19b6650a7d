"""The presets: every setting of a named run, in one place."""

from __future__ import annotations

from typing import Any

from sparsebench.experiments.levels import GRID_TRIALS, HALF, LEVELS, MOST_TRIALS, NEARLY_ALL

# A few of each kind, for a first look.
_FEW = "omp,iht,niht,htp,nhtp,sea,omp+sea,homotopy"
_USUAL = (
    "omp,ols,sp,"
    "iht,iht-l0,niht,cgiht,htp,nhtp,"
    "ompr,els,sbr,splicing,"
    "sea,omp+sea,els+sea,"
    "homotopy,"
    "thresholding,pinv"
)
# These four take three quarters of the time of all. Where CoSaMP fails it wanders for all of its
# iterations, hence the smaller budget.
_FAMILY = _USUAL + ",cosamp[max_iter=100],htp-restarts,amp,sbl"
# The classical algorithms, exploration beside them.
_CLASSICAL = "omp,ompr,els,iht,niht,htp,nhtp,sp,cosamp[max_iter=50],sea,omp+sea,els+sea,homotopy"
# Without those that take a second a solve on coherent atoms: basis pursuit, restarts, SBL.
_COHERENT = (
    "omp,ols,cosamp[max_iter=100],sp,"
    "iht,iht-l0,niht,cgiht,htp,nhtp,"
    "ompr,els,sbr,splicing,"
    "sea,omp+sea,els+sea,"
    "fista,homotopy,"
    "thresholding,pinv,ridge"
)
# What presets share: a diagram, and curves.
_DIAGRAM = {
    "problem": "gaussian",
    "n": 500,
    "ratios": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
    "half_widths": dict.fromkeys(LEVELS, 0.004),
    "share_of_m": False,
    "max_trials": MOST_TRIALS,
}
_CURVES = {
    "problem": "deconvolution[width=3]",
    "n": 500,
    "ks": list(range(5, 51, 5)),
    "trials": 100,
}

#: Settings of `phase-transition`: ratios are m/n; half_widths are in units of n, or of m where
#: share_of_m says so, by level (solves around the 50 % point fail half of the time, and cost most);
#: max_trials is the most trials an algorithm and m, at each of which at most six sparsities are
#: solved.
PHASE_TRANSITION: dict[str, dict[str, Any]] = {
    "quick": {
        "algorithms": _FEW,
        "problem": "gaussian",
        "n": 128,
        "ratios": [0.2, 0.35, 0.5, 0.65, 0.8],
        "half_widths": dict.fromkeys(LEVELS, 0.04),
        "share_of_m": True,
        "max_trials": 60,
    },
    "default": {"algorithms": _USUAL, **_DIAGRAM},
    "family": {"algorithms": _FAMILY, **_DIAGRAM},
    "paper": {
        "algorithms": _CLASSICAL,
        **_DIAGRAM,
        "ratios": [round(0.05 * i, 2) for i in range(1, 20)],
        "half_widths": {NEARLY_ALL: 0.002, HALF: 0.004},
        "max_trials": GRID_TRIALS,
    },
}

#: Settings of `support-distance`.
SUPPORT_DISTANCE: dict[str, dict[str, Any]] = {
    "quick": {
        "algorithms": _FEW,
        "problem": "deconvolution[width=3]",
        "n": 200,
        "ks": [2, 4, 8, 12, 16, 20],
        "trials": 20,
    },
    "default": {"algorithms": _USUAL + ",fista,ridge", **_CURVES},
    "family": {"algorithms": _FAMILY + ",fista,ridge", **_CURVES},
    "paper": {"algorithms": _COHERENT, **_CURVES, "ks": list(range(1, 51)), "trials": 200},
}

#: Settings of `recover`: some of each kind.
RECOVER: dict[str, Any] = {
    "algorithms": "omp,ols,sp,nhtp,els,splicing,sea,els+sea,homotopy,thresholding",
    "trials": 100,
    "resamples": 20,
}

#: Settings of `front`: the options that set how long each goes on.
FRONT: dict[str, Any] = {
    "algorithms": "omp,ols,sp,htp,"
    + ",".join(f"iht[max_iter={budget}]" for budget in (10, 30, 100, 300))
    + ","
    + ",".join(f"sea[max_iter={budget}]" for budget in (10, 30, 100, 300, 1000))
    + ",els[max_iter=3],els[max_iter=10],els,homotopy,amp",
    "problem": "gaussian",
    "n": 500,
    "m": 250,
    "k": 60,
}

#: Settings of `instance`.
INSTANCE: dict[str, Any] = {
    "algorithms": "omp,els,sea,els+sea,homotopy,pinv",
    "problem": "deconvolution[width=3]",
    "n": 500,
    "k": 20,
    "window": 50,
}

#: Settings of `exploration`: workloads are (problem, n, m, k).
EXPLORATION: dict[str, Any] = {
    "algorithms": "sea,omp+sea,els+sea",
    "workloads": [("deconvolution[width=3]", 500, 500, 20), ("gaussian", 500, 250, 45)],
    "trials": 100,
}

#: M of the M-sparse codes: 32 of 256 pixels is given, the same share of 64 pixels is ours.
ENCODER_SIZES = {"digits": 8, "mnist": 32}

_DIGITS = {
    "images": "digits",
    "size": ENCODER_SIZES["digits"],
    "penalty": 0.5,
    "seeds": (0, 1, 2),
    "epochs": 60,
}

#: What the sensitivity runs change in the data, and in the training, one at a time.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "dictionary of random images": ({"dictionary": "patches"}, {}),
    "Gaussian dictionary": ({"dictionary": "gaussian"}, {}),
    "||D|| = .99, step 1": ({"scaling": "spectral"}, {}),
    "published theta, lambda^½": ({"proximal": False}, {}),
    "l1 weight 1": ({"l1_weight": 1.0}, {}),
    "l1 weight .25": ({"l1_weight": 0.25}, {}),
    "sigma / 10 an epoch": ({}, {"phases": "per epoch"}),
    "sigma .2 throughout": ({}, {"phases": ((0.6, 1.0, 0.2), (0.4, 0.1, 0.2))}),
    "sigma .02 throughout": ({}, {"phases": ((0.6, 1.0, 0.02), (0.4, 0.1, 0.02))}),
    "constant rate": ({}, {"phases": ((0.8, 1.0, 0.2), (0.2, 1.0, 0.02))}),
    "Adam 3e-4": ({}, {"rate": 3e-4}),
    "SGD .01": ({}, {"optimiser": "sgd", "rate": 0.01}),
    "SGD .01, ||D|| = .99, step 1": ({"scaling": "spectral"}, {"optimiser": "sgd", "rate": 0.01}),
    "SGD .01, signals of norm sqrt(m)": ({}, {"optimiser": "sgd", "rate": 0.01, "unit": False}),
}

#: Settings of `encoders`: lambda = .5, M = 32 and the three p of `paper` are given (Wang, Ling and
#: Huang, AAAI 2016); epochs and seeds are ours.
ENCODERS: dict[str, dict[str, Any]] = {
    "quick": {**_DIGITS, "ps": (64, 128), "stages": (2, 3, 4)},
    "sensitivity": {**_DIGITS, "ps": (128,), "stages": (2,), "variants": tuple(VARIANTS)},
    "paper": {
        **_DIGITS,
        "images": "mnist",
        "ps": (128, 256, 512),
        "size": ENCODER_SIZES["mnist"],
        "stages": (2, 3, 4),
        "epochs": 10,
    },
}

#: What each labelled data set is learnt with, as the validation parts of pilots with the first
#: seed chose it, of clusterings the digits alone: the weight of the l1 norm and lambda, for
#: features of variance 1; Adam's rates and the epochs of the networks; the descent of TDSC and of
#: the joint method.
TASK_DATA: dict[str, dict[str, Any]] = {
    "digits": {
        "l1_weight": 0.4,
        "penalty": 0.05,
        "classification": {
            "rate": 1e-3,
            "dense_rate": 3e-3,
            "epochs": 40,
            "descent_rate": 1.0,
            "descent_epochs": 20,
            "descent_batch": 100,
        },
        "clustering": {
            "rate": 3e-4,
            "epochs": 60,
            "descent_rate": 0.1,
            "descent_epochs": 5,
            "descent_batch": 128,
        },
    },
    "mnist": {
        "l1_weight": 2.8,
        "penalty": 0.5,
        "classification": {
            "rate": 3e-4,
            "dense_rate": 3e-3,
            "epochs": 6,
            "descent_rate": 1.0,
            "descent_epochs": 2,
            "descent_batch": 200,
        },
    },
    "indian-pines": {
        "l1_weight": 0.4,
        "penalty": 0.05,
        "classification": {
            "rate": 1e-3,
            "dense_rate": 3e-3,
            "epochs": 60,
            "descent_rate": 1.0,
            "descent_epochs": 20,
            "descent_batch": 100,
        },
    },
    "coil20": {
        "l1_weight": 1.6,
        "penalty": 0.8,
        "clustering": {
            "rate": 3e-4,
            "epochs": 60,
            "descent_rate": 0.01,
            "descent_epochs": 5,
            "descent_batch": 128,
        },
    },
}
TASK_DATA["pie"] = TASK_DATA["coil20"]

#: What the sensitivity runs of `classification` and `clustering` change: factors of l1_weight and
#: penalty and other options of the data, and of the training.
TASK_VARIANTS: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "classification": {
        "default": ({}, {}),
        "lambda / 10": ({"penalty": 0.1}, {}),
        "lambda x 10": ({"penalty": 10.0}, {}),
        "published theta, lambda^½": ({"proximal": False}, {}),
        "l1 weight / 2": ({"l1_weight": 0.5}, {}),
        "l1 weight x 2": ({"l1_weight": 2.0}, {}),
        "regressors first": ({}, {"regress_all": True}),
        "rate x 3": ({}, {"rate": 3e-3, "descent_rate": 3.0}),
        "rate / 3": ({}, {"rate": 3e-4, "descent_rate": 0.3}),
        "sigma .2 throughout": ({}, {"phases": ((0.5, 1.0, 0.2), (0.5, 0.1, 0.2))}),
        "sigma .02 throughout": ({}, {"phases": ((0.5, 1.0, 0.02), (0.5, 0.1, 0.02))}),
        "constant rate": ({}, {"phases": ((0.75, 1.0, 0.2), (0.25, 1.0, 0.02))}),
        "SGD .01": ({}, {"optimiser": "sgd", "rate": 0.01}),
    },
    "clustering": {
        "default": ({}, {}),
        "no regression first": ({}, {"pretraining": 0}),
        "no balance": ({}, {"balance": 0.0}),
        "no entropy": ({}, {"entropy": 0.0}),
        "random start": ({}, {"start": "random"}),
        "random start, no balance": ({}, {"start": "random", "balance": 0.0}),
        "surer start": ({}, {"sureness": 0.1}),
        "less sure start": ({}, {"sureness": 0.6}),
        "no graph": ({}, {"graph": 0.0}),
        "graph x 4": ({}, {"graph": 20.0}),
        "lambda / 10": ({"penalty": 0.1}, {}),
        "l1 weight x 2": ({"l1_weight": 2.0}, {}),
        "rate x 3": ({}, {"rate": 1e-3, "descent_rate": 0.3}),
    },
}

#: Settings of `classification` and `clustering`: p, M and K = 2 of `paper` are given (Wang, Ling
#: and Huang, AAAI 2016); the seeds of each data set are ours.
CLASSIFICATION: dict[str, dict[str, Any]] = {
    "quick": {"seeds": {"digits": 5}, "ps": (32, 64), "sizes": (5, 10, 20), "stages": (2, 3, 4)},
    "sensitivity": {
        "seeds": {"digits": 5},
        "ps": (32,),
        "sizes": (10,),
        "variants": tuple(TASK_VARIANTS["classification"]),
    },
    "paper": {
        "seeds": {"mnist": 5, "indian-pines": 10},
        "ps": (128, 256, 512),
        "sizes": (10, 20, 30),
    },
}
CLUSTERING: dict[str, dict[str, Any]] = {
    "quick": {"seeds": {"digits": 3}, "ps": (64,), "sizes": (10, 20, 30), "stages": (2, 3, 4)},
    "sensitivity": {
        "seeds": {"digits": 3},
        "ps": (64,),
        "sizes": (20,),
        "variants": tuple(TASK_VARIANTS["clustering"]),
    },
    "paper": {"seeds": {"coil20": 5, "pie": 5}, "ps": (128, 256, 512), "sizes": (10, 20, 30)},
}

#: Seconds a solve may take, in every preset.
TIME_LIMIT = 60.0

# The panels of `unrolling`: title, options that differ from the training, error of A.
_SHIFTS = [
    ("as trained", {}, 0.0),
    ("noise of 20 dB", {"snr": 20.0}, 0.0),
    ("15 % non-zeros", {"rate": 0.15}, 0.0),
    ("non-zeros ±1", {"amplitudes": "signs"}, 0.0),
    ("A off by 1 %", {}, 0.01),
]
# What `default` and `paper` share.
_UNROLLED: dict[str, Any] = {
    "networks": "lista,lista-cp,lista-cpss,alista,hyperlista,na-alista,liht",
    "problem": "lista[snr=40]",
    "m": 250,
    "n": 500,
    "depth": 16,
    "shifts": _SHIFTS,
    "tests": 1000,
}

#: Settings of `unrolling`, and of `train`, which has networks and problems of the same sizes: plan
#: is that of the training (batch and validation in signals, steps a phase at most, patience in
#: checks), tests in signals a panel.
UNROLLING: dict[str, dict[str, Any]] = {
    "quick": {
        "networks": "lista,lista-cpss,alista,hyperlista",
        "problem": "lista[snr=40]",
        "m": 50,
        "n": 100,
        "depth": 6,
        "plan": {"batch": 64, "steps": 100, "patience": 3},
        "shifts": _SHIFTS[:2],
        "tests": 300,
    },
    "default": {**_UNROLLED, "plan": {"batch": 64, "steps": 200, "patience": 5}},
    # The training of Chen et al. 2018 (github.com/VITA-Group/LISTA-CPSS, config.py): weeks on a
    # processor.
    "paper": {
        **_UNROLLED,
        "plan": {
            "batch": 64,
            "validation": 1000,
            "steps": 200_000,
            "patience": 400,
            "check_every": 10,
        },
    },
}
