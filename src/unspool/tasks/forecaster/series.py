"""Series of numbers on one clock, as a forecaster reads them. No PyTorch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.clock import NONE, Clock
from ...data.ragged import Ragged, ends
from ...errors import DataError


@dataclass(frozen=True)
class Series:
    """n series of numbers on one clock.

    ids: what names each; 0..n-1 for arrays.
    y: float64 (N, O), NaN where a value is missing, as at steps that a table has not.
    start: int64 (n,), the number of each series' first step on the clock.
    clock: turns numbers of steps into times, and into the calendar.
    known: float64 (M, K), each series at least as long as its y: what is known of the future goes beyond its end; NaN
        where missing.
    past: float64 (N, P), as long as y; NaN where missing.
    static: float64 (n, S).
    """

    ids: list[Any]
    y: Ragged
    start: np.ndarray
    clock: Clock
    known: Ragged
    past: Ragged
    static: np.ndarray


def from_arrays(data: Any) -> Series:
    """Series of arrays without times: a list of them, each (T,) or (T, O), or one, (T,); NaN is missing.

    Raises:
        DataError: they are not that, or not finite.
    """
    if isinstance(data, np.ndarray) and data.dtype != object:
        if data.ndim != 1:
            raise DataError(
                f"X must be a list of arrays, or one of shape (T,); got an array of shape {data.shape}, whose columns "
                f"may be series or variables: give list(X) for a series a row, [X] for a variable a column"
            )
        data = [data]
    elif not len(data):
        raise DataError("X must have at least one series; got none")
    elif np.ndim(data[0]) == 0:
        data = [data]
    arrays = [_array(one, i) for i, one in enumerate(data)]
    widths = {array.shape[1] for array in arrays if len(array)}
    if len(widths) > 1:
        raise DataError(f"X must have arrays of as many values a step; got {' and '.join(map(str, sorted(widths)))}")
    width = next(iter(widths), 1)
    offsets, n = ends(np.array([len(array) for array in arrays])), len(arrays)
    y = np.concatenate([array if len(array) else np.zeros((0, width)) for array in arrays])
    nothing = Ragged(np.zeros((len(y), 0)), offsets)
    return Series(list(range(n)), Ragged(y, offsets), np.zeros(n, np.int64), NONE, nothing, nothing, np.zeros((n, 0)))


def _array(one: Any, i: int) -> np.ndarray:
    """A series as float64 (T, O)."""
    try:
        array = np.asarray(one, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"X must have numbers; got what is none in series {i}") from None
    if array.ndim not in (1, 2):
        raise DataError(f"X must have arrays (T,) or (T, O); got one of shape {array.shape} for series {i}")
    if np.isinf(array).any():
        raise DataError(f"X must have finite numbers, NaN where missing; got infinity in series {i}")
    return array[:, None] if array.ndim == 1 else array


def rows_at(rows: Ragged, i: np.ndarray, steps: np.ndarray, there: np.ndarray | bool = True) -> np.ndarray:
    """The rows of series i at some steps, NaN outside of its series and where they are not there."""
    values, offsets = rows.values, rows.offsets
    there = there & (steps >= 0) & (steps < rows.lengths[i])
    if not len(values):
        return np.full((*steps.shape, *values.shape[1:]), np.nan)
    return np.where(there[..., None], values[np.where(there, offsets[i] + steps, 0)], np.nan)


def windows_between(first: np.ndarray, end: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """The series and the first steps of windows that lie side by side, the last of which ends with its part.

    Args:
        first, end: where the part of each series begins and ends, (n,).
    """
    steps = np.maximum(end - first, 0)
    counts = np.where(steps > 0, np.maximum(steps // horizon, 1), 0)
    i = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    return i, np.maximum(end[i] - horizon * (turn + 1), first[i])
