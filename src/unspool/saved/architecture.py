"""What a network is made of, as a saved folder says it: front end, recurrent layers, head. No PyTorch.

    front      {"kind": "one-hot", "size": I}                 tokens 0..I-1, straight into the first recurrent layer
               {"kind": "embedding", "tokens": K, "size": I}  tokens 0..K-1, each a vector of I features
               {"kind": "dense", "size": I}                   I numbers x, which go in as (x - mean) / std
               {"kind": "image", "height": h, "width": w, "channels": c, "kernel": k, "stride": s, "size": F}
               {"kind": "sound", "rate": R, "size": M, "window": W, "hop": S}
    convolution {"size": C, "kernel": k, "stride": s, "nonlinearity": φ}      only where there is one
    recurrent  {"cell": …, "hidden_size": H, "num_layers": L, "dropout": p, and the options of that cell}
    head       {"kind": "linear" | "softmax" | "logistic", "size": O}
               {"kind": "distribution", "family": "normal" | "laplace" | "poisson", "size": O}

An image is h·w·c numbers, rows of pixels from the top, the channels of a pixel side by side. Each channel is scaled as
(x - mean) / std, and then F filters of k × k pixels see it, every s pixels both ways and without padding:

    e[i, j, :] = relu(b + Σ W[:, c, p, q] x[i·s + p, j·s + q, c])

e goes in flat, i before j before the filters. Sound is one sample a step. At the steps 0, S, 2S, ... its features are

    e = (log(filters |DFT(w · the last W samples)|² + 1e-6) - mean) / std

with zeros before the beginning, the periodic Hann window w, and one filter for each feature: triangles of height 1,
whose corners are M + 2 points from 0 to R / 2 Hz, equally far apart on the mel scale of HTK, 2595 log10(1 + f / 700).

The convolution is over time and causal, with zeros before the beginning; it has outputs at its steps 0, s, 2s, ...

    e'[n] = φ(b + Σ_j W[:, :, j] e[n·s - (k - 1 - j)])         φ: identity, tanh, relu or sigmoid

The stride of a network, S·s, is the number of its steps from one output to the next: T steps have ceil(T / (S·s)).

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

    front      weight (K, I); or mean (I,) and std (I,); or nothing; of an image mean and std (c,), weight (F, c, k, k)
               and bias (F,); of sound mean and std (M,) and filters (M, W // 2 + 1)
    convolution weight (C, features of the front end, k), bias (C,)
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

    tokens: K, kinds of tokens that go in, 0 where numbers do; inputs: I, numbers that go in, or features of a token.
    front_options: the other sizes of an image or of sound; front_size: features of the front end.
    convolution: its four values, or None; fed: features of the first recurrent layer.
    stride: steps from one output to the next.
    options: of the cell.
    features: of the recurrent layers' output; family: of the distribution, or None; outputs: of the head.
    """

    front: str
    tokens: int
    inputs: int
    front_options: dict[str, int]
    front_size: int
    convolution: dict[str, Any] | None
    fed: int
    stride: int
    cell: str
    hidden_size: int
    num_layers: int
    dropout: float
    options: dict[str, Any]
    features: int
    head: str
    family: str | None
    outputs: int

    def lengths(self, steps: Any) -> Any:
        """How many outputs sequences of so many steps have: an integer, or an array or tensor of integers."""
        return -(-steps // self.stride)

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
