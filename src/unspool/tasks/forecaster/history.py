"""What a forecaster's network reads of a series, and what its outputs are measured against. No PyTorch.

At step t the network reads what is known before y[t], and tells the distribution of y[t]. What is kept of the past is
of the same size however long the series is; of the season m, and of further lags L, the values that were last observed
in each phase:

    last[L, t] = the last y observed at one of the steps t - L, t - 2·L, …; if there is none, the last y; else 0
    mild[L, t] = their exponential mean, a quarter of which is the last one; for L > 1
    base[t]    = last[m, t]
    scale[t]   = the mean of |y[s] - base[s]| over the observed s < t but the first, with weights 0.999^(t - s)

The network's outputs are corrections to `base`, which is the seasonal naive forecast, or the naive one for m = 1, in
units of `scale`. The future is a gap: its steps are read like any others whose y is missing, so that one network tells
the distribution of each step of the horizon. It reads at step t, each number v squashed to v / (1 + |v| / 8):

    seen       1 if y[t-1] is there, else 0
    surprise   (y[t-1] - base[t-1]) / scale[t], or 0 if y[t-1] is missing
    lags       (last[L, t] - base[t]) / scale[t] for each further lag L
    means      (mild[L, t] - base[t]) / scale[t] for each lag L > 1, the season too
    level      (base[t] - mean[t]) / scale[t], where mean[t] is that of all y before t, with the same weights
    spread     scale[t] / (scale[t] + |mean[t]|)
    age        a / (a + m), where a is the number of missing steps up to t - 1

These have the same bits whether they are computed of a whole series (`over`) or a step at a time (`Memories`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ...data.ragged import Ragged

_TINY = 1e-12
_FLAT = 1e-3  # of the mean size of values: the least scale
_SQUASHED = 8.0
_KEPT = 0.999  # of all sums, from step to step, so that scale and mean are those of the last 1,000 steps or so
_NEW = 0.25  # the part of the latest value in an exponential mean


class Known(NamedTuple):
    """What is known before a step; each is float64 (..., O), of the same shape.

    surprise: y - base of the step before, NaN where that y is missing.
    bases: the last value in the phase of each lag, that of the season first.
    means: the exponential mean in the phase of each lag but 1.
    """

    surprise: np.ndarray
    bases: list[np.ndarray]
    means: list[np.ndarray]
    scale: np.ndarray
    mean: np.ndarray
    age: np.ndarray

    def read(self, season: int) -> np.ndarray:
        """What the network reads of it, (..., O · numbers)."""
        seen = ~np.isnan(self.surprise)
        base, *others = self.bases
        numbers = [
            seen.astype(np.float64),
            _squashed(np.where(seen, self.surprise, 0.0) / self.scale),
            *(_squashed((other - base) / self.scale) for other in (*others, *self.means)),
            _squashed((base - self.mean) / self.scale),
            self.scale / (self.scale + np.abs(self.mean)),
            self.age / (self.age + season),
        ]
        return np.concatenate(numbers, -1)


@dataclass(frozen=True)
class Lags:
    """Which of the past is kept: the season m, which is the lag of the base, and further lags.

    fixed: the scale and the mean, (O,) each, that all series share; None: each has its own.
    """

    season: int
    others: tuple[int, ...] = ()
    fixed: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def all(self) -> tuple[int, ...]:
        return self.season, *self.others

    @property
    def long(self) -> tuple[int, ...]:
        return tuple(L for L in self.all if L > 1)

    def width(self, O: int) -> int:
        """How many numbers the network reads of O targets."""
        return O * (5 + len(self.others) + len(self.long))


class Past:
    """What was known before each step of n whole series, and before steps that come after any of them.

    Args:
        lags: what is kept.
        y: float64 (N, O), NaN where missing.
    """

    def __init__(self, lags: Lags, y: Ragged):
        self.lags = lags
        made = [_of_one(lags, one) for one in y]
        # Each has a row more than the series has steps, and the phases of a lag L have L more.
        self.begin = y.offsets[:-1] + np.arange(len(y))
        self.last, self.surprise, self.scale, self.mean, self.age = (
            np.concatenate([one[k] for one in made]) for k in range(5)
        )
        self.sums = np.stack([one[5] for one in made]) if made else np.zeros((0, 4, y.values.shape[1]))
        phases = [np.concatenate(arrays) for arrays in zip(*(one[6:] for one in made), strict=True)]
        self.phases, self.means = phases[: len(lags.all)], phases[len(lags.all) :]
        self.begins = {L: y.offsets[:-1] + L * np.arange(len(y)) for L in lags.all}

    def memories(self) -> "Memories":
        """What is kept of each series at its end."""
        n, T = len(self.begin), np.diff(np.append(self.begin, len(self.last))) - 1
        kept, ends = Memories(self.lags, n, self.last.shape[1]), self.begin + T
        for name in ("last", "surprise", "age"):
            kept.arrays[name] = getattr(self, name)[ends]
        kept.arrays |= {"step": T[:, None].astype(np.float64), "sums": self.sums.copy()}
        for kind, lags, phases in (("lag", self.lags.all, self.phases), ("mean", self.lags.long, self.means)):
            for L, of in zip(lags, phases, strict=True):
                kept.arrays[f"{kind}{L}"] = of[(self.begins[L] + T)[:, None] + (np.arange(L) - T[:, None]) % L]
        return kept

    def known(self, series: np.ndarray, steps: np.ndarray, origins: np.ndarray) -> Known:
        """What is known of steps of series, before the steps in `origins`, each of which is at most the same.

        All are int64, of shapes that go together.
        """
        series, steps, origins = np.broadcast_arrays(series, steps, origins)
        ahead, at = steps - origins, self.begin[series] + origins
        last = self.last[at]
        bases, means = (
            [_or(of[self.begins[L][series] + origins + ahead % L], last) for L, of in zip(lags, phases, strict=True)]
            for lags, phases in ((self.lags.all, self.phases), (self.lags.long, self.means))
        )
        surprise = np.where((ahead == 0)[..., None], self.surprise[at], np.nan)
        return Known(surprise, bases, means, self.scale[at], self.mean[at], self.age[at] + ahead[..., None])


class Memories:
    """The past of n series that are taken a step at a time: `arrays`, by name, each (n, ...), are all that is kept."""

    def __init__(self, lags: Lags, n: int, O: int):
        self.lags = lags
        self.arrays = {
            "step": np.zeros((n, 1)),
            "last": np.full((n, O), np.nan),
            "surprise": np.full((n, O), np.nan),
            "sums": np.zeros((n, 4, O)),
            "age": np.zeros((n, O)),
            **{f"lag{L}": np.full((n, L, O), np.nan) for L in lags.all},
            **{f"mean{L}": np.full((n, L, O), np.nan) for L in lags.long},
        }

    def known(self, rows: np.ndarray, ahead: np.ndarray | int = 0) -> Known:
        """What is known of the step that comes next, in these rows, (n,); or of those so many later, (H, 1)."""
        a, ahead = self.arrays, np.asarray(ahead)
        steps, last = a["step"][rows, 0].astype(np.int64) + ahead, a["last"][rows]
        bases = [_or(a[f"lag{L}"][rows, steps % L], last) for L in self.lags.all]
        means = [_or(a[f"mean{L}"][rows, steps % L], last) for L in self.lags.long]
        surprise = np.where((ahead == 0)[..., None], a["surprise"][rows], np.nan)
        sums = a["sums"][rows]
        scale, mean = _statistics(self.lags, [sums[:, k] for k in range(4)])
        shape = bases[0].shape
        scale, mean = np.broadcast_to(scale, shape), np.broadcast_to(mean, shape)
        return Known(np.broadcast_to(surprise, shape), bases, means, scale, mean, a["age"][rows] + ahead[..., None])

    def add(self, rows: np.ndarray, y: np.ndarray, base: np.ndarray) -> None:
        """Take the next step of these rows, whose y, NaN where missing, and base are float64 (rows, O)."""
        a = self.arrays
        last, steps = a["last"][rows], a["step"][rows, 0].astype(np.int64)
        seen = ~np.isnan(y)
        for L in self.lags.long:
            a[f"mean{L}"][rows, steps % L] = _milder(a[f"mean{L}"][rows, steps % L], y)
        for L in self.lags.all:
            a[f"lag{L}"][rows, steps % L] = np.where(seen, y, a[f"lag{L}"][rows, steps % L])
        a["sums"][rows] = a["sums"][rows] * _KEPT + np.stack(_added(y, base, ~np.isnan(last)), 1)
        a["surprise"][rows] = y - base
        a["last"][rows] = np.where(seen, y, last)
        a["age"][rows] = np.where(seen, 0, a["age"][rows] + 1)
        a["step"][rows] += 1


def _of_one(lags: Lags, y: np.ndarray) -> list[np.ndarray]:
    """What `Past` keeps of one series: last, surprise, scale, mean, age, the sums at the end, and the phases."""
    last, phases, T = _filled(y, 1), [_filled(y, L) for L in lags.all], len(y)
    means = [_means(y, L) for L in lags.long]
    base = _or(phases[0][:T], last[:T])
    surprise = np.concatenate([np.full((1, y.shape[1]), np.nan), y - base])
    sums = [_sums(v) for v in _added(y, base, ~np.isnan(last[:T]))]
    return [
        last,
        surprise,
        *_statistics(lags, sums),
        _age(~np.isnan(y)),
        np.stack([s[-1] for s in sums]),
        *phases,
        *means,
    ]


def _squashed(v: np.ndarray) -> np.ndarray:
    """v / (1 + |v| / 8), which is nearly v for small v, and never beyond ±8."""
    return v / (1 + np.abs(v) / _SQUASHED)


def _added(y: np.ndarray, base: np.ndarray, before: np.ndarray) -> list[np.ndarray]:
    """What a step adds to the sums: its error and 1, if there was a value before it; its value and 1."""
    seen = ~np.isnan(y)
    error = np.where(seen & before, np.abs(y - base), 0.0)
    return [error, (seen & before).astype(np.float64), np.where(seen, y, 0.0), seen.astype(np.float64)]


def _statistics(lags: Lags, sums: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the mean, of sums of errors, their number, values, and their number.

    The scale is at least a thousandth of the mean, and 1 if all is 0.
    """
    errors, count, values, seen = sums
    if lags.fixed is not None:
        return np.broadcast_to(lags.fixed[0], errors.shape), np.broadcast_to(lags.fixed[1], errors.shape)
    mean = values / np.maximum(seen, 1)
    size = np.abs(mean)
    scale = np.where(count > 0, np.maximum(errors / np.maximum(count, 1), _FLAT * size), size)
    return np.where(scale > _TINY, scale, 1.0), mean


