"""A network as a graph of ONNX nodes: RNN, GRU or LSTM; Conv for a time-delay network; Scan for a Jordan network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..arguments import look_up
from ..cells import FACTS
from ..errors import UnspoolError
from ..saved.architecture import Architecture

_OPSET, _IR = 17, 8
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Identity"}
_OPEN = 100.0  # the bias of the forget gate of a cell that has none, since σ(100) = 1
Weights = Mapping[str, np.ndarray]


def state_shapes(arch: Architecture) -> dict[str, tuple[int, int]]:
    """The sizes of each state on both sides of B."""
    if arch.cell == "tdnn":
        past = [(K - 1) * d for K, d in zip(arch.options["window"], arch.options["dilation"], strict=True)]
        sizes = [arch.fed] + [arch.hidden_size] * (arch.num_layers - 1)
        return {f"window_l{k}": pair for k, pair in enumerate(zip(past, sizes, strict=True)) if pair[0]}
    rows = arch.num_layers * len(suffixes(arch, 0))
    size = arch.options.get("output_size", arch.hidden_size)
    return dict.fromkeys(FACTS[arch.cell].states, (rows, size))


def suffixes(arch: Architecture, layer: int) -> list[str]:
    """The ends of the names of a layer's weights, one for each direction."""
    return [f"_l{layer}", f"_l{layer}_reverse"][: 2 if arch.bidirectional else 1]


def _activation(arch: Architecture, option: str) -> str:
    """The name of the operator for the nonlinearity that an option of the cell names."""
    return look_up(f"{option} of an ONNX file", arch.options[option], _ACTIVATIONS)


def _value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
    """The nodes and constants of a graph, in the order in which they are added."""

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
        """The names of `count` parts of an array, `rows` rows each."""
        sizes = self.constant(f"{name}_rows", np.full(count, rows))
        return self.add("Split", [name, sizes], [f"{name}_l{k}" for k in range(count)], axis=0)


# The front ends. Each function adds its nodes, and returns the name of the first layer's input, (T, B, I).


def _embedding(graph: _Graph, arch: Architecture, weights: Weights) -> str:
    return graph.add("Gather", [graph.constant("front.weight", weights["front.weight"]), "x"], "features")


def _one_hot(graph: _Graph, arch: Architecture, weights: Weights) -> str:
    depth = graph.constant("tokens", np.array(arch.tokens))
    return graph.add("OneHot", ["x", depth, graph.constant("off_on", np.array([0, 1], np.float32))], "features")


def _dense(graph: _Graph, arch: Architecture, weights: Weights) -> str:
    graph.add("Sub", ["x", graph.constant("front.mean", weights["front.mean"])], "centred")
    return graph.add("Div", ["centred", graph.constant("front.std", weights["front.std"])], "features")


def _image(graph: _Graph, arch: Architecture, weights: Weights) -> str:
    o = arch.front_options
    shape = graph.constant("frames_shape", np.array([-1, o["height"], o["width"], o["channels"]]))
    graph.add("Reshape", ["x", shape], "frames")
    graph.add("Sub", ["frames", graph.constant("front.mean", weights["front.mean"])], "centred")
    graph.add("Div", ["centred", graph.constant("front.std", weights["front.std"])], "scaled")
    graph.add("Transpose", ["scaled"], "channels_first", perm=[0, 3, 1, 2])
    named = [graph.constant(f"front.{name}", weights[f"front.{name}"]) for name in ("weight", "bias")]
    graph.add("Conv", ["channels_first", *named], "filtered", strides=[o["stride"]] * 2)
    graph.add("Transpose", [graph.add("Relu", ["filtered"], "filtered_relu")], "channels_last", perm=[0, 2, 3, 1])
    axes = graph.add("Shape", ["x"], "x_shape", start=0, end=2)
    flat = graph.add("Concat", [axes, graph.constant("fed", np.array([arch.fed]))], "features_shape", axis=0)
    return graph.add("Reshape", ["channels_last", flat], "features")


_FRONTS = {"embedding": _embedding, "one-hot": _one_hot, "dense": _dense, "image": _image}


