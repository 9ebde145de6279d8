"""The feed-forward layers: the time-delay network, whose only memory is a window, and the multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop

from ..arguments import flag, integer, integers, one_of, probability
from ..cells import NONLINEARITIES, OUTPUT, Nonlinearity
from ..ops import check
from ..ops.problem import Lengths
from .arguments import check_tensors, layer_dropout

Window = tuple[Tensor, ...]  # for each layer, its last (window - 1)·dilation inputs


class TDNN(torch.nn.Module):
    """Time-delay neural network over whole sequences (Waibel et al. 1989): each layer sees a window of past inputs.

        y[t] = φ(b + Σ_k W[:, :, k] x[t - (K - 1 - k)·d])         k = 0 .. K-1

    This is `torch.nn.Conv1d` over time, after the past, which has d·(K - 1) steps and is zeros or `state`. The layers
    `layers.0` ... are such convolutions, whose parameters begin in U(-1/√(I·K), 1/√(I·K)).

    >>> import torch, unspool
    >>> tdnn = unspool.nn.TDNN(3, 8, num_layers=2, window=3, dilation=[1, 3])
    >>> y, state = tdnn(torch.zeros(20, 4, 3))
    >>> y.shape, [s.shape[0] for s in state]
    (torch.Size([20, 4, 8]), [2, 6])

    Args:
        input_size: I, the number of features of the input.
        hidden_size: H, the number of features of the output of each layer.
        num_layers: the number of layers, each of which reads the output of the one before.
        window: K, the number of inputs that a layer sees at a time, or a sequence with one K for each layer.
        dilation: d, the number of steps from one of these inputs to the next, or a sequence with one d for each layer.
        nonlinearity: φ, "tanh", "relu", "sigmoid" or "identity".
        bias: whether the layers have b.
        batch_first: whether x and y are (B, T, ·) instead of (T, B, ·).
        dropout: the probability that an element is zeroed between two layers, in training mode.
        device, dtype: those of the parameters.
    Raises:
        ValueError or TypeError: an argument is wrong. The message names it, what it must be, and what came.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        window: int | Sequence[int] = 3,
        dilation: int | Sequence[int] = 1,
        nonlinearity: Nonlinearity = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        num_layers = integer("num_layers", num_layers, 1)
        bias = flag("bias", bias)
        one_of("nonlinearity", nonlinearity, OUTPUT)
        self.input_size = integer("input_size", input_size, 1)
        self.hidden_size = hidden_size = integer("hidden_size", hidden_size, 1)
        self.nonlinearity = nonlinearity
        self.batch_first = flag("batch_first", batch_first)
        self.dropout = layer_dropout(dropout, num_layers, stacklevel=2)
        windows = integers("window", window, num_layers, 1)
        dilations = integers("dilation", dilation, num_layers, 1)
        inputs = [self.input_size] + [hidden_size] * (num_layers - 1)
        self._past_sizes = [((K - 1) * d, I) for I, K, d in zip(inputs, windows, dilations, strict=True)]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(I, hidden_size, K, dilation=d, bias=bias, device=device, dtype=dtype)
            for I, K, d in zip(inputs, windows, dilations, strict=True)
        )

    def forward(
        self, x: Tensor, state: Window | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Tensor, Window]:
        """Run the layers over sequences.

        Args:
            x: the input, (T, B, I), or (B, T, I) with `batch_first`, or (T, I).
            state: the past, which has the last d·(K - 1) inputs of each layer: (d·(K - 1), B, ·), also with
                `batch_first`, and without B if x has no batch. Zeros if None.
            lengths: (B,) integers 0..T. After its end a sequence has y = 0; its last state is that at its own end.
        Returns:
            y, with the shape of x but H features, and the last state.
        """
        batched = self._check_x(x, lengths)
        if not batched:
            x, state = x.unsqueeze(1), state and tuple(s.unsqueeze(1) for s in state)
        elif self.batch_first:
            x = x.transpose(0, 1)
        state = self._past(x, state)
        y, last = self._through_layers(x, state, lengths)
        if not batched:
            return y.squeeze(1), tuple(s.squeeze(1) for s in last)
        return y.transpose(0, 1) if self.batch_first else y, last

    def step(self, x: Tensor, state: Window | None = None) -> tuple[Tensor, Window]:
        """Run one time step: from x, (B, I) or (I,), and a state, to y, (B, H) or (H,), and the next state."""
        time = int(self.batch_first and x.ndim == 2)
        y, state = self.forward(x.unsqueeze(time), state)
        return y.squeeze(time), state

    def _through_layers(self, x: Tensor, state: Window, lengths: Lengths | None) -> tuple[Tensor, Window]:
        T, B, _ = x.shape
        live = None
        if lengths is not None:
            lengths = check.checked_lengths(lengths, T, B, x.device)
            live = torch.arange(T, device=x.device)[:, None, None] < lengths[:, None]  # (T, B, 1)
            # With zeros in the padding; a NaN there would reach the gradients of the weights as 0 · NaN.
            x = torch.where(live, x, 0)
        φ, _ = NONLINEARITIES[self.nonlinearity]
        last = []
        for k, (conv, past) in enumerate(zip(self.layers, state, strict=True)):
            if k > 0 and self.dropout > 0:
                x = drop(x, self.dropout, self.training)
            seen = torch.cat([past, x])
            last.append(_ends(seen, len(past), lengths))
            x = φ(conv(seen.permute(1, 2, 0)).permute(2, 0, 1))
        return x if live is None else torch.where(live, x, 0), tuple(last)

    def _check_x(self, x: Tensor, lengths: Lengths | None) -> bool:
        """Check x and the lengths. Returns whether x has a batch."""
        check_tensors(x=x)
        if not x.is_floating_point():
            raise TypeError(f"x must be of floating point; got {x.dtype}")
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size or 0 in x.shape:
            layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ValueError(f"x must be {layout} or (T, I) with T ≥ 1 and I={self.input_size}; got {tuple(x.shape)}")
        if x.ndim == 2 and lengths is not None:
            raise ValueError(f"lengths must be None where x has no batch; got {lengths}")
        return x.ndim == 3

    def _past(self, x: Tensor, state: Window | None) -> Window:
        """Check the shapes of the state, and return it; zeros if None."""
        shapes = [(steps, x.shape[1], I) for steps, I in self._past_sizes]
        if state is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        came = [tuple(s.shape) for s in state]
        if came != shapes:
            raise ValueError(f"state must have (d·(K - 1), B, ·) for each layer, of shapes {shapes}; got {came}")
        return state

    def extra_repr(self) -> str:
        return f"nonlinearity={self.nonlinearity!r}, batch_first={self.batch_first}, dropout={self.dropout}"


