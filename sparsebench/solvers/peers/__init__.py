"""Published packages behind our interface, one a file; `sparsebench[peers]`."""

from sparsebench.solvers.peers import abess, celer, pylops, skglm, sklearn, spams
from sparsebench.solvers.peers.answers import PEERS, TOGETHER, solve_together
