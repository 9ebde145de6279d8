"""What a trained tagger does: it tells the tag of each step of a sequence. This needs no PyTorch."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import chain
from ...chain import Chain
from ...data import vocabulary as vocabularies
from ...data.given import Given, as_sequences
from ...data.ragged import Ragged
from ...data.sequences import Sequences
from ...errors import DataError, FolderError, UnspoolError
from ...saved import folder
from ...stream import Loaded, Stream
from .. import metrics, readout
from ..classifier.saved import classes_from
from ..readout import Readout, as_objects
from .words import Words

TASK = "tagger"
FILES, MAY_HAVE = ("metrics.json",), ("vocabulary.json",)
MOST = 1000  # tags of a conditional random field, which has a number for each pair
_READER = Readout("last", True)
_BLOCK = 64  # sentences whose tags are found together
_KEPT = 2**17  # words whose spelling is kept


class Span(NamedTuple):
    """A span of a sentence, steps begin .. end - 1, and the probability that it is there just so."""

    begin: int
    end: int
    label: str
    probability: float


class Tagging(NamedTuple):
    """The tags of a sentence, and their probability."""

    tags: list[Any]
    probability: float


@dataclass
class TaggerModel:
    """A trained tagger.

    classes: the K tags, (K,).
    features: I, where numbers are read; 0 for words.
    words: what is read of words; None for numbers.
    network, reader: in the compiled core; the reader of characters is None if there is none.
    tables: `words` and `vectors`, float32 (rows, columns), each if there is one.
    potentials: of the conditional random field; None for a softmax.
    feedback: whether the tag before is read.
    names: of the columns to take of `Sequences`.
    """

    classes: np.ndarray
    features: int
    words: Words | None
    network: Loaded
    reader: Loaded | None
    tables: Mapping[str, np.ndarray]
    potentials: Chain | None
    feedback: bool
    names: tuple[str, ...] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    spelled: dict[str, np.ndarray] = field(default_factory=dict)  # what the reader gave for words

    def predict(self, X: Any) -> np.ndarray:
        """The tags of each sequence, an array of n lists: of a conditional random field the most probable path."""
        out = self._codes(self.given(X))
        return as_objects([self.classes[codes].tolist() for codes in out])

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each tag at each step, float64 (T, K) for each sequence, in an array of n of them.

        Of a conditional random field these are its marginals, sums over all paths. With feedback they are those after
        the tags that were predicted before.
        """
        return as_objects(list(self._marginals(self.given(X))))

    def predict_spans(self, x: Any) -> list[Span]:
        """The spans of one sequence that are predicted, each with its exact probability: a sum over all paths.

        Raises:
            UnspoolError: the tags are not BIO or BIOES, or the network has feedback.
        """
        scheme = metrics.scheme_of(self.classes.tolist())
        if scheme is None:
            raise UnspoolError("predict_spans needs tags of the BIO or BIOES scheme; this tagger has others")
        s, potentials = self._one(x, "predict_spans")
        tags = self.classes[chain.decode(potentials, s)[:, 0]].tolist()
        found = metrics.spans(tags)
        numbers = {tag: k for k, tag in enumerate(self.classes.tolist())}
        events = [_events(numbers, *span) for span in found]
        p = iter(chain.span_posterior(potentials, s, [event for some in events for event in some]))
        return [
            Span(*span, min(1.0, float(sum(islice(p, len(some)))))) for span, some in zip(found, events, strict=True)
        ]

    def n_best(self, x: Any, n: int = 5) -> list[Tagging]:
        """The n most probable paths of tags of one sequence, the best first, with their probabilities.

        Raises:
            UnspoolError: the network has feedback.
        """
        s, potentials = self._one(x, "n_best")
        paths, log = chain.n_best(potentials, s, n)
        there = np.isfinite(log[0])
        best = zip(paths[:, 0, there].T, np.exp(log[0, there]), strict=True)
        return [Tagging(self.classes[codes].tolist(), float(p)) for codes, p in best]

    def score(self, X: Any, y: Any) -> float:
        """F1 of the spans, as conlleval counts them, where the tags are BIO or BIOES; else the accuracy."""
        given = self.given(X)
        return scores(tags_of(y, X, given), self.predict(given), self.metric == "f1")[self.metric]

    @property
    def metric(self) -> str:
        return "f1" if metrics.scheme_of(self.classes.tolist()) else "accuracy"

    def stream(self) -> "TaggerStream":
        """A sentence that comes word by word."""
        return TaggerStream(self)

    def report(self) -> str:
        """The score on what was held out, beside those of the baselines."""
        network, baselines = self.metrics["validation"], self.metrics["baselines"]
        best = max(baselines, key=baselines.__getitem__)
        name = self.metric
        return readout.compared(
            f"{network[name]:.4f} {name} on {network['sequences']:,} sequences held out, trained on "
            f"{self.metrics['data']}",
            {which: f"{value:.4f}" for which, value in baselines.items()},
            best if baselines[best] > network[name] else None,
        )

    def given(self, X: Any) -> Given:
        """The sequences of X; raise DataError unless the network can read them."""
        given = sequences_of(X, self.names)
        if (given.kind == "tokens") != (self.words is not None):
            wanted = "numbers" if self.words is None else "lists of words"
            raise DataError(f"X must have {wanted}, as what the tagger was trained on; got {given.kind}")
        if self.words is None and (size := values_of(given).values.shape[1]) != self.features:
            raise DataError(f"X must have sequences of {self.features} features; got {size}")
        return given

    def inputs(self, given: Given) -> Iterator[np.ndarray]:
        """What the network reads of each sequence, but for the tag before, float32 (T, I)."""
        sequences = iter(values_of(given))
        while block := list(islice(sequences, _BLOCK)):
            if self.words is None:
                yield from block
                continue
            self._spell({word for words in block for word in words})
            yield from (self._read(words) for words in block)

    def _read(self, words: Iterable[str]) -> np.ndarray:
        known: Any = self.words
        read = []
        if "words" in self.tables:
            read.append(self.tables["words"][[known.row(word) for word in words]])
        if self.reader is not None:
            read.append(np.stack([self.spelled[word] for word in words]))
        if "vectors" in self.tables:
            read.append(self.tables["vectors"][[known.number(word) for word in words]])
        return np.concatenate(read, 1, dtype=np.float32)

    def _spell(self, words: Iterable[str]) -> None:
        """Let the reader read the words that it has not read yet."""
        if self.reader is None or self.words is None:
            return
        if len(self.spelled) > _KEPT:
            self.spelled.clear()
        new = [word for word in words if word not in self.spelled]
        sums = Stream(self.reader).predict(map(self.words.spelling, new))
        self.spelled |= {word: _READER.sums(s).astype(np.float32) for word, s in zip(new, sums, strict=True)}

    def outputs(self, given: Given) -> Iterator[np.ndarray]:
        """The network's sums of each sequence, float32 (T, K)."""
        inputs = self.inputs(given)
        runs = map(self._greedy, inputs) if self.feedback else Stream(self.network).predict(inputs)
        for s in runs:
            if not np.isfinite(s).all():
                raise UnspoolError("the network's outputs are not finite: its weights are damaged, or X is far off")
            yield s

    def _greedy(self, x: np.ndarray) -> np.ndarray:
        """The sums of a sequence in which each predicted tag enters the next step."""
        stream, tag = Stream(self.network), np.zeros(len(self.classes), np.float32)
        out = []
        for row in x:
            out.append(stream.step(np.concatenate([row, tag])))
            tag = np.eye(len(tag), dtype=np.float32)[out[-1].argmax()]
        return np.stack(out)

    def _codes(self, given: Given) -> Iterator[np.ndarray]:
        """The numbers of the tags of each sequence."""
        if self.potentials is None:
            yield from (s.argmax(1) for s in self.outputs(given))
            return
        for s, lengths in _blocks(self.outputs(given)):
            tags = chain.decode(self.potentials, s, lengths)
            yield from (tags[:n, b] for b, n in enumerate(lengths))

    def _marginals(self, given: Given) -> Iterator[np.ndarray]:
        if self.potentials is None:
            yield from map(softmax, self.outputs(given))
            return
        for s, lengths in _blocks(self.outputs(given)):
            p = chain.marginals(self.potentials, s, lengths)
            yield from (p[:n, b].copy() for b, n in enumerate(lengths))

    def _one(self, x: Any, what: str) -> tuple[np.ndarray, Chain]:
        """The sums of one sequence, (T, 1, K), and the potentials: of a softmax a chain whose steps are independent."""
        if self.feedback:
            raise UnspoolError(f"{what} needs a tagger without feedback, whose probabilities are those of whole paths")
        K = len(self.classes)
        if K > MOST:
            raise UnspoolError(f"{what} needs at most {MOST:,} tags; this tagger has {K:,}")
        given = self.given([x])
        potentials = self.potentials or Chain(np.zeros((K, K)), np.zeros(K), np.zeros(K))
        return next(self.outputs(given))[:, None], potentials


