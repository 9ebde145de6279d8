"""Tasks: estimators. Each has a folder of three files (estimator, saved, baseline), and a row here."""

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


class Task(NamedTuple):
    """A task and where its parts are; they are imported when they are needed.

    folder: of `unspool.tasks`, and the task's name in a saved folder.
    estimator: the class in the folder's `estimator`.
    options: its options, in `tasks.options`.
    data: what a file is read with, in the folder's `saved`.
    sentence: what the command line says of it.
    """

    folder: str
    estimator: str
    options: str
    data: str
    sentence: str

    def module(self, name: str) -> ModuleType:
        """A file of its folder."""
        return import_module(f"{__name__}.{self.folder}.{name}")

    def part(self, name: str) -> Any:
        """One of the classes that `estimator`, `options` and `data` name."""
        modules = {"estimator": f".{self.folder}.estimator", "options": ".options", "data": f".{self.folder}.saved"}
        return getattr(import_module(modules[name], __name__), getattr(self, name))


# By the word after `unspool fit`.
TASKS = {
    "text": Task(
        "language_model",
        "LanguageModel",
        "LanguageModelOptions",
        "TextFile",
        "Train a language model on a text, beside a 5-gram.",
    ),
}
