"""Batches of sequences, time first: whole sequences, windows of them, or chunks of one long text.

All kinds are used in the same way:

    len(b)                   the number of batches in an epoch, the same for all epochs
    b.epoch(number, start)   the batches of an epoch from batch `start` on, without making those before it; the seed and
                             the number of the epoch determine them
    b.shard(rank, ranks)     columns rank::ranks of each batch, or none if there are too few

The shards together are the whole. T of a shard's batch is that of the whole batch; if none of the shard's columns is
shorter, its `lengths` are None.
"""

import copy
import heapq
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from ..arguments import integer, number
from ..errors import DataError, UnspoolError
from .ragged import Ragged, ends

NO_TARGET = -1

Item = TypeVar("Item")
Self = TypeVar("Self", bound="_Sequences")


class Batch(NamedTuple):
    """One step of training.

    inputs: tokens, int64, (T, B), or numbers, (T, B, I). Padding is 0.
    targets: of each step, (T, B) or (T, B, O), or of each sequence, (B,) or (B, O). Where there is no target, integers
        are `NO_TARGET` and floats are NaN.
    fresh: whether all states begin at zero; else they are carried over from the batch before.
    lengths: int64, (B,), from 1 to T: the steps of each column, after which padding follows; None if all have T.
    reset: bool, (T, B): a new sequence begins at this step, with a zero state; None if only `fresh` says where.
    carry: the number of steps after which the state is the one to carry over; None: after all steps.
    """

    inputs: np.ndarray
    targets: np.ndarray
    fresh: bool = True
    lengths: np.ndarray | None = None
    reset: np.ndarray | None = None
    carry: int | None = None

    @property
    def targets_there(self) -> int:
        """How many targets there are."""
        missing = np.isnan(self.targets) if self.targets.dtype.kind == "f" else self.targets == NO_TARGET
        return self.targets.size - int(np.count_nonzero(missing))


class Batches(Protocol):
    """The interface that the training loop needs."""

    def __len__(self) -> int: ...
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]: ...
    def shard(self, rank: int, ranks: int) -> "Batches": ...


