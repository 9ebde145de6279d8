"""Batches of token sequences, time first."""

from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np

NO_TARGET = -1


class Batch(NamedTuple):
    """One step of training.

    inputs: tokens, int64, (T, B).
    targets: the token to predict at each step, int64, (T, B); `NO_TARGET` where there is none.
    fresh: the state begins at zero; else it is carried over from the batch before.
    lengths: (B,) int64, how many steps of each sequence are not padding; None: all.
    reset: (T, B) bool, where a new sequence begins; None: nowhere.
    carry: after how many of the steps the state is the one to carry over; None: after all.
    """

    inputs: np.ndarray
    targets: np.ndarray
    fresh: bool = True
    lengths: np.ndarray | None = None
    reset: np.ndarray | None = None
    carry: int | None = None


class Chunks:
    """One long text as B parallel rows, read from end to end in chunks of at most `length` steps.

    Every token but the first is a target exactly once. A text too short for B rows of `length` steps has fewer rows.

    Args:
        tokens: (N,), N ≥ 2.
        rows: B at most.
        length: T at most.
    """

    def __init__(self, tokens: np.ndarray, rows: int, length: int):
        targets = len(tokens) - 1
        self.rows = max(1, min(rows, targets // length))
        self.length = length
        steps = -(-targets // self.rows)
        short = self.rows * steps - targets
        self.inputs = _columns(np.append(tokens[:-1], np.zeros(short, tokens.dtype)), self.rows)
        self.targets = _columns(np.append(tokens[1:], np.full(short, NO_TARGET, tokens.dtype)), self.rows)

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.length)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The chunks from the start-th on; all epochs are the same."""
        for begin in range(start * self.length, len(self.inputs), self.length):
            part = slice(begin, begin + self.length)
            yield Batch(self.inputs[part].astype(np.int64), self.targets[part].astype(np.int64), begin == 0)

    def shard(self, rank: int, ranks: int) -> "Chunks":
        """The same chunks, of which only the rows rank, rank + ranks, …"""
        part = copy(self)
        part.inputs, part.targets = self.inputs[:, rank::ranks], self.targets[:, rank::ranks]
        return part


def _columns(values: np.ndarray, columns: int) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(columns, -1).T)


class Overlapping:
    """Windows of k1 steps made longer by what came before them, up to k2 steps: truncated BPTT (Williams & Peng 1990).

    The loss of every step goes back through at least k2 - k1 + 1 steps, and at most k2, where the sequence has as many.

    Args:
        windows: of at most k1 steps, each going on where the one before ended, except where it is fresh.
        k1: steps of a window.
        k2: steps that a gradient may go back, at least k1.
    """

    def __init__(self, windows: Chunks, k1: int, k2: int):
        self.windows, self.k1, self.k2 = windows, k1, k2

    def __len__(self) -> int:
        return len(self.windows)

    def shard(self, rank: int, ranks: int) -> "Overlapping":
        """The same windows, of which only the columns rank, rank + ranks, …"""
        return Overlapping(self.windows.shard(rank, ranks), self.k1, self.k2)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """An epoch's windows from the start-th on."""
        before = -(-(self.k2 - self.k1) // self.k1)
        first = max(0, start - before)
        context: deque[Batch] = deque(maxlen=before + 1)
        for i, batch in enumerate(self.windows.epoch(number, first), first):
            if batch.fresh:
                context.clear()
            context.append(batch)
            if i >= start:
                yield self._joined(context)

    def _joined(self, context: Sequence[Batch]) -> Batch:
        """The last of these batches behind as much of the others as its steps may go back."""
        last, steps = context[-1], sum(len(batch.inputs) for batch in context)
        begin = max(0, steps - len(last.inputs) - (self.k2 - self.k1))
        inputs, targets = (np.concatenate([batch[i] for batch in context])[begin:] for i in range(2))
        new = len(inputs) - len(last.inputs)
        targets[:new] = NO_TARGET if targets.dtype.kind == "i" else np.nan
        reset = None
        if any(batch.reset is not None for batch in context):
            reset = np.concatenate([_reset(batch) for batch in context])[begin:]
        lengths = None if last.lengths is None else last.lengths + new
        # The next window begins k2 steps before its end, or where this one does.
        carry = max(0, len(inputs) + self.k1 - self.k2)
        return Batch(inputs, targets, context[0].fresh and begin == 0, lengths, reset, carry)


def _reset(batch: Batch) -> np.ndarray:
    return np.zeros(batch.inputs.shape[:2], bool) if batch.reset is None else batch.reset


def ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    yield from batches
