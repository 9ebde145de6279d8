"""Networks: front end → recurrent layers → head, for training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from . import nn
from .arguments import look_up
from .cells import FACTS, RECURRENT
from .errors import UnspoolError
from .saved.architecture import Architecture, parse
from .saved.small import float32

CELLS: dict[str, type[torch.nn.Module]] = {name: getattr(nn, facts.layer) for name, facts in FACTS.items()}


class Scale(torch.nn.Module):
    """e = (x - mean) / std, for each feature; `mean` and `std`, (I,), are saved with the weights but not trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _location_and_scale(s: Tensor) -> Tensor:
    location, scale = s.chunk(2, -1)
    return torch.cat([location, _positive(scale)], -1)


def _positive(s: Tensor) -> Tensor:
    return functional.softplus(s, threshold=80)


# What makes each kind of front end. One-hot tokens need none, because the recurrent layers take tokens.
FRONTS: dict[str, Callable[[Architecture], torch.nn.Module | None]] = {
    "one-hot": lambda arch: None,
    "embedding": lambda arch: torch.nn.Embedding(arch.tokens, arch.inputs),
    "dense": lambda arch: Scale(arch.inputs),
}
# What turns the sums s of each kind of head into its outputs; for a distribution, that of its family.
HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda s: s,
    "softmax": lambda s: s.softmax(-1),
    "logistic": lambda s: s.sigmoid(),
}
FAMILIES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": _location_and_scale,
    "laplace": _location_and_scale,
    "poisson": _positive,
}


class Network(torch.nn.Module):
    """Front end → recurrent layers → head, as a configuration describes them (`unspool.saved.architecture`).

        e = front(x);  y, state = recurrent(e, state);  s = head(y)

    In training mode, dropout acts on the embedding, or on what a feed-forward network reads of tokens 1-of-k, between
    the recurrent layers, and before the head, but never through time (Zaremba, Sutskever & Vinyals 2014), nor on
    numbers. The attribute `config` is the configuration.

    Raises:
        UnspoolError: the configuration does not have that form.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = config
        self.architecture = arch = parse(config)
        self.inputs, self.outputs = arch.tokens or arch.inputs, arch.outputs
        self.front = look_up("front", arch.front, FRONTS)(arch)
        options = arch.options | ({"dropout": arch.dropout} if arch.num_layers > 1 else {})
        layer = look_up("cell", arch.cell, CELLS)
        self.recurrent = layer(arch.inputs, arch.hidden_size, num_layers=arch.num_layers, **options)
        self._takes_tokens = arch.cell in RECURRENT
        self.dropout = torch.nn.Dropout(arch.dropout)
        self.head = torch.nn.Linear(arch.features, arch.outputs)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The sums s of the head, which losses take, before a softmax, a σ or the like; and the next state.

        Args:
            x: tokens, int64 (T, B), or numbers, (T, B, I).
            state: the state that an earlier call returned; None at the beginning.
            lengths: (B,) integers 1..T; after its end a sequence has s = b. None if all sequences have T steps.
            reset: (T, B) bool, True where a new sequence begins; None if none begins.
        Returns:
            s, (T, B, O), and the last state.
        """
        given = {"lengths": lengths, "reset": reset}
        y, state = self._recur(x, state, {name: value for name, value in given.items() if value is not None})
        return self.head(self.dropout(y)), state

    def predict(self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """As `forward`, but with the outputs of the head instead of s: what a stream of the saved network returns."""
        s, state = self.forward(x, state, lengths=lengths)
        return activate(self.architecture, s), state

    def _recur(self, x: Tensor, state: Any, options: dict[str, Tensor]) -> tuple[Tensor, Any]:
        if self.front is None:
            if not self._takes_tokens:
                x = self.dropout(functional.one_hot(x, self.inputs).to(self.head.weight.dtype))
            return self.recurrent(x, state, **options)
        dropped = self.training and self.dropout.p > 0
        if (
            not self._takes_tokens
            or not isinstance(self.front, torch.nn.Embedding)
            or dropped
            or x.numel() < self.inputs
        ):
            e = self.front(x)
            return self.recurrent(self.dropout(e) if self.architecture.tokens else e, state, **options)
        # The vocabulary has fewer tokens than x. So W_ih e is computed once for each token of the vocabulary, and x is
        # given to the layers as tokens of these columns.
        names = ["weight_ih_l0", "weight_ih_l0_reverse"][: 1 + self.architecture.bidirectional]
        dtype = self.front.weight.dtype
        w_ih = {name: (getattr(self.recurrent, name) @ self.front.weight.T).to(dtype) for name in names}
        return functional_call(self.recurrent, w_ih, (x, state), options)


def activate(arch: Architecture, s: Tensor) -> Tensor:
    """The outputs of the head from its sums s, (..., O)."""
    if arch.family is None:
        return look_up("head", arch.head, HEADS)(s)
    return look_up("family", arch.family, FAMILIES)(s)


def restore(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray], build: Callable[[Any], Network] = Network
) -> Network:
    """The network that `build` makes of a configuration, with these weights.

    Nothing is allocated before all shapes agree.

    Raises:
        UnspoolError: a weight is missing, unknown, of another shape, or neither float32 nor packed.
    """
    weights = float32(weights)
    with torch.device("meta"):
        network = build(config)
    wanted = {name: (tuple(value.shape), np.float32) for name, value in network.state_dict().items()}
    given = {name: (value.shape, value.dtype) for name, value in weights.items()}
    different = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if different:
        raise UnspoolError(f"weights and network do not fit together: {', '.join(different)}")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return network.eval()
