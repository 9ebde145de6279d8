"""Language models: the next character, byte or word of a text."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ...arguments import integer, number, one_of
from ...data import text as texts
from ...data import vocabulary as vocabularies
from ...data.batches import NO_TARGET, Chunks, Overlapping
from ...errors import DataError, DivergedError, UnspoolError
from ...network import Network, restore
from ...saved import folder
from ...train.loop import fit
from ...train.plan import Outcome, Plan, Progress
from ...train.through_time import as_tensor
from . import saved
from .baseline import NGram
from .saved import LN2, TASK, Evaluation, Score, Texts
from .saved import as_list as _list
from .saved import source as _source

_CELLS = ("elman", "jordan", "gru", "lstm")
_CHECKED = 2**16  # tokens of the validation part, at each check of a training run


class LanguageModel(BaseEstimator):
    """A recurrent network that predicts the next token of a text, and so can write one.

        p(w[t+1] | w[0..t]) = softmax(head(y[t]));  y, state = recurrent(front(w), state)

    Trained by truncated backpropagation through time: the text is cut into `batch_size` long rows, each read from its
    beginning to its end in chunks of `tbptt` tokens; the state is carried from chunk to chunk, the gradient is not.

    Args:
        level: the tokens: `char`, `byte` or `word`.
        cell: `elman`, `jordan`, `gru` or `lstm`.
        hidden_size: H, units of each recurrent layer.
        num_layers: L, recurrent layers.
        embedding_size: features of a token; 0 for none, the tokens go 1-of-k into the first layer.
        dropout: probability that an element is zeroed on the way up, never through time.
        tbptt: k1, steps of a chunk, or (k1, k2): the gradient goes back through k2 steps, into the chunks before.
        batch_size: rows.
        learning_rate: at the start.
        clip_norm: gradients are scaled down to this norm of all together; 0 for no scaling.
        clip_value: then each component is forced into ±clip_value; 0 for no clamping.
        optimiser: `adam`, `adamw`, `nadam`, `rmsprop`, `adagrad` or `sgd`.
        schedule: of the learning rate: `cosine` and `linear` go down to 0, `constant` does not.
        epochs: times that the text is read, unless `fit` is given minutes.
        patience: training ends after so many validations in a row without a better one; 0 for never.
        vocabulary_size: at most so many characters or words, the most frequent ones, are known.
        seed: of the weights and of dropout.

    After `fit`: `network_`, `vocabulary_`, `metrics_` (what metrics.json holds) and `history_` (a dictionary a check).
    """

    def __init__(
        self,
        *,
        level: str = "char",
        cell: str = "gru",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int = 128,
        dropout: float = 0.0,
        tbptt: int | Sequence[int] = 64,
        batch_size: int = 32,
        learning_rate: float = 4e-3,
        clip_norm: float = 1.0,
        clip_value: float = 0.0,
        optimiser: str = "adam",
        schedule: str = "cosine",
        epochs: int = 10,
        patience: int = 0,
        vocabulary_size: int = 10_000,
        seed: int = 0,
    ):
        self.level = level
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.tbptt = tbptt
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.optimiser = optimiser
        self.schedule = schedule
        self.epochs = epochs
        self.patience = patience
        self.vocabulary_size = vocabulary_size
        self.seed = seed

    def fit(
        self,
        text: Texts,
        *,
        validation: float | str | bytes = 0.1,
        minutes: float | None = None,
        watch: Callable[[Progress], None] | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        **options: Any,
    ) -> "LanguageModel":
        """Train on a text, and keep the weights that predict the validation part best.

        Args:
            text: one text, whose end is held out for validation, or several, of which the last are held out whole.
            validation: the part to hold out, between 0 and 1, or a validation text of its own.
            minutes: train for so long instead of so many epochs.
            watch: is told the progress after each step; losses in bits a token.
            run: a folder for checkpoints and the history; without it nothing of an interrupted run is kept on the disk.
            resume: go on from the checkpoint in `run`, of the same text and parameters.
            options: `fabric` and `tensorboard`, as for `unspool.train.fit`.
        Raises:
            DataError: a text is too short, or not of this level's type.
            DivergedError: a loss was not finite. If there was a check before, the model is fitted with its weights.
            FolderError: the checkpoint cannot be read or written, or was made by another run.
        """
        k1, k2 = self._check(minutes)
        training, held_out, source = self._parts(text, validation)
        self.vocabulary_ = vocabularies.from_text(training, self.level, self.vocabulary_size)
        train, valid = self.vocabulary_.encode(training), self.vocabulary_.encode(held_out)
        self._check_lengths(train, valid)
        if len(self.vocabulary_) < 2:
            raise DataError("text must have a word that occurs twice; got none: give a longer text, or level 'char'")
        chunks = Chunks(train, self.batch_size, k1)
        self.source_ = source
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = Network(self._network_config())
            try:
                outcome = fit(
                    self.network_,
                    cross_entropy,
                    chunks if k1 == k2 else Overlapping(chunks, k1, k2),
                    lambda: self._nats(valid, _CHECKED),
                    self._plan(minutes),
                    watch=watch,
                    record=_bits,
                    run=None if run is None else Path(run),
                    resume=resume,
                    identity=json.dumps([TASK, self.get_params(), source], default=repr),
                    **options,
                )
            except DivergedError as error:
                if any(line["validation"] is not None for line in error.outcome.history):
                    self._conclude(train, valid, error.outcome)
                else:
                    del self.network_
                raise
        self._conclude(train, valid, outcome)
        return self

    def score(self, text: Texts) -> float:
        """Mean log₂ p of a text's tokens, all but the first: minus the bits a token, so that greater is better."""
        return -self._score(self._encode(text)).bits

    def evaluate(self, text: Texts) -> Evaluation:
        """Score a text. Of the text that the model was fitted to only the held-out part counts, beside the 5-gram.

        A token that is not in the vocabulary is predicted as the unknown token; how many those were is part of the
        score. A long text is cut into up to 64 rows, each of which begins with a zero state.
        """
        check_is_fitted(self, "network_")
        return saved.evaluate(self.vocabulary_, self.source_, self._score, text)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and what follows it; options as for `pieces`."""
        return "".join(self.pieces(prompt, **options))

    @torch.no_grad()
    def pieces(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The prompt and what follows it, piece by piece as it is made.

        Args:
            prompt: the text to go on from; the beginning of a line if empty.
            length: tokens to make.
            temperature: the logits are divided by it: below 1 likelier, above 1 more varied, 0 always the likeliest.
            top_k: draw from the k likeliest tokens only.
            top_p: draw from the fewest of the likeliest tokens whose probabilities reach p together.
            seed: the same seed gives the same text; by default each call gives another.
        """
        check_is_fitted(self, "network_")
        state = None

        def logits(tokens: np.ndarray) -> np.ndarray:
            nonlocal state
            s, state = self.network_(torch.from_numpy(tokens)[:, None], state)
            return s[-1, 0].numpy()

        options = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        yield from saved.write(self.vocabulary_, logits, prompt, **options)

    def unknown(self, text: Texts) -> int:
        """How many of a text's tokens are not in the vocabulary."""
        tokens = self._encode(text)
        return saved.count_unknown(self.vocabulary_, tokens)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Save into a folder, which must not exist; or replace the network there, by force.

        Raises:
            FolderError: it cannot be written. What was there is still there.
        """
        check_is_fitted(self, "network_")
        config = {
            "task": TASK,
            "parameters": self.get_params(),
            "preprocessing": {"source": self.source_},
            "network": self.network_.config,
        }
        weights = {name: value.numpy() for name, value in self.network_.state_dict().items()}
        files = {
            "vocabulary.json": self.vocabulary_.to_json(),
            "metrics.json": json.dumps(self.metrics_, indent=2),
            "history.jsonl": "".join(json.dumps(row) + "\n" for row in self.history_),
            "README.md": folder.card(self._title(), config, self.metrics_, _ABOUT),
        }
        folder.write(path, config, weights, files, force=force)

    @classmethod
    def load(cls, path: str | Path) -> "LanguageModel":
        """Load from a folder.

        Raises:
            FolderError: it is not a saved language model, or a damaged one.
        """
        found = folder.read(path, TASK, ("vocabulary.json", "metrics.json", "history.jsonl"))
        model = cls()
        model.metrics_ = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
        try:
            model.set_params(**found.config["parameters"])
            model._check(None)
            model.source_ = _source(**found.config["preprocessing"]["source"])
            model.history_ = [json.loads(line) for line in found.files["history.jsonl"].splitlines()]
            model.network_ = restore(found.config["network"], found.weights)
            sizes = model.network_.inputs, model.network_.outputs
            model.vocabulary_ = saved.vocabulary_of(found, model.metrics_, *sizes)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise saved.not_a_model(path, error) from None
        return model

    def _check(self, minutes: float | None) -> tuple[int, int]:
        """Raise UnspoolError unless the parameters can be used; tbptt's k1 and k2."""
        one_of("level", self.level, vocabularies.LEVELS)
        one_of("cell", self.cell, _CELLS)
        for name in ("hidden_size", "num_layers", "batch_size", "vocabulary_size"):
            integer(name, getattr(self, name), 1)
        for name in ("seed", "embedding_size"):
            integer(name, getattr(self, name), 0)
        number("dropout", self.dropout, below=1)
        self._plan(minutes)
        return _tbptt(self.tbptt)

    def _plan(self, minutes: float | None) -> Plan:
        return Plan(
            self.learning_rate,
            self.clip_norm,
            self.epochs,
            minutes,
            clip_value=self.clip_value,
            optimiser=self.optimiser,
            schedule=self.schedule,
            patience=self.patience,
        )

    def _check_lengths(self, train: np.ndarray, valid: np.ndarray) -> None:
        if min(len(train), len(valid)) < 2:
            unit = vocabularies.UNITS[self.level]
            raise DataError(
                f"text must have at least 4 {unit}s, 2 to train on and 2 to validate on; got {len(train)} and "
                f"{len(valid)}: give a longer text, or another validation"
            )

    def _parts(self, text: Texts, validation: float | str | bytes) -> tuple[Any, Any, dict[str, Any]]:
        """Training text, validation text, and by what the source can be known again."""
        parts = _list(text)
        if isinstance(validation, str | bytes):
            return parts[0][:0].join(parts), validation, _source(texts.digest(parts), None)
        source = _source(texts.digest(parts), validation)
        return *texts.split(parts, validation), source

    def _network_config(self) -> dict[str, Any]:
        tokens = len(self.vocabulary_)
        embedding = {"kind": "embedding", "tokens": tokens, "size": self.embedding_size}
        return {
            "front": embedding if self.embedding_size else {"kind": "one-hot", "size": tokens},
            "recurrent": {
                "cell": self.cell,
                "hidden_size": self.hidden_size,
                "num_layers": self.num_layers,
                "dropout": self.dropout,
            },
            "head": {"kind": "linear", "size": tokens},
        }

    def _conclude(self, train: np.ndarray, valid: np.ndarray, outcome: Outcome) -> None:
        """Metrics and history of a run that ended."""
        baseline = NGram(train, len(self.vocabulary_))
        last = outcome.history[-1]
        self.metrics_ = {
            "unit": vocabularies.UNITS[self.level],
            "validation": self._score(valid)._asdict(),
            "baseline": {"name": f"interpolated {baseline.order}-gram", "bits": baseline.bits(valid)},
            "training": {
                "tokens": len(train),
                "epochs": last["epoch"],
                "steps": last["step"],
                "seconds": last["seconds"],
                "stopped": outcome.stopped,
            },
        }
        self.history_ = outcome.history

    def _encode(self, text: Texts) -> np.ndarray:
        check_is_fitted(self, "network_")
        parts = _list(text)
        return self.vocabulary_.encode(parts[0][:0].join(parts))

    def _score(self, tokens: np.ndarray) -> Score:
        return saved.score(self.vocabulary_, tokens, self._nats)

    @torch.no_grad()
    def _nats(self, tokens: np.ndarray, at_most: int | None = None) -> float:
        """Mean nats a token, of all, or of about so many from the beginnings of the rows."""
        chunks = saved.scoring_chunks(tokens, len(self.vocabulary_))
        state, total, count, weight = None, 0.0, 0, next(self.network_.parameters())
        for batch in chunks:
            logits, state = self.network_(as_tensor(batch.inputs, weight), state)
            total += cross_entropy(logits, as_tensor(batch.targets, weight)).item()
            count += int(np.count_nonzero(batch.targets != NO_TARGET))
            if at_most is not None and count >= at_most:
                break
        return total / count

    def _title(self) -> str:
        return f"{self.metrics_['unit'].capitalize()}-level language model, {self.cell} {self.hidden_size}"


_ABOUT = """A recurrent language model made with unspool. Bits are bits a token, on text that was held out; the
interpolated n-gram was trained on the same text, with the same vocabulary, and scored on the same tokens.

```
unspool generate . --prompt "…" --length 500
```

```python
from unspool import LanguageModel

print(LanguageModel.load(".").generate("…", length=500))
```"""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross entropies in nats, where there is a target."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )


def _tbptt(value: int | Sequence[int]) -> tuple[int, int]:
    """k1 and k2."""
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2:
        raise UnspoolError(f"tbptt must be k1, or k1 and k2; got {value!r:.80}")
    k1 = integer("tbptt", pair[0], 1)
    return k1, integer("k2 of tbptt", pair[1], k1)


def _bits(progress: Progress) -> Progress:
    validation = progress.validation
    return progress._replace(loss=progress.loss / LN2, validation=None if validation is None else validation / LN2)
