"""The cells of many plain lines at once, found in their bytes with NumPy. What is not plain needs other code."""

import csv
from collections.abc import Sequence
from functools import cached_property

import numpy as np

_QUOTE, _NEWLINE, _MINUS, _PLUS, _ZERO = np.frombuffer(b'"\n-+0', np.uint8)
_LONGEST = 15  # characters of a number, so that its digits are exact in float64
_POWERS = 10.0 ** np.arange(_LONGEST + 1)


class Cells:
    """The cells of lines: that of row i and column j is the bytes from starts[i, j] to ends[i, j].

    quoted: whether some cells are quoted; doubled: whether quotation marks are in them, each twice.
    """

    def __init__(self, data: bytes, delimiter: str, ends: np.ndarray):
        self.data, self.delimiter, self.ends = data, delimiter, ends
        self.array = np.frombuffer(data, np.uint8)
        self.starts = np.concatenate([[0], ends.ravel()[:-1] + 1]).reshape(ends.shape)
        self.quoted = self.doubled = False

    def unquote(self, marks: np.ndarray) -> bool:
        """Leave out the quotation marks around cells, each of which has so many; False if there is one elsewhere."""
        held = marks > 0
        first, last = self.array[self.starts[held]], self.array[self.ends[held] - 1]
        if (marks == 1).any() or (first != _QUOTE).any() or (last != _QUOTE).any():
            return False
        self.quoted = bool(held.any())
        self.starts, self.ends = self.starts + held, self.ends - held
        inner = [self.data[a:b] for a, b in zip(self.starts[marks > 2], self.ends[marks > 2], strict=True)]
        self.doubled = bool(inner)
        return not any(b'"' in cell.replace(b'""', b"") for cell in inner)

    @cached_property
    def texts(self) -> list[str]:
        """All cells, row by row."""
        if not self.quoted:
            return self.data[:-1].decode().replace("\n", self.delimiter).split(self.delimiter)
        bounds = zip(self.starts.ravel().tolist(), self.ends.ravel().tolist(), strict=True)
        if self.data.isascii():
            text = self.data.decode()
            cells = [text[a:b] for a, b in bounds]
        else:
            cells = [self.data[a:b].decode() for a, b in bounds]
        return [cell.replace('""', '"') if '"' in cell else cell for cell in cells] if self.doubled else cells

    def column(self, j: int) -> list[str]:
        return self.texts[j :: self.ends.shape[1]]

    def rows(self) -> list[list[str]]:
        width = self.ends.shape[1]
        return [self.texts[i : i + width] for i in range(0, len(self.texts), width)]

    def numbers(self, columns: Sequence[int], point: str) -> dict[int, np.ndarray]:
        """The numbers of those columns whose cells are all short and plain: int64 if none has a point, else float64."""
        starts, ends = self.starts[:, columns], self.ends[:, columns]
        short = np.flatnonzero((ends - starts).max(axis=0, initial=0) <= _LONGEST)
        values, pointed, good = decimals(self.array, starts[:, short], ends[:, short], point)
        return {
            columns[short[i]]: values[:, i] if pointed[:, i].any() else values[:, i].astype(np.int64)
            for i in np.flatnonzero(good.all(axis=0)).tolist()
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
    array, quoted = np.frombuffer(data, np.uint8), delimiter != "\t" and b'"' in data
    marks = (array == _NEWLINE) | (array == ord(delimiter))
    ends = np.flatnonzero(marks | (array == _QUOTE) if quoted else marks)
    newline = array[ends] == _NEWLINE
    n = np.count_nonzero(newline)
    if quoted:
        quotes = np.cumsum(array[ends] == _QUOTE)  # up to each mark
        outside = marks[ends] & (quotes & 1 == 0)
        ends, newline, quotes = ends[outside], newline[outside], np.diff(quotes[outside], prepend=0)
    if len(ends) != n * width or not newline[width - 1 :: width].all():
        return None
    cells = Cells(data, delimiter, ends.reshape(n, width))
    if (cells.ends - cells.starts).max() > csv.field_size_limit():
        return None
    if width == 1 and np.isin(array[cells.starts], np.frombuffer(b"\n \t", np.uint8)).any():
        return None
    if quoted and not cells.unquote(quotes.reshape(n, width)):
        return None
    return cells


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
