"""Recurrent networks for sequences: train them, see through time, run them anywhere.

>>> import unspool
>>> model = unspool.LanguageModel(hidden_size=16, epochs=2).fit("to be, or not to be: " * 20)
>>> text = model.generate("to be", length=20, random_state=1)

Nothing that needs PyTorch is imported before it is used.
"""

from typing import TYPE_CHECKING

from .errors import DataError as DataError
from .errors import DivergedError as DivergedError
from .errors import FolderError as FolderError
from .errors import UnspoolError as UnspoolError
from .lazy import attributes

if TYPE_CHECKING:
    from . import chain as chain
    from . import data as data
    from . import nn as nn
    from . import ops as ops
    from .stream import Stream as Stream
    from .stream import load as load
    from .tasks.classifier.estimator import Classifier as Classifier
    from .tasks.estimator import Training as Training
    from .tasks.forecaster.estimator import Forecaster as Forecaster
    from .tasks.language_model.estimator import LanguageModel as LanguageModel
    from .tasks.regressor.estimator import Regressor as Regressor
    from .tasks.tagger.estimator import Tagger as Tagger

__getattr__, _names = attributes(
    __name__,
    {
        **dict.fromkeys(("chain", "data", "nn", "ops", "train"), ""),
        "Classifier": "tasks.classifier.estimator",
        "Forecaster": "tasks.forecaster.estimator",
        "LanguageModel": "tasks.language_model.estimator",
        "Regressor": "tasks.regressor.estimator",
        "Stream": "stream",
        "Tagger": "tasks.tagger.estimator",
        "Training": "tasks.estimator",
        "load": "stream",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})
