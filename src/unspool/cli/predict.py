"""`unspool predict` and `unspool evaluate` for the networks that read files of sequences. Neither needs PyTorch."""

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from ..beside import beside
from ..data.ragged import Ragged
from ..errors import DataError, FolderError
from ..options import check, options_of
from ..saved import folder
from ..tasks import TASKS, Task
from ..tasks.files import Labelled, SequenceFile
from ..tasks.source import Roles, digest
from . import forecast
from .complaints import UsageError, note, say
from .flags import Parser, add

_KINDS = (".csv", ".tsv", ".jsonl", ".conll")


class Trained(NamedTuple):
    """A saved network: its task, the word for that on the command line, its saved half, and its config.json."""

    word: str
    task: Task
    model: Any
    config: dict[str, Any]

    @property
    def roles(self) -> Roles:
        """What the columns were that it was trained on."""
        with folder.read_as("config.json", self.task.folder):
            if "data" in self.config:
                return Roles.of(self.config["data"]["roles"])
            rate = self.config["parameters"].get("sound_rate")
            return Roles() if rate is None else Roles.of_sound(int(rate))

    @property
    def per_step(self) -> bool:
        """Whether it predicts something of each step."""
        return self.word == "tags" or (self.word == "numbers" and self.model.readout.per_step)

    def reader(self, file: str, data: dict[str, Any]) -> SequenceFile:
        """The file as this network reads it."""
        options = self.task.part("data")
        unknown = data.keys() - {f.name for f in options_of(options)}
        if unknown:
            raise UsageError(f"--{min(unknown)} is not for a network that was trained by 'unspool fit {self.word}'.")
        made = options(file, **data)
        check(made)
        if not self.roles.inputs and made.inputs is None:
            raise DataError(f"{file}: the network was not trained by the command line; name its columns in --inputs")
        return made


def load(network: str) -> Trained:
    """Load a saved network of any task."""
    config = folder.read(network).config
    word = next((word for word, task in TASKS.items() if task.folder == config.get("task")), None)
    if word is None:
        raise FolderError(f"{network}: was saved by the task {config.get('task')!r:.40}, which no verb knows")
    return Trained(word, TASKS[word], TASKS[word].module("saved").load(network), config)


def predict(
    network: str,
    file: str | None,
    out: str | None,
    probabilities: bool,
    force: bool,
    horizon: int | None = None,
    future: str | None = None,
    **data: Any,
) -> None:
    """Predict each sequence of a file, its label, its number or its tags; or what comes next in series."""
    trained = load(network)
    if trained.word == "series":
        if probabilities:
            raise UsageError("--probabilities is for labels and tags; a forecast has intervals.")
        with _opened(out, force) as (stream, kind), _explained(file or network):
            if kind == ".conll":
                raise UsageError("--out with .conll is for tags; write .csv or .jsonl.")
            forecast.predict(trained.model, file, stream, kind, horizon, future, **data)
        return
    if file is None:
        raise UsageError("FILE is needed, as only a forecaster remembers what it was trained on.")
    if horizon is not None or future is not None:
        raise UsageError(
            f"--{'horizon' if future is None else 'future'} is for networks that 'unspool fit series' trained."
        )
    if trained.word == "text":
        raise UsageError("A network that was trained by 'unspool fit text' writes text: try 'unspool generate'.")
    if probabilities and trained.word == "numbers":
        raise UsageError("--probabilities is for labels and tags; this network predicts numbers.")
    reader = trained.reader(file, data)
    with _opened(out, force) as (stream, kind), _explained(file):
        if kind == ".conll" and trained.word != "tags":
            raise UsageError("--out with .conll is for tags; write .csv or .jsonl.")
        classes = [str(c) for c in trained.model.classes] if probabilities else []
        writer = _Writer(stream, kind, classes, trained.per_step)
        for part in reader.parts(trained.roles):
            writer.part(part, _predicted(trained, part, probabilities))
            stream.flush()


def add_predict(parser: Parser) -> None:
    parser.add_argument("network", metavar="DIR", help="the folder of a saved network")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help=f"{SequenceFile.what}, which need not be there; or series; - is stdin"
    )
    parser.add_argument("--horizon", type=int, metavar="N", help="of series, the steps to forecast")
    parser.add_argument("--future", metavar="FILE", help="of series, what is known of the steps to come")
    parser.add_argument("--out", metavar="FILE", help="write to this file: .csv, .tsv, .jsonl, or .conll for tags")
    parser.add_argument("--probabilities", action="store_true", help="write the probability of each class, too")
    parser.add_argument("--force", action="store_true", help="replace the file in --out")
    add(parser, options_of(SequenceFile), {}, {})


class _Predicted(NamedTuple):
    """What was predicted of a sequence.

    value: a label; a number, or several, (O,); or where each step has one, tags or numbers, a list or (T,).
    probabilities: of each class, (K,), or of each step's classes, (T, K); None if they were not wanted.
    """

    value: Any
    probabilities: np.ndarray | None = None


