"""The columns of a table of any library, and the times in them. No PyTorch."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ...data.readers import fields
from ...errors import DataError, shown

# How times are written in ISO 8601.
_ISO = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%Y-%m",
)
# How else they are. Digits in front may be left out if they are 0: `Jan 1 2000`.
_WRITTEN = (
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%b %d %Y",
    "%d %b %Y",
    "%b %Y",
    "%B %Y",
)
_AS_ISO = "iso"  # as NumPy writes ISO 8601, with a Z for UTC where there is a zone
_SEEN = 1000  # texts of which it is taken how all are written
_LOOKED_AT = 20  # texts of which it is taken whether a column has times
_YEARS = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")  # that nanoseconds can count
_EXACT = 2**53  # integers up to here are exact in a float64
_ABSENT = ("nan", "NaT", "<NA>")  # what stands for a missing cell among objects


class Column(NamedTuple):
    """A column: float64, int64, datetime64, or objects, which are texts or None.

    zone: of times, which are then UTC.
    written: how times came, see `as_written`; None: as integers.
    """

    values: np.ndarray
    zone: str | None = None
    written: str | None = None

    @property
    def number(self) -> bool:
        return self.values.dtype.kind in "if"

    @property
    def text(self) -> bool:
        return self.values.dtype.kind == "O"


class Table(NamedTuple):
    """The columns of a table by name, its rows, and the library that it is of; "dict" for a mapping of columns."""

    columns: dict[str, Column]
    rows: int
    library: str


def table_of(frame: Any) -> Table:
    """The columns of a data frame of pandas, Polars or Arrow, or of a mapping from names to arrays.

    Where the rows of a frame of pandas have times, or several levels, as their names, these are columns, too.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(frame, Table):
        return frame
    if isinstance(frame, Mapping):
        columns = {str(name): _of_array(str(name), values) for name, values in frame.items()}
        lengths = {len(column.values) for column in columns.values()}
        if len(lengths) != 1:
            raise DataError(f"X must have columns of one length; got {', '.join(map(str, sorted(lengths))) or 'none'}")
        return Table(columns, lengths.pop(), "dict")
    from ...data.readers.frames import as_table

    rows = getattr(frame, "index", None)
    if getattr(rows, "nlevels", 1) > 1 or str(getattr(rows, "dtype", "")).startswith(("datetime", "period")):
        frame = frame.reset_index()
    table = as_table(frame, "X")
    columns = {name: _of_frame(table[name]) for name in table.columns}
    return Table(columns, len(table), table.implementation.name.lower())


def _of_array(name: str, values: Any) -> Column:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise DataError(f"column {name!r:.40} must have one value a row") from None
    if array.ndim != 1:
        raise DataError(f"column {name!r:.40} must have one value a row; got an array of shape {array.shape}")
    if array.dtype.kind == "M":
        return Column(array, written=np.datetime_data(array.dtype)[0])
    return Column(_numbers(array)) if array.dtype.kind in "iuf" else _of_objects(array.tolist())


def _of_frame(series: Any) -> Column:
    """A column of a table as narwhals has it."""
    import narwhals as nw

    kind = series.dtype
    if kind == nw.Date:
        return Column(np.asarray(series.to_numpy()).astype("M8[us]"), written="D")
    if kind == nw.Datetime:
        zone = kind.time_zone
        plain = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else series
        return Column(plain.to_numpy().astype(f"M8[{kind.time_unit}]"), zone, kind.time_unit)
    if kind.is_numeric():
        whole = kind.is_integer() and not series.null_count()
        return Column(_numbers((series if whole else series.cast(nw.Float64)).to_numpy()))
    if kind in (nw.Categorical, nw.Enum):
        series = series.cast(nw.String)
    return _of_objects(series.to_list())


def _numbers(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64 if np.can_cast(values.dtype, np.int64) else np.float64)


def _of_objects(cells: Sequence[Any]) -> Column:
    """Numbers, times without a zone, or texts, of what Python has of them."""
    cells = [None if cell is None or (not isinstance(cell, str) and str(cell) in _ABSENT) else cell for cell in cells]
    there = [cell for cell in cells if cell is not None]
    if there and all(isinstance(cell, Real | Decimal) and not isinstance(cell, bool) for cell in there):
        return Column(np.array([np.nan if cell is None else float(cell) for cell in cells]))
    if there and all(isinstance(cell, date) and getattr(cell, "tzinfo", None) is None for cell in there):
        return Column(np.array(cells, "M8[us]"), written="us")
    texts = np.empty(len(cells), object)
    texts[:] = [None if cell is None else str(cell) for cell in cells]
    return Column(texts)


