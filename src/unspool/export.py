"""ONNX: a saved network as a graph of native RNN, GRU or LSTM nodes.

    inputs     x         tokens, int64 (T, B), or numbers, float32 (T, B, I)
               lengths   int32 (B,), 1..T: behind its end a sequence has what the head makes of zeros
               h, c      float32 (layers × directions, B, H); c for an LSTM only
    outputs    y         float32 (T, B, O): what the network gives, `unspool.architecture`
               h_next, c_next

T and B are dynamic. Embeddings, scaling and the head are in the graph; what ONNX cannot say (the vocabulary, a learned
initial state) is in the model's metadata, as JSON. Before the file is written it is run, and compared with our own run.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import folder
from .architecture import Architecture, parse
from .errors import FolderError, UnspoolError
from .packing import float32
from .stream import Packed, Stream

_OPSET, _IR = 17, 8
_NODES = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}
_ORDER = {"elman": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}  # our gates in the order of ONNX: h; z r h; i o f c
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
_OPEN = 100.0  # σ of it is 1: the forget gate of a cell that has none
_CLOSE = 1e-5
Weights = Mapping[str, np.ndarray]


def export(path: str | Path, out: str | Path, *, force: bool = False) -> float:
    """Write the network of a folder into an ONNX file, after a comparison.

    Args:
        path: the folder. Cells that ONNX has: elman, gru, and lstm without projection.
        out: the file.
        force: replace the file. Small weights become float32 again.
    Returns:
        The largest difference between its outputs and ours, over batches of 1 and 7, and 1 and 100 steps.
    Raises:
        UnspoolError: ONNX cannot say it, the file exists, or the two differ by more than 1e-5.
    """
    out = Path(out)
    if out.exists() and not force:
        raise UnspoolError(f"{out} exists; choose another file, or give force to replace it")
    saved = folder.read(path)
    arch = parse(saved.config.get("network"))
    if arch.cell not in _NODES or arch.options.get("proj_size"):
        raise UnspoolError(
            f"{path}: ONNX has nodes for elman, gru, and lstm without projection; this network is "
            + ("a projected lstm" if arch.cell == "lstm" else f"of {arch.cell} cells")
        )
    weights = float32(saved.weights)
    packed = Packed(saved._replace(weights=weights), path)
    data = _model(arch, weights, _metadata(path, arch, saved, weights)).SerializeToString()
    difference = _compare(arch, data, packed, weights)
    if not difference <= _CLOSE:
        raise UnspoolError(f"{path}: the exported network differs from ours by {difference:.2g}; it was not written")
    _write(out, data)
    return difference


def _model(arch: Architecture, weights: Weights, metadata: Mapping[str, str]) -> onnx.ModelProto:
    graph = _Graph()
    y = _front(graph, arch, weights)
    states = ["h", "c"] if arch.cell == "lstm" else ["h"]
    directions = 2 if arch.bidirectional else 1
    parts = {s: graph.split(s, arch.num_layers, directions) for s in states}
    last: dict[str, list[str]] = {s: [] for s in states}
    for layer in range(arch.num_layers):
        y, ends = _layer(graph, arch, weights, layer, y, [parts[s][layer] for s in states])
        for s, end in zip(states, ends, strict=True):
            last[s].append(end)
    for s in states:
        graph.add("Concat", last[s], f"{s}_next", axis=0)
    _head(graph, arch, weights, y)
    tokens = arch.tokens > 0
    state_shape = [arch.num_layers * directions, "B", arch.hidden_size]
    inputs = [
        helper.make_tensor_value_info(
            "x", TensorProto.INT64 if tokens else TensorProto.FLOAT, ["T", "B"] + ([] if tokens else [arch.inputs])
        ),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
        *(helper.make_tensor_value_info(s, TensorProto.FLOAT, state_shape) for s in states),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "B", arch.outputs]),
        *(helper.make_tensor_value_info(f"{s}_next", TensorProto.FLOAT, state_shape) for s in states),
    ]
    made = helper.make_graph(graph.nodes, "unspool", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name = "unspool"
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str | list[str], **attributes: Any) -> Any:
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def split(self, name: str, count: int, rows: int) -> list[str]:
        """An array of count · rows rows, in so many parts."""
        sizes = self.constant(f"{name}_rows", np.full(count, rows))
        return self.add("Split", [name, sizes], [f"{name}_l{k}" for k in range(count)], axis=0)


def _front(graph: _Graph, arch: Architecture, weights: Weights) -> str:
    """The name of the first layer's input, (T, B, I)."""
    if arch.front == "embedding":
        return graph.add("Gather", [graph.constant("front.weight", weights["front.weight"]), "x"], "features")
    if arch.front == "one-hot":
        depth = graph.constant("tokens", np.array(arch.tokens))
        return graph.add("OneHot", ["x", depth, graph.constant("off_on", np.array([0, 1], np.float32))], "features")
    graph.add("Sub", ["x", graph.constant("front.mean", weights["front.mean"])], "centred")
    return graph.add("Div", ["centred", graph.constant("front.std", weights["front.std"])], "features")