def _predicted(trained: Trained, part: Labelled, probabilities: bool = False) -> list[_Predicted]:
    model = trained.model
    if trained.word == "labels":
        p = model.predict_proba(part.X)
        return [_Predicted(model.classes[row.argmax()], row if probabilities else None) for row in p]
    values = model.predict(part.X)
    p = model.predict_proba(part.X) if probabilities else [None] * len(values)
    return [_Predicted(*pair) for pair in zip(values, p, strict=True)]


class _Writer:
    """Writes predictions as a table, as JSON lines, or as a token and its tag a line.

    Args:
        stream: what to write to.
        kind: the suffix that says how.
        classes: the classes whose probabilities are written; none if they are not.
        per_step: whether each step has a prediction.
    """

    def __init__(self, stream: TextIO, kind: str, classes: list[str], per_step: bool):
        self.stream, self.kind, self.classes, self.per_step, self.begun = stream, kind, classes, per_step, False
        self.rows = csv.writer(stream, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")

    def part(self, part: Labelled, predicted: list[_Predicted]) -> None:
        """Write the predictions of a part of a file."""
        name, ids = _identity(part)
        for i, one in enumerate(predicted):
            if self.kind == ".jsonl":
                self._object({name: _plain(ids[i])}, one)
            elif self.kind == ".conll":
                self.stream.writelines(f"{word}\t{tag}\n" for word, tag in zip(part.X[i], one.value, strict=True))
                self.stream.write("\n")
            else:
                self._table(name, _plain(ids[i]), one)

    def _object(self, found: dict[str, Any], one: _Predicted) -> None:
        found["prediction"] = _plain(one.value)
        if one.probabilities is not None:
            found["probabilities"] = dict(zip(self.classes, one.probabilities.T.tolist(), strict=True))
        self.stream.write(json.dumps(found, ensure_ascii=False) + "\n")

    def _table(self, name: str, which: Any, one: _Predicted) -> None:
        values = one.value if self.per_step else [one.value]
        p = [[]] * len(values) if one.probabilities is None else np.atleast_2d(one.probabilities).tolist()
        if not self.begun:
            first = _plain(values[0])
            many = len(first) if isinstance(first, list) else 1
            heads = ["prediction"] if many == 1 else [f"prediction {j}" for j in range(1, many + 1)]
            self.rows.writerow([name, *(["step"] if self.per_step else []), *heads, *(f"p({c})" for c in self.classes)])
            self.begun = True
        for step, (value, row) in enumerate(zip(values, p, strict=True)):
            value = _plain(value)
            cells = value if isinstance(value, list) else [value]
            self.rows.writerow([which, *([step] if self.per_step else []), *cells, *row])


def _identity(part: Labelled) -> tuple[str, Any]:
    """What tells the sequences of a file apart: its name, and what each has."""
    if part.roles.sequence is not None:
        return part.roles.sequence, part.sequences[part.roles.sequence]
    places = part.sequences.places
    return places.unit, places.lines if places.unit != "file" else [places.names[k] for k in places.file]


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist()) if value.dtype.kind not in "Mm" else value.astype(str).tolist()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


@contextmanager
def _opened(out: str | None, force: bool) -> Iterator[tuple[TextIO, str]]:
    """Where predictions are written to, and the suffix that says how; a file appears when it is whole."""
    if out is None:
        yield sys.stdout, ".csv"
        return
    path = Path(out)
    if path.suffix.lower() not in _KINDS:
        raise UsageError(f"--out must end in {', '.join(_KINDS)}; got {out!r:.80}.")
    if os.path.lexists(path) and not force:
        raise DataError(f"{out} exists; choose another file, or give --force to replace it")
    with beside(path) as new, open(new, "w", encoding="utf-8", newline="") as stream:
        yield stream, path.suffix.lower()


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Complaints with the name of the file."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error) if str(error).startswith((file, "standard input")) else f"{file}: {error}") from None


def evaluate(trained: Trained, file: str, **data: Any) -> None:
    """Print how well a network does on a labelled file; on the one it was trained on, on what was held out."""
    reader = trained.reader(file, data)
    truth: list[Any] = []
    predicted: list[Any] = []
    with _explained(file):
        for part in reader.parts(trained.roles):
            if part.y is None:
                raise reader.no_targets(part, trained.roles.label)
            truth += _truth(trained, part)
            predicted += [one.value for one in _predicted(trained, part)]
        mine = _held_out(trained, file, truth)
        if mine is not None:
            truth, predicted = ([values[i] for i in mine] for values in (truth, predicted))
        what = "the whole file" if mine is None else "held out when it was trained on this file"
        lines = _SCORES[trained.word](trained, truth, predicted)
    say(f"{file}     {len(truth):,} sequences, {what}")
    for line in lines:
        say(line)
    if mine is None:
        say(_when_trained(trained))


def _truth(trained: Trained, part: Labelled) -> list[Any]:
    """The targets of a part of a file; of each step, where a network of numbers gives these, though all are alike."""
    column = part.sequences[part.roles.label or ""]
    return list(column if trained.word == "numbers" and trained.per_step and isinstance(column, Ragged) else part.y)


