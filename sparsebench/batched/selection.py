"""Exact top-k selection over a batch, with the tie rule of `kernels.selection`."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def top_k(values: Tensor, k: Tensor, most: int) -> Tensor:
    """Return the support of the k largest ``|values|`` of each row, in increasing order.

    Ties: strictly larger entries first, then the lowest index.

    Parameters
    ----------
    values : Tensor, shape (B, n)
    k : Tensor of int64, shape (B,)
        1 <= k <= n.
    most : int
        Columns of the result, at least the largest k.
    """
    return top_magnitudes(values.abs(), k, most)


def top_magnitudes(magnitudes: Tensor, k: Tensor, most: int) -> Tensor:
    """As `top_k` for magnitudes; negative ones stand for no entry and must be left over."""
    return indices_of(largest_of(magnitudes, k, min(most, magnitudes.shape[1])), most)


def largest_of(magnitudes: Tensor, k: Tensor, most: int) -> Tensor:
    """Return where the k largest entries of each row are, bool of shape (B, n).

    Ties as in `top_k`.

    Parameters
    ----------
    magnitudes : Tensor, shape (B, n)
    k : Tensor of int64, shape (B,)
        0 <= k <= n.
    most : int
        The largest k or more; 1 <= most <= n.
    """
    largest = magnitudes.topk(most, dim=1).values
    threshold = largest.gather(1, (k - 1).clamp(min=0)[:, None])
    kept = magnitudes >= threshold
    if bool((kept.sum(1) <= k).all()):  # no ties
        return kept
    above = magnitudes > threshold
    ties = magnitudes == threshold
    left = k - above.sum(1)
    return (above | (ties & (ties.cumsum(1) <= left[:, None]))) & (k > 0)[:, None]


def support_of(scores: Tensor, k: Tensor) -> Tensor:
    """Return the support of the k largest ``|scores|`` of each row, zeros left out."""
    n = scores.shape[1]
    support = top_k(scores, k, int(k.max()))
    kept = scores.gather(1, support.clamp(max=n - 1)) != 0
    return torch.where(kept, support, n).sort(dim=1).values


def indices_of(mask: Tensor, most: int) -> Tensor:
    """Return the indices of the True entries of each row, filled up with n to `most` columns."""
    count, n = mask.shape
    position = torch.where(mask, mask.cumsum(1) - 1, most).clamp_(max=most)
    found = torch.full((count, most + 1), n, dtype=torch.int64, device=mask.device)
    found.scatter_(1, position, torch.arange(n, device=mask.device).expand(count, n))
    return found[:, :most]


def take(values: Tensor, support: Tensor) -> Tensor:
    """Return the entries of a support, zero on its padding."""
    n = values.shape[1]
    return values.gather(1, support.clamp(max=n - 1)).masked_fill_(support == n, 0)


def spread(entries: Tensor, support: Tensor, n: int) -> Tensor:
    """Return dense rows, shape (B, n), with these entries on a support."""
    dense = entries.new_zeros(len(entries), n + 1)
    return dense.scatter_(1, support, entries)[:, :n]


def members(support: Tensor, n: int) -> Tensor:
    """Return which atoms belong to a support, bool of shape (B, n)."""
    mask = torch.zeros(len(support), n + 1, dtype=torch.bool, device=support.device)
    return mask.scatter_(1, support, True)[:, :n]


def join(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Return the union of two supports."""
    return indices_of(members(a, n) | members(b, n), min(a.shape[1] + b.shape[1], n))


def fingerprint(support: Tensor, n: int) -> Tensor:
    """Return a 64-bit hash of each index set: the sum of a random number for each index < n."""
    return _numbers(n, str(support.device))[support].sum(1)


@cache
def _numbers(n: int, device: str) -> Tensor:
    """One fixed random 64-bit number an index, and 0 for the padding."""
    source = torch.Generator().manual_seed(0)
    numbers = torch.randint(-(2**63), 2**63 - 1, (n + 1,), dtype=torch.int64, generator=source)
    numbers[n] = 0
    return numbers.to(device)
