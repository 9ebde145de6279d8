"""Columns that grow sequence by sequence, in little more memory than their values take."""

from collections.abc import Sequence

import numpy as np

from ..ragged import Ragged, ends

_CELLS, _PIECES = 2**14, 2**8  # collected before they become one array


class Growing:
    """Values of one type, collected from many short lists or arrays; equal texts are kept once."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []
        self.cells: list = []
        self.parts: list[np.ndarray] = []
        self.known: dict[str, str] = {}

    def add(self, values: Sequence | np.ndarray) -> None:
        """Add an array, or a list of numbers, truth values, lists of numbers, or texts; always of the same kind."""
        if isinstance(values, np.ndarray):
            self.pieces.append(values)
        else:
            self.cells.extend(self.known.setdefault(v, v) if isinstance(v, str) else v for v in values)
        if len(self.cells) >= _CELLS or len(self.pieces) >= _PIECES:
            self._flush()

    def finish(self) -> np.ndarray:
        """All values, (N, ...)."""
        self._flush()
        parts, self.parts, self.known = self.parts, [], {}
        return np.concatenate(parts) if parts else np.empty(0)

    def ragged(self, lengths: Sequence[int]) -> Ragged:
        """All values, as sequences of these lengths."""
        return Ragged(self.finish(), ends(np.array(lengths, np.int64)))

    def _flush(self) -> None:
        if self.pieces:
            self.parts.append(np.concatenate(self.pieces))
        elif self.cells and isinstance(self.cells[0], str):
            self.parts.append(np.empty(len(self.cells), object))
            self.parts[-1][:] = self.cells
        elif self.cells:
            self.parts.append(np.array(self.cells))
        self.pieces, self.cells = [], []
