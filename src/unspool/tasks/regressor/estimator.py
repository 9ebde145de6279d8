"""Regressors: a number, or several, of a sequence, or of each of its steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ...data.given import Given
from ...data.ragged import Ragged
from ...errors import DataError, UnspoolError
from ...options import documented
from ...saved import folder
from ...stream import Loaded
from ..options import RegressorOptions
from ..readout import Encoder, Readout, by_step
from ..supervised import Part, SequenceEstimator
from . import saved
from .baseline import of_steps, predictions
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

    mean and std are those of the targets in the training part. All else is as in `Classifier`; y is an array (n,) or
    (n, O). Or there is a value for each step, and prediction[t] = mean + std · s[t]: then y is a list, an array of
    objects or `Ragged` with an array (T,) or (T, O) for each sequence, or it is an array (n, T, O). So a list of lists
    always has values of steps. `predict` gives an array of such arrays, errors and R² are those over all steps, and a
    stream tells the value of the step. The loss of a batch is the mean over its targets. pooling is "last" then, and
    there must be neither a stride nor sound, so that every step has an output.

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
    of_data: ClassVar[tuple[str, ...]] = ("targets",)
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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², 1 - Σ (y - prediction)² / Σ (y - mean(y))², over all sequences, or all steps; the mean over O outputs."""
        check_is_fitted(self, "network_")
        if not self.per_step_:
            return super().score(X, y, sample_weight)
        if sample_weight is not None:
            raise UnspoolError("sample_weight must be None where there is a value for each step")
        return self._fitted().score(self._given(X), y)

    def _checked(self, y: Any, given: Given) -> np.ndarray | Ragged:
        """The targets, float64 (n,) or (n, O); or those of each step, (N,) or (N, O)."""
        if y is None:
            raise DataError("Regressor requires y to be passed, but the target y is None")
        if by_step(y) is not None:
            return saved.steps_of(y, given)
        n = len(given)
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")  # pyright: ignore[reportArgumentType]
        if len(y) != n or not y.size:
            raise DataError(
                f"y must have a number, or a row, for each of {n} sequences; got an array of shape {y.shape}"
            )
        return y

    def _learn(self, y: np.ndarray | Ragged, held_out: np.ndarray | Ragged) -> int:
        self.per_step_ = isinstance(y, Ragged)
        if isinstance(held_out, Ragged) != self.per_step_:
            raise DataError("y held out must have a value a step where y has one, and one a sequence where y has that")
        wanted, got = (_values(part).shape[1:] for part in (y, held_out))
        if wanted != got:
            raise DataError(f"y held out must have the shape {wanted} of a target; got {got}")
        self.flat_ = not wanted
        rows = _values(y).reshape(len(_values(y)), -1)
        self.mean_, self.std_ = rows.mean(0), rows.std(0)
        self.std_[self.std_ <= 1e-12 * np.abs(self.mean_)] = 1  # what rounding leaves of a constant
        return rows.shape[1]

    def _coded(self, y: np.ndarray | Ragged) -> np.ndarray | Ragged:
        values = _values(y)
        coded = ((values.reshape(len(values), -1) - self.mean_) / self.std_).astype(np.float32)
        return Ragged(coded, y.offsets) if isinstance(y, Ragged) else coded

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
        wanted, y = (model.result(_values(part.y)) for part in (valid, train))
        network = saved.errors(wanted, model.results(valid.inputs)) | {"sequences": len(valid.inputs)}
        inputs, held_out = self._seen(train.inputs), self._seen(valid.inputs)
        tokens = len(self.encoder_.vocabulary or ())
        if self.per_step_:
            network["steps"] = len(wanted)
            found = of_steps(inputs.values, y, held_out.values, tokens)
        else:
            found = predictions(inputs, y, held_out, tokens)
        return {
            "validation": network,
            "baselines": {name: saved.errors(wanted, predicted) for name, predicted in found.items()},
        }

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        preprocessing, files = super()._files()
        targets = {"mean": self.mean_.tolist(), "std": self.std_.tolist(), "flat": self.flat_}
        return preprocessing | {"targets": targets}, files


def _values(y: np.ndarray | Ragged) -> np.ndarray:
    """The targets of all sequences, or of all steps."""
    return y.values if isinstance(y, Ragged) else y
