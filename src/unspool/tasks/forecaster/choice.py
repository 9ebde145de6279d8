"""Which lags a forecast is based on, where it is not given. No PyTorch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .history import Lags, Past
from .series import Series
from .windows import rows_at

# Seasons of a day in hours, half hours, quarters of an hour and ten minutes, which have a week, too.
_DAYS = (24, 48, 96, 144)


def candidates_of(series: Series, season: int | None, ends: np.ndarray) -> tuple[int, ...]:
    """The lags that a forecast may be based on: 1, and each season of which two are in a series."""
    given = series.clock.season() if season is None else (season, *(7 * m for m in _DAYS if m == season))
    return (1, *dict.fromkeys(m for m in given if 1 < m <= int(ends.max(initial=0)) // 2))


def best_of(series: Series, ends: np.ndarray, candidates: Sequence[int], horizon: int, common: bool) -> Lags:
    """The lags, the first of which makes the best seasonal naive forecasts of the parts of the series before `ends`.

    Args:
        common: whether all series share one scale and one mean, which are those of the training part.
    """
    longest = max(candidates)
    lags = Lags(longest, tuple(m for m in candidates if m != longest))
    counts = np.maximum((ends - 1) // horizon, np.minimum(ends - 1, 1))
    i = np.repeat(np.arange(len(ends)), counts)
    turn = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    origins = np.maximum(ends[i] - horizon * (turn + 1), 1)
    steps = origins[:, None] + np.arange(horizon)
    known = Past(lags, series.y).known(i[:, None], steps, origins[:, None])
    y = rows_at(series.y, *np.broadcast_arrays(i[:, None], np.where(steps < ends[i][:, None], steps, -1)))
    off = [np.abs(y - base) for base in known.bases]
    there = ~np.isnan(y)
    errors = [float(np.sum(np.where(there, e / known.scale, 0))) for e in off]
    best = min(zip(errors, lags.all, strict=True))[1]
    lags = Lags(best, tuple(m for m in candidates if m != best))
    if not common:
        return lags
    count = np.maximum(there.sum((0, 1)), 1)
    scale = np.where(there, off[errors.index(min(errors))], 0).sum((0, 1)) / count
    mean = np.where(there, y, 0).sum((0, 1)) / count
    return replace(lags, fixed=(tuple(np.where(scale > 0, scale, 1.0).tolist()), tuple(mean.tolist())))
