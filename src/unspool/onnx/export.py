"""Export a saved network as an ONNX file. The nodes are RNN, GRU or LSTM if the cell is one of these.

    inputs     x         tokens, int64 (T, B), or numbers, float32 (T, B, I)
               lengths   int32 (B,), 1..T; after its end a sequence has the outputs that the head makes of zeros
               h, c      float32 (layers × directions, B, H); only an LSTM has c. The h of a projected LSTM is the
                         vector before the projection; that of a Jordan network is its output
               window_l0 … of a time-delay network, float32 (d·(K - 1), B, ·)
    outputs    y         float32 (T, B, O), the outputs of the network (`unspool.saved.architecture`)
               h_next, c_next, window_l0_next …

T and B are dynamic. The states begin with zeros, or with `initial_h` and `initial_c` of the metadata. The graph has the
embedding or scaling and the head. The vocabulary, which ONNX cannot express, is in the metadata as JSON. Before a file
is written, onnxruntime runs the graph, and the outputs are compared with those of our own streams.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime

from ..beside import beside
from ..errors import FolderError, UnspoolError
from ..saved import folder
from ..saved.architecture import Architecture, parse
from ..saved.small import float32
from ..stream import Loaded, Stream
from .graph import Weights, model, state_shapes, suffixes

_CLOSE = 1e-5
_VOCABULARY = "vocabulary.json"


def export(path: str | Path, out: str | Path, *, force: bool = False) -> float:
    """Write the network of a folder into an ONNX file, after a comparison of the two.

    Args:
        path: the folder of the network. If its weights are small (`unspool.saved.small`), they become float32 again.
        out: the file to write.
        force: whether a file that exists is replaced.
    Returns:
        The largest difference between the outputs of the file and ours, over batches of 1 and 7 sequences of 1 and 100
        steps. If our largest output is more than 1, the difference is divided by it.
    Raises:
        UnspoolError: the file exists, or the difference is more than 1e-5.
    """
    out = Path(out)
    if os.path.lexists(out) and not out.is_file():
        raise UnspoolError(f"{out} exists, and is no ordinary file; choose another file")
    if out.exists() and not force:
        raise UnspoolError(f"{out} exists; choose another file, or give force to replace it")
    saved = folder.read(path, optional=(_VOCABULARY,))
    arch = parse(saved.config.get("network"))
    weights = float32(saved.weights)
    packed = Loaded(saved._replace(weights=weights), path)
    data = model(arch, weights, _metadata(path, arch, saved, weights)).SerializeToString()
    difference = _compare(arch, data, packed, weights)
    if not difference <= _CLOSE:
        raise UnspoolError(f"{path}: the exported network differs from ours by {difference:.2g}; it was not written")
    _write(out, data)
    return difference


def _metadata(path: str | Path, arch: Architecture, saved: folder.Saved, weights: Weights) -> dict[str, str]:
    """What the graph cannot express, by name."""
    data = {"task": json.dumps(saved.config.get("task")), "network": json.dumps(saved.config["network"])}
    if _VOCABULARY in saved.files:
        vocabulary = folder.json_object(saved.files[_VOCABULARY], Path(path) / _VOCABULARY)
        data["vocabulary"] = json.dumps(vocabulary, ensure_ascii=False)
    if arch.options.get("learn_initial_state"):
        state = initial_state(arch, weights, 1)
        data |= {f"initial_{name}": json.dumps(value[:, 0].tolist()) for name, value in state.items()}
    return data


def _compare(arch: Architecture, data: bytes, packed: Loaded, weights: Weights) -> float:
    """The largest difference between the outputs of onnxruntime and ours, where each sequence is run in two parts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    return max(_difference(arch, session, packed, weights, T, B, rng) for T in (1, 100) for B in (1, 7))


def _difference(
    arch: Architecture,
    session: onnxruntime.InferenceSession,
    packed: Loaded,
    weights: Weights,
    T: int,
    B: int,
    rng: np.random.Generator,
) -> float:
    if arch.tokens:
        x: np.ndarray = rng.integers(arch.tokens, size=(T, B))
    else:
        mean, std = (np.resize(weights[f"front.{name}"], arch.inputs) for name in ("mean", "std"))
        x = (rng.standard_normal((T, B, arch.inputs)) * std + mean).astype(np.float32)
    if arch.bidirectional:
        ours, cuts = np.stack([Stream(packed).run(np.ascontiguousarray(x[:, b])) for b in range(B)], 1), [T]
    else:
        ours, cuts = Stream(packed).streams(B).run(x), [T // 3, T - T // 3]
    state, parts, begin = initial_state(arch, weights, B), [], 0
    for steps in filter(None, cuts):
        feed = {"x": x[begin : begin + steps], "lengths": np.full(B, steps, np.int32), **state}
        y, *last = session.run(None, feed)
        state = dict(zip(state, last, strict=True))
        parts.append(y)
        begin += steps
    return float(np.abs(np.concatenate(parts) - ours).max() / max(1, np.abs(ours).max()))


def initial_state(arch: Architecture, weights: Weights, B: int) -> dict[str, np.ndarray]:
    """The states with which B sequences begin, by name."""
    state = {name: np.zeros((rows, B, size), np.float32) for name, (rows, size) in state_shapes(arch).items()}
    if arch.options.get("learn_initial_state"):
        for row, suffix in enumerate(s for layer in range(arch.num_layers) for s in suffixes(arch, layer)):
            for name, value in state.items():
                begin = weights[f"recurrent.initial_{name}{suffix}"]
                if name == "h" and arch.options.get("proj_size"):
                    begin = np.linalg.pinv(weights[f"recurrent.weight_hr{suffix}"].astype(np.float64)) @ begin
                value[row] = begin
    return state


def _write(out: Path, data: bytes) -> None:
    try:
        with beside(out) as new:
            new.write_bytes(data)
    except OSError as error:
        raise FolderError(f"{out} was not written ({error.strerror or error}); choose another place") from None
