"""How good forecasts are: sMAPE, MASE and OWA as the M4 competition defines them, pinball loss, CRPS, coverage.

All take what came, y, (..., H), and what was forecast, (..., H), and give a number for each series, (...,): the mean
over those of its H steps at which both are known; NaN if there is none. `average` is the mean over series.
"""

from collections.abc import Sequence

import numpy as np


def average(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of the values that are not NaN, along an axis or of all; NaN if there is none."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis) / np.maximum(count, 1), np.nan)


def smape(y: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """The symmetric mean absolute percentage error in the form of M4, in percent, (...,).

        mean over h of  200 |y − forecast| / (|y| + |forecast|),  0 where both are 0

    >>> smape(np.array([3.0, 0, np.nan]), np.array([1.0, 0, 1])).item()
    50.0
    """
    size = np.abs(y) + np.abs(forecast)
    return average(200 * np.abs(y - forecast) / np.where(size == 0, 1.0, size), -1)


def seasonal_scale(history: np.ndarray, season: int) -> np.ndarray:
    """What errors are divided by in MASE, (...,): how far values of a history, (..., T), are from those a season ago.

        mean over t ≥ season of  |history[t] − history[t − season]|

    NaN where no two known values are a season apart, because the history is too short, and where the mean is 0,
    because it is constant or always the same: such a series has no MASE, and `average` leaves it out.
    """
    season = max(season, 1)
    pairs = max(history.shape[-1] - season, 0)
    found = average(np.abs(history[..., season:] - history[..., :pairs]), -1)
    return np.where(found > 0, found, np.nan)


def mase(y: np.ndarray, forecast: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """The mean absolute scaled error, (...,); the scale, (...,), is `seasonal_scale` of the series' history."""
    return average(np.abs(y - forecast), -1) / scale


def owa(smape: float, mase: float, smape_naive2: float, mase_naive2: float) -> float:
    """The overall weighted average: how large sMAPE and MASE, averaged over all series, are beside those of Naive2."""
    return (smape / smape_naive2 + mase / mase_naive2) / 2


def pinball(y: np.ndarray, quantiles: np.ndarray, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """The pinball loss of each level, (..., L), of quantiles (..., H, L) at levels (L,).

    mean over h of  level (y − quantile) if y is above, else (1 − level) (quantile − y)
    """
    above = y[..., None] - quantiles
    level = np.asarray(levels, np.float64)
    return average(np.maximum(level * above, (level - 1) * above), -2)


def crps(y: np.ndarray, quantiles: np.ndarray, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """The continuous ranked probability score, (...,), from quantiles (..., H, L): twice the mean pinball loss.

    It tends to the integral as evenly spaced levels become many; of the median alone it is the absolute error.
    """
    return 2 * average(pinball(y, quantiles, levels), -1)


def coverage(y: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The part of what came that is in its interval, ends included, (...,)."""
    unknown = np.isnan(y) | np.isnan(lower) | np.isnan(upper)
    return average(np.where(unknown, np.nan, (lower <= y) & (y <= upper)), -1)
