"""A file of sequences: how it is written, its columns, and how it is read, at once or a part at a time."""

import csv
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.ragged import Ragged
from ..data.sequences import Sequences
from ..data.text import STDIN
from ..errors import DataError, shown

_HEAD = 2**20  # bytes of a table from which the roles of its columns are taken
_PART = 2**20  # bytes that are read at a time where sequences are predicted as they come
_DELIMITERS = ",;\t|"
_BETWEEN = re.compile(rb"\n[ \t\r]*\n")  # between sentences


@dataclass(frozen=True)
class Roles:
    """Which column of a file is what.

    label: the targets; None if there are none.
    inputs: what the network reads.
    sequence, time: the sequence that a row belongs to, and the order of its steps; None: each row is a sequence.
    wide: whether the inputs are the steps of the row, in a table in which each row is a sequence.
    header: whether the first line of a table has the names of its columns.
    rate: of sound, in samples a second; None: it is none.
    """

    label: str | None = None
    inputs: tuple[str, ...] = ()
    sequence: str | None = None
    time: str | None = None
    wide: bool = False
    header: bool = True
    rate: int | None = None

    @classmethod
    def of(cls, saved: dict[str, Any]) -> "Roles":
        """The roles that a saved folder has; raise ValueError, KeyError or TypeError if they are none."""
        roles = cls(**{**saved, "inputs": tuple(saved["inputs"])})
        names = [n for n in (roles.label, roles.sequence, roles.time, *roles.inputs) if n is not None]
        if not all(isinstance(n, str) for n in names):
            raise ValueError("the columns of the data must have names")
        if not isinstance(roles.rate, int | None):
            raise ValueError("the rate of sound must be an integer")
        return roles

    @classmethod
    def of_sound(cls, rate: int, label: str | None = "label") -> "Roles":
        """Those of all files of sound, but that there may be no label."""
        return cls(label, ("value",), rate=rate)

    def saved(self) -> dict[str, Any]:
        """The inverse of `of`."""
        return asdict(self)


class Seen(NamedTuple):
    """A column, or what was seen of it.

    listed: whether it has one value a step of a sequence.
    mixed: whether some cells are numbers, and some are not.
    """

    name: str
    values: np.ndarray
    listed: bool
    mixed: bool = False

    @property
    def number(self) -> bool:
        return self.values.dtype.kind in "iuf"

    @property
    def text(self) -> bool:
        return self.values.dtype.kind == "O"

    @property
    def repeated(self) -> bool:
        """Whether each value is there twice, on average."""
        return 2 * len(set(self.values.tolist())) <= len(self.values)


def several_labels(place: str, name: str | None, labels: Sequence[Any]) -> str:
    """The complaint about a sequence whose steps have not all the same label."""
    return (
        f"{place}: column {name!r} must have one label for all rows of a sequence; got "
        f"{', '.join(map(str, labels))!s:.60}: for a tag a step, try 'unspool fit tags'"
    )


def digest(file: str) -> str | None:
    """The SHA-256 of a file, or of the files of a folder, by which it is recognised; None for standard input."""
    if file == STDIN:
        return None
    from ..data.readers.sound import in_folder

    path, total = Path(file), hashlib.sha256()
    files = [path]
    if path.is_dir():
        files = [one for sounds in in_folder(path).values() for one in sounds] or sorted(path.iterdir())
    for one in files:
        if one.is_file():
            total.update(one.relative_to(path).as_posix().encode() if path.is_dir() else b"")
            with open(one, "rb") as opened:
                while block := opened.read(_PART):
                    total.update(block)
    return total.hexdigest()


def named(file: str, names: Sequence[str], given: str) -> str:
    """The column of this name, in any case of letters, or of this number, from 1 up or from -1 down."""
    found = [n for n in names if n == given] or [n for n in names if n.casefold() == given.strip().casefold()]
    if len(found) == 1:
        return found[0]
    if given.lstrip("-").isdecimal() and 1 <= abs(int(given)) <= len(names):
        return names[int(given) - (int(given) > 0)]
    raise DataError(f"{file}: there is no column {shown(given)}; there are {', '.join(names):.400}")


