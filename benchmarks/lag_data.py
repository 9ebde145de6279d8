"""The sequences of the long time lags, drawn when they are needed."""

import math
from collections.abc import Callable, Iterator
from copy import copy

import numpy as np

from unspool.data.batches import NO_TARGET, Batch

Draw = Callable[[np.random.Generator, int], Batch]

SYMBOLS = "BTPSXVE"
# For each state, the two symbols that may follow, equally likely, each with the next state; in state 6 E ends it.
GRAMMAR = {1: ("T2", "P3"), 2: ("S2", "X4"), 3: ("T3", "V5"), 4: ("X3", "S6"), 5: ("P4", "V6")}
OPTIMUM = 7 * math.log(2)


def reber(rng: np.random.Generator) -> str:
    """A string of the embedded grammar: B, T or P, a string of the plain grammar, the same T or P again, E."""
    link, state, inner = "TP"[rng.integers(2)], 1, "B"
    while state != 6:
        symbol, following = GRAMMAR[state][rng.integers(2)]
        inner, state = inner + symbol, int(following)
    return f"B{link}{inner}E{link}E"


def reber_nats(string: str) -> float:
    """The least nats that a string costs: ln 2 for each choice between two symbols; KeyError outside the grammar."""
    state, choices = 1, 1
    for symbol in string[3:-3]:
        state, choices = {x: int(following) for x, following in GRAMMAR[state]}[symbol], choices + 1
    if state != 6 or string not in {f"B{link}B{string[3:-3]}E{link}E" for link in "TP"}:
        raise KeyError(string)
    return choices * math.log(2)


def spell(batch: Batch) -> list[str]:
    """The strings of a batch."""
    assert batch.lengths is not None
    columns = zip(batch.inputs.T, batch.lengths, strict=True)
    return ["".join(SYMBOLS[token] for token in column[:length]) + "E" for column, length in columns]


def draw_reber(rng: np.random.Generator, rows: int) -> Batch:
    """Strings in which each symbol but the last has to predict the next one."""
    strings = [reber(rng) for _ in range(rows)]
    lengths = np.array([len(string) - 1 for string in strings])
    tokens = np.full((lengths.max() + 1, rows), NO_TARGET, np.int64)
    for column, string in enumerate(strings):
        tokens[: len(string), column] = [SYMBOLS.index(symbol) for symbol in string]
    return Batch(np.maximum(tokens[:-1], 0), tokens[1:], lengths=lengths)


def draw_adding(T: int, rng: np.random.Generator, rows: int) -> Batch:
    """Pairs of a value, U(-1, 1), and a mark; the target is 1/2 plus a quarter of the sum of the two marked values."""
    lengths, each = rng.integers(T, T + T // 10 + 1, rows), np.arange(rows)
    values = rng.uniform(-1, 1, (lengths.max(), rows)).astype(np.float32)
    first, second = rng.integers(0, 10, rows), rng.integers(0, T // 2 - 1, rows)
    second += second >= first  # so that the two differ
    values[0, (first == 0) | (second == 0)] = 0
    marks = np.zeros_like(values)
    marks[first, each] = marks[second, each] = 1
    marks[0] = marks[lengths - 1, each] = -1
    targets = 0.5 + (values[first, each] + values[second, each]) / 4
    return Batch(np.stack([values, marks], -1), targets, lengths=lengths)


def draw_order(rng: np.random.Generator, rows: int) -> Batch:
    """X = 4 or Y = 5 at a step in 10..20 and one in 50..60, among a b c d = 0..3; the first step is 6, the last 7."""
    lengths, each = rng.integers(100, 111, rows), np.arange(rows)
    tokens = rng.integers(0, 4, (lengths.max(), rows))
    tokens[0], tokens[lengths - 1, each] = 6, 7
    return Batch(tokens, _put(rng, tokens, rng.integers(10, 21, rows), rng.integers(50, 61, rows)), lengths=lengths)


def draw_pascanu(L: int, rng: np.random.Generator, rows: int) -> Batch:
    """L symbols: X = 4 or Y = 5 in the second tenth and in the fifth tenth, among a b c d = 0..3."""
    tokens = rng.integers(0, 4, (L, rows))
    first, second = (rng.integers(tenth * L // 10, (tenth + 1) * L // 10, rows) for tenth in (1, 4))
    return Batch(tokens, _put(rng, tokens, first, second))


def _put(rng: np.random.Generator, tokens: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Put X or Y at these two steps of each column, and return which of the four orders it is."""
    drawn = rng.integers(0, 2, (2, tokens.shape[1]))
    tokens[first, np.arange(len(first))], tokens[second, np.arange(len(second))] = 4 + drawn
    return 2 * drawn[0] + drawn[1]


class Drawn:
    """Batches drawn anew for each update, the same for the same seed; each rank draws its own."""

    def __init__(self, draw: Callable[[int], Draw], rows: int, updates: int, seed: int, rank: int = 0):
        self.draw, self.rows, self.updates, self.seed, self.rank = draw, rows, updates, seed, rank

    def __len__(self) -> int:
        return self.updates

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for i in range(start, self.updates):
            yield self.draw(i)(np.random.default_rng((self.seed, self.rank, number, i)), self.rows)

    def shard(self, rank: int, ranks: int) -> "Drawn":
        part = copy(self)
        part.rank = rank
        return part

    def sequences(self, updates: int) -> int:
        """The number of sequences in this number of updates."""
        return self.rows * updates


class Steps:
    """Strings of the embedded grammar, one after the other, in windows of one step: no gradient goes back further."""

    def __init__(self, rows: int, updates: int, seed: int):
        columns = [self._column(np.random.default_rng((seed, row)), updates) for row in range(rows)]
        self.inputs, self.targets, self.reset = (np.stack(part, 1) for part in zip(*columns, strict=True))

    @staticmethod
    def _column(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, ...]:
        strings = [draw_reber(rng, 1) for _ in range(steps // 8 + 1)]  # none has fewer than 8 steps
        inputs = np.concatenate([s.inputs[:, 0] for s in strings])
        targets = np.concatenate([s.targets[:, 0] for s in strings])
        reset = np.concatenate([np.arange(len(s.inputs)) == 0 for s in strings])
        return inputs[:steps], targets[:steps], reset[:steps]

    def __len__(self) -> int:
        return len(self.inputs)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for t in range(start, len(self)):
            now = slice(t, t + 1)
            yield Batch(self.inputs[now], self.targets[now], t == 0, reset=self.reset[now])

    def shard(self, rank: int, ranks: int) -> "Steps":
        part = copy(self)
        part.inputs, part.targets, part.reset = (a[:, rank::ranks] for a in (self.inputs, self.targets, self.reset))
        return part

    def sequences(self, updates: int) -> int:
        return int(np.count_nonzero(self.reset[:updates]))
