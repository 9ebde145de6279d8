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

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _native
from ..errors import UnspoolError


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
    """Check a configuration; the compiled core reads it, for Python and C alike (native/steps/architecture.cpp).

    Raises:
        UnspoolError: it is not of the form above.
    """
    return Architecture(**_native.architecture(as_json(config)))


def as_json(config: Any) -> str:
    """A configuration as the compiled core takes it.

    Raises:
        UnspoolError: it is nothing that JSON can have.
    """
    try:
        return json.dumps(config, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnspoolError(f"network must be what JSON can have; got {type(config).__name__} ({error!s:.80})") from None


def _plain(value: Any) -> Any:
    """A number of NumPy's, as a search over parameters may give, or any mapping; what else it is, for the complaint."""
    if isinstance(value, np.generic):
        return value.item()
    return dict(value) if isinstance(value, Mapping) else f"{value!r:.60} of type {type(value).__name__}"