def _filled(y: np.ndarray, L: int) -> np.ndarray:
    """The last value before each step at a distance of a multiple of L, (T, O) to (T + L, O); NaN if there is none."""
    T, O = y.shape
    rows = -(-T // L) + 1
    phases = np.full((rows * L, O), np.nan)
    phases[L : L + T] = y
    phases = phases.reshape(rows, L, O)
    at = np.where(np.isnan(phases), 0, np.arange(rows)[:, None, None])
    return np.take_along_axis(phases, np.maximum.accumulate(at, 0), 0).reshape(-1, O)[: T + L]


def _means(y: np.ndarray, L: int) -> np.ndarray:
    """The exponential mean before each step of those at a distance of a multiple of L, (T, O) to (T + L, O)."""
    T, O = y.shape
    rows = -(-T // L) + 1
    phases = np.full((rows * L, O), np.nan)
    phases[L : L + T] = y
    phases = phases.reshape(rows, L, O)
    for k in range(1, rows):
        phases[k] = _milder(phases[k - 1], phases[k])
    return phases.reshape(-1, O)[: T + L]


def _milder(mean: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The exponential mean after y; without one before it, y; and the same as before if y is missing."""
    return np.where(np.isnan(y), mean, np.where(np.isnan(mean), y, mean + _NEW * (y - mean)))


def _or(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The values, or where they are missing the others, or else 0."""
    found = np.where(np.isnan(values), others, values)
    return np.where(np.isnan(found), 0.0, found)


def _sums(values: np.ndarray) -> np.ndarray:
    """The sums of all before each step, of which a part is kept from step to step, (T, O) to (T + 1, O)."""
    columns = [list(accumulate(column, lambda s, v: s * _KEPT + v, initial=0.0)) for column in values.T.tolist()]
    return np.array(columns).T


def _age(seen: np.ndarray) -> np.ndarray:
    """How many steps before each are missing without a break, (T, O) to (T + 1, O)."""
    steps = np.arange(len(seen) + 1, dtype=np.float64)[:, None]
    last = np.zeros((len(seen) + 1, seen.shape[1]))
    last[1:] = np.where(seen, steps[1:], 0)
    return steps - np.maximum.accumulate(last, 0)
