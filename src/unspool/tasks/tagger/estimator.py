"""Taggers: the tag of each step of a sequence."""

import itertools
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import functional

from ...data.batches import NO_TARGET, Bucketed
from ...data.given import Given
from ...data.ragged import Ragged
from ...errors import DataError, UnspoolError
from ...network import Network, restore
from ...options import documented
from ...saved import folder
from ...saved.small import float32
from .. import metrics, readout
from ..classifier.saved import described
from ..estimator import Estimator, Work
from ..options import TaggerOptions, directions, flat, layers_of, training_of
from ..supervised import _part, _scale
from . import baseline, saved
from .network import TaggerNetwork
from .saved import Span, TaggerModel, TaggerStream, Tagging, sequences_of, tags_of, values_of
from .words import Words, learn, read_vectors, table

_ABOUT = """A recurrent tagger made with unspool. The scores are those on sequences that were held out; the baselines
were trained on the same sequences.

```python
from unspool import Tagger

tagger = Tagger.load(".")
tagger.predict([["A", "sentence", "of", "words"]])
```"""
# The reader of characters.
_LETTER, _UNITS, _SPELLED = 32, 64, 100


class Part(NamedTuple):
    """Sequences, and the number of the tag of each step, (N,)."""

    given: Given
    codes: np.ndarray


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Tagger(TaggerOptions, Estimator):
    """A recurrent network that tells the tag of each step of a sequence: parts of speech, names, states of sensors.

        w[t] = [embedding(word); a[n-1] + b[0] of its characters; vector(word)]
        s = head(recurrent(w));  p(tags | words) = exp(score(s, tags)) / Z, or softmax(s[t]) for each step

    `fit(X, y)` takes lists of words, or numbers, as `unspool.data.given.as_sequences` does, or `Sequences` of a reader,
    and for each sequence a list of tags, str or int; of `Sequences` y can be the name of a column. A word of the
    training part is replaced by the unknown word now and then, the rarer it is the more often. Where the tags are BIO
    or BIOES, and all given sentences are well-formed, the conditional random field gives no other. Of a word with more
    than 32 characters the reader sees the first 16 and the last. A tdnn or an mlp sees each word and those before
    it, as far as its window goes. The weights are kept that have the best score on what is held out; `validation` in
    the history is 1 - score. Predictions are made by the compiled core, and are the same bits in any batch and any
    order.

    Args:
        {options}
        training: a `Training` with all other options; None: its defaults, but patience=0.

    After `fit` it has `classes_` (the tags), `network_`, `metrics_` (the contents of metrics.json) and `history_` (a
    list of dictionaries, the lines of history.jsonl).

    >>> from unspool import Tagger
    >>> X, y = [["Anna", "sees", "Bert"], ["Carl", "sings"]] * 8, [["B-PER", "O", "B-PER"], ["B-PER", "O"]] * 8
    >>> Tagger(hidden_size=8, epochs=10, learning_rate=0.02).fit(X, y).predict([["Bert", "sings"]])[0]
    ['B-PER', 'O']
    """

    task: ClassVar[str] = saved.TASK
    about: ClassVar[str] = _ABOUT
    may_have: ClassVar[tuple[str, ...]] = saved.MAY_HAVE
    unit: ClassVar[str] = "step"

    def predict(self, X: Any) -> np.ndarray:
        """See `TaggerModel.predict`."""
        return self._fitted().predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """See `TaggerModel.predict_proba`."""
        return self._fitted().predict_proba(X)

    def predict_spans(self, x: Any) -> list[Span]:
        """See `TaggerModel.predict_spans`."""
        return self._fitted().predict_spans(x)

    def n_best(self, x: Any, n: int = 5) -> list[Tagging]:
        """See `TaggerModel.n_best`."""
        return self._fitted().n_best(x, n)

    def score(self, X: Any, y: Any) -> float:
        """See `TaggerModel.score`."""
        return self._fitted().score(X, y)

    def stream(self) -> TaggerStream:
        """See `TaggerStream`."""
        return self._fitted().stream()

    def report(self) -> str:
        """The score on the sequences held out, beside the baselines."""
        return self._fitted().report()

    def _fitted(self) -> TaggerModel:
        """The saved half, whose networks run in the compiled core."""
        check_is_fitted(self, "network_")
        weights = {name: value.detach().cpu().numpy() for name, value in self.network_.state_dict().items()}
        preprocessing, files = self._files()
        config = {"parameters": {"feedback": self.feedback}, "preprocessing": preprocessing, **self._networks()}
        contents = {name: text.encode() for name, text in files.items()}
        return saved.model_of(folder.Saved(config, weights, contents, ""), self.metrics_, "the network")

    def _work(self, X: Any, y: Any, validation: Any) -> Work:
        if self.feedback and (directions(self, self.cell) or self.output != "softmax"):
            raise UnspoolError(
                "feedback needs bidirectional=False and output='softmax', as each tag is chosen before the next step"
            )
        options = training_of(self)
        if options["tbptt"] is not None:
            raise UnspoolError("tbptt must be None for a tagger, which is trained on whole sequences")
        train, valid, source = self._parts(X, y, validation)
        self._learn_words(train)
        rows = self._rows(train.given)
        return Work(
            network=self._config(),
            loss=self._loss,
            batches=Bucketed(*self._inputs(train, rows), options["batch_size"], seed=self.random_state),
            validation=(),
            source=source,
            data=(train, valid, rows),
            constants={} if self.words_ else self._constants(values_of(train.given).values),
        )

    def _parts(self, X: Any, y: Any, validation: Any) -> tuple[Part, Part, dict[str, Any]]:
        """The sequences to train on and those held out, and what identifies them."""
        given = sequences_of(X)
        tags = tags_of(y, X, given)
        self.names_ = given.names
        if isinstance(validation, tuple | list) and len(validation) == 2:
            other = sequences_of(validation[0], given.names)
            others = tags_of(validation[1], validation[0], other)
            pairs = ((given, tags), (other, others))
            source = {"validation": None}
        else:
            part = _part(validation)
            mine = readout.held_out(len(given), part, self.random_state)
            pairs = tuple((given.take(at), tags.take(at)) for at in (np.flatnonzero(~mine), np.flatnonzero(mine)))
            source = {"validation": part}
        found = sha256()
        for one, theirs in pairs:
            for values in (values_of(one), theirs):
                data = values.values
                found.update(values.offsets.data)
                found.update(
                    data.reshape(-1).data if data.dtype.kind == "f" else repr(data.tolist()).encode("utf-8", "replace")
                )
        if pairs[0][0].kind != pairs[1][0].kind or _width(pairs[0][0]) != _width(pairs[1][0]):
            raise DataError("validation must have sequences of the kind and the features of X")
        self._learn_tags(*(theirs for _, theirs in pairs))
        train, valid = (Part(one, np.searchsorted(self.classes_, theirs.values)) for one, theirs in pairs)
        return train, valid, source | {"sha256": found.hexdigest()}

    def _learn_tags(self, train: Ragged, valid: Ragged) -> None:
        if train.values.dtype.kind != valid.values.dtype.kind:
            raise DataError("tags must be all str, or all int; those of validation are others")
        self.classes_ = np.unique(np.concatenate([train.values, valid.values]))
        if len(self.classes_) < 2:
            raise DataError(f"tags must be at least two different ones; got {self.classes_[0]!s:.40} alone")
        if self.output == "crf" and len(self.classes_) > saved.MOST:
            raise DataError(
                f"tags must be at most {saved.MOST:,} different ones with output='crf', which has a number for each "
                f"pair; got {len(self.classes_):,}: choose output='softmax'"
            )
        scheme = metrics.scheme_of(self.classes_.tolist())
        whole = (["O", *tags.tolist(), "O"] for part in (train, valid) for tags in part) if scheme else ()
        well_formed = all(metrics.follows(a, b, str(scheme)) for tags in whole for a, b in itertools.pairwise(tags))
        self.scheme_ = scheme if well_formed else None

    def _learn_words(self, train: Part) -> None:
        self.words_: Words | None = None
        self.vectors_: np.ndarray | None = None
        values = values_of(train.given)
        if train.given.kind != "tokens":
            if self.vectors is not None:
                raise UnspoolError("vectors are for words, and X has numbers; leave them out")
            self.n_features_in_ = values.values.shape[1]
            return
        self.__dict__.pop("n_features_in_", None)
        vectors = {} if self.vectors is None else read_vectors(self.vectors)
        if not (self.embedding_size or self.characters or vectors):
            raise UnspoolError("embedding_size must be at least 1, unless characters or vectors are read")
        self.words_, self._times = learn(values.values, self.characters, vectors)
        self.vectors_ = table(self.words_, vectors) if vectors else None

    def _rows(self, given: Given) -> dict[str, int]:
        """The distinct words of the training part, numbered."""
        if self.words_ is None:
            return {}
        return {word: i for i, word in enumerate(dict.fromkeys(values_of(given).values))}

    def _inputs(self, part: Part, rows: dict[str, int]) -> tuple[Ragged, Ragged]:
        """The inputs and the targets of a part, as `TaggerNetwork` takes them."""
        values = values_of(part.given)
        x = np.array([rows[word] for word in values.values], np.int64) if rows else values.values
        if self.feedback:
            before = np.append(-1, part.codes[:-1])
            before[values.offsets[:-1]] = -1
            tags = (
                before[:, None]
                if rows
                else np.eye(len(self.classes_), dtype=np.float32)[before] * (before >= 0)[:, None]
            )
            x = np.concatenate([x[:, None] if rows else x, tags], 1)
        return Ragged(x, values.offsets), Ragged(part.codes, values.offsets)

    def _config(self) -> dict[str, Any]:
        sizes = [self.n_features_in_] if self.words_ is None else [size for _, size in self._shapes().values()]
        if self.words_ is not None and self.characters:
            sizes.append(_SPELLED)
        K = len(self.classes_)
        return {
            "front": {"kind": "dense", "size": sum(sizes) + K * self.feedback},
            "recurrent": layers_of(self, directions(self, self.cell)),
            "head": {"kind": "linear", "size": K},
        }

    def _shapes(self) -> dict[str, tuple[int, int]]:
        """The tables of words."""
        shapes = {}
        if self.words_ is not None and self.embedding_size:
            shapes["words"] = (self.words_.trained, self.embedding_size)
        if self.vectors_ is not None:
            shapes["vectors"] = self.vectors_.shape
        return shapes

    def _described_parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {name: {} for name in self._shapes()}
        if self.words_ is not None and self.words_.characters is not None:
            parts["characters"] = {
                "front": {"kind": "embedding", "tokens": len(self.words_.characters), "size": _LETTER},
                "recurrent": {"cell": "lstm", "hidden_size": _UNITS, "num_layers": 1, "bidirectional": True},
                "head": {"kind": "linear", "size": 2 * _SPELLED},
            }
        return parts | ({"chain": {}} if self.output == "crf" else {})

    def _make(self, parts: dict[str, Any], config: Any) -> TaggerNetwork:
        feedback = len(self.classes_) * self.feedback
        allowed = saved.allowed(self.classes_, self.scheme_)
        return TaggerNetwork(config, parts, self._shapes(), feedback, allowed)

    def _build(self, work: Work) -> Network:
        network = self._make(self._described_parts(), work.network)
        for name, value in work.constants.items():
            network.get_buffer(name).copy_(torch.from_numpy(value))
        if network.vectors is not None and self.vectors_ is not None:
            network.vectors.weight.data.copy_(torch.from_numpy(self.vectors_))
        words, rows = self.words_, work.data[-1]
        if words is not None:
            spelled = (
                [words.spelling(word) for word in rows] if words.characters else [np.zeros(1, np.int64)] * len(rows)
            )
            lengths = np.array([len(one) for one in spelled])
            letters = np.zeros((len(rows), lengths.max()), np.int64)
            letters[np.arange(letters.shape[1]) < lengths[:, None]] = np.concatenate(spelled)
            mine = np.array([words.row(word) for word in rows])
            told = (mine, [words.number(word) for word in rows], self._times[mine], letters, lengths)
            network.prepare(*(torch.from_numpy(np.asarray(one)) for one in told))
        return network

    def _rebuild(self, found: folder.Saved) -> Network:
        self._read(found)
        return restore(found.config["network"], float32(found.weights), partial(self._make, found.config["parts"]))

    def _networks(self) -> dict[str, Any]:
        return {"network": self.network_.config, "parts": self.network_.parts}

    def _parameters(self) -> dict[str, Any]:
        """All options; of vectors that were given as a mapping, nothing, as they are in the folder."""
        return flat(self) | {"vectors": self.vectors if isinstance(self.vectors, str | None) else None}

    def _constants(self, x: np.ndarray) -> dict[str, np.ndarray]:
        scale = _scale(x)
        K = len(self.classes_) * self.feedback
        return {
            "front.mean": np.append(scale["front.mean"], np.zeros(K, np.float32)),
            "front.std": np.append(scale["front.std"], np.ones(K, np.float32)),
        }

    def _loss(self, s: Tensor, targets: Tensor) -> Tensor:
        """The summed negative log-likelihood of all tags of a batch, (T, B, K) and (T, B)."""
        chain = getattr(self.network_, "chain", None)
        if chain is None:
            return functional.cross_entropy(s.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET, reduction="sum")
        return chain(s, targets, lengths=(targets != NO_TARGET).sum(0), reduction="sum")

    def _validate(self, work: Work) -> float:
        """1 - score: the likelihood of a tagger is at its best long before its tags are."""
        self.metrics_ = {"baselines": {}}
        valid = work.data[1]
        return 1 - self._fitted().score(valid.given, self._tags(valid))

    def _tags(self, part: Part) -> Ragged:
        return Ragged(self.classes_[part.codes], values_of(part.given).offsets)

    def _finish(self, work: Work) -> dict[str, Any]:
        train, valid, _ = work.data
        right = [tags.tolist() for tags in self._tags(valid)]
        of_spans = metrics.scheme_of(self.classes_.tolist()) is not None
        scores = partial(saved.scores, right, of_spans=of_spans)
        given, held_out = values_of(train.given), values_of(valid.given)
        if self.words_ is None:
            found = baseline.by_number(given, train.codes, held_out)
        else:
            found = baseline.by_word(given, train.codes, held_out, of_spans)
        model = self._fitted()
        return {
            "data": train.given.describe(),
            "validation": scores(model.predict(valid.given)) | {"sequences": len(right), "steps": len(valid.codes)},
            "baselines": {
                name: scores([self.classes_[codes].tolist() for codes in codes_of])[model.metric]
                for name, codes_of in found.items()
            },
        }

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        words = self.words_
        preprocessing = {
            "tags": described(self.classes_),
            "scheme": self.scheme_,
            "features": self.n_features_in_ if words is None else 0,
            "names": self.names_,
        }
        if words is None:
            return preprocessing, {}
        spelled = None if words.characters is None else words.characters.tokens
        preprocessing["words"] = {"trained": words.trained, "characters": spelled}
        return preprocessing, {"vocabulary.json": words.vocabulary.to_json()}

    def _read(self, found: folder.Saved) -> None:
        """Set what is known before there is a network."""
        preprocessing = found.config["preprocessing"]
        self.classes_ = saved.classes_from(preprocessing["tags"])
        self.scheme_, self.names_ = preprocessing["scheme"], preprocessing["names"]
        self.words_ = None
        self.vectors_ = found.weights["vectors.weight"] if "vectors" in found.config.get("parts", {}) else None
        if preprocessing["features"]:
            self.n_features_in_ = preprocessing["features"]
        else:
            self.words_ = saved.words_from(found)
        if self.vectors_ is not None and self.vectors is None and self.words_ is not None:
            words = self.words_.vocabulary.tokens
            self.vectors = {w: v for w, v in zip(words, self.vectors_, strict=True) if w and v.any()}  # pyright: ignore

    def _restore(self, found: folder.Saved) -> None:
        saved.model_of(found, self.metrics_, "the network")

    def _title(self) -> str:
        return f"Tagger of sequences, {self.cell} {self.hidden_size}"


def _width(given: Given) -> tuple[int, ...]:
    return values_of(given).values.shape[1:]
