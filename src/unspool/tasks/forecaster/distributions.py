"""What a forecast's outputs mean: families of distributions, from a network's raw numbers s to quantiles of the data.

A family has `size` raw numbers for each step. `parameters` turns them, with a location and a scale of the step's
series, into parameters in the units of the data; everything else is computed from those. The equations of the negative
logarithm of the density, which is the loss in training, stand in the docstring of each class.

Every row has the same bits alone and among others: see `special`. (Samples depend on the order in which a generator is
asked, so a series that is to have its own needs its own generator.)
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ...arguments import look_up, number
from ...errors import UnspoolError, shown
from . import counts
from .special import (
    inverse_softplus,
    normal_cdf,
    normal_quantile,
    softplus,
    student_cdf,
    student_log_constant,
    student_quantile,
    together,
)

Parameters = tuple[np.ndarray, ...]  # each (...,)
Real = np.ndarray | float

SPREAD_FLOOR = 1e-4  # of σ / scale: a series that is exactly as predicted has no infinite density
RATE_FLOOR = 1e-8  # of μ / scale
RATIO_FLOOR = 1e-2  # of location / scale where it goes through the inverse of softplus
ALPHA_FLOOR = 1e-6  # of α
LARGEST_DRAWN = 2.0**60  # the largest mean from which NumPy draws counts


class Family:
    """A family of distributions; the parameters of `mean`, `quantile`, … are what `parameters` has returned."""

    name: str
    size: int  # the raw numbers of a step
    discrete: ClassVar[bool] = False  # whether it is of the counts 0, 1, 2, …
    spread: bool = True  # whether there is more than a point
    levels: tuple[float, ...] = ()  # of quantiles

    def parameters(self, s: np.ndarray, location: Real, scale: Real) -> Parameters:
        """The parameters, float64 (...,) each, in the units of the data.

        Args:
            s: the raw outputs of a network, (..., size).
            location, scale: of the step's series, (...,) or what broadcasts to it; scale > 0.
        """
        s = np.asarray(s, np.float64)
        return self._parameters(*together(location, scale, *(s[..., k] for k in range(self.size))))

    def mean(self, parameters: Parameters) -> np.ndarray:
        """The mean, (...,)."""
        return parameters[0]

    def median(self, parameters: Parameters) -> np.ndarray:
        """The median, (...,)."""
        return self.quantile(parameters, 0.5) if self.discrete or self.levels else parameters[0]

    def quantile(self, parameters: Parameters, level: Real) -> np.ndarray:
        """The quantile at a level between 0 and 1, (...,); of counts the smallest k whose `cdf` is level or more."""
        level = np.asarray(level, np.float64)
        if not ((level >= 0) & (level <= 1)).all():
            raise UnspoolError(f"level must be between 0 and 1; got {shown(level.tolist())}")
        with np.errstate(over="ignore", divide="ignore"):
            return self._quantile(*together(level, *parameters))

    def cdf(self, parameters: Parameters, y: Real) -> np.ndarray:
        """The probability of y or less, (...,); NaN at NaN."""
        with np.errstate(over="ignore", divide="ignore"):
            return self._cdf(*together(y, *parameters))

    def log_density(self, parameters: Parameters, y: Real) -> np.ndarray:
        """The logarithm of the density at y in the units of the data, or of the mass of a count, (...,); NaN at NaN."""
        with np.errstate(over="ignore", divide="ignore"):
            return self._log_density(*together(y, *parameters))

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> np.ndarray:
        """One draw for each, float64 (...,)."""
        raise NotImplementedError

    def _parameters(self, location: np.ndarray, scale: np.ndarray, *s: np.ndarray) -> Parameters:
        raise NotImplementedError

    def _quantile(self, level: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _cdf(self, y: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _log_density(self, y: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Normal(Family):
    """Normal: μ = location + scale s0,  σ = scale (softplus(s1) + SPREAD_FLOOR).

    z = (y − μ) / σ
    −log p(y) = z²/2 + log σ + log(2π)/2
    """

    name, size = "normal", 2

    def _parameters(self, location, scale, s0, s1):
        return location + scale * s0, scale * (softplus(s1) + SPREAD_FLOOR)

    def _quantile(self, level, mu, sigma):
        return mu + sigma * normal_quantile(level)

    def _cdf(self, y, mu, sigma):
        return normal_cdf((y - mu) / sigma)

    def _log_density(self, y, mu, sigma):
        z = (y - mu) / sigma
        return -0.5 * z * z - np.log(sigma) - 0.5 * math.log(2 * math.pi)

    def sample(self, parameters, rng):
        mu, sigma = parameters
        return mu + sigma * rng.standard_normal(np.shape(mu))


class StudentT(Family):
    """Student's t: μ and σ as the normal's, with σ its scale and not its deviation;  ν = 2 + softplus(s2).

        z = (y − μ) / σ
        −log p(y) = (ν + 1)/2 log1p(z²/ν) + log σ + log(ν π)/2 + lgamma(ν/2) − lgamma((ν + 1)/2)

    The deviation is σ sqrt(ν / (ν − 2)).
    """

    name, size = "student-t", 3

    def _parameters(self, location, scale, s0, s1, s2):
        return location + scale * s0, scale * (softplus(s1) + SPREAD_FLOOR), 2 + softplus(s2)

    def _quantile(self, level, mu, sigma, nu):
        return mu + sigma * student_quantile(level, nu)

    def _cdf(self, y, mu, sigma, nu):
        return student_cdf((y - mu) / sigma, nu)

    def _log_density(self, y, mu, sigma, nu):
        z = (y - mu) / sigma
        return student_log_constant(nu) - 0.5 * (nu + 1) * np.log1p(z * z / nu) - 0.5 * np.log(nu) - np.log(sigma)

    def sample(self, parameters, rng):
        mu, sigma, nu = parameters
        return mu + sigma * rng.standard_t(nu)


class Poisson(Family):
    """Poisson counts of the mean μ > 0, which is the location where s0 is 0 and the location is not near 0:

        μ = scale (softplus(s0 + inverse_softplus(max(location / scale, RATIO_FLOOR))) + RATE_FLOOR)
        inverse_softplus(x) = x + log(−expm1(−x))
        −log p(y) = μ − y log μ + lgamma(y + 1)

    The log density is that formula for all y ≥ 0, also between the counts, and −inf below 0.
    """

    name, size, discrete = "poisson", 1, True

    def _parameters(self, location, scale, s0):
        return (_rate(location, scale, s0),)

    def _quantile(self, level, mu):
        return counts.quantile(level, mu, np.zeros_like(mu))

    def _cdf(self, y, mu):
        return counts.cdf(y, mu, np.zeros_like(mu))

    def _log_density(self, y, mu):
        return counts.log_mass(y, mu, np.zeros_like(mu))

    def sample(self, parameters, rng):
        return _poisson(parameters[0], rng)


class NegativeBinomial(Family):
    """Negative binomial counts of the mean μ, which is Poisson's, and the variance μ + α μ².

        α = softplus(s1) + ALPHA_FLOOR,  r = 1/α
        −log p(y) = lgamma(r) + lgamma(y + 1) − lgamma(y + r) + (r + y) log1p(α μ) − y log(α μ)

    For y between the counts and below 0 as Poisson's. In float32 the difference of lgamma loses all digits where r is
    large: compute this loss in float64.
    """

    name, size, discrete = "negative-binomial", 2, True

    def _parameters(self, location, scale, s0, s1):
        return _rate(location, scale, s0), softplus(s1) + ALPHA_FLOOR

    def _quantile(self, level, mu, alpha):
        return counts.quantile(level, mu, alpha)

    def _cdf(self, y, mu, alpha):
        return counts.cdf(y, mu, alpha)

    def _log_density(self, y, mu, alpha):
        return counts.log_mass(y, mu, alpha)

    def sample(self, parameters, rng):
        mu, alpha = parameters
        return _poisson(rng.standard_gamma(1 / alpha) * (alpha * mu), rng)


class Point(Family):
    """One number, location + scale s0, without a spread.

    Every quantile is that number. It has no density: its loss is |y − point| / scale.
    """

    name, size, spread = "point", 1, False

    def _parameters(self, location, scale, s0):
        return (location + scale * s0,)

    def _quantile(self, level, point):
        return point

    def _cdf(self, y, point):
        return np.where(np.isnan(y + point), np.nan, np.where(y >= point, 1.0, 0.0))

    def _log_density(self, y, point):
        raise UnspoolError("a point has no density; use output='normal' or another distribution")

    def sample(self, parameters, rng):
        return np.array(parameters[0])


class Quantiles(Family):
    """Quantiles at L levels:  q[k] = location + scale s[k], sorted. Their loss is that of the pinball, over all levels:

        2/L Σ_k max(levels[k] d[k], (levels[k] − 1) d[k]) / scale,  d[k] = y − (location + scale s[k])

    Between the levels quantiles lie on straight lines, and beyond the outermost on those of the outermost pair, up to
    the levels 0 and 1. The other functions are those of the distribution that is so made; its density is constant
    between two quantiles, and where they are equal there is a mass. One level alone is a point.
    """

    name = "quantiles"

    def __init__(self, levels: Iterable[float]):
        self.levels = tuple(float(level) for level in levels)
        rising = all(a < b for a, b in zip((0.0, *self.levels), (*self.levels, 1.0), strict=True))
        if not self.levels or not rising:
            raise UnspoolError(
                f"levels must be numbers between 0 and 1 that rise, such as (0.1, 0.5, 0.9); got {shown(self.levels)}"
            )
        self.size, self.spread = len(self.levels), len(self.levels) > 1

    def mean(self, parameters):
        """The mean of the interpolated distribution, (...,)."""
        levels, q = self._knots(*parameters)
        pieces = zip(levels, levels[1:], q, q[1:], strict=False)
        return sum(((b - a) * 0.5 * (low + high) for a, b, low, high in pieces), np.zeros_like(q[0]))

    def sample(self, parameters, rng):
        return self.quantile(parameters, rng.random(np.shape(parameters[0])))

    def _parameters(self, location, scale, *s):
        ordered = np.sort(np.stack([location + scale * one for one in s], -1), -1)
        return together(*(ordered[..., k] for k in range(self.size)))

    def _knots(self, *q: np.ndarray) -> tuple[tuple[float, ...], Parameters]:
        """The levels from 0 to 1, L + 2 of them, and their quantiles."""
        p = self.levels
        if len(p) == 1:
            return (0.0, *p, 1.0), (q[0], q[0], q[0])
        first = q[0] - (q[1] - q[0]) * (p[0] / (p[1] - p[0]))
        last = q[-1] + (q[-1] - q[-2]) * ((1 - p[-1]) / (p[-1] - p[-2]))
        return (0.0, *p, 1.0), (first, *q, last)

    def _quantile(self, level, *parameters):
        levels, q = self._knots(*parameters)
        found = q[0]
        for a, b, low, high in zip(levels, levels[1:], q, q[1:], strict=False):
            part = (level - a) / (b - a)
            found = np.where(level > a, np.where(level < b, low + (high - low) * part, high), found)
        return found

    def _cdf(self, y, *parameters):
        levels, q = self._knots(*parameters)
        found = np.zeros_like(y)
        for a, b, low, high in zip(levels, levels[1:], q, q[1:], strict=False):
            part = (y - low) / np.where(high > low, high - low, 1.0)
            found = np.where(y >= low, np.where(y < high, a + (b - a) * part, b), found)
        return np.where(np.isnan(y + q[0] + q[-1]), np.nan, found)

    def _log_density(self, y, *parameters):
        if self.size == 1:
            raise UnspoolError("one level has no density; give two levels or more, or another output")
        levels, q = self._knots(*parameters)
        found = np.full_like(y, -np.inf)
        for a, b, low, high in zip(levels, levels[1:], q, q[1:], strict=False):
            found = np.where((y >= low) & (y <= high) & (found < np.inf), np.log((b - a) / (high - low)), found)
        return np.where(np.isnan(y + q[0] + q[-1]), np.nan, found)


def _rate(location: np.ndarray, scale: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """The mean of counts; see `Poisson`."""
    ratio = np.maximum(location / scale, RATIO_FLOOR)
    return scale * (softplus(s0 + inverse_softplus(ratio)) + RATE_FLOOR)


def _poisson(mu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Poisson count for each mean; the mean itself where it is so large that its spread is less than a millionth."""
    drawn = rng.poisson(np.minimum(mu, LARGEST_DRAWN)).astype(np.float64)
    return np.where(mu > LARGEST_DRAWN, mu, drawn)


FAMILIES: dict[str, Family] = {
    family.name: family for family in (Normal(), StudentT(), Poisson(), NegativeBinomial(), Point())
}


def family_of(output: Any) -> Family:
    """The family of this name; or of quantiles at these levels, numbers or a text with commas between them.

    Raises:
        UnspoolError: there is none of this name, or they are no levels.
    """
    if isinstance(output, str) and output[:1] in "0.":
        try:
            output = [float(part) for part in output.split(",")]
        except ValueError:
            raise UnspoolError(f"output must be a name, or levels as 0.1,0.5,0.9; got {output!r:.40}") from None
    if isinstance(output, list | tuple | np.ndarray):
        return Quantiles(number("a level of output", level, above=True, below=1) for level in output)
    return look_up("output", output, FAMILIES)
