"""Problem generators, one a file, and `draw`."""

from sparsebench.problems import (
    deconvolution,
    digits,
    ensembles,
    gaussian,
    instruments,
    lista,
    matrix,
    super_resolution,
)
from sparsebench.problems.drawing import (
    DrawError,
    add_noise,
    default_measurements,
    draw,
    draw_batch,
    draw_dictionary,
    draw_signal,
    is_complex,
    is_fixed,
    is_ordered,
    stated_atoms,
)
from sparsebench.registry.catalogue import problems
