#!/usr/bin/env bash
# SciPy 1.17.1 with NumPy 2.4.6: `import scipy.linalg` loads `numpy.f2py`, `numpy.testing` and
# `unittest`, of which it calls nothing: its array-API layer takes every name of NumPy, and naming a
# submodule that NumPy loads lazily loads it. `import numpy` alone loads none of them. Whoever starts
# a process a core pays for it in each; in CPU time it is about a third of what the import takes.
# Seen: after numpy none; after scipy.linalg numpy.f2py, numpy.testing, unittest
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - <<'EOF'
import sys

import numpy

names = ("numpy.f2py", "numpy.testing", "unittest")
seen = "after numpy " + (", ".join(n for n in names if n in sys.modules) or "none")
import scipy.linalg

seen += "; after scipy.linalg " + ", ".join(n for n in names if n in sys.modules)
print(seen)
raise SystemExit(seen != "after numpy none; after scipy.linalg numpy.f2py, numpy.testing, unittest")
EOF
for modules in "numpy.f2py, numpy.testing" "scipy.linalg"; do
  "$folder/bin/python" -c "
import time, numpy
begin = time.process_time()
import $modules
print(f'$modules: {time.process_time() - begin:.2f} s of CPU time')"
done