class TaggerStream:
    """A sentence that comes word by word; each step gives the probability of each tag, as `predict_proba` does.

    A stream is for one thread.

    Raises:
        UnspoolError: the network is bidirectional, or its tags depend on those of the steps to come.
    """

    def __init__(self, model: TaggerModel):
        if model.network.architecture.bidirectional:
            raise UnspoolError(
                "stream needs a tagger that was trained with bidirectional=False; this one reads each sequence from "
                "its end, too, and so knows nothing before the end has come"
            )
        if model.potentials is not None:
            raise UnspoolError(
                "stream needs a tagger that was trained with output='softmax'; in a conditional random field each tag "
                "depends on the steps to come"
            )
        self.model, self.session = model, Stream(model.network)
        self.reset()

    def step(self, x: Any) -> np.ndarray:
        """Take a word, or I numbers; return the probability of each tag in `classes`, float64 (K,)."""
        given = self.model.given([[x]] if isinstance(x, str) else [np.reshape(x, (1, -1))])
        row = next(self.model.inputs(given))[0]
        s = self.session.step(np.concatenate([row, self.tag]) if self.model.feedback else row)
        self.tag = np.eye(len(self.tag), dtype=np.float32)[s.argmax()]
        return softmax(s)

    def reset(self) -> None:
        """Begin a new sentence."""
        self.session.reset()
        self.tag = np.zeros(len(self.model.classes), np.float32)


