"""The folder of an unfinished run: DIR.run, beside the folder DIR of the network, and removed when DIR is saved."""

import errno
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..beside import beside, ordinary
from ..errors import FolderError
from ..saved import folder

CHECKPOINT, HISTORY, _ARGUMENTS, _LOCK = "last.checkpoint", "history.jsonl", "run.json", "lock"
_HELD: set[tuple[Path, int]] = set()  # the folders of runs that threads of this process hold
_FORMAT = 2  # of run.json; format 1 had only the arguments, one of them under another name


def check_free(out: Path, force: bool = False) -> None:
    """Raise FolderError if a network or an unfinished run is there already, unless `force` is to replace it."""
    folder.check_free(out, force)
    if (of(out) / CHECKPOINT).exists() and not force:
        raise FolderError(f"{of(out)} has an unfinished run; go on with --resume {out}, or give --force to begin anew")


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Make the folder of a run if there is none, and let nobody but this thread use it meanwhile.

    A lock that the system takes away when the process ends, however it ends, is on a file in the folder.

    Raises:
        FolderError: another run holds it, or it cannot be made.
    """
    mine = run.absolute(), threading.get_ident()
    if mine in _HELD:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        if run.is_symlink():
            raise OSError(errno.ELOOP, "it is a link")
        lock = _locked(run)
    except OSError as error:
        raise FolderError(f"{run}: cannot be written ({error.strerror or error}); choose another folder") from None
    _HELD.add(mine)
    try:
        yield
    finally:
        _HELD.remove(mine)
        with suppress(OSError):  # not everywhere can an open file be removed
            (run / _LOCK).unlink()
        os.close(lock)


def _locked(run: Path) -> int:
    """A descriptor of the lock's file, which is locked as long as it is open."""
    path = run / _LOCK
    while True:
        lock = ordinary(path, os.O_RDWR | os.O_CREAT)
        if not _lock(lock):
            os.lseek(lock, 0, os.SEEK_SET)
            holder = os.read(lock, 200).decode(errors="replace") or "another process"
            os.close(lock)
            raise FolderError(f"{run}: is in use by {holder}; wait for its end, or choose another folder")
        if path.exists() and os.path.samestat(os.fstat(lock), os.stat(path)):
            break
        os.close(lock)  # its holder has removed it, and then let go
    os.lseek(lock, 0, os.SEEK_SET)
    os.truncate(lock, 0)
    os.write(lock, f"process {os.getpid()} of {socket.gethostname()}".encode())
    return lock


def _lock(descriptor: int) -> bool:
    """Lock an open file, and return whether nobody else has; where a file system has no locks, nobody has."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(descriptor, 2**20, os.SEEK_SET)  # what is locked cannot be read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return True


def begin(out: Path, arguments: Mapping[str, Any]) -> Path:
    """Keep the arguments that a new run is begun with in its folder.

    Raises:
        FolderError: the folder cannot be written.
    """
    run = of(out)
    try:
        with beside(run / _ARGUMENTS) as new:
            new.write_text(json.dumps({"format": _FORMAT, "arguments": dict(arguments)}, indent=2))
    except OSError as error:
        raise FolderError(f"{run}: cannot be written ({error.strerror}); choose another folder") from None
    return run


def arguments(out: Path) -> dict[str, Any]:
    """The arguments that the unfinished run of this network was begun with.

    Raises:
        FolderError: there is no unfinished run, or another version of unspool began it.
    """
    path = of(out) / _ARGUMENTS
    again = f"there is no run to go on with: begin one with --out {out}"
    found = folder.json_object(folder.read_file(path, again), path, again)
    if found.get("format") != _FORMAT or not isinstance(found.get("arguments"), dict):
        raise FolderError(
            f"{path}: was begun by another version of unspool, whose runs this one cannot read; finish it with that "
            f"version, or begin it anew with --out {out} --force"
        )
    if not isinstance(found["arguments"].get("file"), str):
        raise FolderError(f"{path}: must have 'file', the name of the data, among its arguments; {again}")
    return found["arguments"]


def end(out: Path, *, finished: bool = True) -> None:
    """Remove the folder of a finished run, or of one that has nothing to go on from."""
    if finished or not (of(out) / CHECKPOINT).exists():
        shutil.rmtree(of(out), ignore_errors=True)


def of(out: Path) -> Path:
    """The folder of the run."""
    return out.with_name(out.name + ".run")
