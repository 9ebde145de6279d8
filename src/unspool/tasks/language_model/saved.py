"""What a trained language model does: it encodes, scores and writes text. This needs no PyTorch."""

import codecs
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ...arguments import integer, number
from ...data import pieces
from ...data import vocabulary as vocabularies
from ...data.text import STDIN, STDLIB
from ...data.vocabulary import Vocabulary
from ...errors import DataError, FolderError, UnspoolError, printable
from ...options import documented, option
from ...saved import folder
from ...stream import Loaded, Stream, Streams
from .. import sampling
from ..files import Training, Watch

if TYPE_CHECKING:  # these take longer to import than a page of text takes to write
    from ...data.batches import Batch, Chunks

TASK = "language_model"
FILES = ("vocabulary.json", "metrics.json")
LN2 = math.log(2)
_ROWS, _TOKENS_PER_ROW = 64, 4096  # for scoring a text
_LOGITS = 2**25  # numbers at a time, for scoring
_DAMAGED = "the network's outputs are not finite: its weights are damaged; train it again"

Texts = str | bytes | Sequence[str] | Sequence[bytes]
Run = Callable[[np.ndarray], np.ndarray]


@documented
@dataclass(frozen=True)
class TextFile:
    """A text: a file in UTF-8, a column of a table, or the running interpreter's standard library.

    Args:
        {options}
    """

    what: ClassVar[str] = f"a text in UTF-8, a table with --column, {STDIN} for standard input, or {STDLIB}"

    file: str
    column: str | None = option(None, "the file is a table, and each cell of this column is a text", "data")
    delimiter: str | None = option(None, "the character between the fields of a CSV or TSV table", "data")
    skip_bad: int = option(0, "the number of bad lines or rows to skip, at most", "data", least=0)

    @staticmethod
    def place(file: str) -> str:
        """The name of the file, which is also valid in another working directory."""
        return file if file in (STDIN, STDLIB) else str(Path(file).absolute())

    def training_data(self, options: Any, validation: float | str, watch: Watch | None = None) -> Training:
        """What a task with these options is trained on; `validation`: the part to hold out, or another text.

        A text is read at once, so that there is nothing to `watch`.
        """
        held_out: Any = validation
        if isinstance(validation, str):
            other = replace(self, file=validation).read(options.level)
            held_out = other[0][:0].join(other)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return Training(self.read(options.level), None, held_out)

    def read(self, level: str) -> list[str] | list[bytes]:
        """The texts of the file; what was skipped is reported on standard error."""
        from ...data import text

        def report(complaint: str) -> None:
            print(f"unspool: skipped: {printable(complaint)}", file=sys.stderr)

        options = {"column": self.column, "delimiter": self.delimiter, "skip_bad": self.skip_bad}
        return text.read(self.file, level, **options, report=report)


class Score(NamedTuple):
    """How well a text was predicted.

    bits: the mean per character, byte or word; for pieces, too, it is per character.
    perplexity: 2^bits.
    tokens, unknown: the tokens predicted, and the unknown among them.
    """

    bits: float
    perplexity: float
    tokens: int
    unknown: int


class Evaluation(NamedTuple):
    """The score of a text, whether only its held-out part was scored, and the 5-gram's bits on that part, or None."""

    network: Score
    held_out: bool
    baseline: float | None


class Steps(Protocol):
    """What can run a network over tokens: the compiled core, or PyTorch, where it was trained."""

    def begin(self, rows: int) -> Run:
        """Begin new sequences: a function from their next tokens, int64 (T, rows), to the logits, (T, rows, O)."""
        ...


