"""Studies of thresholds: steps, sizes, and the adaptive sampling beside a full grid."""

from sparsebench.experiments.levels import GRID_TRIALS, HALF, LEVELS, MOST_TRIALS, NEARLY_ALL
from sparsebench.experiments.studies.kinds import STUDIES, FullGrid, Thresholds, named

STUDIES |= {
    "steps": Thresholds(
        "the step of iterative hard thresholding and of hard thresholding pursuit",
        "m/n",
        {
            "IHT": named("iht[step=1/L],iht[step=1.8/L],iht[step=1],niht"),
            "HTP": named("htp[step=1/L],htp[step=1.8/L],htp[step=1],nhtp"),
        },
        {
            "quick": {"ns": (100,), "ratios": (0.3, 0.7), "half_width": 0.03, "max_trials": 40},
            "paper": {
                "ns": (500,),
                "ratios": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
                "half_width": 0.004,
                "max_trials": MOST_TRIALS,
            },
        },
        {"steps": ("undersampling ratio m/n", {"limit": True})},
    ),
    "finite-size": Thresholds(
        "thresholds as the size grows",
        "n",
        {"": named("omp,htp,sp,homotopy")},
        {
            "quick": {"ns": (50, 100), "ratios": (0.5,), "half_width": 0.03, "max_trials": 40},
            "paper": {
                "ns": (250, 500, 1000, 2000),
                "ratios": (0.2, 0.5),
                "half_width": 0.004,
                "max_trials": MOST_TRIALS,
            },
        },
        {"finite-size": ("number of atoms n", {"scale": "log with sizes", "limit": True})},
    ),
    "full-grid": FullGrid(
        "thresholds by adaptive sampling beside those of a full grid of other instances",
        "omp,htp,sea",
        {
            "quick": {
                "n": 60,
                "ratios": (0.3, 0.5),
                "half_widths": dict.fromkeys(LEVELS, 1.0),
                "max_trials": 60,
                "grid": 60,
            },
            "paper": {
                "n": 500,
                "ratios": (0.1, 0.3, 0.5),
                "half_widths": {NEARLY_ALL: 1.0, HALF: 2.0},
                "max_trials": GRID_TRIALS,
                "grid": GRID_TRIALS,
            },
        },
    ),
}
