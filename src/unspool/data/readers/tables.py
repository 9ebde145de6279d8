"""CSV and TSV files.

A table is one long sequence with one row per step; or many, if a column names the sequence of each row; or, if it is
`wide`, one sequence per row.
"""

import csv
from array import array
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, UnspoolError, shown
from ..opening import most
from ..ragged import ends
from ..sequences import Sequences
from .fields import INEXACT, PLAIN, BadCells, CellColumn, EarlierCells, Notation, Part, Types, numbers
from .growing import Coder, Growing, numbered
from .rows import Shape, gather
from .source import LONGEST_LINE, Complaints, Lines, blank, suffix
from .split import Cells, split

_CELLS = 2**14  # cells that are converted at a time
_WIDEST = 2**14  # columns for which there is always room; a column takes
_COLUMN = 600  # bytes, however few rows there are
_DELIMITERS = ",;\t|"
# Python's own limit, which all its readers share, is 2^17 characters: less than a long text, or a gene.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))

Row = tuple[int, list[str]]


def read_csv(
    path: str | Path,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    numbers: Collection[str] = (),
    text: Collection[str] = (),
    missing: Collection[str] = (),
    decimal: str = ".",
    thousands: str = "",
    skip_bad: int = 0,
    **shape: Any,
) -> Sequences:
    """Sequences from a CSV or TSV file, in UTF-8, compressed or not.

    A column is numeric if its first cell that is not empty is a number, and then all its cells must be numbers; else it
    is text. In a CSV file fields may be quoted; in a TSV file quotation marks are text. Empty lines are skipped; among
    the rows of a table with one column they are empty cells.

    Args:
        path: the file.
        delimiter: the character between fields; None: a tab for .tsv, .tab and .txt, else a comma.
        header: whether the first line has the names of the columns; None: it has, unless `names` are given, but is
            refused if names in it are numbers other than the 0, 1, 2, ... of data frames, and no argument names a
            column.
        names: the names of the columns, in place of the header.
        columns: the columns to read; None: all.
        numbers, text: the columns that are numbers or text, whatever their first cell is.
        missing: how an absent number is written, such as "" or "NA"; it is read as NaN. By default none may be absent.
        decimal: the mark before the fraction of a number, such as a comma.
        thousands: the mark between groups of three digits, such as a point; it may be left out of any number.
        skip_bad: the number of bad rows to skip, at most; they are listed in `skipped`.
        shape: `sequence`, `time`, `time_format`, `per_sequence`, `wide` and `steps`, the fields of `rows.Shape`.
    Raises:
        DataError: the file cannot be read, or a row is bad; the message has line, column, what was expected, what came.
    """
    how, complaints, notation = Shape(**shape), Complaints(path, skip_bad), Notation(decimal, thousands, set(missing))
    notation.check()
    delimiter = _delimiter(path, delimiter)
    asked = [*how.columns, *(columns or ()), *numbers, *text]
    source, empty = Lines(path, complaints), array("q")
    rows = _rows(source, delimiter, complaints, empty)
    first = (1, []) if names is not None and not header else next(rows, (1, []))
    if names is None:
        names = [f"column {j}" if header is False else n or f"column {j}" for j, n in enumerate(first[1], 1)]
        if header is None and not set(asked) & set(names):
            _doubt(complaints, first[0], names, delimiter)
    names = list(names)
    wanted = list(columns) if columns is not None else names
    _check_names(complaints, first[0], names, {*wanted, *asked})
    steps = set(how.steps)
    kept = [c for c in dict.fromkeys([*wanted, *how.columns]) if c not in steps]
    how.check(str(path), names, [*wanted, *numbers, *text], kept)
    kinds = dict.fromkeys(numbers, "number") | dict.fromkeys(text, "text")
    kinds |= {c: kind for c, kind in ((how.sequence, "name"), (how.time, "time")) if c is not None}
    coders = {c: Coder() for c in how.once}
    made = [CellColumn(c, kinds.get(c, "auto"), notation, how.time_format, coders.get(c), len(kept) + 1) for c in kept]
    block = _Block(complaints, names, made, how.steps, notation, delimiter)
    if header is False and first[1]:
        block.add(*first)
    while True:
        # Where a block of rows begins with a line that was not looked at, plain lines are converted at once.
        while not (block.rows or empty or source.opened) and block.take(source):
            pass
        row = next(rows, None)
        if row is None:
            return block.finish(how)
        block.add(*row)


