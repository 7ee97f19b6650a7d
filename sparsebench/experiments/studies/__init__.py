"""The studies around the two main figures, as data: what each varies, in two sizes."""

from sparsebench.experiments.studies import isometry as isometry
from sparsebench.experiments.studies import sweeps as sweeps
from sparsebench.experiments.studies import thresholds as thresholds
from sparsebench.experiments.studies.kinds import STUDIES, Isometry, size_named
