"""What the baselines of sequences see: a row of numbers for each sequence, without the order of its steps."""

from typing import Any

import numpy as np

from ..data.ragged import Ragged


def summaries(inputs: Ragged, tokens: int) -> Any:
    """For numbers the mean, deviation, minimum, maximum, first and last value of each feature, and the length.

    For tokens how often each occurs, log(1 + count), in a sparse matrix.

    Args:
        inputs: what a network reads, (N, I) or tokens (N,).
        tokens: the size of the vocabulary; 0 for numbers.
    """
    if tokens:
        from scipy.sparse import csr_matrix

        rows = np.repeat(np.arange(len(inputs)), inputs.lengths)
        counts = csr_matrix((np.ones(len(rows)), (rows, inputs.values)), (len(inputs), tokens))
        counts.data = np.log1p(counts.data)
        return counts
    return np.vstack([_summaries(part) for part in inputs.parts()])


def _summaries(inputs: Ragged) -> np.ndarray:
    begins, lengths, x = inputs.offsets[:-1], inputs.lengths, inputs.values.astype(np.float64)
    mean = np.add.reduceat(x, begins) / lengths[:, None]
    square = np.add.reduceat((x - np.repeat(mean, lengths, 0)) ** 2, begins) / lengths[:, None]
    least, most = np.minimum.reduceat(x, begins), np.maximum.reduceat(x, begins)
    return np.hstack([mean, np.sqrt(square), least, most, x[begins], x[begins + lengths - 1], lengths[:, None]])


def evenly(n: int, most: int, what: str = "sequences") -> tuple[np.ndarray, str]:
    """At most so many of n sequences, from first to last at equal distances, and how a baseline's name says so."""
    if n <= most:
        return np.arange(n), ""
    return np.arange(most) * n // most, f", of {most:,} {what}"


def scaled(model: Any, tokens: int) -> Any:
    """A model of scikit-learn, which sees numbers standardised and tokens as they are counted."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return model if tokens else make_pipeline(StandardScaler(), model)
