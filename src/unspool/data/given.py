"""Sequences as they are given in Python, of any kind that an estimator takes, in one form."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DataError
from .opening import empty
from .ragged import Ragged, ends
from .sequences import Sequences

_WANTED = (
    "a list of arrays (T,), (T, I) or (T, height, width), an array (n, T, I), (n, T) or (n, T, height, width), texts, "
    "lists of tokens, Ragged or Sequences"
)

_BLOCK = 2**20  # numbers that are converted at a time
_EMPTY = "X must have sequences of at least one step; got none in sequence {}"


@dataclass(frozen=True)
class Given:
    """n sequences of one kind.

    values: float32 (N, I), for numbers; objects (N,), each a str, for tokens; None for texts.
    texts: n of them, or None.
    names: of the I features, or of the steps of a table; None if they have none.
    steps: T if they were a table (n, T), in which each row is a sequence; else None.
    coarse: the first feature whose differences float32 cannot tell, as those of 1e9, 1e9 + 1, 1e9 + 2; or None.
    frame: height, width and channels, if each step is an image, whose I numbers are in this order; else None.
    """

    values: Ragged | None = None
    texts: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    steps: int | None = None
    coarse: int | None = None
    frame: tuple[int, int, int] | None = None

    @property
    def kind(self) -> str:
        """`numbers`, `texts` or `tokens`."""
        return "texts" if self.values is None else "numbers" if self.values.values.dtype.kind == "f" else "tokens"

    def __len__(self) -> int:
        return len(self.texts or ()) if self.values is None else len(self.values)

    def take(self, indices: np.ndarray) -> "Given":
        """These sequences, in this order."""
        if self.values is None:
            texts = self.texts or ()
            return replace(self, texts=tuple(texts[i] for i in indices))
        return replace(self, values=self.values.take(indices))

    def describe(self) -> str:
        """How many there are and how long, in words."""
        if self.values is None:
            return f"{len(self):,} texts"
        least, most = int(self.values.lengths.min()), int(self.values.lengths.max())
        steps = f"{least:,} to {most:,}" if least < most else f"{most:,}"
        if self.kind == "tokens":
            return f"{len(self):,} sequences, steps: {steps}"
        if self.frame is not None:
            return f"{len(self):,} sequences, frames: {steps}, each {shape_of(self.frame)}"
        return f"{len(self):,} sequences, steps: {steps}, features: {self.values.values.shape[1]:,}"


def shape_of(frame: tuple[int, int, int]) -> str:
    """The size of an image in words."""
    height, width, channels = frame
    return f"{height} × {width}" + (f" × {channels}" if channels > 1 else "")


def is_table(X: Any) -> bool:
    """Whether X is two-dimensional, as scikit-learn's data are: an array, a frame, or lists of fractions of one length.

    Lists of integers are tokens, and a list of arrays is a list of sequences.
    """
    if isinstance(X, list | tuple):
        first = X[0] if len(X) else None
        if not isinstance(first, list | tuple) or not any(isinstance(v, float) for v in first):
            return False
        return all(isinstance(row, list | tuple) and len(row) == len(first) for row in X)
    return len(getattr(X, "shape", ())) == 2


def as_sequences(X: Any, names: Sequence[str] | None = None) -> Given:
    """The sequences of X.

        list, tuple or array of objects     of arrays (T,), (T, I) or of frames: n sequences of unequal lengths
        array (n, T, I)                     n sequences of T steps
        array or frame (n, T)               n sequences of T steps with one feature each
        array (n, T, height, width)         n films of T frames; with several channels (n, T, height, width, channels)
        list of str                         texts
        list of lists of str or int         tokens
        Ragged                              numbers (N,) or (N, I), frames, or tokens
        Sequences                           the columns of numbers with a value per step; or else the column of text

    Args:
        X: any of these.
        names: the columns of `Sequences` to take; None: all that are of numbers.
    Raises:
        DataError: X is none of these; or a sequence is empty, not finite, or of another kind than the others.
    """
    if isinstance(X, Given):
        return X
    if isinstance(X, Sequences):
        return _of_columns(X, names)
    if isinstance(X, Ragged):
        return _of_ragged(X)
    if isinstance(X, list | tuple) and not is_table(X):
        return _of_list(list(X))
    if isinstance(X, str | bytes | dict) or not (hasattr(X, "__array__") or isinstance(X, list | tuple)):
        raise DataError(f"X must be {_WANTED}; got {type(X).__name__}")
    array = np.asarray(X)
    if array.ndim == 1 and array.dtype.kind in "OUT" and len(array):
        return _of_list(array.tolist() if array.dtype.kind != "O" else list(array))
    if 2 <= array.ndim <= 5 and 0 not in array.shape[1:]:
        n, steps, *frame = array.shape
        values = _numbers(array.reshape(n * steps, math.prod(frame)))
        given = _finite(values, ends(np.full(n, steps)))
        return replace(given, steps=None if frame else steps, frame=_frame(frame))
    more = ". Reshape your data: X[None] is one sequence" if array.ndim == 1 else ""
    raise DataError(f"X must be {_WANTED}; got an array of shape {array.shape}{more}")


def time_last(X: Any) -> np.ndarray:
    """An array (n, I, T), as aeon, sktime and tsai have it, as (n, T, I).

    Raises:
        DataError: X has not three dimensions.
    """
    array = np.asarray(X)
    if array.ndim != 3:
        raise DataError(f"X must be an array (n, I, T), with time last; got one of shape {array.shape}")
    return array.swapaxes(1, 2)


def _of_columns(X: Sequences, names: Sequence[str] | None) -> Given:
    def is_text(name: str) -> bool:
        column = X[name]
        return (column.values if isinstance(column, Ragged) else column).dtype.kind == "O"

    numeric = [name for name in X.per_step if X.steps(name).values.dtype.kind in "biuf"]
    if names or numeric:
        chosen = tuple(names or numeric)
        first = X.steps(chosen[0])
        if len(chosen) == 1 and first.values.ndim > 2:
            return _of_ragged(first)
        _not_empty(first.lengths)
        wide = sum(X.steps(name).values[:1].size for name in chosen)
        values = empty((len(first.values), wide), np.dtype(np.float32), first.values)
        names = chosen if len(chosen) == wide else None
        return replace(_filled(values, first.offsets, X.blocks(chosen)), names=names)
    texts = [name for name in (X.per_step or X.per_sequence) if is_text(name)]
    if len(texts) != 1:
        raise DataError(f"X must have columns of numbers, or one of text; got {', '.join(X.columns) or 'no columns'}")
    column = X[texts[0]]
    return _of_ragged(column) if isinstance(column, Ragged) else _of_list(list(column))


def _of_ragged(X: Ragged) -> Given:
    _not_empty(X.lengths)
    if X.values.dtype.kind in "OU":
        tokens = np.array([str(token) for token in X.values], object)
        return Given(Ragged(tokens, X.offsets))
    if X.values.ndim > 4:
        raise DataError(f"X must have values (N,), (N, I) or frames; got an array of shape {X.values.shape}")
    given = _finite(_numbers(X.values.reshape(len(X.values), -1)), X.offsets)
    return replace(given, frame=_frame(X.values.shape[1:]))


def _of_list(X: list[Any]) -> Given:
    if not X:
        raise DataError("X must have at least one sequence; got none")
    kinds = [_kind(sequence, i) for i, sequence in enumerate(X)]
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise DataError(f"X must have sequences of one kind; got {kinds[0]} first, and {kind} as sequence {i}")
    if kinds[0] == "a text":
        return Given(texts=tuple(map(str, X)))
    if kinds[0] == "tokens":
        lengths = np.array([len(sequence) for sequence in X])
        tokens = np.array([str(token) for sequence in X for token in sequence], object)
        return Given(Ragged(tokens, ends(lengths)))
    arrays = [_array(sequence, i) for i, sequence in enumerate(X)]
    shape = arrays[0].shape[1:]
    for i, array in enumerate(arrays):
        if array.shape[1:] != shape:
            raise DataError(
                f"X must have sequences of one number of features; got {_said(shape)} first, and "
                f"{_said(array.shape[1:])} in sequence {i}"
            )
    values = np.concatenate(arrays).reshape(-1, math.prod(shape))
    given = _finite(values, ends(np.array([len(array) for array in arrays])))
    return replace(given, frame=_frame(shape))


def _frame(shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Height, width and channels of the steps of an array, if they are images."""
    height, width, channels = (*shape, 1, 1, 1)[:3]
    return (height, width, channels) if len(shape) > 1 else None


