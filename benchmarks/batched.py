"""Torch twins: seconds of a hundred problems at once, where torch and the device are at hand."""

import numpy as np

import sparsebench


class Batch:
    """A hundred signals on one dictionary, n = 500, m = 250, k = 25, in float64."""

    params = [["omp", "iht", "htp", "sp", "els", "amp", "sea"], ["torch-cpu", "cuda"]]
    param_names = ["algorithm", "device"]
    version = "1"
    timeout = 120
    repeat = (3, 8, 1.0)

    def setup(self, name, device):
        self.dictionary = sparsebench.draw("gaussian", m=250, n=500, k=25).dictionary
        draw = np.random.default_rng(0)
        self.signals = np.empty((250, 100))
        for j in range(100):
            atoms = self.dictionary.atoms[draw.choice(500, 25, replace=False)]
            self.signals[:, j] = draw.uniform(1, 2, 25) * draw.choice([-1, 1], 25) @ atoms
        try:
            self.time_batch(name, device)
        except (sparsebench.InputError, TypeError) as error:  # an old commit knows no device
            raise NotImplementedError(f"not here: {error}") from None

    def time_batch(self, name, device):
        sparsebench.solve(name, self.dictionary, self.signals, 25, device=device)
