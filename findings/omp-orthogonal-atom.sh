#!/usr/bin/env bash
# scikit-learn 1.9.1: `orthogonal_mp` ends where the next atom is orthogonal to y, also if it is not
# orthogonal to the residual; `orthogonal_mp_gram` goes on, and is right.
# Seen: orthogonal_mp: 1 of 2 atoms, residual 0.71; orthogonal_mp_gram: 2 of 2 atoms, residual 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet scikit-learn==1.9.1
"$folder/bin/python" -W ignore - <<'EOF'
import numpy as np
from sklearn.linear_model import orthogonal_mp, orthogonal_mp_gram

A, y = np.array([[1.0, 0.0], [1.0, 1.0]]) / [2**0.5, 1.0], np.array([1.0, 0.0])
plain = orthogonal_mp(A, y, n_nonzero_coefs=2)
gram = orthogonal_mp_gram(A.T @ A, A.T @ y, n_nonzero_coefs=2)
seen = "; ".join(
    f"{name}: {np.count_nonzero(x)} of 2 atoms, residual {np.linalg.norm(y - A @ x):.2f}"
    for name, x in (("orthogonal_mp", plain), ("orthogonal_mp_gram", gram))
)
print(seen)
expected = "orthogonal_mp: 1 of 2 atoms, residual 0.71; orthogonal_mp_gram: 2 of 2 atoms, residual 0.00"
raise SystemExit(seen != expected)
EOF