def _mark_ends(graph: _Graph, x: str) -> None:
    """Add what a layer needs for lengths if no single operator of ONNX runs it.

    `ends`, (B, 1), is the length of each sequence, and `live`, (T, B, 1), is true at the steps before its end.
    """
    graph.constant("zero", np.array(0, np.float32))
    none, one = (graph.constant(f"number_{n}", np.array(n)) for n in (0, 1))
    graph.add("Cast", ["lengths"], "whole_lengths", to=TensorProto.INT64)
    graph.add("Unsqueeze", ["whole_lengths", graph.constant("last_axis", np.array([-1]))], "ends")
    T = graph.add("Gather", [graph.add("Shape", [x], "shape"), none], "T")
    steps = graph.add("Range", [none, T, one], "steps")
    column = graph.add("Unsqueeze", [steps, graph.constant("axes", np.array([1, 2]))], "steps_column")
    graph.add("Less", [column, "ends"], "live")


def _delays(graph: _Graph, arch: Architecture, weights: Weights, x: str) -> str:
    """Add all layers of a time-delay network, convolutions over the past and x. Returns the name of the output."""
    _mark_ends(graph, x)
    for k, (K, d) in enumerate(zip(arch.options["window"], arch.options["dilation"], strict=True)):
        arrays = {n: weights.get(f"recurrent.layers.{k}.{n}") for n in ("weight", "bias")}
        named = [graph.constant(f"{n}_l{k}", value) for n, value in arrays.items() if value is not None]
        if past := (K - 1) * d:
            x = graph.add("Concat", [f"window_l{k}", x], f"seen_l{k}", axis=0)
            _add_window(graph, k, past, x, weights[f"recurrent.layers.{k}.weight"].shape[1])
        sequences = graph.add("Transpose", [x], f"sequences_l{k}", perm=[1, 2, 0])
        sums = graph.add("Conv", [sequences, *named], f"sums_l{k}", dilations=[d])
        y = graph.add(_activation(arch, "nonlinearity"), [sums], f"activated_l{k}")
        x = graph.add("Transpose", [y], f"y_l{k}", perm=[2, 0, 1])
    return graph.add("Where", ["live", x, "zero"], "y_live")


def _add_window(graph: _Graph, layer: int, past: int, seen: str, features: int) -> None:
    """Add the next window of a layer: the last `past` rows of seen, (past + T, B, I), before each sequence's end."""
    steps = graph.constant(f"steps_l{layer}", np.arange(past)[:, None, None])
    rows = graph.add("Add", [steps, "ends"], f"rows_l{layer}")  # (past, B, 1)
    width = graph.constant(f"width_l{layer}", np.array([1, 1, features]))
    where = graph.add("Expand", [rows, width], f"where_l{layer}")
    graph.add("GatherElements", [seen, where], f"window_l{layer}_next", axis=0)


def _operator(
    graph: _Graph, arch: Architecture, weights: Weights, layer: int, x: str, states: list[str]
) -> tuple[str, list[str]]:
    """Add one layer. Returns the name of its output, (T, B, directions · H), and those of its last states."""
    directions = suffixes(arch, layer)
    arrays = [_arrays(arch, weights, suffix) for suffix in directions]
    stacked = [np.stack(a) for a in zip(*arrays, strict=True)]
    w, r, b, *p = (graph.constant(f"{name}_l{layer}", a) for name, a in zip("WRBP", stacked, strict=False))
    inputs = [x, w, r, b, "lengths", *states, *p]
    ends = [f"{name}_next_l{layer}" for name in FACTS[arch.cell].states]
    attributes: dict[str, Any] = {"hidden_size": arch.hidden_size}
    if arch.bidirectional:
        attributes["direction"] = "bidirectional"
    if "nonlinearity" in arch.options:
        attributes["activations"] = [_activation(arch, "nonlinearity")] * len(directions)
    if "reset_after" in arch.options:
        attributes["linear_before_reset"] = int(arch.options["reset_after"])
    y = f"Y_l{layer}"
    graph.add(FACTS[arch.cell].onnx, inputs, [y, *ends], **attributes)
    if size := arch.options.get("proj_size"):
        down = np.stack([weights[f"recurrent.weight_hr{suffix}"].T for suffix in directions])
        y = graph.add("MatMul", [y, graph.constant(f"projection_l{layer}", down)], f"projected_l{layer}")
    y = graph.add("Transpose", [y], f"Yt_l{layer}", perm=[0, 2, 1, 3])
    shape = graph.constant(f"shape_l{layer}", np.array([0, 0, len(directions) * (size or arch.hidden_size)]))
    return graph.add("Reshape", [y, shape], f"y_l{layer}"), ends


