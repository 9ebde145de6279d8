"""What a forecaster is trained on: which part of the series, and which lags a forecast is based on. No PyTorch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...data.ragged import Ragged
from ...errors import DataError
from .history import Lags, Past
from .series import Series, rows_at, windows_between

# Seasons of a day in hours, half hours, quarters of an hour and ten minutes, which have a week, too.
_DAYS = (24, 48, 96, 144)


def known_until(y: Ragged) -> np.ndarray:
    """After how many steps each series has no value any more, (n,); raise DataError if none has a value."""
    there = (~np.isnan(y.values)).any(1)
    steps = np.arange(len(y.values)) - np.repeat(y.offsets[:-1], y.lengths) + 1
    found = np.zeros(len(y), np.int64)
    np.maximum.at(found, np.repeat(np.arange(len(y)), y.lengths), np.where(there, steps, 0))
    if not found.any():
        raise DataError("X must have series with values; got none, or only missing ones")
    return found


def held_out(series: Series, part: float, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the part of each series begins that is held out, and where its values end, (n,).

    It is this part of the steps, at least a horizon, and at most a half.
    """
    last = known_until(series.y)
    steps = np.minimum(np.maximum(np.round(part * last), horizon), last // 2)
    return last - steps.astype(np.int64), last


def check_counts(series: Series) -> None:
    """Raise DataError unless all values are counts."""
    y = series.y.values
    bad = np.flatnonzero(((y < 0) | (y != np.floor(y))).any(1) & ~np.isnan(y).any(1))
    if len(bad):
        i = int(np.searchsorted(series.y.offsets, bad[0], side="right")) - 1
        raise DataError(
            f"y must be counts, 0, 1, 2, …, for this output; got {y[bad[0]].tolist()[0]:g} at step "
            f"{bad[0] - series.y.offsets[i]} of series {series.ids[i]!r:.40}: take output='student-t'"
        )


def candidates_of(series: Series, season: int | None) -> tuple[int, ...]:
    """The lags that a forecast may be based on: 1, and each season that some series has twice, at least."""
    given = series.clock.seasons() if season is None else (season, *(7 * m for m in _DAYS if m == season))
    return (1, *dict.fromkeys(m for m in given if 1 < m <= int(known_until(series.y).max()) // 2))


def best_of(series: Series, ends: np.ndarray, candidates: Sequence[int], horizon: int, common: bool) -> Lags:
    """The lags, the first of which makes the best seasonal naive forecasts of the parts of the series before `ends`.

    Args:
        common: whether all series share one scale and one mean, which are those of the training part.
    """
    longest = max(candidates)
    lags = Lags(longest, tuple(m for m in candidates if m != longest))
    i, origins = windows_between(np.minimum(ends, 1), ends, horizon)
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