class Source:
    """A file, or an excerpt of one, how it is written, and the reader for it."""

    def __init__(self, file: str, kind: str, name: str, target: str, delimiter: str = ","):
        self.file, self.kind, self.name, self.delimiter = file, kind, name, delimiter
        self.path: Any = file  # what a reader is to open
        self.header = True  # whether the first line of a table has the names of the columns
        self.names: list[str] = []  # of the columns of a table of text
        self.all: Sequences | None = None  # all of the file, where it was read to see its columns
        self.cells: list[Seen] = []  # of the columns of a table of text, as far as they were seen
        self.begin = b""  # what standard input has brought
        self.is_part = False
        self.one_label = target == "labels"  # whether a sequence has one, and not one a step

    @classmethod
    def of(cls, file: str, target: str, delimiter: str | None, header: bool | None = None) -> "Source":
        """What a file is, by its name or by its first lines."""
        from ..data.readers.sound import in_folder
        from ..data.readers.source import suffix

        if Path(file).is_dir():
            return cls(file, "sound" if any(in_folder(file).values()) else "folder", file, target)
        if suffix(file) in _BINARY:
            return cls(file, _BINARY[suffix(file)], file, target)
        begin = _begin_of_stdin() if file == STDIN else b""
        head = begin or _head(file)
        given = delimiter.replace("\\t", "\t") if delimiter else None
        found = given or _delimiter(head)
        kind = _TEXT.get(suffix(file)) or _guessed(head, target, found)
        made = cls(file, kind, "standard input" if file == STDIN else file, target)
        made.begin = begin
        if kind == "table":
            made.delimiter = found or ("\t" if suffix(file) in (".tsv", ".tab") else ",")
            made._name_columns(_records(head, made.delimiter), header)
        return made

    @property
    def is_table(self) -> bool:
        return self.kind in ("table", "parquet")

    @property
    def rate(self) -> int | None:
        """Of sound that was seen, in samples a second; None of all else."""
        return None if self.kind != "sound" or self.all is None else int(self.all["rate"][0])

    @property
    def in_parts(self) -> bool:
        """Whether the file can be read a part at a time."""
        return self.kind not in ("parquet", "npz", "npy", "folder", "sound") and ".conllup" not in self.file

    def excerpt(self, data: bytes, line: int) -> "Source":
        """Some lines of this file, without the names of columns."""
        from ..data.readers.source import Excerpt

        made = copy(self)
        made.path, made.is_part = Excerpt(self.name, data, line), True
        return made

    def watched_by(self, watch: Callable[[float], object]) -> None:
        """Report which part of the file's bytes, 0 to 1, has been read, if it is a file of text."""
        from ..data.readers.source import Watched

        if self.kind not in ("folder", *_BINARY.values()):
            self.path = Watched(self.file, watch)

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the file, unpacked."""
        from ..data.readers.source import blocks

        if self.file != STDIN:
            yield from blocks(self.file)
            return
        yield self.begin
        while block := sys.stdin.buffer.read1(_PART):  # pyright: ignore[reportAttributeAccessIssue]
            yield block

    def _name_columns(self, rows: list[list[str]], header: bool | None) -> None:
        if not rows:
            raise DataError(f"{self.name}: the file is empty; expected rows of data")
        self.header = _is_header(rows) if header is None else header
        self.names = [n or f"column {j}" for j, n in enumerate(rows[0], 1)]
        if not self.header:
            self.names = [f"column {j}" for j in range(1, len(rows[0]) + 1)]
        there = [r for r in rows[self.header :] if len(r) == len(self.names)]
        columns = zip(*there, strict=True) if there else [()] * len(self.names)
        self.cells = [Seen(name, *_typed(cells)) for name, cells in zip(self.names, columns, strict=True)]

    def seen(self, skip_bad: int) -> list[Seen]:
        """The columns, with the values that the roles are taken from."""
        if self.kind == "table":
            return self.cells
        self.all = self._whole(skip_bad)
        return [
            Seen(name, column.values, True) if isinstance(column, Ragged) else Seen(name, column, False)
            for name, column in self.all.columns.items()
        ]

    def there(self, roles: Roles) -> Roles:
        """The roles with the file's own names, and without the label if the file has no such column."""
        if self.kind != "table":
            return roles
        find = partial(named, self.name, self.names)
        label = roles.label
        if label is not None:
            label = find(label) if label.casefold() in map(str.casefold, self.names) or _is_number(label) else None
        sequence = None if roles.sequence is None else find(roles.sequence)
        time = None if roles.time is None else find(roles.time)
        return replace(roles, label=label, sequence=sequence, time=time, inputs=tuple(map(find, roles.inputs)))

    def read(self, roles: Roles, skip_bad: int) -> Sequences:
        """The sequences, with the columns that have a role; raise DataError if they are sound of another rate."""
        from ..data.readers.rows import Differs

        try:
            return self._read(roles, skip_bad)
        except Differs as error:
            raise DataError(several_labels(error.place, roles.label, error.values)) from None

    def _read(self, roles: Roles, skip_bad: int) -> Sequences:
        columns = [*roles.inputs, *([roles.label] if roles.label else [])]
        if self.kind == "table":
            return self._table(roles, columns, skip_bad)
        if self.kind == "parquet" and roles.sequence is not None:
            from ..data.readers.frames import read_parquet

            return read_parquet(self.path, columns=columns, skip_bad=skip_bad, **self._steps(roles))
        found = self._whole(skip_bad, columns) if self.all is None else self.all
        if self.kind == "sound" and found["rate"][0] != roles.rate:
            what = "no sound in .wav files" if roles.rate is None else f"sound of {roles.rate:,}"
            raise DataError(
                f"{self.file}: has sound of {found['rate'][0]:,} samples a second; the network was trained on {what}"
            )
        if not roles.wide:
            return found
        values = np.stack([np.asarray(found[n], np.float64) for n in roles.inputs], axis=1)
        steps = Ragged(values.reshape(-1), np.arange(len(values) + 1) * values.shape[1])
        label = {n: found[n] for n in found.columns if n == roles.label}
        return Sequences({**label, "value": steps}, found.places, found.skipped)

    def _table(self, roles: Roles, columns: list[str], skip_bad: int) -> Sequences:
        from ..data.readers.source import Excerpt
        from ..data.readers.tables import read_csv

        how: dict[str, Any] = {"names": self.names} if self.is_part else {"header": self.header}
        path = Excerpt(self.name, b"".join(self.blocks())) if self.file == STDIN and not self.is_part else self.path
        how |= {"delimiter": self.delimiter, "skip_bad": skip_bad}
        if roles.wide:
            columns = columns[len(roles.inputs) :]
            how |= {"wide": True, "steps": roles.inputs}
        elif roles.sequence is None:
            how |= {"wide": True}
        else:
            how |= self._steps(roles)
        seen = [c for c in self.cells if c.name in columns]
        texts = [c.name for c in seen if c.text or (c.mixed and c.name == roles.label)]
        return read_csv(path, columns=columns, text=texts, **how)

    def _steps(self, roles: Roles) -> dict[str, Any]:
        """How the rows of a table become steps of sequences."""
        once = [roles.label] if roles.label and self.one_label and roles.label not in roles.inputs else []
        return {"sequence": roles.sequence, "time": roles.time, "per_sequence": once}

    def _whole(self, skip_bad: int, wanted: Sequence[str] = ()) -> Sequences:
        """All columns of a file that is no table of text, or of JSON lines those that are wanted and there."""
        if self.kind == "folder":
            return _folder(self.file, skip_bad)
        if self.kind == "sound":
            from ..data.readers.sound import read_sounds

            return read_sounds(self.file, skip_bad=skip_bad)
        module, function, options = _WHOLE[self.kind]
        if self.kind == "jsonl" and wanted:
            first = _text(self.path.data if self.is_part else _head(self.file)).lstrip().partition("\n")[0]
            options = {
                "columns": [n for n in wanted if json.dumps(n) in first or json.dumps(n, ensure_ascii=False) in first]
            }
        if self.file == STDIN and not self.is_part:
            return self.excerpt(b"".join(self.blocks()), 1)._whole(skip_bad, wanted)
        options = {**options, **({} if self.kind in ("npz", "npy") else {"skip_bad": skip_bad})}
        return getattr(import_module(f"unspool.data.readers.{module}"), function)(self.path, **options)


