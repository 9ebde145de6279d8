"""The likelihood of a linear-chain conditional random field, which can be differentiated.

`unspool.chain` has the equations. `torch.ops.unspool.chain` is the C++ kernel as a PyTorch operator: float32 and
float64 on the CPU, both computed in float64. Other devices and dtypes, torch.func, forward mode, and derivatives of
derivatives have the same recursion as a loop of PyTorch's operations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _native
from . import check
from .native import _empty, _traced
from .problem import Lengths

Optional = Tensor | None


class Call(NamedTuple):
    """What the operators take first: e, A and the other potentials, which have gradients, and what has none."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    tags: Tensor | None
    lengths: Tensor | None


Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def negative_log_likelihood(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, tags: Tensor, lengths: Lengths | None = None
) -> Tensor:
    """-log p(tags) = log Z - s(tags) of each sequence, (B,); 0 for an empty one.

    Args:
        emissions: e, floats (T, B, K).
        transitions, start, end: potentials (K, K), (K,), (K,), -∞ where something is forbidden; their dtype and device
            are those of the emissions.
        tags: int64 (T, B), anything in the padding.
        lengths: (B,) integers 0..T; T if None.
    Raises:
        TypeError or ValueError: an argument is wrong. The message names it, what it must be, and what came.
    """
    return value(_checked(emissions, transitions, start, end, tags, lengths))


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Lengths | None = None
) -> Tensor:
    """log Z of each sequence, (B,); its gradient by e is p(y[t] = k). Arguments as for `negative_log_likelihood`."""
    return value(_checked(emissions, transitions, start, end, None, lengths))


def value(call: Call) -> Tensor:
    """log Z of each sequence, less the score of its tags where there are any, of a call that is checked."""
    e = call.emissions
    if not e.is_cpu or e.dtype not in (torch.float32, torch.float64) or check.transforms():
        return loop(call)
    if _traced(call):
        return _operator(*call, True)[0]
    if torch.is_grad_enabled() and any(t.requires_grad for t in call[:4]):
        return _Chain.apply(*call)[0]
    return _forward(call, False)[0]


def loop(call: Call) -> Tensor:
    """The same from PyTorch's operations.

    α[t] = e[t] + log Σ_i exp(α[t-1, i] + A[i]),   α[0] = start + e[0],   log Z = log Σ_j exp(α[n-1, j] + end[j])
    """
    e, A, start, end, tags, lengths = call
    T, B, _ = e.shape
    if lengths is None:
        lengths = torch.full((B,), T, device=e.device)
    live = torch.arange(T, device=e.device)[:, None] < lengths  # (T, B)
    e = torch.where(live[:, :, None], e, 0)
    α = start + e[0]
    for t in range(1, T):
        α = torch.where(live[t, :, None], e[t] + _log_sum(α[:, :, None] + A), α)
    out = _log_sum((α + end)[:, :, None])[:, 0]
    if tags is not None:
        y = torch.where(live, tags, 0)
        last = y.gather(0, (lengths - 1).clamp(min=0)[None])[0]
        steps = torch.where(live, e.gather(2, y[:, :, None])[:, :, 0], 0).sum(0)
        moves = torch.where(live[1:], A[y[:-1], y[1:]], 0).sum(0)
        out = out - (start[y[0]] + steps + moves + end[last])
    return torch.where(lengths > 0, out, 0)


def _log_sum(x: Tensor) -> Tensor:
    """log Σ exp(x) over the second of three axes; where all of x is -∞ its gradient is 0, not NaN."""
    most = x.detach().amax(1, keepdim=True)
    most = torch.where(most.isneginf(), 0, most)
    total = (x - most).exp().sum(1)
    none = total == 0
    return torch.where(none, -torch.inf, torch.where(none, 1, total).log()) + most[:, 0]


def _checked(e: Any, A: Any, start: Any, end: Any, tags: Any, lengths: Lengths | None) -> Call:
    """Check the arguments; the lengths become a tensor."""
    if not isinstance(e, Tensor) or e.ndim != 3 or not e.is_floating_point() or 0 in (e.shape[0], e.shape[2]):
        raise ValueError(f"emissions must be floats (T, B, K) with T ≥ 1 and K ≥ 1; got {check._what(e)}")
    T, B, K = e.shape
    kind = e.dtype, e.device
    check._tensor("transitions", A, "K, K", (K, K), kind, "emissions are")
    check._tensor("start", start, "K", (K,), kind, "emissions are")
    check._tensor("end", end, "K", (K,), kind, "emissions are")
    if tags is not None and (not isinstance(tags, Tensor) or tags.dtype is not torch.int64):
        raise TypeError(f"tags must be int64; got {check._what(tags)}")
    if tags is not None and (tags.shape != (T, B) or tags.device != e.device):
        raise ValueError(f"tags must have shape (T, B) = {(T, B)} on {e.device}; got {check._what(tags)}")
    return Call(e, A, start, end, tags, None if lengths is None else check.checked_lengths(lengths, T, B, e.device))


