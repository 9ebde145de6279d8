"""The losses of what a forecaster tells, in PyTorch: of each family in `distributions`, of the same sums s.

Where y are numbers, the targets are z = (y - base) / scale, in which -log p is the same but for log(scale).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .distributions import ALPHA_FLOOR, RATE_FLOOR, RATIO_FLOOR, SPREAD_FLOOR, Family


class Loss:
    """The sum of the losses of all targets that are there.

    Args:
        family: of the distributions.

    Its targets are (T, B, O); or of counts (T, B, 3 · O), as y, base and scale, each of which the batch counts as one.
    """

    def __init__(self, family: Family):
        self.family, self.loss = family, LOSSES[family.name]

    def __call__(self, s: Tensor, targets: Tensor) -> Tensor:
        parts = 3 if self.family.discrete else 1
        y, *measures = targets.chunk(parts, -1)
        there = ~y.isnan()
        sums = s.reshape(*y.shape, self.family.size)[there]
        of = _Target(y[there], *(m[there] for m in measures), levels=self.family.levels)
        return parts * self.loss(sums, of).sum()


class _Target(NamedTuple):
    """z, or of counts y, base and scale; and the levels of quantiles."""

    y: Tensor
    base: Tensor | None = None
    scale: Tensor | None = None
    levels: tuple[float, ...] = ()


def _deviation(s: Tensor) -> Tensor:
    return softplus(s) + SPREAD_FLOOR


def _normal(s: Tensor, of: _Target) -> Tensor:
    σ = _deviation(s[:, 1])
    return ((of.y - s[:, 0]) / σ).square() / 2 + σ.log() + math.log(2 * math.pi) / 2


def _student_t(s: Tensor, of: _Target) -> Tensor:
    σ, ν = _deviation(s[:, 1]), 2 + softplus(s[:, 2])
    off = ((of.y - s[:, 0]) / σ).square()
    whole = torch.lgamma(ν / 2) - torch.lgamma((ν + 1) / 2) + (math.pi * ν).log() / 2
    return whole + σ.log() + (ν + 1) / 2 * torch.log1p(off / ν)


def _mean(s: Tensor, of: _Target) -> Tensor:
    assert of.base is not None and of.scale is not None
    ratio = (of.base / of.scale).clamp(min=RATIO_FLOOR)
    return of.scale * (softplus(s + ratio + (-torch.expm1(-ratio)).log()) + RATE_FLOOR)


def _poisson(s: Tensor, of: _Target) -> Tensor:
    μ = _mean(s[:, 0], of)
    return μ - of.y * μ.log() + torch.lgamma(of.y + 1)


def _negative_binomial(s: Tensor, of: _Target) -> Tensor:
    # In float32 the differences of lgamma would be lost.
    μ, α, y = _mean(s[:, 0], of).double(), softplus(s[:, 1]).double() + ALPHA_FLOOR, of.y.double()
    r = 1 / α
    ways = torch.lgamma(y + r) - torch.lgamma(y + 1) - torch.lgamma(r)
    return r * torch.log1p(α * μ) - ways - y * ((α * μ).log() - torch.log1p(α * μ))


def _point(s: Tensor, of: _Target) -> Tensor:
    return (of.y - s[:, 0]).abs()


def _quantiles(s: Tensor, of: _Target) -> Tensor:
    """2 · Σ max(q e, (q - 1) e) / levels, where e = z - s (Koenker & Bassett 1978)."""
    q = torch.tensor(of.levels, dtype=s.dtype, device=s.device)
    e = of.y[:, None] - s
    return 2 * torch.maximum(q * e, (q - 1) * e).mean(1)


LOSSES: dict[str, Callable[[Tensor, _Target], Tensor]] = {
    "normal": _normal,
    "student-t": _student_t,
    "poisson": _poisson,
    "negative-binomial": _negative_binomial,
    "point": _point,
    "quantiles": _quantiles,
}
