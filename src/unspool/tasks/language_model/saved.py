"""A saved language model, run without PyTorch: it writes text and scores it."""

import codecs
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...arguments import integer, number
from ...data import vocabulary as vocabularies
from ...data.vocabulary import Vocabulary
from ...errors import DataError, FolderError, UnspoolError
from ...saved import folder
from ...stream import Loaded, Stream, Streams
from .. import sampling

if TYPE_CHECKING:  # what scores a text takes longer to import than a page to write
    from ...data.batches import Batch, Chunks

TASK = "language_model"
FILES = ("vocabulary.json", "metrics.json")
LN2 = math.log(2)
_ROWS, _TOKENS_PER_ROW = 64, 4096  # of a text that is scored
_LOGITS = 2**25  # numbers at a time, when scoring

Texts = str | bytes | Sequence[str] | Sequence[bytes]
DAMAGED = "the network's outputs are not finite: its weights are damaged; train it again"


class Score(NamedTuple):
    """How well a text was predicted: bits a token, perplexity = 2^bits, tokens predicted, and how many were unknown."""

    bits: float
    perplexity: float
    tokens: int
    unknown: int


class Evaluation(NamedTuple):
    """A text's score; whether only its held-out part was scored; the 5-gram's bits on that part, None without it."""

    network: Score
    held_out: bool
    baseline: float | None


