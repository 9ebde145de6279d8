"""The C++ kernels as PyTorch operators: float32 and float64 on the CPU, one operator for every cell.

`torch.ops.unspool.recurrence` runs one layer in one direction and `recurrence_backward` makes its gradients from what
the first one kept. Anybody can call them, so that they check what they are given; `recurrence` below has a problem that
is checked already, and calls the functions behind them where it can. Derivatives of derivatives, and those of many
gradients at once, are taken through the eager backend, which recomputes the pass; forward-mode derivatives and
torch.func are eager's alone.

An operator's arguments are one flat list, which PyTorch wants; `Call`, `Outputs` and `Above` are its names, and the
schemas are made of them. The same names are the fields of a problem in native/sequences/kernels.h.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _native
from ..cells import State, Weights, cell_of, kernel_of, variant
from . import check, eager
from .problem import Problem

_PLAIN = {Tensor, torch.nn.Parameter, type(None)}
_KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", str: "str", bool: "bool", list[bool]: "bool[]"}

Optional = Tensor | None


class Call(NamedTuple):
    """What `recurrence` takes: first the tensors, and of these first the ones that have gradients."""

    x: Tensor
    h0: Tensor
    c0: Tensor | None
    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None
    b_hr: Tensor | None
    peephole: Tensor | None
    start_h: Tensor | None
    start_c: Tensor | None
    lengths: Tensor | None
    reset: Tensor | None
    mask: Tensor | None
    cell: str
    activation: str
    output_activation: str
    reverse: bool
    save: bool  # what the backward pass needs


class Outputs(NamedTuple):
    """What it gives; absent ones have no elements."""

    y: Tensor
    h_n: Tensor
    c_n: Tensor
    gates: Tensor  # this and what follows is for the backward pass
    cells: Tensor
    mid: Tensor


class Above(NamedTuple):
    """What `recurrence_backward` takes behind a call: what was kept of it, the gradients of its outputs, and which are
    wanted of those of its `_DIFFERENTIABLE` inputs."""

    y: Tensor
    gates: Tensor
    cells: Tensor
    mid: Tensor
    dy: Tensor | None
    dh_n: Tensor | None
    dc_n: Tensor | None
    wanted: list[bool]


_TENSORS = tuple(name for name, kind in Call.__annotations__.items() if kind in (Tensor, Tensor | None))
_DIFFERENTIABLE = _TENSORS[: _TENSORS.index("lengths")]
_KEPT = Above._fields[:-1]
_GRADIENTS = tuple(f"d{name}" for name in _DIFFERENTIABLE)


def unsupported(problem: Problem) -> str | None:
    """Why these kernels cannot run it: another device, dtype, cell or kind of derivative than theirs."""
    w = problem.weights.w_hh
    if not w.is_cpu or w.dtype not in (torch.float32, torch.float64):
        return f"native runs float32 and float64 on the CPU; got {w.dtype} on {w.device.type}"
    if variant(problem.cell, problem.cell.facts.kernels) not in _native.CELLS:
        return f"native has no kernel of {problem.cell}"
    if torch._C._get_tracing_state() is not None and torch.onnx.is_in_onnx_export():
        return "ONNX has no operator for it; backend='auto' and 'torch' export"
    return check.transforms()


def recurrence(problem: Problem) -> tuple[Tensor, State]:
    """Solve the problem; see `unspool.ops.run`."""
    h0, *c0 = problem.state
    start_h, *start_c = problem.start or (None,)
    states = (h0, c0[0] if c0 else None), (start_h, start_c[0] if start_c else None)
    others = (problem.lengths, problem.reset, problem.mask)
    tensors: list[Any] = [problem.x, *states[0], *problem.weights, *states[1], *others]
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    # A trace must serve whoever runs it later, and torch compares it with one that is made without gradients.
    save = save or torch._C._get_tracing_state() is not None
    options: list[Any] = [*kernel_of(problem.cell), problem.reverse, save]
    call = Call(*tensors, *options)
    if _traced(tensors):
        y, h_n, c_n, *_ = _operator(*call)
    else:
        y, h_n, c_n, *_ = _Recurrence.apply(*call) if save else _run(call, _empty)
    return y, (h_n, c_n) if c0 else (h_n,)


def _traced(tensors: Sequence[Optional]) -> bool:
    """Whether somebody may watch for operators; if nobody does, calling the function behind one is much cheaper."""
    tracing = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    watched = tracing or torch._C._len_torch_dispatch_stack() > 0
    return watched or not {type(t) for t in tensors} <= _PLAIN


def _schema(*records: Any) -> str:
    fields = [(name, kind) for record in records for name, kind in record.__annotations__.items()]
    return ", ".join(f"{_KINDS[kind]} {name}" for name, kind in fields)


_library = torch.library.Library("unspool", "FRAGMENT")
_library.define(f"recurrence({_schema(Call)}) -> ({_schema(Outputs)})")
_library.define(f"recurrence_backward({_schema(Call, Above)}) -> Tensor[]")


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An array for the kernels to write; a large one takes the memory of one that has died."""
    size = math.prod(shape)
    if size * like.itemsize < _native.LARGE or torch.are_deterministic_algorithms_enabled():  # which fill empty ones
        return like.new_empty(shape)
    return torch.frombuffer(_native.memory(size * like.itemsize), dtype=like.dtype).view(shape)


