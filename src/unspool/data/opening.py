"""How a file of data is opened, and how much of the machine's memory it may take."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError, UnspoolError, printable

EXPANSION = 200  # a compressed file may unpack to this many times its size,
_SHARE = 64  # and always to the machine's memory divided by this, which leaves room for the columns
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


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
