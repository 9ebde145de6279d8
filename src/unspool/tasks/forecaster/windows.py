"""Batches to train a forecaster on: windows that end in a gap as long as the horizon."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...data.batches import Batch
from ...errors import DataError
from .history import Past
from .inputs import Inputs
from .series import Series, rows_at, windows_between


class Span(NamedTuple):
    """Which steps of each series have targets, int64 (n,): from `first` to before `end`."""

    first: np.ndarray
    end: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        return np.maximum(self.end - self.first, 0)


class Reader:
    """What the network reads of some series at any of their steps, and what its outputs are measured against."""

    def __init__(self, inputs: Inputs, series: Series):
        self.inputs, self.series, self.past = inputs, series, Past(inputs.lags, series.y)

    def read(self, i: np.ndarray, steps: np.ndarray, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inputs of steps of series i, of which only is known what came before their origins, at most the same.

        Args:
            i, steps, origins: int64 of shapes that go together.
        Returns:
            x, float32 (..., I), and the base and the scale of the outputs, float64 (..., O).
        """
        i, steps, origins = np.broadcast_arrays(i, steps, origins)
        series, history = self.series, self.past.known(i, steps, origins)
        past = rows_at(series.past, i, steps - 1, steps <= origins)
        known, calendar = rows_at(series.known, i, steps), self.inputs.turns(series.clock, series.start[i] + steps)
        x = self.inputs.read(history, known, past, series.static[i], calendar)
        return x, history.bases[0], history.scale

    def y(self, i: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The targets of steps, float64 (..., O), NaN where there are none."""
        return rows_at(self.series.y, *np.broadcast_arrays(i, steps))


class Windows:
    """Windows of series: `context` steps, or as many as there are, and then a gap of `horizon` steps with targets.

    In an epoch each step is in about one gap: those of a series lie side by side, and where they end is drawn.

    Args:
        reader: of the series.
        span: the steps with targets.
        horizon, context: steps of the gap, and before it.
        batch_size: windows side by side.
        seed: of the order; None: the windows end where the spans do, in the order of the series.
        raw: whether the targets are y, base and scale, (T, B, 3·O), instead of (y - base) / scale, (T, B, O).
    """

    def __init__(
        self,
        reader: Reader,
        span: Span,
        horizon: int,
        context: int,
        batch_size: int,
        *,
        seed: int | None,
        raw: bool = False,
    ):
        self.reader, self.span, self.horizon, self.context = reader, span, horizon, context
        self.batch_size, self.seed, self.raw, self._columns = batch_size, seed, raw, slice(None)
        self.count = len(windows_between(*span, horizon)[0])
        if not self.count:
            raise DataError("X must have a series with more steps than are held out, to train on; give longer series")

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def shard(self, rank: int, ranks: int) -> "Windows":
        part = copy.copy(self)
        part._columns = slice(rank, None, ranks)
        return part

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        i, origins = self.origins(number)
        for at in range(start * self.batch_size, len(i), self.batch_size):
            chosen = slice(at, at + self.batch_size)
            yield self.batch(i[chosen], origins[chosen])

    def origins(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The series and the first step of the gap of each window of an epoch, int64 (windows,)."""
        if self.seed is None:
            return windows_between(*self.span, self.horizon)
        random = np.random.default_rng([self.seed, number])
        back = random.integers(1, np.minimum(self.horizon, np.maximum(self.span.steps, 1)) + 1)
        i, origins = windows_between(*self.span, self.horizon)
        origins = np.maximum(origins + np.minimum(self.horizon, self.span.steps)[i] - back[i], self.span.first[i])
        order = random.permutation(len(i))
        return i[order], origins[order]

    def batch(self, i: np.ndarray, origins: np.ndarray) -> Batch:
        """The windows of series i before and after the origins, (B,) each."""
        begins = np.maximum(origins - self.context, 0)
        lengths = origins + self.horizon - begins
        T = int(lengths.max())
        i, origins, begins, lengths = (v[self._columns] for v in (i, origins, begins, lengths))
        offsets = np.arange(T)[:, None]
        there, steps = offsets < lengths, begins + np.minimum(offsets, lengths - 1)
        x, base, scale = self.reader.read(i, steps, np.minimum(steps, origins))
        told = there & (steps >= origins) & (steps < self.span.end[i])
        y = np.where(told[..., None], self.reader.y(i, steps), np.nan)
        x[~there] = 0
        if self.raw:
            missing = np.isnan(y)
            targets = np.concatenate([y, np.where(missing, y, base), np.where(missing, y, scale)], -1)
        else:
            targets = (y - base) / scale
        return Batch(x, targets.astype(np.float32), True, None if there.all() else lengths)
