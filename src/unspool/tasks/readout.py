"""What classifiers and regressors share, without PyTorch: reading O outputs off a sequence of any length.

    s[t] = head(y[t])
    last    out = s[T-1];  of two directions the head gives a and b, and  out = a[T-1] + b[0]
    mean    out = (s[0] + … + s[T-1]) / T
    both    the head gives the sums of each, and out is those of `last` and those of `mean`, added

Or there are outputs at each step, and  out[t] = s[t].

The head is linear, so reading its sums at the ends is the same as giving it the states at the ends. Many sequences
share each pass over the weights (`Stream.predict`), and each has the bits that it has alone.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import vocabulary as vocabularies
from ..data.given import Given, as_sequences, shape_of
from ..data.ragged import Ragged, ends
from ..data.vocabulary import Vocabulary
from ..errors import DataError, FolderError, UnspoolError
from ..saved import folder
from ..saved.small import float32
from ..stream import Loaded, Stream
from .options import POOLINGS

_DAMAGED = "the network's outputs are not finite: its weights are damaged, or X is far from what it was trained on"
FILES, MAY_HAVE = ("metrics.json",), ("vocabulary.json",)


class Readout(NamedTuple):
    """How the outputs of a sequence, or of each of its steps, are read off the head's sums; see above."""

    pooling: str
    bidirectional: bool
    per_step: bool = False

    @property
    def last_alone(self) -> bool:
        """Whether the last step is all that is read."""
        return self.pooling == "last" and not self.bidirectional and not self.per_step

    @property
    def parts(self) -> int:
        """The parts of the head, each of which gives all outputs: for the last step, the first one, and the mean."""
        if self.per_step:
            return 1
        return (self.pooling != "mean") * (1 + self.bidirectional) + (self.pooling != "last")

    def width(self, outputs: int) -> int:
        """The sums that the head gives for so many outputs."""
        return outputs * self.parts

    def features(self, states: int) -> int:
        """The numbers that the head reads of a sequence whose states have so many."""
        return states * (1 + (self.pooling == "both"))

    def joined(self, last: Any, first: Any, mean: Any) -> Any:
        """The outputs, (…, O), of the sums at the last and at the first step, and of their mean, each (…, width).

        What is not read may be None.
        """
        ends = [last, first] if self.bidirectional else [last]
        read = [*(ends if self.pooling != "mean" else ()), *([mean] if self.pooling != "last" else ())]
        size = read[0].shape[-1] // len(read)
        return sum(part[..., k * size : (k + 1) * size] for k, part in enumerate(read))

    def sums(self, s: np.ndarray) -> np.ndarray:
        """The outputs, float64 (O,), or (T, O) at each step, of the sums of a whole sequence, (T, width)."""
        if self.per_step:
            return s.astype(np.float64)
        mean = None if self.pooling == "last" else self._mean(s)
        return self.joined(s[-1].astype(np.float64), s[0].astype(np.float64), mean)

    def states(self, y: np.ndarray) -> np.ndarray:
        """What the head reads, float64 (F,), of the states of a whole sequence, (T, F) or, for `both`, (T, F/2)."""
        half = y.shape[1] // (1 + self.bidirectional)
        ends = [] if self.pooling == "mean" else [y[-1, :half], y[0, half:]]
        return np.concatenate([*ends, *([] if self.pooling == "last" else [self._mean(y)])], dtype=np.float64)

    def _mean(self, s: np.ndarray) -> np.ndarray:
        return np.cumsum(s, 0, np.float64)[-1] / len(s)  # in the order of the steps, as a stream adds them


