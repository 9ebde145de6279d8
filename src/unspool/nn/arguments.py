"""Constructor arguments of the layers: their checks, and their repr."""

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

import torch


def check_sizes(**sizes: Any) -> None:
    """Each must be a positive int."""
    for name, size in sizes.items():
        if not isinstance(size, int):
            raise TypeError(f"{name} must be an int; got {size!r}")
        if size <= 0:
            raise ValueError(f"{name} must be positive; got {size}")


def check_flags(**flags: Any) -> None:
    """Each must be a bool."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be a bool; got {flag!r}")


def check_tensors(required: bool = True, **tensors: Any) -> None:
    """Each must be a tensor, or None unless `required`."""
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor) and (required or value is not None):
            raise TypeError(f"{name} must be a tensor; got {type(value).__name__}")


def check_probability(name: str, value: Any, below: bool = False) -> None:
    """It must be a number from 0 to 1, or `below` 1."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (below and value == 1):
        interval = "[0, 1)" if below else "[0, 1]"
        raise ValueError(f"{name} must be a probability in {interval}, of being zeroed; got {value!r}")


def check_dropout(dropout: Any, num_layers: int, stacklevel: int) -> None:
    """A probability; warns where there are no two layers that it could act between."""
    check_probability("dropout", dropout)
    if dropout > 0 and num_layers == 1:
        text = f"dropout must be 0 if num_layers=1, as it acts between layers; got {dropout}, which does nothing"
        warnings.warn(text, stacklevel=stacklevel + 1)


def changed(layer: torch.nn.Module, parameters: Iterable[inspect.Parameter]) -> str:
    """The arguments as they would be written: those with their default value left out."""
    shown = []
    for p in parameters:
        value = getattr(layer, p.name, p.default)
        if p.default is p.empty:
            shown.append(repr(value))
        elif value != p.default:
            shown.append(f"{p.name}={value!r}")
    return ", ".join(shown)
