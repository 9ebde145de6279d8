"""What a trained regressor does: it tells a number, or several, of a sequence or a step. This needs no PyTorch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...data.given import Given
from ...data.ragged import Ragged, ends
from ...errors import DataError, FolderError
from ...saved import folder
from ...stream import Loaded
from .. import readout
from ..readout import SequenceModel, as_objects, by_step

TASK = "regressor"


@dataclass
class RegressorModel(SequenceModel):
    """A trained regressor.

    mean, std: of the targets that it was trained on, (O,), with which the network's outputs are scaled back.
    flat: whether the targets were (n,) rather than (n, O), or (T,) rather than (T, O).
    """

    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    std: np.ndarray = field(default_factory=lambda: np.zeros(0))
    flat: bool = True

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each sequence, float64, (n,) or (n, O) as the targets of `fit` were.

        Of a network that gives a value at each step it is an array of n arrays, (T,) or (T, O).
        """
        inputs = self.inputs(X)
        out = self.results(inputs)
        out = out[:, 0] if self.flat else out
        return as_objects(list(Ragged(out, inputs.offsets))) if self.readout.per_step else out

    def score(self, X: Any, y: Any) -> float:
        """R², 1 - Σ (y - prediction)² / Σ (y - mean(y))², over all sequences, or all steps; the mean over O outputs."""
        given = self.encoder.given(X)
        values = steps_of(y, given).values if self.readout.per_step else np.asarray(y, np.float64)
        return r2(values.reshape(-1, len(self.mean)), self.results(self.encoder.encode(given)))

    def result(self, outputs: np.ndarray) -> np.ndarray:
        """mean + std · outputs, (..., O)"""
        return self.mean + self.std * outputs

    def report(self) -> str:
        """The error on what was held out, beside those of the baselines."""
        network, baselines = self.metrics["validation"], self.metrics["baselines"]
        best = min(baselines, key=lambda name: baselines[name]["rmse"])
        shown = {name: f"{errors['rmse']:.4g}, R² {errors['r2']:.4f}" for name, errors in baselines.items()}
        steps = f"{network['steps']:,} steps of " if "steps" in network else ""
        return readout.compared(
            f"{network['rmse']:.4g} root mean squared error, R² {network['r2']:.4f}, on {steps}"
            f"{network['sequences']:,} sequences held out, trained on {self.metrics['data']}",
            shown,
            best if baselines[best]["rmse"] < network["rmse"] else None,
        )


def load(path: str | Path) -> RegressorModel:
    """Load a regressor, which the compiled core will run.

    Raises:
        FolderError: the folder is not a saved regressor, or is damaged.
    """
    found, network, metrics = readout.read(path, TASK)
    with folder.read_as(path, TASK):
        return model_of(found, network, metrics)


def model_of(found: folder.Saved, network: Loaded, metrics: dict[str, Any]) -> RegressorModel:
    """The regressor in a folder; raise ValueError or KeyError unless its parts fit together."""
    targets = found.config["preprocessing"]["targets"]
    mean, std = (np.array(targets[name], np.float64) for name in ("mean", "std"))
    if mean.ndim != 1 or mean.shape != std.shape or not np.isfinite([mean, std]).all() or not (std > 0).all():
        raise FolderError("the targets must have means and deviations, finite numbers")
    if not np.isfinite([float(e[name]) for e in metrics["baselines"].values() for name in ("rmse", "r2")]).all():
        raise FolderError("the baselines must have errors, finite numbers")
    parts = readout.parts_of(found, network, len(mean))
    return RegressorModel(*parts, network, metrics, mean, std, bool(targets["flat"]))


def steps_of(y: Any, given: Given) -> Ragged:
    """The targets of each step of sequences, float64 (N,) or (N, O); raise DataError unless y has them."""
    rows = by_step(y)
    if given.values is None:
        raise DataError("X must have numbers or lists of tokens for a value a step; cut each text, as by text.split()")
    if rows is None or len(rows) != len(given):
        raise DataError(f"y must have values for the steps of each of {len(given)} sequences")
    arrays = [_numbers(row, i) for i, row in enumerate(rows)]
    for i, (array, T) in enumerate(zip(arrays, given.values.lengths, strict=True)):
        if len(array) != T:
            raise DataError(
                f"y must have a value for each step; got {len(array)} for the {T} of sequence {i}: a value a sequence "
                f"goes as an array (n,) or (n, O)"
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(f"y must have arrays (T,) or (T, O) that differ in T alone; got others in sequence {i}")
        if not np.isfinite(array).all():
            raise DataError(f"y must have finite numbers; got NaN or infinity in sequence {i}")
    return Ragged(np.concatenate(arrays), ends(given.values.lengths))


def _numbers(row: Any, i: int) -> np.ndarray:
    try:
        array = np.asarray(row, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"y must have real numbers; got what is no number in sequence {i}") from None
    if array.ndim not in (1, 2) or not array.size:
        raise DataError(f"y must have arrays (T,) or (T, O); got one of shape {array.shape} for sequence {i}")
    return array


def errors(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The root mean squared error over all (n, O), and R²."""
    return {"rmse": float(np.sqrt(np.mean((y - predicted) ** 2))), "r2": r2(y, predicted)}


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """R², the mean over the outputs, of (n, O); of targets that are all alike it is 1 if they are met, and else 0."""
    left = ((y - predicted) ** 2).sum(0)
    all_ = ((y - y.mean(0)) ** 2).sum(0)
    alike = np.where(left == 0, 1.0, 0.0)
    return float(np.where(all_ > 0, 1 - left / np.where(all_ > 0, all_, 1), alike).mean())