class MLP(torch.nn.Module):
    """The multi-layer perceptron, a feed-forward network.

        y = ψ(W_n ... φ(W_2 φ(W_1 x + b_1) + b_2) ... + b_n)

    The layers `layers.0` ... are `torch.nn.Linear`, whose parameters begin in U(-1/√I, 1/√I) for a layer with I inputs.

    >>> import torch, unspool
    >>> unspool.nn.MLP([5, 16, 1], "tanh")(torch.zeros(32, 5)).shape
    torch.Size([32, 1])

    Args:
        sizes: the numbers of features of the input, of each hidden layer, and of the output; at least two numbers.
        nonlinearity: φ, after each hidden layer: "tanh", "relu", "sigmoid" or "identity".
        output_nonlinearity: ψ, after the last layer: one of the same four.
        bias: whether the layers have b.
        dropout: the probability that an element of a hidden layer is zeroed, in training mode.
        device, dtype: those of the parameters.
    Raises:
        ValueError or TypeError: an argument is wrong. The message names it, what it must be, and what came.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        nonlinearity: Nonlinearity = "relu",
        output_nonlinearity: Nonlinearity = "identity",
        bias: bool = True,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes must have at least those of the input and the output; got {sizes}")
        sizes = [integer(f"sizes[{k}]", size, 1) for k, size in enumerate(sizes)]
        bias = flag("bias", bias)
        one_of("nonlinearity", nonlinearity, OUTPUT)
        one_of("output_nonlinearity", output_nonlinearity, OUTPUT)
        self.nonlinearity = nonlinearity
        self.output_nonlinearity = output_nonlinearity
        self.input_size = sizes[0]
        self.dropout = probability("dropout", dropout)
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(I, O, bias, device=device, dtype=dtype) for I, O in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers: from x, (..., I), to y, (..., O)."""
        check_tensors(x=x)
        if x.ndim == 0 or x.shape[-1] != self.input_size or not x.is_floating_point():
            raise ValueError(f"x must be floats (..., I) with I={self.input_size}; got {tuple(x.shape)} {x.dtype}")
        *hidden, last = self.layers
        φ, _ = NONLINEARITIES[self.nonlinearity]
        ψ, _ = NONLINEARITIES[self.output_nonlinearity]
        for layer in hidden:
            x = drop(φ(layer(x)), self.dropout, self.training)
        return ψ(last(x))

    def extra_repr(self) -> str:
        return f"{self.nonlinearity!r}, {self.output_nonlinearity!r}, dropout={self.dropout}"


def _ends(seen: Tensor, size: int, lengths: Tensor | None) -> Tensor:
    """The last `size` rows of seen, (size + T, B, ·), before the end of each sequence."""
    if lengths is None:
        return seen[len(seen) - size :]
    rows = torch.arange(size, device=seen.device)[:, None] + lengths  # (size, B)
    return seen[rows, torch.arange(seen.shape[1], device=seen.device)]
