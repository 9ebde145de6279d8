"""Tables of pandas, polars and arrow, through narwhals, and Parquet files, through pyarrow."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...errors import DataError, UnspoolError, printable, shown
from ..opening import EXPANSION, most, ordinary
from ..ragged import Ragged, ends
from ..sequences import Column, Places, Sequences
from .fields import BadCells, times
from .rows import Shape, gather
from .source import Complaints

_EXACT = 2**53  # integers up to here are exact in a float64
_DECIMALS = 2**16  # that are converted at a time
_THEIRS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    OSError,
    RuntimeError,
    NotImplementedError,
    AttributeError,
    MemoryError,
)
_KINDS = "numbers, truth values, dates or text, or lists of them"


def from_frame(
    frame: Any,
    *,
    name: str = "table",
    columns: Sequence[str] | None = None,
    missing: bool = False,
    skip_bad: int = 0,
    **shape: Any,
) -> Sequences:
    """Sequences from a table of pandas, polars, arrow or another library that narwhals knows.

    If a column has lists, each row is a sequence, as in JSON lines: a list has one value per step, or one list of I
    numbers, and all lists of a row have the same length. Decimal fractions become the nearest float64.

    Args:
        frame: the table.
        name: the name of the table in complaints.
        columns: the columns to read; None: all.
        missing: whether absent numbers become NaN; else there must be none.
        skip_bad: the number of rows with an absent or infinite value to skip, at most; they are listed in `skipped`.
        shape: `sequence`, `time`, `time_format`, `per_sequence` and `wide`, the fields of `rows.Shape`.
    Raises:
        DataError: the object is not such a table, or a column cannot be used; the message has the row, from 1.
    """
    how, complaints = Shape(**shape), Complaints(name, skip_bad, unit="row")
    table = as_table(frame, name)
    kept = list(dict.fromkeys([*(table.columns if columns is None else columns), *how.columns]))
    how.check(name, table.columns, columns or (), kept)
    if how.steps:
        raise DataError(f"{name}: steps in columns are read from CSV files only; make the table long, or of lists")
    if not len(table):
        raise complaints.refuse(None, None, "expected at least one row; got none")
    with _theirs(name):
        if table.implementation.is_pyarrow():
            table.select(kept).to_native().validate(full=True)
    opened = {c: _opened(table, c, complaints) for c in kept}
    good = _good(opened, len(table), how, missing, complaints)
    rows = np.flatnonzero(good) + 1
    if len(rows) < len(table):
        with _theirs(name):
            table = table.filter(good.tolist())
        opened = {c: _opened(table, c, complaints) for c in kept}
    cells = {c: _cells(opened[c], c, rows, complaints) for c in kept}
    if any(o.lengths is not None for o in opened.values()):
        return _rows_of_lists(cells, opened, rows, how, complaints)
    if how.time is not None and cells[how.time].dtype.kind == "O":
        try:
            cells[how.time], _ = times(cells[how.time].tolist(), None, how.time_format)
        except BadCells as bad:
            row, what = bad.cells[0]
            raise complaints.refuse(int(rows[row]), repr(how.time), what) from None
    return gather(cells, rows, how, complaints)


def read_parquet(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    missing: bool = False,
    skip_bad: int = 0,
    **shape: Any,
) -> Sequences:
    """Sequences from a Parquet file; the other arguments are those of `from_frame`.

    Raises:
        DataError: pyarrow is missing, the file cannot be read, or a column cannot be used; the message has the row.
    """
    library("pyarrow")
    parquet = library("pyarrow.parquet")
    how = Shape(**shape)
    with ordinary(path) as (file, size), _theirs(f"{path}: cannot be read as Parquet"):
        with parquet.ParquetFile(file) as source:
            there = source.schema_arrow.names
            wanted = list(dict.fromkeys([*(there if columns is None else columns), *how.columns]))
            how.check(str(path), there, columns or (), wanted)
            twice = next((c for c, count in Counter(there).items() if count > 1 and c in wanted), None)
            if twice is not None:
                raise DataError(f"{path}: column {shown(twice)} is there twice; name others in columns")
            texts = _check_size(source, wanted, most(size), str(path))
        file.seek(0)
        # The texts of a dictionary are kept once, however many rows have them.
        with parquet.ParquetFile(file, read_dictionary=texts) as source:
            table = source.read(columns=wanted)
    return from_frame(table, name=str(path), columns=wanted, missing=missing, skip_bad=skip_bad, **shape)


def _check_size(source: Any, wanted: Sequence[str], limit: int, name: str) -> list[str]:
    """Refuse columns that would take more than `limit` bytes; the paths of those that have a dictionary of texts."""
    schema, metadata, needed = source.schema_arrow, source.metadata, 0
    paths: list[str] = []
    first = 0
    for field in schema:
        leaves, first = range(first, first + _leaves(field.type)), first + _leaves(field.type)
        if field.name not in wanted:
            continue
        if len(leaves) > 1:
            what = f"expected {_KINDS}; got {field.type!s:.60}"
            raise DataError(f"{name}, column {printable(repr(field.name))}: {printable(what)}")
        for group in range(metadata.num_row_groups):
            # Asked for a damaged column, the metadata end the process; a reader of nothing complains instead.
            next(source.reader.iter_batches(0, row_groups=[group], column_indices=[leaves[0]]), None)
            column = metadata.row_group(group).column(leaves[0])
            width = max(8, source.schema.column(leaves[0]).length or 0)
            texts = column.physical_type == "BYTE_ARRAY"
            size = width * column.num_values + (column.total_uncompressed_size if texts else 0)
            if min(column.num_values, column.total_uncompressed_size) < 0:
                raise DataError(f"{name}: cannot be read as Parquet (a column of less than 0 values)")
            if texts:
                paths.append(column.path_in_schema)
            if "DELTA_BYTE_ARRAY" in column.encodings:
                size += _repeated(source, field.name, group, max(64, limit // (8 * size + 1)), limit)
            needed += size
        if needed + 8 * len(wanted) * max(0, metadata.num_rows) > limit:
            raise DataError(
                f"{name}: unpacks to more than {EXPANSION} times its size; if that is right, read it with pyarrow and "
                f"give the table to from_frame"
            )
    return list(dict.fromkeys(paths))


def _leaves(kind: Any) -> int:
    """The number of columns in which Parquet stores a type."""
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields)) or 1


def _repeated(source: Any, name: str, group: int, rows: int, limit: int) -> int:
    """The bytes of texts that are stored as what they share with the text before, of which no size is known.

    They are read a few at a time, until there are more than `limit`.
    """
    size = 0
    for batch in source.iter_batches(min(rows, 2**16), row_groups=[group], columns=[name]):
        size += batch.nbytes
        if size > limit:
            break
    return size


def library(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError:
        package = name.partition(".")[0]
        raise DataError(f"this needs {package}, which is not installed: pip install {package}") from None


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """Calls of the libraries of tables, whose exceptions become a DataError that begins with `what`."""
    polars, arrow = sys.modules.get("polars.exceptions"), sys.modules.get("pyarrow")
    errors = (*_THEIRS, *([polars.PolarsError] if polars else []), *([arrow.ArrowException] if arrow else []))
    try:
        yield
    except UnspoolError:
        raise
    except errors as error:
        reason = printable(f"{type(error).__name__}: {str(error).strip():.120}")
        raise DataError(f"{what} ({reason})") from None


def as_table(frame: Any, name: str) -> Any:
    """The table as narwhals has it, with texts as the names of its columns."""
    narwhals = library("narwhals")
    with _theirs(f"{name}: expected a table with different names of columns"):
        table = narwhals.from_native(frame, eager_only=True, pass_through=True)
    if not isinstance(table, narwhals.DataFrame):
        raise DataError(f"{name}: expected a table of pandas, polars or arrow; got {type(frame).__name__}")
    with _theirs(f"{name}: expected names of columns that are texts"):
        if not all(isinstance(c, str) for c in table.columns):
            names = [str(c) for c in table.columns]
            if len(set(names)) < len(names):
                raise DataError(f"{name}: expected different names of columns; got {shown(table.columns)}")
            table = narwhals.from_native(frame.set_axis(names, axis=1), eager_only=True)
    return table


class _Column(NamedTuple):
    """A column without its lists.

    values: the cells, as narwhals has them.
    lengths: the steps of each row, 0 if it has none; None if the cells are not lists.
    inner: the numbers of each step, if the cells are lists of lists.
    """

    values: Any
    lengths: np.ndarray | None = None
    inner: np.ndarray | None = None

    @property
    def row(self) -> np.ndarray:
        """The row of each value."""
        rows = np.arange(len(self.values)) if self.lengths is None else np.arange(len(self.lengths))
        rows = rows if self.lengths is None else np.repeat(rows, self.lengths)
        return rows if self.inner is None else np.repeat(rows, self.inner)

    @property
    def width(self) -> int | None:
        """The numbers of the first step, which all steps must have."""
        return None if self.inner is None else int(self.inner[0]) if len(self.inner) else 0


def _opened(table: Any, name: str, complaints: Complaints) -> _Column:
    """A column of a table, its lists opened."""
    narwhals = library("narwhals")
    with _theirs(complaints.place(None, repr(name), "cannot be read")):
        column = table[name]
        kind, arrows = column.dtype, getattr(column.to_native(), "type", None)
        if kind == narwhals.Categorical and arrows is not None and "string" not in str(arrows.value_type):
            return _Column(narwhals.from_native(column.to_native().cast(arrows.value_type), series_only=True))
        if kind == narwhals.Object and not isinstance(_first(column.to_list()), list | tuple | np.ndarray):
            return _Column(column)
        if kind not in (narwhals.Object, narwhals.List, narwhals.Array):
            return _Column(column)
        arrow = library("pyarrow")
        if kind == narwhals.Object:
            cells = [c.tolist() if isinstance(c, np.ndarray) else c for c in column.to_list()]
            lists = arrow.chunked_array([arrow.array(cells, from_pandas=True)])
        else:
            lists = column.to_arrow()
            lists = lists if isinstance(lists, arrow.ChunkedArray) else arrow.chunked_array([lists])
        values, lengths = _unlisted(lists)
        inner = None
        if _is_list(values.type):
            values, inner = _unlisted(values)
        return _Column(narwhals.from_native(values, series_only=True), lengths, inner)


def _unlisted(lists: Any) -> tuple[Any, np.ndarray]:
    """The values of lists end to end, and the length of each list, 0 where there is none."""
    compute = library("pyarrow.compute")
    lengths = compute.list_value_length(lists).fill_null(0).to_numpy()
    return compute.list_flatten(lists), np.asarray(lengths, np.int64)


def _is_list(kind: Any) -> bool:
    types = library("pyarrow").types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _first(cells: Sequence[Any]) -> Any:
    return next((cell for cell in cells if cell is not None), None)


def _good(opened: dict[str, _Column], count: int, how: Shape, missing: bool, complaints: Complaints) -> np.ndarray:
    """Whether each row can be used; the complaints about those that cannot are made."""
    good = np.ones(count, bool)
    steps = None
    for name, column in opened.items():
        bad = [*_bad_lists(column, steps)]
        with _theirs(complaints.place(None, repr(name), "cannot be read")):
            may = missing and name not in (how.sequence, how.time)
            row = column.row
            bad += [(int(row[i]), what) for i, what in _bad(column.values, may)]
        steps = column.lengths if steps is None else steps
        for i, what in bad:
            if good[i]:
                complaints.bad(i + 1, repr(name), what)
                good[i] = False
    return good


def _bad_lists(column: _Column, steps: np.ndarray | None) -> Iterator[tuple[int, str]]:
    """The rows, from 0, whose lists cannot be used, each with the reason."""
    if column.lengths is None:
        return
    for row in np.flatnonzero(column.lengths == 0):
        yield int(row), "expected at least one step; got none"
    if steps is not None:
        for row in np.flatnonzero(column.lengths != steps):
            what = f"expected {steps[row]} steps, as in the list before; got {column.lengths[row]}"
            yield int(row), what
    if column.inner is not None:
        rows = np.repeat(np.arange(len(column.lengths)), column.lengths)
        for row in np.unique(rows[(column.inner != column.width) | (column.inner == 0)]):
            yield int(row), "expected equally many numbers in each step, and at least one"


def _bad(column: Any, missing: bool) -> Iterator[tuple[int, str]]:
    """The values, from 0, that cannot be used, each with the reason."""
    kind = column.dtype
    absent = column.is_null().to_numpy()
    number = kind.is_numeric() or _is_decimal(column)
    if kind.is_float() or _is_decimal(column):
        values = _decimals(column) if _is_decimal(column) else _floats(column)
        absent = np.isnan(values)
        for row in np.flatnonzero(np.isinf(values)):
            yield int(row), "expected a finite number; got infinity"
    if missing and number:
        return
    hint = ": give missing=True to read it as NaN" if number else ""
    for row in np.flatnonzero(absent):
        yield int(row), f"expected a value; got none{hint}"


def _is_decimal(column: Any) -> bool:
    narwhals = library("narwhals")
    if column.dtype == narwhals.Object:
        return isinstance(_first(column.to_list()), Decimal)
    return column.dtype == narwhals.Decimal or str(getattr(column.to_native(), "type", "")).startswith("decimal")


def _decimals(column: Any) -> np.ndarray:
    """Decimal fractions as the nearest float64, NaN where there is none."""
    values = np.empty(len(column))
    for start in range(0, len(column), _DECIMALS):
        part = column[start : start + _DECIMALS].to_list()
        values[start : start + len(part)] = [np.nan if d is None or d != d else float(d) for d in part]
    return values


def _cells(column: _Column, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    """The values of a column as an array of one of the types of `Sequences`; `rows` are those of the table."""
    with _theirs(complaints.place(None, repr(name), "cannot be read")):
        values = _typed(column.values, name, rows[column.row], complaints)
    if column.inner is None:
        return values
    if values.dtype.kind not in "if":
        raise complaints.refuse(None, repr(name), "expected lists of numbers in lists; got others")
    return values.reshape(-1, column.width or 1)


def _typed(column: Any, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    narwhals, kind = library("narwhals"), column.dtype
    if kind.is_float():
        return _floats(column)
    if _is_decimal(column):
        return _exact(column, name, rows, complaints)
    if kind.is_integer():
        return _integers(column, name, complaints)
    if kind == narwhals.Boolean:
        return np.array(column.to_numpy(), bool)
    if isinstance(kind, narwhals.Datetime | narwhals.Date) or kind in (narwhals.Datetime, narwhals.Date):
        return _dates(column, kind, name, complaints)
    if kind in (narwhals.String, narwhals.Categorical, narwhals.Enum, narwhals.Object):
        return _texts(column, name, rows, complaints)
    native = column.to_native()
    kind = kind if kind != narwhals.Unknown else getattr(native, "type", getattr(native, "dtype", kind))
    raise complaints.refuse(None, repr(name), f"expected {_KINDS}; got {kind!s:.60}")


def _exact(column: Any, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    """Decimal fractions as float64, of which integers must be exact."""
    values = _decimals(column)
    for i in np.flatnonzero(np.abs(values) >= _EXACT).tolist():
        cell = column[i]
        if cell == cell.to_integral_value() and cell != int(values[i]):
            what = f"expected an integer that is exact in float64; got {shown(str(cell))}: make it a text"
            raise complaints.refuse(int(rows[i]), repr(name), what)
    return values


def _floats(column: Any) -> np.ndarray:
    return np.array(column.cast(library("narwhals").Float64).fill_null(np.nan).to_numpy(), np.float64)


def _integers(column: Any, name: str, complaints: Complaints) -> np.ndarray:
    absent = column.is_null().to_numpy()
    least, most_ = column.min(), column.max()
    limit = _EXACT if absent.any() else 2**63 - 1
    if least is not None and not -limit <= least <= most_ <= limit:
        raise complaints.refuse(None, repr(name), f"expected integers up to {limit}; got {least} to {most_}")
    if absent.any():
        return _floats(column)
    return np.array(column.to_numpy(), np.int64)


def _texts(column: Any, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    """Texts in an array of objects; those of arrow are kept once, as a dictionary may stand for much."""
    values = np.empty(len(column), object)
    if column.implementation.is_pyarrow():
        at = 0
        for chunk in column.to_native().dictionary_encode().chunks:
            words = np.empty(len(chunk.dictionary), object)
            words[:] = chunk.dictionary.to_pylist()
            values[at : at + len(chunk)] = words[chunk.indices.to_numpy(zero_copy_only=False)]
            at += len(chunk)
    else:
        values[:] = column.to_list()
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise complaints.refuse(int(rows[i]), repr(name), f"expected text; got {shown(value)}")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                what = f"expected text; got half a character in {shown(value)}"
                raise complaints.refuse(int(rows[i]), repr(name), what) from None
    return values


def _dates(column: Any, kind: Any, name: str, complaints: Complaints) -> np.ndarray:
    narwhals = library("narwhals")
    if getattr(kind, "time_zone", None):
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    rounded = column.cast(narwhals.Datetime("us"))
    if not (rounded.cast(column.dtype) == column).all():
        raise complaints.refuse(None, repr(name), "expected times of whole microseconds; got finer ones: round them")
    return np.array(rounded.to_numpy(), "M8[us]")


def _rows_of_lists(
    cells: dict[str, np.ndarray], opened: dict[str, _Column], rows: np.ndarray, how: Shape, complaints: Complaints
) -> Sequences:
    """Each row as a sequence: lists have one value per step, and other cells one per sequence."""
    if how.sequence is not None or how.time is not None or how.per_sequence:
        what = "a column has lists, so each row is a sequence; leave out sequence, time and per_sequence"
        raise complaints.refuse(None, None, what)
    if not len(rows):
        raise complaints.refuse(None, None, "expected at least one row that can be used; got none")
    made: dict[str, Column] = {}
    for name, values in cells.items():
        lengths = opened[name].lengths
        made[name] = values if lengths is None else Ragged(values, ends(lengths))
    return Sequences(made, Places.of(complaints.name, rows, complaints.unit), tuple(complaints.skipped))