class _Block:
    """Rows, of which some thousand cells are converted at a time, and the columns that grow from them."""

    def __init__(
        self,
        complaints: Complaints,
        names: list[str],
        columns: list[CellColumn],
        steps: Sequence[str],
        notation: Notation,
        delimiter: str,
    ):
        self.complaints, self.names, self.columns = complaints, names, columns
        self.notation, self.delimiter = notation, delimiter
        place = {name: j for j, name in enumerate(names)}
        self.places = [place[c.name] for c in columns]
        self.steps = [place[s] for s in steps]
        self.rows: list[Row] = []
        self.lines, self.lengths, self.values, self.types = Growing(len(columns) + 1), Growing(), Growing(), Types()

    def add(self, line: int, fields: list[str]) -> None:
        if len(fields) != len(self.names):
            hint = _other_delimiter(self.delimiter.join(fields), self.delimiter, len(self.names))
            self.complaints.bad(line, None, f"expected {len(self.names)} fields; got {len(fields)}{hint}")
            return
        self.rows.append((line, fields))
        if len(self.rows) * len(fields) >= _CELLS:
            self._convert()

    def take(self, source: Lines) -> bool:
        """Convert and keep the lines that are the next block; False, and they are put back, if they need more care."""
        number, data = source.take(-(-_CELLS // len(self.names)))
        cells = split(data, self.delimiter, len(self.names)) if data and number > 1 else None
        if cells is not None and self._keep_whole(number, cells):
            return True
        source.put_back(number, data)
        return False

    def finish(self, how: Shape) -> Sequences:
        self._convert()
        columns = {c.name: c.finish(self.complaints.name) for c in self.columns}
        if not self.types.exact:
            raise DataError(f"{self.complaints.name}: the steps have {INEXACT}")
        value = self.values.ragged(self.lengths.finish()) if self.steps and self.values.size else None
        return gather(columns, self.lines.finish(), how, self.complaints, value)

    def _keep_whole(self, number: int, cells: Cells) -> bool:
        try:
            parts = [self._part(column, j, cells) for j, column in zip(self.places, self.columns, strict=True)]
            steps = cells.steps(self.steps, point) if (point := self.notation.point) and self.steps else None
            steps = steps or self._wide(list(zip(*map(cells.column, self.steps), strict=True)))
        except (BadCells, _BadSteps):
            return False
        self._keep(number + np.arange(cells.rows), parts, *steps)
        return True

    def _part(self, column: CellColumn, j: int, cells: Cells) -> Part:
        point = self.notation.point
        found = cells.numbers(j, point) if point and column.plain else None
        if found is not None:
            return column.numbers(found)
        # Each text is converted once.
        texts, codes = cells.texts(j)
        return column.convert(texts)._replace(codes=codes)

    def _convert(self) -> None:
        """Convert and keep the rows; a bad row is left out of all columns."""
        while self.rows:
            at = 0
            try:
                parts = []
                for at, column in zip(self.places, self.columns, strict=True):
                    parts.append(column.convert([fields[at] for _, fields in self.rows]))
                steps = self._wide([[fields[j] for j in self.steps] for _, fields in self.rows])
            except EarlierCells as bad:
                # Other columns have kept those rows.
                row, what = bad.cells[0]
                line = int(self.lines.values[row])
                raise self.complaints.refuse(line, f"{at + 1} ({self.names[at]})", what) from None
            except BadCells as bad:
                self._leave_out([(row, at, what) for row, what in bad.cells])
            except _BadSteps as bad:
                self._leave_out(bad.cells)
            else:
                self._keep(np.array([line for line, _ in self.rows]), parts, *steps)
                self.rows = []

    def _leave_out(self, cells: Sequence[tuple[int, int, str]]) -> None:
        """Leave out the rows in which cells are bad: the row and the column of each, and what is wrong."""
        for row, at, what in cells:
            self.complaints.bad(self.rows[row][0], f"{at + 1} ({self.names[at]})", what)
        bad = {row for row, _, _ in cells}
        self.rows = [row for i, row in enumerate(self.rows) if i not in bad]

    def _keep(self, lines: np.ndarray, parts: Sequence[Part], *steps: np.ndarray) -> None:
        for column, part in zip(self.columns, parts, strict=True):
            column.keep(part)
        self.lines.add(numbered(lines))
        if self.steps:
            self.lengths.add(steps[0])
            self.values.add(steps[1])
            self.types.add(steps[1])

    def _wide(self, rows: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """The number of steps of each row, and the steps of all rows."""
        lengths, cells, bad = [], [], []
        for i, fields in enumerate(rows if self.steps else []):
            steps = list(fields)
            while steps and not steps[-1].strip(" \t"):
                steps.pop()
            if not steps:
                bad.append((i, self.steps[0], "expected a number; got empty cells in all steps"))
            lengths.append(len(steps))
            cells += steps
        if bad:
            raise _BadSteps(bad)
        try:
            return np.array(lengths, np.int64), numbers(cells, self.notation) if cells else np.empty(0)
        except BadCells as wrong:
            offsets = ends(np.array(lengths))
            places = np.searchsorted(offsets, [cell for cell, _ in wrong.cells], side="right") - 1
            first: dict[int, tuple[int, int, str]] = {}
            for row, (cell, what) in zip(places.tolist(), wrong.cells, strict=True):
                first.setdefault(row, (row, self.steps[cell - int(offsets[row])], what))
            raise _BadSteps([*first.values()]) from None


class _BadSteps(Exception):
    """The steps of a wide table that cannot be used: the row and the column of each, and what is wrong with it."""

    def __init__(self, cells: list[tuple[int, int, str]]):
        super().__init__(cells[0][2])
        self.cells = cells


def _check_names(complaints: Complaints, line: int, names: Sequence[str], wanted: Collection[str]) -> None:
    if not names:
        raise complaints.refuse(None, None, "the file is empty; expected a line with the names of the columns")
    widest = max(_WIDEST, most(0) // _COLUMN)
    if len(names) > widest:
        raise complaints.refuse(line, None, f"expected at most {widest} columns, for memory; got {len(names)}")
    seen: set[str] = set()
    for j, name in enumerate(names, 1):
        if name in seen and name in wanted:
            what = f"expected different names; got {shown(name)} twice: name others in columns, or all in names"
            raise complaints.refuse(line, j, f"{what} with header=True")
        seen.add(name)


def _doubt(complaints: Complaints, line: int, names: Sequence[str], delimiter: str) -> None:
    """Refuse a first line that seems to be data, or to have another delimiter, if no column of it was named."""
    if len(names) == 1:
        hint = _other_delimiter(names[0], delimiter, None)
        if hint:
            what = f"expected the names of the columns; got {shown(names[0])}{hint}: or name it in columns if it is one"
            raise complaints.refuse(line, 1, what)
    numbered = [j for j, name in enumerate(names) if PLAIN.pattern.fullmatch(name)]
    if [names[j] for j in numbered] != [str(i) for i in range(len(numbered))]:
        j = numbered[0]
        what = f"expected the name of a column; got the number {shown(names[j])}"
        raise complaints.refuse(
            line, j + 1, f"{what}: say header=True if it is a name, or header=False if no line has the names"
        )


def _other_delimiter(line: str, delimiter: str, fields: int | None) -> str:
    """A hint at the delimiter with which a line would have this many fields, or more than one; "" if there is none."""
    for other in _DELIMITERS:
        count = line.count(other) + 1
        if other != delimiter and count > 1 and fields in (None, count):
            return f", but there are {count} fields with delimiter={other!r}"
    return ""


def _delimiter(path: str | Path, delimiter: str | None) -> str:
    if delimiter is None:
        return "\t" if suffix(path) in (".tsv", ".tab", ".txt") else ","
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UnspoolError(
            f"delimiter must be one character, not a quotation mark or a line end; got {delimiter!r:.80}"
        )
    return delimiter


def _rows(source: Lines, delimiter: str, complaints: Complaints, empty: array) -> Iterator[Row]:
    """The number of the line where each row begins, and its fields.

    Empty lines are left out. Among the rows of a table with one column they are empty cells, and wait in `empty` until
    another row follows.
    """
    if delimiter == "\t":
        rows = ((number, line.removesuffix("\r").split("\t")) for number, line in source)
    else:
        rows = _quoted(source, delimiter, complaints)
    width = 0
    for number, fields in rows:
        # A quoted empty field is one that is meant.
        if not fields or (len(fields) == 1 and blank(fields[0]) and (fields[0] or delimiter == "\t")):
            if width == 1:
                empty.append(number)
            continue
        width = width or len(fields)
        for line in empty:
            yield line, [""]
        del empty[:]
        yield number, fields


def _quoted(source: Lines, delimiter: str, complaints: Complaints) -> Iterator[Row]:
    """The rows of a file in the CSV dialect of RFC 4180, in which a quoted field may span lines."""
    begin = end = 0

    def fed() -> Iterator[str]:
        nonlocal begin, end
        for end, line in source:
            begin = begin or end
            yield line + "\n"

    rows = csv.reader(fed(), delimiter=delimiter, strict=True)
    while True:
        begin = 0
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if begin != end or "unexpected end" in str(error):
                # It is not known where such a row ends, so none of the rows after it can be trusted.
                what = f"expected a closing quotation mark for the one opened here; got {error}"
                raise complaints.refuse(begin, None, what) from None
            complaints.bad(end, None, f"expected fields with {delimiter!r} between them; got {error}")
            continue
        yield begin, fields
