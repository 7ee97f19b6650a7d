"""The algorithms, one family a file, and `solve`."""

from sparsebench.registry.catalogue import algorithms
from sparsebench.solvers import amp as amp
from sparsebench.solvers import baselines as baselines
from sparsebench.solvers import basis_pursuit as basis_pursuit
from sparsebench.solvers import cgiht as cgiht
from sparsebench.solvers import denoising as denoising
from sparsebench.solvers import htp as htp
from sparsebench.solvers import iht as iht
from sparsebench.solvers import ista as ista
from sparsebench.solvers import l0_penalty as l0_penalty
from sparsebench.solvers import local_search as local_search
from sparsebench.solvers import omp as omp
from sparsebench.solvers import peers as peers
from sparsebench.solvers import pursuit as pursuit
from sparsebench.solvers import restarts as restarts
from sparsebench.solvers import sbl as sbl
from sparsebench.solvers import sbr as sbr
from sparsebench.solvers import sea as sea
from sparsebench.solvers import splicing as splicing
from sparsebench.solvers import unrolled as unrolled
from sparsebench.solvers import untold as untold
from sparsebench.solvers import vamp as vamp
from sparsebench.solvers.solving import solve
