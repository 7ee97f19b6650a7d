"""Layers, unrolled networks and their training, against the iterations they unroll."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from sparsebench.learned.catalogue import analytic_weight
from sparsebench.learned.layers import helu, largest, selected_soft, soft
from sparsebench.learned.networks import DenseEncoder, HyperNetwork, PairNetwork, ResidualNetwork
from sparsebench.learned.optimisers import Adam, GradientDescent
from sparsebench.learned.training import Phase, _seed_of_step, layer_wise, train
from sparsebench.types import InputError

M, N, DEPTH = 20, 40, 6


@pytest.fixture(scope="module")
def data():
    """A dictionary with unit-norm columns and ten signals of sparse codes, float64."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((M, N))
    A /= np.linalg.norm(A, axis=0)
    codes = rng.standard_normal((10, N)) * (rng.random((10, N)) < 0.1)
    return A, codes, codes @ A.T


def soft_numpy(u, theta):
    return np.sign(u) * np.maximum(np.abs(u) - theta, 0.0)


def iterate(A, y, step, shrink, depth=DEPTH):
    """The iterates z ← shrink(z + step Aᵀ(y - A z)), for one signal."""
    z, found = np.zeros(A.shape[1]), []
    for _ in range(depth):
        z = shrink(z + step * A.T @ (y - A @ z))
        found.append(z)
    return np.array(found)


def keep(u, size):
    kept = np.zeros_like(u)
    order = np.argsort(-np.abs(u))[:size]
    kept[order] = u[order]
    return kept


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["soft", "helu", "largest", "residual"])
def test_an_untrained_network_is_the_iteration_stage_by_stage(data, kind, tied):
    A, _, Y = data
    step = 0.9 / np.linalg.norm(A, 2) ** 2
    shrink = {
        "soft": lambda u: soft_numpy(u, 0.03),
        "residual": lambda u: soft_numpy(u, 0.03),
        "helu": lambda u: u * (np.abs(u) >= 0.03),
        "largest": lambda u: keep(u, 4),
    }[kind]
    D = torch.tensor(A)
    if kind == "residual":
        network = ResidualNetwork(D, DEPTH, W=step * D.T, threshold=0.03, learn_matrix=tied)
    else:
        network = PairNetwork(D, DEPTH, kind, threshold=0.03, step=step, size=4, tied=tied)
    codes = torch.stack(network.eval().codes(torch.tensor(Y)), 1).detach().numpy()
    expected = np.array([iterate(A, y, step, shrink) for y in Y])
    assert np.abs(codes - expected).max() < 1e-12


def random_stages(A, **options):
    """A residual network with a random matrix and threshold a stage, with them as arrays."""
    rng = np.random.default_rng(1)
    matrices = 0.2 * A.T + 0.02 * rng.standard_normal((DEPTH, N, M))
    thresholds = rng.uniform(0.01, 0.05, DEPTH)
    D = torch.tensor(A)
    network = ResidualNetwork(D, DEPTH, W=0.2 * D.T, threshold=0.1, learn_matrix=True, **options)
    with torch.no_grad():
        for t in range(DEPTH):
            network.matrices[t].copy_(torch.tensor(matrices[t]))
            network.theta[t] = thresholds[t]
    return network, matrices, thresholds


@pytest.mark.parametrize("kind", ["pair", "residual"])
def test_a_network_begins_as_another_to_rounding(data, kind):
    """CP unfolds to LISTA, and CPSS gives its matrices to CP: stage by stage the same codes."""
    A, _, Y = data
    D, signals = torch.tensor(A), torch.tensor(Y)
    other, matrices, thresholds = random_stages(A, selected=(0.0, 0.0))
    if kind == "pair":
        network = PairNetwork(D, DEPTH, "soft", threshold=0.3, step=0.1)
    else:
        network = ResidualNetwork(D, DEPTH, W=0.1 * D.T, threshold=0.3, learn_matrix=True)
    network.begin_as(other)
    z = np.zeros((len(Y), N))
    for t, code in enumerate(network.codes(signals)):
        z = soft_numpy(z + (Y - z @ A.T) @ matrices[t].T, thresholds[t])
        assert np.abs(code.detach().numpy() - z).max() < 1e-13
    network.begin_as(random_stages(A, selected=(0.05, 0.2))[0])  # support selection stays behind
    assert np.abs(network(signals).detach().numpy() - z).max() < 1e-13


