"""The rows of a table as sequences."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DataError, printable, shown
from ..ragged import Ragged, ends
from ..sequences import Column, Places, Sequences
from .source import Complaints


@dataclass(frozen=True)
class Shape:
    """How a table's rows become sequences.

    sequence: the column that names the sequence to which a row belongs; without it all rows are one.
    time: the column by which the steps of a sequence are sorted, a number or an ISO 8601 date; rows of equal time stay
        in their order, and without it all do.
    per_sequence: columns that say the same in all rows of a sequence, and are kept once.
    wide: each row is a sequence. Its cells in the columns `steps`, empty ones at the end left out, are the time steps,
        and become the column `value`; all others are kept once.
    """

    sequence: str | None = None
    time: str | None = None
    per_sequence: Sequence[str] = ()
    wide: bool = False
    steps: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """All that are named."""
        return [c for c in (self.sequence, self.time, *self.per_sequence, *self.steps) if c is not None]

    def check(self, name: str, there: Collection[str], others: Collection[str] = ()) -> None:
        """All columns that are named are there, and no argument is without use."""
        known = set(there)
        for column in (*self.columns, *others):
            if column not in known:
                names = printable(f"{', '.join(there):.400}")
                raise DataError(f"{name}: there is no column {shown(column)}; there are {names}")
        if self.wide and (self.sequence is not None or self.time is not None or self.per_sequence):
            raise DataError(
                f"{name}: in a wide table each row is a sequence: sequence, time and per_sequence have no use"
            )
        if self.steps and not self.wide:
            raise DataError(f"{name}: steps are columns of a wide table: give wide too")
        if self.steps and "value" in known - set(self.steps):
            raise DataError(f"{name}: the steps become a column 'value', which is there already; rename that")


def gather(
    columns: Mapping[str, np.ndarray],
    lines: np.ndarray,
    shape: Shape,
    complaints: Complaints,
    value: Ragged | None = None,
) -> Sequences:
    """Sequences of typed columns, a cell a row.

    Args:
        columns: by name, (N, ...) each.
        lines: (N,), where the rows stand.
        shape: how rows become sequences.
        complaints: about them.
        value: of a wide table, the steps of each row.
    """
    skipped = tuple(complaints.skipped)
    if not len(lines):
        raise complaints.refuse(None, None, "there are no rows that can be used")
    if shape.wide:
        steps = {} if value is None else {"value": value}
        return Sequences({**columns, **steps}, Places.of(complaints.name, lines, complaints.unit), skipped)
    number = np.zeros(len(lines), np.int64)
    if shape.sequence is not None:
        seen: dict[object, int] = {}
        number[:] = [seen.setdefault(v, len(seen)) for v in columns[shape.sequence].tolist()]
    keys = (number,) if shape.time is None else (columns[shape.time], number)
    order = np.lexsort(keys)
    offsets = ends(np.bincount(number))
    once = [*shape.per_sequence, *([shape.sequence] if shape.sequence is not None else [])]
    gathered: dict[str, Column] = {}
    for name, cells in columns.items():
        sorted_cells = cells[order]
        if name in once:
            gathered[name] = sorted_cells[offsets[:-1]]
            _check_same(name, sorted_cells, offsets, lines[order], complaints)
        else:
            gathered[name] = Ragged(sorted_cells, offsets)
    first = np.minimum.reduceat(lines[order], offsets[:-1])
    return Sequences(gathered, Places.of(complaints.name, first, complaints.unit), skipped)


def _check_same(name: str, cells: np.ndarray, offsets: np.ndarray, lines: np.ndarray, complaints: Complaints) -> None:
    """A column that is kept once says the same all through each sequence."""
    first = np.repeat(cells[offsets[:-1]], np.diff(offsets))
    same = cells == first
    if cells.dtype.kind == "f":
        same |= np.isnan(cells) & np.isnan(first)
    if not same.all():
        i = int(np.argmin(same))
        what = f"expected {shown(first[i])} as in the rows above of the same sequence; got {shown(cells[i])}"
        raise complaints.refuse(int(lines[i]), repr(name), what)
