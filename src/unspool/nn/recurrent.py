"""What the recurrent layers have in common: the weights of all layers and directions, and how a call runs them."""

import math
import warnings
from inspect import signature
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.parameter import Parameter
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .. import ops
from ..arguments import flag, integer, one_of, probability
from ..cells import Cell, State, Weights, weight_shapes
from ..ops.problem import Lengths
from .arguments import changed, check_tensors, layer_dropout


class Options(TypedDict, total=False):
    """The keywords that every recurrent layer has beyond those of torch.nn's.

    recurrent_dropout: the probability, in [0, 1), that an element of the state is zeroed where it enters the recurrent
        product, in training mode; the other elements are scaled by 1/(1 - probability). Each call draws one mask for
        each sequence, layer and direction, which is the same at all time steps (Gal & Ghahramani 2016).
    learn_initial_state: whether the state before the first step is a parameter instead of zero: `initial_h_l0` (R,),
        and the LSTM's `initial_c_l0` (H,). It begins at zero. It is used at resets, and if no state is given.
    backend: the backend that runs the layer, as for `unspool.ops.run`.
    """

    recurrent_dropout: float
    learn_initial_state: bool
    backend: str


def torch_names(bias: bool, projected: bool = False, peephole: bool = False) -> Weights:
    """The names of the parameters in torch.nn, and a name for the peepholes."""
    return Weights(
        "weight_ih",
        "weight_hh",
        "bias_ih" if bias else None,
        "bias_hh" if bias else None,
        "weight_hr" if projected else None,
        peephole="weight_peephole" if peephole else None,
    )


