"""The rows of a table as steps of series, and its covariates as numbers. No PyTorch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...data.ragged import Ragged, ends
from ...errors import DataError, shown
from .columns import Column, Table

_MOST_CATEGORIES = 100
_MOST_STEPS, _FEW_STEPS, _MOST_GAPS = 10**8, 10**5, 1000  # steps of series: at most, always, for each row


class Covariate(NamedTuple):
    """A covariate: its column, and its categories, each of which is a number of its own; None: it is a number."""

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        return 1 if self.categories is None else len(self.categories)

    @classmethod
    def of(cls, name: str, column: Column) -> "Covariate":
        if column.number:
            return cls(name)
        if not column.text:
            raise DataError(f"column {name!r:.40} has times; a covariate must have numbers or texts")
        found = sorted({cell for cell in column.values.tolist() if cell is not None})
        if len(found) > _MOST_CATEGORIES:
            raise DataError(
                f"column {name!r:.40} must have at most {_MOST_CATEGORIES} categories; got {len(found):,}: leave it out"
            )
        return cls(name, tuple(found))

    def coded(self, column: Column) -> np.ndarray:
        """The numbers of it, (N, width): of categories 1-of-k, all 0 for one that is not known, NaN where missing."""
        if self.categories is None:
            if not column.number:
                raise DataError(f"column {self.name!r:.40} must have numbers, as when it was trained on")
            return finite(self.name, column)[:, None]
        place: dict[Any, int] = {category: k for k, category in enumerate(self.categories)}
        cells = column.values.tolist()
        codes = np.array([place.get(cell if cell is None else str(cell), -1) for cell in cells], np.int64)
        found = np.zeros((len(cells), self.width))
        found[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1
        found[[cell is None or cell != cell for cell in cells]] = np.nan
        return found


class Rows(NamedTuple):
    """Rows of a table as steps of n series, in their order: of each its place in the table, its series, its number."""

    row: np.ndarray
    of: np.ndarray
    number: np.ndarray
    n: int

    def take(self, kept: np.ndarray) -> "Rows":
        return Rows(self.row[kept], self.of[kept], self.number[kept], self.n)

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """The first number of each series, and its steps; raise DataError if there are far more steps than rows."""
        begins = np.flatnonzero(np.append(True, np.diff(self.of) > 0))
        first, last = self.number[begins], self.number[np.append(begins[1:], len(self.number)) - 1]
        lengths = last - first + 1
        total, rows = int(lengths.sum()), len(self.row)
        if total > min(_MOST_STEPS, max(_MOST_GAPS * rows, _FEW_STEPS)):
            gap = int(np.argmax(np.where(np.diff(self.of) > 0, 0, np.diff(self.number))))
            a, b = (self.row[gap : gap + 2] + 1).tolist()
            raise DataError(
                f"the times of {rows:,} rows make {total:,} steps, and most between the rows {a} and {b}: is one of "
                f"their times wrong, or the step too short?"
            )
        return first, lengths

    def placed(self, values: np.ndarray, start: np.ndarray, lengths: np.ndarray) -> Ragged:
        """The values of rows at their steps, NaN at steps without a row."""
        offsets = ends(lengths)
        found = np.full((int(offsets[-1]), values.shape[1]), np.nan)
        found[offsets[self.of] + self.number - start[self.of]] = values[self.row]
        return Ragged(found, offsets)


def turns(of: np.ndarray) -> np.ndarray:
    """Of each row its turn among those of its series, from 0."""
    order, counts = np.argsort(of, kind="stable"), np.bincount(of)
    found = np.empty(len(of), np.int64)
    found[order] = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found


def static_of(rows: Rows, values: np.ndarray) -> np.ndarray:
    """The values of series, (n, S), of those of rows, which must be the same in all rows of a series."""
    of_rows = values[rows.row]
    found = of_rows[np.searchsorted(rows.of, np.arange(rows.n))]
    missing, differ = np.isnan(of_rows).any(1), (of_rows != found[rows.of]).any(1)
    if missing.any():
        raise DataError(f"static covariates must be there for each series; row {rows.row[missing].min() + 1} has none")
    if differ.any():
        raise DataError(
            f"static covariates must be the same in all rows of a series; row {rows.row[differ].min() + 1} has others"
        )
    return found


def coded(covariates: Sequence[Covariate], table: Table) -> np.ndarray:
    parts = [c.coded(table.columns[c.name]) for c in covariates]
    return np.concatenate(parts, 1) if parts else np.zeros((table.rows, 0))


def finite(name: str, column: Column) -> np.ndarray:
    """Numbers as float64, NaN where missing."""
    if not column.number:
        what = shown(next((c for c in column.values.tolist() if c is not None), None)) if column.text else "times"
        raise DataError(f"column {name!r:.40} must have numbers; got {what}")
    values = column.values.astype(np.float64)
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise DataError(f"column {name!r:.40} must have finite numbers; got infinity in row {bad[0] + 1}")
    return values
