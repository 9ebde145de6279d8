"""Files and folders that are complete or absent: they are written beside their final name, and then renamed."""

import glob
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder at; when the block ends without an error it is renamed to `path`.

        with beside(path) as new:
            new.write_bytes(data)

    The rename replaces what was at `path`. What was written is forced to the disk before the rename, and the new name
    after it. If the block raises, nothing of it is left, and what was at `path` is still there. What a killed process
    left behind is removed first.

    Raises:
        OSError: the file or the folder cannot be written.
    """
    path = path.absolute()
    _clear(path)
    with TemporaryDirectory(prefix=f"{_prefix(path)}{os.getpid()}-", dir=path.parent) as place:
        new, old = Path(place, "new"), Path(place, "old")
        yield new
        for file in [new] if new.is_file() else sorted(p for p in new.rglob("*") if p.is_file()):
            _force(file)
        if new.is_dir() and path.exists():  # a rename does not replace a folder that is not empty
            os.rename(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
        _force(path.parent)


def _prefix(path: Path) -> str:
    """The beginning of the names that this machine uses beside a path; the number of the process follows."""
    return f".{path.name}-{socket.gethostname()}."


def _clear(path: Path) -> None:
    """Remove what processes of this machine that no longer run left beside a path."""
    if os.name != "posix":  # elsewhere no signal can test whether a process runs
        return
    for left in path.parent.glob(glob.escape(_prefix(path)) + "*"):
        number = left.name.removeprefix(_prefix(path)).partition("-")[0]
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)


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
