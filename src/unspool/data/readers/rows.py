"""The rows of a table as sequences."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...errors import DataError, printable, shown
from ..opening import empty
from ..ragged import Ragged, ends
from ..sequences import Column, Places, Sequences
from .fields import check_time_format
from .source import Complaints


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


def gather(
    columns: dict[str, np.ndarray],
    lines: np.ndarray,
    shape: Shape,
    complaints: Complaints,
    value: Ragged | None = None,
) -> Sequences:
    """Sequences from typed columns with one cell per row.

    Args:
        columns: the columns by name, each (N, ...); they are taken out of it, so that one is there twice at a time.
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
    if shape.sequence is not None:
        cells = columns[shape.sequence].tolist()
        numbers = {name: i for i, name in enumerate(dict.fromkeys(cells))}
        keys.append(np.fromiter(map(numbers.__getitem__, cells), np.int32, len(lines)))
    offsets = ends(np.bincount(keys[-1]) if shape.sequence is not None else np.array([len(lines)]))
    order = np.lexsort(keys) if keys and not _in_order(keys) else slice(None)
    lines = lines[order]
    once = [*shape.per_sequence, *([shape.sequence] if shape.sequence is not None else [])]
    gathered: dict[str, Column] = {}
    for name in list(columns):
        cells = columns.pop(name)
        if not isinstance(order, slice):
            cells = np.take(cells, order, 0, empty(cells.shape, cells.dtype), mode="clip")
        if name in once:
            gathered[name] = cells[offsets[:-1]]
            _check_same(name, cells, offsets, lines, complaints)
        else:
            gathered[name] = Ragged(cells, offsets)
    first = np.minimum.reduceat(lines, offsets[:-1])
    return Sequences(gathered, Places.of(complaints.name, first, complaints.unit), skipped)


def _in_order(keys: Sequence[np.ndarray]) -> bool:
    """Whether rows are sorted by the last key, and where that is equal by the one before."""
    *others, last = (key[1:] >= key[:-1] for key in keys)
    if not last.all():
        return False
    return not others or bool((others[0] | (keys[-1][1:] > keys[-1][:-1])).all())


def _check_same(name: str, cells: np.ndarray, offsets: np.ndarray, lines: np.ndarray, complaints: Complaints) -> None:
    """Raise DataError unless a column that is kept once has the same value in all rows of each sequence."""
    first = np.repeat(cells[offsets[:-1]], np.diff(offsets))
    same = cells == first
    if cells.dtype.kind == "f":
        same |= np.isnan(cells) & np.isnan(first)
    if not same.all():
        i = int(np.argmin(same))
        what = f"expected {shown(first[i])}, as in the first step of the same sequence; got {shown(cells[i])}"
        raise complaints.refuse(int(lines[i]), repr(name), what)