def test_a_step_of_its_own_goes_into_the_matrix_of_a_stage(data):
    A, _, Y = data
    D = torch.tensor(A)
    analytic = ResidualNetwork(D, 3, W=analytic_weight(D), threshold=0.1, learn_matrix=False)
    with torch.no_grad():
        analytic.gamma.copy_(torch.tensor([0.9, 0.7, 0.5]))
    network = PairNetwork(D, 3, "soft", threshold=0.3, step=0.1)
    network.begin_as(analytic)
    signals = torch.tensor(Y)
    assert (network(signals) - analytic(signals)).abs().max() < 1e-13


def test_a_network_begins_only_as_what_it_can_be(data):
    D = torch.tensor(data[0])
    other = random_stages(data[0])[0]
    for network in (
        PairNetwork(D, DEPTH, "helu", threshold=0.1, step=0.1),
        PairNetwork(D, DEPTH, "soft", threshold=0.1, step=0.1, tied=True),
        ResidualNetwork(D, DEPTH, W=D.T, threshold=0.1, learn_matrix=False),
    ):
        with pytest.raises(InputError, match="only lista, lista-cp and lista-cpss can begin"):
            network.begin_as(other)
    for A, depth in ((D, DEPTH - 1), (2 * D, DEPTH)):
        network = PairNetwork(A, depth, "soft", threshold=0.1, step=0.1)
        with pytest.raises(InputError, match="of the same dictionary and depth"):
            network.begin_as(other)


def test_a_start_continues_the_iteration(data):
    A, _, Y = data
    D, signals = torch.tensor(A), torch.tensor(Y)
    network = PairNetwork(D, 4, "soft", threshold=0.03, step=0.2, tied=True)
    half = PairNetwork(D, 2, "soft", threshold=0.03, step=0.2, tied=True)
    assert (half(signals, half(signals)) - network(signals)).abs().max() < 1e-14


def test_the_tied_network_has_the_stated_number_of_parameters():
    network = PairNetwork(torch.randn(M, N), 3, "helu", threshold=0.1, step=0.1, tied=True)
    assert sum(p.numel() for p in network.parameters()) == N * M + N * N + N


def test_helu_is_odd_continuous_and_tends_to_the_hard_threshold():
    theta = torch.tensor(0.7, dtype=torch.float64)
    u = torch.linspace(-2, 2, 40001, dtype=torch.float64)
    for sigma in (0.5, 0.2, 0.02):
        values = helu(u, theta, sigma)
        assert torch.equal(values, -helu(-u, theta, sigma))
        assert values.diff().abs().max() <= 1.01e-4 / sigma  # slope 1 / sigma, no jump
        outside = (u.abs() >= theta) | (u.abs() <= (1 - sigma) * theta)
        assert torch.equal(values[outside], helu(u, theta)[outside])
    hard = torch.where(u.abs() >= theta, u, 0.0)
    assert torch.equal(helu(u, theta), hard)
    points = torch.tensor([0.69, 0.71, -0.3, -0.9], dtype=torch.float64)
    assert torch.allclose(helu(points, theta, 1e-6), torch.where(points.abs() > theta, points, 0))


def test_gradients_of_the_layers():
    rng = torch.Generator().manual_seed(0)
    u = torch.randn(3, 7, dtype=torch.float64, generator=rng, requires_grad=True)
    theta = torch.full((7,), 0.6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda u, t: helu(u, t, 0.3), (u, theta))
    assert gradcheck(soft, (u, theta))
    assert gradcheck(lambda u: largest(u, 3), (u,))
    assert gradcheck(lambda u, t: selected_soft(u, t, 0.3), (u, theta))


def test_largest_passes_the_whole_error_to_the_kept_places():
    u = torch.tensor([[0.1, -3.0, 2.0, 0.5]], requires_grad=True)
    error = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    kept = largest(u, 2)
    kept.backward(error)
    assert kept.tolist() == [[0.0, -3.0, 2.0, 0.0]]
    assert u.grad.tolist() == [[0.0, 2.0, 3.0, 0.0]]
    assert (largest(torch.ones(2, 6), 4) != 0).sum(1).tolist() == [4, 4]


def test_the_analytic_weight_is_optimal(data):
    """Of all W with (W A)_ii = 1, against projected random ones and the condition of optimality."""
    D = torch.tensor(data[0])
    W = analytic_weight(D)
    assert ((W * D.T).sum(1) - 1).abs().max() < 1e-12
    gradient = W @ (D @ D.T)
    # On the constraint w·a = 1 the gradient is parallel to a.
    ratio = gradient / D.T
    assert (ratio / ratio[:, :1] - 1).abs().max() < 1e-9