def _arrays(call: Call) -> dict[str, Any]:
    """What the kernels are given, by name: the potentials in float64."""
    e, A, start, end, tags, lengths = call
    wide = Call(e, A.double(), start.double(), end.double(), tags, lengths)
    named = {name: None if t is None else _array(t) for name, t in wide._asdict().items()}
    return named | {"threads": torch.get_num_threads()}


def _array(t: Tensor) -> Any:
    return t.detach().contiguous().numpy()


def _kept(e: Tensor) -> tuple[int, int, int]:
    """The shape of α, which has room for whole vectors of sequences."""
    T, B, K = e.shape
    return T, (B + 7) // 8 * 8, K


def _forward(call: Call, save: bool, empty: Callable[..., Tensor] = _empty) -> tuple[Tensor, Tensor]:
    """The value, and what the backward pass needs."""
    e = call.emissions
    out = e.new_empty(e.shape[1], dtype=torch.float64)
    alpha = empty(out, _kept(e)) if save else out.new_empty(0)
    _native.chain_forward(**_arrays(call), value=out.numpy(), alpha=alpha.numpy() if save else None)
    return out.to(e.dtype), alpha


def _backward(call: Call, alpha: Tensor, dvalue: Tensor) -> Gradients:
    """The gradients of the first four by that of the value."""
    e, *potentials = call[:4]
    de, wide = _empty(e, e.shape), [t.new_empty(t.shape, dtype=torch.float64) for t in potentials]
    names = ("demissions", "dtransitions", "dstart", "dend")
    out = {name: g.numpy() for name, g in zip(names, (de, *wide), strict=True)}
    _native.chain_backward(**_arrays(call), alpha=_array(alpha), dvalue=_array(dvalue.double()), **out)
    dA, dstart, dend = (g.to(e.dtype) for g in wide)
    return de, dA, dstart, dend


# The operators, which anybody can call.


def _checked_forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, save = arguments
    # What is kept has nothing in the padding, where the kernel does not write; who compares operators sees zeros.
    return _forward(_checked(*tensors), save, Tensor.new_zeros)


def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    e, save = arguments[0], arguments[-1]
    return e.new_empty(e.shape[1]), e.new_empty(_kept(e) if save else 0, dtype=torch.float64)


def _checked_backward(*arguments: Any) -> Gradients:
    *tensors, alpha, dvalue = arguments
    call = _checked(*tensors)
    e = call.emissions
    if alpha.numel() == 0 and e.numel():
        raise ValueError("chain must have run with save=True for its gradients; got save=False")
    check.as_kept("alpha", alpha, alpha.new_empty(_kept(e), device="meta"), (torch.float64, e.device))
    check.as_kept("dvalue", dvalue, dvalue.new_empty(e.shape[1], device="meta"), (e.dtype, e.device))
    return _backward(call, alpha, dvalue)


def _backward_fake(*arguments: Any) -> Gradients:
    e, A, start, end, *_ = arguments
    return e.new_empty(e.shape), A.new_empty(A.shape), start.new_empty(start.shape), end.new_empty(end.shape)


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs[:6], output[1])


def _autograd(ctx: Any, dvalue: Optional, *_: object) -> tuple[Optional, ...]:
    none = [None] * len(ctx.needs_input_grad)
    if dvalue is None:
        return (*none,)
    *tensors, alpha = ctx.saved_tensors
    call = Call(*tensors)
    batched: Any = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    if torch.is_grad_enabled() or batched(dvalue) or check.transforms():
        gradients = _differentiable_gradients(call, dvalue)
    elif _traced((*call, dvalue)):
        gradients = _backward_operator(*call, alpha, dvalue)
    else:
        gradients = _backward(call, alpha, dvalue)
    return (*gradients, *none[4:])


def _differentiable_gradients(call: Call, dvalue: Tensor) -> tuple[Tensor, ...]:
    """The same by the loop, for derivatives of derivatives."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # By aliases: one input may depend on another, or be it, and each counts for itself alone here.
        inputs = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in call[:4]]
        out = loop(call._replace(**dict(zip(Call._fields, inputs, strict=False))))
    return torch.autograd.grad(out, inputs, dvalue, create_graph=create_graph)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        outputs = _forward(Call(*arguments), True)
        _setup_context(ctx, arguments, outputs)
        return outputs

    backward = staticmethod(_autograd)


_potentials = "Tensor emissions, Tensor transitions, Tensor start, Tensor end, Tensor? tags, Tensor? lengths"
_library = torch.library.Library("unspool", "FRAGMENT")
_library.define(f"chain({_potentials}, bool save) -> (Tensor value, Tensor alpha)")
_library.define(f"chain_backward({_potentials}, Tensor alpha, Tensor dvalue) -> (Tensor, Tensor, Tensor, Tensor)")
_operator = torch.ops.unspool.chain.default
_backward_operator = torch.ops.unspool.chain_backward.default
_library.impl("chain", _checked_forward, "CPU")
_library.impl("chain_backward", _checked_backward, "CPU")
torch.library.register_fake("unspool::chain", _forward_fake, lib=_library)
torch.library.register_fake("unspool::chain_backward", _backward_fake, lib=_library)
torch.library.register_autograd("unspool::chain", _autograd, setup_context=_setup_context, lib=_library)
