"""The cells of a file as typed columns: numbers, times and text, each checked."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...errors import DataError, UnspoolError, shown
from .growing import Coder, Growing, Texts

# A `+` after a repetition forbids to try a shorter one, so that no cell takes longer than its length.
_NUMBER = r"[ \t]*+[+-]?(?:{whole}(?:{point}[0-9]*+)?|{point}[0-9]++)(?:[eE][+-]?[0-9]++)?[ \t]*+"
_WHOLE = r"(?:[0-9]{{1,3}}(?:{mark}[0-9]{{3}})++(?![0-9])|[0-9]++)"
_INTEGER = re.compile(r"[ \t]*+[+-]?[0-9]++[ \t]*+")
_FOREIGN = re.compile(
    r"[ \t]*+[+-]?(?:[0-9]{1,3}(?:[.,' \u00a0\u202f][0-9]{3})++(?:[.,][0-9]++)?|[0-9]++,[0-9]++)[ \t]*+"
)
_TIME = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?|(?P<month2>[0-9]{2})(?P<day2>[0-9]{2})"
    r"|-W(?P<week>[0-9]{2})(?:-(?P<weekday>[1-7]))?|W(?P<week2>[0-9]{2})(?P<weekday2>[1-7])?"
    r"|-?(?P<ordinal>[0-9]{3}))"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]{1,18}))?)?)?"
    r"(?: ?(?:(?P<utc>[Zz]|UTC)|(?P<sign>[+-])(?P<hours>[0-9]{2})(?::?(?P<minutes>[0-9]{2}))?))?)?"
)
_EXACT = 2**53  # integers up to here are exact in a float64
INEXACT = "both fractions and integers beyond 2^53, which are not exact"
_INTEGERS = b"0123456789+- \t"
_FRACTIONS = _INTEGERS + b".eE"
_CLOCKS = {len(clock): clock for clock in (b"0000-00-00", b"0000-00-00 00:00", b"0000-00-00 00:00:00")}
_AS_CLOCK = bytes.maketrans(b"123456789T", b"000000000 ")
_LONGEST_TIME = 100  # characters
_MARKS = ".,:;'`_ \u00a0\u202f\u066b\u066c\u2019\u00b7"


class BadCells(Exception):
    """The cells of a column that cannot be used: the number of each, from 0, and what is wrong with it."""

    def __init__(self, cells: list[tuple[int, str]]):
        super().__init__(cells[0][1])
        self.cells = cells


class EarlierCells(BadCells):
    """The same of cells that were kept before: the number of each is counted from the first that was kept."""


@dataclass(frozen=True)
class Notation:
    """How numbers are written.

    decimal: the character before the fraction.
    thousands: the character between groups of three digits, which may also be left out; "" if there is none.
    missing: what stands for an absent number.
    """

    decimal: str = "."
    thousands: str = ""
    missing: Collection[str] = ()

    def check(self) -> None:
        """Raise UnspoolError unless the marks can be told apart."""
        for name, mark in (("decimal", self.decimal), ("thousands", self.thousands)):
            if not isinstance(mark, str) or len(mark) > 1 or mark not in _MARKS or (name == "decimal" and not mark):
                raise UnspoolError(f"{name} must be a mark such as '.' or ','; got {shown(mark)}")
        if self.decimal == self.thousands:
            raise UnspoolError(f"decimal and thousands must be different marks; both are {shown(self.decimal)}")

    @cached_property
    def pattern(self) -> re.Pattern:
        mark, point = re.escape(self.thousands), re.escape(self.decimal)
        return re.compile(_NUMBER.format(whole=_WHOLE.format(mark=mark) if mark else "[0-9]++", point=point))

    @cached_property
    def point(self) -> str | None:
        """The mark before a fraction; None if there are numbers that stand for an absent one."""
        return None if any(map(self.pattern.fullmatch, self.missing)) else self.decimal

    @property
    def foreign(self) -> bool:
        """Whether Python writes numbers in another way."""
        return (self.decimal, self.thousands) != (".", "")

    def plain(self, number: str) -> str:
        """A number as Python writes it."""
        number = number.replace(self.thousands, "") if self.thousands else number
        return number.replace(self.decimal, ".")

    def absent(self, cell: str) -> bool:
        return cell.strip(" \t") in self.missing


PLAIN = Notation()


def numbers(cells: Sequence[str], notation: Notation = PLAIN) -> np.ndarray:
    """The cells as int64 if all are integers, else as float64, with NaN for the missing ones.

    Numbers are decimal; other forms that Python accepts are bad.

    Raises:
        BadCells: cells are not numbers, are infinite, or are integers that float64 would not hold exactly.
    """
    if notation.foreign and not any(map(notation.absent, cells)) and all(map(notation.pattern.fullmatch, cells)):
        cells, notation = [notation.plain(cell) for cell in cells], PLAIN
    if not notation.foreign:
        is_missing = notation.point is None and any(map(notation.absent, cells))
        values = None if is_missing else _plain_numbers(cells)
        if values is not None:
            return values
        absent = np.fromiter(map(notation.absent, cells), bool, len(cells))
        there = _plain_numbers([cell for cell, gone in zip(cells, absent, strict=True) if not gone])
        if absent.any() and there is not None and (np.abs(there) < _EXACT).all():
            values = np.full(len(cells), np.nan)
            values[~absent] = there
            return values
    found = [_number(cell, notation) for cell in cells]
    return np.array(_good(found))


def _plain_numbers(cells: Sequence[str]) -> np.ndarray | None:
    """The cells as numbers, all converted at once; None if one is bad, or perhaps an integer that is not exact."""
    try:
        if _only(_INTEGERS, cells):
            return np.fromiter(map(int, cells), np.int64, len(cells))
        if _only(_FRACTIONS, cells):
            values = np.fromiter(map(float, cells), float, len(cells))
            return values if (np.abs(values) < _EXACT).all() else None
    except (ValueError, OverflowError):
        pass
    return None


def _only(characters: bytes, cells: Sequence[str]) -> bool:
    """Whether cells have these characters and no others."""
    return not "".join(cells).encode(errors="surrogatepass").translate(None, characters)


def _good(found: list) -> list:
    """What was found in cells, of which none may be bad: the complaint about such a one is a str."""
    bad = [(i, what) for i, what in enumerate(found) if isinstance(what, str)]
    if bad:
        raise BadCells(bad)
    return found


def _number(cell: str, notation: Notation) -> float | str:
    """The number of a cell, or what is wrong with it."""
    if notation.absent(cell):
        return np.nan
    if not cell.strip(" \t"):
        return "expected a number; got an empty cell"
    if not notation.pattern.fullmatch(cell):
        return f"expected a number; got {shown(cell)}"
    plain = notation.plain(cell)
    value = float(plain)
    if not np.isfinite(value):
        return f"expected a number within ±1.8e308; got {shown(cell)}"
    if abs(value) >= _EXACT and _INTEGER.fullmatch(plain) and (len(plain) > 400 or int(value) != int(plain)):
        return f"expected an integer that is exact in float64; got {shown(cell)}: read the column as text"
    return value


def times(cells: Sequence[str], zoned: bool | None = None, time_format: str | None = None) -> tuple[np.ndarray, bool]:
    """Numbers if the first cell is one, else times, to the microsecond; and whether the times have a zone.

    Times are in ISO 8601, or in `time_format`, a format of `datetime.strptime`. Times with a zone are converted to UTC.

    Raises:
        BadCells: cells are neither, or differ from the others in having a zone or not.
    """
    if time_format is None and PLAIN.pattern.fullmatch(cells[0]):
        return numbers(cells), bool(zoned)
    if time_format is None and not zoned:
        values = _plain_times(cells)
        if values is not None:
            return values, False
    moments = [_time(cell) if time_format is None else _formatted(cell, time_format) for cell in cells]
    first = next((m for m in moments if isinstance(m, datetime)), None)
    zoned = (first is not None and first.tzinfo is not None) if zoned is None else zoned
    for i, moment in enumerate(moments):
        if isinstance(moment, datetime) and (moment.tzinfo is not None) != zoned:
            wanted = f"expected a time {'with' if zoned else 'without'} a zone, as above"
            moments[i] = f"{wanted}; got {shown(cells[i])}"
    return np.array([m.replace(tzinfo=None) for m in _good(moments)], "M8[us]"), zoned


def _plain_times(cells: Sequence[str]) -> np.ndarray | None:
    """Times that are all written as the first is: a date, perhaps with hours and minutes, perhaps with seconds."""
    clock = _CLOCKS.get(len(cells[0]))
    if clock is None or set(map(len, cells)) != {len(clock)} or min(cells) < "0001":
        return None
    if "".join(cells).encode(errors="surrogatepass").translate(_AS_CLOCK) != clock * len(cells):
        return None
    try:
        return np.array(cells, "M8[us]")
    except ValueError:  # such as the 31st of February
        return None


def check_time_format(time_format: str | None) -> None:
    """Raise UnspoolError unless `datetime.strptime` can read what this format writes."""
    if time_format is None:
        return
    try:
        datetime.strptime(datetime(2000, 1, 2, 3, 4, 5, tzinfo=UTC).strftime(time_format), time_format)
    except (ValueError, TypeError, KeyError, IndexError, re.error):
        raise UnspoolError(
            f"time_format must be a format of datetime.strptime, such as '%d.%m.%Y %H:%M'; got {shown(time_format)}"
        ) from None


def _formatted(cell: str, time_format: str) -> datetime | str:
    cell = cell.strip(" \t")
    try:
        if len(cell) <= _LONGEST_TIME:
            return _utc(datetime.strptime(cell, time_format))
    except (ValueError, OverflowError):
        pass
    return f"expected a time in the format {shown(time_format)}; got {shown(cell)}"


def _time(cell: str) -> datetime | str:
    """The moment of a time in ISO 8601, in UTC if it has a zone, or what is wrong with it."""
    found = _TIME.fullmatch(cell.strip(" \t")) if len(cell) <= _LONGEST_TIME else None
    try:
        if found:
            return _moment(found.groupdict())
    except (ValueError, OverflowError):
        pass  # such as the 31st of February
    what = f"expected a number, or a time such as 2024-05-17 or 2024-05-17 13:45:00; got {shown(cell)}"
    return f"{what}: leave time out to keep the order of the rows, or give time_format if it is written in another way"


def _moment(part: dict[str, str | None]) -> datetime:
    """The moment of the parts of a time.

    Raises:
        ValueError, OverflowError: there is none, or it is not one of whole microseconds.
    """

    def number(*names: str, default: int = 0) -> int:
        return next((int(part[n] or 0) for n in names if part[n] is not None), default)

    year, fraction = number("year"), (part["part"] or "").ljust(6, "0")
    if part["week"] or part["week2"]:
        day = date.fromisocalendar(year, number("week", "week2"), number("weekday", "weekday2", default=1))
    elif part["ordinal"]:
        day = date(year, 1, 1) + timedelta(days=number("ordinal") - 1)
    else:
        day = date(year, number("month", "month2"), number("day", "day2", default=1))
    hour, minute, second = number("hour"), number("minute"), number("second")
    midnight = hour == 24 and not minute and not second and not int(fraction)
    if fraction[6:].strip("0") or (day.year != year and not (part["week"] or part["week2"])):
        raise ValueError("finer than a microsecond, or a day beyond the year")
    clock = time(0 if midnight else hour, minute, second, int(fraction[:6]))
    moment = datetime.combine(day, clock) + timedelta(days=midnight)
    if part["utc"] is None and part["sign"] is None:
        return moment
    if number("minutes") > 59:
        raise ValueError("minutes of a zone")
    shift = timedelta(hours=number("hours"), minutes=number("minutes"))
    return _utc(moment.replace(tzinfo=timezone(-shift if part["sign"] == "-" else shift)))


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


class Part(NamedTuple):
    """Typed values that a column may keep, and which of them each row has; None: each has its own."""

    kind: str
    values: np.ndarray
    codes: np.ndarray | None = None


class Types:
    """The types of numbers that grow block by block, and whether all are exact in one type."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.beyond = False  # whether there are integers that float64 may not hold

    def add(self, values: np.ndarray) -> None:
        self.kinds.add(values.dtype.kind)
        self.beyond |= values.dtype.kind == "i" and bool(((values > _EXACT) | (values < -_EXACT)).any())

    @property
    def exact(self) -> bool:
        return not self.beyond or self.kinds != {"i", "f"}