def _said(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _kind(sequence: Any, i: int) -> str:
    if isinstance(sequence, str | list | tuple) and not sequence:
        raise DataError(_EMPTY.format(i))
    if isinstance(sequence, str):
        return "a text"
    if isinstance(sequence, list | tuple) and len(sequence):
        whole = (int, np.integer)
        if all(isinstance(v, str) or (isinstance(v, whole) and not isinstance(v, bool)) for v in sequence):
            return "tokens"
    if isinstance(sequence, np.ndarray) and sequence.ndim == 1 and sequence.dtype.kind in "OU":
        return "tokens" if all(isinstance(v, str) for v in sequence) else "numbers"
    if isinstance(sequence, bytes | dict | set) or not hasattr(sequence, "__len__"):
        raise DataError(f"X must be {_WANTED}; got {type(sequence).__name__} as sequence {i}")
    return "numbers"


def _array(sequence: Any, i: int) -> np.ndarray:
    """A sequence of numbers, (T, I), or of frames, (T, height, width) or (T, height, width, channels)."""
    try:
        array = np.asarray(sequence)
    except ValueError:
        raise DataError(f"X must have sequences that are arrays (T,) or (T, I); sequence {i} is neither") from None
    if not 1 <= array.ndim <= 4 or 0 in array.shape[1:]:
        raise DataError(
            f"X must have sequences of shape (T,), (T, I) or (T, height, width); got {array.shape} for sequence {i}"
        )
    if not len(array):
        raise DataError(_EMPTY.format(i))
    return _numbers(array[:, None] if array.ndim == 1 else array, i)


def _numbers(array: np.ndarray, i: int | None = None) -> np.ndarray:
    where = "" if i is None else f" in sequence {i}"
    if array.dtype.kind not in "biufO":
        raise DataError(f"X must have real numbers; got {array.dtype}{where}")
    if array.dtype.kind in "iuf":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"X must have real numbers; got what is no number{where}") from None


