"""Clustering by encoders: each sample has a confidence in every cluster, softmax(omegaᵀ a).

No label is seen. A network starts from k-means on its own codes, and lowers

    entropy · mean_i H(p_i) + balance · (log C - H(mean_i p_i)):

every sample should be sure of its cluster, and the clusters of one size, without which one cluster
may take all.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016, which states the confidences and no
objective; the balance is that of Krause, Perona and Gomes, Discriminative clustering by regularized
information maximization, NIPS 2010.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.environment import need
from sparsebench.errors import InputError
from sparsebench.learned import task_driven
from sparsebench.learned.task_driven import Descent, Model, elastic_net_codes
from sparsebench.learned.tasks import (
    Encoder,
    Method,
    Prepared,
    Schedule,
    Task,
    Tuned,
    encoder,
    fit,
    outputs,
    prepared,
    regress,
)
from sparsebench.learned.training import Examples, Loss, epochs, squared_error

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

#: What the trained ones are compared with.
CONTROLS = (
    "k-means on pixels",
    "k-means on l1 codes",
    "k-means on l0 codes",
    "untrained deep l0",
    "untrained deep M-sparse",
    "spectral",
)
TRAINED = ("joint", "graph network", "deep l0", "deep M-sparse")
_NEIGHBOURS = 5
_STARTS = 10
# Steps of an epoch, all samples each, in which the graph network is a regressor.
_GRAPH_STEPS = 5
# A clustering has collapsed when at most this share of its clusters have samples.
_COLLAPSED = 0.5


@dataclass(frozen=True)
class Teaching:
    """How clusterings are learnt; all of it our choice.

    Attributes
    ----------
    schedule : Schedule
        Of the encoders.
    pretraining : int
        Epochs in which encoders are first trained as regressors of the codes of their problems; 0
        for none.
    regression_rate : float
        Their rate.
    entropy, balance : float
        Weights of the two parts of the objective.
    start : str
        "k-means" on the codes of the untrained encoder, or "random".
    sureness : float
        The mean entropy of the confidences at a start from k-means, as a share of log C.
    graph : float
        alpha of the graph term alpha Σ_ij L_ij a_iᵀa_j, of the joint method and the graph network.
    l2 : float
        The joint method's quadratic penalty where alpha is 0.
    descent : Descent
        Of the joint method.
    """

    schedule: Schedule = field(default_factory=lambda: Schedule(rate=3e-4, batch=512))
    pretraining: int = 60
    regression_rate: float = 1e-3
    entropy: float = 1.0
    balance: float = 1.0
    start: str = "k-means"
    sureness: float = 0.3
    graph: float = 5.0
    l2: float = 1e-3
    descent: Descent = field(default_factory=Descent)

    def __post_init__(self) -> None:
        if self.start not in ("k-means", "random"):
            raise InputError(f"start is k-means or random, not {self.start!r}")


class GraphEncoder(Encoder):
    """An encoder whose stages draw every code towards the mean of its neighbours'.

    It unrolls proximal gradients of ½||x - D a||² + l1 ||a||₁ + alpha Σ_j L_ij a_iᵀa_j with the
    normalised Laplacian L = I - N, and takes all samples at once. The pull, 2 alpha step, is
    learnt.

    References
    ----------
    Wang, Chang, Zhou, Wang and Huang, Learning a task-specific deep architecture for clustering,
    SDM 2016, arXiv:1509.00151.
    """

    graph: Tensor

    def __init__(self, *sizes: Any, graph: Tensor, pull: float, **shape: Any) -> None:
        super().__init__(*sizes, **shape)
        self.register_buffer("graph", graph)
        self.pull = nn.Parameter(torch.tensor(pull))

    def mixed(self, z: Tensor) -> Tensor:
        """Return S z, and what the neighbours add."""
        return super().mixed(z) + self.pull * (torch.sparse.mm(self.graph, z) - z)


def neighbours(X: NDArray[np.floating], count: int = _NEIGHBOURS) -> scipy.sparse.csr_array:
    """Return N = B^-½ W B^-½, W the graph that joins every sample with its nearest ones by cosine.

    W is symmetric (either of two is enough), of weights 1; B has the degrees.
    """
    rows = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    count = min(count, len(rows) - 1)
    near = rows @ rows.T
    np.fill_diagonal(near, -np.inf)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :count]
    places = np.repeat(np.arange(len(rows)), count), nearest.ravel()
    joined = scipy.sparse.csr_array((np.ones(nearest.size), places), shape=(len(rows), len(rows)))
    joined = joined.maximum(joined.T)
    degrees = scipy.sparse.diags_array(1 / np.sqrt(joined.sum(axis=1)))
    return (degrees @ joined @ degrees).tocsr()


def objective(entropy: float, balance: float) -> Loss:
    """Return the loss of logits, plus 1 so that it has a scale; the targets are not looked at."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        logarithms = logits.log_softmax(dim=1)
        confidences = logarithms.exp()
        own = -(confidences * logarithms).sum(dim=1).mean()
        sizes = confidences.mean(dim=0)
        balanced = np.log(logits.shape[1]) + (sizes * (sizes + 1e-12).log()).sum()
        return 1 + entropy * own + balance * balanced

    return loss


