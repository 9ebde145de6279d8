"""What a trained classifier does: it tells the class of a sequence. This needs no PyTorch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FolderError
from ...saved import folder
from ...stream import Loaded
from .. import readout
from ..readout import SequenceModel

TASK = "classifier"


@dataclass
class ClassifierModel(SequenceModel):
    """A trained classifier; `classes` are its K classes in order, (K,)."""

    classes: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float64 (n, K)."""
        return self.results(self.inputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each sequence, (n,)."""
        return self.classes[self.predict_proba(X).argmax(1)]

    def score(self, X: Any, y: Any) -> float:
        """The part of the sequences whose class is predicted right."""
        return float((self.predict(X) == np.asarray(y)).mean())

    def result(self, outputs: np.ndarray) -> np.ndarray:
        """softmax(outputs), (..., K)"""
        p = np.exp(outputs - outputs.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)

    def report(self) -> str:
        """The accuracy on what was held out, beside those of the baselines."""
        network, baselines = self.metrics["validation"], self.metrics["baselines"]
        best = max(baselines, key=baselines.__getitem__)
        shown = {name: f"{accuracy:.4f}" for name, accuracy in baselines.items()}
        return readout.compared(
            f"{network['accuracy']:.4f} accuracy on {network['sequences']:,} sequences held out, trained on "
            f"{self.metrics['data']}",
            shown,
            best if baselines[best] > network["accuracy"] else None,
        )


def load(path: str | Path) -> ClassifierModel:
    """Load a classifier, which the compiled core will run.

    Raises:
        FolderError: the folder is not a saved classifier, or is damaged.
    """
    found, network, metrics = readout.read(path, TASK)
    with folder.read_as(path, TASK):
        return model_of(found, network, metrics)


def model_of(found: folder.Saved, network: Loaded, metrics: dict[str, Any]) -> ClassifierModel:
    """The classifier in a folder; raise ValueError or KeyError unless its parts fit together."""
    classes = classes_from(found.config["preprocessing"]["classes"])
    for name, accuracy in metrics["baselines"].items():
        if not isinstance(name, str) or not isinstance(accuracy, float):
            raise FolderError("the baselines have no numbers")
    return ClassifierModel(*readout.parts_of(found, network, len(classes)), network, metrics, classes)


def described(classes: np.ndarray) -> dict[str, Any]:
    """Classes as JSON can hold them."""
    values = classes.astype(str) if classes.dtype.kind in "Mm" else classes
    return {"dtype": classes.dtype.str, "values": values.tolist()}


def classes_from(saved: dict[str, Any]) -> np.ndarray:
    """The inverse of `described`; raise ValueError unless they are different classes in order."""
    dtype, values = np.dtype(saved["dtype"]), saved["values"]
    if dtype.kind not in "biufUMmO" or not isinstance(values, list) or any(isinstance(v, dict | list) for v in values):
        raise FolderError("the classes are no list of numbers or words")
    classes = np.array(values, dtype)
    if len(classes) < 2 or not (classes[1:] > classes[:-1]).all():
        raise FolderError("the classes must be at least two, in order")
    return classes
