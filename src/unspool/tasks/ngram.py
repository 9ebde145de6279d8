"""The baseline of language models: an interpolated n-gram with modified Kneser–Ney smoothing."""

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """The n-grams of one length; an n-gram is one integer, its tokens the digits, the latest the lowest.

    keys: the n-grams that occur, ascending; `mass` of each: its count less the discount.
    contexts: their first n-1 tokens, ascending; of each `total`, the sum of the counts, and `freed`, of the discounts.
    """

    keys: np.ndarray
    mass: np.ndarray
    contexts: np.ndarray
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
        order: n; less where size ** n does not fit 63 bits, as with thousands of words, or the text is shorter.
    """

    def __init__(self, tokens: np.ndarray, size: int, order: int = 5):
        order = min(order, len(tokens))
        while order > 1 and size**order >= 2**63:
            order -= 1
        self.size, self.order = size, order
        self.tables: list[Table] = []
        keys, counts = np.unique(_grams(tokens, order, size), return_counts=True)
        for n in range(order, 0, -1):
            self.tables.insert(0, _table(keys, counts, size))
            keys, counts = np.unique(keys % size ** (n - 1), return_counts=True)

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Of each token but the first given those before it, (N-1,), N ≥ 2."""
        p = np.full(len(tokens) - 1, 1 / self.size)
        for n, table in enumerate(self.tables, start=1):
            grams = _grams(tokens, n, self.size)[-len(p) :]
            of_these = p[len(p) - len(grams) :]
            total, freed = _find(table.contexts, grams // self.size, table.total, table.freed)
            (mass,) = _find(table.keys, grams, table.mass)
            np.divide(mass + freed * of_these, total, out=of_these, where=total > 0)
        return p

    def bits(self, tokens: np.ndarray) -> float:
        """Mean bits a token, all but the first."""
        return float(-np.log2(self.probabilities(tokens)).mean())


def _grams(tokens: np.ndarray, n: int, size: int) -> np.ndarray:
    """The n-gram that ends at each of the tokens n-1, n, …"""
    N = max(0, len(tokens) - n + 1)
    keys = np.zeros(N, np.int64)
    for i in range(n):
        keys *= size
        keys += tokens[i : i + N]
    return keys


def _table(keys: np.ndarray, counts: np.ndarray, size: int) -> Table:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(keys // size, return_index=True)
    total, freed = (np.add.reduceat(values, first) if len(first) else values for values in (counts, discount))
    return Table(keys, counts - discount, contexts, total, freed)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """d(0) = 0, d(1), d(2), d(3+), from the counts of counts; each frees something, and leaves something."""
    n = [max(int(np.count_nonzero(counts == i)), 1) for i in range(5)]
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0.0] + [min(max(i - (i + 1) * y * n[i + 1] / n[i], 0.1), i - 0.1) for i in (1, 2, 3)])


def _find(keys: np.ndarray, wanted: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """The values at the wanted keys, 0 where a key is not there."""
    if not len(keys):
        return [np.zeros(len(wanted)) for _ in values]
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = keys[at] == wanted
    return [np.where(found, v[at], 0.0) for v in values]
