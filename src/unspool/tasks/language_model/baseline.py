"""The baseline of language models: an interpolated n-gram with modified Kneser–Ney smoothing."""

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """The n-grams of one length, numbered in the order of their keys.

    keys: for each n-gram, (the number of its first n-1 tokens in the table of the next shorter n-grams) · size + (its
        last token), ascending.
    mass: for each n-gram, its count minus the discount.
    total, freed: for each number of n-1 tokens, the sum of the counts, and of the discounts.
    """

    keys: np.ndarray
    mass: np.ndarray
    total: np.ndarray
    freed: np.ndarray


class NGram:
    """Interpolated n-gram, modified Kneser–Ney (Chen & Goodman 1998, section 3).

        p(w | u) = (c(uw) - d(c(uw)) + Σ_v d(c(uv)) · p(w | u')) / Σ_v c(uv)

    u' is u without its first token; below the shortest n-grams is the uniform distribution. c is the number of
    occurrences for the longest n-grams, and for a shorter one the number of different tokens seen before it. d has
    three values, for the counts 1, 2, and 3 or more.

    Args:
        tokens: the training text, integers 0..size-1, (N,).
        size: the size of the vocabulary.
        order: n; less if the text is shorter.
    """

    def __init__(self, tokens: np.ndarray, size: int, order: int = 5):
        self.size, self.order = size, min(order, len(tokens))
        numbers = np.zeros(len(tokens) + 1, np.int64)  # of the (n-1)-gram that ends before each token, and of the last
        below = 1  # the number of different (n-1)-grams
        found = []
        for n in range(1, self.order + 1):
            grams = numbers[:-1] * size + tokens[n - 1 :]
            keys, first, inverse, counts = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
            found.append((keys, counts, below))
            if n > 1:  # the count of each (n-1)-gram: the different n-grams that end with it
                shorter, _, fewer = found[n - 2]
                found[n - 2] = shorter, np.bincount(numbers[1:][first], minlength=len(shorter)), fewer
            numbers, below = inverse, len(keys)
        self.tables = [_table(keys, counts, below, size) for keys, counts, below in found]

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """The probability of each token but the first, given those before it, (N-1,), N ≥ 2."""
        p = np.full(len(tokens), 1 / self.size)
        contexts = np.zeros(len(tokens), np.int64)  # the number of the (n-1)-gram before each token; -1: unknown
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
        """The mean bits per token, for all tokens but the first."""
        return float(-np.log2(self.probabilities(tokens)).mean())


def _table(keys: np.ndarray, counts: np.ndarray, below: int, size: int) -> Table:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total, freed = (np.bincount(keys // size, values, below) for values in (counts, discount))
    return Table(keys, counts - discount, total, freed)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """d(0) = 0, d(1), d(2), d(3+), from the counts of counts. Each but d(0) is more than 0 and less than its count."""
    n = [max(int(np.count_nonzero(counts == i)), 1) for i in range(5)]
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0.0] + [min(max(i - (i + 1) * y * n[i + 1] / n[i], 0.1), i - 0.1) for i in (1, 2, 3)])
