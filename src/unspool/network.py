"""Networks: front end → recurrent layers → head, for training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from . import nn
from .errors import UnspoolError
from .saved.architecture import Architecture, parse
from .saved.small import float32

CELLS = {"elman": nn.Elman, "jordan": nn.Jordan, "gru": nn.GRU, "lstm": nn.LSTM, "tdnn": nn.TDNN}


class Scale(torch.nn.Module):
    """e = (x - mean) / std, feature by feature; `mean` and `std`, (I,), are saved with the weights and not trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Network(torch.nn.Module):
    """Front end → recurrent layers → head, by a configuration, which `config` keeps (`unspool.saved.architecture`).

        e = front(x);  y, state = recurrent(e, state);  s = head(y)

    Dropout acts in training mode, on the embedding, between recurrent layers, and before the head, never through time
    (Zaremba, Sutskever & Vinyals 2014).

    Raises:
        UnspoolError: the configuration is not of that form.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = config
        self.architecture = arch = parse(config)
        self.inputs, self.outputs = arch.tokens or arch.inputs, arch.outputs
        self.front = _front(arch)
        options = arch.options | ({"dropout": arch.dropout} if arch.num_layers > 1 else {})
        self.recurrent = CELLS[arch.cell](arch.inputs, arch.hidden_size, num_layers=arch.num_layers, **options)
        self.dropout = torch.nn.Dropout(arch.dropout)
        self.head = torch.nn.Linear(arch.features, arch.outputs)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The head's s, before softmax, σ or the like, as losses want it, and the next state.

        Args:
            x: tokens, int64, (T, B), or numbers, (T, B, I).
            state: as returned, to go on; None at the beginning.
            lengths: (B,) integers 1..T, or None; behind its end a sequence has s = b.
            reset: (T, B) bool, where a new sequence begins; None for nowhere.
        Returns:
            s, (T, B, O), and the last state.
        """
        given = {"lengths": lengths, "reset": reset}
        y, state = self._recur(x, state, {name: value for name, value in given.items() if value is not None})
        return self.head(self.dropout(y)), state

    def predict(self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """As `forward`, with probabilities or parameters instead of s: what a stream of the saved network gives."""
        s, state = self.forward(x, state, lengths=lengths)
        return activate(self.architecture, s), state

    def _recur(self, x: Tensor, state: Any, options: dict[str, Tensor]) -> tuple[Tensor, Any]:
        if self.front is None:
            if isinstance(self.recurrent, nn.TDNN):
                x = functional.one_hot(x, self.inputs).to(self.head.weight.dtype)
            return self.recurrent(x, state, **options)
        dropped = self.training and self.dropout.p > 0
        tokens = isinstance(self.front, torch.nn.Embedding) and not isinstance(self.recurrent, nn.TDNN)
        if not tokens or dropped or x.numel() < self.inputs:
            return self.recurrent(self.dropout(self.front(x)), state, **options)
        # Fewer tokens in the vocabulary than in x: W_ih e once for each of those, and x goes in 1-of-k.
        names = ["weight_ih_l0", "weight_ih_l0_reverse"][: 1 + self.architecture.bidirectional]
        dtype = self.front.weight.dtype
        w_ih = {name: (getattr(self.recurrent, name) @ self.front.weight.T).to(dtype) for name in names}
        return functional_call(self.recurrent, w_ih, (x, state), options)


def activate(arch: Architecture, s: Tensor) -> Tensor:
    """The head's outputs from its s, (..., O)."""
    if arch.head == "softmax":
        return s.softmax(-1)
    if arch.head == "logistic":
        return s.sigmoid()
    if arch.head == "linear":
        return s
    if arch.family == "poisson":
        return functional.softplus(s, threshold=80)
    location, scale = s.chunk(2, -1)
    return torch.cat([location, functional.softplus(scale, threshold=80)], -1)


def restore(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Network:
    """The network of a configuration with these weights; nothing is allocated before all their shapes agree.

    Raises:
        UnspoolError: weights are missing, too many, of another shape, or neither float32 nor packed.
    """
    weights = float32(weights)
    with torch.device("meta"):
        network = Network(config)
    wanted = {name: (tuple(value.shape), np.float32) for name, value in network.state_dict().items()}
    given = {name: (value.shape, value.dtype) for name, value in weights.items()}
    different = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if different:
        raise UnspoolError(f"weights and network do not fit together: {', '.join(different)}")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return network.eval()


def _front(arch: Architecture) -> torch.nn.Module | None:
    """None for one-hot tokens, which the recurrent layers know."""
    if arch.front == "embedding":
        return torch.nn.Embedding(arch.tokens, arch.inputs)
    return Scale(arch.inputs) if arch.front == "dense" else None
