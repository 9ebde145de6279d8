"""Batches of token sequences, time first."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NO_TARGET = -1


class Batch(NamedTuple):
    """One step of training.

    inputs: tokens, int64, (T, B).
    targets: the token to predict at each step, int64, (T, B); `NO_TARGET` where there is none.
    fresh: the state begins at zero; else it is carried over from the batch before.
    """

    inputs: np.ndarray
    targets: np.ndarray
    fresh: bool


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
        for start in range(0, len(self.inputs), self.length):
            part = slice(start, start + self.length)
            yield Batch(self.inputs[part].astype(np.int64), self.targets[part].astype(np.int64), start == 0)


def _columns(values: np.ndarray, columns: int) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(columns, -1).T)
