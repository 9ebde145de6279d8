"""Networks: front end → convolution → recurrent layers → head, for training."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from . import nn
from .arguments import look_up
from .cells import FACTS, NONLINEARITIES, RECURRENT
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


class Image(torch.nn.Module):
    """A convolution over each frame, (..., h·w·c) to (..., F·rows·columns); see `unspool.saved.architecture`.

    `mean` and `std`, (c,), are saved with the weights but not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, height: int, width: int, channels: int, kernel: int, stride: int, size: int):
        super().__init__()
        self.shape, self.stride = (height, width, channels), stride
        filters = torch.nn.Conv2d(channels, size, kernel)
        self.weight, self.bias = filters.weight, filters.bias
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        frames = (x.reshape(-1, *self.shape) - self.mean) / self.std
        e = functional.conv2d(frames.permute(0, 3, 1, 2), self.weight, self.bias, self.stride).relu()
        return e.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Sound(torch.nn.Module):
    """Log-mel features of samples, (T, B, 1) to (ceil(T / hop), B, M); see `unspool.saved.architecture`.

    `mean` and `std`, (M,), and `filters`, (M, window // 2 + 1), are saved with the weights but not trained.
    """

    mean: Tensor
    std: Tensor
    filters: Tensor

    def __init__(self, rate: int, size: int, window: int, hop: int):
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("filters", mel_filters(rate, size, window))

    def features(self, x: Tensor) -> Tensor:
        """The features before they are scaled."""
        frames = functional.pad(x[..., 0].T, (self.window - 1, 0)).unfold(1, self.window, self.hop)
        hann = torch.hann_window(self.window, dtype=x.dtype, device=x.device)
        power = torch.fft.rfft(frames * hann).abs().square()
        return (power @ self.filters.T + 1e-6).log().transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.features(x) - self.mean) / self.std


def mel_filters(rate: int, size: int, window: int) -> Tensor:
    """Triangles, (size, window // 2 + 1), over the frequencies of a window: see `unspool.saved.architecture`."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, size + 2, dtype=torch.float64) / 2595) - 1)
    f = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    low, middle, high = (corners[k : k + size, None] for k in range(3))
    return torch.minimum((f - low) / (middle - low), (high - f) / (high - middle)).clamp(min=0).float()


class Convolution(torch.nn.Module):
    """A causal convolution over time, (T, B, I) to (ceil(T / stride), B, C); see `unspool.saved.architecture`."""

    def __init__(self, inputs: int, size: int, kernel: int, stride: int, nonlinearity: str):
        super().__init__()
        self.stride, self.past = stride, kernel - 1
        filters = torch.nn.Conv1d(inputs, size, kernel)
        self.weight, self.bias = filters.weight, filters.bias
        self.activation, _ = NONLINEARITIES[nonlinearity]

    def forward(
        self, e: Tensor, past: Tensor | None = None, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run it over e after the past, (kernel - 1, B, I), zeros if None; return its outputs and the next past."""
        if past is None:
            past = e.new_zeros(self.past, *e.shape[1:])
        if lengths is not None:
            live = torch.arange(len(e), device=e.device)[:, None, None] < lengths.to(e.device)[:, None]
            e = torch.where(live, e, 0)
        seen = torch.cat([past, e])
        ends = e.new_full((e.shape[1],), len(e), dtype=torch.int64) if lengths is None else lengths.to(e.device)
        rows = torch.arange(self.past, device=e.device)[:, None] + ends, torch.arange(e.shape[1], device=e.device)
        if reset is None:
            s = functional.conv1d(seen.permute(1, 2, 0), self.weight, self.bias, self.stride).permute(2, 0, 1)
            return self.activation(s), seen[rows]
        # Of which sequence each step is: what was before a reset is zero for those after it.
        of = functional.pad(reset.cumsum(0), (0, 0, self.past, 0))
        same = of.unfold(0, self.past + 1, 1) == of[self.past :, :, None]
        taps = torch.where(same[:, :, None], seen.unfold(0, self.past + 1, 1), 0)
        s = functional.linear(taps.flatten(2), self.weight.flatten(1), self.bias)
        last = of[self.past - 1 + ends, rows[1]]
        return self.activation(s), torch.where((of[rows] == last)[..., None], seen[rows], 0)


