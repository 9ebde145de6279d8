"""NumPy's array files. What a header declares is checked against the size of the file."""

import math
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, NamedTuple

import numpy as np

from ..errors import DataError, printable
from .opening import ordinary

# What NumPy raises for other files, and its warnings, where they are errors.
_DAMAGE = (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError, Warning)
_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """What the header of an array file declares; `start` is the byte at which the numbers begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int


def header(file: BinaryIO, size: int, name: str) -> Header:
    """The header of an array file of `size` bytes, in which exactly the declared numbers follow the header.

    Raises:
        DataError: the file is not an array of booleans, numbers, dates or strings, or has not the size declared.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _VERSIONS:
            raise DataError(f"{name}: expected format version 1.0 or 2.0; got {version[0]}.{version[1]}")
        shape, fortran, dtype = _VERSIONS[version](file)
    except DataError:
        raise
    except _DAMAGE as error:
        reason = printable(f"{error!s:.120}")
        raise DataError(f"{name}: is not an array file ({reason}); write it with numpy.save") from None
    start = file.tell()
    if dtype.hasobject or dtype.kind not in "biufUM" or not dtype.itemsize:
        raise DataError(f"{name}: expected booleans, numbers, dates or strings; got {str(dtype)[:60]}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - start:
        raise DataError(
            f"{name}: an array of shape {str(shape)[:60]} and {dtype} should have "
            f"{math.prod(shape) * dtype.itemsize} bytes; the file has {size - start}: copy it again"
        )
    return Header(shape, dtype, fortran, start)


def mapped(path: str | Path) -> np.ndarray:
    """An array file, mapped into memory, read-only.

    Raises:
        DataError: it is not an array file, or it cannot be read.
    """
    with ordinary(path) as (file, size):
        head = header(file, size, str(path))
        if not math.prod(head.shape):
            return np.empty(head.shape, head.dtype)
        return np.memmap(file, head.dtype, "r", head.start, head.shape, "F" if head.fortran else "C")
