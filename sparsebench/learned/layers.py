"""The non-linearities of unrolled networks, on batches of codes of shape (B, n)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu


def soft(u: Tensor, theta: Tensor) -> Tensor:
    """Return sign(u) max(|u| - theta, 0), the proximal map of theta ||·||₁."""
    return relu(u - theta) - relu(-u - theta)


def largest(u: Tensor, size: int) -> Tensor:
    """Keep the `size` largest magnitudes of every row, zeros elsewhere (max-M pooling, unpooling).

    Ties go as `torch.topk` breaks them. The error passes back whole at the kept places, and
    nothing at the others.

    References
    ----------
    Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
    """
    kept = torch.zeros_like(u, dtype=torch.bool)
    kept.scatter_(-1, u.detach().abs().topk(size, dim=-1).indices, True)
    return torch.where(kept, u, torch.zeros_like(u))


def selected_soft(u: Tensor, theta: Tensor, share: float | Tensor) -> Tensor:
    """Soft thresholding that leaves the largest magnitudes of every row as they are.

    An entry is left alone where it is among the `share` of largest magnitudes of its row and
    above theta (support selection).

    References
    ----------
    Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038.
    """
    magnitude = u.detach().abs()
    n = u.shape[-1]
    if isinstance(share, Tensor):  # one a row
        rank = torch.empty_like(u)
        order = magnitude.argsort(dim=-1, descending=True)
        rank.scatter_(-1, order, torch.arange(n, dtype=u.dtype, device=u.device).expand_as(u))
        trusted = (rank < share * n) & (magnitude > theta)
    else:
        count = min(int(share * n), n)
        if count == 0:
            return soft(u, theta)
        lowest = magnitude.topk(count, dim=-1).values[..., -1:]
        trusted = (magnitude >= lowest) & (magnitude > theta)
    return torch.where(trusted, u, soft(u, theta))


def helu(u: Tensor, theta: Tensor, sigma: float = 0.0) -> Tensor:
    """Hard thresholding linear unit: u where |u| >= theta, else 0; continuous for sigma > 0.

    HELU_sigma is theta h(u / theta) with the odd h(v) = 0 for v <= 1 - sigma, a ramp of slope
    1 / sigma up to (1, 1), and v from there on. sigma = 0 is the hard threshold, whose derivative
    with respect to theta is 0.

    Parameters
    ----------
    u : Tensor, shape (B, n)
    theta : Tensor, shape (n,) or scalar
        Positive.
    sigma : float
        In [0, 1].

    References
    ----------
    Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
    """
    inside = torch.zeros_like(u)
    if sigma > 0.0:
        inside = torch.sign(u) * relu(u.abs() - (1 - sigma) * theta) / sigma
    return torch.where(u.abs() >= theta, u, inside)
