"""Problem generators, one a file, and `draw`."""

from sparsebench.problems import deconvolution as deconvolution
from sparsebench.problems import digits as digits
from sparsebench.problems import gaussian as gaussian
from sparsebench.problems import lista as lista
from sparsebench.problems import super_resolution as super_resolution
from sparsebench.problems.drawing import (
    DrawError,
    add_noise,
    check_seed,
    check_sizes,
    default_measurements,
    draw,
    draw_batch,
    draw_dictionary,
    draw_signal,
    is_fixed,
    is_ordered,
)
from sparsebench.registry.catalogue import problems

__all__ = [
    "DrawError",
    "add_noise",
    "check_seed",
    "check_sizes",
    "default_measurements",
    "draw",
    "draw_batch",
    "draw_dictionary",
    "draw_signal",
    "is_fixed",
    "is_ordered",
    "problems",
]
