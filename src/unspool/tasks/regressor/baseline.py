"""The baselines of regressors: the mean, the last value, and ridge regression, which knows no order of steps."""

from typing import Any

import numpy as np

from ...data.ragged import Ragged
from ..summary import evenly, scaled, summaries

ROWS, STEPS = 20_000, 200_000  # the most sequences, or steps, that ridge regression is trained on


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


def of_steps(x: np.ndarray, y: np.ndarray, held_out: np.ndarray, tokens: int) -> dict[str, np.ndarray]:
    """What baselines without a memory predict of each step held out from its inputs alone, (N, O), by name.

    Args:
        x, y: the inputs of all steps to train on, (N, I) or tokens (N,), and their targets, (N, O).
        held_out: the inputs of the steps held out.
        tokens: the size of the vocabulary; 0 for numbers.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import Ridge

    def seen(some: np.ndarray) -> Any:
        if not tokens:
            return some.astype(np.float64)
        return csr_matrix((np.ones(len(some)), (np.arange(len(some)), some)), (len(some), tokens))

    found = {"the mean": np.broadcast_to(y.mean(0), (len(held_out), y.shape[1]))}
    if not tokens and x.shape[1] == y.shape[1]:
        found["the present value"] = held_out.astype(np.float64)
    rows, part = evenly(len(x), STEPS, "steps")
    ridge = scaled(Ridge(solver="lsqr" if tokens else "auto"), tokens).fit(seen(x[rows]), y[rows])
    predicted = ridge.predict(seen(held_out)).reshape(len(held_out), -1)
    name = f"ridge regression on the {'token' if tokens else 'inputs'} of each step alone{part}"
    return found | {name: predicted}
