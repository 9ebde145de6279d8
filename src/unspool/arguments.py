"""Checks of arguments: each complaint has the name, what was expected, and what came."""

import math
from typing import Any

import numpy as np

from .errors import UnspoolError


def one_of(name: str, value: Any, values: tuple[str, ...]) -> None:
    """It must be one of these."""
    if value not in values:
        raise UnspoolError(f"{name} must be one of {', '.join(values)}; got {value!r:.80}")


def integer(name: str, value: Any, least: int, most: int = 2**63) -> int:
    """It must be an integer, from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        bounds = f"of at least {least}" if most == 2**63 else f"from {least} to {most}"
        raise UnspoolError(f"{name} must be an integer {bounds}; got {value!r:.80}")
    return int(value)


def number(name: str, value: Any, *, least: float = 0.0, above: bool = False, below: float = math.inf) -> float:
    """It must be a number, at least `least`, or `above` it, and less than `below`."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not least <= value < below or (above and value == least):
        bound = "" if below == math.inf else f" and less than {below:g}"
        raise UnspoolError(
            f"{name} must be a number {'more than' if above else 'of at least'} {least:g}{bound}; got {value!r:.80}"
        )
    return float(value)