def confident_layer(codes: Floats, centres: Floats, sureness: float) -> tuple[Floats, Floats]:
    """Return weight and bias that are sure of the nearest centre: logits -½ b ||a - c||².

    b is such that the mean entropy is `sureness` log C; the part without a centre is left out.
    """
    half = 0.5 * np.square(centres).sum(axis=1)
    logits = codes @ centres.T - half
    low, high = 1e-6, 1e9
    for _ in range(60):
        b = np.sqrt(low * high)
        logarithms = scipy.special.log_softmax(b * logits, axis=1)
        entropy = -(np.exp(logarithms) * logarithms).sum(axis=1).mean()
        low, high = (b, high) if entropy > sureness * np.log(len(centres)) else (low, b)
    return b * centres, -b * half


def agreement(found: Places, labels: Places) -> dict[str, float]:
    """Return ``error`` in % under the best matching of clusters to classes, ``nmi`` and ``ari``."""
    metrics = need("sklearn.metrics", "scikit-learn")
    table = metrics.cluster.contingency_matrix(labels, found)
    rows, columns = scipy.optimize.linear_sum_assignment(-table)
    return {
        "error": 100 * (1 - table[rows, columns].sum() / len(labels)),
        "nmi": float(metrics.normalized_mutual_info_score(labels, found)),
        "ari": float(metrics.adjusted_rand_score(labels, found)),
    }


def cluster(
    task: Task, method: Method, teaching: Teaching, checkpoint: Path | None = None
) -> dict[str, NDArray[Any]]:
    """Cluster all samples by one method; the labels are looked at when it has ended.

    Returns
    -------
    dict
        ``losses`` (the objective, before each phase and after every epoch), and numbers: ``error``
        in %, ``nmi``, ``ari``; ``judged`` (samples); ``clusters`` that have samples; ``collapsed``
        (1 if these are at most half), ``diverged``, ``training_seconds`` (of the processor).
    """
    ready = prepared(task)
    begun = time.process_time()
    losses, diverged = np.zeros(0), False
    if method.kind == "spectral":
        found = spectral(neighbours(ready.X), ready.classes, task.seed)
    elif method.kind in CONTROLS:
        found = k_means(_features(task, ready, method), ready.classes, task.seed)[0]
    elif method.kind == "joint":
        found, losses, diverged = _joint(task, ready, teaching)
    else:
        found, losses, diverged = _encoded(task, ready, method, teaching, checkpoint)
    used = len(np.unique(found))
    return {
        "losses": losses,
        "judged": np.array(float(len(found))),
        "clusters": np.array(float(used)),
        "collapsed": np.array(float(used <= _COLLAPSED * ready.classes)),
        "diverged": np.array(float(diverged)),
        "training_seconds": np.array(time.process_time() - begun),
        **{name: np.array(value) for name, value in agreement(found, ready.labels).items()},
    }


