#!/usr/bin/env bash
# SPGL1 0.0.3 (its last release), with numpy 2.5.5 and SciPy 1.18.1, solves nothing: `spg_bp`,
# `spg_bpdn` and `spgl1` raise AttributeError on any real A and b, since `np.isreal` of the operator
# that it wraps A in is a Python bool there, and has no `all`. With numpy 2.4.6 the same calls answer.
# It asks for no upper version of numpy, so that a fresh installation is the one that fails. PyLops'
# `spgl1` calls it, and fails with it.
# Seen: numpy 2.5.5: spg_bp, spg_bpdn, spgl1: AttributeError; numpy 2.4.6: all three answer
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for python in python3 python3.12 python3.13 python3.14; do  # numpy 2.5 has no wheel for 3.11
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv "$folder"
cat >"$folder/ask.py" <<'EOF'
import sys

import numpy as np
from spgl1 import spg_bp, spg_bpdn, spgl1

A = np.random.default_rng(0).standard_normal((20, 40))
x = np.zeros(40)
x[[3, 9]] = 1.0, -2.0
b = A @ x
failed = []
for name, solve in (
    ("spg_bp", lambda: spg_bp(A, b)),
    ("spg_bpdn", lambda: spg_bpdn(A, b, sigma=0.1)),
    ("spgl1", lambda: spgl1(A, b, tau=1.0)),
):
    try:
        found = solve()[0]
        print(np.__version__, name, "answers", np.round(found[[3, 9]], 2))
    except AttributeError as error:
        failed.append(name)
        print(np.__version__, name, "AttributeError:", error)
sys.exit(len(failed) != int(sys.argv[1]))
EOF
"$folder/bin/pip" install --quiet spgl1==0.0.3 numpy==2.5.5 scipy==1.18.1
"$folder/bin/python" "$folder/ask.py" 3
"$folder/bin/pip" install --quiet numpy==2.4.6
"$folder/bin/python" "$folder/ask.py" 0
