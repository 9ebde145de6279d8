"""The columns of a table of any library, and the times in them. No PyTorch."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from ...data.readers import fields
from ...errors import DataError, shown

# How times are written, besides ISO 8601 with a zone. Of those with days and months in doubt only one may fit.
_WRITTEN = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%Y-%m",
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
_ISO = frozenset(_WRITTEN[:6])
_ZONED = "zone"  # ISO 8601 with a zone
_YEARS = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")  # that nanoseconds can count


class Column(NamedTuple):
    """A column: float64, int64, datetime64[ns], or objects, which are texts or None.

    zone: of times, which are then UTC.
    written: how times came: a format of `strftime`, or what narwhals calls their type.
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

    table = as_table(frame, "X")
    columns = {name: _of_frame(name, table[name]) for name in table.columns}
    return Table(columns, len(table), table.implementation.name.lower())


def _of_array(name: str, values: Any) -> Column:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise DataError(f"column {name!r:.40} must have one value a row") from None
    if array.ndim != 1:
        raise DataError(f"column {name!r:.40} must have one value a row; got an array of shape {array.shape}")
    if array.dtype.kind == "M":
        return Column(_nanoseconds(name, array), written="datetime")
    if array.dtype.kind in "iuf":
        return Column(array.astype(np.int64 if array.dtype.kind in "iu" else np.float64))
    return Column(_texts(array.tolist()))


def _of_frame(name: str, series: Any) -> Column:
    """A column of a table as narwhals has it."""
    import narwhals as nw

    kind = series.dtype
    if kind == nw.Datetime or kind == nw.Date:
        zone = getattr(kind, "time_zone", None)
        written = "date" if kind == nw.Date else f"datetime[{kind.time_unit}]"
        if series.null_count():
            raise DataError(f"column {name!r:.40} must have a time in each row; got a missing one in row {_first_missing(series)}")
        plain = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else series
        return Column(_nanoseconds(name, plain.to_numpy()), zone, written)
    if kind.is_integer() and not series.null_count():
        return Column(series.to_numpy().astype(np.int64))
    if kind.is_numeric():
        return Column(series.cast(nw.Float64).to_numpy().astype(np.float64))
    return Column(_texts(series.to_list()))


def _first_missing(series: Any) -> int:
    return int(np.argmax(series.is_null().to_numpy())) + 1


def _texts(values: Sequence[Any]) -> np.ndarray:
    """Texts, or None where one is missing."""
    found = np.empty(len(values), object)
    found[:] = [None if v is None or v != v else str(v) for v in values]
    return found


def _nanoseconds(name: str, values: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(np.isnat(values) | (values < _YEARS[0]) | (values >= _YEARS[1]))
    if len(bad):
        raise DataError(
            f"column {name!r:.40} must have times from 1678 to 2261; got {values[bad[0]]} in row {bad[0] + 1}"
        )
    return values.astype("M8[ns]")


def times(name: str, column: Column) -> Column:
    """The times of a column, datetime64[ns] or int64; raise DataError unless it has them."""
    values = column.values
    if values.dtype.kind in "Mi":
        return column
    if values.dtype.kind == "f":
        bad = np.flatnonzero(values != np.floor(values))
        if len(bad):
            raise DataError(f"column {name!r:.40} must have times or integers; got {values[bad[0]]:g} in row {bad[0] + 1}")
        return Column(values.astype(np.int64))
    missing = [i for i, cell in enumerate(values.tolist()) if not cell or not cell.strip()]
    if missing:
        raise DataError(f"column {name!r:.40} must have a time in each row; got none in row {missing[0] + 1}")
    found = parsed(values.tolist())
    if isinstance(found, Column):
        return Column(_nanoseconds(name, found.values), found.zone, found.written)
    row, what = found
    raise DataError(f"column {name!r:.40}, row {row + 1}: {what}")


def parsed(cells: list[str]) -> Column | tuple[int, str]:
    """Times of texts; or the number of a text that is none, and what is wrong with it."""
    fitting = [written for written in _WRITTEN if _reads(cells[0], written)]
    found = [column for written in fitting if (column := _all_written(cells, written)) is not None]
    if len(found) > 1 and not all((one.values == found[0].values).all() for one in found[1:]):
        return 0, f"the day and the month of {shown(cells[0])} are in doubt; write times as 2024-05-17"
    if found:
        return found[0]
    try:
        values, zoned = fields.times(cells)
    except fields.BadCells as error:
        return error.cells[0]
    if values.dtype.kind != "M":
        return 0, f"expected a time such as 2024-05-17 13:45:00; got {shown(cells[0])}"
    return Column(values, "UTC" if zoned else None, _ZONED if zoned else "%Y-%m-%dT%H:%M:%S")


def _reads(cell: str, written: str) -> bool:
    """Whether a text is a time in a format, and is written so."""
    try:
        return datetime.strptime(cell.strip(), written).strftime(written).replace("/0", "/").replace(" 0", " ").lstrip(
            "0"
        ) == cell.strip().replace("/0", "/").replace(" 0", " ").lstrip("0")
    except ValueError:
        return False


def _all_written(cells: list[str], written: str) -> Column | None:
    """All texts as times in a format; None if one is not."""
    try:
        if written in _ISO and len(set(map(len, cells))) == 1:
            return Column(np.array(cells, "M8[us]"), written=written)
        return Column(np.array([datetime.strptime(cell.strip(), written) for cell in cells], "M8[us]"), written=written)
    except ValueError:
        return None


def as_written(stamps: np.ndarray, written: str | None, zone: str | None) -> Any:
    """Times, datetime64[ns] (N,), as they came: texts in a format; or as they are."""
    if written == _ZONED:
        return [f"{text}Z" for text in np.datetime_as_string(stamps.astype("M8[s]")).tolist()]
    if written is None or "%" not in written:
        return stamps
    moments = stamps.astype("M8[us]").tolist()
    texts = [moment.strftime(written) for moment in moments]
    # Where days have one digit: `Jan 1 2000`.
    return [text.replace(" 0", " ") for text in texts] if written.startswith(("%b %d", "%d %b")) else texts
