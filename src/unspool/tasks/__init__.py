"""Tasks: one estimator each. Each task has a folder with the files estimator, saved and baseline, and an entry here."""

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


class Task(NamedTuple):
    """A task, and where its parts are, which are imported when they are needed.

    folder: the folder in `unspool.tasks`, which is also the task's name in a saved folder.
    estimator: the class in the folder's `estimator`.
    options: the class of its options, in `tasks.options`.
    data: the class that reads a file, in `tasks.files`, or of texts and series in the task's folder.
    sentence: the description of the task on the command line.
    """

    folder: str
    estimator: str
    options: str
    data: str
    sentence: str

    def module(self, name: str) -> ModuleType:
        """A module of the task's folder."""
        return import_module(f"{__name__}.{self.folder}.{name}")

    def part(self, name: str) -> Any:
        """One of the classes that `estimator`, `options` and `data` name."""
        data = {"TextFile": ".language_model.saved", "SeriesFile": ".forecaster.file"}.get(self.data, ".files")
        modules = {"estimator": f".{self.folder}.estimator", "options": ".options", "data": data}
        return getattr(import_module(modules[name], __name__), getattr(self, name))


# The tasks by the word after `unspool fit`.
TASKS = {
    "text": Task(
        "language_model",
        "LanguageModel",
        "LanguageModelOptions",
        "TextFile",
        "Train a language model on a text, beside a 5-gram.",
    ),
    "labels": Task(
        "classifier",
        "Classifier",
        "ClassifierOptions",
        "LabelsFile",
        "Train a classifier of sequences, beside simple baselines.",
    ),
    "numbers": Task(
        "regressor",
        "Regressor",
        "RegressorOptions",
        "NumbersFile",
        "Train a network that tells a number of a sequence, or of each step.",
    ),
    "series": Task(
        "forecaster",
        "Forecaster",
        "ForecasterOptions",
        "SeriesFile",
        "Train a forecaster of series, beside naive forecasts.",
    ),
    "tags": Task(
        "tagger",
        "Tagger",
        "TaggerOptions",
        "TagsFile",
        "Train a tagger, which tells the tag of each word or step.",
    ),
}