class Chunks:
    """One long text as B parallel rows, read from end to end in chunks of at most `length` steps.

    Every token but the first is a target exactly once. A text too short for B rows of `length` steps has fewer rows.
    All epochs are the same.

    Args:
        tokens: (N,), N ≥ 2.
        rows: the largest B.
        length: the largest T.
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
        for at in range(integer("start", start, 0) * self.length, len(self.inputs), self.length):
            part = slice(at, at + self.length)
            yield Batch(self.inputs[part].astype(np.int64), self.targets[part].astype(np.int64), at == 0)

    def shard(self, rank: int, ranks: int) -> "Chunks":
        part = copy.copy(self)
        mine = _mine(rank, ranks)
        part.inputs, part.targets = (np.ascontiguousarray(v[:, mine]) for v in (self.inputs, self.targets))
        part.rows = part.inputs.shape[1]
        return part


class _Sequences:
    """What `Bucketed` and `Rows` share: inputs, targets, the order drawn for an epoch, and the shard."""

    def __init__(self, inputs: Ragged, targets: Ragged | np.ndarray, seed: int, shuffle: bool):
        self.inputs, self.targets = inputs, targets
        self.seed, self.shuffle = integer("seed", seed, 0), shuffle
        self.lengths = inputs.lengths
        self._columns = slice(None)
        if not len(inputs):
            raise DataError("inputs must have at least one sequence; got none")
        if not self.lengths.all():
            raise DataError(f"inputs: sequence {int(np.argmin(self.lengths))} has no steps; leave it out")
        if isinstance(targets, Ragged):
            if not np.array_equal(targets.offsets, inputs.offsets):
                raise DataError(f"targets must have the lengths of the inputs; got {_difference(inputs, targets)}")
        elif len(targets) != len(inputs):
            raise DataError(f"targets must have one target for each of {len(inputs)} sequences; got {len(targets)}")

    def shard(self: Self, rank: int, ranks: int) -> Self:
        part = copy.copy(self)
        part._columns = _mine(rank, ranks)
        return part

    def _random(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, integer("number", number, 0)])

    def _by_length(self, random: np.random.Generator) -> np.ndarray:
        """All sequences, the longest first; those of equal length are in random order if `shuffle` is true."""
        order = random.permutation(len(self.inputs)) if self.shuffle else np.arange(len(self.inputs))
        return order[np.argsort(-self.lengths[order], kind="stable")]


class Bucketed(_Sequences):
    """Batches of whole sequences, with sequences of similar length together.

    Sequences are sorted by length and cut into buckets, such that any batch drawn from one bucket has at most the part
    `max_padding` of padding. In every epoch the sequences are shuffled within their buckets, and the batches are
    shuffled too. A batch is smaller than `batch_size` only where a full one would have more padding, and at the end of
    the shortest sequences.

    Args:
        inputs: tokens (N,) or numbers (N, I), each sequence of at least one step.
        targets: Ragged with the same lengths, one target per step; or an array (n, ...), one target per sequence.
        batch_size: the largest B.
        max_padding: the largest part of a batch's T·B cells that may be padding, from 0 to less than 1.
        seed: the seed of the order.
        shuffle: whether to shuffle; if not, the longest come first, always in the same batches.
    """

    def __init__(
        self,
        inputs: Ragged,
        targets: Ragged | np.ndarray,
        batch_size: int,
        *,
        max_padding: float = 0.1,
        seed: int = 0,
        shuffle: bool = True,
    ):
        super().__init__(inputs, targets, seed, shuffle)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.max_padding = Fraction(number("max_padding", max_padding, below=1.0))
        lengths = -np.sort(-self.lengths)
        buckets = [0]
        while buckets[-1] < len(lengths):
            buckets.append(buckets[-1] + self._bucket(lengths[buckets[-1] :]))
        self._buckets = list(pairwise(buckets))

    def __len__(self) -> int:
        return sum(-(-(stop - start) // self.batch_size) for start, stop in self._buckets)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        random = self._random(number)
        order = self._by_length(random)
        batches = []
        for first, last in self._buckets:
            bucket = random.permutation(order[first:last]) if self.shuffle else order[first:last]
            batches += [bucket[i : i + self.batch_size] for i in range(0, len(bucket), self.batch_size)]
        turns = random.permutation(len(batches)) if self.shuffle else np.arange(len(batches))
        for turn in turns[integer("start", start, 0) :]:
            yield self._batch(batches[turn])

    def _bucket(self, lengths: np.ndarray) -> int:
        """How many of these lengths, the longest first, make a bucket.

        The worst batch of lengths from m to M has one sequence of M steps and B-1 of m steps: its padding is (B-1)(M-m)
        of B·M cells.
        """
        B, M, p = self.batch_size, int(lengths[0]), self.max_padding
        least = M if B == 1 else M - M * B * p / (B - 1)  # exact: p is a fraction
        similar = len(lengths) if B == 1 else int(np.searchsorted(-lengths, -math.ceil(least), side="right"))
        if similar >= B:
            # The remainder begins the next bucket, unless it ends the data: no batch is smaller than it has to be.
            return len(lengths) if similar == len(lengths) else similar - similar % B
        padding = np.cumsum(M - lengths[:B])
        cells = M * np.arange(1, len(padding) + 1)
        fits = [int(pad) * p.denominator <= p.numerator * int(all_) for pad, all_ in zip(padding, cells, strict=True)]
        return fits.index(False) if False in fits else len(fits)

    def _batch(self, sequences: np.ndarray) -> Batch:
        T = int(self.lengths[sequences].max())
        sequences = sequences[self._columns]
        lengths = self.lengths[sequences]
        there = np.arange(T)[:, None] < lengths
        at = np.where(there, self.inputs.offsets[sequences] + np.arange(T)[:, None], 0)
        targets = self.targets
        chosen = _padded(targets.values, at, there, True) if isinstance(targets, Ragged) else _typed(targets[sequences])
        return Batch(_padded(self.inputs.values, at, there), chosen, True, lengths if not there.all() else None)


class Rows(_Sequences):
    """Windows of B rows of sequences side by side, for truncated backpropagation through time without padding.

    Each row reads its sequences one after the other; `reset` marks where each begins. The state is carried from window
    to window. So that the rows end at nearly the same step, each sequence, the longest first, goes to the row with the
    fewest steps (Graham 1969). In every epoch the order within the rows is shuffled, and sequences of equal length
    change places. A row that has ended goes on without targets, with one step of padding in each window.

    Args:
        inputs: tokens (N,) or numbers (N, I), each sequence of at least one step.
        targets: one target per step, with the same lengths.
        rows: the largest B; there are never more rows than sequences.
        steps: T of a window.
        seed: the seed of the order.
        shuffle: whether to shuffle; if not, each row reads in the order given.
    """

    def __init__(self, inputs: Ragged, targets: Ragged, rows: int, steps: int, *, seed: int = 0, shuffle: bool = True):
        if not isinstance(targets, Ragged):
            raise UnspoolError("targets must be Ragged, one target per step; take Bucketed for one target per sequence")
        super().__init__(inputs, targets, seed, shuffle)
        self._target_values = targets.values
        self.steps = integer("steps", steps, 1)
        self.rows = min(integer("rows", rows, 1), len(inputs))
        self._row, self.total = _deal(-np.sort(-self.lengths), self.rows)

    def __len__(self) -> int:
        return -(-self.total // self.steps)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        layout = self._layout(number)
        for at in range(integer("start", start, 0) * self.steps, self.total, self.steps):
            yield self._window(layout, at, min(self.steps, self.total - at))

    def _layout(self, number: int) -> "_Layout":
        """The sequences of an epoch, row by row."""
        random = self._random(number)
        order = self._by_length(random)
        turn = random.permutation(len(order)) if self.shuffle else order
        dealt = np.lexsort((turn, self._row))
        sequences, row = order[dealt], self._row[dealt]
        lengths = self.lengths[sequences]
        totals = np.bincount(row, lengths, self.rows).astype(np.int64)
        begins = ends(lengths)[:-1] - ends(totals)[row]
        mine = np.zeros(self.rows, bool)
        mine[self._columns] = True
        here, column = mine[row], np.cumsum(mine) - 1
        far = column[row[here]] * (self.total + 1)
        return _Layout(self.inputs.offsets[sequences[here]], begins[here] + far, totals[mine])

    def _window(self, layout: "_Layout", start: int, T: int) -> Batch:
        steps = np.arange(start, start + T)[:, None]
        there = steps < layout.totals
        far = steps + np.arange(len(layout.totals)) * (self.total + 1)
        sequence = np.searchsorted(layout.begins, far, side="right") - 1
        into = far - layout.begins[sequence]
        at = np.where(there, layout.sources[sequence] + into, 0)
        inputs = _padded(self.inputs.values, at, there)
        targets = _padded(self._target_values, at, there, True)
        lengths = None if there.all() else np.maximum(there.sum(axis=0), 1)
        return Batch(inputs, targets, start == 0, lengths, (into == 0) | ~there)


class _Layout(NamedTuple):
    """Sequences in rows, one row after the other.

    sources: (n,), where each sequence begins in the values.
    begins: (n,), the step of its row at which each begins, plus the row's number times a number larger than any step.
    totals: (B,), the steps of each row.
    """

    sources: np.ndarray
    begins: np.ndarray
    totals: np.ndarray


class Overlapping:
    """Windows of k1 steps, with the steps before them up to k2 in all: truncated BPTT (Williams & Peng 1990).

    The gradient of each step's loss goes back through at least k2 - k1 + 1 steps, where the sequence has that many, and
    through at most k2.

    Args:
        windows: windows of at most k1 steps, each beginning where the one before ended, unless it is fresh.
        k1: the steps of a window.
        k2: the most steps that a gradient goes back through, at least k1.
    """

    def __init__(self, windows: Batches, k1: int, k2: int):
        self.windows, self.k1, self.k2 = windows, k1, k2

    def __len__(self) -> int:
        return len(self.windows)

    def shard(self, rank: int, ranks: int) -> "Overlapping":
        """The same windows, with only the columns rank, rank + ranks, …"""
        return Overlapping(self.windows.shard(rank, ranks), self.k1, self.k2)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The windows of an epoch, from number `start` on."""
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
        """The last of these batches, preceded by as many steps of the others as its gradient may go back through."""
        last, steps = context[-1], sum(len(batch.inputs) for batch in context)
        begin = max(0, steps - len(last.inputs) - (self.k2 - self.k1))
        inputs = np.concatenate([batch.inputs for batch in context])[begin:]
        targets = np.concatenate([batch.targets for batch in context])[begin:]
        new = len(inputs) - len(last.inputs)
        targets[:new] = NO_TARGET if targets.dtype.kind == "i" else np.nan
        reset = None
        if any(batch.reset is not None for batch in context):
            reset = np.concatenate([_reset(batch) for batch in context])[begin:]
        lengths = None if last.lengths is None else last.lengths + new
        # The next window begins k2 steps before its own end, or where this one begins.
        carry = max(0, len(inputs) + self.k1 - self.k2)
        return Batch(inputs, targets, context[0].fresh and begin == 0, lengths, reset, carry)


