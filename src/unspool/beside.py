"""Files and folders that are complete or absent: they are written beside their final name, and then renamed.

And files that are nothing else than files: `ordinary` opens them.
"""

import ctypes
import errno
import glob
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_NOT_ORDINARY = "it is not an ordinary file"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder at; when the block ends without an error it is renamed to `path`.

        with beside(path) as new:
            new.write_bytes(data)

    The rename replaces what was at `path`. What was written is forced to the disk before the rename, and the new name
    after it. If the block raises, nothing of it is left, and what was at `path` is still there. What a killed process
    left behind is put back or removed first, as `recover` says.

    Raises:
        OSError: the file or the folder cannot be written, or a file would replace what is no ordinary one.
    """
    path = path.absolute()
    recover(path)
    with TemporaryDirectory(prefix=f"{_prefix(path)}{os.getpid()}-", dir=path.parent) as place:
        new, old = Path(place, "new"), Path(place, "old")
        yield new
        for file in [new] if new.is_file() else sorted(p for p in new.rglob("*") if p.is_file()):
            _force(file)
        _replace(new, path, old)
        _force(path.parent)


def recover(path: Path) -> None:
    """Clear away what processes of this machine that no longer run left beside a path.

    A folder that was moved aside and not yet replaced is put back.
    """
    if os.name != "posix":  # elsewhere no signal can test whether a process runs
        return
    path = path.absolute()
    for left in path.parent.glob(glob.escape(_prefix(path)) + "*"):
        number = left.name.removeprefix(_prefix(path)).partition("-")[0]
        if number.isdecimal() and not _lives(int(number)):
            if (left / "old").is_dir() and not os.path.lexists(path):
                try:
                    os.rename(left / "old", path)
                except OSError:  # it stays where it is
                    continue
            shutil.rmtree(left, ignore_errors=True)


def ordinary(path: str | Path, flags: int, links: bool = False) -> int:
    """A descriptor of an ordinary file; it can be an `opener` of `open`.

    Nothing is waited for, as the writer of a pipe would be, and a link is followed only with `links`.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device, a folder or a link.
    """
    flags |= getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise OSError(error.errno, _NOT_ORDINARY, str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _NOT_ORDINARY, str(path))
    return descriptor


def _replace(new: Path, path: Path, old: Path) -> None:
    """Give `new` its final name; a folder that was there is moved to `new` or to `old`."""
    if new.is_file() and os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, _NOT_ORDINARY, str(path))
    if new.is_dir() and path.exists():  # a rename does not replace a folder that is not empty
        if _exchange(new, path):
            return
        os.rename(path, old)  # for a moment there is none; `recover` puts it back
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.rename(old, path)
        raise


def _exchange(new: Path, path: Path) -> bool:
    """Let two names change places in one step, where the system and the file system can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return renameat2 is not None and renameat2(_HERE, os.fsencode(new), _HERE, os.fsencode(path), _EXCHANGE) == 0


def _prefix(path: Path) -> str:
    """The beginning of the names that this machine uses beside a path; the number of the process follows."""
    return f".{path.name}-{socket.gethostname()}."


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # the process is another user's
    return True


def _force(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk; Windows, which cannot open folders, does not force names."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
