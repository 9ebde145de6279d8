"""Small weights: the matrices of a saved network in 16 or 8 bits instead of 32.

    bf16    the upper half of a float32, rounded to the nearest: relative error up to 2⁻⁹
    int8    w = scale · q, q in -127..127, one scale for each row: error up to scale / 2 = max |row| / 254

Biases, embeddings, peepholes and scales stay float32. All arithmetic is in float32, too, except the products with int8
matrices: there each vector is rounded to 16 bits, and the products are summed in 32-bit integers.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import one_of
from ..errors import FolderError, UnspoolError
from . import card, folder
from .architecture import parse

KINDS = ("bf16", "int8")
_FILES = ("vocabulary.json", "metrics.json", "history.jsonl")


def pack(path: str | Path, out: str | Path, weights: str, *, force: bool = False) -> None:
    """Save a network once more, with small weights.

    Args:
        path: the folder of the network, whose weights must be float32.
        out: the folder to write.
        weights: "bf16" or "int8".
        force: replace the network at `out`.
    Raises:
        UnspoolError: a folder cannot be read or written, or the network has small weights already.
    """
    one_of("weights", weights, KINDS)
    folder.check_free(out, force)
    path = Path(path)
    saved = folder.read(path, optional=_FILES)
    parse(saved.config.get("network"))
    parts = saved.config.get("parts", {})
    for network in filter(None, parts.values()):
        parse(network)
    # What is no network is kept as it is.
    networks = {name: w for name, w in saved.weights.items() if parts.get(name.partition(".")[0]) != {}}
    if is_packed(networks):
        raise FolderError(f"{path}: has small weights already; pack the network that it was made from")
    if wrong := sorted(name for name, w in networks.items() if w.dtype != np.float32):
        raise FolderError(f"{path}: weights must be float32; got {wrong[0]!r:.80} of {networks[wrong[0]].dtype}")
    files = {name: _text(data, path / name) for name, data in saved.files.items()}
    config = {name: value for name, value in saved.config.items() if name not in ("format", "sha256")}
    config["weights"] = weights
    files["README.md"] = card.model_card(f"Network with {weights} weights", config, _metrics(files, path), _ABOUT)
    folder.write(out, config, {**saved.weights, **small(networks, weights)}, files, force=force)


def small(weights: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The weights by name, with the matrices of the recurrent layers and the head in 16 or 8 bits."""
    one_of("weights", kind, KINDS)
    out = {}
    for name, w in weights.items():
        if not is_matrix(name, w):
            out[name] = w
        elif kind == "bf16":
            out[name] = to_bf16(w)
        else:
            out[name], out[f"{name}.scale"] = to_int8(w)
    return out


def float32(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights by name as float32, whatever their type; those that are float32 are not copied."""
    out = {}
    for name, w in weights.items():
        if w.dtype == np.uint16:
            out[name] = (w.astype(np.uint32) << 16).view(np.float32)
        elif w.dtype == np.int8:
            scale = weights.get(f"{name}.scale")
            if scale is None or scale.shape != w.shape[:1]:
                raise UnspoolError(f"weights must have {name}.scale, a number for each row of {name}")
            out[name] = w * scale.reshape(-1, *[1] * (w.ndim - 1))
        elif not name.endswith(".scale"):
            out[name] = w
    return out


def is_packed(weights: Mapping[str, np.ndarray]) -> bool:
    return any(w.dtype in (np.uint16, np.int8) for w in weights.values())


def is_matrix(name: str, w: np.ndarray) -> bool:
    """Whether a weight is the matrix of a product, and not an embedding or peepholes."""
    inner = re.fullmatch(r"([^.]+\.)?(recurrent|head)\..*", name)
    return w.ndim >= 2 and inner is not None and "peephole" not in name


def to_bf16(w: np.ndarray) -> np.ndarray:
    """The bits of bfloat16, as uint16, rounded to the nearest, ties to even; the largest numbers stay finite."""
    bits = np.ascontiguousarray(w).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    overflow = (rounded & 0x7F80) == 0x7F80
    return np.where(overflow, bits >> 16, rounded).astype(np.uint16)


def to_int8(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q and scale with w ≈ scale · q, and one scale for each row (the first axis)."""
    rows = w.reshape(len(w), -1).astype(np.float64)
    scale = (np.abs(rows).max(1) / 127).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1).astype(np.float64)
    q = np.clip(np.rint(rows / divisor[:, None]), -127, 127).astype(np.int8)
    return q.reshape(w.shape), scale


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FolderError(f"{path}: cannot be read ({error}); save the network again") from None


def _metrics(files: Mapping[str, str], path: Path) -> dict[str, Any]:
    return folder.json_object(files.get("metrics.json", "{}").encode(), path / "metrics.json")


_ABOUT = """A network made smaller by `unspool pack`: the metrics are those of the network with float32 weights."""
