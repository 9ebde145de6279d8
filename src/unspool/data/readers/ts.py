"""Files of the UEA and UCR archives of time series, `.ts`."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import shown
from ..ragged import Ragged
from ..sequences import Places, Sequences
from .fields import BadCells, Notation, numbers
from .growing import Growing
from .source import Complaints, blank, lines

_ABSENT = ("?", "NaN", "nan", "NAN")
_TRUTH = {"true": True, "false": False}
_COMMENTS = ("#", "%")
_SWITCHES = ("@timestamps", "@missing", "@univariate", "@equallength", "@classlabel", "@targetlabel")
_SIZES = ("@dimension", "@dimensions", "@serieslength")


class _BadSeries(Exception):
    """What is wrong with a series, and with which of its fields, from 1."""

    def __init__(self, column: int, what: str):
        super().__init__(what)
        self.column, self.what = column, what


def read_ts(path: str | Path, *, skip_bad: int = 0) -> Sequences:
    """The series of a `.ts` file: column `value`, (N, channels), and per series `label`, a text, or `target`, a number.

    Missing values, ? or NaN, become NaN if the header announces them (`@missing true`); else they are refused. Lines
    that are empty, or begin with # or %, are skipped.

    Args:
        path: the file, compressed or not.
        skip_bad: the number of bad series to skip, at most; they are listed in `skipped`.
    Raises:
        DataError: the file cannot be read, a series is not what the header says, or the series have time stamps.
    """
    complaints = Complaints(path, skip_bad)
    source = lines(path, complaints)
    header = _Header(complaints, source)
    value, last = Growing(), Growing()
    where, lengths = array("q"), array("q")
    for number, line in source:
        if blank(line) or line.lstrip(" \t").startswith(_COMMENTS):
            continue
        try:
            series, end = header.series(line)
        except _BadSeries as bad:
            complaints.bad(number, bad.column, bad.what)
            continue
        where.append(number)
        lengths.append(len(series))
        value.add(series)
        last.add(end)
    if not where:
        raise complaints.refuse(None, None, "expected at least one series after @data that can be used; got none")
    columns: dict[str, Ragged | np.ndarray] = {"value": value.ragged(lengths)}
    if header.last:
        columns[header.last] = last.finish()
    return Sequences(columns, Places.of(path, where), tuple(complaints.skipped))


class _Header:
    """What the lines before @data say; it checks the series against this."""

    def __init__(self, complaints: Complaints, source: Iterator[tuple[int, str]]):
        self.complaints = complaints
        self.channels = self.length = None
        self.missing, self.labels, self.last = False, frozenset(), ""
        self.equal = False
        self.seen: set[str] = set()
        for number, line in source:
            words = line.split()
            if not words or words[0].startswith(_COMMENTS):
                continue
            tag = words[0].lower()
            if tag == "@data" and len(words) == 1:
                return
            self._tag(number, tag, words[1:])
        raise complaints.refuse(None, None, "expected a line @data; got none: is this a .ts file?")

    def series(self, line: str) -> tuple[np.ndarray, list]:
        """The values of a line, (T, channels), and a list with its label or target, empty if there is none."""
        fields = line.split(":")
        end: list = []
        if self.last:
            last = fields.pop().strip()
            end = [last] if self.last == "label" else _numbers([last], 1, (), len(fields)).tolist()
            if self.last == "label" and last not in self.labels:
                raise _BadSeries(len(fields) + 1, f"expected a label of @classLabel; got {shown(last)}")
        if not fields:
            raise _BadSeries(1, f"expected at least one channel before the {self.last}; got none")
        self.channels = self.channels or len(fields)
        if len(fields) != self.channels:
            raise _BadSeries(len(fields), f"expected {self.channels} channels with : between them; got {len(fields)}")
        absent = _ABSENT if self.missing else ()
        steps = fields[0].count(",") + 1
        for j, field in enumerate(fields, 1):
            if field.count(",") + 1 != steps:
                raise _BadSeries(j, f"expected {steps} values, as in channel 1; got {field.count(',') + 1}")
        values = _numbers(",".join(fields).split(","), steps, absent).reshape(-1, steps)
        if self.equal:
            self.length = self.length or steps
        if self.length is not None and steps != self.length:
            raise _BadSeries(1, f"expected {self.length} values; got {steps}")
        return np.ascontiguousarray(values.T), end

    def _tag(self, number: int, tag: str, words: list[str]) -> None:
        if not tag.startswith("@") or (tag in self.seen and tag in _SWITCHES + _SIZES):
            raise self.complaints.refuse(number, 1, f"expected a line of the header or @data; got {shown(tag)}")
        self.seen.add(tag)
        if tag in _SWITCHES:
            truth = _TRUTH.get(words[0].lower() if words else "")
            if truth is None:
                raise self.complaints.refuse(number, None, f"expected {tag} true or false; got {shown(words)}")
            self._truth(number, tag, truth, words[1:])
        elif tag in _SIZES:
            if len(words) != 1 or not words[0].isascii() or not words[0].isdigit() or not 0 < len(words[0]) < 10:
                raise self.complaints.refuse(number, None, f"expected {tag} and a number; got {shown(words)}")
            size = int(words[0])
            if tag == "@serieslength":
                self.length = size or None
            else:
                self.channels = size or None

    def _truth(self, number: int, tag: str, truth: bool, words: list[str]) -> None:
        if tag == "@timestamps" and truth:
            raise self.complaints.refuse(number, None, "series with time stamps are not read; write them as a table")
        if tag == "@missing":
            self.missing = truth
        if tag == "@univariate" and truth:
            self.channels = 1
        if tag == "@equallength":
            self.equal = truth
        if tag == "@classlabel" and truth:
            if not words:
                raise self.complaints.refuse(number, None, "expected labels after @classLabel true; got none")
            self.last, self.labels = "label", frozenset(words)
        if tag == "@targetlabel" and truth:
            self.last = "target"


def _numbers(cells: list[str], steps: int, absent: tuple[str, ...], before: int = 0) -> np.ndarray:
    """The numbers of channels with so many steps each; `before` is the number of the channels before them."""
    try:
        return numbers(cells, Notation(missing=absent)).astype(float)
    except BadCells as bad:
        at, what = bad.cells[0]
        hint = ": missing values need @missing true in the header" if cells[at].strip() in _ABSENT else ""
        raise _BadSeries(before + at // steps + 1, f"value {at % steps + 1}: {what}{hint}") from None