def _features(task: Task, ready: Prepared, method: Method) -> NDArray[np.float32]:
    if method.kind == "k-means on pixels":
        return ready.X
    if method.kind.startswith("untrained"):
        return outputs(encoder(task, ready, method), ready.X)
    return ready.codes[method.kind.split()[2]]


def k_means(X: NDArray[np.floating], clusters: int, seed: int) -> tuple[Places, Floats]:
    """Return labels and centres, the best of ten starts."""
    made = need("sklearn.cluster", "scikit-learn").KMeans(
        clusters, n_init=_STARTS, random_state=seed
    )
    made.fit(np.asarray(X, np.float64))
    return made.labels_.astype(np.int64), made.cluster_centers_


def spectral(graph: scipy.sparse.csr_array, clusters: int, seed: int) -> Places:
    """Return k-means of the rows, scaled to norm 1, of the leading eigenvectors of N.

    References
    ----------
    Ng, Jordan and Weiss, On spectral clustering, NIPS 2001.
    """
    vectors = np.linalg.eigh(graph.toarray())[1][:, -clusters:]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return k_means(vectors / np.maximum(norms, 1e-12), clusters, seed)[0]


def _encoded(
    task: Task, ready: Prepared, method: Method, teaching: Teaching, checkpoint: Path | None
) -> tuple[Places, Floats, bool]:
    """Train an encoder with its linear layer to cluster."""
    schedule, count = teaching.schedule, len(ready.X)
    inside: Encoder
    first = Schedule(rate=teaching.regression_rate, epochs=teaching.pretraining)
    if method.kind == "graph network":
        graphed = _graph_encoder(task, ready, method, teaching)
        inside, size = graphed, count
        if teaching.pretraining:
            _regress_graph(graphed, task, ready, first, teaching, checkpoint)
    else:
        inside, size = encoder(task, ready, method), min(schedule.batch, count)
        if teaching.pretraining:
            regress(inside, task, ready, method, first, checkpoint)
    torch.manual_seed(task.seed)
    network = Tuned(inside, task.p, ready.classes)
    X, nothing = torch.from_numpy(ready.X), torch.zeros(count)
    whole = (X, nothing)
    inside.eval()
    with torch.no_grad():
        codes = inside(X).numpy()
        weight, bias = _start(codes.astype(float), ready.classes, task.seed, teaching)
        network.omega.weight.copy_(torch.from_numpy(weight))
        network.omega.bias.copy_(torch.from_numpy(bias))
    steps = -(-count // size)
    batch = epochs(X, nothing, size, task.seed) if steps > 1 else (lambda step: whole)
    loss = objective(teaching.entropy, teaching.balance)
    training = fit(network, batch, steps, whole, schedule, loss, task.seed, checkpoint)
    with torch.no_grad():
        found = network(X).argmax(dim=1).numpy()
    losses = np.array([value - 1 for _, _, value in training.losses])
    return found, losses, bool(training.diverged)


def _graph_encoder(task: Task, ready: Prepared, method: Method, teaching: Teaching) -> GraphEncoder:
    """Return the graph network as it starts: iterations of its problem, whose step is shorter."""
    graph = neighbours(ready.X).tocoo()
    places = torch.tensor(np.vstack(graph.coords))
    values = torch.tensor(graph.data, dtype=torch.float32)
    sparse = torch.sparse_coo_tensor(places, values, graph.shape, check_invariants=True)
    step = _graph_step(ready, teaching)
    more = {"graph": sparse.coalesce(), "pull": 2 * teaching.graph * step}
    soft = Method("tuned lista", 0, method.stages)
    found = encoder(task, ready, soft, step, of=GraphEncoder, **more)
    assert isinstance(found, GraphEncoder)
    return found


def _graph_step(ready: Prepared, teaching: Teaching) -> float:
    return 1 / (1 / ready.step + 4 * teaching.graph)  # ||I - N|| is at most 2


def _regress_graph(
    inside: GraphEncoder,
    task: Task,
    ready: Prepared,
    schedule: Schedule,
    teaching: Teaching,
    checkpoint: Path | None,
) -> None:
    """Train the graph network to predict the codes that the graph joins, all in every step."""
    graph = neighbours(ready.X) if teaching.graph else None
    l2 = 2 * teaching.graph or teaching.l2
    codes = graph_codes(ready.D, ready.X.astype(float), task.l1_weight, l2, graph)
    root = np.sqrt(_graph_step(ready, teaching))
    whole = torch.from_numpy(ready.X), torch.from_numpy((codes / root).astype(np.float32))
    path = checkpoint and checkpoint.with_suffix(".regressor.pt")

    def batch(step: int) -> Examples:
        return whole

    fit(inside, batch, _GRAPH_STEPS, whole, schedule, squared_error, task.seed, path)


def _start(codes: Floats, clusters: int, seed: int, teaching: Teaching) -> tuple[Floats, Floats]:
    """Return the first weight and bias of the linear layer."""
    if teaching.start == "random":
        rng = np.random.default_rng(seed)
        scale = max(float(np.sqrt(np.square(codes).sum(axis=1).mean())), 1e-12)
        return rng.standard_normal((clusters, codes.shape[1])) / scale, np.zeros(clusters)
    centres = k_means(codes, clusters, seed)[1]
    return confident_layer(codes, centres, teaching.sureness)


def _joint(task: Task, ready: Prepared, teaching: Teaching) -> tuple[Places, Floats, bool]:
    """Learn dictionary and linear layer together, on exact codes that are drawn to neighbours'.

    With the others' codes as they are, the graph term of sample i is alpha ||a - Σ_j N_ij a_j||²
    and a constant, so that its code is an elastic net's.

    References
    ----------
    Wang, Yang, Chang, Li, Huang and Huang, A joint optimization framework of sparse coding and
    discriminative clustering, IJCAI 2015.
    """
    graph = neighbours(ready.X)
    X, alpha = ready.X.astype(float), teaching.graph
    l2 = 2 * alpha or teaching.l2
    codes = graph_codes(ready.D, X, task.l1_weight, l2, graph if alpha else None)
    weight, bias = _start(codes, ready.classes, task.seed, teaching)
    start = Model(ready.D, weight, bias, task.l1_weight, l2)
    torch_loss = objective(teaching.entropy, teaching.balance)

    def value_of(logits: Floats) -> tuple[float, Floats]:
        known = torch.from_numpy(logits).requires_grad_()
        value = torch_loss(known, known)
        value.backward()
        return float(value.detach()), known.grad.numpy()  # type: ignore[union-attr]

    def coded(model: Model) -> Floats:
        return graph_codes(model.D, X, model.l1, model.l2, graph if alpha else None)

    model, losses, diverged = task_driven.descend(
        start,
        X,
        lambda logits, places: value_of(logits),
        teaching.descent,
        task.seed,
        lambda model: value_of(model.logits(coded(model)))[0],
        (lambda places, known: graph[places] @ known) if alpha else None,
    )
    found = model.logits(coded(model)).argmax(axis=1)
    return found, np.array(losses) - 1, bool(diverged)


def graph_codes(
    D: Floats, X: Floats, l1: float, l2: float, graph: scipy.sparse.csr_array | None
) -> Floats:
    """Return the codes of all samples together, each drawn to its neighbours' (if there are some).

    Without a graph they are exact. With one, the sum of ½||x - D a||² + l1 ||a||₁ over samples and
    ½ l2 Σ_ij (I - N)_ij a_iᵀa_j is minimised by accelerated proximal gradients, until no entry
    moves by more than 1e-4 of the largest one, or for 500 steps.
    """
    if graph is None:
        return elastic_net_codes(D, X, l1, l2)
    gram, products = D.T @ D, X @ D
    step = 1 / (np.linalg.norm(D, 2) ** 2 + 2 * l2)
    z = np.zeros_like(products)
    ahead, momentum = z, 1.0
    for _ in range(500):
        u = ahead + step * (products - ahead @ gram - l2 * (ahead - graph @ ahead))
        new = np.sign(u) * np.maximum(np.abs(u) - step * l1, 0)
        moved = new - z
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / after * moved
        z, momentum = new, after
        if np.abs(moved).max() <= 1e-4 * np.abs(z).max():
            break
    return z