def test_selected_soft_trusts_the_largest_above_the_threshold():
    u = torch.tensor([[3.0, -2.0, 1.0, 0.2, 0.0]])
    theta = torch.tensor(0.5)
    assert selected_soft(u, theta, 0.4).tolist() == [[3.0, -2.0, 0.5, 0.0, 0.0]]
    each = torch.tensor([[0.4]])
    assert torch.equal(selected_soft(u, theta, each), selected_soft(u, theta, 0.4))
    high = torch.tensor(2.5)
    assert selected_soft(u, high, 0.4).tolist() == [[3.0, 0.0, 0.0, 0.0, 0.0]]


TIED = [[2.0, -3.0, 3.0, 1.0, -3.0, 3.0, 0.5, 2.0], [1.0] * 8]


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize(
    ("share", "trusted"),
    # round(share * 8) places: the four 3s first, in order, then the 2s
    [(0.0, []), (0.05, []), (0.25, [1, 2]), (0.44, [1, 2, 4, 5]), (0.6, [0, 1, 2, 4, 5])],
)
def test_selected_soft_has_one_count_and_one_rule_for_ties(share, trusted, tensor):
    u, theta = torch.tensor(TIED[:1]), torch.tensor(0.25)
    found = selected_soft(u, theta, torch.tensor([[share]]) if tensor else share)
    assert (found == u).nonzero()[:, 1].tolist() == trusted


def test_a_share_is_one_number_whatever_the_dtypes():
    """Of n · share as a whole number and a half, rounding would else go by the dtype."""
    for n, share in ((45, 0.7), (85, 0.7), (165, 0.7), (90, 0.35), (170, 0.35), (10, 0.35)):
        kept = set()
        for dtype in (torch.float32, torch.float64):
            u = torch.arange(n, 0, -1, dtype=dtype)[None] + 5.0
            for given in (share, torch.tensor([[share]]), torch.tensor([[share]]).double()):
                found = selected_soft(u, torch.tensor(0.5, dtype=dtype), given)
                kept.add(int((found == u).sum()))
        assert len(kept) == 1
        assert abs(kept.pop() - n * share) <= 0.5 + 1e-6


def test_a_share_of_its_own_for_each_row():
    u, theta = torch.tensor(TIED), torch.tensor(0.25)
    found = selected_soft(u, theta, torch.tensor([[0.0], [0.375]]))
    assert (found == u).nonzero().tolist() == [[1, 0], [1, 1], [1, 2]]


