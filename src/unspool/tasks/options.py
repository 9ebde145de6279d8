"""The options of every task, each defined once.

Constructors, their documentation, the checks of their arguments, and the flags of `unspool fit` are made from the
fields of these classes, which need neither PyTorch nor scikit-learn, so that `--help` is quick.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ..arguments import integer
from ..cells import RECURRENT
from ..data.vocabulary import LEVELS
from ..errors import UnspoolError
from ..options import check, like, option, options_of
from ..train.plan import Plan

WORDS = 1000  # different tokens that are more than this are treated as words
TDNN_WINDOW, MLP_WINDOW = 3, 8  # the steps that are seen where no window is given
POOLINGS = ("last", "mean", "both")
ALIASES = {"seed": "random_state"}  # earlier names of options, which flags and saved folders may still use
# What is said of options of several tasks.
_CELL = "the recurrent cell; or tdnn, whose only memory is a window; or mlp, whose first layer alone has one"
_WINDOW = (
    "the steps that each layer of a tdnn sees, or the first of an mlp, this one and those before; without it "
    f"{TDNN_WINDOW}"
)


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingOptions:
    """How a network is trained: options that are rarely changed, in one parameter of each task.

    None stands for the task's own value.
    """

    optimiser: str = like(Plan, "optimiser")
    schedule: str = like(Plan, "schedule")
    batch_size: int | None = option(
        None, "the sequences, or parts of a long one, read side by side", "training", least=1
    )
    clip_norm: float = like(Plan, "clip_norm", 1.0)
    clip_value: float = like(Plan, "clip_value")
    patience: int | None = like(Plan, "patience", None)
    tbptt: int | Sequence[int] | None = option(
        None,
        "truncated backpropagation through time: k1 steps between two updates; or k1,k2 if the gradient goes back "
        "through k2 steps",
        "training",
    )


@dataclass(kw_only=True, eq=False, repr=False)
class Options:
    """The options that all tasks have in common."""

    # The values for what is None in `training`.
    own_training: ClassVar[TrainingOptions] = TrainingOptions(batch_size=32, patience=5)

    cell: str | None = option(
        "lstm",
        _CELL,
        "network",
        choices=(*RECURRENT, "tdnn", "mlp"),
    )
    window: int | None = option(
        None,
        f"{_WINDOW}, and of an mlp {MLP_WINDOW}",
        "network",
        least=1,
    )
    hidden_size: int = option(64, "H, the units of each recurrent layer", "network", least=1)
    num_layers: int = option(1, "the recurrent layers, each of which reads the one before", "network", least=1)
    dropout: float | None = option(
        0.0,
        "the probability that an element is zeroed before each layer and the head, never of numbers that are read, "
        "and never through time",
        "network",
        least=0,
        below=1,
    )
    epochs: int | None = like(Plan, "epochs", 30)
    learning_rate: float = like(Plan, "learning_rate", 1e-3)
    random_state: int = option(0, "the seed of the weights and of dropout", "training", least=0)
    training: TrainingOptions | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class LanguageModelOptions(Options):
    """The options of `LanguageModel`."""

    own_training: ClassVar[TrainingOptions] = TrainingOptions(batch_size=32, tbptt=64, patience=0)

    level: str = option(
        "char", "what a token is; a piece is a part of a word, such as occur most often", "data", choices=LEVELS
    )
    vocabulary_size: int | None = option(
        None,
        "how many characters, words or pieces are known, at most, the most frequent; without it 10,000, 1,024 pieces",
        "data",
        least=1,
    )
    embedding_size: int = option(
        128, "the features of a token; 0: no embedding, the tokens go 1-of-k into the first layer", "network", least=0
    )
    cell: str | None = like(Options, "cell", "gru")
    hidden_size: int = like(Options, "hidden_size", 256)
    epochs: int | None = like(Options, "epochs", 10)
    learning_rate: float = like(Options, "learning_rate", 4e-3)


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceOptions(Options):
    """The options of classifiers and regressors."""

    own_training: ClassVar[TrainingOptions] = TrainingOptions()

    level: str | None = option(
        None,
        "what a token of a text is; without it a word if half of the texts have five words or more, or else a "
        "character",
        "data",
        choices=LEVELS,
    )
    embedding_size: int | None = option(
        None,
        "the features of a token; without it 64, and none for an mlp of aligned letters; 0: no embedding, the tokens "
        "go 1-of-k into the first layer",
        "network",
        least=0,
    )
    convolution: Sequence[int] | None = option(
        None,
        "a convolution before the recurrent layers, its filters, kernel and stride; over time, so that they see every "
        "stride-th step, 1 if left out; or over the pixels of each frame, where X has images, and there without it 32, "
        "8 pixels or the whole frame, and an eighth of its smaller side, 2 at least",
        "network",
    )
    sound_rate: int | None = option(
        None,
        "X is sound, samples at this rate a second; the network hears 40 log-mel features of the last 25 ms, every "
        "10 ms",
        "network",
        least=1000,
    )
    bidirectional: bool | None = option(
        None,
        "read each sequence from its end, too, so that it cannot be streamed; without it every recurrent cell does",
        "network",
    )
    pooling: str | None = option(
        None,
        "what is read off the states: the last, of each direction the one that has read the whole sequence; or the "
        "mean over all steps; or both; without it both, but the last of an mlp and for tbptt",
        "network",
        choices=POOLINGS,
    )
    cell: str | None = option(
        None,
        f"{_CELL}; without it a gru, but an mlp for aligned letters: texts or lists of tokens of one length, 100 at "
        "most, with 100 different tokens at most",
        "network",
        choices=(*RECURRENT, "tdnn", "mlp"),
    )
    window: int | None = option(
        None,
        f"{_WINDOW}, and of an mlp all steps of the sequences, or of unequal ones the steps of the longest, 100 at "
        "most",
        "network",
        least=1,
    )
    epochs: int | None = option(
        None,
        "how often the training data is read, unless minutes are given; without it 100 times for up to 1,000 "
        "sequences, and for n more 100 √(1000/n), 5 at least; and an mlp of aligned letters 30 instead of 100",
        "training",
        least=1,
    )
    learning_rate: float = like(Options, "learning_rate", 4e-3)


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierOptions(SequenceOptions):
    """The options of `Classifier`."""

    dropout: float | None = option(
        None,
        "the probability that an element is zeroed before each layer and the head, never of numbers that are read, "
        "and never through time; without it 0.3, 0.5 for an mlp of aligned letters, and 0.7 for "
        f"more than {WORDS:,} different tokens, as words are",
        "network",
        least=0,
        below=1,
    )
    class_weight: str | Mapping[Any, float] | None = option(
        None,
        "the factors of the losses of classes: balanced, so that all classes count alike however rare they are; in "
        "Python also a number by class",
        "training",
        choices=("balanced",),
    )


@dataclass(kw_only=True, eq=False, repr=False)
class RegressorOptions(SequenceOptions):
    """The options of `Regressor`."""

    pooling: str | None = like(SequenceOptions, "pooling", "last")
    dropout: float | None = like(Options, "dropout", 0.0)
    loss: str = option(
        "squared",
        "what is minimised, the squared error of standardised targets, or the absolute one, which is led astray less "
        "by targets far from the others",
        "training",
        choices=("squared", "absolute"),
    )


@dataclass(kw_only=True, eq=False, repr=False)
class TaggerOptions(Options):
    """The options of `Tagger`."""

    own_training: ClassVar[TrainingOptions] = TrainingOptions(batch_size=32, patience=0)

    output: str = option(
        "crf",
        "what makes tags of the network's sums: a conditional random field, in which they depend on each other, or a "
        "softmax of each step",
        "network",
        choices=("crf", "softmax"),
    )
    characters: bool = option(True, "read the characters of each word, too", "network")
    embedding_size: int = option(100, "the features that are learnt of each word; 0: none", "network", least=0)
    vectors: str | Mapping[str, Any] | None = option(
        None, "a file with a word and its numbers in each line, as those of GloVe and word2vec; or the mapping", "data"
    )
    bidirectional: bool | None = like(SequenceOptions, "bidirectional")
    feedback: bool = option(
        False, "let each tag enter the next step; for output='softmax' and bidirectional=False", "network"
    )
    hidden_size: int = like(Options, "hidden_size", 128)
    dropout: float | None = like(Options, "dropout", 0.5)
    epochs: int | None = like(Options, "epochs", 20)
    learning_rate: float = like(Options, "learning_rate", 3e-3)


@dataclass(kw_only=True, eq=False, repr=False)
class ForecasterOptions(Options):
    """The options of `Forecaster`."""

    own_training: ClassVar[TrainingOptions] = TrainingOptions(batch_size=32, patience=20)

    horizon: int | None = option(
        None,
        "the steps that are forecast; without it those of a season, as 24 hours, or 12 where there is none",
        "data",
        positional=True,
        least=1,
    )
    season: int | None = option(
        None,
        "the steps after which a series is much like before, as 24 of hourly values; 1: none; without it what the "
        "calendar says, a day or a week, a year of months, whichever forecasts best on the training part",
        "data",
        least=1,
    )
    output: str | Sequence[float] = option(
        "student-t",
        "the distribution that is told of each step: normal, student-t, of counts poisson or negative-binomial, a "
        "point (the median), or the levels of quantiles, as 0.1,0.5,0.9",
        "network",
    )
    scale: str = option(
        "series",
        "what the errors of a series are measured in: those of its own past, or those of all series in training",
        "data",
        choices=("series", "global"),
    )
    epochs: int | None = option(
        None,
        "how often the training data is read, unless minutes are given; without it some 2,000 steps, 5 epochs at least "
        "and 100 at most",
        "training",
        least=1,
    )
    learning_rate: float = like(Options, "learning_rate", 1e-2)


class Amount(NamedTuple):
    """How much is trained, where it is not given."""

    batch_size: int
    epochs: int
    patience: int


def by_number(n: int, most: int = 100) -> Amount:
    """For n sequences, of which `most` epochs are enough if they are few: some thousand steps for any n.

    The batch size is the power of two next to n/100, from 8 to 128. There is patience where n is more than 1,000, so
    that a held-out part is large enough to tell whether the network gets better.
    """
    size = 2 ** min(max(round(math.log2(n / 100)), 3), 7)
    return Amount(size, max(5, round(most * min(1, math.sqrt(1000 / n)))), 8 if n > 1000 else 0)


def filters_of(convolution: Any) -> tuple[int, int, int]:
    """The filters, the kernel and the stride that `convolution` stands for."""
    if not isinstance(convolution, list | tuple) or len(convolution) not in (2, 3):
        raise UnspoolError(f"convolution must be filters, kernel and stride; got {convolution!r:.80}")
    filters, kernel, stride = (*convolution, 1)[:3]
    return (
        integer("the filters of convolution", filters, 1),
        integer("the kernel of convolution", kernel, 1),
        integer("the stride of convolution", stride, 1),
    )


def directions(options: SequenceOptions | TaggerOptions, cell: str | None) -> bool:
    """Whether a network of this cell is bidirectional."""
    recurrent = cell in RECURRENT
    if options.bidirectional and not recurrent:
        raise UnspoolError(f"bidirectional must be False for a {cell}, which has no direction; got True")
    return recurrent if options.bidirectional is None else bool(options.bidirectional)


class Settled(NamedTuple):
    """The options of a task with one target for each sequence that depend on the sequences, unless they are given."""

    cell: str
    pooling: str
    embedding_size: int
    dropout: float
    bidirectional: bool
    epochs: int  # enough for few sequences


def settled(options: SequenceOptions, tokens: int, aligned: bool) -> Settled:
    """What the options are for sequences of so many tokens, or 0, which may be aligned letters; see `cell`."""
    tbptt = training_of(options)["tbptt"] is not None
    cell = options.cell or ("mlp" if aligned and not options.bidirectional and not tbptt else "gru")
    side_by_side = aligned and cell == "mlp"
    size, dropout = options.embedding_size, options.dropout
    return Settled(
        cell=cell,
        pooling=options.pooling or ("last" if cell == "mlp" or tbptt else "both"),
        embedding_size=(0 if side_by_side else 64) if size is None else size,
        dropout=(0.7 if tokens > WORDS else 0.5 if side_by_side else 0.3) if dropout is None else dropout,
        bidirectional=directions(options, cell),
        epochs=30 if side_by_side else 100,
    )


def layers_of(
    options: Options, bidirectional: bool | None = None, mlp: int = MLP_WINDOW, **chosen: Any
) -> dict[str, Any]:
    """The configuration of the recurrent layers, or of those with a window.

    Args:
        options: of the task.
        bidirectional: whether recurrent layers are; None where they cannot be.
        mlp: the window of an mlp, if none is given.
        chosen: what takes the place of options.
    """
    layers = {name: getattr(options, name) for name in ("cell", "hidden_size", "num_layers", "dropout")} | chosen
    cell, window = layers["cell"], options.window
    if cell in RECURRENT:
        if window is not None:
            raise UnspoolError(f"window is for a tdnn or an mlp; leave it out for cell={cell!r}")
        return layers if bidirectional is None else layers | {"bidirectional": bidirectional}
    if cell == "tdnn":
        return layers | {"window": window or TDNN_WINDOW}
    return layers | {"cell": "tdnn", "window": [window or mlp] + [1] * (options.num_layers - 1)}


def check_all(options: Options) -> None:
    """Raise UnspoolError unless all options can be used, including those of `training`."""
    if not isinstance(options.training, TrainingOptions | None):
        raise UnspoolError(f"training must be a Training, or None; got {options.training!r:.80}")
    check(options)
    check(options.training or options.own_training)
    tbptt = training_of(options)["tbptt"]
    if tbptt is not None:
        k1_k2(tbptt)


def training_of(options: Options) -> dict[str, Any]:
    """The options of `training` by name, with the task's own values for those that are None."""
    own = {f.name: getattr(options.own_training, f.name) for f in options_of(options.own_training)}
    given = options.training or options.own_training
    return {name: own[name] if (value := getattr(given, name)) is None else value for name in own}