def _reset(batch: Batch) -> np.ndarray:
    return np.zeros(batch.inputs.shape[:2], bool) if batch.reset is None else batch.reset


def ahead(items: Iterable[Item], seconds: float = 0.002) -> Iterator[Item]:
    """The same items, made in advance by a thread while earlier ones are used.

    Whenever it is asked to, the thread makes items for so many seconds, and at least one: a thread that is woken for
    each of many small batches costs more than it saves. An error is raised where its item would have come. The thread
    ends when the items end, at an error, or when this generator is closed.
    """
    items, made = iter(items), deque[Item]()

    def make() -> bool:
        """Make some items; return whether there may be more."""
        until = time.perf_counter() + seconds
        for item in items:
            made.append(item)
            if time.perf_counter() >= until:
                return True
        return False

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(make)
        while coming is not None:
            done, coming = coming, None
            failed = done.exception()
            mine = [made.popleft() for _ in range(len(made))]
            if failed is None and done.result():
                coming = thread.submit(make)
            yield from mine
            done.result()


def _deal(lengths: np.ndarray, rows: int) -> tuple[np.ndarray, int]:
    """The row of each sequence, given the lengths from the longest on, and the steps of the longest row."""
    heap = [(0, r) for r in range(rows)]
    row = np.empty(len(lengths), np.int64)
    for i, length in enumerate(lengths.tolist()):
        total, row[i] = heap[0]
        heapq.heapreplace(heap, (total + length, int(row[i])))
    return row, max(heap)[0]


def _padded(values: np.ndarray, at: np.ndarray, there: np.ndarray, target: bool = False) -> np.ndarray:
    """values[at] where `there` is true; elsewhere 0, or the mark of no target."""
    chosen = _typed(values[at])
    chosen[~there] = 0 if not target else np.nan if chosen.dtype.kind == "f" else NO_TARGET
    return chosen


def _typed(values: np.ndarray) -> np.ndarray:
    """Integers as int64; floats of their own type in the machine's byte order; copied only if need be."""
    return values.astype(values.dtype.newbyteorder("=") if values.dtype.kind == "f" else np.int64, copy=False)


def _mine(rank: int, ranks: int) -> slice:
    integer("ranks", ranks, 1)
    return slice(integer("rank", rank, 0, ranks - 1), None, ranks)


def _difference(inputs: Ragged, targets: Ragged) -> str:
    if len(inputs) != len(targets):
        return f"{len(targets)} sequences for {len(inputs)}"
    i = int(np.argmax(inputs.lengths != targets.lengths))
    return f"{targets.lengths[i]} steps for {inputs.lengths[i]} in sequence {i}"


def _columns(values: np.ndarray, columns: int) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(columns, -1).T)