@pytest.mark.parametrize("n", [8, 200, 1000])
def test_of_equal_magnitudes_the_lowest_index_is_kept(n):
    signs = torch.tensor([1.0, -1.0]).repeat(n // 2)
    assert largest(signs[None], 5).nonzero()[:, 1].tolist() == list(range(5))
    rng = np.random.default_rng(0)
    u = rng.integers(-4, 5, (20, n)).astype(np.float32)
    for k in (1, 3, n):
        kept = largest(torch.tensor(u), k).numpy()
        for row, found in zip(u, kept, strict=True):
            expected = np.zeros_like(row)
            places = sorted(range(n), key=lambda i: (-abs(row[i]), i))[:k]
            expected[places] = row[places]
            assert np.array_equal(found, expected)


def test_largest_lets_a_divergence_show():
    assert largest(torch.tensor([[1.0, float("nan"), 3.0]]), 1).isnan().any()
    assert largest(torch.full((1, 3), float("nan")), 2).isnan().any()


def batches(A, size):
    """Signals of a step: fresh codes on one dictionary."""
    D = torch.tensor(A)

    def batch(step):
        rng = torch.Generator().manual_seed(100 + step)
        codes = torch.randn(size, N, dtype=torch.float64, generator=rng)
        codes *= torch.rand(size, N, dtype=torch.float64, generator=rng) < 0.1
        return codes @ D.T, codes

    return batch


def nmse(codes, target):
    error = (codes.detach() - target).square().sum()
    return float(10 * torch.log10(error / target.square().sum()))


@pytest.mark.parametrize("kind", ["pair", "residual"])
def test_training_beats_the_untrained_network_and_ista(data, kind):
    A = data[0]
    D, batch = torch.tensor(A), batches(A, 64)
    step = 1 / np.linalg.norm(A, 2) ** 2
    if kind == "pair":
        network = PairNetwork(D, 4, "soft", threshold=0.1 * step, step=step)
    else:
        network = ResidualNetwork(
            D, 4, W=analytic_weight(D), threshold=0.1, learn_matrix=False, selected=(0.03, 0.1)
        )
    signals, codes = batches(A, 500)(10**6)
    untrained = nmse(network.eval()(signals), codes)
    thresholds = (0.03, 0.1, 0.2, 0.3)
    ista = min(
        nmse(PairNetwork(D, 4, "soft", threshold=t * step, step=step, tied=True)(signals), codes)
        for t in thresholds
    )
    training = train(network, layer_wise(4, 1e-2, 100, 3), batch, batches(A, 200)(10**6 + 1))
    trained = nmse(network(signals), codes)
    assert not training.diverged
    assert trained < untrained - 3
    assert trained < ista - 3


def test_a_training_continues_from_its_checkpoint_to_the_same_weights(data, tmp_path, monkeypatch):
    A = data[0]
    batch, validation = batches(A, 16), batches(A, 50)(10**6)
    phases = [Phase(1, 0, 1e-2, 30, 5), Phase(3, 0, 1e-2, 30, 5)]
    monkeypatch.setattr("sparsebench.learned.training._SECONDS_BETWEEN", 0.0)

    def fresh():
        torch.manual_seed(0)
        return DenseEncoder(M, N).double()

    whole = fresh()
    train(whole, phases, batch, validation, check_every=10)
    killed, path = fresh(), tmp_path / "training.pt"

    def interrupt(phase, step, loss):
        if (phase, step) == (1, 10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(killed, phases, batch, validation, check_every=10, checkpoint=path, report=interrupt)
    resumed = fresh()
    training = train(resumed, phases, batch, validation, check_every=10, checkpoint=path)
    assert training.steps == 60
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_step_writes_down_no_stack(data, monkeypatch):
    """As `torch.manual_seed` does for every kind of device that is not there."""
    A = data[0]
    batch, validation = batches(A, 16), batches(A, 50)(10**6)

    def written(*_):
        raise AssertionError("a stack is formatted")

    monkeypatch.setattr("traceback.format_stack", written)
    train(DenseEncoder(M, N).double(), [Phase(1, 0, 1e-2, 30, 5)], batch, validation, check_every=9)


def test_every_root_seed_can_train(data):
    """Those near both ends of 64 bits too, each with random numbers of its own."""
    A = data[0]
    batch, validation = batches(A, 16), batches(A, 50)(10**6)
    seeds = (0, 2**63 - 1, 2**63 - 2, -(2**63) + 1)
    for seed in seeds:
        network = DenseEncoder(M, N).double()
        assert not train(network, [Phase(1, 0, 1e-2, 3, 5)], batch, validation, seed=seed).diverged
    numbers = {_seed_of_step(seed, step) for seed in seeds for step in range(100)}
    assert len(numbers) == 400 and all(-(2**63) <= number < 2**64 for number in numbers)
    # What could be seeded before is seeded as before.
    assert _seed_of_step(3, 7) == 3 * 10_000_019 + 7


def test_the_losses_begin_where_a_phase_begins_and_end_when_they_are_enough(data):
    A = data[0]
    network = PairNetwork(torch.tensor(A), 3, "soft", threshold=0.01, step=0.2)
    validation = batches(A, 50)(10**6)
    codes = network(validation[0]).detach()
    untrained = float((codes - validation[1]).square().sum(-1).mean())
    phases = [Phase(3, 0, 1e-3, 20, 9), Phase(3, 0, 1e-4, 20, 9), Phase(3, 0, 1e-5, 20, 9)]
    training = train(
        network,
        phases,
        batches(A, 16),
        validation,
        check_every=10,
        enough=lambda losses: losses[-1][0] == 1,
    )
    at = [(phase, step) for phase, step, _ in training.losses]
    assert at == [(0, 0), (0, 10), (0, 20), (1, 0), (1, 10), (1, 20)]
    assert training.losses[0][2] == untrained
    assert training.losses[3][2] == min(loss for phase, _, loss in training.losses if phase == 0)
    assert training.steps == 40


def test_a_phase_that_explores_hands_on_its_last_weights_and_the_best_of_all_are_kept(data):
    """Plain steps by hand: the loss rises at a large rate, which takes all its steps."""
    A = data[0]
    batch, validation = batches(A, 16), batches(A, 50)(10**6)

    def fresh():
        return PairNetwork(torch.tensor(A), 3, "soft", threshold=0.1, step=0.15)

    def loss(network, data):
        return (network(data[0]) - data[1]).square().sum(-1).mean()

    byhand, losses = fresh(), []
    for step in range(40):
        if step % 10 == 0:
            losses.append(float(loss(byhand, validation).detach()))
        rate = 0.5 if step < 30 else 1e-3
        byhand.zero_grad()
        loss(byhand, batch(step)).backward()
        with torch.no_grad():
            for parameter in byhand.parameters():
                parameter -= rate * parameter.grad
    losses.append(float(loss(byhand, validation).detach()))
    assert min(losses) == losses[0] < losses[3]
    network = fresh()
    phases = [Phase(3, 0, 0.5, 30, 1, explores=True), Phase(3, 0, 1e-3, 10, 9)]
    training = train(network, phases, batch, validation, optimiser="sgd", check_every=10)
    expected = [*zip((0, 0, 0, 0), (0, 10, 20, 30), losses[:4], strict=True)]
    expected += [(1, 0, losses[3]), (1, 10, losses[4])]
    assert [found[:2] for found in training.losses] == [(p, s) for p, s, _ in expected]
    assert np.allclose([x for *_, x in training.losses], [x for *_, x in expected], rtol=1e-12)
    assert training.best == min(losses)
    assert float(loss(network, validation).detach()) == training.best


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(Adam, torch.optim.Adam), (GradientDescent, torch.optim.SGD)]
)
def test_the_optimisers_are_those_of_torch_in_every_bit(ours, theirs, precision):
    shapes = (7, 5), (3,), (), (2,)
    pair = [[torch.ones(s, dtype=precision, requires_grad=True) for s in shapes] for _ in range(2)]
    pair[0][0].grad = torch.ones(shapes[0], dtype=precision)  # left over from before
    mine, other = ours(pair[0], 0.03), theirs(pair[1], lr=0.03)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        targets = [10 ** (step % 7 - 3) * torch.randn(s, generator=generator) for s in shapes]
        for parameters in pair:
            for parameter, target in zip(parameters[:-1], targets, strict=False):  # one has none
                if step > 9 or parameter.ndim:  # and one only later
                    (parameter - target).square().sum().backward()
        mine.step()
        other.step()
        other.zero_grad()
        for one, two in zip(*pair, strict=True):
            assert torch.equal(one, two)


