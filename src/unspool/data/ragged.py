"""Sequences of unequal lengths, without padding, in memory or in a file larger than memory."""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..beside import beside
from ..errors import DataError, UnspoolError, printable
from . import npy
from .opening import empty, ordinary

_VALUES, _OFFSETS, _SUMS = "values.npy", "offsets.npy", "sums.json"
_BLOCK = 2**20  # bytes that are written or checksummed at a time
_PART = 2**22  # bytes of values that are copied, or looked at, at a time


class Ragged:
    """Sequences stored end to end: sequence i is values[offsets[i] : offsets[i + 1]].

    Args:
        values: (N, ...), an array or a memory map.
        offsets: int64, (n + 1,), from 0 to N, never decreasing.

    >>> r = Ragged.of([[1, 2, 3], [4]])
    >>> len(r), r[1].tolist(), r.lengths.tolist(), r.take([1, 0, 1]).values.tolist()
    (2, [4], [3, 1], [4, 1, 2, 3, 4])
    """

    def __init__(self, values: np.ndarray, offsets: np.ndarray):
        offsets = np.asarray(offsets)
        whole = offsets.ndim == 1 and offsets.size and offsets.dtype.kind in "iu"
        if not whole or values.ndim < 1 or offsets[0] != 0 or offsets[-1] != len(values) or _falls(offsets):
            raise UnspoolError(
                f"offsets must be integers (n+1,) from 0 to N={len(values) if values.ndim else 0}, never decreasing; "
                f"got {offsets.dtype} of shape {offsets.shape}" + (f", {offsets!s:.60}" if whole else "")
            )
        self.values, self.offsets = values, offsets.astype(np.int64, copy=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """Sequence i, as a view."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"sequence must be in {-len(self)}..{len(self) - 1}; got {i}")
        i %= len(self)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        return f"Ragged({len(self)} sequences, values {self.values.dtype} of shape {self.values.shape})"

    @property
    def lengths(self) -> np.ndarray:
        """The steps of each sequence, int64, (n,)."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Ragged":
        """These sequences, in this order, copied into memory; or into a file, if they are large and lie in one."""
        indices = np.asarray(indices, np.int64)
        lengths = self.lengths[indices]
        taken = ends(lengths)
        shift = self.offsets[:-1][indices] - taken[:-1]
        values = empty((int(taken[-1]), *self.values.shape[1:]), self.values.dtype, self.values)
        for first, last in pairwise(_cuts(taken, self.values)):
            steps = np.arange(taken[first], taken[last]) + np.repeat(shift[first:last], lengths[first:last])
            values[taken[first] : taken[last]] = self.values[steps]
        return Ragged(values, taken)

    def parts(self) -> Iterator["Ragged"]:
        """All sequences, some MiB of them at a time, as views."""
        for first, last in pairwise(_cuts(self.offsets, self.values)):
            begin, end = self.offsets[first], self.offsets[last]
            yield Ragged(self.values[begin:end], self.offsets[first : last + 1] - begin)

    @classmethod
    def of(cls, sequences: Sequence) -> "Ragged":
        """From a list of arrays (T, ...), which differ in T only."""
        arrays = [np.asarray(s) for s in sequences]
        for i, array in enumerate(arrays):
            if array.ndim < 1 or array.shape[1:] != arrays[0].shape[1:] or array.dtype.kind != arrays[0].dtype.kind:
                raise UnspoolError(
                    f"sequences must be arrays (T, ...) that differ in T only; the first is {arrays[0].dtype} of shape "
                    f"{arrays[0].shape}, but got {array.dtype} of shape {array.shape} for sequence {i}"
                )
        values = np.concatenate(arrays) if arrays else np.empty(0)
        return cls(values, ends(np.array([len(a) for a in arrays], np.int64)))

    def save(self, path: str | Path) -> None:
        """Write the values and the offsets as .npy files into a folder, which appears only when it is complete.

        Raises:
            DataError: the name is taken, or the folder cannot be written; then nothing is left of it.
        """
        values = self.values
        with _writing(Path(path)) as writer:
            writer.begin(values.dtype, values.shape[1:])
            step = max(1, _BLOCK // max(1, values[:1].nbytes))
            for start in range(0, len(values), step):
                writer.write(values[start : start + step])
            writer.offsets = self.offsets

    @classmethod
    @contextmanager
    def build(cls, path: str | Path) -> Iterator[Callable[[np.ndarray], None]]:
        """Write more than fits into memory, one sequence at a time: `with Ragged.build(path) as append: append(array)`.

        The first array sets the dtype, and the shape after T, of all. The folder appears at the end, when it is
        complete; after an error it does not appear.

        Raises:
            DataError: the name is taken, the folder cannot be written, or nothing was appended.
        """
        with _writing(Path(path)) as writer:
            lengths = []

            def append(sequence: np.ndarray) -> None:
                sequence = np.asarray(sequence)
                writer.begin(sequence.dtype, sequence.shape[1:])
                writer.write(sequence)
                lengths.append(len(sequence))

            yield append
            if not lengths:
                raise DataError(f"{path}: no sequence was appended, so there is nothing to write")
            writer.offsets = ends(np.array(lengths, np.int64))

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> "Ragged":
        """Open what `save` or `build` wrote, with its values mapped into memory.

        Args:
            path: the folder.
            verify: read all of it once and compare the checksums; False checks sizes, types and offsets only.
        Raises:
            DataError: the folder is missing or damaged.
        """
        path = Path(path)
        sums = _sums(path)
        for name in (_VALUES, _OFFSETS):
            if verify and _crc32(path / name) != sums[name]:
                raise DataError(f"{path / name}: is damaged (its checksum is not the one that was written)")
        values, offsets = npy.mapped(path / _VALUES), npy.mapped(path / _OFFSETS)
        try:
            return cls(values, np.array(offsets))
        except UnspoolError as error:
            raise DataError(f"{path}: is damaged ({printable(str(error))})") from None


def ends(lengths: np.ndarray) -> np.ndarray:
    """The offsets of sequences of these lengths."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _cuts(offsets: np.ndarray, values: np.ndarray) -> list[int]:
    """Numbers of sequences, from the first to one after the last, with some MiB of such values between them."""
    steps = max(1, _PART // max(1, values[:1].nbytes))
    cuts = np.searchsorted(offsets, np.arange(0, offsets[-1], steps), "left")
    return np.unique([0, *cuts, len(offsets) - 1]).tolist()


class _Writer:
    """Writes the file of values; its header is written again when the number of values is known."""

    def __init__(self, path: Path, folder: Path):
        self.path, self.folder = path, folder
        # Closed by _writing.
        with _refused(path):
            self.file = open(folder / _VALUES, "xb")  # noqa: SIM115
        self.like: tuple[np.dtype, tuple[int, ...]] | None = None
        self.count, self.offsets = 0, np.zeros(1, np.int64)

    def begin(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """Set the type, and the shape after T, at the first values; later values must have the same."""
        if self.like is None:
            if dtype.hasobject:
                raise DataError(f"{self.path}: text and other objects are not saved; number them first")
            self.like = dtype, shape
            self._header()
        elif self.like != (dtype, shape):
            raise UnspoolError(
                f"sequence must be {self.like[0]} of shape {('T', *self.like[1])}, as the first one is; "
                f"got {dtype} of shape {('T', *shape)}"
            )

    def write(self, values: np.ndarray) -> None:
        with _refused(self.path):
            self.file.write(np.ascontiguousarray(values).tobytes())
        self.count += len(values)

    def finish(self) -> None:
        """Write the final header, the offsets and the checksums."""
        with _refused(self.path):
            self.file.seek(0)
            self._header()
            self.file.close()
            np.save(self.folder / _OFFSETS, self.offsets, allow_pickle=False)
            sums = {name: _crc32(self.folder / name) for name in (_VALUES, _OFFSETS)}
            (self.folder / _SUMS).write_text(json.dumps(sums), encoding="utf-8")

    def _header(self) -> None:
        """Write the header for the values so far. NumPy leaves room in it for the first number to grow."""
        dtype, shape = self.like or (np.dtype(float), ())
        description = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.count, *shape)}
        np.lib.format.write_array_header_1_0(self.file, header)


@contextmanager
def _writing(path: Path) -> Iterator[_Writer]:
    """A writer into a temporary folder beside `path`, which is renamed to `path` if there is no error."""
    path = path.absolute()
    if path.exists():
        raise DataError(f"{path} exists; choose another name")
    theirs = None  # an error of the code that supplies the sequences, which has nothing to do with this path
    try:
        with beside(path) as folder:
            folder.mkdir()
            writer = _Writer(path, folder)
            with writer.file:
                try:
                    yield writer
                except OSError as error:
                    theirs = error
                    raise
                writer.finish()
    except OSError as error:
        if error is theirs:
            raise
        with _refused(path):
            raise


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: was not written ({error.strerror or error}); make room or choose another name"
        ) from None


def _falls(offsets: np.ndarray) -> bool:
    return bool((offsets[1:] < offsets[:-1]).any())


def _sums(path: Path) -> dict[str, int]:
    if not (path / _SUMS).exists():
        raise DataError(f"{path}: is not a folder of saved sequences; give one that Ragged.save wrote")
    with ordinary(path / _SUMS) as (file, _):
        data = file.read(1000)
    try:
        sums = json.loads(data)
        if isinstance(sums, dict) and {_VALUES, _OFFSETS} == set(sums):
            return sums
    except (ValueError, RecursionError):
        pass
    raise DataError(f"{path / _SUMS}: is damaged (expected the checksums of {_VALUES} and {_OFFSETS})")


def _crc32(path: Path) -> int:
    total = 0
    with ordinary(path) as (file, _):
        while block := file.read(_BLOCK):
            total = zlib.crc32(block, total)
    return total