def flat(options: Options) -> dict[str, Any]:
    """All options by name, including those of `training`, as a saved folder and a run keep them."""
    return {f.name: getattr(options, f.name) for f in options_of(options)} | training_of(options)


def apart(task: type[Options], training: type[TrainingOptions], parameters: Mapping[str, Any]) -> Any:
    """The inverse of `flat`: an object of the class `task` from all its options, including those of `training`."""
    named = {ALIASES.get(name, name): value for name, value in dict(parameters).items()}
    theirs, known = ({f.name for f in options_of(part)} for part in (training, task))
    if unknown := sorted(named.keys() - theirs - known):
        raise UnspoolError(f"{unknown[0]!r:.80} is not an option; there are {', '.join(sorted(theirs | known))}")
    together = {name: value for name, value in named.items() if name in theirs}
    own = {name: value for name, value in named.items() if name not in theirs}
    plain = task(**own)
    made = task(**own, training=training(**together))
    return plain if training_of(plain) == training_of(made) else made


def k1_k2(tbptt: int | Sequence[int]) -> tuple[int, int]:
    """The two numbers of steps, k1 and k2, that `tbptt` stands for."""
    pair = tuple(tbptt) if isinstance(tbptt, list | tuple) else (tbptt, tbptt)
    if len(pair) != 2:
        raise UnspoolError(f"tbptt must be k1, or k1 and k2; got {tbptt!r:.80}")
    k1 = integer("tbptt", pair[0], 1)
    return k1, integer("k2 of tbptt", pair[1], k1)
