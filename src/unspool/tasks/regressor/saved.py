"""What a trained regressor does: it tells a number, or several, of a sequence. This needs no PyTorch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FolderError
from ...saved import folder
from ...stream import Loaded
from .. import readout
from ..readout import SequenceModel

TASK = "regressor"


@dataclass
class RegressorModel(SequenceModel):
    """A trained regressor.

    mean, std: of the targets that it was trained on, (O,), with which the network's outputs are scaled back.
    flat: whether the targets were (n,) rather than (n, O).
    """

    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    std: np.ndarray = field(default_factory=lambda: np.zeros(0))
    flat: bool = True

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each sequence, float64, (n,) or (n, O) as the targets of `fit` were."""
        out = self.results(self.inputs(X))
        return out[:, 0] if self.flat else out

    def score(self, X: Any, y: Any) -> float:
        """R², 1 - Σ (y - prediction)² / Σ (y - mean(y))², the mean over the O outputs."""
        return r2(np.asarray(y, np.float64).reshape(-1, len(self.mean)), self.predict(X).reshape(-1, len(self.mean)))

    def result(self, outputs: np.ndarray) -> np.ndarray:
        """mean + std · outputs, (..., O)"""
        return self.mean + self.std * outputs

    def report(self) -> str:
        """The error on what was held out, beside those of the baselines."""
        network, baselines = self.metrics["validation"], self.metrics["baselines"]
        best = min(baselines, key=lambda name: baselines[name]["rmse"])
        shown = {name: f"{errors['rmse']:.4g}, R² {errors['r2']:.4f}" for name, errors in baselines.items()}
        return readout.compared(
            f"{network['rmse']:.4g} root mean squared error, R² {network['r2']:.4f}, on {network['sequences']:,} "
            f"sequences held out, trained on {self.metrics['data']}",
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


def errors(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The root mean squared error over all (n, O), and R²."""
    return {"rmse": float(np.sqrt(np.mean((y - predicted) ** 2))), "r2": r2(y, predicted)}


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """R², the mean over the outputs, of (n, O); of targets that are all alike it is 1 if they are met, and else 0."""
    left = ((y - predicted) ** 2).sum(0)
    all_ = ((y - y.mean(0)) ** 2).sum(0)
    alike = np.where(left == 0, 1.0, 0.0)
    return float(np.where(all_ > 0, 1 - left / np.where(all_ > 0, all_, 1), alike).mean())
