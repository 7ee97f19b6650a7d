"""The command line.

A file of commands loads what their help and the checks of their options need. What only runs,
stores, prints tables or draws, and with it pandas, scipy, numba and matplotlib, a command imports
once its options are read: so a help, or a mistake, is on the screen at once."""

from sparsebench.cli.application import run

# The help names the commands in this order.
# isort: off
from sparsebench.cli import (
    diagrams,
    instances,
    recovery,
    listing,
    reporting,
    merging,
    encoders,
    tasks,
    studies,
    training,
)