@dataclass
class TextModel:
    """A trained language model.

    vocabulary: its tokens.
    source: what identifies the text that it was trained on, and the part of that text that was held out.
    network: runs its network.
    metrics: the contents of metrics.json.
    """

    vocabulary: Vocabulary
    source: dict[str, Any]
    network: Steps
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The name of a token: character, byte, word or piece."""
        return vocabularies.TOKENS[self.vocabulary.level]

    @property
    def loss_unit(self) -> str:
        """Bits per character, byte or word."""
        return loss_unit(self.vocabulary.level)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and what follows it; the options are those of `pieces`."""
        return "".join(self.pieces(prompt, **options))

    def pieces(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: int | None = None,
    ) -> Iterator[str]:
        """The prompt and what follows it, token by token as it is made.

        Pieces of words may go beyond the end of the prompt: its last word is made anew, of those pieces that spell it.

        Args:
            prompt: the text to go on from; if it is empty, begin at the beginning of a line.
            length: the number of tokens to make.
            temperature: the logits are divided by it: below 1 the text is likelier, above 1 it is more varied; 0 always
                takes the likeliest token.
            top_k: draw from the k likeliest tokens only.
            top_p: draw from the fewest of the likeliest tokens whose probabilities together reach p.
            random_state: the same number gives the same text; by default each call gives another text.
        """
        sampling.check(temperature, top_k, top_p)
        integer("length", length, 0)
        if random_state is not None:
            integer("random_state", random_state, 0)
        rng = Random(random_state)  # its import takes a fifth of the time of NumPy's generators
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        known, rest = self._begun(prompt)
        tokens = self.vocabulary.encode(known).astype(np.int64)
        if not len(tokens):
            tokens = np.maximum(self.vocabulary.encode("\n"), 1).astype(np.int64)
        run = self.network.begin(1)
        yield prompt
        for _ in range(length):
            logits = self._allowed(run(tokens[:, None])[-1, 0])
            if rest:
                logits[[not (t.startswith(rest) or rest.startswith(t)) for t in self.vocabulary.tokens]] = -np.inf
            token = sampling.sample(logits, rng, temperature, top_k, top_p)
            made = decoder.decode(self.vocabulary.piece(token))
            made, rest = made[len(rest) :], rest[len(made) :]
            yield made
            tokens = np.array([token])
        yield decoder.decode(b"", final=True)

    def _begun(self, prompt: str) -> tuple[str, str]:
        """The prompt without its last word, and that word, if it is to be made anew."""
        words = pieces.WORD.findall(prompt)
        if self.vocabulary.level != "piece" or not words or not self.vocabulary.encode(words[-1]).all():
            return prompt, ""
        return prompt[: -len(words[-1])], words[-1]

    def score(self, text: Texts) -> float:
        """Minus the bits of a text, see `Score`, so that greater is better."""
        return -self.score_tokens(self.tokens(text)).bits

    def evaluate(self, text: Texts) -> Evaluation:
        """Score a text. Of the text that the model was trained on, only the held-out part is scored, beside the 5-gram.

        A token that is not in the vocabulary is scored as the unknown token; the number of these is part of the score.
        A long text is cut into up to 64 rows, each of which begins with a zero state.
        """
        from ...data import text as texts

        parts = as_list(text)
        if self.source["sha256"] != texts.digest(parts) or self.source["validation"] is None:
            return Evaluation(self.score_tokens(self.tokens(parts)), False, None)
        training, held_out = texts.split(parts, self.source["validation"])
        valid = self.vocabulary.encode(held_out)
        return Evaluation(self.score_tokens(valid), True, baseline_of(self.vocabulary, training, held_out)["bits"])

    def unknown(self, text: Texts) -> int:
        """How many of a text's tokens are not in the vocabulary."""
        return self._count_unknown(self.tokens(text))

    def tokens(self, text: Texts) -> np.ndarray:
        """The tokens of a text, or of several texts, one after the other."""
        parts = as_list(text)
        return self.vocabulary.encode(parts[0][:0].join(parts))

    def score_tokens(self, tokens: np.ndarray) -> Score:
        """The score of these tokens."""
        if len(tokens) < 2:
            raise DataError(
                f"text must have at least 2 {self.token}s to be scored; got {len(tokens)}: give a longer text"
            )
        chunks = scoring_chunks(tokens, len(self.vocabulary))
        run = self.network.begin(chunks.rows)
        nats = float(sum(_cross_entropy(run(batch.inputs), batch) for batch in chunks))
        bits = nats / LN2 / self.vocabulary.units(tokens[1:])
        if not math.isfinite(bits):
            raise UnspoolError(_DAMAGED)
        return Score(bits, 2 ** min(bits, 1000), len(tokens) - 1, self._count_unknown(tokens[1:]))

    def report(self) -> str:
        """The held-out score beside the baseline's."""
        score, baseline, per = self.metrics["validation"], self.metrics["baseline"], self.loss_unit
        unknown = f", {score['unknown']:,} of them unknown" if score["unknown"] else ""
        lines = [
            f"network    {score['bits']:.4f} {per} on {score['tokens']:,} {self.token}s held out{unknown}",
            f"baseline   {baseline['bits']:.4f} {per}, {baseline['name']}, the same text",
        ]
        if "characters" in baseline:
            characters = baseline["characters"]
            lines.append(f"           {characters['bits']:.4f} {per}, {characters['name']} of characters")
        if baseline["bits"] < score["bits"]:
            lines.append(
                f"The {baseline['name'].removeprefix('interpolated ')} is better: longer training, a longer text or a "
                f"larger network may change this."
            )
        return "\n".join(lines)

    def _allowed(self, logits: np.ndarray) -> np.ndarray:
        """The logits, with -inf for the unknown token."""
        if not math.isfinite(logits.sum()):
            raise UnspoolError(_DAMAGED)
        if self.vocabulary.unknown is not None:
            logits[self.vocabulary.unknown] = -np.inf
        return logits

    def _count_unknown(self, tokens: np.ndarray) -> int:
        return 0 if self.vocabulary.unknown is None else int(np.count_nonzero(tokens == self.vocabulary.unknown))


