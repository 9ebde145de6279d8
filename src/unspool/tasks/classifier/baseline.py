"""The baselines of classifiers: the commonest class, the nearest neighbour, and logistic regression without order."""

import warnings
from functools import partial

import numpy as np

from ...data.ragged import Ragged
from ..summary import evenly, scaled, summaries

# The most sequences that a baseline is trained on, and the most classes that logistic regression is tried for.
NEIGHBOURS, ROWS, CLASSES = 2_000, 20_000, 1_000


def accuracies(
    inputs: Ragged, codes: np.ndarray, held_out: Ragged, wanted: np.ndarray, tokens: int
) -> dict[str, float]:
    """The accuracy of each baseline on the sequences held out, by name, which says where it was trained on a part.

    Args:
        inputs, codes: the sequences to train on, as a network reads them, and the number of the class of each.
        held_out, wanted: the same of those held out.
        tokens: the size of the vocabulary; 0 for numbers.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    lengths = np.concatenate([inputs.lengths, held_out.lengths])
    equal = not tokens and (lengths == lengths[0]).all()
    what = "counts of tokens" if tokens else "means, deviations and the like"
    whole = "all values" if equal else what

    found = {"commonest class": float((wanted == np.bincount(codes).argmax()).mean())}
    rows, part = evenly(len(inputs), NEIGHBOURS)
    seen = _flat if equal else partial(summaries, tokens=tokens)
    x, scale = seen(inputs.take(rows)), StandardScaler(with_mean=not tokens, with_std=not tokens)
    known = NearestNeighbors(n_neighbors=1).fit(scale.fit_transform(x))
    found_at = [known.kneighbors(scale.transform(seen(part)), return_distance=False) for part in held_out.parts()]
    nearest = np.concatenate(found_at)[:, 0]
    found[f"1-nearest neighbour by {whole}{part}"] = float((codes[rows][nearest] == wanted).mean())
    rows, part = evenly(len(inputs), ROWS)
    if 2 <= len(np.unique(codes[rows])) <= CLASSES:
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            logistic = scaled(LogisticRegression(max_iter=1000), tokens)
            logistic.fit(summaries(inputs.take(rows), tokens), codes[rows])
        predicted = logistic.predict(summaries(held_out, tokens))
        found[f"logistic regression on {what}{part}"] = float((predicted == wanted).mean())
    return found


def _flat(inputs: Ragged) -> np.ndarray:
    """Sequences of one length as rows."""
    return inputs.values.reshape(len(inputs), -1)
