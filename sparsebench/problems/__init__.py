"""Problem generators, one a file, and `draw`."""

from sparsebench.problems import deconvolution, digits, gaussian, lista, super_resolution
from sparsebench.problems.drawing import (
    DrawError,
    add_noise,
    default_measurements,
    draw,
    draw_batch,
    draw_dictionary,
    draw_signal,
    is_fixed,
    is_ordered,
)
from sparsebench.registry.catalogue import problems
