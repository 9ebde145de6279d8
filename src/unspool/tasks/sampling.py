"""Drawing a token from the logits of all."""

from random import Random

import numpy as np

from ..arguments import integer, number


def check(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise UnspoolError unless `sample` can use them."""
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
        logits: (O,); -inf for a token that must not come.
        temperature: 0 for the likeliest token.
        top_k: draw from the k likeliest only.
        top_p: draw from the fewest of the likeliest whose probabilities reach p together (Holtzman et al. 2020).
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


def _weights(behind: np.ndarray, temperature: float) -> np.ndarray:
    """exp of what each logit is behind the largest, which 0 is, by the temperature."""
    with np.errstate(over="ignore"):  # a temperature near 0
        return np.exp(behind / temperature)


def _draw(upto: np.ndarray, rng: Random) -> int:
    """A number with the probabilities whose sums these are, times a constant; never one of probability 0."""
    return min(int(upto.searchsorted(rng.random() * upto[-1], side="right")), len(upto) - 1)
