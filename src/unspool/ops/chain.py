"""The likelihood of a linear-chain conditional random field, which can be differentiated.

`unspool.chain` has the equations. `torch.ops.unspool.chain` is the C++ kernel as a PyTorch operator: float32 and float64
on the CPU, both computed in float64. Other devices and dtypes, torch.func, forward mode, and derivatives of derivatives
have the same recursion as a loop of PyTorch's operations.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import _native
from . import check
from .native import _empty, _traced
from .problem import Lengths

Optional = Tensor | None


def negative_log_likelihood(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, tags: Tensor, lengths: Lengths | None = None
) -> Tensor:
    """-log p(tags) = log Z - s(tags) of each sequence, (B,); 0 for an empty one.

    Args:
        emissions: e, floats (T, B, K), on the CPU preferably.
        transitions, start, end: potentials (K, K), (K,), (K,), -∞ where something is forbidden; their dtype and device
            are those of the emissions.
        tags: int64 (T, B), anything in the padding.
        lengths: (B,) integers 0..T; T if None.
    Raises:
        TypeError or ValueError: an argument is wrong. The message names it, what it must be, and what came.
    """
    lengths = _check(emissions, transitions, start, end, tags, lengths)
    return _value(emissions, transitions, start, end, tags, lengths)


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Lengths | None = None
) -> Tensor:
    """log Z of each sequence, (B,); the gradient by e is p(y[t] = k). Arguments as for `negative_log_likelihood`."""
    lengths = _check(emissions, transitions, start, end, None, lengths)
    return _value(emissions, transitions, start, end, None, lengths)


def loop(e: Tensor, A: Tensor, start: Tensor, end: Tensor, tags: Optional, lengths: Optional) -> Tensor:
    """log Z of each sequence, less the score of its tags where there are any, from PyTorch's operations.

    α[t] = e[t] + log Σ_i exp(α[t-1, i] + A[i]),   α[0] = start + e[0],   log Z = log Σ_j exp(α[n-1, j] + end[j])
    """
    T, B, _ = e.shape
    if lengths is None:
        lengths = torch.full((B,), T, device=e.device)
    live = torch.arange(T, device=e.device)[:, None] < lengths  # (T, B)
    e = torch.where(live[:, :, None], e, 0)
    α = start + e[0]
    for t in range(1, T):
        α = torch.where(live[t, :, None], e[t] + _log_sum(α[:, :, None] + A), α)
    value = _log_sum((α + end)[:, :, None])[:, 0]
    if tags is not None:
        y = torch.where(live, tags, 0)
        last = y.gather(0, (lengths - 1).clamp(min=0)[None])[0]
        steps = torch.where(live, e.gather(2, y[:, :, None])[:, :, 0], 0).sum(0)
        moves = torch.where(live[1:], A[y[:-1], y[1:]], 0).sum(0)
        value = value - (start[y[0]] + steps + moves + end[last])
    return torch.where(lengths > 0, value, 0)


def _log_sum(x: Tensor) -> Tensor:
    """log Σ exp(x) over the second of three axes; where all of x is -∞ its gradient is 0, not NaN."""
    most = x.detach().amax(1, keepdim=True)
    most = torch.where(most.isneginf(), 0, most)
    total = (x - most).exp().sum(1)
    none = total == 0
    return torch.where(none, -torch.inf, torch.where(none, 1, total).log()) + most[:, 0]


def _check(e: Any, A: Any, start: Any, end: Any, tags: Any, lengths: Lengths | None) -> Optional:
    """Check the arguments; the lengths, as a tensor."""
    if not isinstance(e, Tensor) or e.ndim != 3 or not e.is_floating_point() or 0 in (e.shape[0], e.shape[2]):
        raise ValueError(f"emissions must be floats (T, B, K) with T ≥ 1 and K ≥ 1; got {check._what(e)}")
    T, B, K = e.shape
    for name, value, letters, shape in (
        ("transitions", A, "K, K", (K, K)),
        ("start", start, "K", (K,)),
        ("end", end, "K", (K,)),
    ):
        check._tensor(name, value, letters, shape, (e.dtype, e.device), "emissions are")
    if tags is not None and (not isinstance(tags, Tensor) or tags.dtype is not torch.int64):
        raise TypeError(f"tags must be int64; got {check._what(tags)}")
    if tags is not None and (tags.shape != (T, B) or tags.device != e.device):
        raise ValueError(f"tags must have shape (T, B) = {(T, B)} on {e.device}; got {check._what(tags)}")
    return None if lengths is None else check.checked_lengths(lengths, T, B, e.device)


def _value(e: Tensor, A: Tensor, start: Tensor, end: Tensor, tags: Optional, lengths: Optional) -> Tensor:
    tensors = (e, A, start, end, tags, lengths)
    if not e.is_cpu or e.dtype not in (torch.float32, torch.float64) or check.transforms():
        return loop(*tensors)
    save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors[:4] if t is not None)
    if _traced(tensors):
        return _operator(*tensors, True)[0]
    return _Chain.apply(*tensors)[0] if save else _forward(*tensors, False)[0]


def _arrays(e: Tensor, A: Tensor, start: Tensor, end: Tensor, tags: Optional, lengths: Optional) -> dict[str, Any]:
    """What the kernels are given, by name: the potentials in float64."""
    wide = {"transitions": A.double(), "start": start.double(), "end": end.double()}
    tensors = {"emissions": e, "tags": tags, "lengths": lengths} | wide
    return {name: None if t is None else _array(t) for name, t in tensors.items()} | {"threads": torch.get_num_threads()}


def _array(t: Tensor) -> Any:
    return t.detach().contiguous().numpy()


def _forward(
    e: Tensor,
    A: Tensor,
    start: Tensor,
    end: Tensor,
    tags: Optional,
    lengths: Optional,
    save: bool,
    empty: Callable[..., Tensor] = _empty,
) -> tuple[Tensor, Tensor]:
    """The value, and what the backward pass needs."""
    value = e.new_empty(e.shape[1], dtype=torch.float64)
    alpha = empty(value, _kept(e)) if save else value.new_empty(0)
    out = {"value": value.numpy(), "alpha": alpha.numpy() if save else None}
    _native.chain_forward(**_arrays(e, A, start, end, tags, lengths), **out)
    return value.to(e.dtype), alpha


def _kept(e: Tensor) -> tuple[int, int, int]:
    """The shape of α, which has room for whole vectors of sequences."""
    T, B, K = e.shape
    return T, (B + 7) // 8 * 8, K


def _backward(
    e: Tensor, A: Tensor, start: Tensor, end: Tensor, tags: Optional, lengths: Optional, alpha: Tensor, dvalue: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the first four by that of the value."""
    de, wide = _empty(e, e.shape), [A.new_empty(t.shape, dtype=torch.float64) for t in (A, start, end)]
    names = ("demissions", "dtransitions", "dstart", "dend")
    out = {name: g.numpy() for name, g in zip(names, (de, *wide), strict=True)}
    above = {"alpha": _array(alpha), "dvalue": _array(dvalue.double())}
    _native.chain_backward(**_arrays(e, A, start, end, tags, lengths), **above, **out)
    dA, dstart, dend = (g.to(e.dtype) for g in wide)
    return de, dA, dstart, dend


