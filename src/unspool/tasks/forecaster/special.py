"""Functions of probability that NumPy has not, in float64.

Every number is computed by itself, by the same steps whatever its neighbours are: element by element on contiguous
arrays, with as many iterations for one as for all, or with those that it needs itself. So it has the same bits alone
and among many.

A tail is the density where it begins, times ∫ exp(−ψ(s)) ds from 0 on, with ψ convex and ψ(0) = 0. It is cut off where
ψ is CUT or more, and summed by Gauss–Legendre quadrature; tails are so exact to some 1e-13 of their size.
"""

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist

import numpy as np

NODES, CUT = 48, 38.0  # exp(-38) is 3e-17
NEWTON = 4  # iterations from `_first_guess` on; the fourth one changes no more than 4e-15


def together(*arrays: np.ndarray | float) -> tuple[np.ndarray, ...]:
    """The arrays in one shape, as contiguous float64."""
    shaped = np.broadcast_arrays(*(np.asarray(array, np.float64) for array in arrays))
    return tuple(np.array(array, order="C") for array in shaped)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + eˣ)."""
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def inverse_softplus(y: np.ndarray) -> np.ndarray:
    """The x with softplus(x) = y, for y > 0."""
    return y + np.log(-np.expm1(-y))


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """The probability that a standard normal variable is z or less."""
    halves = (0.5 * math.erfc(x) for x in (z * -math.sqrt(0.5)).ravel().tolist())
    return np.fromiter(halves, np.float64, z.size).reshape(z.shape)


def normal_quantile(level: np.ndarray) -> np.ndarray:
    """The inverse of `normal_cdf`; infinite at the levels 0 and 1, NaN at NaN."""
    inside = (level > 0) & (level < 1)
    inverse = NormalDist().inv_cdf
    z = np.fromiter(map(inverse, np.where(inside, level, 0.5).ravel().tolist()), np.float64, level.size)
    ends = np.where(level == 0, -np.inf, np.where(level == 1, np.inf, np.nan))
    return np.where(inside, z.reshape(level.shape), ends)


def surplus(e: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """e − log(1 + e), exact also where e is small; the deviance of a count k from its mean μ is k surplus((μ − k) / k).

    For small e it is  e v − 2 v³ (1/3 + v²/5 + v⁴/7 + …),  v = e / (2 + e).

    Args:
        log_ratio: log(1 + e), as exact as it can be had where e is near −1.
    """
    small = np.abs(e) < 0.25
    v = np.where(small, e, 0.0) / (2 + np.where(small, e, 0.0))
    w = v * v
    series = np.full_like(w, 1 / 21)
    for odd in range(19, 1, -2):
        series = series * w + 1 / odd
    return np.where(small, v * e - 2 * v * w * series, e - log_ratio)


def stirling_error(x: np.ndarray) -> np.ndarray:
    """log Γ(x + 1) − (x + ½) log x + x − ½ log 2π, for x > 0: what Stirling's formula lacks.

    Below 10 it is carried down from x + 10 by  error(x) = error(x + 1) + (x + ½) log(1 + 1/x) − 1.
    """
    far = np.where(x < 10, x + 10, x)
    w = 1 / (far * far)
    error = (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * (691 / 360360)))))) / far
    for j in range(9, -1, -1):
        y = np.where(x < 10, x + j, 1.0)
        error = error + np.where(x < 10, (y + 0.5) * np.log1p(1 / y) - 1, 0.0)
    return error


@cache
def _nodes() -> tuple[list[float], list[float]]:
    """The nodes and weights of Gauss and Legendre between 0 and 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def integral(psi: Callable[[np.ndarray], np.ndarray], length: np.ndarray) -> np.ndarray:
    """∫ exp(−ψ(s)) ds from 0 to length, which is negative to integrate |ds| to the left; node by node."""
    total = np.zeros_like(length)
    for node, weight in zip(*_nodes(), strict=True):
        total = total + weight * np.exp(-psi(length * node))
    return total * np.abs(length)


