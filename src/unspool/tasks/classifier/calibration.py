"""Whether probabilities are what they say: of all that is predicted with 0.8, eight in ten should be right."""

from typing import Any

import numpy as np


def calibration(p: np.ndarray, y: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """How well the probabilities of classes agree with what is true.

        loss  = mean(-log p[y])
        brier = mean(Σ_k (p[k] - [k = y])²)
        calibration_error = Σ_bins (count/n) |accuracy - confidence|

    The confidence is the probability of the likeliest class; the bins are of equal width (Guo et al. 2017).

    Args:
        p: (n, K), each row a distribution.
        y: the numbers of the true classes, (n,).
        bins: of the confidence, from 0 to 1.
    Returns:
        The three figures, and `reliability`: the count, the confidence and the accuracy of each bin that has any, by
        name.
    """
    right = p[np.arange(len(p)), y]
    confidence, correct = p.max(1), p.argmax(1) == y
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    table = {}
    for k in np.unique(which):
        of = which == k
        figures = {"confidence": float(confidence[of].mean()), "accuracy": float(correct[of].mean())}
        table[f"{k / bins:g} to {(k + 1) / bins:g}"] = {"count": int(of.sum()), **figures}
    gaps = [row["count"] * abs(row["accuracy"] - row["confidence"]) for row in table.values()]
    return {
        "loss": float(-np.log(np.maximum(right, np.finfo(float).tiny)).mean()),
        "brier": float((np.einsum("nk,nk->n", p, p) - 2 * right + 1).mean()),
        "calibration_error": sum(gaps) / len(p),
        "reliability": table,
    }
