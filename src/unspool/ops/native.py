"""The C++ kernels as PyTorch operators: float32 and float64 on the CPU, one operator for every cell.

`torch.ops.unspool.recurrence` runs one layer in one direction and `recurrence_backward` makes its gradients from what
the first one kept; shapes are their caller's duty, and `unspool.ops.run` checks them. Derivatives of derivatives are
taken through the eager backend, which recomputes the pass; forward-mode derivatives and torch.func are eager's alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _native
from ..cells import GRU, LSTM, Cell, Elman, Jordan, State, Weights, variant
from . import check, eager
from .problem import Problem

_PLAIN = {Tensor, torch.nn.Parameter, type(None)}
_ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu")  # in the order of native/kernels.h, as are the kinds below
_GRU, _GRU_RESET_BEFORE, _LSTM, _LSTM_WITHOUT_FORGET = 2, 3, 4, 5
_GATES = (1, 1, 3, 3, 4, 3)
_SLOTS = (1, 1, 4, 3, 4, 3)  # vectors of H kept for the backward pass at each step

Optional = Tensor | None


def unsupported(problem: Problem) -> str | None:
    """Why these kernels cannot run it: another device, dtype or kind of derivative than theirs."""
    w = problem.weights.w_hh
    if not w.is_cpu or w.dtype not in (torch.float32, torch.float64):
        return f"native runs float32 and float64 on the CPU; got {w.dtype} on {w.device.type}"
    if not variant(problem.cell, problem.cell.facts.kernels):
        return f"native has no kernel of {problem.cell}"
    return check.transforms()


def recurrence(problem: Problem) -> tuple[Tensor, State]:
    """Solve the problem; see `unspool.ops.run`."""
    cell, x, state, weights, lengths, reset, start, mask, reverse = problem
    two = len(state) == 2
    start_h, start_c = (None, None) if start is None else (start[0], start[1] if two else None)
    inputs = (x, state[0], state[1] if two else None, *weights, start_h, start_c, lengths, reset, mask)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    arguments = (*inputs, *_code(cell), reverse, save)
    if _traced(inputs):
        y, h_n, c_n, *_ = _operator(*arguments)
    else:
        y, h_n, c_n, *_ = _Recurrence.apply(*arguments) if save else _forward(*arguments)
    return y, (h_n, c_n) if two else (h_n,)


def _traced(inputs: tuple) -> bool:
    """Whether somebody may watch for operators; if nobody does, calling the function behind one is much cheaper."""
    tracing = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    watched = tracing or torch._C._len_torch_dispatch_stack() > 0
    return watched or not {type(t) for t in inputs} <= _PLAIN


def _code(cell: Cell) -> tuple[int, int, int]:
    match cell:
        case Elman(nonlinearity):
            return 0, _ACTIVATIONS.index(nonlinearity), 0
        case Jordan(nonlinearity, output_nonlinearity):
            return 1, _ACTIVATIONS.index(nonlinearity), _ACTIVATIONS.index(output_nonlinearity)
        case GRU(reset_after):
            return _GRU if reset_after else _GRU_RESET_BEFORE, 0, 0
        case LSTM(forget_gate):
            return _LSTM if forget_gate else _LSTM_WITHOUT_FORGET, 0, 0
    raise TypeError(f"native has no kernel of {cell}")


def _cell(kind: int, activation: int, output_activation: int) -> Cell:
    if kind == 0:
        return Elman(_ACTIVATIONS[activation])
    if kind == 1:
        return Jordan(_ACTIVATIONS[activation], _ACTIVATIONS[output_activation])
    return GRU(kind == _GRU) if kind in (_GRU, _GRU_RESET_BEFORE) else LSTM(kind == _LSTM)


_INPUTS = "x h0 c0 w_ih w_hh b_ih b_hh w_hr b_hr peephole start_h start_c lengths reset mask".split()
_OUTPUTS = "y h_n c_n gates cells mid".split()
_DIFFERENTIABLE = _INPUTS[:12]
_PLACES = {name: place for place, name in enumerate(_native.ARRAYS)}
_SCHEMA = (
    "(Tensor x, Tensor h0, Tensor? c0, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr, "
    "Tensor? b_hr, Tensor? peephole, Tensor? start_h, Tensor? start_c, Tensor? lengths, Tensor? reset, Tensor? mask, "
    "int cell, int activation, int output_activation, bool reverse"
)
_library = torch.library.Library("unspool", "FRAGMENT")
_library.define(
    f"recurrence{_SCHEMA}, bool save) -> (Tensor y, Tensor h_n, Tensor c_n, Tensor gates, Tensor cells, Tensor mid)"
)
_library.define(
    f"recurrence_backward{_SCHEMA}, Tensor y, Tensor gates, Tensor cells, Tensor mid, Tensor? dy, Tensor? dh_n, "
    "Tensor? dc_n, bool[] wanted) -> Tensor[]"
)


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An array for the kernels to write; a large one takes the memory of one that has died."""
    size = math.prod(shape)
    if size * like.itemsize < _native.LARGE or torch.are_deterministic_algorithms_enabled():  # which fill empty ones
        return like.new_empty(shape)
    return torch.frombuffer(_native.memory(size * like.itemsize), dtype=like.dtype).view(shape)