def softmax(s: np.ndarray) -> np.ndarray:
    p = np.exp(s.astype(np.float64) - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def sequences_of(X: Any, names: tuple[str, ...] | None = None) -> Given:
    """The sequences of X; of `Sequences` the columns of these names, or those of numbers, or the first of text."""
    if isinstance(X, Sequences):
        numeric = [name for name in X.per_step if X.steps(name).values.dtype.kind in "biuf"]
        chosen = names or tuple(numeric) or tuple(X.per_step[:1])
        if len(chosen) == 1 and X.steps(chosen[0]).values.dtype.kind == "O":
            return as_sequences(X.steps(chosen[0]))
        return as_sequences(X, chosen)
    given = as_sequences(X)
    if given.kind == "texts":
        raise DataError("X must have lists of words, or numbers; got texts: cut each into words, as by text.split()")
    return given


def tags_of(y: Any, X: Any, given: Given) -> Ragged:
    """The tags of the sequences: a list of lists, Ragged, or the name of a column of X, if that is `Sequences`.

    Raises:
        DataError: there is not a tag for each step, which names the sequence; or one is missing, or is neither a str
            nor an int, or they are not all of one kind.
    """
    lengths = values_of(given).lengths
    if isinstance(y, str):
        if not isinstance(X, Sequences):
            raise DataError(f"tags must be lists, one for each sequence; got the name {y!r:.40}, which needs Sequences")
        y = X.steps(y)
    tags = y if isinstance(y, Ragged) else list(y) if hasattr(y, "__len__") and not isinstance(y, dict) else None
    if tags is None:
        raise DataError(f"tags must be lists, one for each sequence; got {type(y).__name__}")
    if len(tags) != len(lengths):
        raise DataError(f"tags must be lists, one for each of {len(lengths)} sequences; got {len(tags)}")
    for i, (some, length) in enumerate(zip(tags, lengths, strict=True)):
        if isinstance(some, str) or not hasattr(some, "__len__"):
            raise DataError(f"tags must be lists, one for each sequence; got {some!r:.40} for sequence {i}")
        if len(some) != length:
            raise DataError(f"tags must be one for each step; got {len(some)} for the {length} of sequence {i}")
        for t, tag in enumerate(some):
            if isinstance(tag, bool | np.bool_) or not isinstance(tag, str | int | np.integer) or tag == "":
                raise DataError(f"tags must be str or int; got {tag!r:.40} at step {t} of sequence {i}")
    flat = [tag for some in tags for tag in some]
    if len({isinstance(tag, str) for tag in flat}) > 1:
        raise DataError("tags must be all str, or all int; got both")
    return Ragged(np.array(flat), values_of(given).offsets)


def values_of(given: Given) -> Ragged:
    return given.values  # pyright: ignore[reportReturnType]


def scores(right: Iterable[Any], predicted: Iterable[Any], of_spans: bool) -> dict[str, float]:
    """The accuracy; of tags that are BIO or BIOES precision, recall and F1 of the spans, too."""
    right = [np.asarray(tags).tolist() for tags in right]
    predicted = [list(tags) for tags in predicted]
    found = {"accuracy": metrics.accuracy(right, predicted)}
    if of_spans:
        found |= metrics.span_scores(right, predicted)._asdict()
    return found


def _blocks(outputs: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sums of several sequences side by side, (T, B, K), and their lengths."""
    while block := list(islice(outputs, _BLOCK)):
        lengths = np.array([len(s) for s in block])
        out = np.zeros((lengths.max(), len(block), block[0].shape[1]), np.float32)
        for b, s in enumerate(block):
            out[: len(s), b] = s
        yield out, lengths


def _events(numbers: Mapping[str, int], begin: int, end: int, label: str) -> list[chain.Span]:
    """The ways in which `metrics.spans` finds a span, no two of which can be at once.

    It begins with B or S, or with I or E after what they do not go on with; and it ends with E or S, or with B or I
    before what does not go on with them.
    """

    def have(letters: str) -> list[int]:
        return [numbers[f"{letter}-{label}"] for letter in letters if f"{letter}-{label}" in numbers]

    events = []
    for begins, ends in product(("BS", "IE"), ("ES", "BI")):
        before = have("BI") if begins == "IE" else []
        after = have("IE") if ends == "BI" else []
        if end - begin == 1:
            tags = [have("".join(set(begins) & set(ends)))]
        else:
            inner = [have("I")] * (end - begin - 2)
            tags = [have(begins.strip("SE")), *inner, have(ends.strip("SB"))]
        if all(tags):
            events.append(chain.Span(0, begin, tags, before, after))
    return events


def load(path: str | Path) -> TaggerModel:
    """Load a tagger, which the compiled core will run.

    Raises:
        FolderError: the folder is not a saved tagger, or is damaged.
    """
    found = folder.read(path, TASK, FILES, MAY_HAVE)
    read = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
    with folder.read_as(path, TASK):
        return model_of(found, read, path)


def model_of(found: folder.Saved, read: dict[str, Any], path: str | Path) -> TaggerModel:
    """The tagger in a folder; raise ValueError or KeyError unless its parts fit together."""
    preprocessing, parts = found.config["preprocessing"], found.config.get("parts", {})
    classes = classes_from(preprocessing["tags"])
    network = Loaded(found, path)
    reader = Loaded(found, path, part="characters") if "characters" in parts else None
    features, names = preprocessing["features"], preprocessing["names"]
    words = None if features else words_from(found)
    tables = {name: found.weights[f"{name}.weight"] for name in ("words", "vectors") if name in parts}
    feedback = bool(found.config["parameters"]["feedback"])
    potentials = None
    if "chain" in parts:
        A, start, end = (found.weights[f"chain.{name}transitions"] for name in ("", "start_", "end_"))
        potentials = masked(Chain(A, start, end), classes, preprocessing["scheme"])
    width = (features or 0) + sum(table.shape[1] for table in tables.values()) + len(classes) * feedback
    if reader is not None:
        width += reader.architecture.outputs // 2
        if words is None or words.characters is None or reader.architecture.tokens != len(words.characters):
            raise FolderError("the reader of characters and what it reads do not fit together")
    for name, table in tables.items():
        rows = 0 if words is None else words.trained if name == "words" else len(words.vocabulary)
        if table.ndim != 2 or len(table) != rows:
            raise FolderError(f"the table {name} has not a row for each word")
    if width != network.architecture.inputs or network.architecture.tokens:
        raise FolderError("the network and what it reads do not fit together")
    if network.architecture.outputs != len(classes):
        raise FolderError(f"the network has {network.architecture.outputs} outputs for {len(classes)} tags")
    for name, value in read["baselines"].items():
        if not isinstance(name, str) or not isinstance(value, float):
            raise FolderError("the baselines have no numbers")
    names = None if names is None else tuple(map(str, names))
    return TaggerModel(classes, features, words, network, reader, tables, potentials, feedback, names, read)


def words_from(found: folder.Saved) -> Words:
    """The words that a folder knows."""
    vocabulary = vocabularies.from_json(found.files["vocabulary.json"])
    saved = found.config["preprocessing"]["words"]
    spelled = saved["characters"]
    characters = None
    if spelled is not None:
        characters = vocabularies.from_json(json.dumps({"level": "char", "tokens": spelled}))
    trained = saved["trained"]
    if type(trained) is not int or not 1 <= trained <= len(vocabulary):
        raise FolderError("the number of words that were trained is wrong")
    return Words(vocabulary, trained, characters)


def allowed(classes: np.ndarray, scheme: str | None) -> Chain | None:
    """Which tags may follow each other in a scheme, bools; None if there is no scheme."""
    if scheme is None:
        return None
    tags = classes.tolist()
    follows = metrics.follows
    return Chain(
        np.array([[follows(a, b, scheme) for b in tags] for a in tags]),
        np.array([follows("O", b, scheme) for b in tags]),
        np.array([follows(a, "O", scheme) for a in tags]),
    )


def masked(potentials: Chain, classes: np.ndarray, scheme: str | None) -> Chain:
    """The potentials with -∞ where the scheme forbids something."""
    masks = allowed(classes, scheme)
    if masks is None:
        return potentials
    return Chain(*(np.where(mask, p.astype(np.float64), -np.inf) for mask, p in zip(masks, potentials, strict=True)))
