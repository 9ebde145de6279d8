"""Regressors: a number, or several, of a sequence."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import Tags, check_array
from torch import Tensor

from ...errors import DataError
from ...options import documented
from ...saved import folder
from ...stream import Loaded
from ..options import RegressorOptions
from ..readout import Encoder, Readout
from ..supervised import Part, SequenceEstimator
from . import saved
from .baseline import predictions
from .saved import RegressorModel

_ABOUT = """A recurrent regressor of sequences made with unspool. The errors are those on sequences that were held out;
the baselines were trained on the same sequences.

```python
from unspool import Regressor

regressor = Regressor.load(".")
regressor.predict(sequences)
```"""
_LOSSES = {"squared": torch.nn.functional.mse_loss, "absolute": torch.nn.functional.l1_loss}


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Regressor(RegressorMixin, RegressorOptions, SequenceEstimator):
    """A recurrent network that tells a number, or several, of a sequence of any length.

        prediction = mean + std · out;  out = s[T-1], or the mean of all s[t];  s[t] = head(y[t])

    mean and std are those of the targets in the training part. All else is as in `Classifier`; y is (n,) or (n, O).

    Args:
        {options}
        training: a `Training` with all other options; None: its defaults, but a patience of 8 for more than 1,000
            sequences, and 0 for fewer; and a batch size of n/100 for n sequences, from 8 to 128.

    After `fit` it has `network_`, `encoder_`, `metrics_` (the contents of metrics.json) and `history_` (a list of
    dictionaries, the lines of history.jsonl).

    >>> from unspool import Regressor
    >>> X = [[float(i % 5)] * (1 + i % 3) for i in range(30)]
    >>> model = Regressor(hidden_size=8, epochs=20, learning_rate=0.02).fit(X, [x[0] for x in X])
    >>> bool(abs(model.predict([[3.0, 3.0]])[0] - 3) < 0.5)
    True
    """

    task: ClassVar[str] = saved.TASK
    about: ClassVar[str] = _ABOUT
    loss_unit: ClassVar[str] = "error of standardised targets"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """See `RegressorModel.predict`."""
        return self._fitted().predict(self._given(X))

    def _checked(self, y: Any, n: int) -> np.ndarray:
        """The targets, float64 (n,) or (n, O)."""
        if y is None:
            raise DataError("Regressor requires y to be passed, but the target y is None")
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")  # pyright: ignore[reportArgumentType]
        if len(y) != n or not y.size:
            raise DataError(
                f"y must have a number, or a row, for each of {n} sequences; got an array of shape {y.shape}"
            )
        return y

    def _learn(self, y: np.ndarray, held_out: np.ndarray) -> int:
        if y.shape[1:] != held_out.shape[1:]:
            raise DataError(f"y held out must have the shape {y.shape[1:]} of a target; got {held_out.shape[1:]}")
        self.flat_ = y.ndim == 1
        rows = y.reshape(len(y), -1)
        self.mean_, self.std_ = rows.mean(0), rows.std(0)
        self.std_[self.std_ <= 1e-12 * np.abs(self.mean_)] = 1  # what rounding leaves of a constant
        return rows.shape[1]

    def _coded(self, y: np.ndarray) -> np.ndarray:
        return ((y.reshape(len(y), -1) - self.mean_) / self.std_).astype(np.float32)

    def _error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _LOSSES[self.loss](outputs, targets, reduction="sum")

    def _model(self, encoder: Encoder, how: Readout, network: Loaded) -> RegressorModel:
        return RegressorModel(encoder, how, network, self.metrics_, self.mean_, self.std_, self.flat_)

    def _adopt(self, found: folder.Saved, network: Loaded) -> RegressorModel:
        model = saved.model_of(found, network, self.metrics_)
        self.mean_, self.std_, self.flat_ = model.mean, model.std, model.flat
        return model

    def _measure(self, train: Part, valid: Part) -> dict[str, Any]:
        model = self._fitted()
        wanted, y = (model.result(part.y) for part in (valid, train))
        network = saved.errors(wanted, model.results(valid.inputs)) | {"sequences": len(wanted)}
        inputs, held_out = self._seen(train.inputs), self._seen(valid.inputs)
        found = predictions(inputs, y, held_out, len(self.encoder_.vocabulary or ()))
        return {
            "validation": network,
            "baselines": {name: saved.errors(wanted, predicted) for name, predicted in found.items()},
        }

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        preprocessing, files = super()._files()
        targets = {"mean": self.mean_.tolist(), "std": self.std_.tolist(), "flat": self.flat_}
        return preprocessing | {"targets": targets}, files
