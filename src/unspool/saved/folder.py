"""The folder of a trained network. It is complete or absent, and reading it executes nothing.

config.json           format version, task, parameters, preprocessing, network, SHA-256 of the files below
model.safetensors     the weights
vocabulary.json       what the tokens are, where there are tokens
metrics.json          how good the network is, beside the baseline
history.jsonl         the history of the training run
README.md             a model card for people to read

A folder may have more than the one network that `network` in config.json describes: `parts` there has, by name, the
configuration of a further network; or an empty object, if the part is arrays that the task itself reads, as a table of
words. The weights of a part have names that begin with its own and a point, as in `characters.head.bias`.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from ..beside import beside, ordinary, recover
from ..errors import FolderError

FORMAT = 2  # format 1 had only language models, with fewer options, whose meaning is unchanged
# Bytes that a file may have; weights have no bound, and the history of a long run has one that it cannot reach.
_LARGEST = {"config.json": 2**20, "history.jsonl": 2**32, "model.safetensors": 2**63}
_LARGEST_OTHER = 2**26
_DEEPEST = 32  # objects and lists in one another


class Saved(NamedTuple):
    """What a folder holds: config.json, the weights by name, and the other files that were requested.

    A weight is float32 or, if packed, uint16 with the bits of bfloat16, or int8 with a float32 array `<name>.scale`.
    """

    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    files: dict[str, bytes]
    sha256: str  # of model.safetensors


def check_free(path: str | Path, force: bool = False) -> None:
    """Raise FolderError unless a network can be saved at this path; this is to be known before one is trained."""
    path = Path(path).absolute()
    recover(path)
    if path.is_dir() and any(path.iterdir()):
        if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
            raise FolderError(f"{path} exists and is not a saved network; choose another folder")
        if not force:
            raise FolderError(f"{path} exists; choose another folder, or give force to replace it")
    elif path.exists() and not path.is_dir():
        raise FolderError(f"{path} is a file; choose a folder that does not exist")
    above = next(p for p in path.parents if p.exists())
    try:
        TemporaryDirectory(prefix=f".{path.name}-", dir=above).cleanup()
    except OSError as error:
        raise FolderError(
            f"{path} cannot be made in {above} ({error.strerror or error}); choose another folder"
        ) from None


def write(
    path: str | Path,
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    files: Mapping[str, str],
    *,
    force: bool = False,
) -> None:
    """Save a network. The folder is written beside its final name and then renamed.

    Args:
        path: the folder.
        config: the contents of config.json, to which `format` and `sha256` are added.
        weights: the weights by name.
        files: the contents of further text files by name.
        force: replace a network that was saved there.
    Raises:
        FolderError: the path is taken, or the folder cannot be written. What was there is still there.
    """
    check_free(path, force)
    path = Path(path).absolute()
    try:
        make_room(sum(w.nbytes for w in weights.values()))
        contents = {"model.safetensors": safetensors.save(dict(weights))}
        contents |= {name: text.encode() for name, text in files.items()}
        sums = {name: _sha256(contents[name]) for name in ("model.safetensors", "vocabulary.json") if name in contents}
        config = {"format": FORMAT, **config, "sha256": sums}
        contents["config.json"] = json.dumps(config, indent=2, default=plain).encode()
        for name, data in contents.items():
            check_size(name, len(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as new:
            new.mkdir()
            for name, data in contents.items():
                (new / name).write_bytes(data)
    except OSError as error:
        raise FolderError(
            f"{path} was not written ({error.strerror or error}), and nothing was left there; "
            f"make room or choose another folder"
        ) from None
    except MemoryError:
        raise FolderError(f"{path} was not written (there is not enough memory), and nothing was left there") from None


def check_size(name: str, size: int) -> None:
    """Raise FolderError if a file of a folder would be too large to be read again."""
    most = _LARGEST.get(name, _LARGEST_OTHER)
    if size > most:
        raise FolderError(f"{name} would have {size} bytes, and may have {most}; make what it is to hold smaller")


def make_room(size: int) -> None:
    """Raise MemoryError unless there is memory to save or load weights of so many bytes.

    safetensors makes two copies of them, or three in its earlier versions, and aborts the process where it cannot.
    """
    np.empty(3 * size + 2**24, np.uint8)


def read(
    path: str | Path, task: str | None = None, files: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Saved:
    """Read a network that `write` saved.

    Args:
        path: the folder.
        task: the task that the network must have been trained for; None: any.
        files: further files to read.
        optional: files to read if they exist.
    Raises:
        FolderError: a file is missing, damaged, of another task, or of a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        recover(path)
    if not path.is_dir():
        raise FolderError(f"{path}: no such folder; give the folder of a saved network")
    config = json_object(read_file(path / "config.json", links=True), path / "config.json")
    version, sums = config.get("format"), config.get("sha256")
    if type(version) is not int or version < 1 or not isinstance(sums, dict):
        raise FolderError(f"{path / 'config.json'}: must have a format number and checksums; save the network again")
    if version > FORMAT:
        raise FolderError(f"{path}: has format {version}, and this unspool reads {FORMAT}; install a newer unspool")
    if task is not None and config.get("task") != task:
        raise FolderError(f"{path}: was saved by the task {config.get('task')!r:.40}; a {task} is needed here")
    there = [name for name in optional if (path / name).is_file()]
    contents = {name: read_file(path / name, links=True) for name in ("model.safetensors", *files, *there)}
    for name, data in contents.items():
        if name in sums and sums[name] != _sha256(data):
            raise FolderError(f"{path / name}: is damaged, as its SHA-256 is not the one in config.json; save it again")
    weights = contents.pop("model.safetensors")
    return Saved(config, _weights(weights, path / "model.safetensors"), contents, _sha256(weights))


