"""What a forecaster's network reads at a step: the past of the series, covariates and the calendar. No PyTorch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...data.clock import Clock
from .history import Known, Lags
from .series import Series

_ONE_OF = 7  # the longest cycle of the calendar whose values are read 1-of-k
_HARMONICS = 2  # sine and cosine of one and two turns in a longer one


@dataclass(frozen=True)
class Inputs:
    """What is read at step t, I numbers.

        history[t] (`history`), known[t], past[t-1], static, calendar[t]

    A covariate that is missing has its mean in training, and a further number tells whether it is there. What is past
    is never there in the future. Of the calendar short cycles, as the days of the week, are read 1-of-k; of longer ones
    sin(2π k v / period) and cos(2π k v / period) for k = 1, 2.

    lags: of the history; targets: O.
    known, past: the mean of each covariate; static: the number of those.
    calendar: the names and periods of the cycles.
    """

    lags: Lags
    targets: int = 1
    known: tuple[float, ...] = ()
    past: tuple[float, ...] = ()
    static: int = 0
    calendar: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, lags: Lags, series: Series, ends: np.ndarray) -> "Inputs":
        """Those for series whose first steps, (n,) of them, are trained on."""
        until = np.repeat(ends, series.past.lengths) > _places(series.past.offsets)
        until_known = np.repeat(ends, series.known.lengths) > _places(series.known.offsets)
        return cls(
            lags,
            series.y.values.shape[1],
            _means(series.known.values[until_known]),
            _means(series.past.values[until]),
            series.static.shape[1],
            tuple((name, period) for name, _, period in series.clock.calendar(np.zeros(1, np.int64))),
        )

    @property
    def width(self) -> int:
        """I"""
        cycles = sum(period if period <= _ONE_OF else 2 * _HARMONICS for _, period in self.calendar)
        covariates = 2 * (len(self.known) + len(self.past)) + self.static
        return self.lags.width(self.targets) + covariates + cycles

    def read(
        self, history: Known, known: np.ndarray, past: np.ndarray, static: np.ndarray, calendar: np.ndarray
    ) -> np.ndarray:
        """The inputs, float32 (..., I), of all parts, each float64 (..., its numbers), NaN where missing."""
        parts = [history.read(self.lags.season)]
        for values, means in ((known, self.known), (past, self.past)):
            there = ~np.isnan(values)
            parts += [np.where(there, values, means), there]
        return np.concatenate([*parts, static, calendar], -1, dtype=np.float32, casting="unsafe")

    def turns(self, clock: Clock, numbers: np.ndarray) -> np.ndarray:
        """The calendar of steps by their numbers on the clock, (...,) to float64 (..., cycles)."""
        found = [_tables(period)[values] for _, values, period in clock.calendar(numbers.reshape(-1))]
        return np.concatenate(found, -1).reshape(*numbers.shape, -1) if found else np.zeros((*numbers.shape, 0))

    def saved(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> "Inputs":
        """The inverse of `saved`; raise KeyError, TypeError or ValueError if it is none."""
        lags = saved["lags"]
        fixed = lags["fixed"]
        fixed = None if fixed is None else (tuple(map(float, fixed[0])), tuple(map(float, fixed[1])))
        return cls(
            Lags(int(lags["season"]), tuple(map(int, lags["others"])), fixed),
            int(saved["targets"]),
            tuple(map(float, saved["known"])),
            tuple(map(float, saved["past"])),
            int(saved["static"]),
            tuple((str(name), int(period)) for name, period in saved["calendar"]),
        )


def _tables(period: int) -> np.ndarray:
    """What is read of each value of a cycle, (period, numbers)."""
    if period <= _ONE_OF:
        return np.eye(period)
    angles = 2 * np.pi * np.arange(period)[:, None] * np.arange(1, _HARMONICS + 1) / period
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)


def _places(offsets: np.ndarray) -> np.ndarray:
    """Of each row its number in its series."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def _means(values: np.ndarray) -> tuple[float, ...]:
    """The mean of each column of those that are there; 0 if there are none."""
    there = ~np.isnan(values)
    return tuple((np.where(there, values, 0).sum(0) / np.maximum(there.sum(0), 1)).tolist())