@dataclass(frozen=True)
class Encoder:
    """Turns sequences into what a network reads: numbers, float32 (N, I), or tokens, int64 (N,).

    kind: of `Given`.
    features: I of numbers; 0 for tokens.
    steps: T, if the network was trained on a table (n, T).
    names: of the features, or of the steps of a table, if they have names.
    vocabulary: of tokens and texts.
    frame: height, width and channels of the images, if it was trained on such.
    """

    kind: str
    features: int = 0
    steps: int | None = None
    names: tuple[str, ...] | None = None
    vocabulary: Vocabulary | None = None
    frame: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, given: Given, level: str | None) -> "Encoder":
        """The encoder of the sequences that a network is to be trained on."""
        if given.kind != "texts" and level is not None:
            raise UnspoolError(f"level is for texts, and X has {given.kind}; leave out level={level!r:.20}")
        if given.values is None:
            level = level or _level(given.texts or ())
            text = ("" if level == "char" else "\n").join(given.texts or ())
            return cls(given.kind, vocabulary=vocabularies.from_text(text, level))
        if given.kind == "tokens":
            return cls(given.kind, vocabulary=vocabularies.from_tokens(given.values.values))
        return cls(given.kind, given.values.values.shape[1], given.steps, given.names, frame=given.frame)

    def given(self, X: Any) -> Given:
        """The sequences of X; raise DataError unless the network can read them."""
        given = as_sequences(X, self.names)
        if given.kind != self.kind:
            raise DataError(f"X must have {self.kind}, as what the network was trained on; got {given.kind}")
        if given.values is None or self.kind == "tokens":
            return given
        if given.frame != self.frame:
            wanted, got = (
                f"frames of {shape_of(f)}" if f else "steps that are no images" for f in (self.frame, given.frame)
            )
            raise DataError(f"X must have {wanted}, as what the network was trained on; got {got}")
        if (features := given.values.values.shape[1]) != self.features:
            raise DataError(f"X must have sequences of {self.features} features; got {features}")
        if None not in (self.steps, given.steps) and given.steps != self.steps:
            raise DataError(
                f"X must have {self.steps} steps, as what the network was trained on; got {given.steps}: sequences of "
                f"other lengths go as a list of arrays"
            )
        return given

    def encode(self, given: Given) -> Ragged:
        """The sequences as a network reads them."""
        vocabulary = self.vocabulary
        if vocabulary is None:
            return given.values  # pyright: ignore[reportReturnType]
        if given.values is not None:
            return Ragged(vocabulary.numbers(given.values.values), given.values.offsets)
        texts = given.texts or ()
        if vocabulary.level == "char":
            return Ragged(vocabulary.encode("".join(texts)), ends(np.array([len(text) for text in texts])))
        parts = [vocabulary.encode(text) for text in texts]
        return Ragged(np.concatenate(parts), ends(np.array([len(part) for part in parts])))

    def step(self, x: Any) -> np.ndarray:
        """One step, or those of a part of a text or of a sound, as a network reads them."""
        if self.vocabulary is None:
            return np.ascontiguousarray(x, np.float32).reshape(*((-1, 1) if self.features == 1 else (1, -1)))
        if self.kind == "tokens":
            return self.vocabulary.numbers([str(x)]).astype(np.int64)
        tokens = self.vocabulary.encode(x).astype(np.int64)
        if not len(tokens):
            raise DataError("x must be a part of a text; got an empty one")
        return tokens

    def describe(self) -> dict[str, Any]:
        """All but the vocabulary, as a folder keeps it."""
        described = {"kind": self.kind, "features": self.features, "steps": self.steps, "names": self.names}
        return described if self.frame is None else described | {"frame": self.frame}