def _layer(
    graph: _Graph, arch: Architecture, weights: Weights, layer: int, x: str, states: list[str]
) -> tuple[str, list[str]]:
    """Add one layer: the name of its output, (T, B, directions · H), and those of its last states."""
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if arch.bidirectional else 1]
    arrays = [_arrays(arch, weights, suffix) for suffix in suffixes]
    stacked = [np.stack(a) for a in zip(*arrays, strict=True)]
    w, r, b, *p = (graph.constant(f"{name}_l{layer}", a) for name, a in zip("WRBP", stacked, strict=False))
    inputs = [x, w, r, b, "lengths", *states, *p]
    ends = [f"{name}_next_l{layer}" for name in "hc"[: len(states)]]
    attributes: dict[str, Any] = {"hidden_size": arch.hidden_size}
    if arch.bidirectional:
        attributes["direction"] = "bidirectional"
    if arch.cell == "elman":
        attributes["activations"] = [_ACTIVATIONS[arch.options["nonlinearity"]]] * len(suffixes)
    if arch.cell == "gru":
        attributes["linear_before_reset"] = int(arch.options["reset_after"])
    graph.add(_NODES[arch.cell], inputs, [f"Y_l{layer}", *ends], **attributes)
    graph.add("Transpose", [f"Y_l{layer}"], f"Yt_l{layer}", perm=[0, 2, 1, 3])
    shape = graph.constant(f"shape_l{layer}", np.array([0, 0, len(suffixes) * arch.hidden_size]))
    return graph.add("Reshape", [f"Yt_l{layer}", shape], f"y_l{layer}"), ends


def _arrays(arch: Architecture, weights: Weights, suffix: str) -> list[np.ndarray]:
    """W, R, B, and P where there are peepholes, of one direction, in the order of ONNX."""
    H, order = arch.hidden_size, _ORDER[arch.cell]

    def get(name: str) -> np.ndarray | None:
        return weights.get(f"recurrent.{name}{suffix}")

    def gates(name: str, absent: tuple[int, ...], forget: float = 0.0) -> np.ndarray:
        value = get(name)
        value = np.zeros(absent, np.float32) if value is None else value
        split = list(value.reshape(-1, H, *value.shape[1:]))
        if arch.cell == "lstm" and not arch.options["forget_gate"]:
            split.insert(1, np.full_like(split[0], forget))
        return np.concatenate([split[k] for k in order])

    own = len(order) - (arch.cell == "lstm" and not arch.options["forget_gate"])
    w, r = gates("weight_ih", ()), gates("weight_hh", ())
    b = np.concatenate([gates("bias_ih", (own * H,), _OPEN), gates("bias_hh", (own * H,))])
    peephole = get("weight_peephole")
    if peephole is None:
        return [w, r, b]
    i, *f, o = peephole
    return [w, r, b, np.concatenate([i, o, f[0] if f else np.zeros_like(i)])]


def _head(graph: _Graph, arch: Architecture, weights: Weights, y: str) -> None:
    """Add the head, which makes y."""
    graph.add("MatMul", [y, graph.constant("head.weight", weights["head.weight"].T)], "product")
    s = graph.add("Add", ["product", graph.constant("head.bias", weights["head.bias"])], "s")
    if arch.head == "linear":
        graph.add("Identity", [s], "y")
    elif arch.head == "softmax":
        graph.add("Softmax", [s], "y", axis=-1)
    elif arch.head == "logistic":
        graph.add("Sigmoid", [s], "y")
    elif arch.family == "poisson":
        graph.add("Softplus", [s], "y")
    else:
        halves = graph.constant("halves", np.full(2, arch.outputs // 2))
        graph.add("Split", [s, halves], ["location", "scale"], axis=-1)
        graph.add("Softplus", ["scale"], "positive")
        graph.add("Concat", ["location", "positive"], "y", axis=-1)


def _metadata(path: str | Path, arch: Architecture, saved: folder.Saved, weights: Weights) -> dict[str, str]:
    """What is not in the graph, by name."""
    data = {"task": json.dumps(saved.config.get("task")), "network": json.dumps(saved.config["network"])}
    vocabulary = Path(path) / "vocabulary.json"
    if vocabulary.is_file():
        data["vocabulary"] = json.dumps(folder.json_object(vocabulary.read_bytes(), vocabulary), ensure_ascii=False)
    for name, value in weights.items():
        if "initial" in name:
            data[name] = json.dumps(value.tolist())
    return data


def _compare(arch: Architecture, data: bytes, packed: Packed, weights: Weights) -> float:
    """The largest difference between onnxruntime's outputs and ours, each sequence run in two parts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    return max(_difference(arch, session, packed, weights, T, B, rng) for T in (1, 100) for B in (1, 7))


def _difference(
    arch: Architecture,
    session: onnxruntime.InferenceSession,
    packed: Packed,
    weights: Weights,
    T: int,
    B: int,
    rng: np.random.Generator,
) -> float:
    if arch.tokens:
        x: np.ndarray = rng.integers(arch.tokens, size=(T, B))
    else:
        x = (rng.standard_normal((T, B, arch.inputs)) * weights["front.std"] + weights["front.mean"]).astype(np.float32)
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
    return float(np.abs(np.concatenate(parts) - ours).max())


def initial_state(arch: Architecture, weights: Weights, B: int) -> dict[str, np.ndarray]:
    """h, and c for an LSTM, with which B sequences begin."""
    suffixes = [
        f"_l{layer}{d}" for layer in range(arch.num_layers) for d in ("", "_reverse")[: 2 if arch.bidirectional else 1]
    ]
    zeros = np.zeros(arch.hidden_size, np.float32)
    state = {}
    for name in ("h", "c") if arch.cell == "lstm" else ("h",):
        rows = [weights.get(f"recurrent.initial_{name}{suffix}", zeros) for suffix in suffixes]
        state[name] = np.repeat(np.stack(rows)[:, None], B, 1)
    return state


def _write(out: Path, data: bytes) -> None:
    """Beside the final name, then renamed."""
    try:
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as beside:
            (Path(beside) / "model").write_bytes(data)
            os.replace(Path(beside) / "model", out)
    except OSError as error:
        raise FolderError(f"{out} was not written ({error.strerror or error}); choose another place") from None
