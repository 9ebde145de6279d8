"""The forecasts that a network is compared with: naive, seasonal naive, drift, and Naive2 of the M4 competition.

All take one series y, float64 (T,), NaN where a value is missing, and give its next H values, (H,). A season is the
number of steps after which things come again; 1 if there is none. Of a series without a known value all forecasts are
NaN.
"""

from collections.abc import Sequence

import numpy as np

_ERRORS = 2000  # the past errors of a baseline that its quantiles are taken from
LIMIT = 1.645  # a normal variable is within so many standard deviations with a probability of 90 %


def naive(y: np.ndarray, H: int) -> np.ndarray:
    """The last known value, (H,)."""
    known = np.flatnonzero(~np.isnan(y))
    return np.full(H, y[known[-1]] if len(known) else np.nan, np.float64)


def seasonal_naive(y: np.ndarray, H: int, season: int) -> np.ndarray:
    """The last known value of the same step of the season, (H,); the last known value where there is none.

    >>> seasonal_naive(np.array([1.0, 2, 3, 4, np.nan]), 4, 2)
    array([4., 3., 4., 3.])
    """
    last = np.full(max(season, 1), naive(y, 1)[0])
    known = np.flatnonzero(~np.isnan(y))
    last[known % len(last)] = y[known]  # of equal phases the last one stays
    return last[_phases(y, H, len(last))]


def seasonal_naive_quantiles(y: np.ndarray, H: int, season: int, levels: Sequence[float]) -> np.ndarray:
    """The seasonal naive forecast with the quantiles of its own past errors, (H, levels); it alone if there are none.

    quantile[h, q] = forecast[h] + the quantile q of  y[t] - y[t - season]  over the last 2,000 steps
    """
    errors = y[season:][-_ERRORS:] - y[: max(len(y) - season, 0)][-_ERRORS:]
    known = errors[~np.isnan(errors)]
    spread = np.quantile(known, levels) if len(known) else np.zeros(len(levels))
    return seasonal_naive(y, H, season)[:, None] + spread


def drift(y: np.ndarray, H: int) -> np.ndarray:
    """The straight line through the first and the last known value, (H,); constant if they are the same.

    >>> drift(np.array([1.0, np.nan, 2, np.nan]), 2)
    array([3. , 3.5])
    """
    known = np.flatnonzero(~np.isnan(y))
    if len(known) < 2:
        return naive(y, H)
    first, last = known[0], known[-1]
    slope = y[last] / (last - first) - y[first] / (last - first)
    return y[last] + slope * np.arange(len(y) - last, len(y) - last + H)


def naive2(y: np.ndarray, H: int, season: int) -> np.ndarray:
    """Naive2 of the M4 competition, (H,): the last known value, seasonally adjusted, times the indices of the season.

        adjusted[t] = y[t] / index[t mod season]
        forecast[h] = adjusted[last known t] · index[(T + h) mod season]

    A series is adjusted only if it is positive and its autocorrelation at the season is beyond the 90 % limit
    (`is_seasonal`, `seasonal_indices`; Makridakis, Spiliotis and Assimakopoulos 2020, and the organisers' program).
    """
    found = naive(y, H)
    if not is_seasonal(y, season) or not np.nanmin(y) > 0:
        return found
    index = seasonal_indices(y, season)
    if not (np.isfinite(index) & (index > 0)).all():
        return found
    last = np.flatnonzero(~np.isnan(y))[-1]
    return y[last] / index[last % season] * index[_phases(y, H, season)]


def all_baselines(y: np.ndarray, H: int, season: int) -> dict[str, np.ndarray]:
    """The forecast of each baseline, (H,), by name: all of them, also where some are the same for want of a season."""
    return {
        "naive": naive(y, H),
        "seasonal naive": seasonal_naive(y, H, season),
        "drift": drift(y, H),
        "Naive2": naive2(y, H, season),
    }


def is_seasonal(y: np.ndarray, season: int) -> bool:
    """Whether the autocorrelation r at the season is beyond the 90 % limit, as the M4 competition tests it.

        |r[season]| > 1.645 · sqrt((1 + 2 r[1]² + … + 2 r[season − 1]²) / N)

    N is the number of known values; a series of fewer than three seasons, or a constant one, is not seasonal. The
    organisers' program knows r only up to the lag 10 log10(N) and takes a longer season for none; here it is tested.
    Pairs with a missing value do not count.
    """
    known = ~np.isnan(y)
    N = int(known.sum())
    if season < 2 or 3 * season > N or len(y) <= season:
        return False
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        d = np.where(known, y - y[known].mean(), 0.0)
        products = np.array([d[lag:] @ d[: len(d) - lag] for lag in range(season + 1)])
        r = products / products[0]
        limit = LIMIT * np.sqrt((1 + 2 * np.sum(r[1:season] ** 2)) / N)
    return bool(abs(r[season]) > limit)  # False for NaN, of a constant series


def seasonal_indices(y: np.ndarray, season: int) -> np.ndarray:
    """The indices of the season, (season,), of mean 1, by classical multiplicative decomposition; NaN where unknown.

    The trend is the centred moving average of a season, for an even one the average of the two that are half a step
    off (2×m). An index is the mean of y / trend over all steps t of the same t mod season. For the trend alone, missing
    values lie on straight lines between the known ones of the same t mod season.
    """
    known = np.flatnonzero(~np.isnan(y))
    filled = np.full(known[-1] + 1, np.nan)
    for phase in range(season):
        same, steps = known[known % season == phase], np.arange(phase, len(filled), season)
        if len(same):
            filled[steps] = np.interp(steps, same, y[same])
    filled = filled[known[0] :]
    width = season + 1 - season % 2
    weights = np.full(width, 1 / season)
    if season % 2 == 0:
        weights[[0, -1]] /= 2
    if len(filled) < width:
        return np.full(season, np.nan)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        trend = np.convolve(filled, weights, "valid")
        steps = known[0] + width // 2 + np.arange(len(trend))
        ratio = y[steps] / trend
        there = ~np.isnan(ratio)
        sums, counts = (np.bincount(steps[there] % season, weights=w, minlength=season) for w in (ratio[there], None))
        index = sums / counts
        return index / index.mean()


def _phases(y: np.ndarray, H: int, season: int) -> np.ndarray:
    """Where in the season the steps after y are, (H,)."""
    return np.arange(len(y), len(y) + H) % season