class CellColumn:
    """A column that grows block by block.

    kind: `number`, `text`, `name` (text that is not empty), `time`, or `auto`: numbers if the first cell that is
        neither empty nor missing is a number, else text. Until there is one, the cells are kept as they are.
    coder: numbers the texts of a column in which many rows have the same, so that each is kept once; or None.
    beside: the number of columns that grow at the same time.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        notation: Notation = PLAIN,
        time_format: str | None = None,
        coder: Coder | None = None,
        beside: int = 1,
    ):
        self.name, self.kind, self.notation, self.time_format = name, kind, notation, time_format
        self.coder, self.beside = coder, beside
        self.in_doubt = kind == "auto"
        self.zoned: bool | None = None
        self.grown = Growing(beside)
        self.types = Types()
        self.like_numbers = self.foreign = self.there = 0

    @property
    def plain(self) -> bool:
        """Whether numbers with this notation's point are numbers of this column, however the other cells look."""
        timed = self.kind == "time" and self.time_format is None and self.notation.decimal == PLAIN.decimal
        return self.notation.point is not None and (self.kind == "number" or timed)

    def numbers(self, values: np.ndarray) -> Part:
        """What `convert` returns for numbers that were found already."""
        return Part("zoned time" if self.kind == "time" and self.zoned else self.kind, values)

    def convert(self, cells: Sequence[str]) -> Part:
        """The cells as typed values, which are not kept yet.

        Raises:
            BadCells: cells are not of the column's kind.
            EarlierCells: the column is of numbers, but cells that were kept before are empty.
        """
        kind = self.kind if self.kind != "auto" else self._kind(cells)
        if kind == "number":
            self._settle()
            return Part(kind, self._numbers(cells))
        if kind == "time":
            values, zoned = times(cells, self.zoned, self.time_format)
            return Part("zoned time" if zoned else kind, values)
        if kind == "name" and not all(map(str.strip, cells)):
            nameless = [i for i, cell in enumerate(cells) if not cell.strip()]
            raise BadCells([(i, "expected the name of a sequence; got none") for i in nameless])
        return Part(kind, self.grown.shared(cells))

    def keep(self, part: Part) -> None:
        """Keep what `convert` returned."""
        kind, values, codes = part
        if self.kind == "time":
            self.zoned = kind == "zoned time"
        else:
            self.kind = kind
        if self.in_doubt and kind == "text":
            texts = values.tolist()
            cells = Counter(texts).items() if codes is None else zip(texts, np.bincount(codes).tolist(), strict=True)
            absent = self.notation.missing
            odd = [(v, n) for v, n in cells if not v[:1].isalpha() or (absent and v.strip(" \t") in absent)]
            self.there += len(values if codes is None else codes) - sum(n for v, n in odd if self._empty(v))
            odd = [(v, n) for v, n in odd if not (v[:1].isalpha() or self._empty(v))]  # no number begins with a letter
            self.like_numbers += sum(n for v, n in odd if self.notation.pattern.fullmatch(v))
            self.foreign += sum(n for v, n in odd if _FOREIGN.fullmatch(v))
        self._add(values, codes)

    def finish(self, file: str) -> np.ndarray | Texts:
        """The whole column.

        Raises:
            DataError: the cells of the column are not all of one kind.
        """
        values = self.grown.finish()
        texts = None if self.coder is None or not self.coder.known else Texts(self.coder.words, values)
        if self.kind == "auto" and all(map(self.notation.absent, values if texts is None else texts.words)):
            values, texts = np.full(len(values), np.nan), None
        name = f"{file}: column {shown(self.name)}"
        if len(self.types.kinds) > 1 and self.kind == "time":
            raise DataError(f"{name} has both numbers and dates; expected one of them")
        if self.like_numbers * 2 > self.there:
            raise DataError(
                f"{name} does not begin with a number, but {self.like_numbers} of {self.there} cells are numbers; "
                f"name it in numbers or in text, or say in missing how an absent number is written"
            )
        if self.foreign * 2 > self.there:
            raise DataError(
                f"{name} has numbers that are written in another way, {self.foreign} of {self.there} cells; "
                f"give decimal or thousands, such as decimal=',', or name it in text"
            )
        if not self.types.exact:
            raise DataError(f"{name} has {INEXACT}; name it in text")
        return values if texts is None else texts

    def _settle(self) -> None:
        """Make a column that was undecided one of numbers."""
        if self.kind == "auto" and self.grown.size:
            try:
                cells = self.grown.values
                values = self._numbers((cells if self.coder is None else self.coder.words[cells]).tolist())
            except BadCells as bad:
                raise EarlierCells(bad.cells) from None
            self.kind, self.grown, self.types, self.coder = "number", Growing(self.beside), Types(), None
            self._add(values)

    def _add(self, values: np.ndarray, codes: np.ndarray | None = None) -> None:
        """Add values, or `values[codes]`."""
        self.types.add(values)
        if self.kind == "time" and len(self.types.kinds) > 1:
            return
        if self.coder is not None and values.dtype.kind == "O":
            values = self.coder(values)
        self.grown.add(values if codes is None else values[codes])

    def _numbers(self, cells: Sequence[str]) -> np.ndarray:
        try:
            return numbers(cells, self.notation)
        except BadCells as bad:
            hint = f", or name {shown(self.name)} in text" if self.in_doubt else ""
            raise BadCells([(row, self._remedy(what) + hint) for row, what in bad.cells]) from None

    def _remedy(self, what: str) -> str:
        return f'{what}: say missing=[""] if numbers may be absent' if what.endswith("an empty cell") else what

    def _empty(self, cell: str) -> bool:
        return not cell.strip(" \t") or self.notation.absent(cell)

    def _kind(self, cells: Sequence[str]) -> str:
        first = next((c for c in cells if not self._empty(c)), None)
        if first is None:
            return "auto"
        return "number" if self.notation.pattern.fullmatch(first) else "text"
