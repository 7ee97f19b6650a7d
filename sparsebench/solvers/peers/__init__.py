"""Published packages behind our interface, one a file; `sparsebench[peers]`."""

from sparsebench.solvers.peers import abess as abess
from sparsebench.solvers.peers import celer as celer
from sparsebench.solvers.peers import pylops as pylops
from sparsebench.solvers.peers import skglm as skglm
from sparsebench.solvers.peers import sklearn as sklearn
from sparsebench.solvers.peers import spams as spams
from sparsebench.solvers.peers.answers import PEERS as PEERS
from sparsebench.solvers.peers.answers import TOGETHER as TOGETHER
from sparsebench.solvers.peers.answers import solve_together as solve_together
