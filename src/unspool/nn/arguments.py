"""The arguments of layers: the checks that need torch or warn, and how a layer shows its arguments."""

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from ..arguments import probability


def check_tensors(required: bool = True, **tensors: Any) -> None:
    """Each argument must be a tensor; it can be None unless it is `required`."""
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor) and (required or value is not None):
            raise TypeError(f"{name} must be a tensor; got {type(value).__name__}")


def layer_dropout(dropout: Any, num_layers: int, stacklevel: int) -> float:
    """The argument must be a probability. A warning is given if there are no two layers between which it could act."""
    dropout = probability("dropout", dropout)
    if dropout > 0 and num_layers == 1:
        text = f"dropout must be 0 if num_layers=1, as it acts between layers; got {dropout}, which does nothing"
        warnings.warn(text, stacklevel=stacklevel + 1)
    return dropout


def changed(layer: torch.nn.Module, parameters: Iterable[inspect.Parameter]) -> str:
    """The arguments of a layer as a caller writes them, without those that have their default value."""
    shown = []
    for p in parameters:
        value = getattr(layer, p.name, p.default)
        if p.default is p.empty:
            shown.append(repr(value))
        elif value != p.default:
            shown.append(f"{p.name}={value!r}")
    return ", ".join(shown)