class TextStream:
    """A language model that `LanguageModel.save` wrote, as a stream.

    Its `pieces`, `generate`, `score`, `evaluate` and `unknown` are those of `LanguageModel`.

    Args:
        path: the folder.
        instruction_set: see `unspool.stream.Loaded`.
    Raises:
        FolderError: it is not a saved language model, or a damaged one.
    """

    def __init__(self, path: str | Path, instruction_set: str = ""):
        saved = folder.read(path, TASK, FILES)
        self.metrics = folder.json_object(saved.files["metrics.json"], Path(path) / "metrics.json")
        packed = Loaded(saved, path, instruction_set)
        try:
            self.source = source(**saved.config["preprocessing"]["source"])
            self.vocabulary = vocabulary_of(
                saved, self.metrics, packed.architecture.tokens, packed.architecture.outputs
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise not_a_model(path, error) from None
        self.stream = Stream(packed)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and what follows it; options as for `pieces`."""
        return "".join(self.pieces(prompt, **options))

    def pieces(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """The prompt and what follows it, piece by piece as it is made; options as for `LanguageModel.pieces`."""
        stream = Stream(self.stream.network)

        def logits(tokens: np.ndarray) -> np.ndarray:
            return stream.step(tokens[0]) if len(tokens) == 1 else stream.run(tokens)[-1]

        return write(self.vocabulary, logits, prompt, **options)

    def score(self, text: Texts) -> float:
        """Mean log₂ p of a text's tokens, all but the first."""
        return -self._score(self._encode(text)).bits

    def evaluate(self, text: Texts) -> Evaluation:
        """Score a text, as `LanguageModel.evaluate` does."""
        return evaluate(self.vocabulary, self.source, self._score, text)

    def unknown(self, text: Texts) -> int:
        """How many of a text's tokens are not in the vocabulary."""
        return count_unknown(self.vocabulary, self._encode(text))

    def _encode(self, text: Texts) -> np.ndarray:
        parts = as_list(text)
        return self.vocabulary.encode(parts[0][:0].join(parts))

    def _score(self, tokens: np.ndarray) -> Score:
        return score(self.vocabulary, tokens, self._nats)

    def _nats(self, tokens: np.ndarray) -> float:
        chunks = scoring_chunks(tokens, len(self.vocabulary))
        streams = Streams(self.stream.network, chunks.rows)
        return float(sum(_cross_entropy(streams.run(batch.inputs), batch) for batch in chunks)) / (len(tokens) - 1)


def _cross_entropy(logits: np.ndarray, batch: "Batch") -> float:
    """Sum of the nats of a batch's targets."""
    from ...data.batches import NO_TARGET

    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(-1, keepdims=True)
        total = np.log(np.exp(shifted).sum(-1, dtype=np.float64))
    there = batch.targets != NO_TARGET
    chosen = np.take_along_axis(shifted, np.where(there, batch.targets, 0)[..., None], -1)[..., 0]
    return float((total - chosen)[there].sum(dtype=np.float64))


def write(
    vocabulary: Vocabulary,
    logits: Callable[[np.ndarray], np.ndarray],
    prompt: str = "",
    *,
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """What `LanguageModel.pieces` yields; `logits` takes the tokens that came and gives those of the next, (O,)."""
    sampling.check(temperature, top_k, top_p)
    integer("length", length, 0)
    if seed is not None:
        integer("seed", seed, 0)
    rng = Random(seed)  # imported in a fifth of the time that NumPy's generators take
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    tokens = vocabulary.encode(prompt).astype(np.int64)
    if not len(tokens):
        tokens = np.maximum(vocabulary.encode("\n"), 1).astype(np.int64)
    yield prompt
    for _ in range(length):
        number = sampling.sample(_allowed(vocabulary, logits(tokens)), rng, temperature, top_k, top_p)
        yield decoder.decode(vocabulary.piece(number))
        tokens = np.array([number])
    yield decoder.decode(b"", final=True)


def _allowed(vocabulary: Vocabulary, logits: np.ndarray) -> np.ndarray:
    """The logits, the unknown token's made -inf."""
    if not math.isfinite(logits.sum()):
        raise UnspoolError(DAMAGED)
    if vocabulary.unknown is not None:
        logits[vocabulary.unknown] = -np.inf
    return logits


def evaluate(
    vocabulary: Vocabulary, source: dict[str, Any], score: Callable[[np.ndarray], Score], text: Texts
) -> Evaluation:
    """What `LanguageModel.evaluate` gives; `score` is that of tokens."""
    from ...data import text as texts
    from .baseline import NGram

    parts = as_list(text)
    if source["sha256"] != texts.digest(parts) or source["validation"] is None:
        return Evaluation(score(vocabulary.encode(parts[0][:0].join(parts))), False, None)
    training, held_out = texts.split(parts, source["validation"])
    valid = vocabulary.encode(held_out)
    baseline = NGram(vocabulary.encode(training), len(vocabulary))
    return Evaluation(score(valid), True, baseline.bits(valid))


def score(vocabulary: Vocabulary, tokens: np.ndarray, nats: Callable[[np.ndarray], float]) -> Score:
    """The score of tokens; `nats` gives the mean of theirs."""
    if len(tokens) < 2:
        unit = vocabularies.UNITS[vocabulary.level]
        raise DataError(f"text must have at least 2 {unit}s to be scored; got {len(tokens)}: give a longer text")
    bits = nats(tokens) / LN2
    if not math.isfinite(bits):
        raise UnspoolError(DAMAGED)
    return Score(bits, 2 ** min(bits, 1000), len(tokens) - 1, count_unknown(vocabulary, tokens[1:]))


def scoring_chunks(tokens: np.ndarray, size: int) -> "Chunks":
    """A text in up to 64 rows, each of which begins with a zero state."""
    from ...data.batches import Chunks

    rows = max(1, min(_ROWS, len(tokens) // _TOKENS_PER_ROW))
    return Chunks(tokens, rows, max(1, min(128, _LOGITS // (rows * size))))


def count_unknown(vocabulary: Vocabulary, tokens: np.ndarray) -> int:
    return 0 if vocabulary.unknown is None else int(np.count_nonzero(tokens == vocabulary.unknown))


def source(sha256: str, validation: float | None) -> dict[str, Any]:
    """By what a text can be known again, and the part of it that was held out."""
    if validation is not None:
        validation = number("validation", validation, above=True, below=1)
    return {"sha256": sha256, "validation": validation}


def vocabulary_of(saved: folder.Saved, metrics: dict[str, Any], inputs: int, outputs: int) -> Vocabulary:
    """The vocabulary of a saved model; ValueError or KeyError unless it and the metrics fit to the network."""
    vocabulary = vocabularies.from_json(saved.files["vocabulary.json"])
    for part in ("validation", "baseline"):
        number(f"bits of the {part}", metrics[part]["bits"])
    if not isinstance(metrics["baseline"]["name"], str):
        raise FolderError("the baseline has no name")
    if {len(vocabulary)} != {inputs, outputs}:
        raise FolderError(f"a vocabulary of {len(vocabulary)} and the network do not fit together")
    return vocabulary


def not_a_model(path: str | Path, error: Exception) -> FolderError:
    what = f"{error} is missing" if isinstance(error, KeyError) else error
    return FolderError(f"{path}: is not a saved language model ({what}); save it again")


def as_list(text: Texts) -> list[Any]:
    """The texts, all str or all bytes, at least one."""
    parts = [text] if isinstance(text, str | bytes) else list(text)
    kinds = {type(part) for part in parts}
    if kinds not in ({str}, {bytes}):
        came = " and ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise DataError(f"text must be a str, or bytes, or a list of one of them; got {came}")
    return parts
