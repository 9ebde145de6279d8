"""Drawing a token, given the logits of all tokens."""

from random import Random

import numpy as np

from ..arguments import integer, number


def check(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise UnspoolError unless `sample` can use these arguments."""
    number("temperature", temperature)
    if top_k is not None:
        integer("top_k", top_k, 1)
    if top_p is not None:
        number("top_p", top_p, above=True, below=1 + 1e-9)


def sample(
    logits: np.ndarray,
    rng: Random,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """Draw a token from softmax(logits / temperature).

    Args:
        logits: (O,); -inf for a token that must not be drawn.
        rng: the source of random numbers.
        temperature: 0 for the likeliest token.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the fewest of the likeliest tokens whose probabilities together reach p (Holtzman et al. 2020).
    """
    if temperature == 0:
        return int(logits.argmax())
    if top_k is None and top_p is None:
        p = _weights(logits.astype(np.float64) - logits.max(), temperature)
        return _draw(p.cumsum(), rng)
    order = np.argsort(-logits, kind="stable")[:top_k]
    ranked = logits[order].astype(np.float64)
    p = _weights(ranked - ranked[0], temperature)
    upto = np.cumsum(p / p.sum())
    if top_p is not None:
        upto = upto[: np.searchsorted(upto, top_p) + 1]
    return int(order[_draw(upto, rng)])


def _weights(relative: np.ndarray, temperature: float) -> np.ndarray:
    """exp(relative / temperature), where `relative` are the logits minus the largest of them."""
    with np.errstate(over="ignore"):  # a temperature near 0
        return np.exp(relative / temperature)


def _draw(upto: np.ndarray, rng: Random) -> int:
    """Draw a number, never one of probability 0; `upto` is a multiple of the cumulative sum of the probabilities."""
    return min(int(upto.searchsorted(rng.random() * upto[-1], side="right")), len(upto) - 1)