def test_a_training_does_not_load_the_compiler_of_torch():
    code = (
        "import sys, torch; from sparsebench.learned.networks import DenseEncoder; "
        "from sparsebench.learned.training import Phase, train; "
        "known = torch.ones(4, 3), torch.ones(4, 6); "
        "print(train(DenseEncoder(3, 6), [Phase(0, 0, 1e-3, 5, 5)], lambda _: known, known).steps, "
        "'torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.split() == ["5", "False"], found.stderr


def test_a_checkpoint_that_is_none_is_refused(data, tmp_path):
    path = tmp_path / "training.pt"
    path.write_bytes(b"not a checkpoint")
    network = DenseEncoder(M, N).double()
    with pytest.raises(InputError, match="no checkpoint of this training"):
        train(network, [], batches(data[0], 4), batches(data[0], 4)(0), checkpoint=path)


def test_a_diverging_training_stops_and_keeps_its_last_good_weights(data):
    A = data[0]
    network = PairNetwork(torch.tensor(A), 3, "soft", threshold=0.01, step=0.2)
    validation = batches(A, 50)(10**6)

    def loss():
        with torch.no_grad():
            return float((network(validation[0]) - validation[1]).square().sum(-1).mean())

    before = loss()
    training = train(
        network, [Phase(3, 0, 1e3, 50, 5)], batches(A, 16), validation, optimiser="sgd"
    )
    assert "diverged in step" in training.diverged
    assert loss() <= before


def test_hyperlista_scales_with_the_signal(data):
    A, _, Y = data
    network = HyperNetwork(torch.tensor(A), 4, W=analytic_weight(torch.tensor(A)))
    one, other = network(torch.tensor(Y)), network(torch.tensor(1024.0 * Y))
    assert torch.allclose(1024.0 * one, other, rtol=1e-12)