_BINARY = {".parquet": "parquet", ".npz": "npz", ".npy": "npy", ".wav": "sound"}
_TEXT = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), "table"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".conllu", ".conllup"), "conllu"),
    ".conll": "conll",
    ".ts": "ts",
}
# The module of each kind's reader, its function, and the arguments that are always the same.
_WHOLE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "parquet": ("frames", "read_parquet", {"wide": True}),
    "npz": ("arrays", "read_npz", {}),
    "npy": ("arrays", "read_npy", {}),
    "jsonl": ("jsonl", "read_jsonl", {}),
    "conll": ("conll", "read_conll", {"columns": {"token": 1, "tag": -1}}),
    "conllu": ("conll", "read_conllu", {"columns": ("FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "DEPREL")}),
    "ts": ("ts", "read_ts", {}),
    "lines": ("plain", "read_lines", {}),
}


def _typed(cells: Sequence[str]) -> tuple[np.ndarray, bool, bool]:
    """Cells as integers or fractions if more than half of those that are not empty are numbers, else as texts.

    And False, as they are not listed, and whether there are some of either kind.
    """
    from ..data.readers.fields import PLAIN

    there = [c.strip() for c in cells if c.strip()]
    found = [c for c in there if PLAIN.pattern.fullmatch(c)]
    mixed = 0 < len(found) < len(there)
    if 2 * len(found) > len(there):
        whole = not any("." in c or "e" in c.lower() for c in found)
        return (_integers(found) if whole else np.array(list(map(float, found)))), False, mixed
    values = np.empty(len(cells), object)
    values[:] = cells
    return values, False, mixed


def _integers(cells: Sequence[str]) -> np.ndarray:
    values = list(map(int, cells))
    return np.array(values, np.int64 if max(map(abs, values)) < 2**63 else float)


def _is_header(rows: list[list[str]]) -> bool:
    """Whether the first of the rows has names of columns: no numbers, and none that is below it in the same column."""
    first = [cell.strip() for cell in rows[0]]
    numbers = [cell for cell in first if _is_number(cell)]
    if numbers:
        return len(numbers) > 1 and numbers in ([str(i + k) for i in range(len(numbers))] for k in (0, 1))
    if not all(any(map(str.isalnum, cell)) for cell in first[1:]) or len(set(first)) < len(first):
        return False
    below = [{row[j].strip() for row in rows[1:] if j < len(row)} for j in range(len(first))]
    return not any(cell in known for cell, known in zip(first, below, strict=True) if cell)


def numbers(cells: np.ndarray) -> np.ndarray:
    """The texts as numbers, if all of them are, else as they are."""
    return cells.astype(np.float64) if all(map(_is_number, cells.tolist())) else cells


def _is_number(cell: str) -> bool:
    from ..data.readers.fields import PLAIN

    return bool(PLAIN.pattern.fullmatch(cell))


def _head(file: str) -> bytes:
    """The first lines of a file of text, unpacked."""
    from ..data.readers.source import blocks

    found = b""
    for block in blocks(file):
        found += block
        if len(found) >= _HEAD:
            return found[: found.rfind(b"\n") + 1] or found
    return found


def _begin_of_stdin() -> bytes:
    """What standard input has brought when its first line is whole."""
    found = b""
    while b"\n" not in found and (block := sys.stdin.buffer.read1(_PART)):  # pyright: ignore[reportAttributeAccessIssue]
        found += block
    return found


def from_line(data: bytes, line: int) -> bytes:
    """The lines of data from this one on, counted from 0."""
    if not line:
        return data
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    return data[int(newlines[line - 1]) + 1 :]


class Parts:
    """How a file is cut into parts of whole sequences, or of whole rows.

    begin: the lines at the beginning of a file that each part needs; lines: how many they are.
    first: the number of the first line after the header.
    """

    def __init__(self, source: Source):
        self.source, self.begin, self.lines, self.first = source, b"", 0, 1

    def blocks(self) -> Iterator[tuple[bytes, bool]]:
        """The bytes of the file after its header, and whether they are the last."""
        least = 1 if self.source.file == STDIN else _PART
        data, has_header = b"", self.source.kind == "ts" or (self.source.kind == "table" and self.source.header)
        for block in self.source.blocks():
            data += block
            if has_header and (rest := self._without_header(data)) is not None:
                data, has_header = rest, False
            if len(data) >= least and not has_header:
                yield data, False
                data = b""
        yield data, True

    def _without_header(self, data: bytes) -> bytes | None:
        """What comes after the header, which is kept if each part needs it; None if the header is not whole."""
        table = self.source.kind == "table"
        found = re.search(rb"\A.*\n" if table else rb"(?im)^@data[ \t\r]*\n", data)
        if found is None:
            return None
        self.first += data[: found.end()].count(b"\n")
        self.begin, self.lines = (b"", 0) if table else (data[: found.end()], self.first - 1)
        return data[found.end() :]

    def cut(self, data: bytes) -> int:
        """Where the last whole sequence ends, or the last whole row; 0 if there is none."""
        if self.source.kind in ("conll", "conllu"):
            return max((found.end() for found in _BETWEEN.finditer(data)), default=0)
        at = data.rfind(b"\n") + 1
        if self.source.kind == "table" and self.source.delimiter != "\t":
            while at and data.count(b'"', 0, at) % 2:
                at = data.rfind(b"\n", 0, at - 1) + 1
        return at


def _delimiter(head: bytes) -> str | None:
    """The character that is equally often in each of the first lines, and most often; None if there is none."""
    lines = [line for line in _text(head).split("\n")[:50] if line.strip()]
    counts = {}
    for mark in _DELIMITERS:
        found = {len(row) - 1 for row in csv.reader(lines, delimiter=mark)} if lines else {0}
        if len(found) == 1:
            counts[mark] = found.pop()
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best is not None and counts[best] else None


def _guessed(head: bytes, target: str, delimiter: str | None) -> str:
    """What a file is whose name does not say it."""
    begin = _text(head).lstrip()
    if begin.startswith("{"):
        return "jsonl"
    if begin.startswith(("@", "#")) and "@data" in begin.lower():
        return "ts"
    if target == "tags":
        return "conll"
    return "table" if delimiter else "lines"


def _records(head: bytes, delimiter: str) -> list[list[str]]:
    lines = [line for line in _text(head).split("\n") if line.strip()]
    if delimiter == "\t":
        return [line.split("\t") for line in lines]
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return [line.split(delimiter) for line in lines]


def _text(head: bytes) -> str:
    return head.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\0", "")


def _folder(folder: str, skip_bad: int) -> Sequences:
    """The lines of a folder's .txt files: columns `text`, and `label`, the name of the file."""
    from ..data.readers.plain import read_lines

    files = sorted(p for p in Path(folder).iterdir() if p.suffix == ".txt")
    if len(files) < 2:
        raise DataError(
            f"{folder}: must have at least two .txt files, one for each label, or for each a folder of .wav files; "
            f"got {len(files)} .txt files"
        )
    parts = []
    for file in files:
        found = read_lines(file, skip_bad=skip_bad)
        there = np.flatnonzero([bool(str(text).strip()) for text in found["text"]])
        label = np.empty(len(found), object)
        label[:] = file.stem
        parts.append(Sequences({**found.columns, "label": label}, found.places, found.skipped).take(there))
    return Sequences.join(parts)