def _outputs(call: Call, empty: Callable[..., Tensor]) -> Outputs:
    cell, h0, c0, save = _native.CELLS[call.cell], call.h0, call.c0, call.save
    T, B = call.x.shape[:2]
    steps = (T, B, call.w_hh.shape[0] // cell["gates"])
    return Outputs(
        empty(h0, (T, B, h0.shape[1])),
        empty(h0, h0.shape),
        h0.new_empty(0) if c0 is None else empty(h0, c0.shape),
        empty(h0, (T, B, cell["slots"], steps[2])) if save else h0.new_empty(0),
        empty(h0, steps) if save and c0 is not None else h0.new_empty(0),
        empty(h0, steps) if save and (call.w_hr is not None or cell["products"] == 2) else h0.new_empty(0),
    )


def _call(kernel: Callable[[bool, dict], None], call: Call, others: dict[str, Any]) -> None:
    """Lay the arrays out and hand their addresses over, by name."""
    x, w_hh = call.x, call.w_hh
    T, B = x.shape[:2]
    I, H = call.w_ih.shape[1], w_hh.shape[0] // _native.CELLS[call.cell]["gates"]
    problem: dict[str, Any] = dict(steps=T, batch=B, inputs=I, hidden=H, state=w_hh.shape[1])
    problem |= dict(cell=call.cell, activation=call.activation, output_activation=call.output_activation)
    problem |= dict(reverse=call.reverse, threads=torch.get_num_threads())
    arrays: dict[str, Any] = dict(zip(_TENSORS, call, strict=False)) | others
    if x.dtype is torch.int64:
        arrays["tokens"], arrays["x"] = x, None
    laid_out = []
    for name, t in arrays.items():
        if t is None:
            continue
        if t.dtype is not w_hh.dtype and t.is_floating_point():
            raise TypeError(f"{name} must be {w_hh.dtype}, as w_hh is; got {t.dtype}")
        if not t.is_contiguous():
            t = t.contiguous()
            laid_out.append(t)
        problem[name] = t.data_ptr()
    kernel(w_hh.dtype is torch.float64, problem)


def _forward(*arguments: Any) -> Outputs:
    call = Call(*arguments)
    _check(call)
    # What is kept has nothing in the padding, where the kernels do not write; who compares operators sees zeros.
    return _run(call, _empty if call.lengths is None else Tensor.new_zeros)


def _check(call: Call) -> None:
    """Refuse a call in which an array is not as large as the others say. The caller's reset is that of a backend."""
    for name in ("x", "h0", "w_ih", "w_hh"):
        if not isinstance(getattr(call, name), Tensor):
            raise TypeError(f"{name} must be a tensor; got None")
    if call.w_hh.dtype not in (torch.float32, torch.float64) or not call.w_hh.is_cpu:
        raise ValueError(f"w_hh must be float32 or float64 on the CPU; got {call.w_hh.dtype} on {call.w_hh.device}")
    if call.lengths is not None and call.lengths.dtype is not torch.int64:
        raise TypeError(f"lengths must be int64; got {call.lengths.dtype}")
    if (call.reset is None) != (call.start_h is None):
        raise ValueError("reset and start_h must be given together, or neither; got one of them")
    check.complete(_problem(call))


def _run(call: Call, empty: Callable[..., Tensor]) -> Outputs:
    outputs = _outputs(call, empty)
    _call(_native.forward, call, {name: t for name, t in zip(Outputs._fields, outputs, strict=True) if t.numel()})
    return outputs


def _backward(*arguments: Any) -> list[Tensor]:
    call, above = _split(arguments)
    _check(call)
    _check_above(call, above)
    return _run_back(call, above)


def _check_above(call: Call, above: Above) -> None:
    """Refuse what is not of this call, and the gradients of what it does not have."""
    for name in ("y", "gates", "cells", "mid"):
        if not isinstance(getattr(above, name), Tensor):
            raise TypeError(f"{name} must be a tensor; got None")
    given = [isinstance(t, Tensor) and t.is_floating_point() for t in call[: len(_DIFFERENTIABLE)]]
    if len(above.wanted) != len(given) or any(w and not g for w, g in zip(above.wanted, given, strict=True)):
        raise ValueError(f"wanted must say yes or no for each of {', '.join(_DIFFERENTIABLE)}; got {above.wanted}")
    if above.gates.numel() == 0 and above.y.numel() > 0:
        raise ValueError("recurrence must have run with save=True for its gradients; got save=False")
    expected = _outputs(call._replace(save=True), lambda like, shape: like.new_empty(shape, device="meta"))
    kind = call.w_hh.dtype, call.w_hh.device
    for name, like in expected._asdict().items():
        for got in {name, f"d{name}"} & {*Above._fields}:
            check.as_kept(got, getattr(above, got), like, kind)


def _run_back(call: Call, above: Above) -> list[Tensor]:
    gradients = _gradients(call, above.wanted, _empty)
    if above.y.numel() == 0:
        return [gradient.zero_() for gradient in gradients]
    names = [name for name, want in zip(_GRADIENTS, above.wanted, strict=True) if want]
    arrays = dict(zip(_KEPT, above, strict=False)) | dict(zip(names, gradients, strict=True))
    arrays["dgates"] = _empty(above.gates, above.gates.shape)
    # The kernels always make the gradients of the initial state, which they carry anyway; and of both starts, or none.
    more = {"dh0": call.h0, "dc0": call.c0}
    if "dstart_h" in names or "dstart_c" in names:
        more |= {"dstart_h": call.start_h, "dstart_c": call.start_c}
    for name, like in more.items():
        if like is not None and name not in arrays:
            arrays[name] = _empty(like, like.shape)
    _call(_native.backward, call, arrays)
    return gradients


def _split(arguments: tuple) -> tuple[Call, Above]:
    own = len(Call._fields)
    return Call(*arguments[:own]), Above(*arguments[own:])


def _forward_fake(*arguments: Any) -> Outputs:
    return _outputs(Call(*arguments), Tensor.new_empty)


def _backward_fake(*arguments: Any) -> list[Tensor]:
    call, above = _split(arguments)
    return _gradients(call, above.wanted, Tensor.new_empty)


def _gradients(inputs: Sequence[Any], wanted: list[bool], empty: Callable[..., Tensor]) -> list[Tensor]:
    return [empty(t, t.shape) for t, want in zip(inputs, wanted, strict=False) if want]


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.set_materialize_grads(False)
    y, _, _, gates, cells, mid = output
    ctx.options = inputs[len(_TENSORS) :]
    ctx.save_for_backward(*inputs[: len(_TENSORS)], y, gates, cells, mid)


def _autograd(ctx: Any, dy: Optional, dh_n: Optional, dc_n: Optional, *_: object) -> tuple[Optional, ...]:
    try:
        *tensors, y, gates, cells, mid = ctx.saved_tensors  # once: with checkpoints each look unpacks them again
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        remedy = "change a copy of it, y.clone(), where y is what a layer gave; its gradients are made of y"
        raise RuntimeError(f"{error} In unspool: {remedy}.") from None
    wanted = [bool(want) for want in ctx.needs_input_grad[: len(_DIFFERENTIABLE)]]
    call = Call(*tensors, *ctx.options)
    above = (dy, dh_n, dc_n)
    batched: Any = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    many = any(d is not None and batched(d) for d in above)  # is_grads_batched
    if torch.is_grad_enabled() or many or check.transforms():  # create_graph=True, or a transform of the backward pass
        gradients = _differentiable_gradients(call, above, wanted)
    else:
        whole = Above(y, gates, cells, mid, dy, dh_n, dc_n if call.c0 is not None else None, wanted)
        traced = _traced((*tensors, *above))
        gradients = _backward_operator(*call, *whole) if traced else _run_back(call, whole)
    found = iter(gradients)
    others = len(Call._fields) - len(wanted)
    return (*(next(found) if want else None for want in wanted), *[None] * others)


def _differentiable_gradients(call: Call, grads: tuple, wanted: list[bool]) -> list[Optional]:
    create_graph = torch.is_grad_enabled()
    arguments: list[Any] = list(call)
    with torch.enable_grad():
        # By aliases: one input may depend on another, or be it, and each counts for itself alone here.
        inputs: list[Any] = [None if t is None else t.view_as(t) for t in arguments[: len(_DIFFERENTIABLE)]]
        call = Call(*inputs, *arguments[len(inputs) :])
        y, last = eager.recurrence(_problem(call))
    known = [(out, d) for out, d in zip((y, *last), grads, strict=False) if d is not None]
    targets = [t for t, want in zip(inputs, wanted, strict=True) if want]
    outputs, cotangents = zip(*known, strict=True)
    return list(torch.autograd.grad(outputs, targets, cotangents, create_graph=create_graph, allow_unused=True))


def _problem(call: Call) -> Problem:
    def states(h: Optional, c: Optional) -> Any:
        return None if h is None else (h,) if c is None else (h, c)

    return Problem(
        cell_of(call.cell, call.activation, call.output_activation),
        call.x,
        states(call.h0, call.c0),
        Weights(**{name: getattr(call, name) for name in Weights._fields}),
        call.lengths,
        call.reset,
        states(call.start_h, call.start_c),
        call.mask,
        call.reverse,
    )


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        outputs = _run(Call(*arguments), _empty)
        _setup_context(ctx, arguments, outputs)
        return tuple(outputs)

    backward = staticmethod(_autograd)


_operator = torch.ops.unspool.recurrence.default
_backward_operator = torch.ops.unspool.recurrence_backward.default
_library.impl("recurrence", _forward, "CPU")
_library.impl("recurrence_backward", _backward, "CPU")
torch.library.register_fake("unspool::recurrence", _forward_fake, lib=_library)
torch.library.register_fake("unspool::recurrence_backward", _backward_fake, lib=_library)
torch.library.register_autograd("unspool::recurrence", _autograd, setup_context=_setup_context, lib=_library)