def _held_out(trained: Trained, file: str, truth: list[Any]) -> np.ndarray | None:
    """Which sequences were held out, if this is the file that the network was trained on."""
    from ..tasks.readout import held_out

    data = trained.config.get("data")
    if data is None or data["sha256"] is None or data["sha256"] != digest(file):
        return None
    if data["validation"] is None:
        note(f"{file} is what the network was trained on: what it reaches here is no measure of it")
        return None
    strata = np.unique([str(y) for y in truth], return_inverse=True)[1] if trained.word == "labels" else None
    seed = trained.config["parameters"]["random_state"]
    return np.flatnonzero(held_out(len(truth), data["validation"], seed, strata))


def _score_labels(trained: Trained, truth: list[Any], predicted: list[Any]) -> list[str]:
    classes = [str(c) for c in trained.model.classes]
    y, p = np.array([str(value) for value in truth]), np.array([str(value) for value in predicted])
    unknown = sorted(set(y.tolist()) - set(classes))
    if unknown:
        known = ", ".join(classes)
        if len(unknown) == len(set(y.tolist())):
            raise DataError(
                f"the labels are {', '.join(unknown):.80}; the network knows {known:.200}: is this its file?"
            )
        note(
            f"{np.isin(y, unknown).sum():,} labels are none of the network's, and count as wrong: "
            f"{', '.join(unknown):.80}"
        )
    names, counts = np.unique(y, return_counts=True)
    common = names[counts.argmax()]
    always = np.full(len(y), common)
    return [
        f"network    {(y == p).mean():.4f} accuracy, F1 {macro_f1(y, p):.4f}, the mean over {len(names)} classes",
        f"majority   {(y == always).mean():.4f} accuracy, F1 {macro_f1(y, always):.4f}, always {common}",
    ]


def macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes of y of  F1 = 2 · right / (there + predicted)."""
    names = np.unique(y)
    right = [2 * ((y == c) & (predicted == c)).sum() / ((y == c).sum() + (predicted == c).sum()) for c in names]
    return float(np.mean(right))


def _score_numbers(trained: Trained, truth: list[Any], predicted: list[Any]) -> list[str]:
    outputs = len(trained.model.mean)
    values = [np.asarray(value).reshape(-1, outputs) for value in (truth if isinstance(truth, list) else list(truth))]
    if any(value.dtype.kind not in "biuf" for value in values):
        raise DataError("the targets are texts; this network predicts numbers")
    y = np.concatenate(values).astype(np.float64)
    p = np.concatenate([np.asarray(value, np.float64).reshape(-1, outputs) for value in predicted])
    if len(y) != len(p):
        raise DataError(f"there are {len(y):,} targets for {len(p):,} predictions: one a step, or one a sequence?")
    mean = np.broadcast_to(trained.model.mean, y.shape)
    return [f"{name:<11}{_errors(y, found)}" for name, found in (("network", p), ("mean", mean))]


def _errors(y: np.ndarray, p: np.ndarray) -> str:
    from ..tasks.regressor.saved import errors

    found, mae = errors(y, p), np.abs(y - p).mean()
    return f"{found['rmse']:.4g} root mean squared error, {mae:.4g} mean absolute error, R² {found['r2']:.4f}"


def _score_tags(trained: Trained, truth: list[Any], predicted: list[Any]) -> list[str]:
    from ..tasks.metrics import scheme_of
    from ..tasks.tagger.saved import scores

    if [len(tags) for tags in truth] != [len(tags) for tags in predicted]:
        raise DataError("the sequences have not one tag for each step")
    tags = Counter(str(tag) for sentence in truth for tag in sentence)
    if not tags.keys() & {str(c) for c in trained.model.classes}:
        known = ", ".join(map(str, trained.model.classes))
        raise DataError(f"the tags are {', '.join(tags):.80}; the network knows {known:.200}: is this its file?")
    common = max(tags, key=tags.__getitem__)
    always = [[common] * len(sentence) for sentence in truth]
    of_spans = scheme_of(trained.model.classes.tolist()) is not None
    return [
        f"network    {_shown(scores(truth, predicted, of_spans))}, {sum(tags.values()):,} tags",
        f"majority   {_shown(scores(truth, always, of_spans))}, always {common}",
    ]


def _shown(found: dict[str, float]) -> str:
    return ", ".join(f"{value:.4f} {'F1' if name == 'f1' else name}" for name, value in found.items())


def _when_trained(trained: Trained) -> str:
    """What the network and its best baseline reached on what was held out."""
    network, baselines = trained.model.metrics["validation"], trained.model.metrics["baselines"]
    if trained.word == "numbers":
        name = min(baselines, key=lambda n: baselines[n]["rmse"])
        return f"when trained, held out: network {network['rmse']:.4g}, {name} {baselines[name]['rmse']:.4g}"
    name, metric = max(baselines, key=baselines.__getitem__), getattr(trained.model, "metric", "accuracy")
    return f"when trained, held out: network {network[metric]:.4f}, {name} {baselines[name]:.4f}"


_SCORES: dict[str, Callable[[Trained, list[Any], list[Any]], list[str]]] = {
    "labels": _score_labels,
    "numbers": _score_numbers,
    "tags": _score_tags,
}