def _outputs(inputs: tuple, kind: int, save: bool, empty: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """y, h_n, c_n and what the backward pass needs, empty; absent ones have no elements."""
    x, h0, c0, w_hr = inputs[0], inputs[1], inputs[2], inputs[7]
    T, B = x.shape[:2]
    H = inputs[4].shape[0] // _GATES[kind]
    two, middle = c0 is not None, w_hr is not None or kind == _GRU_RESET_BEFORE
    return (
        empty(h0, (T, B, h0.shape[1])),
        empty(h0, h0.shape),
        empty(h0, c0.shape if two else (0,)),
        empty(h0, (T, B, _SLOTS[kind], H) if save else (0,)),
        empty(h0, (T, B, H) if save and two else (0,)),
        empty(h0, (T, B, H) if save and middle else (0,)),
    )


def _call(kernel: Any, options: tuple, arrays: dict[str, Any]) -> None:
    """Lay the arrays out and hand their addresses over."""
    x, w_ih, w_hh = arrays["x"], arrays["w_ih"], arrays["w_hh"]
    *code, reverse = options
    T, B = x.shape[:2]
    H = w_hh.shape[0] // _GATES[code[0]]
    sizes = (*code, T, B, w_ih.shape[1], H, w_hh.shape[1], reverse, torch.get_num_threads())
    if x.dtype is torch.int64:
        arrays["tokens"], arrays["x"] = x, None
    addresses, laid_out = [0] * len(_PLACES), []
    for name, t in arrays.items():
        if t is None:
            continue
        if t.dtype is not w_hh.dtype and t.is_floating_point():
            raise TypeError(f"{name} must be {w_hh.dtype}, as w_hh is; got {t.dtype}")
        if not t.is_contiguous():
            t = t.contiguous()
            laid_out.append(t)
        addresses[_PLACES[name]] = t.data_ptr()
    kernel(w_hh.dtype is torch.float64, sizes, tuple(addresses))


def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    *inputs, kind, activation, output_activation, reverse, save = arguments
    outputs = _outputs(tuple(inputs), kind, save, _empty)
    arrays = dict(zip(_INPUTS, inputs, strict=True)) | {
        name: t for name, t in zip(_OUTPUTS, outputs, strict=True) if t.numel()
    }
    _call(_native.forward, (kind, activation, output_activation, reverse), arrays)
    return outputs


def _backward(*arguments: Any) -> list[Tensor]:
    inputs, options = arguments[:15], arguments[15:19]
    y, gates, cells, mid, dy, dh_n, dc_n, wanted = arguments[19:]
    gradients = _gradients(arguments, _empty)
    if y.numel() == 0:
        return [gradient.zero_() for gradient in gradients]
    if gates.numel() == 0:
        raise ValueError("recurrence must have run with save=True for its gradients; got save=False")
    arrays = dict(zip(_INPUTS, inputs, strict=True))
    # The kernels always make the gradients of the initial state, which they carry anyway.
    arrays |= {"dgates": _empty(gates, gates.shape), "dh0": _empty(inputs[1], inputs[1].shape)}
    if inputs[2] is not None:
        arrays["dc0"] = _empty(inputs[2], inputs[2].shape)
    if wanted[10] or wanted[11]:
        arrays["dstart_h"] = _empty(inputs[10], inputs[10].shape)
        arrays["dstart_c"] = None if inputs[11] is None else _empty(inputs[11], inputs[11].shape)
    names = [f"d{name}" for name, want in zip(_DIFFERENTIABLE, wanted, strict=True) if want]
    arrays |= dict(zip(names, gradients, strict=True))
    arrays |= dict(y=y, gates=gates, cells=cells, mid=mid, dy=dy, dh_n=dh_n, dc_n=dc_n)
    _call(_native.backward, options, arrays)
    return gradients


def _forward_fake(*arguments: Any) -> tuple[Tensor, ...]:
    *inputs, kind, _, _, _, save = arguments
    return _outputs(tuple(inputs), kind, save, Tensor.new_empty)


def _backward_fake(*arguments: Any) -> list[Tensor]:
    return _gradients(arguments, Tensor.new_empty)


def _gradients(arguments: tuple, empty: Callable[..., Tensor]) -> list[Tensor]:
    inputs, wanted = arguments[:12], arguments[-1]
    return [empty(t, t.shape) for t, want in zip(inputs, wanted, strict=True) if want]


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.set_materialize_grads(False)
    ctx.options = inputs[15:19]
    y, _, _, gates, cells, mid = output
    ctx.save_for_backward(*inputs[:15], y, gates, cells, mid)


def _autograd(ctx: Any, dy: Optional, dh_n: Optional, dc_n: Optional, *_: object) -> tuple[Optional, ...]:
    saved = ctx.saved_tensors  # once: with checkpoints each look unpacks them again
    inputs, kept = saved[:15], saved[15:]
    wanted = [bool(want) for want in ctx.needs_input_grad[:12]]
    if torch.is_grad_enabled():  # create_graph=True
        gradients = _differentiable_gradients(inputs, ctx.options, (dy, dh_n, dc_n), wanted)
    else:
        backward = _backward_operator if _traced((*inputs, dy, dh_n, dc_n)) else _backward
        gradients = backward(*inputs, *ctx.options, *kept, dy, dh_n, dc_n if inputs[2] is not None else None, wanted)
    found = iter(gradients)
    return (*(next(found) if want else None for want in wanted), *[None] * 8)


def _differentiable_gradients(inputs: tuple, options: tuple, grads: tuple, wanted: list[bool]) -> list[Optional]:
    # By aliases: one input may depend on another, or be it, and each counts for itself alone here.
    inputs = tuple(t.view_as(t) if t is not None and k < 12 else t for k, t in enumerate(inputs))
    x, h0, c0, *rest = inputs
    weights, (start_h, start_c, lengths, reset, mask) = Weights(*rest[:7]), rest[7:]
    *code, reverse = options
    state = (h0,) if c0 is None else (h0, c0)
    start = None if start_h is None else (start_h,) if c0 is None else (start_h, start_c)
    y, last = eager.recurrence(Problem(_cell(*code), x, state, weights, lengths, reset, start, mask, reverse))
    known = [(out, d) for out, d in zip((y, *last), grads, strict=False) if d is not None]
    targets = [t for t, want in zip(inputs[:12], wanted, strict=True) if want]
    outputs, cotangents = zip(*known, strict=True)
    return list(torch.autograd.grad(outputs, targets, cotangents, create_graph=True, allow_unused=True))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        outputs = _forward(*arguments)
        _setup_context(ctx, arguments, outputs)
        return outputs

    backward = staticmethod(_autograd)


_operator = torch.ops.unspool.recurrence.default
_backward_operator = torch.ops.unspool.recurrence_backward.default
_library.impl("recurrence", _forward, "CPU")
_library.impl("recurrence_backward", _backward, "CPU")
torch.library.register_fake("unspool::recurrence", _forward_fake, lib=_library)
torch.library.register_fake("unspool::recurrence_backward", _backward_fake, lib=_library)
torch.library.register_autograd("unspool::recurrence", _autograd, setup_context=_setup_context, lib=_library)