class Shared(NamedTuple):
    """The arguments of a layer that all layers share, also those of torch.nn."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class Recurrent(torch.nn.Module):
    """The base of the recurrent layers, which differ in nothing but their cell and the names of their parameters.

    Args:
        cell: the equations.
        names: the names of the parameters of one layer and direction, without the suffix; None for absent ones.
        shared: the arguments that the layers of torch.nn have, too.
        feedback_size: R, the size of the state that is fed back; H if None.
        set_bias: a gate, and the value at which its bias, b_ih + b_hh, begins. If None, all biases are drawn.
        The other arguments are `Options`.
    """

    def __init__(
        self,
        cell: Cell,
        names: Weights,
        shared: Shared,
        feedback_size: int | None = None,
        set_bias: tuple[int, float] | None = None,
        recurrent_dropout: float = 0.0,
        learn_initial_state: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        one_of("backend", backend, ("auto", *ops.BACKENDS))
        self.cell = cell
        self.input_size = integer("input_size", shared.input_size, 1)
        self.hidden_size = integer("hidden_size", shared.hidden_size, 1)
        self.num_layers = integer("num_layers", shared.num_layers, 1)
        self.bias = flag("bias", shared.bias)
        self.batch_first = flag("batch_first", shared.batch_first)
        self.dropout = layer_dropout(shared.dropout, self.num_layers, stacklevel=3)
        self.bidirectional = flag("bidirectional", shared.bidirectional)
        self.recurrent_dropout = probability("recurrent_dropout", recurrent_dropout, below=True)
        self.learn_initial_state = flag("learn_initial_state", learn_initial_state)
        self.backend = backend
        self._set_bias = set_bias
        self._sizes = cell.facts.state_sizes(feedback_size or self.hidden_size, self.hidden_size)
        self._create(names, shared.device, shared.dtype)
        self.reset_parameters()

    def _create(self, names: Weights, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        """Name and register all parameters, in the order of torch, and after them the initial states."""
        directions = ("", "_reverse") if self.bidirectional else ("",)
        suffixes = [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in directions]
        initial = [f"initial_{name}" for name in self.cell.facts.states] if self.learn_initial_state else []
        self._names = tuple(Weights(*[name and name + suffix for name in names]) for suffix in suffixes)
        self._initial = tuple(tuple(name + suffix for name in initial) for suffix in suffixes)
        D = 1 + self.bidirectional
        H, R = self.hidden_size, self._sizes[0]
        shapes: dict[Any, tuple[int, ...]] = {}
        for k, layer_names in enumerate(self._names):
            I = self.input_size if k < D else D * R
            named = zip(layer_names, weight_shapes(self.cell.gates, I, H, R), strict=True)
            shapes |= {name: shape for name, shape in named if name}
        for state_names in self._initial:
            shapes |= {name: (size,) for name, size in zip(state_names, self._sizes, strict=False)}
        for name, shape in shapes.items():
            self.register_parameter(name, Parameter(torch.empty(shape, device=device, dtype=dtype)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights from U(-1/√H, 1/√H), in the order of torch; peepholes and initial states become zero."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            if name.startswith(("weight_peephole", "initial")):
                parameter.zero_()
            else:
                parameter.uniform_(-bound, bound)
        if self._set_bias is not None:
            gate, value = self._set_bias
            for k in range(len(self._names)):
                biases: Any = self._weights(k)[2:4]
                for bias, start in zip(biases, (value, 0.0), strict=True):
                    bias.view(-1, self.hidden_size)[gate] = start

    def forward(
        self,
        x: Tensor | PackedSequence | None = None,
        state: Any = None,
        *,
        lengths: Lengths | None = None,
        reset: Tensor | None = None,
        input: Tensor | PackedSequence | None = None,
        hx: Any = None,
    ) -> tuple[Any, Any]:
        """Run the layer over sequences, in the dtype of the parameters, also in a region of torch.autocast.

        The backward pass needs y; change a copy of it, y.clone(), if you want gradients. torch.compile, torch.export
        and torch.jit.trace see one operator. torch.onnx.export(dynamo=False) makes ONNX's own layers of those that
        torch.nn has, too, and a loop of a fixed number of steps of the others. torch.fx and torch.jit.script cannot
        read a layer. It is no `torch.nn.RNNBase`: a tool that asks for one does not see it.

        Args:
            x: the input, (T, B, I), or (B, T, I) with `batch_first`, or (T, I), or a PackedSequence; or int64 tokens
                0..I-1, (T, B), (B, T) or (T,), which stand for 1-of-I inputs.
            state: h, or for the LSTM (h, c), each (layers × directions, B, ·), without B if x has no batch. If None,
                it is the learned state, or zero.
            lengths: (B,) integers 0..T. After its end a sequence has y = 0; its last state is that at its own end,
                where the reverse direction begins. The state of an empty sequence stays as it was.
            reset: bool, with the shape of x without I; True where a new sequence begins, from the learned state or
                zero. The reverse direction comes from the end, and begins anew after it has passed this step.
            input, hx: the names that torch.nn has for `x` and `state`.
        Returns:
            y, with the shape of x but R features for each direction, and the last state, in the form of `state`.
        Raises:
            ValueError or TypeError: an argument is wrong. The message names it, what it must be, and what came.
        """
        x, state = input if x is None else x, hx if state is None else state
        if isinstance(x, PackedSequence):
            return self._forward_packed(x, state, lengths, reset)
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor or a PackedSequence; got {type(x).__name__}")
        check_tensors(required=False, reset=reset)
        if not x.is_meta and torch.is_autocast_enabled(x.device.type):
            return self._forward_uncast(x, state, lengths, reset)
        batched = self._check_x(x, lengths, reset)
        states = None if state is None else self._check_state(x, state, batched)
        if not batched:
            x, reset = x.unsqueeze(1), None if reset is None else reset.unsqueeze(1)
            y, last = self._through_layers(x, states and tuple(s.unsqueeze(1) for s in states), None, reset)
            return y.squeeze(1), self._join(tuple(s.squeeze(1) for s in last))
        if self.batch_first:
            x, reset = x.transpose(0, 1), None if reset is None else reset.transpose(0, 1)
        y, last = self._through_layers(x, states, lengths, reset)
        return y.transpose(0, 1) if self.batch_first else y, self._join(last)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run one time step: `forward` over sequences of length one, with the same weights.

        Args:
            x: the input, (B, I) or (I,), or tokens, (B,) or ().
            state: the state in the form of `forward`, so that steps and sequences can follow each other.
        Returns:
            y, (B, R) or (R,), and the next state.
        Raises:
            ValueError: the layer is bidirectional, or it has recurrent dropout and is in training mode. Such layers
                have no single steps.
        """
        if self.bidirectional:
            raise ValueError("step needs bidirectional=False, because a reverse direction begins at the end; got True")
        if self.training and self.recurrent_dropout > 0:
            raise ValueError(
                "step needs eval(), because recurrent_dropout has one mask for all steps; got training mode"
            )
        batched = x.ndim > x.is_floating_point()
        time = int(self.batch_first and batched)
        y, state = self.forward(x.unsqueeze(time), state)
        return y.squeeze(time), state

    def _forward_packed(
        self, packed: PackedSequence, state: Any, lengths: Lengths | None, reset: Tensor | None
    ) -> tuple[PackedSequence, Any]:
        """Unpack x, run the layer with the lengths, and pack y in the same order."""
        if lengths is not None:
            raise ValueError(f"lengths must be None with a PackedSequence, which has its own; got {lengths}")
        x, lengths = pad_packed_sequence(packed, self.batch_first)
        y, state = self.forward(x, state, lengths=lengths, reset=reset)
        if packed.sorted_indices is not None:
            y = y.index_select(0 if self.batch_first else 1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        return packed._replace(data=pack_padded_sequence(y, lengths, self.batch_first).data), state

    def _forward_uncast(
        self, x: Tensor, state: Any, lengths: Lengths | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        """Run in the dtype of the parameters, although torch.autocast gave x and the state another one."""
        dtype = self._weights(0).w_hh.dtype
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(dtype) if x.is_floating_point() else x
            if state is not None:
                state = state.to(dtype) if isinstance(state, Tensor) else tuple(s.to(dtype) for s in state)
            return self.forward(x, state, lengths=lengths, reset=reset)

    def _through_layers(
        self, x: Tensor, states: State | None, lengths: Lengths | None, reset: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all layers over x, (T, B, I) or (T, B): y and the last state."""
        D = 1 + self.bidirectional
        last: list[State] = []
        for k in range(0, len(self._names), D):
            if k > 0 and self.dropout > 0:
                x = drop(x, self.dropout, self.training)
            runs = [self._through_time(k + d, x, states, lengths, reset, d == 1) for d in range(D)]
            x = runs[0][0] if D == 1 else torch.cat([y for y, _ in runs], dim=-1)
            last += [state for _, state in runs]
        return x, tuple(torch.stack(s) for s in zip(*last, strict=True))

    def _through_time(
        self,
        k: int,
        x: Tensor,
        states: State | None,
        lengths: Lengths | None,
        reset: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, State]:
        """Run the k-th of the layers × directions over x."""
        weights = self._weights(k)
        mask = None
        if self.training and self.recurrent_dropout > 0:
            mask = drop(weights.w_hh.new_ones(x.shape[1], self._sizes[0]), self.recurrent_dropout)
        return ops.run(
            self.cell,
            x,
            None if states is None else tuple(s[k] for s in states),
            weights,
            lengths=lengths,
            reset=reset,
            start=tuple(getattr(self, name) for name in self._initial[k]) or None,
            mask=mask,
            reverse=reverse,
            backend=self.backend,
        )

    def _weights(self, k: int) -> Weights:
        own = self._parameters  # much faster than getattr, which is needed for parametrizations
        return Weights(*[name and (own[name] if name in own else getattr(self, name)) for name in self._names[k]])

    def _join(self, states: State) -> Any:
        """The state in the form that a caller has: h, or (h, c)."""
        return states[0] if len(states) == 1 else states

    def _check_x(self, x: Tensor, lengths: Lengths | None, reset: Tensor | None) -> bool:
        """Check x and what has its shape. Returns whether x has a batch."""
        floats = x.is_floating_point()
        axes = x.ndim - floats
        if axes not in (1, 2) or (floats and x.shape[-1] != self.input_size):
            layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
            rule = f"x must be {layout} or (T, I) with I={self.input_size}, or tokens without the I"
            raise ValueError(f"{rule}; got {tuple(x.shape)} {x.dtype}")
        if axes == 1 and lengths is not None:
            raise ValueError(f"lengths must be None where x has no batch; got {lengths}")
        if reset is not None and reset.shape != x.shape[:axes]:
            raise ValueError(f"reset must have shape {tuple(x.shape[:axes])}, as x; got {tuple(reset.shape)}")
        return axes == 2

    def _check_state(self, x: Tensor, state: Any, batched: bool) -> State:
        """Check the state, and return it as a tuple."""
        names = self.cell.facts.states
        states = tuple(state) if isinstance(state, tuple | list) else (state,)
        if len(states) != len(names):
            raise ValueError(f"state must be {' and '.join(names)}; got {len(states)} tensors")
        check_tensors(**{f"{name} of the state": s for name, s in zip(names, states, strict=True)})
        batch = [x.shape[0 if self.batch_first else 1]] if batched else []
        for name, s, size in zip(names, states, self._sizes, strict=True):
            shape = (len(self._names), *batch, size)
            if s.shape != shape:
                axes = "(layers × directions, B, ·)" if batched else "(layers × directions, ·)"
                raise ValueError(f"state must have {name} {axes} of shape {shape}; got {tuple(s.shape)}")
        return states

    def _set_qconfig(self, value: Any) -> None:
        """Say that torch.ao.quantization, which sets a layer's qconfig, does nothing with one that it does not know."""
        if value is not None:
            name = type(self).__name__
            text = f"{name} has no form of torch.ao.quantization and stays as it is; `unspool pack` packs saved ones"
            warnings.warn(text, stacklevel=2)

    qconfig = property(fset=_set_qconfig)  # for writing alone: `hasattr` is what torch asks

    def flatten_parameters(self) -> None:
        """Do nothing. Code that was written for the layers of torch.nn calls this method."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each of the layers × directions, in the form that the layers of torch.nn have."""
        return [[getattr(self, name) for name in names if name] for names in self._names]

    def extra_repr(self) -> str:
        """The arguments as a caller writes them, without those that have their default value."""
        options = [p for p in signature(Recurrent).parameters.values() if p.name in Options.__annotations__]
        own = [p for p in signature(type(self)).parameters.values() if p.kind is not p.VAR_KEYWORD]
        return changed(self, own + options)
