"""The folder of an unfinished run: DIR.run, beside the folder DIR of the network, and removed when DIR is saved."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..beside import beside
from ..errors import FolderError
from ..saved import folder

CHECKPOINT, HISTORY, _ARGUMENTS = "last.checkpoint", "history.jsonl", "run.json"
_FORMAT = 2  # of run.json; format 1 had only the arguments, one of them under another name


def check_free(out: Path, force: bool = False) -> None:
    """Raise FolderError if a network or an unfinished run is there already, unless `force` is to replace it."""
    folder.check_free(out, force)
    if (of(out) / CHECKPOINT).exists() and not force:
        raise FolderError(f"{of(out)} has an unfinished run; go on with --resume {out}, or give --force to begin anew")


def begin(out: Path, arguments: Mapping[str, Any]) -> Path:
    """Make the folder of a new run, which keeps the arguments that the run was begun with.

    Raises:
        FolderError: the folder cannot be written.
    """
    run = of(out)
    try:
        run.mkdir(parents=True, exist_ok=True)
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
    try:
        found = folder.json_object(path.read_bytes(), path)
    except OSError as error:
        raise FolderError(
            f"{path}: {error.strerror}; there is no run to go on with: begin one with --out {out}"
        ) from None
    if found.get("format") != _FORMAT or not isinstance(found.get("arguments"), dict):
        raise FolderError(
            f"{path}: was begun by another version of unspool, whose runs this one cannot read; finish it with that "
            f"version, or begin it anew with --out {out} --force"
        )
    return found["arguments"]


def end(out: Path, *, finished: bool = True) -> None:
    """Remove the folder of a finished run, or of one that has nothing to go on from."""
    if finished or not (of(out) / CHECKPOINT).exists():
        shutil.rmtree(of(out), ignore_errors=True)


def of(out: Path) -> Path:
    """The folder of the run."""
    return out.with_name(out.name + ".run")
