"""Checkpoints of training runs: they are complete or absent, and damage is found when they are read.

A checkpoint is one line, `unspool checkpoint 2 <SHA-256 of the rest>`, and after it tensors in the safetensors format.
One of them, `progress`, is JSON. A checkpoint is written beside its name, forced to the disk, and renamed. Reading it
executes nothing.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..beside import beside, ordinary
from ..errors import FolderError
from ..saved import folder

_FORMAT = 2
_MAGIC = b"unspool checkpoint "


def begin(path: Path, history: Path) -> None:
    """Make the folder of a run with an empty history, and remove the checkpoint of an earlier run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(history, "w", opener=ordinary):
            pass
    except OSError as error:
        raise FolderError(
            f"{path.parent}: cannot be written ({error.strerror or error}); choose another folder"
        ) from None


def write(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write a checkpoint, in place of the one at this path if there is one.

    Raises:
        FolderError: it cannot be written. The earlier one is still there.
    """
    said = torch.frombuffer(bytearray(json.dumps(progress).encode()), dtype=torch.uint8)
    with _or_complain(path):
        apart = {**_apart(tensors), "progress": said}
        folder.make_room(sum(tensor.nbytes for tensor in apart.values()))
        data = save(apart)
        with beside(path) as new, open(new, "wb") as file:
            file.write(_MAGIC + f"{_FORMAT} {hashlib.sha256(data).hexdigest()}\n".encode())
            file.write(data)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, and without shared memory, which tied weights have."""
    apart, seen = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the progress that were written.

    Raises:
        FolderError: the checkpoint is missing, truncated or altered.
    """
    data = folder.read_file(path, "begin the run anew", most=2**63)
    head, _, rest = data[:200].partition(b"\n")
    version, _, sha256 = head.removeprefix(_MAGIC).decode("ascii", "replace").partition(" ")
    if not head.startswith(_MAGIC):
        raise FolderError(f"{path}: is not a checkpoint of this unspool; begin the run anew")
    if version != str(_FORMAT):
        raise FolderError(
            f"{path}: is a checkpoint of format {version:.20}, and this unspool reads {_FORMAT}; finish the run with "
            f"the version of unspool that began it, or begin it anew"
        )
    body = memoryview(data)[len(head) + 1 :]
    if not rest or sha256 != hashlib.sha256(body).hexdigest():
        raise FolderError(f"{path}: is truncated or altered, as its SHA-256 is not the one in it; begin the run anew")
    try:
        folder.make_room(len(body))
        tensors = load(bytes(body))
        said = tensors.pop("progress").numpy().tobytes()
        return tensors, folder.json_object(said, path, "begin the run anew")
    except MemoryError:
        raise FolderError(f"{path}: does not fit into memory; go on where there is more") from None
    except FolderError:
        raise
    except (SafetensorError, KeyError, ValueError) as error:
        raise FolderError(f"{path}: is not a checkpoint of this unspool ({error}); begin the run anew") from None


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn the errors that wrong contents of a checkpoint cause into a FolderError; they are another version's."""
    wrong = AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError
    try:
        yield
    except FolderError:
        raise
    except wrong as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise FolderError(
            f"{path}: is not a checkpoint that this unspool can go on from ({what}); finish the run with the version "
            f"of unspool that began it, or begin it anew"
        ) from None


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state: its tensors by name, and the rest, which JSON can hold."""
    state = optimiser.state_dict()
    tensors, rest = {}, {}
    for k, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{k}.{name}"] = value
            else:
                rest[f"{k}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "state": rest}


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Put an optimiser into the state that was packed."""
    state: dict[int, dict[str, Any]] = {}
    found = {name.removeprefix("optimiser."): t for name, t in tensors.items() if name.startswith("optimiser.")}
    for key, value in {**found, **rest["state"]}.items():
        k, name = key.split(".", 1)
        state.setdefault(int(k), {})[name] = value
    if len({frozenset(values) for values in state.values()}) > 1:
        raise ValueError("the optimiser's state is not that of one optimiser")
    groups = [{**group, **saved} for group, saved in zip(optimiser.param_groups, rest["groups"], strict=True)]
    for group, saved in zip(groups, rest["groups"], strict=True):
        group["params"] = saved["params"]
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def keep_lines(path: Path, lines: int, write: bool, names: Collection[str]) -> list[dict[str, Any]]:
    """The first lines of the history; with `write`, the later ones, which the checkpoint does not know, are removed.

    Each must be an object that has these names.
    """
    again = "put it back, or begin the run anew"
    found = folder.read_file(path, again).splitlines(keepends=True)
    kept = found[:lines]
    history = [folder.json_object(line, path, again) for line in kept]
    if len(kept) < lines:
        raise FolderError(f"{path}: has {len(kept)} of {lines} lines; {again}")
    for number, line in enumerate(history, 1):
        if missing := [name for name in names if name not in line]:
            raise FolderError(f"{path}: {missing[0]} is missing in line {number}; {again}")
    if write and len(found) > lines:
        with _or_complain(path), beside(path) as new:
            new.write_bytes(b"".join(kept))
    return history


def add_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the history."""
    with _or_complain(path), open(path, "a", opener=ordinary) as file:
        file.write(json.dumps(line) + "\n")


def sync(path: Path) -> None:
    """Force the history to the disk."""
    with _or_complain(path), open(path, "a", opener=ordinary) as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _or_complain(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError) as error:
        why = "there is not enough memory" if isinstance(error, MemoryError) else error.strerror or error
        raise FolderError(
            f"{path}: was not written ({why}); make room, and go on from the last checkpoint, "
            f"or begin anew if there is none yet"
        ) from None
