"""The baseline of language models: an interpolated n-gram with modified Kneser–Ney smoothing."""

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """The n-grams of one length, numbered in the order of their keys.

    keys: number of the first n-1 tokens in the table below · size + the last token, ascending; `mass` of each: its
        count less the discount.
    total, freed: by the number of those n-1 tokens, the sum of the counts, and of the discounts.
    """

    keys: np.ndarray
    mass: np.ndarray
    total: np.ndarray
    freed: np.ndarray


class NGram:
    """Interpolated n-gram, modified Kneser–Ney (Chen & Goodman 1998, section 3).

        p(w | u) = (c(uw) - d(c(uw)) + Σ_v d(c(uv)) · p(w | u')) / Σ_v c(uv)

    u' is u without its first token; below all is the uniform distribution. c counts the occurrences of the longest
    n-grams, and for a shorter one the different tokens seen before it. d is one of three, for counts 1, 2, 3 and more.

    Args:
        tokens: the training text, integers 0..size-1, (N,).
        size: of the vocabulary.
        order: n; less where the text is shorter.
    """

    def __init__(self, tokens: np.ndarray, size: int, order: int = 5):
        self.size, self.order = size, min(order, len(tokens))
        numbers = np.zeros(len(tokens) + 1, np.int64)  # of the (n-1)-grams that end before each token, and at the end
        below = 1  # how many they are
        found = []
        for n in range(1, self.order + 1):
            grams = numbers[:-1] * size + tokens[n - 1 :]
            keys, first, inverse, counts = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
            found.append((keys, counts, below))
            if n > 1:  # of those below: the different n-grams that end with them
                shorter, _, fewer = found[n - 2]
                found[n - 2] = shorter, np.bincount(numbers[1:][first], minlength=len(shorter)), fewer
            numbers, below = inverse, len(keys)
        self.tables = [_table(keys, counts, below, size) for keys, counts, below in found]

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Of each token but the first given those before it, (N-1,), N ≥ 2."""
        p = np.full(len(tokens), 1 / self.size)
        contexts = np.zeros(len(tokens), np.int64)  # number of the (n-1)-gram before each token; -1 if it is unknown
        for table in self.tables:
            known = contexts >= 0
            total, freed = (np.where(known, values[contexts], 0.0) for values in (table.total, table.freed))
            grams = contexts * self.size + tokens
            at = np.minimum(np.searchsorted(table.keys, grams), len(table.keys) - 1)
            there = known & (table.keys[at] == grams)
            np.divide(np.where(there, table.mass[at], 0.0) + freed * p, total, out=p, where=total > 0)
            contexts = np.append(-1, np.where(there, at, -1)[:-1])
        return p[1:]

    def bits(self, tokens: np.ndarray) -> float:
        """Mean bits a token, all but the first."""
        return float(-np.log2(self.probabilities(tokens)).mean())


def _table(keys: np.ndarray, counts: np.ndarray, below: int, size: int) -> Table:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total, freed = (np.bincount(keys // size, values, below) for values in (counts, discount))
    return Table(keys, counts - discount, total, freed)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """d(0) = 0, d(1), d(2), d(3+), from the counts of counts; each frees something, and leaves something."""
    n = [max(int(np.count_nonzero(counts == i)), 1) for i in range(5)]
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0.0] + [min(max(i - (i + 1) * y * n[i + 1] / n[i], 0.1), i - 0.1) for i in (1, 2, 3)])
