#!/usr/bin/env bash
# scikit-learn's MiniBatchDictionaryLearning ends inside its first epoch at its default `tol`,
# without a warning; max_no_improvement=None alone changes nothing, with tol=0 as well it goes on to
# max_iter. Seen: 101, 101 and 236 steps where an epoch has 118.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import sklearn
from sklearn.decomposition import MiniBatchDictionaryLearning

rng = np.random.default_rng(0)
D = rng.standard_normal((24, 16))
codes = rng.standard_normal((30_000, 24)) * (rng.random((30_000, 24)) < 0.15)
X = codes @ D + 0.1 * rng.standard_normal((30_000, 16))
epoch, epochs = -(-len(X) // 256), 2
print(f"scikit-learn {sklearn.__version__}; an epoch is {epoch} steps, max_iter={epochs}")
early = []
for options in (
    {},
    {"max_no_improvement": None},
    {"tol": 0.0, "max_no_improvement": None},
):
    learner = MiniBatchDictionaryLearning(
        24, alpha=0.5, batch_size=256, max_iter=epochs, random_state=0, **options
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.fit(X)
    said = sorted({str(one.message)[:60] for one in caught})
    print(f"{options}: {learner.n_steps_} steps, n_iter_ {learner.n_iter_}, warnings {said}")
    early.append(learner.n_steps_ < epoch and not said)
sys.exit(0 if early[0] and early[1] and not early[-1] else 1)
PYTHON
