"""Columns that grow block by block, in little more memory than their values take."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import opening
from ..opening import Room
from ..ragged import Ragged, ends

_BLOCK = 2**20  # values that are converted at a time
_CELLS = 2**14  # collected before they become an array
_KNOWN = 2**16  # texts that are remembered
_NEW = 0.9  # the part of them that are new where it does not pay to remember


class Shared:
    """Remembers texts, so that equal ones are one object.

    When it has very many it begins anew, or gives up if nearly all of them were new.
    """

    def __init__(self) -> None:
        self.known: dict[str, str] | None = {}
        self.asked = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The texts, in an array of objects."""
        if self.known is not None and len(self.known) > _KNOWN:
            self.known, self.asked = None if len(self.known) > self.asked * _NEW else {}, 0
        if self.known is not None:
            self.asked += len(texts)
            texts = list(map(self.known.setdefault, texts, texts))
        values = np.empty(len(texts), object)
        values[:] = texts
        return values


class Growing:
    """Values of one type, collected from many lists or arrays.

    The array has room for more, and is moved by the system where it is large, so that there are never two of it. Where
    it and those that grow beside it would take more than `opening.IN_MEMORY` bytes, it goes on in a file.

    Args:
        beside: how many such arrays grow at the same time, of about the same size.
    """

    def __init__(self, beside: int = 1) -> None:
        self.size, self.beside = 0, beside
        self.shared = Shared()
        self._cells: list = []
        self._values = np.empty(0)
        self._room: Room | None = None

    def add(self, values: Sequence | np.ndarray) -> None:
        """Add an array, or a list of numbers, truth values, lists of numbers, or texts; always of the same kind."""
        if not isinstance(values, np.ndarray):
            self._cells.extend(values)
        if self._cells and (len(self._cells) >= _CELLS or isinstance(values, np.ndarray)):
            self._flush()
        if isinstance(values, np.ndarray):
            self._add(values)

    @property
    def values(self) -> np.ndarray:
        """All values so far; they are moved by `add`."""
        self._flush()
        return self._values[: self.size]

    def finish(self) -> np.ndarray:
        """All values, (N, ...), which are given away."""
        self._flush()
        self._resize(self.size)
        values, self._values, self.size, self.shared = self._values, np.empty(0), 0, Shared()
        self._room = None
        return values

    def ragged(self, lengths: Sequence[int] | np.ndarray) -> Ragged:
        """All values, as sequences of these lengths."""
        return Ragged(self.finish(), ends(np.asarray(lengths, np.int64)))

    def _flush(self) -> None:
        cells, self._cells = self._cells, []
        if cells:
            self._add(self.shared(cells) if isinstance(cells[0], str) else np.array(cells))

    def _add(self, values: np.ndarray) -> None:
        if not self.size:
            self._values = np.empty((0, *values.shape[1:]), values.dtype)
        kind = np.promote_types(self._values.dtype, values.dtype)
        if kind != self._values.dtype:
            self._convert(kind)
        begin, self.size = self.size, self.size + len(values)
        if self.size > len(self._values):
            self._resize(max(self.size, len(self._values) * 9 // 8))
        self._values[begin : self.size] = values

    def _convert(self, kind: np.dtype) -> None:
        """Give the values another type."""
        if self._room is None:
            self._values = self._values[: self.size].astype(kind)
            return
        old, self._room = self._values, Room(self._values.shape[1:], kind)
        self._values = self._room.resized(len(old))
        for begin in range(0, self.size, _BLOCK):
            self._values[begin : begin + _BLOCK] = old[begin : begin + _BLOCK]

    def _resize(self, size: int) -> None:
        shape, dtype = self._values.shape[1:], self._values.dtype
        large = size * dtype.itemsize * math.prod(shape) * self.beside > opening.IN_MEMORY
        if self._room is None and not dtype.hasobject and large:
            self._room, old = Room(shape, dtype), self._values
            self._values = self._room.resized(size)
            self._values[: len(old)] = old[:size]
        elif self._room is not None:
            self._values = self._room.resized(size)
        else:
            self._values.resize((size, *shape), refcheck=False)


class Texts(NamedTuple):
    """The texts of rows: the different ones, (K,), in the order in which they appear, and which each row has, (N,)."""

    words: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, cells: "np.ndarray | Texts") -> "Texts":
        """The same of any cells."""
        if isinstance(cells, Texts):
            return cells
        coder = Coder()
        codes = coder(cells.tolist())
        return cls(coder.words, codes)


class Coder:
    """Numbers texts, or other values, in the order in which they appear first."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}

    def __call__(self, values: Sequence | np.ndarray) -> np.ndarray:
        """The number of each."""
        known = self.known
        return np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32, len(values))

    @property
    def words(self) -> np.ndarray:
        """The values by their numbers, (K,)."""
        found = np.empty(len(self.known), object)
        found[:] = list(self.known)
        return found


def numbered(lines: np.ndarray) -> np.ndarray:
    """The numbers of lines in as few bytes as hold them."""
    return lines.astype(np.int32) if not len(lines) or lines[-1] < 2**31 else lines
