"""The command line."""

from sparsebench.cli.application import run

# The help names the commands in this order.
# isort: off
from sparsebench.cli import diagrams, instances, listing, encoders, studies, training
