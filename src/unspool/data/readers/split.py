"""The cells of many plain lines at once, found by the compiled core. What is not plain needs other code."""

import csv
from collections.abc import Sequence

import numpy as np

from ... import _native


class Cells:
    """The cells of lines, and what they say. A mark that is not ASCII is in none of the numbers that are found."""

    def __init__(self, table: _native.Table):
        self.table, self.rows = table, table.rows

    def numbers(self, column: int, point: str) -> np.ndarray | None:
        """The numbers of a column: int64 if all are integers, else float64; None if one needs more care."""
        return _array(self.table.numbers(column, _ascii(point)))

    def steps(self, columns: Sequence[int], point: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The numbers of each row in these columns, without empty cells at its end, as (n,) lengths and all values.

        None if one needs more care, or a row has none.
        """
        lengths, values = self.table.steps(columns, _ascii(point)) or (b"", None)
        found = _array(values)
        return None if found is None else (np.frombuffer(lengths, np.int64), found)

    def texts(self, column: int) -> tuple[list[str], np.ndarray]:
        """The different texts of a column, and which one each row has."""
        texts, codes = self.table.texts(column)
        return texts, np.frombuffer(codes, np.int64)

    def column(self, column: int) -> list[str]:
        texts, codes = self.texts(column)
        return [texts[i] for i in codes.tolist()]


def split(data: bytes, delimiter: str, width: int) -> Cells | None:
    """The cells of lines that all have so many, and are not blank.

    None if lines need more care: with a newline in quotation marks, damaged text, a return that ends no line.
    """
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    if not _is_text(data) or not delimiter.isascii():
        return None
    # Longer cells are refused by the module csv.
    table = _native.split(data, delimiter, delimiter != "\t", width, max(csv.field_size_limit(), 0))
    return None if table is None else Cells(table)


def _array(found: tuple[str, bytes] | None) -> np.ndarray | None:
    return None if found is None else np.frombuffer(found[1], found[0])


def _ascii(mark: str) -> str:
    return mark if mark.isascii() else "\0"


def _is_text(data: bytes) -> bool:
    if b"\r" in data or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
