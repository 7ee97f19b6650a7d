"""Quality: up to which sparsity supports are recovered, and how much of a support is missed.

The instances and their number are fixed, so that a value moves only when an algorithm does: any
change is a change of results, to be explained. Lower is better, as asv takes it.
"""

import numpy as np

import sparsebench
import sparsebench.solvers  # once, not in every process

# Those that solve both problems in milliseconds.
NAMES = [
    "omp",
    "ols",
    "sp",
    "iht",
    "iht-l0",
    "niht",
    "cgiht",
    "htp",
    "nhtp",
    "ompr",
    "els",
    "sbr",
    "splicing",
    "sea",
    "omp+sea",
    "homotopy",
]


def _known(name):
    instance = sparsebench.draw("gaussian", m=20, n=40, k=2)
    try:
        sparsebench.solve(name, instance.A, instance.y, 2)
    except sparsebench.InputError as error:
        raise NotImplementedError(f"not in this commit: {error}") from None


class Thresholds:
    """Measurements a non-zero, m / k, at which 95 % and 50 % are recovered: n = 256, m = 128."""

    params = [NAMES]
    param_names = ["algorithm"]
    unit = "measurements a non-zero"
    version = "1"
    timeout = 300
    M, N, SPARSITIES, TRIALS = 128, 256, range(6, 61, 3), 12

    def setup(self, name):
        _known(name)

    def _threshold(self, name, level):
        from sparsebench.statistics import fit_threshold

        rows = []
        for trial in range(self.TRIALS):
            for k in self.SPARSITIES:
                instance = sparsebench.draw("gaussian", m=self.M, n=self.N, k=k, trial=trial)
                found = sparsebench.solve(name, instance.dictionary, instance.y, k).x
                rows.append((k, trial, np.array_equal(found != 0, instance.x != 0)))
        return self.M / fit_threshold(*np.array(rows).T, level, self.M).estimate

    def track_95(self, name):
        return self._threshold(name, 0.95)

    def track_50(self, name):
        return self._threshold(name, 0.5)


class Distance:
    """Mean support distance on spike deconvolution: m = n = 500, width 3, k = 20, 40 instances."""

    params = [NAMES]
    param_names = ["algorithm"]
    unit = "share of the support missed"
    version = "1"
    timeout = 300

    def setup(self, name):
        _known(name)

    def track_distance(self, name):
        from sparsebench.metrics import support_distance

        distances = []
        for trial in range(40):
            instance = sparsebench.draw("deconvolution", m=500, n=500, k=20, trial=trial)
            found = sparsebench.solve(name, instance.dictionary, instance.y, 20).x
            distances.append(support_distance(instance.x, found))
        return float(np.mean(distances))
