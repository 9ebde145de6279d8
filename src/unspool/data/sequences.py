"""What every reader gives: sequences with named columns, and where each came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from .ragged import Ragged, ends

Column = Ragged | np.ndarray


@dataclass(frozen=True)
class Places:
    """Where sequences came from: `lines[i]` of `names[file[i]]`; lines count from 1, and may be rows."""

    names: tuple[str, ...]
    file: np.ndarray
    lines: np.ndarray
    unit: str = "line"

    @classmethod
    def of(cls, name: object, lines: Sequence[int] | np.ndarray, unit: str = "line") -> "Places":
        """Of one file."""
        lines = np.asarray(lines, np.int64)
        return cls((str(name),), np.zeros(len(lines), np.int32), lines, unit)

    @classmethod
    def join(cls, parts: Sequence["Places"]) -> "Places":
        """Of several files."""
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
        columns: by name: `Ragged` for a value a step, all of them with the same lengths; an array (n, ...) for a value
            a sequence. Integers are int64, fractions float64, truth values bool, dates datetime64[us], text is str in
            an array of objects.
        places: the file and the line where each sequence begins.
        skipped: the complaint about each bad row that was let go.
    """

    columns: Mapping[str, Column]
    places: Places
    skipped: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.places.lines)

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise DataError(f"{self.places.names[0]}: there is no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    @property
    def per_step(self) -> list[str]:
        """Names of the columns with a value a step."""
        return [name for name, column in self.columns.items() if isinstance(column, Ragged)]

    @property
    def per_sequence(self) -> list[str]:
        """Names of the columns with a value a sequence."""
        return [name for name, column in self.columns.items() if not isinstance(column, Ragged)]

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each sequence, int64, (n,)."""
        return self.steps(self.per_step[0]).lengths if self.per_step else np.zeros(len(self), np.int64)

    def place(self, i: int) -> str:
        """Where sequence i begins, as complaints say it."""
        return f"{self.places.names[self.places.file[i]]}, {self.places.unit} {self.places.lines[i]}"

    def steps(self, name: str) -> Ragged:
        """A column with a value a step."""
        column = self[name]
        if not isinstance(column, Ragged):
            raise DataError(
                f"{self.places.names[0]}: column {name!r} has a value a sequence; a value a step is needed, "
                f"as {', '.join(self.per_step) or 'no column'} has"
            )
        return column

    def stack(self, names: Sequence[str], dtype: type = np.float32) -> Ragged:
        """Number columns side by side, (N, I): the inputs of a network.

        Raises:
            DataError: a column is missing, is text, or has a value a sequence.
        """
        parts = [self.steps(name) for name in names]
        if not parts:
            raise DataError(f"{self.places.names[0]}: no column was named; there are {', '.join(self.columns)}")
        for name, part in zip(names, parts, strict=True):
            if part.values.dtype.kind not in "biuf":
                raise DataError(f"{self.places.names[0]}: column {name!r} is {_kind(part.values)}; numbers are needed")
        values = [p.values.reshape(len(p.values), -1).astype(dtype) for p in parts]
        return Ragged(np.concatenate(values, axis=1), parts[0].offsets)

    @classmethod
    def join(cls, parts: Sequence["Sequences"]) -> "Sequences":
        """The sequences of several files, which have the same columns, one after the other.

        Raises:
            DataError: their columns are not the same, or not of one kind.
        """
        first, *others = parts
        for part in others:
            for name in {**first.columns, **part.columns}:
                kinds = [_describe(p[name]) for p in (first, part)]
                if kinds[0] != kinds[1]:
                    raise DataError(
                        f"{part.places.names[0]}: column {name!r} is {kinds[1]}; expected {kinds[0]} as before"
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
    return f"{kind} of shape {values.shape[1:]}, a value a {'step' if isinstance(column, Ragged) else 'sequence'}"


def _concatenate(columns: Sequence[Column]) -> Column:
    values = np.concatenate([c.values if isinstance(c, Ragged) else c for c in columns])
    if not isinstance(columns[0], Ragged):
        return values
    return Ragged(values, ends(np.concatenate([c.lengths for c in columns if isinstance(c, Ragged)])))


def _kind(values: np.ndarray) -> str:
    return "text" if values.dtype.kind == "O" else f"of type {values.dtype}"