class Core:
    """Runs a network in the compiled core; see `Steps`."""

    def __init__(self, loaded: Loaded):
        self.loaded = loaded

    def begin(self, rows: int) -> Run:
        if rows > 1:
            return Streams(self.loaded, rows).run
        stream = Stream(self.loaded)

        def run(tokens: np.ndarray) -> np.ndarray:
            logits = stream.step(tokens[0, 0]) if len(tokens) == 1 else stream.run(tokens[:, 0].copy())
            return logits.reshape(len(tokens), 1, -1)

        return run


def load(path: str | Path, instruction_set: str = "") -> TextModel:
    """Load a language model, which the compiled core will run.

    Args:
        path: the folder.
        instruction_set: see `unspool.stream.Loaded`.
    Raises:
        FolderError: the folder is not a saved language model, or is damaged.
    """
    found = folder.read(path, TASK, FILES)
    metrics = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
    loaded = Loaded(found, path, instruction_set)
    with folder.read_as(path, TASK):
        return model_of(found, metrics, Core(loaded), loaded.architecture.tokens, loaded.architecture.outputs)


def model_of(found: folder.Saved, metrics: dict[str, Any], network: Steps, inputs: int, outputs: int) -> TextModel:
    """The model in a folder; raise ValueError or KeyError unless vocabulary, metrics and network fit together."""
    vocabulary = vocabularies.from_json(found.files["vocabulary.json"])
    for part in ("validation", "baseline"):
        number(f"bits of the {part}", metrics[part]["bits"])
    if not isinstance(metrics["baseline"]["name"], str):
        raise FolderError("the baseline has no name")
    if {len(vocabulary)} != {inputs, outputs}:
        raise FolderError(f"a vocabulary of {len(vocabulary)} and the network do not fit together")
    return TextModel(vocabulary, source(**found.config["preprocessing"]["source"]), network, metrics)


def loss_unit(level: str) -> str:
    """What a loss on tokens of this level is measured in."""
    return f"bits/{vocabularies.UNITS[level]}"


def baseline_of(vocabulary: Vocabulary, training: str | bytes, held_out: str | bytes) -> dict[str, Any]:
    """The n-gram of a text's tokens: its name, and its bits, see `Score`, on the held-out part.

    For pieces there is the n-gram of characters besides, in `characters`.
    """
    from .baseline import NGram

    train, valid = vocabulary.encode(training), vocabulary.encode(held_out)
    ngram = NGram(train, len(vocabulary))
    bits = ngram.bits(valid) * (len(valid) - 1) / vocabulary.units(valid[1:])
    found = {"name": f"interpolated {ngram.order}-gram", "bits": bits}
    if vocabulary.level != "piece":
        return found
    characters = baseline_of(vocabularies.from_text(training, "char"), training, held_out)
    return {"name": f"{found['name']} of pieces", "bits": bits, "characters": characters}


def scoring_chunks(tokens: np.ndarray, size: int) -> "Chunks":
    """The chunks of a text in up to 64 rows, each of which begins with a zero state."""
    from ...data.batches import Chunks

    rows = max(1, min(_ROWS, len(tokens) // _TOKENS_PER_ROW))
    return Chunks(tokens, rows, max(1, min(128, _LOGITS // (rows * size))))


def source(sha256: str, validation: float | None) -> dict[str, Any]:
    """What identifies a text, and the part of it that was held out."""
    if validation is not None:
        validation = number("validation", validation, above=True, below=1)
    return {"sha256": sha256, "validation": validation}


def parts(text: Texts, validation: float | str | bytes) -> tuple[Any, Any, dict[str, Any]]:
    """The training text, the validation text, and what identifies the source."""
    from ...data import text as texts

    given = as_list(text)
    if isinstance(validation, str | bytes):
        return given[0][:0].join(given), validation, source(texts.digest(given), None)
    known = source(texts.digest(given), validation)
    return *texts.split(given, validation), known


def as_list(text: Texts) -> list[Any]:
    """The texts as a list of at least one; raise DataError unless all are str or all are bytes."""
    parts = [text] if isinstance(text, str | bytes) else list(text)
    kinds = {type(part) for part in parts}
    if kinds not in ({str}, {bytes}):
        came = " and ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise DataError(f"text must be a str, or bytes, or a list of one of them; got {came}")
    return parts


def _cross_entropy(logits: np.ndarray, batch: "Batch") -> float:
    """The sum of the cross-entropies of a batch's targets, in nats."""
    from ...data.batches import NO_TARGET

    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(-1, keepdims=True)
        total = np.log(np.exp(shifted).sum(-1, dtype=np.float64))
    there = batch.targets != NO_TARGET
    chosen = np.take_along_axis(shifted, np.where(there, batch.targets, 0)[..., None], -1)[..., 0]
    return float((total - chosen)[there].sum(dtype=np.float64))
