"""Language models: the next character, byte or word of a text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ...data import vocabulary as vocabularies
from ...data.batches import NO_TARGET, Batch, Chunks, Overlapping
from ...errors import DataError
from ...network import Network
from ...options import documented
from ...saved import folder
from ...train.plan import Progress
from ..estimator import Estimator, Work
from ..options import LanguageModelOptions, k1_k2, layers_of, training_of
from . import saved
from .saved import LN2, Evaluation, Run, TextModel, Texts

_CHECKED = 2**16  # tokens of the validation part that each check of a training run scores

_ABOUT = """A recurrent language model made with unspool. Bits are per character, byte or word, on text that was
held out. The interpolated n-gram was trained on the same text, with the same vocabulary, and scored on the same tokens.

```
unspool generate . --prompt "…" --length 500
```

```python
from unspool import LanguageModel

print(LanguageModel.load(".").generate("…", length=500))
```"""


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel(LanguageModelOptions, Estimator):
    """A recurrent network that predicts the next token of a text, and so can write text.

        p(w[t+1] | w[0..t]) = softmax(head(y[t]));  y, state = recurrent(front(w), state)

    It is trained by truncated backpropagation through time. The text is cut into `batch_size` long rows, each of which
    is read from its beginning to its end in chunks of `tbptt` tokens. The state is carried from chunk to chunk; the
    gradient is not. With `cell="mlp"` it is the neural n-gram of Bengio et al. (2003), which sees the last `window`
    tokens; the state of a tdnn or an mlp is what its window sees of the tokens before.

    `fit(X)` takes one text, whose end is held out for validation, or several texts, the last of which are held out
    whole; `validation` may be a separate text. Losses are in bits per character, byte or word; at level `piece` they
    are per character.

    Args:
        {options}
        training: a `Training` with all other options; None: its defaults, but tbptt=64 and patience=0.

    After `fit` it has `network_`, `vocabulary_`, `metrics_` (the contents of metrics.json) and `history_` (a list of
    dictionaries, the lines of history.jsonl).
    """

    task: ClassVar[str] = saved.TASK
    files: ClassVar[tuple[str, ...]] = ("vocabulary.json",)
    of_data: ClassVar[tuple[str, ...]] = ("source",)
    about: ClassVar[str] = _ABOUT

    @property
    def unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The name of a token: character, byte, word or piece."""
        return vocabularies.TOKENS[self.level]

    @property
    def loss_unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return saved.loss_unit(self.level)

    def score(self, text: Texts) -> float:
        """See `TextModel.score`."""
        return self._model.score(text)

    def evaluate(self, text: Texts) -> Evaluation:
        """See `TextModel.evaluate`."""
        return self._model.evaluate(text)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and what follows it; the options are those of `pieces`."""
        return self._model.generate(prompt, **options)

    def pieces(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """See `TextModel.pieces`."""
        return self._model.pieces(prompt, **options)

    def unknown(self, text: Texts) -> int:
        """See `TextModel.unknown`."""
        return self._model.unknown(text)

    def report(self) -> str:
        """See `TextModel.report`."""
        return self._model.report()

    @property
    def _model(self) -> TextModel:
        """The trained model, whose network runs in PyTorch."""
        check_is_fitted(self, "network_")
        return TextModel(self.vocabulary_, self.source_, _Torch(self.network_), self.metrics_)

    def _work(self, X: Texts, y: None, validation: float | str | bytes) -> Work:
        training_options = training_of(self)
        k1, k2 = k1_k2(training_options["tbptt"])
        training, held_out, self.source_ = saved.parts(X, validation)
        self.vocabulary_ = vocabularies.from_text(training, self.level, self.vocabulary_size)
        folder.check_size("vocabulary.json", len(self.vocabulary_.to_json().encode()))
        train, valid = self.vocabulary_.encode(training), self.vocabulary_.encode(held_out)
        _check_lengths(train, valid, self.unit)
        if len(self.vocabulary_) < 2:
            raise DataError("text must have a word that occurs twice; got none: give a longer text, or level 'char'")
        chunks = Chunks(train, training_options["batch_size"], k1)
        scored = saved.scoring_chunks(valid, len(self.vocabulary_))
        checked = list(islice(scored, -(-_CHECKED // (scored.rows * scored.length))))
        return Work(
            network=self._network(len(self.vocabulary_)),
            loss=cross_entropy,
            batches=chunks if k1 == k2 else Overlapping(chunks, k1, k2),
            validation=checked,
            source=self.source_,
            data=_Data((training, held_out), valid, len(train), self._bits(train), self._bits(_targets(checked))),
        )

    def _network(self, tokens: int) -> dict[str, Any]:
        embedding = {"kind": "embedding", "tokens": tokens, "size": self.embedding_size}
        return {
            "front": embedding if self.embedding_size else {"kind": "one-hot", "size": tokens},
            "recurrent": layers_of(self),
            "head": {"kind": "linear", "size": tokens},
        }

    def _finish(self, work: Work) -> dict[str, Any]:
        data: _Data = work.data
        self.metrics_ = {}
        return {
            "unit": vocabularies.UNITS[self.level],
            "validation": self._model.score_tokens(data.held_out)._asdict(),
            "baseline": saved.baseline_of(self.vocabulary_, *data.parts),
            "training": {"tokens": data.tokens},
        }

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        return {"source": self.source_}, {"vocabulary.json": self.vocabulary_.to_json()}

    def _restore(self, found: folder.Saved) -> None:
        network = self.network_
        model = saved.model_of(found, self.metrics_, _Torch(network), network.inputs, network.outputs)
        self.vocabulary_, self.source_ = model.vocabulary, model.source

    def _title(self) -> str:
        return f"{self.unit.capitalize()}-level language model, {self.cell} {self.hidden_size}"

    def _record(self, work: Work, progress: Progress) -> Progress:
        """The progress in bits instead of nats."""
        validation, data = progress.validation, work.data
        loss = progress.loss * data.training_bits
        return progress._replace(loss=loss, validation=None if validation is None else validation * data.checked_bits)

    def _bits(self, tokens: np.ndarray) -> float:
        """The bits, as in `Score`, for one nat per token."""
        return tokens.size / self.vocabulary_.units(tokens) / LN2


class _Data(NamedTuple):
    """The two parts of a text, the tokens of the second, and what turns losses on them into bits."""

    parts: tuple[Any, Any]
    held_out: np.ndarray
    tokens: int  # of the first
    training_bits: float
    checked_bits: float


class _Torch:
    """Runs a network in PyTorch; see `Steps`."""

    def __init__(self, network: Network):
        self.network = network

    def begin(self, rows: int) -> Run:
        state: Any = None

        @torch.no_grad()
        def run(tokens: np.ndarray) -> np.ndarray:
            nonlocal state
            logits, state = self.network(torch.from_numpy(tokens), state)
            return logits.numpy()

        return run


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of the cross-entropies in nats, over all steps that have a target."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )


def _targets(batches: Iterable[Batch]) -> np.ndarray:
    return np.concatenate([batch.targets[batch.targets != NO_TARGET] for batch in batches])


def _check_lengths(train: np.ndarray, valid: np.ndarray, unit: str) -> None:
    if min(len(train), len(valid)) < 2:
        raise DataError(
            f"text must have at least 4 {unit}s, 2 to train on and 2 to validate on; got {len(train)} and "
            f"{len(valid)}: give a longer text, or another validation"
        )
