"""What a network is made of, as a saved folder says it: front end, recurrent layers, head. No PyTorch.

    front      {"kind": "one-hot", "size": I}                 tokens 0..I-1, straight into the first recurrent layer
               {"kind": "embedding", "tokens": K, "size": I}  tokens 0..K-1, each a vector of I features
               {"kind": "dense", "size": I}                   I numbers x, which go in as (x - mean) / std
    recurrent  {"cell": …, "hidden_size": H, "num_layers": L, "dropout": p, and the options of that cell}
    head       {"kind": "linear" | "softmax" | "logistic", "size": O}
               {"kind": "distribution", "family": "normal" | "laplace" | "poisson", "size": O}

Options of the cells, with the names, meanings and defaults of `unspool.nn`'s layers:

    all        bias
    recurrent  bidirectional, learn_initial_state             elman, jordan, gru and lstm
    elman      nonlinearity
    jordan     nonlinearity, output_size (H if absent), output_nonlinearity
    gru        reset_after
    lstm       proj_size, peephole, forget_gate
    tdnn       nonlinearity, window, dilation: an integer, or a list with one for each layer

The head's outputs are s = W y + b, then softmax(s), σ(s), or the parameters of O distributions, one parameter after
the other: normal and laplace have locations s and scales softplus(s), 2·O outputs; poisson has rates softplus(s).

model.safetensors has the weights by the names of `unspool.network.Network`'s state:

    front      weight (K, I), or mean (I,) and std (I,), or nothing
    recurrent  weight_ih_l0, weight_hh_l0, bias_ih_l0, … with torch.nn's names and order of gates, and those of
               `unspool.nn`; of a tdnn layers.0.weight (H, I, window), layers.0.bias (H,), …
    head       weight (outputs, features), bias (outputs,)

as in `head.weight`. They are float32; the matrices of recurrent and head may all be packed (`unspool.saved.small`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..arguments import integer, number, one_of
from ..errors import UnspoolError

CELLS = ("elman", "jordan", "gru", "lstm", "tdnn")
FRONTS = ("one-hot", "embedding", "dense")
HEADS = ("linear", "softmax", "logistic", "distribution")
FAMILIES = {"normal": 2, "laplace": 2, "poisson": 1}  # parameters of each
HIDDEN, OUTPUT = ("tanh", "relu", "sigmoid"), ("identity", "tanh", "relu", "sigmoid")
_SIZE = 2**24

_COMMON: dict[str, Any] = {"bias": True}
_RECURRENT = _COMMON | {"bidirectional": False, "learn_initial_state": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "elman": _RECURRENT | {"nonlinearity": "tanh"},
    "jordan": _RECURRENT | {"nonlinearity": "tanh", "output_size": None, "output_nonlinearity": "identity"},
    "gru": _RECURRENT | {"reset_after": True},
    "lstm": _RECURRENT | {"proj_size": 0, "peephole": False, "forget_gate": True},
    "tdnn": _COMMON | {"nonlinearity": "tanh", "window": 3, "dilation": 1},
}
_SECTIONS = {
    "front": {"one-hot": ("size",), "embedding": ("tokens", "size"), "dense": ("size",)},
    "head": {"linear": ("size",), "softmax": ("size",), "logistic": ("size",), "distribution": ("family", "size")},
}


class Architecture(NamedTuple):
    """A configuration, checked, with every option there.

    tokens: K, kinds of tokens that go in, 0 where numbers do; inputs: I, features of the first recurrent layer.
    options: of the cell.
    features: of the recurrent layers' output; family: of the distribution, or None; outputs: of the head.
    """

    front: str
    tokens: int
    inputs: int
    cell: str
    hidden_size: int
    num_layers: int
    dropout: float
    options: dict[str, Any]
    features: int
    head: str
    family: str | None
    outputs: int

    @property
    def bidirectional(self) -> bool:
        return self.options.get("bidirectional", False)


def parse(config: Any) -> Architecture:
    """Check a configuration.

    Raises:
        UnspoolError: it is not of the form above.
    """
    front, recurrent, head = (_section(config, name) for name in ("front", "recurrent", "head"))
    kind, cell, head_kind = _word(front, "kind", FRONTS), _word(recurrent, "cell", CELLS), _word(head, "kind", HEADS)
    _known("front", front, ("kind", *_SECTIONS["front"][kind]))
    _known("recurrent", recurrent, ("cell", "hidden_size", "num_layers", "dropout", *OPTIONS[cell]))
    _known("head", head, ("kind", *_SECTIONS["head"][head_kind]))
    inputs, hidden = _size(front, "size"), _size(recurrent, "hidden_size")
    layers = integer("num_layers", recurrent.get("num_layers"), 1, 2**10)
    dropout = number("dropout", recurrent.get("dropout", 0.0), below=1)
    options = _options(cell, recurrent, hidden, layers)
    feedback = options.get("output_size") or options.get("proj_size") or hidden
    family = _word(head, "family", tuple(FAMILIES)) if head_kind == "distribution" else None
    return Architecture(
        kind,
        {"one-hot": inputs, "embedding": _size(front, "tokens") if kind == "embedding" else 0, "dense": 0}[kind],
        inputs,
        cell,
        hidden,
        layers,
        dropout,
        options,
        feedback * (2 if options.get("bidirectional") else 1),
        head_kind,
        family,
        _size(head, "size") * (FAMILIES[family] if family else 1),
    )


def _options(cell: str, section: Mapping[str, Any], hidden: int, layers: int) -> dict[str, Any]:
    options = {name: section.get(name, default) for name, default in OPTIONS[cell].items()}
    for name, default in OPTIONS[cell].items():
        if isinstance(default, bool) and not isinstance(options[name], bool):
            raise UnspoolError(f"{name} must be true or false; got {options[name]!r:.80}")
    if "nonlinearity" in options:
        one_of("nonlinearity", options["nonlinearity"], OUTPUT if cell == "tdnn" else HIDDEN)
    if cell == "jordan":
        one_of("output_nonlinearity", options["output_nonlinearity"], OUTPUT)
        size = options["output_size"]
        options["output_size"] = integer("output_size", hidden if size is None else size, 1, _SIZE)
    if cell == "lstm":
        integer("proj_size", options["proj_size"], 0, hidden - 1)
    if cell == "tdnn":
        options |= {name: _per_layer(name, options[name], layers) for name in ("window", "dilation")}
    return options


def _per_layer(name: str, value: Any, layers: int) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else [value] * layers
    if len(values) != layers:
        raise UnspoolError(f"{name} must be an integer, or one for each of {layers} layers; got {value!r:.80}")
    return tuple(integer(name, v, 1, 2**16) for v in values)


def _section(config: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(config, Mapping) or not isinstance(config.get(name), Mapping):
        raise UnspoolError(f"network must have a section {name!r}; got {config!r:.80}")
    return config[name]


def _word(section: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    one_of(name, section.get(name), words)
    return section[name]


def _known(name: str, section: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """An option that nobody reads would silently make another network."""
    if more := [key for key in section if key not in names]:
        raise UnspoolError(f"{name} must have {', '.join(names)} and no more; got {more[0]!r:.80}")


def _size(section: Mapping[str, Any], name: str) -> int:
    return integer(name, section.get(name), 1, _SIZE)