@dataclass
class SequenceModel:
    """A trained network that gives O numbers for each sequence.

    encoder, readout: from sequences to the network, and from its head to O numbers.
    network: in the compiled core.
    metrics: the contents of metrics.json.
    """

    encoder: Encoder
    readout: Readout
    network: Loaded
    metrics: dict[str, Any] = field(default_factory=dict)

    def inputs(self, X: Any) -> Ragged:
        """The sequences of X, as the network reads them."""
        return self.encoder.encode(self.encoder.given(X))

    def results(self, inputs: Ragged) -> np.ndarray:
        """The result of each sequence that the network is to read, float64 (n, O), or of each step of all, (N, O)."""
        return self.result(self._read(self.network, inputs, self.readout, self.readout.sums))

    def transform(self, X: Any) -> np.ndarray:
        """What the head reads of each sequence, float64 (n, F): its state at the end, the mean of its states, or both.

        A state has 2·H numbers if the network is bidirectional; that at the end is the one direction's there, and the
        other's at the beginning. This is so, too, where the network gives a value at each step.
        """
        how = self.readout._replace(per_step=False)
        return self._read(_headless(self.network), self.inputs(X), how, how.states)

    def stream(self) -> "SequenceStream":
        """A sequence that comes step by step."""
        return SequenceStream(self)

    def _read(
        self, network: Loaded, inputs: Ragged, how: Readout, read: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """What is read off the outputs of a network over each sequence, which are the last alone where these do."""
        values = inputs.values if inputs.values.dtype.kind == "f" else inputs.values.astype(np.int64)
        last = how.last_alone
        outputs = Stream(network).predict(Ragged(values, inputs.offsets), last, threads())
        read_off = [read(out[None] if last else out) for out in outputs]
        found = np.concatenate(read_off) if how.per_step else np.stack(read_off)
        if not np.isfinite(found).all():
            raise UnspoolError(_DAMAGED)
        return found

    def result(self, outputs: np.ndarray) -> np.ndarray:
        """What the task makes of the outputs of one or more sequences or steps, float64 (..., O)."""
        raise NotImplementedError


class SequenceStream:
    """A sequence that comes step by step, with what the network says of it so far.

    A stream is for one thread. It can be copied and pickled, like the `Stream` in it.

    Raises:
        UnspoolError: the network is bidirectional.
    """

    def __init__(self, model: SequenceModel):
        if model.readout.bidirectional:
            raise UnspoolError(
                "stream needs a network that was trained with bidirectional=False; this one reads each sequence from "
                "its end, too, and so knows nothing before the end has come"
            )
        self.model, self.session = model, Stream(model.network)
        self.reset()

    def step(self, x: Any) -> np.ndarray | None:
        """Take one step, or some.

        Args:
            x: I numbers, or a frame; a token; a part of a text; or of one feature, a number or a part of a sound.
        Returns:
            What `predict` or `predict_proba` would, or the value at this step if the network gives one at each; None
            where the steps have no output, which is so only with a stride and with sound, whose outputs are 10 ms
            apart.
        """
        s = self.session.run(self.model.encoder.step(x))
        if not len(s):
            return None
        self.steps += len(s)
        for row in s:
            self.total = self.total + row
        return self.model.result(self.model.readout.joined(s[-1].astype(np.float64), None, self.total / self.steps))

    def reset(self) -> None:
        """Begin a new sequence."""
        self.session.reset()
        self.total, self.steps = np.zeros(self.model.network.architecture.outputs), 0


def _level(texts: Sequence[str]) -> str:
    """What a token is, unless it is said: a word of sentences, or else a character."""
    return "word" if np.median([len(text.split(None, 4)) for text in texts]) >= 5 else "char"


def threads() -> int:
    """The threads that share predictions: as many as OMP_NUM_THREADS says, or else as there are cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(said), 1024) if said.isdecimal() and int(said) else os.cpu_count() or 1


def _headless(network: Loaded) -> Loaded:
    """The same network with a head that gives the states as they are."""
    saved, path, instruction_set = network.made_of
    features = network.architecture.features
    config = saved.config["network"] | {"head": {"kind": "linear", "size": features}}
    bias = np.zeros(features, np.float32)
    weights = {name: w for name, w in float32(saved.weights).items() if not name.startswith("head.")}
    weights |= {"head.weight": np.eye(features, dtype=np.float32), "head.bias": bias}
    return Loaded(saved._replace(config={"network": config}, weights=weights), path, instruction_set)


def held_out(n: int, part: float, random_state: int, classes: np.ndarray | None = None) -> np.ndarray:
    """Which of n sequences are held out, bool (n,): the part of each class, and at least one in all.

    One sequence of each class is never held out, so that every class is trained on.

    Raises:
        DataError: no sequence can be held out.
    """
    order = np.random.default_rng([random_state, n]).permutation(n)
    kinds = np.zeros(n, np.int64) if classes is None else classes
    order = order[np.argsort(kinds[order], kind="stable")]
    again = np.append(False, kinds[order][1:] == kinds[order][:-1]) if n else np.zeros(0, bool)
    free = order[again]  # all but one of each class
    if not len(free):
        each = "" if classes is None else " of a class"
        raise DataError(
            f"X must have at least 2 sequences{each}, to train on one and validate on the other; "
            f"got {n} sample{'s' * (n > 1)}"
        )
    count = min(max(1, round(n * part)), len(free))
    out = np.zeros(n, bool)
    out[free[((np.arange(count) + 0.5) * len(free) / count).astype(np.int64)]] = True
    return out


def read(path: str | Path, task: str) -> tuple[folder.Saved, Loaded, dict[str, Any]]:
    """The folder of a task, its network in the core, and its metrics."""
    found = folder.read(path, task, FILES, MAY_HAVE)
    metrics = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
    return found, Loaded(found, path), metrics


def readout_of(found: folder.Saved, bidirectional: bool) -> Readout:
    """The readout in a folder; raise ValueError or KeyError unless it is one."""
    how = found.config["preprocessing"]
    if how["pooling"] not in POOLINGS:
        raise FolderError(f"pooling must be one of {', '.join(POOLINGS)}; got {how['pooling']!r:.20}")
    return Readout(how["pooling"], bidirectional, bool(how["per_step"]))


def parts_of(found: folder.Saved, network: Loaded, outputs: int) -> tuple[Encoder, Readout]:
    """The encoder and the readout in a folder; raise ValueError or KeyError unless they fit the network."""
    described = found.config["preprocessing"]["encoder"]
    vocabulary = None
    if described["kind"] != "numbers":
        vocabulary = vocabularies.from_json(found.files["vocabulary.json"])
    names = None if described["names"] is None else tuple(map(str, described["names"]))
    frame = described.get("frame")
    frame = None if frame is None else (int(frame[0]), int(frame[1]), int(frame[2]))
    encoder = Encoder(described["kind"], described["features"], described["steps"], names, vocabulary, frame)
    arch = network.architecture
    readout = readout_of(found, arch.bidirectional)
    images = {"height", "width", "channels"} <= arch.front_options.keys()
    if frame != (tuple(arch.front_options[n] for n in ("height", "width", "channels")) if images else None):
        raise FolderError("the network and the frames that it sees do not fit together")
    if (encoder.features or len(vocabulary or ())) != (arch.tokens or arch.inputs):
        raise FolderError("the network and what it reads do not fit together")
    if arch.outputs != readout.width(outputs):
        raise FolderError(f"the network has {arch.outputs} outputs, which are not those of {outputs}")
    return encoder, readout


def by_step(y: Any) -> list[Any] | Ragged | None:
    """The targets of each sequence, if y has one for each step; None if it has one for each sequence.

    One for each step has a list, a tuple, an array of objects or `Ragged` of lists or arrays, or an array (n, T, O).
    """
    if isinstance(y, Ragged):
        return y
    if not isinstance(y, list | tuple) and getattr(y, "ndim", 0) not in (1, 3):
        return None
    first = next(iter(y), None)
    return list(y) if isinstance(first, list | tuple) or getattr(first, "ndim", 0) else None


def as_objects(values: list[Any]) -> np.ndarray:
    """An array of objects, (n,)."""
    out = np.empty(len(values), object)
    out[:] = values
    return out


def compared(network: str, baselines: Mapping[str, str], better: str | None) -> str:
    """The lines of a report: what the network reached, and what each baseline did."""
    lines = [f"network    {network}", *(f"baseline   {score}, {name}" for name, score in baselines.items())]
    if better is not None:
        lines.append(f"{better} is better: longer training, more data or a larger network may change this.")
    return "\n".join(lines)
