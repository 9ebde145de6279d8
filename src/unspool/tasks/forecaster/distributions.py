"""The families of the distributions that a forecaster tells, of the sums s of its network. No PyTorch.

Each sum is a correction in units of `scale` to the seasonal naive forecast, `base`; σ⁺(s) = log(1 + exp(s)).

    normal             y ~ N(μ, σ²)            μ = base + scale · s0,  σ = scale · (σ⁺(s1) + 10⁻³)
    student-t          (y - μ) / σ ~ t(ν)      the same,  ν = 2 + σ⁺(s2)
    poisson            y ~ Poisson(μ)          μ = scale · σ⁺(s0 + b),  σ⁺(b) = max(base / scale, 0.05)
    negative-binomial  mean μ, variance μ + α μ²    the same,  α = σ⁺(s1) + 10⁻³   (Salinas et al. 2020, 3.1)
    point              y = base + scale · s0, the median
    quantiles          of levels q0 < q1 < …: base + scale · s, sorted

All functions act on each element alone, so that one has the bits that it has among many.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from ...arguments import look_up, number
from ...errors import UnspoolError

FLOOR = 1e-3  # of a deviation in units of the scale, and of α
LEAST = 0.05  # of the mean of counts in units of the scale, where the base is less

_lgamma = np.frompyfunc(math.lgamma, 1, 1)


class Family(NamedTuple):
    """A family of distributions.

    name: of the family.
    size: the sums that the network gives for each target.
    parameters: (s, base, scale) to the parameters, (..., size), in units of y; s is (..., size).
    quantile: (parameters, level) to the value that is not surpassed with a probability of `level`, (...,).
    log_density: (parameters, y) to log p(y), of counts the probability, (...,).
    sample: (parameters, random) to a draw of each, (...,).
    counts: whether y are counts.
    spread: whether there is more than a point.
    levels: of quantiles.
    """

    name: str
    size: int
    parameters: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    quantile: Callable[[np.ndarray, float], np.ndarray]
    log_density: Callable[[np.ndarray, np.ndarray], np.ndarray]
    sample: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    counts: bool = False
    spread: bool = True
    levels: tuple[float, ...] = ()


def softplus(s: np.ndarray) -> np.ndarray:
    """σ⁺(s) = log(1 + exp(s))"""
    return np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))


def _location_scale(s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """μ, σ, and ν if there is a third sum."""
    found = [base + scale * s[..., 0], scale * (softplus(s[..., 1]) + FLOOR), *(2 + softplus(v) for v in _columns(s)[2:])]
    return np.stack(found, -1)


def _columns(p: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(p[..., k]) for k in range(p.shape[-1])]


# Numbers


def _normal_quantile(p: np.ndarray, level: float) -> np.ndarray:
    return p[..., 0] + p[..., 1] * NormalDist().inv_cdf(level)


def _normal_density(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    μ, σ = _columns(p)
    return -((y - μ) ** 2) / (2 * σ**2) - np.log(σ) - math.log(2 * math.pi) / 2


def _normal_sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return p[..., 0] + p[..., 1] * random.standard_normal(p.shape[:-1])


def _t_quantile(p: np.ndarray, level: float) -> np.ndarray:
    μ, σ, ν = _columns(p)
    return μ + σ * t_quantile(level, ν)


def _t_density(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    μ, σ, ν = _columns(p)
    whole = (_lgamma((ν + 1) / 2) - _lgamma(ν / 2)).astype(np.float64)
    return whole - np.log(np.pi * ν) / 2 - np.log(σ) - (ν + 1) / 2 * np.log1p(((y - μ) / σ) ** 2 / ν)


def _t_sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return p[..., 0] + p[..., 1] * random.standard_t(p[..., 2])


def t_quantile(level: float, ν: np.ndarray) -> np.ndarray:
    """The quantile of Student's t with ν > 2 degrees of freedom, (...,).

    For one level it is a smooth function of 1/ν, from 0 to 1/2, and is interpolated between its exact values at
    Chebyshev's points to about twelve digits.
    """
    return np.polynomial.chebyshev.chebval(4 / ν - 1, _t_series(level))


@lru_cache(64)
def _t_series(level: float) -> np.ndarray:
    def exact(points: np.ndarray) -> np.ndarray:
        return np.array([_t_exact(level, 4 / (1 + x) if x > -1 else math.inf) for x in points])

    return np.polynomial.chebyshev.chebinterpolate(exact, 40)


def _t_exact(level: float, ν: float) -> float:
    """The root t of P(T < t) = level, by Newton's method from the normal quantile, from which it rises to it.

    P(0 < T < t) = C ∫ cos^(ν-1)(θ) dθ from 0 to atan(t / √ν), by Gauss's quadrature.
    """
    z = NormalDist().inv_cdf(max(level, 1 - level))
    if level == 0.5 or ν == math.inf:
        return z if level >= 0.5 else -z
    nodes, weights = np.polynomial.legendre.leggauss(64)
    constant = math.exp(math.lgamma((ν + 1) / 2) - math.lgamma(ν / 2)) / math.sqrt(math.pi)
    wanted, t = max(level, 1 - level) - 0.5, z
    for _ in range(200):
        θ = math.atan(t / math.sqrt(ν))
        within = constant * θ / 2 * float(weights @ np.cos(θ / 2 * (nodes + 1)) ** (ν - 1))
        more = (wanted - within) * math.sqrt(ν) / (constant * math.cos(θ) ** (ν + 1))
        t += more
        if abs(more) <= 1e-14 * t:
            break
    return t if level > 0.5 else -t


# Counts


def _mean(s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """μ of counts: the base where s is 0."""
    ratio = np.maximum(base / scale, LEAST)
    return scale * softplus(s + ratio + np.log(-np.expm1(-ratio)))


def _poisson(s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return _mean(np.ascontiguousarray(s[..., 0]), base, scale)[..., None]


def _negative_binomial(s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> np.ndarray:
    s0, s1 = _columns(s)
    return np.stack([_mean(s0, base, scale), softplus(s1) + FLOOR], -1)


def _poisson_density(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    μ = np.ascontiguousarray(p[..., 0])
    return _of_counts(y, lambda k: k * np.log(μ) - μ - _lgamma(k + 1).astype(np.float64))


def _binomial_density(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    μ, α = _columns(p)
    r = 1 / α

    def density(k: np.ndarray) -> np.ndarray:
        ways = (_lgamma(k + r) - _lgamma(k + 1) - _lgamma(r)).astype(np.float64)
        return ways - r * np.log1p(α * μ) + k * (np.log(α * μ) - np.log1p(α * μ))

    return _of_counts(y, density)


def _of_counts(y: np.ndarray, density: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The density of counts; what is no count has probability 0."""
    count = (y >= 0) & (y == np.floor(y))
    return np.where(count, density(np.where(count, y, 0.0)), -np.inf)


