"""What classifiers and regressors share, for training; `readout` has the rest."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..arguments import number
from ..cells import RECURRENT
from ..data.batches import NO_TARGET, Batches, Bucketed, Overlapping, Rows, Thinned
from ..data.given import Given, as_sequences, is_table
from ..data.ragged import Ragged, ends
from ..errors import DataError, UnspoolError
from ..network import Sound
from ..saved import folder
from ..saved.architecture import parse
from ..stream import Loaded
from . import readout
from .estimator import Estimator, Work
from .options import SequenceOptions, by_number, directions, filters_of, k1_k2, layers_of, training_of
from .readout import Encoder, Readout, SequenceModel, SequenceStream

_MEL, _WINDOW_OF_SOUND, _HOP = 40, 0.025, 0.01  # the features of sound, and their window and distance in seconds
_WINDOW = 100  # the most steps that an mlp sees of sequences of unequal lengths, unless its window is given


class Part(NamedTuple):
    """Sequences as the network reads them, and their targets.

    These are numbers of classes, (n,); or numbers, (n, O), or at each step, (N, O).
    """

    inputs: Ragged
    y: Any


class SequenceEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SequenceOptions, Estimator):
    """The base class of estimators with one target for each sequence, or one for each step.

    A task has of its own: `_checked` makes an array of targets, or those of each step, Ragged; `_learn` sets what it
    learns of the targets to train on, and returns the number of outputs; `_coded` makes of them what the loss takes;
    `_error` is the loss; `_model` is the saved half; `_measure` is the metrics.
    """

    may_have: ClassVar[tuple[str, ...]] = readout.MAY_HAVE
    unit: ClassVar[str] = "sequence"
    per_step_: bool = False  # whether there is a target for each step

    def transform(self, X: Any) -> np.ndarray:
        """See `SequenceModel.transform`."""
        return self._fitted().transform(self._given(X))

    def stream(self) -> SequenceStream:
        """See `SequenceStream`."""
        return self._fitted().stream()

    def report(self) -> str:
        """What the network reached on the sequences held out, beside the baselines."""
        return self._fitted().report()

    @property
    def _n_features_out(self) -> int:
        return self.network_.architecture.features

    def _fitted(self) -> Any:
        """The saved half, whose network runs in the compiled core."""
        check_is_fitted(self, "network_")
        return self._model(self.encoder_, self._readout, self._core())

    def _core(self) -> Loaded:
        weights = {name: value.detach().numpy() for name, value in self.network_.state_dict().items()}
        return Loaded(folder.Saved({"network": self.network_.config}, weights, {}, ""), "the network")

    @property
    def _readout(self) -> Readout:
        return Readout(self.pooling, directions(self), self.per_step_)

    def _given(self, X: Any, *, fit: bool = False) -> Given:
        """The sequences of X. A table is checked as scikit-learn checks it; in `fit` its names and width are kept."""
        if is_table(X) and (fit or self.encoder_.steps is not None):
            table = validate_data(self, X, reset=fit, dtype=np.float64, ensure_min_samples=1 + fit)
            names = getattr(self, "feature_names_in_", None)
            return replace(as_sequences(table), names=None if names is None else tuple(names))
        if fit:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        return as_sequences(X) if fit else self.encoder_.given(X)

    def _work(self, X: Any, y: Any, validation: Any) -> Work:
        given = self._given(X, fit=True)
        if given.coarse is not None:
            raise DataError(
                f"X must have numbers whose differences float32 can tell; got less than a millionth of their size in "
                f"feature {given.coarse}: subtract an offset"
            )
        targets = self._checked(y, given)
        if isinstance(validation, tuple | list) and len(validation) == 2:
            other = as_sequences(validation[0], given.names)
            parts = (given, targets), (other, self._checked(validation[1], other))
            source = {"sha256": _digest(given, targets, other, parts[1][1]), "validation": None}
        else:
            part = _part(validation)
            mine = readout.held_out(len(given), part, self.random_state, self._strata(targets))
            parts = tuple((given.take(at), _take(targets, at)) for at in map(np.flatnonzero, (~mine, mine)))
            source = {"sha256": _digest(given, targets), "validation": part}
        self.encoder_ = Encoder.of(parts[0][0], self.level)
        self._keep_names()
        outputs = self._learn(*(y for _, y in parts))
        train, valid = (Part(self.encoder_.encode(self.encoder_.given(x)), self._coded(y)) for x, y in parts)
        size, epochs = by_number(len(train.inputs))
        size = training_of(self)["batch_size"] or size
        network = self._network(outputs, train.inputs.lengths)
        stride = parse(network).stride
        if self.per_step_ and (self.pooling == "mean" or stride > 1):
            raise UnspoolError("a value a step needs pooling='last', and no sound_rate nor stride of convolution")
        marked = Bucketed(valid.inputs, _at_ends(valid), size, shuffle=False)
        return Work(
            network=network,
            loss=SequenceLoss(self._readout, self._error),
            batches=self._batches(train, size, stride),
            validation=list((Thinned(marked, stride) if stride > 1 else marked).epoch(0)),
            source=source,
            data=(train, valid, parts[0][0].describe()),
            epochs=epochs,
            constants={} if self.encoder_.vocabulary else self._constants(train.inputs),
        )

    def _network(self, outputs: int, lengths: np.ndarray) -> dict[str, Any]:
        front, convolution = self._front(), {}
        if self.convolution is not None and front["kind"] != "image":
            size, kernel, stride = filters_of(self.convolution)
            convolution = {"size": size, "kernel": kernel, "stride": stride, "nonlinearity": "relu"}
        fewer = front.get("hop", 1) * convolution.get("stride", 1)
        return {
            "front": front,
            **({"convolution": convolution} if convolution else {}),
            "recurrent": self._layers(-(-lengths // fewer)),
            "head": {"kind": "linear", "size": self._readout.width(outputs)},
        }

    def _front(self) -> dict[str, Any]:
        """The configuration of what comes first."""
        encoder = self.encoder_
        if self.sound_rate is not None:
            if encoder.features != 1:
                raise DataError("X must have one number a step where sound_rate is given: the samples of one channel")
            window, hop = round(_WINDOW_OF_SOUND * self.sound_rate), round(_HOP * self.sound_rate)
            return {"kind": "sound", "rate": self.sound_rate, "size": _MEL, "window": window, "hop": hop}
        if encoder.frame is not None:
            height, width, channels = encoder.frame
            size, kernel, stride = filters_of(self.convolution or (16, min(3, height, width), 2))
            sizes = {"kernel": kernel, "stride": stride, "size": size}
            return {"kind": "image", "height": height, "width": width, "channels": channels, **sizes}
        if encoder.vocabulary is None:
            return {"kind": "dense", "size": encoder.features}
        tokens = len(encoder.vocabulary)
        if not self.embedding_size:
            return {"kind": "one-hot", "size": tokens}
        return {"kind": "embedding", "tokens": tokens, "size": self.embedding_size}

    def _constants(self, inputs: Ragged) -> dict[str, np.ndarray]:
        """What numbers are scaled by: the mean and the deviation of each feature, or of each channel of images."""
        x = self._seen(inputs).values
        return _scale(x if self.encoder_.frame is None else x.reshape(-1, self.encoder_.frame[2]))

    def _seen(self, inputs: Ragged) -> Ragged:
        """The sequences as a baseline sees them: of sound the features, as the network does."""
        if self.sound_rate is None:
            return inputs
        sizes = self._front()
        sound = Sound(**{name: sizes[name] for name in ("rate", "size", "window", "hop")})
        found = [sound.features(torch.from_numpy(one)[:, None])[:, 0].numpy() for one in inputs]
        return Ragged(np.concatenate(found), ends(np.array([len(one) for one in found])))

    def _layers(self, lengths: np.ndarray) -> dict[str, Any]:
        """The configuration of the recurrent layers, or of those with a window, for sequences of these lengths."""
        most = int(lengths.max())
        return layers_of(self, self._readout.bidirectional, most if (lengths == most).all() else min(most, _WINDOW))

    def _batches(self, train: Part, size: int, stride: int) -> Batches:
        tbptt, targets = training_of(self)["tbptt"], _at_ends(train)
        if tbptt is None:
            batches = Bucketed(train.inputs, targets, size, seed=self.random_state)
            return Thinned(batches, stride) if stride > 1 else batches
        one_way = self._readout.last_alone or (self.per_step_ and not self._readout.bidirectional)
        if not one_way or self.cell not in RECURRENT or stride > 1:
            raise UnspoolError(
                "tbptt needs a recurrent cell, bidirectional=False, pooling='last' and no stride, as all else needs "
                "whole sequences"
            )
        k1, k2 = k1_k2(tbptt)
        rows = Rows(train.inputs, targets, size, k1, seed=self.random_state)
        return rows if k1 == k2 else Overlapping(rows, k1, k2)

    def _finish(self, work: Work) -> dict[str, Any]:
        train, valid, described = work.data
        self.metrics_ = {}
        return {"data": described, **self._measure(train, valid)}

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        vocabulary = self.encoder_.vocabulary
        files = {} if vocabulary is None else {"vocabulary.json": vocabulary.to_json()}
        return {"encoder": self.encoder_.describe()}, files

    def _restore(self, found: folder.Saved) -> None:
        self.encoder_ = self._adopt(found, self._core())
        self._keep_names()

    def _keep_names(self) -> None:
        """Set what scikit-learn wants to know of the features."""
        if self.encoder_.vocabulary is None:
            self.n_features_in_ = self.encoder_.steps or self.encoder_.features
            if self.encoder_.names is not None:
                self.feature_names_in_ = np.array(self.encoder_.names, object)

    def _title(self) -> str:
        return f"{type(self).__name__} of sequences, {self.cell} {self.hidden_size}"

    def _strata(self, y: Any) -> np.ndarray | None:
        """The classes whose parts are to be alike in what is held out."""
        return None

    @abstractmethod
    def _checked(self, y: Any, given: Given) -> np.ndarray | Ragged: ...
    @abstractmethod
    def _learn(self, y: Any, held_out: Any) -> int: ...
    @abstractmethod
    def _coded(self, y: Any) -> np.ndarray | Ragged: ...
    @abstractmethod
    def _error(self, outputs: Tensor, targets: Tensor) -> Tensor: ...
    @abstractmethod
    def _model(self, encoder: Encoder, how: Readout, network: Loaded) -> SequenceModel: ...
    @abstractmethod
    def _adopt(self, found: folder.Saved, network: Loaded) -> Encoder: ...
    @abstractmethod
    def _measure(self, train: Part, valid: Part) -> dict[str, Any]: ...


class SequenceLoss:
    """The sum of the losses of all targets in a batch; that of a sequence stands at its last step.

    Args:
        how: what is read off the head's sums s, (T, B, width).
        error: the summed loss of outputs, (n, O), and targets, (n,) or (n, O).
    """

    def __init__(self, how: Readout, error: Callable[[Tensor, Tensor], Tensor]):
        self.how, self.error = how, error

    def __call__(self, s: Tensor, targets: Tensor) -> Tensor:
        there = ~targets[..., 0].isnan() if targets.is_floating_point() else targets != NO_TARGET
        t, b = there.nonzero(as_tuple=True)
        return self.error(self._read(s, t, b), targets[t, b])

    def _read(self, s: Tensor, t: Tensor, b: Tensor) -> Tensor:
        """The outputs, (n, O), of the sequences in the columns b that end, or have a target, at the steps t."""
        if self.how.pooling == "mean":
            within = torch.arange(len(s), device=s.device)[:, None] <= t
            return (s[:, b] * within[..., None]).sum(0) / (t + 1)[:, None]
        if not self.how.both_ends:
            return s[t, b]
        half = s.shape[-1] // 2
        return s[t, b, :half] + s[0, b, half:]


def _at_ends(part: Part) -> Ragged:
    """A target for each step: if there is one for the sequence, at its last step, and none before."""
    if isinstance(part.y, Ragged):
        return part.y
    shape = (len(part.inputs.values), *part.y.shape[1:])
    values = np.full(shape, NO_TARGET if part.y.dtype.kind == "i" else np.nan, part.y.dtype)
    values[part.inputs.offsets[1:] - 1] = part.y
    return Ragged(values, part.inputs.offsets)


def _take(targets: Any, at: np.ndarray) -> Any:
    return targets.take(at) if isinstance(targets, Ragged) else targets[at]


def _scale(x: np.ndarray) -> dict[str, np.ndarray]:
    """The mean and the deviation of each feature, (N, I) to (I,); a feature that never changes has deviation 1."""
    mean, std = x.mean(0, np.float64), x.std(0, np.float64)
    std[std <= 1e-6 * np.abs(mean)] = 1  # what is left of a constant in float32
    return {"front.mean": mean.astype(np.float32), "front.std": std.astype(np.float32)}


def _part(validation: Any) -> float:
    if not isinstance(validation, float | int | np.number):
        raise DataError(f"validation must be a part between 0 and 1, or a pair (X, y); got {validation!r:.80}")
    return number("validation", validation, above=True, below=1)


def _digest(*data: Any) -> str:
    """What identifies sequences and targets."""
    found = sha256()
    for one in data:
        if isinstance(one, Ragged):
            found.update(one.offsets.tobytes())
            found.update(one.values.tobytes())
        elif not isinstance(one, Given):
            found.update(repr(np.asarray(one).tolist()).encode("utf-8", "surrogatepass"))
        elif one.values is None or one.kind == "tokens":
            texts = one.texts if one.values is None else [list(tokens) for tokens in one.values]
            found.update(repr(texts).encode("utf-8", "surrogatepass"))
        else:
            found.update(one.values.offsets.tobytes())
            found.update(one.values.values.tobytes())
    return found.hexdigest()
