"""The baselines of classifiers: the commonest class, and logistic regression without the order of the steps."""

import warnings

import numpy as np

from ...data.ragged import Ragged
from ..summary import scaled, summaries


def accuracies(
    inputs: Ragged, codes: np.ndarray, held_out: Ragged, wanted: np.ndarray, tokens: int
) -> dict[str, float]:
    """The accuracy of each baseline on the sequences held out, by name.

    Args:
        inputs, codes: the sequences to train on, as a network reads them, and the number of the class of each.
        held_out, wanted: the same of those held out.
        tokens: the size of the vocabulary; 0 for numbers.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    commonest = np.bincount(codes).argmax()
    logistic = scaled(LogisticRegression(max_iter=1000), tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = logistic.fit(summaries(inputs, tokens), codes).predict(summaries(held_out, tokens))
    name = f"logistic regression on {'counts of tokens' if tokens else 'means, deviations and the like'}"
    return {
        "commonest class": float((wanted == commonest).mean()),
        name: float((predicted == wanted).mean()),
    }
