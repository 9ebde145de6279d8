"""What every reader returns: sequences with named columns, and the place that each came from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from ..errors import DataError
from .opening import empty
from .ragged import Ragged, ends

Column = Ragged | np.ndarray
_BLOCK = 2**18  # numbers that are converted at a time


@dataclass(frozen=True)
class Places:
    """Where sequences came from: sequence i from line `lines[i]`, from 1, of `names[file[i]]`.

    `unit` may be row, or sequence; or file, if each has a file of its own.
    """

    names: tuple[str, ...]
    file: np.ndarray
    lines: np.ndarray
    unit: str = "line"

    @classmethod
    def of(cls, name: object, lines: Sequence[int] | np.ndarray, unit: str = "line") -> "Places":
        """The places of sequences from one file."""
        lines = np.asarray(lines)
        return cls((str(name),), np.broadcast_to(np.int32(0), lines.shape), lines, unit)

    @classmethod
    def of_files(cls, names: Sequence[str]) -> "Places":
        """The places of sequences that each have a file of their own."""
        return cls(tuple(names), np.arange(len(names)), np.ones(len(names), np.int64), "file")

    @classmethod
    def join(cls, parts: Sequence["Places"]) -> "Places":
        """The places of sequences from several files, one after the other."""
        shift = np.cumsum([0, *(len(p.names) for p in parts)])
        file = np.concatenate([p.file + s for p, s in zip(parts, shift, strict=False)]).astype(np.int32)
        names = tuple(name for p in parts for name in p.names)
        return cls(names, file, np.concatenate([p.lines for p in parts]), parts[0].unit)

    def take(self, indices: np.ndarray) -> "Places":
        return Places(self.names, self.file[indices], self.lines[indices], self.unit)


@dataclass(frozen=True)
class Sequences:
    """Sequences that were read.

    Args:
        columns: by name: a `Ragged` for one value per step, all with the same lengths; an array (n, ...) for one value
            per sequence. Integers are int64, fractions float64, truth values bool and dates datetime64[us]; text is str
            in an array of objects.
        places: the file and the line where each sequence begins.
        skipped: the complaint about each bad row that was skipped.
    """

    columns: Mapping[str, Column]
    places: Places
    skipped: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.places.lines)

    @property
    def shape(self) -> tuple[int]:
        """(n,), which tells scikit-learn that an array of numbers takes sequences out."""
        return (len(self),)

    @overload
    def __getitem__(self, name: str) -> Column: ...
    @overload
    def __getitem__(self, name: np.ndarray | list[int] | slice | tuple[Any, ...]) -> "Sequences": ...
    def __getitem__(self, name: Any) -> "Column | Sequences":
        """A column by its name; or some of the sequences, by an array of their numbers, a mask or a slice."""
        if not isinstance(name, str):
            key = name[0] if isinstance(name, tuple) else name
            return self.take(np.arange(len(self))[key])
        if name not in self.columns:
            raise DataError(f"{self.places.names[0]}: there is no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    @property
    def per_step(self) -> list[str]:
        """The names of the columns with one value per step."""
        return [name for name, column in self.columns.items() if isinstance(column, Ragged)]

    @property
    def per_sequence(self) -> list[str]:
        """The names of the columns with one value per sequence."""
        return [name for name, column in self.columns.items() if not isinstance(column, Ragged)]

    @property
    def lengths(self) -> np.ndarray:
        """The steps of each sequence, int64, (n,)."""
        return self.steps(self.per_step[0]).lengths if self.per_step else np.zeros(len(self), np.int64)

    def place(self, i: int) -> str:
        """Where sequence i begins, in the words of a complaint."""
        name = self.places.names[self.places.file[i]]
        return name if self.places.unit == "file" else f"{name}, {self.places.unit} {self.places.lines[i]}"

    def steps(self, name: str) -> Ragged:
        """A column with one value per step.

        Raises:
            DataError: the column is missing, or has one value per sequence.
        """
        column = self[name]
        if not isinstance(column, Ragged):
            raise DataError(
                f"{self.places.names[0]}: column {name!r} has one value per sequence; one value per step is "
                f"needed, as {', '.join(self.per_step) or 'no column'} has"
            )
        return column

    def stack(self, names: Sequence[str], dtype: type = np.float32) -> Ragged:
        """Number columns side by side, (N, I): the inputs of a network.

        Raises:
            DataError: a column is missing, is not of numbers, or has one value per sequence; or a number is beyond
                `dtype`.
        """
        parts = self._numbers(names)
        widths = [math.prod(part.values.shape[1:]) for part in parts]
        values = empty((len(parts[0].values), sum(widths)), np.dtype(dtype), parts[0].values)
        for name, part, end, width in zip(names, parts, np.cumsum(widths), widths, strict=True):
            for begin in range(0, len(values), _BLOCK):
                self._cast(name, part, begin, values[begin : begin + _BLOCK, end - width : end])
        return Ragged(values, parts[0].offsets)

    def blocks(self, names: Sequence[str]) -> Iterator[np.ndarray]:
        """The same in float64, or in float32 if all of them are, some steps at a time, each (n, I)."""
        columns = [part.values.reshape(len(part.values), -1) for part in self._numbers(names)]
        step = max(1, _BLOCK // sum(column.shape[1] for column in columns))
        dtype = np.float32 if all(column.dtype == np.float32 for column in columns) else np.float64
        for begin in range(0, len(columns[0]), step):
            yield np.hstack([column[begin : begin + step] for column in columns], dtype=dtype, casting="unsafe")

    def _numbers(self, names: Sequence[str]) -> list[Ragged]:
        """Columns, of which there is at least one, and which are of numbers, one a step."""
        parts = [self.steps(name) for name in names]
        if not parts:
            raise DataError(f"{self.places.names[0]}: no column was named; there are {', '.join(self.columns)}")
        for name, part in zip(names, parts, strict=True):
            if part.values.dtype.kind not in "biuf":
                raise DataError(f"{self.places.names[0]}: column {name!r} is {_kind(part.values)}; numbers are needed")
        return parts

    def _cast(self, name: str, column: Ragged, begin: int, values: np.ndarray) -> None:
        """Fill (n, ...) with the values of a column from this step on; raise DataError if one is beyond their type."""
        given = column.values[begin : begin + len(values)].reshape(values.shape)
        with np.errstate(over="ignore"):
            values[:] = given
        lost = np.isfinite(given) & ~np.isfinite(values)
        if lost.any():
            step = int(lost.any(1).argmax())
            place = self.place(int(np.searchsorted(column.offsets, begin + step, side="right")) - 1)
            value = given[step, lost[step].argmax()]
            raise DataError(f"{place}: column {name!r} has {value!s}, which is beyond {values.dtype}; scale it")

    @classmethod
    def join(cls, parts: Sequence["Sequences"]) -> "Sequences":
        """The sequences of several files, which have the same columns, one after the other.

        Raises:
            DataError: they have different columns, or columns of different kinds.
        """
        first, *others = parts
        for part in others:
            for name in {**first.columns, **part.columns}:
                kinds = [_describe(p[name]) for p in (first, part)]
                if kinds[0] != kinds[1]:
                    raise DataError(
                        f"{part.places.names[0]}: column {name!r} is {kinds[1]}; expected {kinds[0]}, as before"
                    )
        columns = {name: _concatenate([p[name] for p in parts]) for name in first.columns}
        return cls(columns, Places.join([p.places for p in parts]), sum((p.skipped for p in parts), ()))

    def take(self, indices: Sequence[int] | np.ndarray) -> "Sequences":
        """These sequences, in this order."""
        indices = np.asarray(indices, np.int64)
        columns = {n: c.take(indices) if isinstance(c, Ragged) else c[indices] for n, c in self.columns.items()}
        return Sequences(columns, self.places.take(indices), self.skipped)


def _describe(column: Column) -> str:
    values = column.values if isinstance(column, Ragged) else column
    kind = {"i": "numbers", "f": "numbers", "u": "numbers"}.get(values.dtype.kind, _kind(values))
    return f"{kind} of shape {values.shape[1:]}, one value per {'step' if isinstance(column, Ragged) else 'sequence'}"


def _concatenate(columns: Sequence[Column]) -> Column:
    values = np.concatenate([c.values if isinstance(c, Ragged) else c for c in columns])
    if not isinstance(columns[0], Ragged):
        return values
    return Ragged(values, ends(np.concatenate([c.lengths for c in columns if isinstance(c, Ragged)])))


def _kind(values: np.ndarray) -> str:
    return "text" if values.dtype.kind == "O" else f"of type {values.dtype}"