def _poisson_sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.poisson(p[..., 0]).astype(np.float64)


def _binomial_sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    μ, α = _columns(p)
    return random.poisson(random.gamma(1 / α, α * μ)).astype(np.float64)


def _count_quantile(density: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    """The least count that is not surpassed with a probability of `level`.

    The probabilities of all counts up to twelve deviations above the mean are added up.
    """

    def quantile(p: np.ndarray, level: float) -> np.ndarray:
        rows = p.reshape(-1, p.shape[-1])
        return np.array([_least(density, row, level) for row in rows]).reshape(p.shape[:-1])

    return quantile


def _least(density: Callable[[np.ndarray, np.ndarray], np.ndarray], row: np.ndarray, level: float) -> float:
    μ, α = row[0], row[1] if len(row) > 1 else 0.0
    sd = math.sqrt(μ + α * μ**2)
    first = math.floor(max(μ - 12 * sd, 0))
    k = first + np.arange(math.ceil(24 * sd + 12 / max(1, sd)) + 30, dtype=np.float64)
    total = np.cumsum(np.exp(density(np.broadcast_to(row, (len(k), len(row))), k)))
    return float(k[min(int(np.searchsorted(total, level)), len(k) - 1)])


# A point, and quantiles


def _point_quantile(p: np.ndarray, level: float) -> np.ndarray:
    if level != 0.5:
        raise UnspoolError("output='point' tells medians alone; train with a distribution, or take conformal intervals")
    return np.ascontiguousarray(p[..., 0])


def _no_density(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    raise UnspoolError("score_samples needs a density; output='point' and quantiles have none")


def _no_sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    raise UnspoolError("sample needs a distribution; output='point' has none")


def _of_levels(levels: tuple[float, ...]) -> Family:
    """The family of quantiles at these levels, between which, and beyond, the quantile function is linear."""

    def quantile(p: np.ndarray, level: float | np.ndarray) -> np.ndarray:
        if len(levels) == 1:
            return np.ascontiguousarray(p[..., 0])
        k = np.clip(np.searchsorted(levels, level, side="right") - 1, 0, len(levels) - 2)
        q = np.asarray(levels)
        low, high = (np.take_along_axis(p, np.broadcast_to(j, p.shape[:-1])[..., None], -1)[..., 0] for j in (k, k + 1))
        part = (level - q[k]) / (q[k + 1] - q[k])
        return np.where(part == 1, high, low + part * (high - low))

    def sample(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return quantile(p, random.random(p.shape[:-1]))

    def sorted_(s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.sort(base[..., None] + scale[..., None] * s, -1)

    return Family("quantiles", len(levels), sorted_, quantile, _no_density, sample, levels=levels, spread=len(levels) > 1)


FAMILIES = {
    "normal": Family("normal", 2, _location_scale, _normal_quantile, _normal_density, _normal_sample),
    "student-t": Family("student-t", 3, _location_scale, _t_quantile, _t_density, _t_sample),
    "poisson": Family(
        "poisson", 1, _poisson, _count_quantile(_poisson_density), _poisson_density, _poisson_sample, counts=True
    ),
    "negative-binomial": Family(
        "negative-binomial",
        2,
        _negative_binomial,
        _count_quantile(_binomial_density),
        _binomial_density,
        _binomial_sample,
        counts=True,
    ),
    "point": Family(
        "point",
        1,
        lambda s, base, scale: base[..., None] + scale[..., None] * s,
        _point_quantile,
        _no_density,
        _no_sample,
        spread=False,
    ),
}


def family_of(output: Any) -> Family:
    """The family of this name, or of quantiles at these levels, numbers or a text with commas between them.

    Raises:
        UnspoolError: there is none of this name, or they are no levels.
    """
    if isinstance(output, str) and output[:1].isdigit() | output.startswith("."):
        try:
            output = [float(part) for part in output.split(",")]
        except ValueError:
            raise UnspoolError(f"output must be a name, or levels as 0.1,0.5,0.9; got {output!r:.40}") from None
    if not isinstance(output, Sequence) or isinstance(output, str):
        return look_up("output", output, FAMILIES)
    levels = tuple(float(number("a level of output", level, above=True, below=1)) for level in output)
    if not levels or sorted(set(levels)) != list(levels):
        raise UnspoolError(f"output must have levels of quantiles that increase; got {output!r:.60}")
    return _of_levels(levels)
