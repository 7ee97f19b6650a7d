"""Unrolled networks: time of a batch, and the error of an untrained and of a tiny trained one.

The error is the ratio of sums, not its dB: asv compares by ratio.
"""

import numpy as np


class Network:
    """ALISTA with six stages on 50 x 100, untrained and trained for a hundred steps a phase."""

    version = "1"
    timeout = 300
    SIZES = (50, 100, 6)

    def setup(self):
        try:
            import torch

            from sparsebench.learned import weights
            from sparsebench.problems import draw_batch, draw_dictionary
            from sparsebench.registry import choose_problem
        except ImportError as error:
            raise NotImplementedError(f"not here: {error}") from None
        torch.set_num_threads(1)
        self.weights, self.torch = weights, torch
        problem = choose_problem("lista[snr=40]")
        plan = weights.Plan(steps=100, patience=3)
        self.recipe = weights.default_recipe("alista", problem, *self.SIZES, plan)
        self.dictionary = draw_dictionary(problem, 50, 100, 0, 0)
        self.signals, self.codes = draw_batch(problem, self.dictionary, 1000, {"use": "benchmark"})

    def _error(self, network):
        with self.torch.no_grad():
            found = network(self.torch.tensor(self.signals).float()).numpy()
        return float(np.square(found - self.codes).sum() / np.square(self.codes).sum())

    def _untrained(self):
        from sparsebench.learned.catalogue import blueprint

        A = self.torch.tensor(self.dictionary.A)
        options = dict(self.recipe.options)
        return blueprint("alista").build(A, self.SIZES[2], options).float().eval()

    def time_thousand_codes(self):
        self._error(self._untrained())

    def track_untrained(self):
        return self._error(self._untrained())

    def track_trained(self):
        import os
        import tempfile

        os.environ["SPARSEBENCH_CACHE"] = tempfile.mkdtemp()
        return self._error(self.weights.fit(self.recipe).network)

    track_untrained.unit = track_trained.unit = "NMSE"