def _arrays(arch: Architecture, weights: Weights, suffix: str) -> list[np.ndarray]:
    """W, R and B of one direction in the order of ONNX, and P if the cell has peepholes.

    ONNX has no projection. So a projected LSTM becomes an LSTM whose h is the vector before the projection, because
    W_hh (W_hr h) = (W_hh W_hr) h.
    """
    H, order = arch.hidden_size, FACTS[arch.cell].onnx_gates
    without_forget = not arch.options.get("forget_gate", True)  # while ONNX's operator always has a forget gate

    def get(name: str) -> np.ndarray | None:
        return weights.get(f"recurrent.{name}{suffix}")

    def gates(name: str, absent: tuple[int, ...], forget: float = 0.0) -> np.ndarray:
        value = get(name)
        value = np.zeros(absent, np.float32) if value is None else value
        split = list(value.reshape(-1, H, *value.shape[1:]))
        if without_forget:
            split.insert(1, np.full_like(split[0], forget))
        return np.concatenate([split[k] for k in order])

    own = len(order) - without_forget
    w, r = gates("weight_ih", ()), gates("weight_hh", ())
    if arch.options.get("proj_size"):
        r = (r.astype(np.float64) @ weights[f"recurrent.weight_hr{suffix}"]).astype(np.float32)
    b = np.concatenate([gates("bias_ih", (own * H,), _OPEN), gates("bias_hh", (own * H,))])
    peephole = get("weight_peephole")
    if peephole is None:
        return [w, r, b]
    i, *f, o = peephole
    return [w, r, b, np.concatenate([i, o, f[0] if f else np.zeros_like(i)])]


def _jordan(
    graph: _Graph, arch: Architecture, weights: Weights, layer: int, x: str, states: list[str]
) -> tuple[str, list[str]]:
    """Add one layer of a Jordan network, a loop over time for each direction. Returns the names as `_operator` does."""
    directions = suffixes(arch, layer)
    befores = [states[0]] if len(directions) == 1 else graph.split(states[0], 2, 1)
    ys, ends = [], []
    for suffix, before in zip(directions, befores, strict=True):
        y, end = _jordan_direction(graph, arch, weights, suffix, x, before)
        ys.append(y)
        ends.append(end)
    last = graph.add("Concat", ends, f"h_next_l{layer}", axis=0)
    return graph.add("Concat", ys, f"y_l{layer}", axis=2), [last]


def _jordan_direction(
    graph: _Graph, arch: Architecture, weights: Weights, suffix: str, x: str, before: str
) -> tuple[str, str]:
    """Add one direction. Returns the names of its outputs, (T, B, R), and of the last ones, (1, B, R)."""

    def product(to: _Graph, of: str, matrix: str, *biases: str) -> str:
        w = graph.constant(f"{matrix}{suffix}", weights[f"recurrent.{matrix}{suffix}"].T)
        total = to.add("MatMul", [of, w], f"{matrix}_product{suffix}")
        for name in biases:
            if (bias := weights.get(f"recurrent.{name}{suffix}")) is not None:
                total = to.add("Add", [total, graph.constant(f"{name}{suffix}", bias)], f"{name}_sum{suffix}")
        return total

    def in_order(name: str) -> str:
        if not suffix.endswith("reverse"):
            return name
        return graph.add("ReverseSequence", [name, "whole_lengths"], f"{name}_turned", time_axis=0, batch_axis=1)

    projected = in_order(product(graph, x, "weight_ih", "bias_h"))
    body = _Graph()
    total = body.add("Add", ["projected", product(body, "before", "weight_yh")], "total")
    h = body.add(_activation(arch, "nonlinearity"), [total], "hidden")
    y = body.add(_activation(arch, "output_nonlinearity"), [product(body, h, "weight_hy", "bias_y")], "out")
    body.add("Where", ["live_step", y, "before"], "after")
    body.add("Where", ["live_step", y, "zero"], "y_step")
    R, H = arch.options["output_size"], arch.hidden_size
    given = [_value("before", ["B", R]), _value("projected", ["B", H]), _value("live_step", ["B", 1], TensorProto.BOOL)]
    made = [_value(name, ["B", R]) for name in ("after", "y_step")]
    step = helper.make_graph(body.nodes, f"step{suffix}", given, made)
    axis = graph.constant(f"axis{suffix}", np.array([0]))
    first = graph.add("Squeeze", [before, axis], f"first{suffix}")
    after, y = f"after{suffix}", f"Y{suffix}"
    graph.add("Scan", [first, projected, "live"], [after, y], body=step, num_scan_inputs=2)
    return in_order(y), graph.add("Unsqueeze", [after, axis], f"last{suffix}")


