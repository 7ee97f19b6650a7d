"""Unrolled networks: K iterations of a recovery algorithm whose matrices and thresholds are learnt.

A network takes signals Y of shape (B, m) and codes Z of shape (B, n), one a row. Its stages are
those of an iterative algorithm, from whose constants it starts: untrained, `PairNetwork` and
`ResidualNetwork` are ISTA or iterative hard thresholding, stage by stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.learned.layers import helu, largest, selected_soft, soft
from sparsebench.types import InputError

# Units of the recurrent network of `AdaptiveNetwork`.
_HIDDEN = 64


class Unrolled(nn.Module):
    """K stages z ← stage(z); subclasses say what a stage is and which parameters it has.

    Attributes
    ----------
    depth : int
        K.
    sigma : float
        Width of the ramp of HELU while training; in evaluation it is the hard threshold.
    shares : list of float
        Of entries that support selection trusts, by stage.
    """

    A: Tensor

    def __init__(self, A: Tensor, depth: int, selected: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.register_buffer("A", A)
        growth, most = selected
        self.shares = [min(growth * (t + 1), most) for t in range(depth)]
        self.depth = depth
        self.sigma = 0.0

    def stage(self, t: int, z: Tensor, previous: Tensor, y: Tensor) -> Tensor:
        """Return the code after stage t = 0 .. K - 1 from those of the last two."""
        raise NotImplementedError

    def products(self) -> float:
        """Return what a stage costs, in products of an m x n matrix with a vector."""
        return 2.0

    def codes(
        self, y: Tensor, start: Tensor | None = None, depth: int | None = None, first: int = 0
    ) -> list[Tensor]:
        """Return the code after every stage.

        Parameters
        ----------
        y : Tensor, shape (B, m)
        start : Tensor, shape (B, n), optional
            The code before the first stage; zero by default.
        depth : int, optional
            Stages to run; all by default.
        first : int
            The first stage that is differentiated.
        """
        z = y.new_zeros(len(y), self.A.shape[1]) if start is None else start
        previous, found = z, []
        graded = torch.is_grad_enabled()
        for t in range(self.depth if depth is None else depth):
            with torch.set_grad_enabled(graded and t >= first):
                z, previous = self.stage(t, z, previous, y), z
            found.append(z)
        return found

    def forward(self, y: Tensor, start: Tensor | None = None) -> Tensor:
        """Return the code after the last stage."""
        return self.codes(y, start)[-1]

    def begin_as(self, other: Unrolled) -> None:
        """Take over every stage of a `ResidualNetwork`, but for its support selection.

        Raises
        ------
        InputError
            If a stage of this network cannot be one of the other's.
        """
        if (
            not isinstance(other, ResidualNetwork)
            or other.depth != self.depth
            or not torch.equal(other.A, self.A)
        ):
            raise InputError(
                "a network can begin as lista-cp, lista-cpss or alista only, of the same "
                "dictionary and depth"
            )
        with torch.no_grad():
            for t in range(self.depth):
                self.begin_stage(t, other.weight(t), other.theta[t])

    def begin_stage(self, t: int, W: Tensor, theta: Tensor) -> None:
        """Make stage t the soft threshold of z + W (y - A z)."""
        raise InputError("only lista, lista-cp and lista-cpss can begin as a trained network")


class PairNetwork(Unrolled):
    """z ← h(W y + S z): LISTA (soft h), deep l0 encoders (HELU, or the M largest).

    Initialised at W = step Aᵀ, S = I - step AᵀA. Tied stages share W, S and the thresholds, so
    that they have n m + n² + n parameters.

    Parameters
    ----------
    A : Tensor, shape (m, n)
    depth : int
    shrink : {"soft", "helu", "largest"}
    threshold : float
        theta at the start, of every entry.
    step : float
        1 / L for ISTA; 1 for a dictionary of spectral norm below 1.
    size : int
        M, for "largest".
    tied : bool

    References
    ----------
    Gregor and LeCun, ICML 2010; Wang, Ling and Huang, AAAI 2016.
    """

    def __init__(
        self,
        A: Tensor,
        depth: int,
        shrink: str,
        *,
        threshold: float,
        step: float,
        size: int = 0,
        tied: bool = False,
    ) -> None:
        super().__init__(A, depth)
        self.shrink, self.size = shrink, size
        n = A.shape[1]
        kinds = 1 if tied else depth
        W = step * A.T
        S = torch.eye(n, dtype=A.dtype, device=A.device) - W @ A
        self.W = nn.ParameterList(W.clone() for _ in range(kinds))
        self.S = nn.ParameterList(S.clone() for _ in range(kinds))
        self.theta = nn.ParameterList(A.new_full((n,), threshold) for _ in range(kinds))

    def stage(self, t: int, z: Tensor, previous: Tensor, y: Tensor) -> Tensor:
        """Return h(W y + S z)."""
        i = min(t, len(self.W) - 1)
        return self.shrunk(y @ self.W[i].T + z @ self.S[i].T, i)

    def shrunk(self, u: Tensor, i: int = 0) -> Tensor:
        """Return h(u) with the thresholds i."""
        if self.shrink == "soft":
            return soft(u, self.theta[i])
        if self.shrink == "helu":
            return helu(u, self.theta[i], self.sigma if self.training else 0.0)
        return largest(u, self.size)

    def begin_stage(self, t: int, W: Tensor, theta: Tensor) -> None:
        """Make stage t the soft threshold of W y + (I - W A) z."""
        if self.shrink != "soft" or len(self.W) < self.depth:
            super().begin_stage(t, W, theta)
        self.W[t].copy_(W)
        self.S[t].copy_(torch.eye(len(W), dtype=W.dtype, device=W.device) - W @ self.A)
        self.theta[t].fill_(float(theta))

    def products(self) -> float:
        """Return 1 + n / m."""
        return 1.0 + self.A.shape[1] / self.A.shape[0]


class ResidualNetwork(Unrolled):
    """z ← h(z + gamma_t W_t (y - A z)): LISTA-CP, LISTA-CPSS, ALISTA.

    Parameters
    ----------
    A : Tensor, shape (m, n)
    depth : int
    W : Tensor, shape (n, m)
        Aᵀ / L for ISTA, or the analytic weight.
    threshold : float
        theta at the start.
    learn_matrix : bool
        Learn a W of each stage, or keep W and learn gamma.
    selected : tuple of float
        Support selection: the share of entries trusted grows by the first number a stage, up to
        the second.

    References
    ----------
    Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038; Liu, Chen, Wang and Yin, ALISTA, ICLR
    2019.
    """

    W: Tensor

    def __init__(
        self,
        A: Tensor,
        depth: int,
        *,
        W: Tensor,
        threshold: float,
        learn_matrix: bool,
        selected: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(A, depth, selected)
        self.theta = nn.Parameter(A.new_full((depth,), threshold))
        self.learn_matrix = learn_matrix
        if learn_matrix:
            self.matrices = nn.ParameterList(W.clone() for _ in range(depth))
        else:
            self.register_buffer("W", W)
            self.gamma = nn.Parameter(A.new_ones(depth))

    def stage(self, t: int, z: Tensor, previous: Tensor, y: Tensor) -> Tensor:
        """Return h(z + gamma W (y - A z))."""
        residual = y - z @ self.A.T
        if self.learn_matrix:
            u = z + residual @ self.matrices[t].T
        else:
            u = z + self.gamma[t] * (residual @ self.W.T)
        return selected_soft(u, self.theta[t], self.shares[t])

    def weight(self, t: int) -> Tensor:
        """Return the matrix of stage t, shape (n, m), its step gamma included."""
        return self.matrices[t] if self.learn_matrix else self.gamma[t] * self.W

    def begin_stage(self, t: int, W: Tensor, theta: Tensor) -> None:
        """Make stage t the soft threshold of z + W (y - A z), with its support selection."""
        if not self.learn_matrix:
            super().begin_stage(t, W, theta)
        self.matrices[t].copy_(W)
        self.theta[t] = theta


class HyperNetwork(Unrolled):
    """HyperLISTA: thresholds, momentum and support selection from the residual; three numbers.

    With r = A⁺(A z - y) and mu the mutual coherence of W and A: theta = c1 mu ||r||₁, momentum
    beta = c2 mu ||z||₀, and c3 log(||A⁺y||₁ / ||r||₁) entries are trusted.

    Parameters
    ----------
    A : Tensor, shape (m, n)
    depth : int
    W : Tensor, shape (n, m)
        The analytic weight.

    References
    ----------
    Chen, Liu, Wang and Yin, Hyperparameter tuning is all you need for LISTA, NeurIPS 2021,
    arXiv:2110.15900.
    """

    W: Tensor
    inverse: Tensor

    def __init__(self, A: Tensor, depth: int, *, W: Tensor) -> None:
        super().__init__(A, depth)
        self.register_buffer("W", W)
        self.register_buffer("inverse", torch.linalg.pinv(A))
        self.coherence = float((W @ A).abs().fill_diagonal_(0.0).max())
        self.constants = nn.Parameter(A.new_tensor([0.1, 0.1, 5.0]))

    def stage(self, t: int, z: Tensor, previous: Tensor, y: Tensor) -> Tensor:
        """Return the selected soft threshold of z + W (y - A z) + beta (z - previous)."""
        c1, c2, c3 = self.constants
        residual = y - z @ self.A.T
        norm = (residual @ self.inverse.T).abs().sum(-1, keepdim=True)
        first = (y @ self.inverse.T).abs().sum(-1, keepdim=True)
        theta = c1 * self.coherence * norm
        beta = c2 * self.coherence * (z != 0).sum(-1, keepdim=True)
        count = c3 * torch.log(first / norm.clamp(min=1e-30)).clamp(min=0.0)
        u = z + residual @ self.W.T + beta * (z - previous)
        return selected_soft(u, theta, count / z.shape[-1])

    def products(self) -> float:
        """Return 3: A, W and A⁺; A⁺y is formed once."""
        return 3.0


class AdaptiveNetwork(Unrolled):
    """NA-ALISTA: a recurrent network reads the residual and sets step and threshold by signal.

    It sees the logarithms of the mean |y - A z| and mean |W (y - A z)|; its outputs are the step
    and the threshold in units of the latter (the paper's are unscaled).

    Parameters
    ----------
    A : Tensor, shape (m, n)
    depth : int
    W : Tensor, shape (n, m)
        The analytic weight.
    selected : tuple of float
        As in `ResidualNetwork`.

    References
    ----------
    Behrens, Sauder and Jung, Neurally Augmented ALISTA, ICLR 2021, arXiv:2010.01930.
    """

    W: Tensor
    _memory: tuple[Tensor, Tensor]

    def __init__(self, A: Tensor, depth: int, *, W: Tensor, selected: tuple[float, float]) -> None:
        super().__init__(A, depth, selected)
        self.register_buffer("W", W)
        self.cell = nn.LSTMCell(2, _HIDDEN, dtype=A.dtype)
        self.read_out = nn.Linear(_HIDDEN, 2, dtype=A.dtype)
        with torch.no_grad():
            self.read_out.weight.mul_(0.1)
            self.read_out.bias.copy_(torch.log(torch.tensor([1.0, 1.5])))

    def stage(self, t: int, z: Tensor, previous: Tensor, y: Tensor) -> Tensor:
        """Return the selected soft threshold of z + gamma W (y - A z)."""
        residual = y - z @ self.A.T
        correlations = residual @ self.W.T
        norms = torch.stack([residual.abs().mean(-1), correlations.abs().mean(-1)], -1)
        # Norms fall by orders of magnitude from stage to stage.
        self._memory = self.cell(torch.log(norms + 1e-10), self._memory if t else None)
        gamma, theta = torch.exp(self.read_out(self._memory[0])).split(1, -1)
        return selected_soft(z + gamma * correlations, theta * norms[:, 1:], self.shares[t])


class DenseEncoder(nn.Module):
    """An encoder of no structure: three dense layers with ReLU, and dropout of 10, 10 and 50 %.

    Parameters
    ----------
    m, n : int
        Lengths of a signal and of a code, which is also the width of the hidden layers.

    References
    ----------
    Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
    """

    def __init__(self, m: int, n: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, share in zip((m, n, n), (0.1, 0.1, 0.5), strict=True):
            layers += [nn.Linear(width, n), nn.ReLU(), nn.Dropout(share)]
        self.layers = nn.Sequential(*layers, nn.Linear(n, n))

    def forward(self, y: Tensor) -> Tensor:
        """Return the codes, shape (B, n), of signals, shape (B, m)."""
        answer: Tensor = self.layers(y)
        return answer
