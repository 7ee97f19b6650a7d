"""The command line."""

from sparsebench.cli.application import run as run

# The help names the commands in this order.
# isort: off
from sparsebench.cli import diagrams as diagrams
from sparsebench.cli import instances as instances
from sparsebench.cli import listing as listing
from sparsebench.cli import encoders as encoders
from sparsebench.cli import studies as studies
from sparsebench.cli import training as training
