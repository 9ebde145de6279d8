"""The baselines of regressors: the mean, the last value, and ridge regression without the order of the steps."""

import numpy as np

from ...data.ragged import Ragged
from ..summary import evenly, scaled, summaries

ROWS = 20_000  # the most sequences that ridge regression is trained on


def predictions(inputs: Ragged, y: np.ndarray, held_out: Ragged, tokens: int) -> dict[str, np.ndarray]:
    """What each baseline predicts of the sequences held out, (n, O), by name.

    Args:
        inputs, y: the sequences to train on, as a network reads them, and their targets, (n, O).
        held_out: the sequences held out.
        tokens: the size of the vocabulary; 0 for numbers.
    """
    from sklearn.linear_model import Ridge

    rows, part = evenly(len(inputs), ROWS)
    ridge = scaled(Ridge(solver="lsqr" if tokens else "auto"), tokens)
    found = {"the mean": np.broadcast_to(y.mean(0), (len(held_out), y.shape[1]))}
    if not tokens and inputs.values.shape[1] == y.shape[1]:
        found["the last value"] = held_out.values[held_out.offsets[1:] - 1].astype(np.float64)
    predicted = ridge.fit(summaries(inputs.take(rows), tokens), y[rows]).predict(summaries(held_out, tokens))
    name = f"ridge regression on {'counts of tokens' if tokens else 'means, deviations and the like'}{part}"
    return found | {name: predicted.reshape(len(held_out), -1)}
