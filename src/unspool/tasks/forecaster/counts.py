"""Poisson and negative binomial variables in float64: log mass, distribution function, quantiles; see `special`.

A negative binomial variable has the mean μ and the variance μ + α μ²; with r = 1/α, p = 1/(1 + α μ) and q = 1 − p

    mass(k) = Γ(k + r) / (Γ(k + 1) Γ(r)) pʳ qᵏ

It is a Poisson variable for α = 0, and so one code serves both. Masses are computed from deviances, after Loader (2000,
"Fast and accurate computation of binomial probabilities"), and do not lose digits where μ is large.
"""

import math

import numpy as np

from .special import integral, normal_quantile, reach, stirling_error, surplus

SMALL = 16  # counts below it are summed one by one, and the exponent r is raised by it


def log_mass(k: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The logarithm of the mass at k ≥ 0, continued by Γ between the counts; −inf below 0 and at infinity.

    Args:
        k, mu, alpha: of one shape, contiguous; μ > 0, and α > 0 for all or 0 for all.
    """
    positive = (k > 0) & (k < np.inf)
    y = np.where(positive, k, 1.0)
    if not alpha.any():
        zero = -mu
        found = -y * surplus((mu - y) / y, np.log(mu / y)) - stirling_error(y) - 0.5 * np.log(2 * math.pi * y)
    else:
        r = 1 / alpha
        zero = -r * np.log1p(alpha * mu)
        share, part = (r + y) / (r + mu), mu / y
        of_r = r * surplus((y - mu) / (r + mu), np.log(share))
        of_y = y * surplus(r * ((mu - y) / y) / (r + mu), np.log(part * share))
        errors = stirling_error(r + y) - stirling_error(r) - stirling_error(y)
        found = errors - of_r - of_y + 0.5 * (np.log(r / (r + y)) - np.log(2 * math.pi * y))
    return np.where(positive, found, np.where(k == 0, zero, np.where(np.isnan(k), np.nan, -np.inf)))


def cdf(y: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The probability that the variable is y or less; the arguments are those of `log_mass`."""
    k = np.floor(y)
    found = np.where(np.isnan(k), np.nan, np.where(k > 0, 1.0, 0.0))
    for some, sums in (((k >= 0) & (k < SMALL), _sum), ((k >= SMALL) & (k < np.inf), _integral)):
        found[some] = np.clip(sums(k[some], mu[some], alpha[some]), 0.0, 1.0)
    return found


def _sum(k: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The sum of the masses from 0 to k < SMALL, by  mass(j + 1) = mass(j) μ (1 + α j) / ((1 + α μ) (j + 1))."""
    mass = np.exp(log_mass(np.zeros_like(k), mu, alpha))
    total = np.where(k >= 0, mass, 0.0)
    for j in range(SMALL - 1):
        mass = mass * (mu * (1 + alpha * j) / (1 + alpha * mu)) / (j + 1)
        total = total + np.where(k > j, mass, 0.0)
    return total


def _integral(k: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The same for k ≥ SMALL, as a tail of the gamma or beta density to which the sum is equal.

    Poisson: a gamma variable of the exponent k + 1 is beyond μ. Negative binomial: a beta variable of the exponents r
    and k + 1 is below p; in the logarithm of its odds the density there is  (k + r) q mass(k).  Of it and of its
    complement the one that is at most ½ there is taken as `c`, so that nothing cancels. If that is p, the exponent r
    is raised first, as small ones have long tails:  I_p(r, k + 1) = I_p(r + 1, k + 1) + density / r.
    """
    p, q = 1 / (1 + alpha * mu), alpha * mu / (1 + alpha * mu)
    raised = q > 0.5
    r = 1 / np.where(raised, alpha, 1.0)
    mean = mu / (1 + alpha * mu)  # r q
    density = np.exp(log_mass(k, mu, alpha)) * (k * q + mean)
    before, term = np.zeros_like(k), density
    for j in range(SMALL):
        step = term / (r + j)
        before, term = before + step, step * p * (r + k + 1 + j)
    # exponents A of c and N of both, and the slope N c − A
    A = np.where(raised, r + SMALL, k + 1)
    Nc = np.where(raised, (r + SMALL + k + 1) * p, (k + 1) * q + mean)
    slope = np.where(raised, p * (k + 1 - mu) - SMALL * q, p * (mu - k - 1))
    c = np.where(raised, p, q)
    tail = np.where(raised, term, density) * _tail(A, Nc, c, slope)
    # to the right the tail is that of c from there on: where c is q, the cdf itself
    inside = np.where(raised == (slope < 0), tail, 1 - tail)
    return inside + np.where(raised, before, 0.0)


def _tail(A: np.ndarray, Nc: np.ndarray, c: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """∫ exp(−ψ(s)) ds outwards, to the side to which ψ grows, over the density of the logarithm of the odds of c.

    With w = eˢ − 1:  ψ = N log(1 + c w) − A s = slope w + A surplus(w) − N surplus(c w).
    Its second derivative is at least  N c (1 − c) exp(−|s|).
    """
    sign = np.where(slope < 0, -1.0, 1.0)
    ratio = np.where(c > 0, 1 / np.where(c > 0, c, 1.0), 0.0)

    def psi(s: np.ndarray) -> np.ndarray:
        w = np.expm1(s)
        return slope * w + A * surplus(w, s) - Nc * ratio * surplus(c * w, np.log1p(c * w))

    return integral(psi, sign * reach(np.abs(slope), Nc * (1 - c)))


def quantile(level: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The smallest k whose `cdf` is at least level, exactly; infinite at level 1.

    Newton's method from a guess, between a count that is too small and one that is not; every third step halves.
    """
    shape = level.shape
    level, mu, alpha = level.ravel(), mu.ravel(), alpha.ravel()
    found = np.where(level == 1, np.inf, np.where(np.isnan(level + mu + alpha), np.nan, 0.0))
    guess = np.floor(_first_guess(level, mu, alpha))
    search = np.flatnonzero((level > 0) & (found == 0))
    low, high, k = np.full(len(level), -1.0), np.full(len(level), np.inf), guess
    step = 0
    while len(search):
        at, l, m, a = k[search], level[search], mu[search], alpha[search]
        missing = l - cdf(at, m, a)
        low[search] = np.where(missing > 0, at, low[search])
        high[search] = np.where(missing > 0, high[search], at)
        k[search] = _next(at, missing, log_mass(at, m, a), low[search], high[search], step % 3 == 2)
        search = search[(k[search] > low[search]) & (k[search] < high[search])]
        step += 1
    return np.where(found == 0, np.where(level > 0, high, 0.0), found).reshape(shape)


def _next(
    k: np.ndarray, missing: np.ndarray, log_mass: np.ndarray, low: np.ndarray, high: np.ndarray, halve: bool
) -> np.ndarray:
    """The next count to try, between low and high, after the one at which so much of the level was missing."""
    far = 4 * np.maximum(k, 1) + SMALL
    top = np.where(np.isfinite(high), -_above(-high), far)
    newton = k + np.clip(np.ceil(missing * np.exp(-np.maximum(log_mass, -600.0))), -far, far)
    newton = np.where(missing > 0, np.maximum(newton, _above(k)), np.minimum(newton, -_above(-k)))
    middle = np.where(np.isfinite(high), np.floor((low + high) / 2), far)
    return np.clip(middle if halve else newton, _above(low), top)


def _above(k: np.ndarray) -> np.ndarray:
    """The next count; where float64 does not tell counts from their neighbours, the next number."""
    return np.maximum(k + 1, np.nextafter(k, np.inf))


def _first_guess(level: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """About the quantile, by the first two terms of Cornish and Fisher."""
    z = normal_quantile(level)
    z = np.where(np.isfinite(z), z, 0.0)
    sigma = np.sqrt(mu * (1 + alpha * mu))
    return np.maximum(mu + sigma * z + (1 + 2 * alpha * mu) * (z * z - 1) / 6, 0.0)
