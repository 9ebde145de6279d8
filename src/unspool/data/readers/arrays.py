"""NumPy's files, .npy and .npz, as sequences."""

import io
import math
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from itertools import islice
from pathlib import Path

import numpy as np

from ...errors import DataError, printable, shown
from .. import npy
from ..opening import EXPANSION, most, ordinary
from ..ragged import Ragged, ends
from ..sequences import Column, Places, Sequences

_DAMAGE = (  # what zipfile raises for files that are not zip files
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
_CHECKED = 2**20  # numbers of a mapped array that are checked at a time


def read_npy(path: str | Path, *, missing: bool = False) -> Sequences:
    """One array as the column `value`: (T,) or (T, I) is one sequence, (n, T, ...) is n.

    It is mapped, not loaded, so that it may be larger than memory. A file that is cut short while it is in use ends the
    process (a bus error): write another file beside it, and rename that.

    Args:
        path: the file.
        missing: whether NaN may stand for a missing number; else there must be none.
    Raises:
        DataError: the file cannot be read, is damaged, or has objects or numbers that are not finite.
    """
    array = npy.mapped(path)
    return _sequences(path, {"value": _checked(array, str(path), missing)}, None)


def read_npz(
    path: str | Path, *, columns: Collection[str] | None = None, lengths: str | None = None, missing: bool = False
) -> Sequences:
    """The arrays of a file by name.

    With `lengths`, the name of an array (n,) of lengths that add up to N, arrays (N, ...) have one value per step, and
    arrays (n, ...) one per sequence. Without `lengths`, arrays (n, T, ...) of at least three dimensions have one value
    per step, and the others, (n,) or (n, O), one per sequence; if no array has three dimensions, all are (T,) or (T, I)
    and make one sequence.

    Args:
        path: the file.
        columns: the arrays to read; None: all.
        lengths: the name of the array of lengths.
        missing: whether NaN may stand for a missing number; else there must be none.
    Raises:
        DataError: the file cannot be read, is damaged, or unpacks to much more than its size; or an array has objects,
            numbers that are not finite, or a shape that does not fit the others.
    """
    try:
        with ordinary(path) as (file, size), zipfile.ZipFile(file) as archive:
            arrays = _members(archive, str(path), size, columns, lengths)
    except DataError:
        raise
    except _DAMAGE as error:
        reason = printable(f"{getattr(error, 'strerror', None) or error!s:.120}")
        raise DataError(f"{path}: cannot be read ({reason}); copy it again") from None
    counts = None
    if lengths is not None:
        counts = arrays.pop(lengths)
        if (
            counts.ndim != 1
            or counts.dtype.kind not in "iu"
            or not len(counts)
            or not 1 <= counts.min() <= counts.max() < 2**62 // len(counts)
        ):
            raise DataError(f"{path}: array {lengths!r} must have integers of at least 1, (n,); got {_what(counts)}")
    place = f"{path}, array"
    checked = {n: _checked(array, f"{place} {printable(repr(n))}", missing) for n, array in arrays.items()}
    return _sequences(path, checked, counts)


def _members(
    archive: zipfile.ZipFile, path: str, size: int, columns: Collection[str] | None, lengths: str | None
) -> dict[str, np.ndarray]:
    members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
    names = printable(", ".join(islice(members, 100))[:200]) or "none"
    asked: list[str] = [*(members if columns is None else columns), *([] if lengths is None else [lengths])]
    wanted = list(dict.fromkeys(asked))
    often = Counter(i.filename.removesuffix(".npy") for i in archive.infolist())
    if not members or any(often[name] > 1 for name in wanted):
        raise DataError(f"{path}: expected arrays with different names; got {names}")
    for name in wanted:
        if name not in members:
            raise DataError(f"{path}: there is no array {shown(name)}; there are {names}")
    if sum(members[name].file_size for name in wanted) > most(size):
        raise DataError(f"{path}: unpacks to more than {EXPANSION} times its size; if that is right, save it as .npy")
    arrays = {}
    for name in wanted:
        with archive.open(members[name]) as member:
            data = member.read()  # never more than the size counted above, and zipfile compares the checksum
        head = npy.header(io.BytesIO(data), len(data), f"{path}, array {printable(repr(name))}")
        array = np.frombuffer(data, head.dtype, math.prod(head.shape), head.start)
        arrays[name] = array.reshape(head.shape, order="F" if head.fortran else "C")
    return arrays


def _sequences(path: str | Path, arrays: dict[str, np.ndarray], lengths: np.ndarray | None) -> Sequences:
    if not arrays:
        raise DataError(f"{path}: there is no array except the one of the lengths; expected another")
    several = [a for a in arrays.values() if a.ndim >= 3]
    columns: dict[str, Column] = {}
    if lengths is not None:
        offsets, n = ends(lengths), len(lengths)
    elif several:
        n, T = several[0].shape[:2]
        offsets = np.arange(n + 1) * T
    else:
        n, offsets = 1, np.array([0, len(next(iter(arrays.values())))])
    for name, array in arrays.items():
        if (
            lengths is None
            and array.ndim >= 3
            and array.shape[0] == n
            and array.shape[0] * array.shape[1] == offsets[-1]
        ):
            columns[name] = Ragged(array.reshape(-1, *array.shape[2:]), offsets)
        elif (lengths is not None or not several) and len(array) == offsets[-1]:
            columns[name] = Ragged(array, offsets)
        elif (lengths is not None or several) and len(array) == n and (array.ndim < 3 or lengths is not None):
            columns[name] = array
        else:
            raise DataError(
                f"{path}: array {name!r} must be for {n} sequences of {offsets[-1]} steps; got {_what(array)}"
            )
    return Sequences(columns, Places.of(path, np.arange(1, n + 1), "sequence"))


def _checked(array: np.ndarray, name: str, missing: bool) -> np.ndarray:
    """The array, if all its numbers are finite; text becomes str in an array of objects."""
    if not array.size or not array.ndim:
        raise DataError(f"{name}: expected an array with at least one dimension and one element; got {_what(array)}")
    if array.dtype.kind == "U":
        codes = np.ascontiguousarray(array).view(f"{array.dtype.byteorder}u4").reshape(array.size, -1)
        wrong = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))
        if wrong.any():
            place = tuple(map(int, np.unravel_index(np.argmax(wrong.any(axis=1)), array.shape)))
            raise DataError(f"{name}, at {place}: expected text; got 0x{codes[wrong][0]:x}, which is no character")
        return array.astype(object)
    if array.dtype.kind == "M" and np.isnat(array).any():
        raise DataError(f"{name}: expected a date everywhere; got NaT")
    if array.dtype.kind == "f":
        for start in range(0, len(array), step := max(1, _CHECKED // max(1, array[:1].size))):
            part = array[start : start + step]
            wrong = np.isinf(part) if missing else ~np.isfinite(part)
            if wrong.any():
                at = np.argwhere(wrong)[0]
                place = (int(at[0]) + start, *map(int, at[1:]))
                hint = ": give missing=True if it stands for a missing number" if np.isnan(part[tuple(at)]) else ""
                raise DataError(f"{name}, at {place}: expected a finite number; got {part[tuple(at)]}{hint}")
    return array


def _what(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"
