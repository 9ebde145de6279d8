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

from ...errors import UnspoolError, shown
from ..ragged import Ragged, ends
from ..sequences import Sequences
from .fields import NUMBER, BadCell, CellColumn, numbers
from .rows import Shape, gather
from .source import Complaints, lines, suffix

_CELLS = 2**14  # cells that are converted at a time
_WIDEST = 2**14  # columns


def read_csv(
    path: str | Path,
    *,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    numbers: Collection[str] = (),
    text: Collection[str] = (),
    missing: Collection[str] = (),
    skip_bad: int = 0,
    **shape: Any,
) -> Sequences:
    """Sequences from a CSV or TSV file, in UTF-8, gzip-compressed or not.

    A column is numeric if its first cell is a number, and then all its cells must be numbers; else it is text. In a CSV
    file fields may be quoted; in a TSV file quotation marks are text.

    Args:
        path: the file.
        delimiter: the character between fields; None: a tab for .tsv, .tab and .txt, else a comma.
        names: the names of the columns, if the file has no line with them.
        columns: the columns to read; None: all.
        numbers, text: the columns that are numbers or text, whatever their first cell is.
        missing: how an absent number is written, such as "" or "NA"; it is read as NaN. By default none may be absent.
        skip_bad: the number of bad rows to skip, at most; they are listed in `skipped`.
        shape: `sequence`, `time`, `per_sequence`, `wide` and `steps`, the fields of `rows.Shape`.
    Raises:
        DataError: the file cannot be read, or a row is bad; the message has line, column, what was expected, what came.
    """
    how, complaints = Shape(**shape), Complaints(path, skip_bad)
    rows = _rows(path, delimiter, complaints)
    if names is None:
        line, names = next(rows, (1, []))
        names = [n or f"column {j}" for j, n in enumerate(names, 1)]
    else:
        line, names = None, list(names)
    _check_names(complaints, line, names)
    wanted = list(columns) if columns is not None else names
    how.check(str(path), names, [*wanted, *numbers, *text])
    kinds = dict.fromkeys(numbers, "number") | dict.fromkeys(text, "text")
    kinds |= {c: kind for c, kind in ((how.sequence, "name"), (how.time, "time")) if c is not None}
    steps = set(how.steps)
    kept = [c for c in dict.fromkeys([*wanted, *how.columns]) if c not in steps]
    block = _Block(complaints, names, [CellColumn(c, kinds.get(c, "auto"), missing) for c in kept], how.steps, missing)
    for row in rows:
        block.add(*row)
    return block.finish(how)


class _Block:
    """Rows, of which some thousand cells are converted at a time, and the columns that grow from them."""

    def __init__(
        self,
        complaints: Complaints,
        names: list[str],
        columns: list[CellColumn],
        steps: Sequence[str],
        missing: Collection[str],
    ):
        self.complaints, self.names, self.columns, self.missing = complaints, names, columns, missing
        place = {name: j for j, name in enumerate(names)}
        self.places = [place[c.name] for c in columns]
        self.steps = [place[s] for s in steps]
        self.rows: list[tuple[int, list[str]]] = []
        self.lines, self.lengths = array("q"), array("q")
        self.values: list[np.ndarray] = []

    def add(self, line: int, fields: list[str]) -> None:
        if len(fields) != len(self.names):
            self.complaints.bad(line, None, f"expected {len(self.names)} fields; got {len(fields)}")
            return
        self.rows.append((line, fields))
        if len(self.rows) * len(fields) >= _CELLS:
            self._convert()

    def finish(self, how: Shape) -> Sequences:
        self._convert()
        columns = {c.name: c.finish(self.complaints.name) for c in self.columns}
        value = None
        if self.steps and self.values:
            value = Ragged(np.concatenate(self.values), ends(np.array(self.lengths)))
        return gather(columns, np.array(self.lines, np.int64), how, self.complaints, value)

    def _convert(self) -> None:
        """Convert and keep the rows; a bad row is left out of all columns."""
        while self.rows:
            at = 0
            try:
                parts = []
                for at, column in zip(self.places, self.columns, strict=True):
                    parts.append(column.convert([fields[at] for _, fields in self.rows]))
                lengths, values = self._wide()
            except BadCell as bad:
                line, at = self.rows[bad.row][0], at if bad.column is None else bad.column
                self.complaints.bad(line, f"{at + 1} ({self.names[at]})", bad.what)
                del self.rows[bad.row]
                continue
            for column, part in zip(self.columns, parts, strict=True):
                column.keep(part)
            self.lines.extend(line for line, _ in self.rows)
            self.lengths.extend(lengths)
            self.values.append(values)
            self.rows = []

    def _wide(self) -> tuple[list[int], np.ndarray]:
        """The number of steps of each row, and the steps of all rows."""
        lengths, cells = [], []
        for i, (_, fields) in enumerate(self.rows if self.steps else []):
            steps = [fields[j] for j in self.steps]
            while steps and not steps[-1].strip(" \t"):
                steps.pop()
            if not steps:
                raise BadCell(i, "expected a number; got empty cells in all steps", self.steps[0])
            lengths.append(len(steps))
            cells += steps
        try:
            return lengths, numbers(cells, self.missing) if cells else np.empty(0)
        except BadCell as bad:
            row = int(np.searchsorted(np.cumsum(lengths), bad.row, side="right"))
            raise BadCell(row, bad.what, self.steps[bad.row - sum(lengths[:row])]) from None


def _check_names(complaints: Complaints, line: int | None, names: Sequence[str]) -> None:
    if not names:
        raise complaints.refuse(None, None, "the file is empty; expected a line with the names of the columns")
    if len(names) > _WIDEST:
        raise complaints.refuse(line, None, f"expected at most {_WIDEST} columns; got {len(names)}")
    seen: set[str] = set()
    for j, name in enumerate(names, 1):
        if line is not None and NUMBER.fullmatch(name):
            what = f"expected the name of a column; got the number {shown(name)}: if no line has the names, give names"
            raise complaints.refuse(line, j, what)
        if name in seen:
            raise complaints.refuse(line, j, f"expected different names; got {shown(name)} twice")
        seen.add(name)


def _rows(path: str | Path, delimiter: str | None, complaints: Complaints) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where each row begins, and its fields; empty lines at the end are left out."""
    if delimiter is None:
        delimiter = "\t" if suffix(path) in (".tsv", ".tab", ".txt") else ","
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UnspoolError(
            f"delimiter must be one character, not a quotation mark or a line end; got {delimiter!r:.80}"
        )
    if delimiter == "\t":
        rows = ((number, line.split("\t") if line else []) for number, line in lines(path, complaints))
    else:
        rows = _quoted(path, delimiter, complaints)
    empty = []
    for number, fields in rows:
        if not fields:
            empty.append(number)
            continue
        for line in empty:
            complaints.bad(line, None, "expected fields; got an empty line")
        empty.clear()
        yield number, fields


def _quoted(path: str | Path, delimiter: str, complaints: Complaints) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file in the CSV dialect of RFC 4180, in which a quoted field may span lines."""
    begin = end = 0

    def fed() -> Iterator[str]:
        nonlocal begin, end
        for end, line in lines(path, complaints, "\r"):
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
