"""What every reader gives: sequences with named columns, and where each came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from .ragged import Ragged

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

    def take(self, indices: Sequence[int] | np.ndarray) -> "Sequences":
        """These sequences, in this order."""
        indices = np.asarray(indices, np.int64)
        columns = {n: c.take(indices) if isinstance(c, Ragged) else c[indices] for n, c in self.columns.items()}
        return Sequences(columns, self.places.take(indices), self.skipped)


def _kind(values: np.ndarray) -> str:
    return "text" if values.dtype.kind == "O" else f"of type {values.dtype}"
