"""The non-linearities of unrolled networks, on batches of codes of shape (B, n)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from sparsebench.batched.selection import largest_of


def soft(u: Tensor, theta: Tensor) -> Tensor:
    """Return sign(u) max(|u| - theta, 0), the proximal map of theta ||·||₁."""
    return relu(u - theta) - relu(-u - theta)


def largest(u: Tensor, size: int) -> Tensor:
    """Keep the `size` largest magnitudes of every row, zeros elsewhere (max-M pooling, unpooling).

    Of equal magnitudes the lowest index is kept. The error passes back whole at the kept places,
    and nothing at the others.

    References
    ----------
    Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
    """
    magnitudes = u.detach().abs()
    kept = largest_of(magnitudes, torch.full((len(u),), size, device=u.device), size)
    kept |= u.isnan()  # so that a divergence shows
    return torch.where(kept, u, torch.zeros_like(u))


def selected_soft(u: Tensor, theta: Tensor, share: float | Tensor) -> Tensor:
    """Soft thresholding that leaves the largest magnitudes of every row as they are.

    An entry is left alone where it is among the round(share n) largest magnitudes of its row, of
    equal ones the lowest index first, and above theta (support selection). The share counts as the
    single-precision number that it is or is nearest to, whatever the dtype of u.

    Parameters
    ----------
    u : Tensor, shape (B, n)
    theta : Tensor, scalar or shape (B, 1)
    share : float or Tensor of shape (B, 1)

    References
    ----------
    Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038.
    """
    magnitudes, n = u.detach().abs(), u.shape[-1]
    shares = torch.as_tensor(share, dtype=torch.float32, device=u.device).detach()
    counts = (shares.double().expand(len(u), 1)[:, 0] * n).round().clamp(0, n).long()
    most = int(counts.max()) if len(u) else 0
    if most == 0:
        return soft(u, theta)
    trusted = largest_of(magnitudes, counts, most) & (magnitudes > theta)
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
