"""The only place where randomness starts: a generator is a pure function of a recipe."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def canonical(recipe: Any) -> str:
    """Return the one JSON text of a recipe: sorted keys, no spaces, floats by `repr`."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(recipe: Any) -> str:
    """Return the SHA-256 of a recipe as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(recipe).encode()).hexdigest()


def generator(recipe: Any) -> np.random.Generator:
    """Return the random generator that belongs to `recipe` and to nothing else.

    The recipe is hashed, so neighbouring recipes (k and k + 1, trial and trial + 1) give
    unrelated streams, and neither order nor number of workers can matter.
    """
    return np.random.Generator(np.random.PCG64(int(digest(recipe), 16)))
