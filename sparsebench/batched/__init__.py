"""The algorithms on many problems at once, in torch: the same names, options and answers.

Imported only when a device is asked for. On a processor the twins are a check of each other and of
the kernels; they are made for a graphics card.
"""

from sparsebench.batched.solving import solve as solve