# What adds one layer of each cell: the operator that ONNX has for it, or a graph of our own.
_LAYER = {name: _operator for name, facts in FACTS.items() if facts.onnx} | {"jordan": _jordan}


def _recurrent(graph: _Graph, arch: Architecture, weights: Weights, y: str) -> str:
    """Add all recurrent layers. Returns the name of the output, (T, B, features)."""
    if not FACTS[arch.cell].onnx:
        _mark_ends(graph, y)
    names = list(state_shapes(arch))
    parts = {s: graph.split(s, arch.num_layers, len(suffixes(arch, 0))) for s in names}
    ends: dict[str, list[str]] = {s: [] for s in names}
    for layer in range(arch.num_layers):
        y, last = _LAYER[arch.cell](graph, arch, weights, layer, y, [parts[s][layer] for s in names])
        for s, end in zip(names, last, strict=True):
            ends[s].append(end)
    for s in names:
        graph.add("Concat", ends[s], f"{s}_next", axis=0)
    return y


_STACK = dict.fromkeys(_LAYER, _recurrent) | {"tdnn": _delays}


# The heads. Each function adds the nodes that make y from the sums s of the head.


def _distribution(graph: _Graph, arch: Architecture) -> None:
    """Add the locations, and then the scales, which are positive."""
    halves = graph.constant("halves", np.full(2, arch.outputs // 2))
    graph.add("Split", ["s", halves], ["location", "scale"], axis=-1)
    graph.add("Softplus", ["scale"], "positive")
    graph.add("Concat", ["location", "positive"], "y", axis=-1)


_HEADS: dict[str, Callable[[_Graph, Architecture], Any]] = {
    "linear": lambda graph, arch: graph.add("Identity", ["s"], "y"),
    "softmax": lambda graph, arch: graph.add("Softmax", ["s"], "y", axis=-1),
    "logistic": lambda graph, arch: graph.add("Sigmoid", ["s"], "y"),
}
_FAMILIES: dict[str, Callable[[_Graph, Architecture], Any]] = {
    "normal": _distribution,
    "laplace": _distribution,
    "poisson": lambda graph, arch: graph.add("Softplus", ["s"], "y"),
}


def _head(graph: _Graph, arch: Architecture, weights: Weights, y: str) -> None:
    """Add the head, which makes the network's output y from the output of the recurrent layers."""
    graph.add("MatMul", [y, graph.constant("head.weight", weights["head.weight"].T)], "product")
    graph.add("Add", ["product", graph.constant("head.bias", weights["head.bias"])], "s")
    if arch.family is None:
        look_up("head of an ONNX file", arch.head, _HEADS)(graph, arch)
    else:
        look_up("family of an ONNX file", arch.family, _FAMILIES)(graph, arch)


def model(arch: Architecture, weights: Weights, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The graph of the whole network. `unspool.onnx.export` describes its inputs and outputs."""
    if arch.convolution is not None:
        raise UnspoolError("an ONNX file cannot have a convolution over time; export a network without one")
    graph = _Graph()
    add_layers = look_up("cell of an ONNX file", arch.cell, _STACK)
    e = look_up("front of an ONNX file", arch.front, _FRONTS)(graph, arch, weights)
    y = add_layers(graph, arch, weights, e)
    _head(graph, arch, weights, y)
    tokens = arch.tokens > 0
    states = {name: [rows, "B", size] for name, (rows, size) in state_shapes(arch).items()}
    inputs = [
        _value("x", ["T", "B"] + ([] if tokens else [arch.inputs]), TensorProto.INT64 if tokens else TensorProto.FLOAT),
        _value("lengths", ["B"], TensorProto.INT32),
        *(_value(name, shape) for name, shape in states.items()),
    ]
    outputs = [_value("y", ["T", "B", arch.outputs]), *(_value(f"{name}_next", s) for name, s in states.items())]
    made = helper.make_graph(graph.nodes, "unspool", inputs, outputs, graph.constants)
    built = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    built.producer_name = "unspool"
    helper.set_model_props(built, dict(metadata))
    onnx.checker.check_model(built, full_check=True)
    return built