def _checked_forward(e: Tensor, A: Tensor, start: Tensor, end: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    tags, lengths, save = others
    lengths = _check(e, A, start, end, tags, lengths)
    # What is kept has nothing in the padding, where the kernel does not write; who compares operators sees zeros.
    return _forward(e, A, start, end, tags, lengths, save, Tensor.new_zeros)


def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    e, save = arguments[0], arguments[-1]
    return e.new_empty(e.shape[1]), e.new_empty(_kept(e) if save else 0, dtype=torch.float64)


def _checked_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *tensors, alpha, dvalue = arguments
    _check(*tensors)
    if alpha.numel() == 0 and tensors[0].numel():
        raise ValueError("chain must have run with save=True for its gradients; got save=False")
    check.as_kept("alpha", alpha, alpha.new_empty(_kept(tensors[0]), device="meta"), (torch.float64, alpha.device))
    return _backward(*tensors, alpha, dvalue)


def _backward_fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    e, A, start, end, *_ = arguments
    return torch.empty_like(e), torch.empty_like(A), torch.empty_like(start), torch.empty_like(end)


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs[:6], output[1])


def _autograd(ctx: Any, dvalue: Optional, _: object) -> tuple[Optional, ...]:
    *tensors, alpha = ctx.saved_tensors
    if dvalue is None:
        return (None,) * 7
    batched: Any = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    if torch.is_grad_enabled() or batched(dvalue) or check.transforms():
        gradients = _differentiable_gradients(tensors, dvalue)
    else:
        traced = _traced((*tensors, dvalue))
        gradients = (_backward_operator if traced else _backward)(*tensors, alpha, dvalue)
    return (*gradients, None, None, None)[:7]


def _differentiable_gradients(tensors: list[Any], dvalue: Tensor) -> tuple[Optional, ...]:
    """The same by the loop, for derivatives of derivatives."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors[:4]]
        value = loop(*inputs, *tensors[4:])
    return torch.autograd.grad(value, inputs, dvalue, create_graph=create_graph)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        outputs = _forward(*arguments, True)
        _setup_context(ctx, arguments, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, dvalue: Optional, other: object) -> tuple[Optional, ...]:
        return _autograd(ctx, dvalue, other)[:6]


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
