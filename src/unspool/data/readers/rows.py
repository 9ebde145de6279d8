"""The rows of a table as sequences."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ...errors import DataError, printable, shown
from ..opening import empty
from ..ragged import Ragged, ends
from ..sequences import Column, Places, Sequences
from .fields import check_time_format
from .growing import Texts
from .source import Complaints

_BLOCK = 2**18  # rows that are looked at together


@dataclass(frozen=True)
class Shape:
    """How a table's rows become sequences.

    sequence: the column that names the sequence to which a row belongs; without it all rows are one sequence.
    time: the column by which the steps of a sequence are sorted, of numbers or ISO 8601 dates. Rows of equal time keep
        their order; without `time` all rows do.
    time_format: how the dates are written, as `datetime.strptime` has it, such as %d.%m.%Y; None: in ISO 8601.
    per_sequence: columns that have the same value in all rows of a sequence, which is kept once.
    wide: each row is a sequence. Its cells in the columns `steps`, without empty ones at the end, are the time steps,
        and become the column `value`; the other columns have one value per sequence.
    """

    sequence: str | None = None
    time: str | None = None
    time_format: str | None = None
    per_sequence: Sequence[str] = ()
    wide: bool = False
    steps: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """All columns that are named."""
        return [c for c in (self.sequence, self.time, *self.per_sequence, *self.steps) if c is not None]

    @property
    def once(self) -> list[str]:
        """The columns that are kept once a sequence."""
        return [*self.per_sequence, *([self.sequence] if self.sequence is not None else [])]

    def check(self, name: str, there: Collection[str], others: Collection[str], kept: Collection[str]) -> None:
        """Raise DataError unless all columns that are named exist, and each argument has a use."""
        check_time_format(self.time_format)
        if self.time_format is not None and self.time is None:
            raise DataError(f"{name}: time_format is how the column time is written; name that column in time, too")
        known = set(there)
        for column in (*self.columns, *others):
            if column not in known:
                names = printable(f"{', '.join(islice(there, 100)):.400}")
                raise DataError(f"{name}: there is no column {shown(column)}; there are {names}")
        if self.wide and (self.sequence is not None or self.time is not None or self.per_sequence):
            raise DataError(
                f"{name}: in a wide table each row is a sequence; leave out sequence, time and per_sequence"
            )
        if self.steps and not self.wide:
            raise DataError(f"{name}: steps are columns of a wide table; give wide=True, too")
        if self.steps and "value" in kept:
            raise DataError(f"{name}: the steps become the column 'value', but there is one already; rename it")


class Differs(DataError):
    """A column that is kept once has different values in the rows of a sequence.

    place: of the first row that differs from the one before it.
    values: of these two rows.
    """

    def __init__(self, place: str, name: str, values: Sequence[Any]):
        before, value = map(shown, values)
        super().__init__(
            f"{place}, column {name!r}: expected {before}, as in the first step of the same sequence; got {value}"
        )
        self.place, self.values = place, values


def gather(
    columns: dict[str, Any],
    lines: np.ndarray,
    shape: Shape,
    complaints: Complaints,
    value: Ragged | None = None,
) -> Sequences:
    """Sequences from typed columns with one cell per row.

    Args:
        columns: the columns by name, each (N, ...); they are taken out of it, so that one is there twice at a time.
            Only those that are kept once may be `Texts`.
        lines: (N,), the line of each row.
        shape: how the rows become sequences.
        complaints: about the rows.
        value: the steps of each row of a wide table.
    """
    skipped = tuple(complaints.skipped)
    if not len(lines):
        raise complaints.refuse(None, None, "expected at least one row that can be used; got none")
    if shape.wide:
        steps = {} if value is None else {"value": value}
        return Sequences({**columns, **steps}, Places.of(complaints.name, lines, complaints.unit), skipped)
    keys = [] if shape.time is None else [columns[shape.time]]
    offsets = np.array([0, len(lines)])
    if shape.sequence is not None:
        names = Texts.of(columns[shape.sequence])
        keys.append(names.codes)
        offsets = ends(_counts(names))
    order = np.lexsort(keys) if keys and not _in_order(keys) else slice(None)
    lines = lines[order]
    gathered: dict[str, Column] = {}
    for name in list(columns):
        column = columns.pop(name)
        words, cells = column if isinstance(column, Texts) else (None, column)
        if not isinstance(order, slice):
            cells = np.take(cells, order, 0, empty(cells.shape, cells.dtype, cells), mode="clip")
        if name in shape.once:
            _check_same(name, cells, words, offsets, lines, complaints)
            cells = cells[offsets[:-1]]
            gathered[name] = cells if words is None else words[cells]
        else:
            gathered[name] = Ragged(cells, offsets)
    first = np.minimum.reduceat(lines, offsets[:-1])
    return Sequences(gathered, Places.of(complaints.name, first, complaints.unit), skipped)


def _counts(texts: Texts) -> np.ndarray:
    """How many rows have each text."""
    counts = np.zeros(len(texts.words), np.int64)
    for begin in range(0, len(texts.codes), _BLOCK):
        counts += np.bincount(texts.codes[begin : begin + _BLOCK], minlength=len(counts))
    return counts


def _in_order(keys: Sequence[np.ndarray]) -> bool:
    """Whether rows are sorted by the last key, and where that is equal by the one before."""
    return all(
        _are_in_order([key[begin : begin + _BLOCK + 1] for key in keys]) for begin in range(0, len(keys[0]), _BLOCK)
    )


def _are_in_order(keys: Sequence[np.ndarray]) -> bool:
    *others, last = (key[1:] >= key[:-1] for key in keys)
    if not last.all():
        return False
    return not others or bool((others[0] | (keys[-1][1:] > keys[-1][:-1])).all())


def _check_same(
    name: str,
    cells: np.ndarray,
    words: np.ndarray | None,
    offsets: np.ndarray,
    lines: np.ndarray,
    complaints: Complaints,
) -> None:
    """Raise Differs unless a column that is kept once has the same value in all rows of each sequence."""
    for begin in range(0, len(cells), _BLOCK):
        rows = cells[begin : begin + _BLOCK + 1]
        same = rows[1:] == rows[:-1]
        if cells.dtype.kind == "f":
            same |= np.isnan(rows[1:]) & np.isnan(rows[:-1])
        first = offsets[np.searchsorted(offsets, begin, "right") : np.searchsorted(offsets, begin + len(same), "right")]
        same[first - begin - 1] = True
        if not same.all():
            i = begin + 1 + int(np.argmin(same))
            values = cells[i - 1 : i + 1] if words is None else words[cells[i - 1 : i + 1]]
            raise Differs(f"{complaints.name}, {complaints.unit} {lines[i]}", name, values.tolist())
