"""Checks of arguments. Each complaint has the name of the argument, what was expected, and what came.

A value of a wrong type raises `ArgumentTypeError`, any other wrong value `UnspoolError`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .errors import ArgumentTypeError, UnspoolError

V = TypeVar("V")


def one_of(name: str, value: Any, values: tuple[str, ...]) -> None:
    """The argument must be one of these values."""
    if value not in values:
        raise UnspoolError(f"{name} must be one of {', '.join(values)}; got {value!r:.80}")


def look_up(name: str, value: Any, table: Mapping[str, V]) -> V:
    """The entry of the table by the argument, which must be one of the table's names."""
    one_of(name, value, tuple(table))
    return table[value]


def integer(name: str, value: Any, least: int, most: int = 2**63) -> int:
    """The argument must be an integer of Python or NumPy, from `least` to `most`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        bounds = f"of at least {least}" if most == 2**63 else f"from {least} to {most}"
        error = UnspoolError if whole else ArgumentTypeError
        raise error(f"{name} must be an integer {bounds}; got {value!r:.80}")
    return int(value)


def integers(name: str, value: Any, num_layers: int, least: int, most: int = 2**63) -> tuple[int, ...]:
    """The argument must be an integer, which then stands for all layers, or a sequence with one for each layer."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * num_layers
    if len(values) != num_layers:
        raise UnspoolError(f"{name} must be an integer, or one for each of the {num_layers=}; got {value!r:.80}")
    return tuple(integer(name, v, least, most) for v in values)


def flag(name: str, value: Any) -> bool:
    """The argument must be a bool of Python or NumPy."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"{name} must be a bool; got {value!r:.80}")
    return bool(value)


def number(name: str, value: Any, *, least: float = 0.0, above: bool = False, below: float = math.inf) -> float:
    """The argument must be a number of at least `least`, or if `above` more than that, and less than `below`."""
    if not _real(value) or not least <= value < below or (above and value == least):
        bound = "" if below == math.inf else f" and less than {below:g}"
        raise UnspoolError(
            f"{name} must be a number {'more than' if above else 'of at least'} {least:g}{bound}; got {value!r:.80}"
        )
    return float(value)


def probability(name: str, value: Any, *, below: bool = False) -> float:
    """The argument must be the probability that an element is zeroed: from 0 to 1, or if `below` less than 1."""
    if not _real(value) or not 0 <= value <= 1 or (below and value == 1):
        interval = "[0, 1)" if below else "[0, 1]"
        raise UnspoolError(f"{name} must be a probability in {interval}, of being zeroed; got {value!r:.80}")
    return float(value)


def _real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