def _not_empty(lengths: np.ndarray) -> None:
    if not len(lengths):
        raise DataError("X must have at least one sequence; got none")
    if not lengths.all():
        raise DataError(_EMPTY.format(np.argmin(lengths)))


def _finite(x: np.ndarray, offsets: np.ndarray) -> Given:
    """The sequences of numbers (N, I), in float32, if all numbers are finite there."""
    if not len(x):
        raise DataError("X must have at least one sequence; got none")
    ready = x.dtype == np.float32 and x.flags.c_contiguous
    values = x if ready else empty(x.shape, np.dtype(np.float32), x)
    step = max(1, _BLOCK // max(1, x.shape[1]))
    return _filled(values, offsets, (x[begin : begin + step] for begin in range(0, len(x), step)), ready)


def _filled(values: np.ndarray, offsets: np.ndarray, blocks: Iterable[np.ndarray], ready: bool = False) -> Given:
    """The same, filled with blocks of numbers (n, I), one after the other, unless these are parts of it already."""
    end, low, high = 0, np.inf, -np.inf
    for block in blocks:
        begin, end = end, end + len(block)
        if not ready:
            with np.errstate(over="ignore"):
                values[begin:end] = block
        _check_finite(values[begin:end], begin, offsets)
        if block.dtype != np.float32:
            low = np.minimum(low, block.min(0).astype(np.float64))
            high = np.maximum(high, block.max(0).astype(np.float64))
    return Given(Ragged(values, offsets), coarse=_coarse(low, high))


def _check_finite(values: np.ndarray, begin: int, offsets: np.ndarray) -> None:
    """Raise DataError unless values (n, I) are finite, which begin at this step of all."""
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        row = int(np.argmax(bad))
        at = begin + row
        i = int(np.searchsorted(offsets, at, side="right")) - 1
        what = "NaN" if np.isnan(values[row]).any() else "infinity, or a number too large for float32,"
        raise DataError(f"X must have finite numbers; got {what} in sequence {i} at step {at - offsets[i]}")


def _coarse(low: Any, high: Any) -> int | None:
    """See `Given`. What rounding leaves of a constant is not meant.

    Args:
        low, high: the least and the largest number of each feature, (I,).
    """
    size, spread = np.maximum(abs(low), abs(high)), high - low
    coarse = np.flatnonzero((spread > 1e-12 * size) & (spread < 1e-6 * size))
    return int(coarse[0]) if len(coarse) else None
