"""Tables of pandas, polars and arrow, through narwhals, and Parquet files, through pyarrow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import DataError, printable, shown
from ..sequences import Sequences
from .fields import BadCell, times
from .rows import Shape, gather
from .source import ALLOWANCE, EXPANSION, Complaints


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

    Args:
        frame: the table.
        name: the name of the table in complaints.
        columns: the columns to read; None: all.
        missing: whether absent numbers become NaN; else there must be none.
        skip_bad: the number of rows with an absent or infinite value to skip, at most; they are listed in `skipped`.
        shape: `sequence`, `time`, `per_sequence` and `wide`, the fields of `rows.Shape`.
    Raises:
        DataError: the object is not such a table, or a column cannot be used; the message has the row, from 1.
    """
    how, complaints = Shape(**shape), Complaints(name, skip_bad, unit="row")
    narwhals = _library("narwhals")
    try:
        table = narwhals.from_native(frame, eager_only=True)
    except TypeError:
        raise DataError(f"{name}: expected a table of pandas, polars or arrow; got {type(frame).__name__}") from None
    how.check(name, table.columns, columns or ())
    if not len(table):
        raise complaints.refuse(None, None, "expected at least one row; got none")
    kept = dict.fromkeys([*(table.columns if columns is None else columns), *how.columns])
    good = np.ones(len(table), bool)
    for c in kept:
        for row, what in _bad(table[c], missing and c not in (how.sequence, how.time)):
            if good[row]:
                complaints.bad(row + 1, repr(c), what)
                good[row] = False
    rows = np.flatnonzero(good) + 1
    if len(rows) < len(table):
        table = table.filter(good.tolist())
    cells = {c: _cells(table[c], c, rows, complaints) for c in kept}
    if how.steps:
        raise DataError(f"{name}: steps in columns are read from CSV files only; make the table long")
    if how.time is not None and cells[how.time].dtype.kind == "O":
        try:
            cells[how.time], _ = times(cells[how.time].tolist())
        except BadCell as bad:
            raise complaints.refuse(int(rows[bad.row]), repr(how.time), bad.what) from None
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
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    how = Shape(**shape)
    try:
        with open(path, "rb") as file, parquet.ParquetFile(file) as source:
            there = source.schema_arrow.names
            how.check(str(path), there, columns or ())
            wanted = list(dict.fromkeys([*(there if columns is None else columns), *how.columns]))
            size, rows = os.fstat(file.fileno()).st_size, source.metadata.num_rows
            if rows < 0 or 8 * rows * len(wanted) > EXPANSION * size + ALLOWANCE:
                raise DataError(
                    f"{path}: unpacks to more than {EXPANSION} times its size; if that is right, read it with "
                    f"pyarrow and give the table to from_frame"
                )
            table = source.read(columns=wanted)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, arrow.ArrowException) as error:
        reason = printable(f"{str(error).strip():.120}")
        raise DataError(f"{path}: cannot be read as Parquet ({reason})") from None
    return from_frame(table, name=str(path), columns=wanted, missing=missing, skip_bad=skip_bad, **shape)


def _library(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError:
        package = name.partition(".")[0]
        raise DataError(f"this needs {package}, which is not installed: pip install {package}") from None


def _bad(column: Any, missing: bool) -> Iterator[tuple[int, str]]:
    """The rows, from 0, whose cells cannot be used, each with the reason."""
    kind = column.dtype
    absent = column.is_null().to_numpy()
    if kind.is_float():
        values = column.cast(_library("narwhals").Float64).fill_null(np.nan).to_numpy()
        absent = np.isnan(values)
        for row in np.flatnonzero(np.isinf(values)):
            yield int(row), "expected a finite number; got infinity"
    if missing and kind.is_numeric():
        return
    hint = ": give missing=True to read it as NaN" if kind.is_numeric() else ""
    for row in np.flatnonzero(absent):
        yield int(row), f"expected a value; got none{hint}"


def _cells(column: Any, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    """A column as an array of one of the types of `Sequences`; `rows` are the rows of its cells, for complaints."""
    kind = column.dtype
    if kind.is_float():
        return np.array(column.cast(_library("narwhals").Float64).fill_null(np.nan).to_numpy(), np.float64)
    return _other(column, kind, name, rows, complaints)


def _other(column: Any, kind: Any, name: str, rows: np.ndarray, complaints: Complaints) -> np.ndarray:
    narwhals = _library("narwhals")
    if kind.is_integer():
        absent = column.is_null().to_numpy()
        least, most = column.min(), column.max()
        limit = 2**53 if absent.any() else 2**63 - 1
        if least is not None and not -limit <= least <= most <= limit:
            raise complaints.refuse(None, repr(name), f"expected integers up to {limit}; got {least} to {most}")
        if absent.any():
            return np.array(column.cast(narwhals.Float64).fill_null(np.nan).to_numpy(), np.float64)
        return np.array(column.to_numpy(), np.int64)
    if kind == narwhals.Boolean:
        return np.array(column.to_numpy(), bool)
    if isinstance(kind, narwhals.Datetime | narwhals.Date) or kind in (narwhals.Datetime, narwhals.Date):
        return _dates(column, kind, name, complaints)
    if kind in (narwhals.String, narwhals.Categorical, narwhals.Enum, narwhals.Object):
        values = np.empty(len(column), object)
        values[:] = column.to_list()
        for i, value in enumerate(values):
            if not isinstance(value, str):
                raise complaints.refuse(int(rows[i]), repr(name), f"expected text; got {shown(value)}")
        return values
    raise complaints.refuse(None, repr(name), f"expected numbers, truth values, dates or text; got {kind!s:.60}")


def _dates(column: Any, kind: Any, name: str, complaints: Complaints) -> np.ndarray:
    narwhals = _library("narwhals")
    if getattr(kind, "time_zone", None):
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    rounded = column.cast(narwhals.Datetime("us"))
    if not (rounded.cast(column.dtype) == column).all():
        raise complaints.refuse(None, repr(name), "expected times of whole microseconds; got finer ones: round them")
    return np.array(rounded.to_numpy(), "M8[us]")
