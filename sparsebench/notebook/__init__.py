"""Runs from Python, in a notebook for instance, with functions and matrices as objects."""

from sparsebench.notebook.results import Results, read
from sparsebench.notebook.running import phase_transition, support_distance
