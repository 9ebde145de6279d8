"""What classifiers and regressors share, for training; `readout` has the rest."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..arguments import integer, number
from ..cells import RECURRENT
from ..data.batches import NO_TARGET, Batches, Bucketed, Overlapping, Rows
from ..data.given import Given, as_sequences, is_table
from ..data.opening import empty, in_file
from ..data.ragged import Ragged, ends
from ..data.vocabulary import TOKENS
from ..errors import DataError, UnspoolError
from ..network import Network, Sound
from ..saved import folder
from ..saved.architecture import parse
from ..stream import Loaded
from . import readout
from .estimator import Estimator, Work
from .options import Amount, SequenceOptions, Settled, by_number, filters_of, k1_k2, layers_of, settled, training_of
from .readout import Encoder, Readout, SequenceModel, SequenceStream
from .sequence_network import SequenceNetwork

_BLOCK = 2**18  # numbers that are looked at together
_CHECKED = 4  # times as many sequences are validated side by side as are trained on, which keep their gates
_MEL, _WINDOW_OF_SOUND, _HOP = 40, 0.025, 0.01  # the features of sound, and their window and distance in seconds
# The most steps that an mlp sees of sequences of unequal lengths, unless its window is given; and the most steps, and
# the most different tokens, of what it is assumed to read.
_WINDOW = 100


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
        return self.readout_.features(self.network_.architecture.features)

    def _fitted(self) -> Any:
        """The saved half, whose network runs in the compiled core."""
        check_is_fitted(self, "network_")
        return self._model(self.encoder_, self.readout_, self._core())

    def _core(self) -> Loaded:
        weights = {name: value.detach().numpy() for name, value in self.network_.state_dict().items()}
        return Loaded(folder.Saved({"network": self.network_.config}, weights, {}, ""), "the network")

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
        lengths = train.inputs.lengths
        tokens = len(self.encoder_.vocabulary or ())
        chosen = settled(self, tokens, self.convolution is None and _aligned(tokens, lengths))
        self.readout_ = Readout(chosen.pooling, chosen.bidirectional, self.per_step_)
        amount = by_number(len(train.inputs), chosen.epochs)
        size = training_of(self)["batch_size"] or amount.batch_size
        network = self._network(chosen, outputs, lengths)
        stride = parse(network).stride
        if self.per_step_ and (chosen.pooling != "last" or stride > 1):
            raise UnspoolError("a value a step needs pooling='last', and no sound_rate nor stride of convolution")
        marked = Bucketed(valid.inputs, self._targets(valid), _CHECKED * size, shuffle=False)
        return Work(
            network=network,
            loss=self._error if self._whole else LossOfTargets(self._error),
            batches=self._batches(train, size, chosen.cell, stride),
            validation=marked if in_file(valid.inputs.values) else list(marked),
            source=source,
            data=(train, valid, parts[0][0].describe() + self._assumed(chosen.cell)),
            plan=self._left_open(amount),
            constants={} if self.encoder_.vocabulary else self._constants(train.inputs),
        )

    def _left_open(self, amount: Amount) -> dict[str, int]:
        """What the number of sequences decides of the plan."""
        given = {"epochs": self.epochs, "patience": training_of(self)["patience"]}
        return {name: getattr(amount, name) for name, value in given.items() if value is None}

    def _assumed(self, cell: str) -> str:
        """What was assumed of texts and tokens, for the report."""
        said = []
        if self.encoder_.kind == "texts" and self.encoder_.vocabulary and self.level is None:
            said.append(f" cut into {TOKENS[self.encoder_.vocabulary.level]}s")
        if cell == "mlp" and self.cell is None:
            said.append(" of one length, whose places are the inputs of an mlp")
        return ",".join(said)

    def _network(self, chosen: Settled, outputs: int, lengths: np.ndarray) -> dict[str, Any]:
        front, convolution = self._front(chosen.embedding_size), {}
        if self.convolution is not None and front["kind"] != "image":
            size, kernel, stride = filters_of(self.convolution)
            convolution = {"size": size, "kernel": kernel, "stride": stride, "nonlinearity": "relu"}
        fewer = front.get("hop", 1) * convolution.get("stride", 1)
        return {
            "front": front,
            **({"convolution": convolution} if convolution else {}),
            "recurrent": self._layers(chosen, -(-lengths // fewer)),
            "head": {"kind": "linear", "size": self.readout_.width(outputs)},
        }

    def _front(self, embedding_size: int) -> dict[str, Any]:
        """The configuration of what comes first."""
        encoder = self.encoder_
        if self.sound_rate is not None:
            if encoder.features != 1:
                raise DataError("X must have one number a step where sound_rate is given: the samples of one channel")
            return {"kind": "sound", **self._sound()}
        if encoder.frame is not None:
            height, width, channels = encoder.frame
            side = min(height, width)
            size, kernel, stride = filters_of(self.convolution or (32, min(8, side), max(2, side // 8)))
            sizes = {"kernel": kernel, "stride": stride, "size": size}
            return {"kind": "image", "height": height, "width": width, "channels": channels, **sizes}
        if encoder.vocabulary is None:
            return {"kind": "dense", "size": encoder.features}
        tokens = len(encoder.vocabulary)
        if not embedding_size:
            return {"kind": "one-hot", "size": tokens}
        return {"kind": "embedding", "tokens": tokens, "size": embedding_size}

    def _sound(self) -> dict[str, int]:
        """The sizes of the front end of sound."""
        rate = integer("sound_rate", self.sound_rate, 1000, 160_000)
        window, hop = round(_WINDOW_OF_SOUND * rate), round(_HOP * rate)
        return {"rate": rate, "size": min(_MEL, window // 2 + 1), "window": window, "hop": hop}

    def _constants(self, inputs: Ragged) -> dict[str, np.ndarray]:
        """What numbers are scaled by: the mean and the deviation of each feature, or of each channel of images."""
        x = self._seen(inputs).values
        return _scale(x if self.encoder_.frame is None else x.reshape(-1, self.encoder_.frame[2]))

    def _seen(self, inputs: Ragged) -> Ragged:
        """The sequences as a baseline sees them: of sound the features, as the network does."""
        if self.sound_rate is None:
            return inputs
        sound = Sound(**self._sound())
        found = [sound.features(torch.from_numpy(one)[:, None])[:, 0].numpy() for one in inputs]
        return Ragged(np.concatenate(found), ends(np.array([len(one) for one in found])))

    def _layers(self, chosen: Settled, lengths: np.ndarray) -> dict[str, Any]:
        """The configuration of the recurrent layers, or of those with a window, for sequences of these lengths."""
        most = int(lengths.max())
        window = most if (lengths == most).all() else min(most, _WINDOW)
        return layers_of(self, chosen.bidirectional, window, cell=chosen.cell, dropout=chosen.dropout)

    @property
    def _whole(self) -> bool:
        """Whether sequences are trained on as wholes, with a target for each."""
        return training_of(self)["tbptt"] is None and not self.per_step_

    def _made(self, config: Mapping[str, Any]) -> Network:
        return SequenceNetwork(self.readout_, config) if self._whole else Network(config)

    def _rebuild(self, found: folder.Saved) -> Network:
        self.readout_ = readout.readout_of(found, parse(found.config["network"]).bidirectional)
        self.per_step_ = self.readout_.per_step
        return super()._rebuild(found)

    def _targets(self, part: Part) -> Ragged | np.ndarray:
        return part.y if self._whole else _at_ends(part)

    def _batches(self, train: Part, size: int, cell: str, stride: int) -> Batches:
        tbptt = training_of(self)["tbptt"]
        if tbptt is None:
            return Bucketed(train.inputs, self._targets(train), size, seed=self.random_state)
        one_way = self.readout_.last_alone or (self.per_step_ and not self.readout_.bidirectional)
        if not one_way or cell not in RECURRENT or stride > 1:
            raise UnspoolError(
                "tbptt needs a recurrent cell, bidirectional=False, pooling='last' and no stride, as all else needs "
                "whole sequences"
            )
        k1, k2 = k1_k2(tbptt)
        rows = Rows(train.inputs, _at_ends(train), size, k1, seed=self.random_state)
        return rows if k1 == k2 else Overlapping(rows, k1, k2)

    def _finish(self, work: Work) -> dict[str, Any]:
        train, valid, described = work.data
        self.metrics_ = {}
        return {"data": described, **self._measure(train, valid)}

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        vocabulary = self.encoder_.vocabulary
        files = {} if vocabulary is None else {"vocabulary.json": vocabulary.to_json()}
        how = {"pooling": self.readout_.pooling, "per_step": self.per_step_}
        return {"encoder": self.encoder_.describe(), **how}, files

    def _restore(self, found: folder.Saved) -> None:
        model = self._adopt(found, self._core())
        self.encoder_ = model.encoder
        self._keep_names()

    def _keep_names(self) -> None:
        """Set what scikit-learn wants to know of the features."""
        if self.encoder_.vocabulary is None:
            self.n_features_in_ = self.encoder_.steps or self.encoder_.features
            if self.encoder_.names is not None:
                self.feature_names_in_ = np.array(self.encoder_.names, object)

    def _title(self) -> str:
        cell = self.network_.architecture.cell
        cell = self.cell or (cell if cell in RECURRENT else "mlp")
        return f"{type(self).__name__} of sequences, {cell} {self.hidden_size}"

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
    def _adopt(self, found: folder.Saved, network: Loaded) -> SequenceModel: ...
    @abstractmethod
    def _measure(self, train: Part, valid: Part) -> dict[str, Any]: ...


class LossOfTargets:
    """The sum of the losses of all targets in a window; that of a sequence stands at its last step.

    Args:
        error: the summed loss of outputs, (n, O), and targets, (n,) or (n, O).
    """

    def __init__(self, error: Callable[[Tensor, Tensor], Tensor]):
        self.error = error

    def __call__(self, s: Tensor, targets: Tensor) -> Tensor:
        there = ~targets[..., 0].isnan() if targets.is_floating_point() else targets != NO_TARGET
        return self.error(s[there], targets[there])


def _aligned(tokens: int, lengths: np.ndarray) -> bool:
    """Whether sequences of these lengths, of so many different tokens, are aligned letters; see the option `cell`."""
    return 0 < tokens - 1 <= _WINDOW and bool((lengths == min(lengths[0], _WINDOW)).all())


def _at_ends(part: Part) -> Ragged:
    """A target for each step: if there is one for the sequence, at its last step, and none before."""
    if isinstance(part.y, Ragged):
        return part.y
    shape = (len(part.inputs.values), *part.y.shape[1:])
    values = empty(shape, part.y.dtype, part.inputs.values)
    values[:] = NO_TARGET if part.y.dtype.kind == "i" else np.nan
    values[part.inputs.offsets[1:] - 1] = part.y
    return Ragged(values, part.inputs.offsets)


def _take(targets: Any, at: np.ndarray) -> Any:
    return targets.take(at) if isinstance(targets, Ragged) else targets[at]


def _scale(x: np.ndarray) -> dict[str, np.ndarray]:
    """The mean and the deviation of each feature, (N, I) to (I,); a feature that never changes has deviation 1."""
    step = max(1, _BLOCK // x.shape[1])
    blocks = [x[begin : begin + step] for begin in range(0, len(x), step)]
    mean = np.sum([block.sum(0, np.float64) for block in blocks], 0) / len(x)
    std = np.sqrt(np.sum([((block - mean) ** 2).sum(0) for block in blocks], 0) / len(x))
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
            found.update(one.values.offsets.data)
            found.update(one.values.values.reshape(-1).data)
    return found.hexdigest()
