"""The folder of a trained network: whole or absent, and nothing in it is executed when it is read.

config.json           format version, task, parameters, preprocessing, network, SHA-256 of the files below
model.safetensors     the weights
vocabulary.json       what the tokens are, where there are tokens
metrics.json          how good it is, beside the baseline
history.jsonl         one line a check of the training run
README.md             all that for people
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from ..errors import FolderError

FORMAT = 2  # 1 had language models only, with fewer options; what it had means the same
_LARGEST_JSON = 2**26  # bytes


class Saved(NamedTuple):
    """What a folder holds: config.json, the weights by name, and the other files that were asked for.

    A weight is float32; or, packed, uint16 with the bits of bfloat16, or int8 with a float32 array `<name>.scale`.
    """

    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    files: dict[str, bytes]
    sha256: str  # of model.safetensors


def check_free(path: str | Path, force: bool = False) -> None:
    """Raise FolderError unless a network may be saved at this path, so that nobody trains one in vain."""
    path = Path(path).absolute()
    if path.is_dir() and any(path.iterdir()):
        if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
            raise FolderError(f"{path} exists and is no saved network; choose another folder")
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
    """Save a network: written beside its final name and renamed.

    Args:
        path: the folder.
        config: what goes into config.json; `format` and `sha256` are added.
        weights: by name.
        files: further text files by name.
        force: replace a network that was saved there.
    Raises:
        FolderError: something is there already, or it cannot be written. What was there is still there.
    """
    check_free(path, force)
    path = Path(path).absolute()
    contents = {"model.safetensors": safetensors.save(dict(weights))}
    contents |= {name: text.encode() for name, text in files.items()}
    sums = {name: _sha256(contents[name]) for name in ("model.safetensors", "vocabulary.json") if name in contents}
    config = {"format": FORMAT, **config, "sha256": sums}
    contents["config.json"] = json.dumps(config, indent=2, default=_plain).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            new.mkdir()
            for name, data in contents.items():
                _write_file(new / name, data)
            _replace(path, new, old)
    except OSError as error:
        raise FolderError(
            f"{path} was not written ({error.strerror or error}), and nothing was left there; "
            f"make room or choose another folder"
        ) from None


def read(
    path: str | Path, task: str | None = None, files: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Saved:
    """Read a network that `write` saved.

    Args:
        path: the folder.
        task: that it must have been trained for; None: any.
        files: further files that are wanted.
        optional: those that are wanted if they are there.
    Raises:
        FolderError: a file is missing, damaged, of another task, or of a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        raise FolderError(f"{path}: no such folder; give the folder of a saved network")
    config = json_object(_read_file(path / "config.json"), path / "config.json")
    version, sums = config.get("format"), config.get("sha256")
    if type(version) is not int or version < 1 or not isinstance(sums, dict):
        raise FolderError(f"{path / 'config.json'}: has no format number and checksums; save the network again")
    if version > FORMAT:
        raise FolderError(f"{path}: has format {version}, and this unspool reads {FORMAT}; install a newer unspool")
    if task is not None and config.get("task") != task:
        raise FolderError(f"{path}: was saved by the task {config.get('task')!r:.40}; a {task} is needed here")
    there = [name for name in optional if (path / name).is_file()]
    contents = {name: _read_file(path / name) for name in ("model.safetensors", *files, *there)}
    for name, data in contents.items():
        if name in sums and sums[name] != _sha256(data):
            raise FolderError(f"{path / name}: is damaged, as its SHA-256 is not the one in config.json; save it again")
    weights = contents.pop("model.safetensors")
    return Saved(config, _weights(weights, path / "model.safetensors"), contents, _sha256(weights))


def json_object(data: bytes, name: str | Path) -> dict[str, Any]:
    """A JSON object that was in a file of this name, or FolderError."""
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{name}: is not JSON ({error}); save the network again") from None
    if not isinstance(value, dict):
        raise FolderError(f"{name}: must be a JSON object; save the network again")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's values by name; readers differ in which of two they take."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has a name twice, {next(n for n in names if names.count(n) > 1)!r:.80}")
    return values


def card(title: str, config: Mapping[str, Any], metrics: Mapping[str, Any], about: str) -> str:
    """The README.md of a saved network: a model card.

    Args:
        title: one line.
        config: as in config.json.
        metrics: as in metrics.json.
        about: Markdown: what it is and how to use it.
    """
    rows = "\n".join(f"| {name} | {value} |" for name, value in _flat(metrics))
    return (
        f"---\nlibrary_name: unspool\ntags:\n- recurrent-neural-network\n- {config.get('task', '')}\n---\n\n"
        f"# {title}\n\n{about}\n\n## Metrics\n\n| | |\n|---|---|\n{rows}\n\n"
        f"## Network\n\n```json\n{json.dumps(config['network'], indent=2, default=_plain)}\n```\n"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}: ")
        elif value is not None:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((f"{prefix}{name}".replace("_", " "), shown))
    return rows


def _write_file(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, new: Path, old: Path) -> None:
    """Put new at path; what was there goes to old, and comes back if that fails."""
    if path.exists():
        os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        if old.exists():
            os.rename(old, path)
        raise


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FolderError(f"{path}: is no ordinary file; give the folder of a saved network")
            if path.suffix != ".safetensors" and status.st_size > _LARGEST_JSON:
                raise FolderError(f"{path}: has more than {_LARGEST_JSON} bytes; it is not a file of a saved network")
            return file.read(status.st_size)
    except FileNotFoundError:
        raise FolderError(f"{path}: is missing; give the folder of a saved network") from None
    except MemoryError:
        raise FolderError(f"{path}: is larger than the memory there is; give the folder of a saved network") from None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror}); give the folder of a saved network") from None


def _weights(data: bytes, name: Path) -> dict[str, np.ndarray]:
    try:
        weights = safetensors.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{name}: cannot be read ({error}); save the network again") from None
    for key, value in weights.items():
        finite = (value & 0x7F80) != 0x7F80 if value.dtype == np.uint16 else np.isfinite(value)
        if not finite.all():
            raise FolderError(f"{name}: {key!r:.80} has values that are not finite; train the network again")
    return weights


def _plain(value: np.generic) -> int | float:
    """A number of NumPy's, as a search over parameters may give, as JSON has it."""
    return value.item()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