def times(name: str, column: Column) -> Column:
    """The times of a column, datetime64[ns] or int64; raise DataError unless it has them."""
    found = column
    if column.text:
        missing = [i for i, cell in enumerate(column.values.tolist()) if cell is None or not cell.strip()]
        if missing:
            raise DataError(f"column {name!r:.40} must have a time in each row; got none in row {missing[0] + 1}")
        meanings = _meanings(column.values.tolist())
        if isinstance(meanings, _Bad):
            raise DataError(f"column {name!r:.40}, row {meanings.row + 1}: {meanings.what}")
        found, *others = meanings
        if not all((other.values == found.values).all() for other in others):
            raise DataError(
                f"column {name!r:.40}: the days and the months of {shown(column.values[0])} and the others are in "
                f"doubt; write times as 2024-05-17"
            )
    if found.number:
        return Column(_whole(name, found.values))
    return Column(_nanoseconds(name, found.values), found.zone, found.written)


def has_times(column: Column) -> bool:
    """Whether a column has times of the calendar, as far as its first cells tell."""
    if not column.text:
        return not column.number
    cells = [cell for cell in column.values[:_LOOKED_AT].tolist() if cell]
    meanings = _meanings(cells) if cells else []
    return not isinstance(meanings, _Bad) and any(not found.number for found in meanings)


def _whole(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as int64, if they are integers."""
    bad = np.flatnonzero(~((values >= -_EXACT) & (values <= _EXACT)) | (values != np.floor(values)))
    if len(bad):
        raise DataError(
            f"column {name!r:.40} must have times, or integers up to 2^53; got {values[bad[0]]:g} in row {bad[0] + 1}"
        )
    return values.astype(np.int64)


def _nanoseconds(name: str, values: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(np.isnat(values))
    if len(bad):
        raise DataError(f"column {name!r:.40} must have a time in each row; got none in row {bad[0] + 1}")
    bad = np.flatnonzero((values < _YEARS[0]) | (values >= _YEARS[1]))
    if len(bad):
        raise DataError(
            f"column {name!r:.40} must have times from 1678 to 2261; got {values[bad[0]]} in row {bad[0] + 1}"
        )
    return values.astype("M8[ns]")


class _Bad(NamedTuple):
    """The row, from 0, of a text that is no time, and what is wrong with it."""

    row: int
    what: str


def _meanings(cells: Sequence[str]) -> list[Column] | _Bad:
    """What texts say as times, or integers: one column for each way in which all can be read; or what cannot be."""
    cells = [cell.strip() for cell in cells]
    try:
        values, zoned = fields.times(cells)
        written = None if values.dtype.kind != "M" else _AS_ISO if zoned else _style(cells, values, _ISO) or _AS_ISO
        return [Column(values, "UTC" if zoned else None, written)]
    except fields.BadCells as error:
        bad = _Bad(error.cells[0][0], error.cells[0][1].partition(": leave time out")[0])
    read = {written: _read(cells, written) for written in (*_ISO, *_WRITTEN)}
    longest = max(map(len, read.values()))
    if longest < len(cells):
        return bad if longest <= bad.row else _Bad(longest, f"expected a time as above; got {shown(cells[longest])}")
    found = {w: np.array(moments, "M8[us]") for w, moments in read.items() if len(moments) == longest}
    return [Column(values, None, _style(cells, values, _styles(w)) or w) for w, values in found.items()]


def _read(cells: Sequence[str], written: str) -> list[datetime]:
    """The times of texts, up to the first that is not written so."""
    found = []
    for cell in cells:
        try:
            found.append(datetime.strptime(cell, written))
        except ValueError:
            break
    return found


def _styles(written: str) -> list[str]:
    """A format, and the same without digits in front that are 0, which `%-d` stands for."""
    short = written.replace("%d", "%-d").replace("%m", "%-m")
    return [written, short, written.replace("%H", "%-H"), short.replace("%H", "%-H")]


def _style(cells: Sequence[str], values: np.ndarray, styles: Sequence[str]) -> str | None:
    """The first of some formats in which times are what the texts are; None if there is none."""
    cells, moments = cells[:_SEEN], values[:_SEEN].tolist()
    return next((style for style in styles if cells == [_text(moment, style) for moment in moments]), None)


def _text(moment: datetime, written: str) -> str:
    plain = re.sub("%-(.)", lambda found: str(int(moment.strftime(f"%{found[1]}"))), written)
    return moment.strftime(plain)


def as_written(stamps: np.ndarray, written: str | None, zone: str | None) -> Any:
    """Times, datetime64[ns] (N,), or integers, as they came.

    Args:
        written: a format of `strftime`, or "iso", of texts; the unit of times of NumPy; or None, of integers.
        zone: whether there is one.
    """
    if written is None:
        return stamps
    if "%" in written:
        return [_text(moment, written) for moment in stamps.astype("M8[us]").tolist()]
    if written != _AS_ISO:
        return stamps.astype(f"M8[{written}]")
    unit = "s" if (stamps == stamps.astype("M8[s]")).all() else "us"
    return [text + "Z" * (zone is not None) for text in np.datetime_as_string(stamps, unit=unit).tolist()]
