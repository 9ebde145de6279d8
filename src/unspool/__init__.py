"""Recurrent networks for sequences: train them, see through time, run them anywhere.

>>> import unspool
>>> model = unspool.LanguageModel(hidden_size=16, epochs=2).fit("to be, or not to be: " * 20)
>>> text = model.generate("to be", length=20, seed=1)

Nothing that needs PyTorch is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import DataError as DataError
from .errors import DivergedError as DivergedError
from .errors import FolderError as FolderError
from .errors import UnspoolError as UnspoolError

if TYPE_CHECKING:
    from . import nn as nn
    from . import ops as ops
    from .stream import Stream as Stream
    from .stream import load as load
    from .tasks.language_model import LanguageModel as LanguageModel

_MODULES = ("nn", "ops")
_NAMES = {"LanguageModel": "tasks.language_model", "Stream": "stream", "load": "stream"}


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_NAMES])
