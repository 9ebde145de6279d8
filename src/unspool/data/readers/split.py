"""The cells of many plain lines at once, found in their bytes with NumPy. What is not plain needs other code."""

import csv
from collections.abc import Sequence
from functools import cached_property

import numpy as np

_QUOTE, _NEWLINE, _MINUS, _PLUS, _ZERO = np.frombuffer(b'"\n-+0', np.uint8)
_BLANK = np.frombuffer(b"\n \t", np.uint8)
_LONGEST = 15  # characters of a number, so that its digits are exact in float64
_POWERS = 10.0 ** np.arange(_LONGEST + 1)


class Cells:
    """The cells of lines: that of row i and column j is array[starts[i, j] : ends[i, j]], and a NUL follows it."""

    def __init__(self, array: np.ndarray, ends: np.ndarray):
        self.array, self.ends = array, ends
        self.starts = np.concatenate([[0], ends.ravel()[:-1] + 1]).reshape(ends.shape)

    @cached_property
    def texts(self) -> list[str]:
        """All cells, row by row."""
        return self.array[:-1].tobytes().decode().split("\0")

    def column(self, j: int) -> list[str]:
        return self.texts[j :: self.ends.shape[1]]

    def rows(self) -> list[list[str]]:
        width = self.ends.shape[1]
        return [self.texts[i : i + width] for i in range(0, len(self.texts), width)]

    def numbers(self, columns: Sequence[int], point: str) -> dict[int, np.ndarray]:
        """The numbers of those columns whose cells are all short and plain: int64 if none has a point, else float64."""
        starts, ends = self.starts.T[columns], self.ends.T[columns]
        short = np.flatnonzero((ends - starts).max(axis=1) <= _LONGEST)
        values, pointed, good = decimals(self.array, starts[short], ends[short], point)
        return {
            columns[short[i]]: values[i] if pointed[i].any() else values[i].astype(np.int64)
            for i in np.flatnonzero(good.all(axis=1)).tolist()
        }

    def steps(self, columns: Sequence[int], point: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The numbers of each row in these columns, without empty cells at its end, as (n,) lengths and all values.

        None unless all are short and plain, and each row has one.
        """
        starts, ends = self.starts[:, columns], self.ends[:, columns]
        there = ends > starts
        lengths = len(columns) - np.argmax(there[:, ::-1], axis=1)
        used = np.arange(len(columns)) < lengths[:, None]
        starts, ends = starts[used], ends[used]
        if (ends - starts).max() > _LONGEST:
            return None
        values, pointed, good = decimals(self.array, starts, ends, point)
        if not good.all():
            return None
        return lengths, values if pointed.any() else values.astype(np.int64)


def split(data: bytes, delimiter: str, width: int) -> Cells | None:
    """The cells of lines that all have so many, and are not blank.

    None if lines need more care: with a newline in quotation marks, damaged text, a return that ends no line.
    """
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    if not _is_text(data) or not delimiter.isascii():
        return None
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((array == _NEWLINE) | (array == ord(delimiter)))
    n, quotes = np.count_nonzero(array[ends] == _NEWLINE), None
    if delimiter != "\t" and b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        before = np.searchsorted(quotes, ends)
        ends, before = ends[before & 1 == 0], before[before & 1 == 0]
    if len(ends) != n * width or (array[ends[width - 1 :: width]] != _NEWLINE).any():
        return None
    if np.diff(ends, prepend=-1).max() > csv.field_size_limit():
        return None
    if width == 1 and (np.isin(array[ends[:-1] + 1], _BLANK).any() or array[0] in _BLANK):
        return None
    array = array.copy()
    array[ends] = 0
    if quotes is not None:
        plain = _unquoted(array, ends, quotes, np.diff(before, prepend=0))
        if plain is None:
            return None
        array, ends = plain
    return Cells(array, ends.reshape(n, width))


def _unquoted(
    array: np.ndarray, ends: np.ndarray, quotes: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The bytes, and the ends of the cells in them, without quotation marks around cells and with one for two in them.

    None if there are others. `quotes` is where they are, and `counts` how many each cell has.
    """
    held = counts > 0
    after = np.cumsum(counts[held])
    first, last = quotes[after - counts[held]], quotes[after - 1]
    inner = np.ones(len(quotes), bool)
    inner[after - counts[held]] = inner[after - 1] = False
    one, other = quotes[inner].reshape(-1, 2).T
    if (first != np.append(-1, ends)[:-1][held] + 1).any() or (last != ends[held] - 1).any() or (other - one > 1).any():
        return None
    kept = np.ones(len(array), bool)
    kept[first] = kept[last] = kept[other] = False
    return array[kept], ends - np.cumsum(held + counts // 2)


def decimals(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, point: str) -> tuple[np.ndarray, ...]:
    """The numbers that stand in bytes, of at most 15 characters each; which have a point; and which are plain.

    A plain one has digits, perhaps a sign before them, and perhaps a point. It is the float64 nearest to what is
    written, as whole numbers and powers of ten of this size are exact, and their quotient is rounded once.
    """
    first = data[starts]
    minus = first == _MINUS
    starts = starts + (minus | (first == _PLUS))
    width = np.clip(ends - starts, 0, _LONGEST).astype(np.uint8)
    total, at = np.zeros(starts.shape), ends - 1
    points, fraction = np.zeros(starts.shape, np.uint8), np.zeros(starts.shape, np.uint8)
    good = width > 0
    for k in range(int(width.max(initial=0))):
        found, inside = data.take(at, mode="clip"), width > k
        at -= 1
        is_point = (found == ord(point)) & inside
        found -= _ZERO
        is_digit = found < 10
        good &= (is_digit | is_point) >= inside
        found *= (is_digit & inside).view(np.uint8)
        total += found * _POWERS[k]
        if is_point.any():
            points += is_point.view(np.uint8)
            fraction += is_point.view(np.uint8) * np.uint8(k)
    good &= (points <= 1) & (width > points)
    pointed = points > 0
    if pointed.any():
        # The point was counted as the digit 0.
        power = _POWERS.take(fraction, mode="clip")
        total -= np.where(pointed, np.floor(total / (10 * power)) * (9 * power), 0)
        total /= power
    return np.negative(total, out=total, where=minus), pointed, good


def _is_text(data: bytes) -> bool:
    if b"\r" in data or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