def part(saved: Saved, name: str = "") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration and the weights of one network of a folder, as if it were alone; without a name the main one.

    Raises:
        FolderError: the folder's parts are not as described above, or it has none of this name.
    """
    parts = saved.config.get("parts", {})
    if not isinstance(parts, dict) or not all(isinstance(one, dict) for one in parts.values()):
        raise FolderError("config.json must have parts that are objects by name; save the network again")
    if name and name not in parts:
        raise FolderError(f"config.json has no part {name!r:.40}; save the network again")
    config = {k: v for k, v in saved.config.items() if k != "parts"}
    if not name:
        return config, {k: w for k, w in saved.weights.items() if k.partition(".")[0] not in parts}
    weights = {k[len(name) + 1 :]: w for k, w in saved.weights.items() if k.startswith(f"{name}.")}
    return config | {"network": parts[name]}, weights


@contextmanager
def read_as(path: str | Path, task: str) -> Iterator[None]:
    """Turn the errors that wrong contents of a folder's files cause into a FolderError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise FolderError(f"{path}: is not a saved {task.replace('_', ' ')} ({what}); save it again") from None


def json_object(data: bytes, name: str | Path, again: str = "save the network again") -> dict[str, Any]:
    """The JSON object that a file of this name holds, with strings that can be written again.

    Raises:
        FolderError: it does not hold one; `again` says what to do.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once)
        _check_depth(value)
        if b"\\u" in data:  # half of a pair is no character, and nothing can print it
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise FolderError(f"{name}: is not JSON (it has what is no character of Unicode); {again}") from None
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{name}: is not JSON ({error}); {again}") from None
    if not isinstance(value, dict):
        raise FolderError(f"{name}: must be a JSON object; {again}")
    return value


def _check_depth(value: Any) -> None:
    inner = [value]
    for _ in range(_DEEPEST + 1):
        containers = [part for part in inner if isinstance(part, dict | list)]
        inner = [part for one in containers for part in (one.values() if isinstance(one, dict) else one)]
        if not inner:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's values by name; readers differ in which of two they take."""
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"it has a name twice, {next(name for name in counts if counts[name] > 1)!r:.80}")
    return values


def read_file(
    path: Path, again: str = "give the folder of a saved network", links: bool = False, most: int = 0
) -> bytes:
    """The contents of an ordinary file.

    Args:
        path: the file.
        again: what to do if it cannot be read.
        links: whether it may be a link.
        most: the bytes that it may have; 0: as many as a file of this name in a folder.
    Raises:
        FolderError: it is missing, too large, or no ordinary file, or it cannot be read.
    """
    most = most or _LARGEST.get(path.name, _LARGEST_OTHER)
    try:
        with open(path, "rb", opener=partial(ordinary, links=links)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise FolderError(f"{path}: has more than {most} bytes; it is not a file of a saved network")
            return file.read(size)
    except FileNotFoundError:
        raise FolderError(f"{path}: is missing; {again}") from None
    except MemoryError:
        raise FolderError(f"{path}: does not fit into memory; {again}") from None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror}); {again}") from None


def _weights(data: bytes, name: Path) -> dict[str, np.ndarray]:
    try:
        make_room(len(data))
        weights = safetensors.load(data)
    except MemoryError:
        raise FolderError(f"{name}: does not fit into memory; give the folder of a smaller network") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{name}: cannot be read ({error}); save the network again") from None
    for key, value in weights.items():
        finite = (value & 0x7F80) != 0x7F80 if value.dtype == np.uint16 else np.isfinite(value)
        if not finite.all():
            raise FolderError(f"{name}: {key!r:.80} has values that are not finite; train the network again")
    return weights


def plain(value: np.generic) -> int | float:
    """A NumPy number, which a search over parameters may give, as a Python number, which JSON can hold."""
    return value.item()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
