"""What can be run, by name: records, the grammar of choices, plug-ins, and where things run."""

from sparsebench.registry.catalogue import algorithms, get_algorithm, get_problem, problems
from sparsebench.registry.choices import Choice, Known, Link, ProblemChoice
from sparsebench.registry.choosing import (
    choose_algorithm,
    choose_algorithms,
    choose_problem,
    on_device,
)
from sparsebench.registry.declaring import ALGORITHMS, FAMILIES, PROBLEMS, algorithm, problem
from sparsebench.registry.grammar import Option, parse_links, split
from sparsebench.registry.plugins import (
    ENTRY_POINT_GROUP,
    forget_plugins,
    is_found_anew,
    is_ours,
    load_entry_points,
    load_plugin,
    plugin_files,
    plugin_fingerprint,
    plugin_folder,
)
from sparsebench.registry.records import Algorithm, ProblemGenerator, flops
