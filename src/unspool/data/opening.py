"""How a file of data is opened, and how much of the machine's memory it may take."""

import errno
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, UnspoolError, printable

EXPANSION = 200  # a compressed file may unpack to this many times its size,
_SHARE = 64  # and always to the machine's memory divided by this, which leaves room for the columns
IN_MEMORY = 2**26  # bytes of arrays that are read side by side; those that have more together lie in files
_CONTAINER = "/sys/fs/cgroup/memory.max"


@contextmanager
def ordinary(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """An ordinary file, open for reading, and its size. A pipe or a device is refused, and never waited for.

    Raises:
        DataError: the file cannot be opened or read, or is not an ordinary one.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path}: is not an ordinary file; write the data to one")
            yield file, status.st_size
    except UnspoolError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = printable(f"{getattr(error, 'strerror', None) or error!s:.120}")
        raise DataError(f"{path}: cannot be read ({reason})") from None


def most(size: int) -> int:
    """The bytes to which a compressed file of this size may unpack."""
    return max(EXPANSION * size, memory() // _SHARE)


def memory() -> int:
    """The bytes of memory that this process may use; 4 GiB where that is not known."""
    total = 2**32
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open(_CONTAINER, encoding="ascii") as file:
            total = min(total, int(file.read()))
    except (OSError, ValueError):
        pass  # there is no such limit
    return total


class Room:
    """Room for an array that grows, (N, ...), in a file that nobody else can see, and that goes when the array does.

    The system keeps in memory what is in use of it. The file is where the module `tempfile` puts files, as TMPDIR says.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.file = tempfile.TemporaryFile()  # noqa: SIM115, as it is open as long as the array
        self.nbytes = 0

    def __del__(self) -> None:
        self.file.close()

    def resized(self, size: int) -> np.ndarray:
        """The array with this N, whose values are those that it had."""
        nbytes = size * math.prod(self.shape) * self.dtype.itemsize
        try:
            os.ftruncate(self.file.fileno(), nbytes)
            _reserve(self.file.fileno(), self.nbytes, nbytes)
        except OSError as error:
            place = tempfile.gettempdir()
            raise DataError(
                f"{place}: has no room for {nbytes:,} bytes of data ({error.strerror}); set TMPDIR to another place"
            ) from None
        self.nbytes = nbytes
        if not nbytes:
            return np.empty((size, *self.shape), self.dtype)
        return np.memmap(self.file, self.dtype, "r+", shape=(size, *self.shape))  # pyright: ignore


def empty(shape: tuple[int, ...], dtype: np.dtype, source: np.ndarray) -> np.ndarray:
    """An array whose values are not set: in a file if it is large, and so does its source lie; else in memory."""
    large = math.prod(shape) * np.dtype(dtype).itemsize > IN_MEMORY
    if not large or np.dtype(dtype).hasobject or not in_file(source):
        return np.empty(shape, dtype)
    return Room(shape[1:], dtype).resized(shape[0])


def in_file(array: Any) -> bool:
    """Whether the values of an array lie in a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def _reserve(file: int, begin: int, end: int) -> None:
    """Take the room on the disk between two bytes of a file, as a process that writes where there is none is killed."""
    if begin < end and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, begin, end - begin)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # there are file systems that cannot do it
                raise


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
