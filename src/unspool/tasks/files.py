"""Files of sequences and their targets: which column is what, for all tasks but the language model. No PyTorch.

    one row a step       a table with a column that says which sequence a row belongs to
    one row a sequence   a table with a column of text, or with columns of numbers, which are the steps
    one line a sequence  JSON lines, .ts, plain text
    one line a token     CoNLL and CoNLL-U
    arrays               .npz and .npy
    a folder             of .txt files: the name of each is the label of its lines
    sound                a .wav file; a folder of them; or a folder of such folders, whose names are the labels

What the flags do not say is taken from the names and the kinds of the columns if that leaves no doubt.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..data.ragged import Ragged
from ..data.sequences import Sequences
from ..data.text import STDIN
from ..errors import DataError, printable
from ..options import option
from .source import Parts, Roles, Seen, Source, digest, from_line, named, numbers, several_labels

Watch = Callable[[float], object]
_LONG = 2_000  # tokens that few sentences have
# Names that say what a column is, the surest first.
_LABELS = {
    "labels": ("label", "labels", "class", "target", "category", "y"),
    "numbers": ("target", "y", "label"),
    "tags": ("upos", "tags", "tag", "ner", "pos", "labels", "label"),
}
SERIES_NAMES = (
    "sequence_id",
    "seq_id",
    "series_id",
    "unique_id",
    "sentence_id",
    "session_id",
    "sequence",
    "series",
    "id",
)
TIME_NAMES = ("time", "t", "step", "timestamp", "date", "datetime", "ds")
_TEXTS = ("text", "sentence", "sequence", "seq", "review", "content", "message", "words", "tokens")
_WORDS = ("form", "token", "tokens", "word", "words", "text")
_NOT_INPUTS = ("id", "index", "")


class Labelled(NamedTuple):
    """Sequences as an estimator takes them, and their targets, or None; `sequences` is what they were made of."""

    X: Any
    y: Any
    sequences: Sequences
    roles: Roles


class Training(NamedTuple):
    """What `unspool fit` trains on: X, y and `validation` for an estimator, and what its folder keeps of the file.

    `options` are those of the task that the file decides.
    """

    X: Any
    y: Any
    validation: Any
    data: dict[str, Any] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


def note(message: str) -> None:
    """Print a line on standard error."""
    print("unspool:", printable(message), file=sys.stderr)


@dataclass(frozen=True)
class SequenceFile:
    """A file of sequences with their targets."""

    what: ClassVar[str] = (
        "sequences with their targets: a table in CSV, TSV or Parquet, JSON lines, .ts, CoNLL, .npz (films, too), or a "
        "folder of .txt files, one a class, or of folders of .wav files, one a class"
    )
    target: ClassVar[str] = "labels"

    file: str
    label: str | None = option(
        None, "the column of the targets: its name, or its number from 1; -1 is the last", "data"
    )
    inputs: str | None = option(None, "the columns that the network reads, with commas between them", "data")
    sequence: str | None = option(None, "the column that says which sequence a row belongs to", "data")
    time: str | None = option(None, "the column by which the rows of a sequence are ordered", "data")
    delimiter: str | None = option(None, "the character between the fields of a CSV or TSV table", "data")
    skip_bad: int = option(0, "the number of bad lines or rows to skip, at most", "data", least=0)

    @staticmethod
    def place(file: str) -> str:
        """The name of the file, which is also valid in another working directory."""
        return file if file == STDIN else str(Path(file).absolute())

    def training_data(self, options: Any, validation: float | str, watch: Watch | None = None) -> Training:
        """What a task is to be trained on; `validation`: the part to hold out, or the name of another such file."""
        found = self.labelled(watch=watch)
        held_out: Any = validation
        if isinstance(validation, str):
            other = replace(self, file=validation).labelled(found.roles)
            held_out = (other.X, other.y)
        part = None if isinstance(validation, str) else validation
        data = {"roles": found.roles.saved(), "sha256": digest(self.file), "validation": part}
        return Training(found.X, found.y, held_out, data, self._decided(found.roles, options))

    def _decided(self, roles: Roles, options: Any) -> dict[str, Any]:
        """The options that the file decides; raise DataError if another value is given."""
        if roles.rate is None:
            return {}
        if options.sound_rate not in (None, roles.rate):
            raise DataError(
                f"{self.file}: has sound of {roles.rate:,} samples a second; got --sound-rate {options.sound_rate}: "
                f"leave it out"
            )
        return {"sound_rate": roles.rate}

    def labelled(
        self, roles: Roles | None = None, report: Callable[[str], object] = note, watch: Watch | None = None
    ) -> Labelled:
        """The sequences of the file with their targets.

        Args:
            roles: of the file's columns; None: as the flags say, or as the file leaves no doubt.
            report: receives what was assumed, and what was skipped.
            watch: receives which part of the file, 0 to 1, has been read.
        Raises:
            DataError: the file cannot be read, or leaves a doubt.
        """
        source = Source.of(self.file, self.target, self.delimiter)
        if watch is not None:
            source.watched_by(watch)
        found = self._read(source, roles, report)
        if found.y is None:
            raise self.no_targets(found)
        self._check_targets(found)
        longest = int(found.sequences.lengths.max())
        if self.target == "tags" and longest > _LONG:
            place = found.sequences.place(int(found.sequences.lengths.argmax()))
            report(f"{place}: a sentence of {longest:,} tokens; is there no empty line after each sentence?")
        return found

    def no_targets(self, found: Labelled, label: str | None = None) -> DataError:
        """What is wrong with a file without targets; `label` is the column that was looked for."""
        if found.roles.rate is not None:
            return DataError(
                f"{self.file}: its sounds have no labels; put the .wav files of each label into a folder of its name"
            )
        there = ", ".join(found.sequences.columns)
        return DataError(
            f"{self.file}: there is no column {found.roles.label or label!r} with the targets; name it in --label: "
            f"there are {there:.400}"
        )

    def parts(self, roles: Roles, report: Callable[[str], object] = note) -> Iterator[Labelled]:
        """The sequences of the file, a part at a time, so that it may be larger than memory if it is one of lines.

        The columns are those that the network was trained on, but for what the flags say; the targets may be absent.
        """
        given = {n: v for n in ("label", "sequence", "time") if (v := getattr(self, n)) is not None}
        if self.inputs is not None:
            given["inputs"] = tuple(self.inputs.split(","))
        source = Source.of(self.file, self.target, self.delimiter, roles.header)
        roles = source.there(replace(roles, **given))
        if not source.in_parts:
            yield self._read(source, roles, report)
            return
        parts, rest, line = Parts(source), b"", 0
        known: set[Any] = set()
        skip_bad = self.skip_bad
        for block, last in parts.blocks():
            data, line = rest + block, line or parts.first
            cut = len(data) if last else parts.cut(data)
            if not data[:cut].strip():
                rest = data
                continue
            rest = data[cut:]
            found = source.excerpt(parts.begin + data[:cut], line - parts.lines).read(roles, skip_bad)
            after = line + data[:cut].count(b"\n")
            if roles.sequence is not None and not last:
                # The last sequence may go on in the next part.
                after = int(found.places.lines[-1])
                rest = from_line(data[:cut], after - line) + rest
                found = found.take(np.arange(len(found) - 1))
            line = after
            for complaint in found.skipped:
                report(f"skipped: {complaint}")
            skip_bad -= len(found.skipped)
            if roles.sequence is not None:
                self._together(found, roles.sequence, known)
            if len(found):
                yield Labelled(self._inputs(found, roles), self._targets(found, roles), found, roles)

    @staticmethod
    def _together(found: Sequences, name: str, known: set[Any]) -> None:
        """Raise DataError if a sequence is known already, and add the others to those."""
        for i, which in enumerate(found[name].tolist()):  # pyright: ignore[reportAttributeAccessIssue]
            if which in known:
                raise DataError(
                    f"{found.place(i)}: the rows of sequence {which!r:.40} must follow each other; some are far above: "
                    f"sort the file by {name!r}"
                )
            known.add(which)

    def _read(self, source: "Source", roles: Roles | None, report: Callable[[str], object]) -> Labelled:
        if source.kind == "sound":
            self._check_sound()
        if roles is None:
            seen = source.seen(self.skip_bad)
            if source.rate is None:
                roles = self._roles(seen, source.is_table)
            else:
                roles = Roles.of_sound(source.rate, next((c.name for c in seen if c.text), None))
            roles = replace(roles, header=source.header)
            self._say(roles, source, report)
        else:
            roles = source.there(roles)
        found = source.read(roles, self.skip_bad)
        for complaint in found.skipped:
            report(f"skipped: {complaint}")
        return Labelled(self._inputs(found, roles), self._targets(found, roles), found, roles)

    def _check_sound(self) -> None:
        """Raise DataError unless the task and the flags are for sound."""
        if self.target == "tags":
            raise DataError(f"{self.file}: is sound, which has no words or rows to tag; try 'unspool fit labels'")
        flags = [n for n in ("label", "inputs", "sequence", "time", "delimiter") if getattr(self, n) is not None]
        if flags:
            raise DataError(f"{self.file}: is sound, which has no columns; leave out --{flags[0]}")

    def _say(self, roles: Roles, source: "Source", report: Callable[[str], object]) -> None:
        """Report what was assumed."""
        if roles.rate is not None:
            label = "" if roles.label is None else "label: the folder of each .wav file; "
            report(
                f"{label}input: sound of {roles.rate:,} samples a second, of which the network hears log-mel features "
                f"(--sound-rate {roles.rate})"
            )
        if (self.label and self.inputs) or source.kind not in ("table", "parquet", "jsonl", "npz"):
            return
        many = len(roles.inputs)
        inputs = ", ".join(map(repr, roles.inputs[:3])) + (f" and {many - 3} more" if many > 3 else "")
        how = f"a row a step, sequences by {roles.sequence!r}" if roles.sequence else "a row a sequence"
        how = how if source.is_table or source.kind == "npz" else "a line a sequence"
        if roles.wide:
            how += f", its steps in {many} columns"
        no_header = "" if source.header else "; the first line is data, no names of columns"
        label = "" if roles.label is None else f"label: column {roles.label!r}; "
        report(f"{label}input: {inputs}; {how}{no_header}; change it by --label, --inputs or --sequence")

    def _doubt(self, what: str, flag: str, names: Any) -> DataError:
        there = ", ".join(map(str, names))
        return DataError(f"{self.file}: it is in doubt {what}; say so by {flag}; there are {there:.400}")

    # Roles

    def _roles(self, seen: Sequence[Seen], table: bool) -> Roles:
        names = [c.name for c in seen]
        by_name = {c.name: c for c in seen}
        sequence = None if self.sequence is None else named(self.file, names, self.sequence)
        label = None if self.label is None else named(self.file, names, self.label)
        asked = None if self.inputs is None else tuple(named(self.file, names, n) for n in self.inputs.split(","))
        if table and sequence is None:
            known = [n for n in _first(names, SERIES_NAMES) if by_name[n].repeated and n != label]
            sequence = known[0] if known and known[0] not in (asked or ()) else None
        time = None if self.time is None else named(self.file, names, self.time)
        if sequence is not None and time is None:
            known = [n for n in _first(names, TIME_NAMES) if n != label and n not in (asked or ())]
            time = known[0] if known else None
        free = [c for c in seen if c.name not in (sequence, time, *(asked or ()))]
        label = label if label is not None else self._label(free, sequence is not None)
        if label is None:
            raise self._doubt("which column has the targets", "--label", names)
        wide = False
        if asked is None:
            rest = [c for c in free if c.name != label and c.name.casefold() not in _NOT_INPUTS]
            asked = self._input_names(rest, [c.name for c in seen], sequence is not None)
        if table and sequence is None and self.target != "tags":
            wide = all(by_name[n].number and not by_name[n].listed for n in asked)
            if not wide and len(asked) > 1 and not any(by_name[n].listed for n in asked):
                raise DataError(
                    f"{self.file}: inputs must be columns of numbers, or one of text; got {', '.join(asked)}"
                )
        return Roles(label, asked, sequence, time, wide)

    def _label(self, free: Sequence[Seen], long: bool) -> str | None:
        known = _first([c.name for c in free], _LABELS[self.target])
        if known:
            return known[0]
        if self.target == "tags":
            return None
        if self.target == "numbers":
            numbers = [c.name for c in free if c.number and not c.listed]
            return numbers[0] if len(numbers) == 1 and not long else None
        single = [c for c in free if not c.listed]
        texts = [c.name for c in single if c.text and c.repeated]
        numbers = [c.name for c in single if c.values.dtype.kind == "i" and c.repeated]
        if len(texts) == 1:
            return texts[0]
        alone = not texts and not long and sum(c.number for c in single) == 1
        return numbers[0] if alone and numbers else None

    def _input_names(self, rest: Sequence[Seen], names: Sequence[str], long: bool) -> tuple[str, ...]:
        """The columns that the network is to read."""
        listed = [c for c in rest if c.listed] or (list(rest) if long or self.target == "tags" else [])
        texts, numbers = [c.name for c in listed if c.text], [c.name for c in listed if c.number]
        if self.target == "tags" and texts:
            found = _first(texts, _WORDS)[:1] or texts
        elif listed:
            found = numbers or texts
        else:
            found = self._of_row(rest)
        if not found or (found == texts and len(found) > 1):
            raise self._doubt("which columns the network is to read", "--inputs", names)
        return tuple(found)

    @staticmethod
    def _of_row(rest: Sequence[Seen]) -> list[str]:
        """The inputs where each row is a sequence: a column of text, or columns of numbers."""
        texts, numbers = [c for c in rest if c.text], [c.name for c in rest if c.number]
        known = _first([c.name for c in texts], _TEXTS)
        if known:
            return known[:1]
        if len(numbers) > 1:
            return numbers
        if len(texts) == 1:
            return [texts[0].name]
        size = {c.name: sum(map(len, c.values.tolist())) for c in texts}
        order = sorted(size, key=size.__getitem__, reverse=True)
        return order[:1] if order and size[order[0]] >= 3 * size[order[1]] else []

    # Values

    def _inputs(self, found: Sequences, roles: Roles) -> Any:
        """X, as an estimator takes it."""
        if roles.wide:
            steps = found.steps("value")
            equal = len(set(steps.lengths.tolist())) == 1
            return steps.values.reshape(len(steps), -1) if equal else Ragged(steps.values.reshape(-1, 1), steps.offsets)
        column = found[roles.inputs[0]]
        if isinstance(column, Ragged):
            if self.target == "tags" and column.values.dtype.kind == "O":
                return [list(words) for words in column]
            return Sequences({n: found.steps(n) for n in roles.inputs}, found.places)
        if column.dtype.kind != "O":
            name = roles.inputs[0]
            raise DataError(
                f"{self.file}: column {name!r} has one number a sequence; name a column of steps in --inputs"
            )
        texts = [text.strip() for text in column.tolist()]
        if "" in texts:
            raise DataError(f"{found.place(texts.index(''))}: column {roles.inputs[0]!r} is empty; expected a text")
        return texts

    def _targets(self, found: Sequences, roles: Roles) -> Any:
        """y, as an estimator takes it; None if the file has none."""
        if roles.label is None or roles.label not in found.columns:
            return None
        column = found[roles.label]
        values = column.values if isinstance(column, Ragged) else column
        if values.dtype.kind == "O":
            stripped = np.empty(len(values), object)
            stripped[:] = [value.strip() for value in values]
            values = stripped
            self._check_there(found, column, roles.label, values)
            if roles.rate is not None and self.target == "numbers":
                values = numbers(values)
        if isinstance(column, Ragged):
            return self._per_step(found, roles.label, Ragged(values, column.offsets))
        if self.target == "tags":
            raise DataError(f"{self.file}: column {roles.label!r} has one value a sequence; tags are one a step")
        return values

    @staticmethod
    def _check_there(found: Sequences, column: Any, name: str, values: np.ndarray) -> None:
        empty = np.flatnonzero(values == "")
        if len(empty):
            i = int(empty[0])
            if isinstance(column, Ragged):
                i = int(np.searchsorted(column.offsets, i, side="right")) - 1
            raise DataError(
                f"{found.place(i)}: column {name!r} is empty; expected a label: leave the row out, or fill it"
            )

    def _per_step(self, found: Sequences, name: str, column: Ragged) -> Any:
        """One target for each step, or one a sequence if all of its steps have the same."""
        if self.target == "tags":
            return [[str(tag) for tag in tags] for tags in column]
        i = 0
        for part in column.parts():
            same = part.values == np.repeat(part.values[part.offsets[:-1]], part.lengths)
            if not same.all():
                break
            i += len(part)
        else:
            return column.values[column.offsets[:-1]]
        if self.target == "numbers":
            return list(column)
        i += int(np.searchsorted(part.offsets, int(np.argmin(same)), side="right")) - 1
        raise DataError(several_labels(found.place(i), name, list(dict.fromkeys(column[i].tolist()))))

    def _check_targets(self, found: Labelled) -> None:
        """Raise DataError unless the targets are ones of this task."""
        name, y = found.roles.label, found.y
        if len(found.sequences) < 2:
            hint = ": put an empty line after each sentence" if self.target == "tags" else ""
            raise DataError(f"{self.file}: must have at least 2 sequences, to train on and to hold out; got 1{hint}")
        if self.target == "labels":
            count = len(set(y.tolist()))
            if count == len(y) and len(y) > 2:
                remedy = "for numbers try 'unspool fit numbers'" if y.dtype.kind in "if" else "name another in --label"
                raise DataError(f"{self.file}: column {name!r} has {count:,} different labels, each once; {remedy}")
            if y.dtype.kind == "f":
                raise DataError(f"{self.file}: column {name!r} has fractions, no labels; try 'unspool fit numbers'")
        elif self.target == "numbers":
            kind = (y[0] if isinstance(y, list) else y).dtype.kind
            if kind not in "biuf":
                raise DataError(f"{self.file}: column {name!r} has texts, no numbers; try 'unspool fit labels'")


class LabelsFile(SequenceFile):
    """Sequences, each with a label."""


class NumbersFile(SequenceFile):
    """Sequences, each with a number, or with one a step."""

    target: ClassVar[str] = "numbers"


class TagsFile(SequenceFile):
    """Sequences with a tag for each step."""

    target: ClassVar[str] = "tags"


def _first(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of the names that are known, the surest first."""
    return [name for word in known for name in names if name.casefold() == word]
