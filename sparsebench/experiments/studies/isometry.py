"""The study of restricted isometry: what theorems promise beside what happens."""

from sparsebench.experiments.studies.kinds import STUDIES, Isometry

STUDIES |= {
    "rip": Isometry(
        "the first iteration of support exploration that has the true support, beside our bound",
        {
            "quick": {"ks": (1, 2), "dictionaries": 4, "signals": 6},
            "paper": {"ks": (1, 2), "dictionaries": 200, "signals": 6},
        },
    )
}