def reach(slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """An s from which on ψ is at least CUT, if ψ'(0) = slope ≥ 0 and ψ''(s) ≥ curvature e⁻ˢ.

    This is so because  e⁻ˢ − 1 + s ≥ s² / (2 + s).
    """
    half = 2 * slope - CUT
    return 4 * CUT / (half + np.sqrt(half * half + 8 * (slope + curvature) * CUT))


def student_log_constant(nu: np.ndarray) -> np.ndarray:
    """log(Γ((ν + 1) / 2) / (sqrt(π) Γ(ν / 2))), for ν ≥ 1.

    With x = ν/2 + 8 so far that  log(Γ(x + ½) / Γ(x)) = ½ log x − 1/(8x) + 1/(192x³) − …,  and carried down from there.
    """
    x = nu / 2 + 8
    w = 1 / (x * x)
    far = 0.5 * np.log(x) - (1 / 8 - w * (1 / 192 - w * (1 / 640 - w * (17 / 14336 - w * (31 / 18432))))) / x
    ratio = np.ones_like(x)
    for j in range(8):
        ratio = ratio * ((nu / 2 + j) / (nu / 2 + j + 0.5))
    return far + np.log(ratio) - 0.5 * math.log(math.pi)


def log_cosh(u: np.ndarray) -> np.ndarray:
    """log cosh u, exact also where u is small."""
    return np.log1p(2 * np.sinh(u / 2) ** 2)


def _student_integral(nu: np.ndarray, slope: np.ndarray, length: np.ndarray) -> np.ndarray:
    """∫ (cosh(u + s) / cosh u)^(−ν) ds from 0 to length, with slope = tanh u.

    The ratio is  cosh s + slope sinh s = 1 + q (q + slope (2 + q)) / (2 (1 + q)),  q = eˢ − 1.
    """

    def psi(s: np.ndarray) -> np.ndarray:
        q = np.expm1(s)
        return nu * np.log1p(q * (q + slope * (2 + q)) / (2 * (1 + q)))

    return integral(psi, length)


def _student_reach(nu: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Where that integrand is exp(−CUT)."""
    more = np.expm1(CUT / nu)
    return np.log1p((more + np.sqrt(more * (2 + more) + slope * slope) - slope) / (1 + slope))


def student_cdf(t: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """The probability that a variable of Student's distribution is t or less.

    With t = sqrt(ν) sinh u the density is  c cosh(u)^(−ν),  c = exp(student_log_constant(ν)).
    """
    u = np.arcsinh(np.abs(t) / np.sqrt(nu))
    slope = np.tanh(u)
    integral = _student_integral(nu, slope, _student_reach(nu, slope))
    tail = np.exp(student_log_constant(nu) - nu * log_cosh(u)) * integral
    return np.where(t < 0, tail, 1 - tail)


def student_quantile(level: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """The inverse of `student_cdf` in level, by Newton's method on u ≥ 0 for the nearer tail.

    In the tails it is on the logarithm of the tail, which is concave. Between the quartiles it is on the integral from
    0 to u instead, so that quantiles near 0 are exact, too.
    """
    p, beside = np.minimum(level, 1 - level), np.abs(level - 0.5)
    central = p > 0.25
    log_constant = student_log_constant(nu)
    log_p, target = np.log(np.where(p > 0, p, 0.5)), beside / np.exp(log_constant)
    u = _first_guess(normal_quantile(p), nu)
    for _ in range(NEWTON):
        slope = np.where(central, 0.0, np.tanh(u))
        integral = _student_integral(nu, slope, np.where(central, u, _student_reach(nu, slope)))
        log_density = -nu * log_cosh(u)
        log_tail = log_constant + log_density + np.log(np.maximum(integral, 1e-300))
        central_step = (target - integral) * np.exp(np.where(central, -log_density, 0.0))
        u = np.maximum(u + np.where(central, central_step, integral * (log_tail - log_p)), 0.0)
    size = np.where(p > 0, np.sqrt(nu) * np.sinh(u), np.where(np.isnan(level), np.nan, np.inf))
    return np.where(level < 0.5, -size, size)


def _first_guess(z: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """About the u > 0 whose tail is that of z of a normal variable."""
    z = np.where(np.isfinite(z), np.maximum(np.abs(z), 1e-8), 1.0)
    y = 0.5 * z * z * ((nu - 5 / 6) / (nu - 2 / 3 + 0.1 / nu)) / (nu - 2 / 3 + 0.1 / nu)
    return y + np.log1p(np.sqrt(-np.expm1(-2 * y)))
