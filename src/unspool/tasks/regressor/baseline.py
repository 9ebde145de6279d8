"""The baselines of regressors: the mean, the last value, and ridge regression without the order of the steps."""

import numpy as np

from ...data.ragged import Ragged
from ..summary import scaled, summaries


def predictions(inputs: Ragged, y: np.ndarray, held_out: Ragged, tokens: int) -> dict[str, np.ndarray]:
    """What each baseline predicts of the sequences held out, (n, O), by name.

    Args:
        inputs, y: the sequences to train on, as a network reads them, and their targets, (n, O).
        held_out: the sequences held out.
        tokens: the size of the vocabulary; 0 for numbers.
    """
    from sklearn.linear_model import Ridge

    ridge = scaled(Ridge(solver="lsqr" if tokens else "auto"), tokens)
    found = {"the mean": np.broadcast_to(y.mean(0), (len(held_out), y.shape[1]))}
    if not tokens and inputs.values.shape[1] == y.shape[1]:
        found["the last value"] = held_out.values[held_out.offsets[1:] - 1].astype(np.float64)
    predicted = ridge.fit(summaries(inputs, tokens), y).predict(summaries(held_out, tokens))
    name = f"ridge regression on {'counts of tokens' if tokens else 'means, deviations and the like'}"
    return found | {name: predicted.reshape(len(held_out), -1)}
