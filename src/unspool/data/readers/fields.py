"""The cells of a file as typed columns: numbers, times and text, each checked."""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import numpy as np

from ...errors import DataError, shown

NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")
_INTEGER = re.compile(r"[ \t]*[+-]?[0-9]+[ \t]*")
_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)"
    r"(?:[T ](?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.(?P<part>[0-9]{1,6}))?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_EXACT = 2**53  # integers up to here are exact in a float64
_DIGITS = set("0123456789+-")


class BadCell(Exception):
    """What is wrong with cell number `row` of a column; `column` is given if it is not the one being converted."""

    def __init__(self, row: int, what: str, column: int | None = None):
        super().__init__(what)
        self.row, self.what, self.column = row, what, column


def numbers(cells: Sequence[str], missing: Collection[str] = ()) -> np.ndarray:
    """The cells as int64 if all are integers, else as float64, with NaN for the missing ones.

    Numbers are decimal, with a point and without separators; other forms that Python accepts are bad.

    Raises:
        BadCell: a cell is not a number, is infinite, or is an integer that float64 would not hold exactly.
    """
    used = set().union(*cells)
    try:
        if used <= _DIGITS | set(" \t"):
            return np.array([int(cell) for cell in cells], np.int64)
        if used <= _DIGITS | set(" \t.eE"):
            values = np.array([float(cell) for cell in cells])
            if (np.abs(values) < _EXACT).all():
                return values
    except (ValueError, OverflowError):
        pass  # the bad cell is found below
    return np.array([_number(i, cell, missing) for i, cell in enumerate(cells)])


def _number(row: int, cell: str, missing: Collection[str]) -> float:
    if cell.strip(" \t") in missing:
        return np.nan
    if not NUMBER.fullmatch(cell):
        given = "an empty cell" if not cell.strip(" \t") else shown(cell)
        raise BadCell(row, f"expected a number; got {given}")
    value = float(cell)
    if not np.isfinite(value):
        raise BadCell(row, f"expected a number within ±1.8e308; got {shown(cell)}")
    if abs(value) >= _EXACT and _INTEGER.fullmatch(cell) and (len(cell) > 400 or int(value) != int(cell)):
        raise BadCell(row, f"expected an integer that is exact in float64; got {shown(cell)}: read the column as text")
    return value


def times(cells: Sequence[str], zoned: bool | None = None) -> tuple[np.ndarray, bool]:
    """Numbers if the first cell is one, else ISO 8601 times, to the microsecond; and whether the times have a zone.

    Times with a zone are converted to UTC.

    Raises:
        BadCell: a cell is neither, or differs from the others in having a zone or not.
    """
    if NUMBER.fullmatch(cells[0]):
        return numbers(cells), bool(zoned)
    moments = [_time(i, cell) for i, cell in enumerate(cells)]
    zoned = moments[0].tzinfo is not None if zoned is None else zoned
    for i, moment in enumerate(moments):
        if (moment.tzinfo is not None) != zoned:
            wanted = f"expected a time {'with' if zoned else 'without'} a zone, as above"
            raise BadCell(i, f"{wanted}; got {shown(cells[i])}")
    return np.array([m.astimezone(UTC).replace(tzinfo=None) if zoned else m for m in moments], "M8[us]"), zoned


def _time(row: int, cell: str) -> datetime:
    found = _TIME.fullmatch(cell.strip(" \t"))
    try:
        if found:
            day, clock, part, zone = found.group("day", "clock", "part", "zone")
            day = day if len(day) == 10 else f"{day}-01"
            zone = "+00:00" if zone == "Z" else zone if not zone or ":" in zone else f"{zone[:3]}:{zone[3:]}"
            clock = clock if clock is None or len(clock) == 8 else f"{clock}:00"
            return datetime.fromisoformat(f"{day}T{clock or '00:00:00'}.{part or '0':0<6}{zone or ''}")
    except (ValueError, OverflowError):
        pass  # such as the 31st of February
    what = f"expected a number, or a time such as 2024-05-17 or 2024-05-17 13:45:00; got {shown(cell)}"
    raise BadCell(row, f"{what}: leave time out to keep the order of the rows")


class CellColumn:
    """A column that grows block by block.

    kind: `number`, `text`, `name` (text that is not empty), `time`, or `auto`: numbers if the first cell that is not
        missing is a number, else text.
    """

    def __init__(self, name: str, kind: str, missing: Collection[str] = ()):
        self.name, self.kind, self.missing = name, kind, missing
        self.in_doubt = kind == "auto"
        self.zoned: bool | None = None
        self.parts: list[np.ndarray] = []
        self.known: dict[str, str] = {}
        self.like_numbers = self.there = 0

    def convert(self, cells: Sequence[str]) -> np.ndarray:
        """The cells as typed values, which are not kept yet.

        Raises:
            BadCell: a cell is not of the column's kind.
        """
        kind = self.kind if self.kind != "auto" else self._kind(cells)
        if kind == "number":
            try:
                return numbers(cells, self.missing)
            except BadCell as bad:
                hint = f", or name {shown(self.name)} in text" if self.in_doubt else ""
                raise BadCell(bad.row, bad.what + hint) from None
        if kind == "time":
            values, self.zoned = times(cells, self.zoned)
            return values
        if kind == "name" and not all(map(str.strip, cells)):
            raise BadCell([bool(c.strip()) for c in cells].index(False), "expected the name of a sequence; got none")
        values = np.empty(len(cells), object)
        values[:] = [self.known.setdefault(cell, cell) for cell in cells]
        return values

    def keep(self, values: np.ndarray) -> None:
        """Keep the values that `convert` returned."""
        if self.kind == "auto":
            self.kind = "text" if values.dtype.kind == "O" else "number"
        if self.in_doubt and self.kind == "text":
            there = [v for v in values if v.strip(" \t") not in self.missing]
            self.there += len(there)
            self.like_numbers += sum(NUMBER.fullmatch(v) is not None for v in there)
        self.parts.append(values)

    def finish(self, file: str) -> np.ndarray:
        """The whole column.

        Raises:
            DataError: the cells of the column are not all of one kind.
        """
        parts, self.parts, self.known = self.parts, [], {}
        name, types = f"{file}: column {shown(self.name)}", {p.dtype.kind for p in parts}
        if len(types) > 1 and self.kind == "time":
            raise DataError(f"{name} has both numbers and dates; expected one of them")
        if self.like_numbers * 2 > self.there:
            raise DataError(
                f"{name} does not begin with a number, but {self.like_numbers} of {self.there} cells are numbers; "
                f"name it in numbers or in text, or say in missing how an absent number is written"
            )
        if types == {"i", "f"} and any(p.dtype.kind == "i" and (np.abs(p) > _EXACT).any() for p in parts):
            raise DataError(f"{name} has both fractions and integers beyond 2^53, which are not exact; name it in text")
        return np.concatenate(parts) if parts else np.empty(0)

    def _kind(self, cells: Sequence[str]) -> str:
        first = next((c for c in cells if c.strip(" \t") not in self.missing), None)
        return "number" if first is None or NUMBER.fullmatch(first) else "text"
