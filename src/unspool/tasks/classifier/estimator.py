"""Classifiers: the class of a sequence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from ...arguments import number
from ...data.given import Given
from ...errors import DataError, UnspoolError
from ...options import documented
from ...saved import folder
from ...stream import Loaded
from ..options import ClassifierOptions
from ..readout import Encoder, Readout, by_step
from ..supervised import Part, SequenceEstimator
from . import saved
from .baseline import accuracies
from .calibration import calibration
from .saved import ClassifierModel

_ABOUT = """A recurrent classifier of sequences made with unspool. The accuracy is that on sequences that were held out;
the baselines were trained on the same sequences.

```python
from unspool import Classifier

classifier = Classifier.load(".")
classifier.predict(sequences)
```"""


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Classifier(ClassifierMixin, ClassifierOptions, SequenceEstimator):
    """A recurrent network that tells the class of a sequence, of any length.

        p(class | x) = softmax(out);  out = s[T-1] + the mean of all r[t], or one of both;  s[t], r[t] = head(y[t])

    A bidirectional network has at the end the state of the direction that began at the first step, and at the beginning
    the state of the one that began at the last, and both are read. `fit(X, y)` takes what
    `unspool.data.given.as_sequences` takes, and a class for each sequence: numbers, texts, truth values or dates. Of
    each class the part `validation` is held out; or it is a pair (X, y). Numbers are scaled by the mean and the
    deviation of each feature in the training part. Predictions are made by the compiled core, on as many threads as
    OMP_NUM_THREADS says, and are the same bits in any batch and any order.

    Args:
        {options}
        training: a `Training` with all other options; None: its defaults, but a patience of 8 for more than 1,000
            sequences, and 0 for fewer; and a batch size of n/100 for n sequences, from 8 to 128.

    Baselines are trained on 20,000 sequences at most, a nearest neighbour on 2,000, and logistic regression is left out
    where there are more than 1,000 classes.

    Texts of one length with few different letters, as pieces of DNA often are, are taken to be aligned, so that a place
    means the same in each, and a feed-forward network reads them, unless `cell` says otherwise; the report says so.

    After `fit` it has `classes_`, `network_`, `encoder_`, `metrics_` (the contents of metrics.json) and `history_` (a
    list of dictionaries, the lines of history.jsonl).

    >>> from unspool import Classifier
    >>> X, y = [[0.0, 1.0, 2.0], [2.0, 1.0], [1.0, 3.0], [3.0, 1.0, 0.0]] * 4, ["up", "down", "up", "down"] * 4
    >>> Classifier(hidden_size=8, epochs=20, learning_rate=0.05).fit(X, y).predict(X[:2]).tolist()
    ['up', 'down']
    """

    task: ClassVar[str] = saved.TASK
    about: ClassVar[str] = _ABOUT

    def predict(self, X: Any) -> np.ndarray:
        """See `ClassifierModel.predict`."""
        return self._fitted().predict(self._given(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """See `ClassifierModel.predict_proba`."""
        return self._fitted().predict_proba(self._given(X))

    def _checked(self, y: Any, given: Given) -> np.ndarray:
        """The classes, (n,)."""
        if y is None:
            raise DataError("Classifier requires y to be passed, but the target y is None")
        if by_step(y) is not None or (getattr(y, "ndim", 1) == 2 and y.shape[1] > 1):
            raise DataError("y must have a class for each sequence; got several for each: Tagger learns a label a step")
        for i, of in enumerate(y) if isinstance(y, list | tuple) else ():
            if of is None or (isinstance(of, float) and np.isnan(of)):
                raise DataError(f"y must have a class for each sequence; got {of} for sequence {i}")
        y = column_or_1d(check_array(y, dtype=None, ensure_2d=False, input_name="y"), warn=True)  # pyright: ignore[reportArgumentType]
        check_classification_targets(y)
        if len(y) != len(given):
            raise DataError(f"y must have a class for each of {len(given)} sequences; got {len(y)}")
        if y.dtype.kind == "O" and not all(isinstance(value, str) for value in y):
            y = np.array(y.tolist())
        return y

    def _strata(self, y: np.ndarray) -> np.ndarray:
        return np.unique(y, return_inverse=True)[1]

    def _learn(self, y: np.ndarray, held_out: np.ndarray) -> int:
        self.classes_ = np.unique(np.concatenate([y, held_out]))
        if len(self.classes_) < 2:
            raise DataError(f"y must have at least two classes; got one class, {self.classes_[0]!s:.40}")
        self.class_weight_ = self._weights(np.bincount(self._coded(y), minlength=len(self.classes_)))
        return len(self.classes_)

    def _weights(self, counts: np.ndarray) -> np.ndarray:
        """The weight of each class, (K,), whose counts in the training part are given."""
        given = self.class_weight
        if given is None:
            return np.ones(len(counts))
        if isinstance(given, str):
            return counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        classes = self.classes_.tolist()
        if not isinstance(given, Mapping) or not all(isinstance(k, str | int | float) for k in given):
            raise UnspoolError(f"class_weight must be balanced, or a weight for each class by name; got {given!r:.80}")
        if unknown := [k for k in given if k not in classes]:
            raise UnspoolError(f"class_weight must have classes of y; got {unknown[0]!r:.40}")
        return np.array([number(f"class_weight[{k!r:.40}]", given.get(k, 1.0), above=True) for k in classes])

    def _coded(self, y: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.classes_, y)

    def _error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight = torch.from_numpy(self.class_weight_).to(outputs)
        return torch.nn.functional.cross_entropy(outputs, targets, weight, reduction="sum")

    def _model(self, encoder: Encoder, how: Readout, network: Loaded) -> ClassifierModel:
        return ClassifierModel(encoder, how, network, self.metrics_, self.classes_)

    def _adopt(self, found: folder.Saved, network: Loaded) -> ClassifierModel:
        model = saved.model_of(found, network, self.metrics_)
        self.classes_ = model.classes
        return model

    def _measure(self, train: Part, valid: Part) -> dict[str, Any]:
        p = self._fitted().results(valid.inputs)
        network = {"accuracy": float((p.argmax(1) == valid.y).mean()), **calibration(p, valid.y)}
        tokens = len(self.encoder_.vocabulary or ())
        return {
            "validation": network | {"sequences": len(p)},
            "baselines": accuracies(self._seen(train.inputs), train.y, self._seen(valid.inputs), valid.y, tokens),
        }

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        preprocessing, files = super()._files()
        return preprocessing | {"classes": saved.described(self.classes_)}, files