class Dropout(torch.nn.Dropout):
    """As `torch.nn.Dropout`, but a few times as fast on a CPU, where 64 random bits decide on four elements.

    y = x ∘ m / (1 - p);  m is 0 with probability p, a multiple of 2⁻¹⁶, else 1
    """

    def forward(self, input: Tensor) -> Tensor:
        x, zeros = input, min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or not zeros or not x.is_cpu or torch.compiler.is_compiling():
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        m = (bits.view(torch.int16)[: x.numel()] >= zeros - 2**15).view(x.shape)
        return x * (m.to(x.dtype) * (2**16 / (2**16 - zeros)))


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
    "image": lambda arch: Image(**arch.front_options),
    "sound": lambda arch: Sound(**arch.front_options),
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
    """Front end → convolution → recurrent layers → head, as a configuration says (`unspool.saved.architecture`).

        e = convolution(front(x));  y, state = recurrent(e, state);  s = head(y)

    Only some configurations have a convolution. With a stride (`architecture.stride`) T steps have fewer outputs, and
    whole sequences are wanted: `architecture.lengths` says how many.

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
        if arch.convolution is not None:
            self.convolution = Convolution(arch.front_size, **arch.convolution)
        self.recurrent = layer(arch.fed, arch.hidden_size, num_layers=arch.num_layers, **options)
        self._takes_tokens = arch.cell in RECURRENT
        self.dropout = Dropout(arch.dropout)
        self.head = torch.nn.Linear(arch.features, arch.outputs)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The sums s of the head, which losses take, before a softmax, a σ or the like; and the next state.

        Args:
            x: tokens, int64 (T, B), or numbers, (T, B, I).
            state: the state that an earlier call returned; None at the beginning. With a convolution it is a pair,
                the past of the convolution and the state of the recurrent layers.
            lengths: (B,) integers 1..T; after its end a sequence has s = b. None if all sequences have T steps.
            reset: (T, B) bool, True where a new sequence begins; None if none begins.
        Returns:
            s, (T, B, O), or (`architecture.lengths(T)`, B, O), and the last state.
        Raises:
            UnspoolError: the network has a stride, or reads sound, and a state or resets are given.
        """
        given = {"lengths": lengths, "reset": reset}
        y, state = self._recur(x, state, {name: value for name, value in given.items() if value is not None})
        return self.head(self.dropout(y)), state

    def predict(self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """As `forward`, but with the outputs of the head instead of s: what a stream of the saved network returns."""
        s, state = self.forward(x, state, lengths=lengths)
        return activate(self.architecture, s), state

    def _recur(self, x: Tensor, state: Any, options: dict[str, Tensor]) -> tuple[Tensor, Any]:
        arch = self.architecture
        part = state is not None or "reset" in options
        if part and (arch.front == "sound" or arch.stride > 1):
            raise UnspoolError("a network with a stride or sound trains on whole sequences; got a part of one")
        if "lengths" in options and arch.front == "sound":
            options["lengths"] = -(-options["lengths"] // arch.front_options["hop"])
        if arch.convolution is not None:
            e = functional.one_hot(x, self.inputs).to(self.head.weight.dtype) if self.front is None else self.front(x)
            past, state = (None, None) if state is None else state
            e, past = self.convolution(self.dropout(e) if arch.tokens else e, past, **options)
            if "lengths" in options:
                options["lengths"] = -(-options["lengths"] // self.convolution.stride)
            y, state = self.recurrent(e, state, **options)
            return y, (past, state)
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
