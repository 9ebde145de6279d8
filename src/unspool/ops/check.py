"""What `unspool.ops.run` refuses, each with one sentence.

No tensor's values are read but those of lengths and tokens, and these not while torch compiles.
"""

from typing import Any

import torch
from torch import Tensor

from ..cells import LSTM, Cell, Jordan, State, Weights
from .problem import Problem


def complete(p: Problem) -> Problem:
    """A caller's problem, after it was found to be one, as a backend receives it."""
    cell, x, state, weights, lengths, reset, start, mask, reverse = p
    R, H = _cell_and_weights(cell, x, weights)
    T, B, *_ = x.shape
    widths = (R, H)[: len(cell.state_names)]
    if state is not None:
        _state("state", cell, state, weights, "B, ", [(B, width) for width in widths])
    if start is not None:
        _state("start", cell, start, weights, "", [(width,) for width in widths])
    if lengths is not None:
        lengths = checked_lengths(lengths, T, B, x.device)
    if mask is not None:
        _mask(mask, B, R, weights)
    if x.dtype is torch.int64:
        _tokens(x, lengths, weights)
    if state is None:
        state = tuple(s.expand(B, -1) for s in start) if start else _zeros(weights, widths, B)
    if reset is None:
        start = None
    else:
        _reset(reset, T, B, x.device)
        reset, start = _entering(reset, lengths, reverse), start or _zeros(weights, widths)
    return Problem(cell, x, state, weights, lengths, reset, start, mask, reverse)


def _cell_and_weights(cell: Cell, x: Tensor, w: Weights) -> tuple[int, int]:
    """R and H, after x and the weights were found to fit the cell and each other."""
    G = cell.gates
    like = w.w_hh
    if like.ndim != 2 or like.shape[0] % G or not like.is_floating_point():
        raise ValueError(f"w_hh must be floats of shape (G·H, R) with G={G}; got {_what(like)}")
    rows, R = like.shape
    H = rows // G
    I = w.w_ih.shape[-1]
    if min(I, H, R) < 1:
        raise ValueError(f"w_ih (G·H, I) and w_hh (G·H, R) must have no dimension of 0; got I={I}, H={H}, R={R}")
    _tensor("w_ih", w.w_ih, "G·H, I", (rows, I), like)
    if w.b_ih is not None:
        _tensor("b_ih", w.b_ih, "G·H", (rows,), like)
    if w.b_hh is not None:
        _tensor("b_hh", w.b_hh, "G·H", (rows,), like)
    if isinstance(cell, Jordan) or w[4:] != (None, None, None):
        _rarer_weights(cell, w, R, H)
    elif R != H:
        raise ValueError(f"w_hh must have shape (G·H, H) = ({rows}, {H}); got {tuple(like.shape)}")
    shape = x.shape
    if len(shape) != (2 if x.dtype is torch.int64 else 3) or shape[0] == 0:
        raise ValueError(f"x must have shape (T, B, I), or (T, B) if int64 tokens, with T ≥ 1; got {_what(x)}")
    if len(shape) == 3:
        _tensor("x", x, "T, B, I", (shape[0], shape[1], I), like)
    elif x.device != like.device:
        raise ValueError(f"x must be on {like.device}, as w_hh is; got {x.device}")
    return R, H


def _rarer_weights(cell: Cell, w: Weights, R: int, H: int) -> None:
    jordan, lstm = isinstance(cell, Jordan), isinstance(cell, LSTM)
    if w.w_hr is None and (jordan or R != H):
        raise ValueError(f"w_hr must be given, (R, H) = ({R}, {H}), for {cell} with this w_hh; got None")
    rarer = (
        ("w_hr", w.w_hr, "R, H", (R, H), jordan or lstm),
        ("b_hr", w.b_hr, "R", (R,), jordan),
        ("peephole", w.peephole, "G-1, H", (cell.gates - 1, H), lstm),
    )
    for name, tensor, letters, shape, known in rarer:
        if tensor is not None and not known:
            raise ValueError(f"{name} must be None, as {cell} has none; got {_what(tensor)}")
        if tensor is not None:
            _tensor(name, tensor, letters, shape, w.w_hh)


def _state(argument: str, cell: Cell, value: State, w: Weights, batch: str, shapes: list[tuple[int, ...]]) -> None:
    """`value` has a tensor of each of these shapes; `batch` is how their letters begin."""
    names = cell.state_names
    if not isinstance(value, tuple) or len(value) != len(names):
        raise TypeError(f"{argument} must be a tuple of tensors ({', '.join(names)},); got {_what(value)}")
    for name, tensor, letter, shape in zip(names, value, "RH", shapes, strict=False):
        _tensor(f"{argument}'s {name}", tensor, batch + letter, shape, w.w_hh)


def checked_lengths(value: Tensor, T: int, B: int, device: torch.device) -> Tensor:
    """The lengths as int64 on the device of x."""
    rule = f"lengths must be integers in 1..T={T}, one per sequence (B={B})"
    if not isinstance(value, Tensor) or value.is_floating_point() or value.dtype == torch.bool:
        raise TypeError(f"{rule}; got {_what(value)}")
    if value.shape != (B,):
        raise ValueError(f"{rule}; got shape {tuple(value.shape)}")
    if not torch.compiler.is_compiling() and B:
        low, high = (int(v) for v in torch.aminmax(value))
        if low < 1 or high > T:
            raise ValueError(f"{rule}; got values from {low} to {high}")
    return value.to(device, torch.int64)


def _reset(value: Tensor, T: int, B: int, device: torch.device) -> None:
    rule = f"reset must be bool of shape (T, B) = ({T}, {B}) on {device}"
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        raise TypeError(f"{rule}; got {_what(value)}")
    if value.shape != (T, B) or value.device != device:
        raise ValueError(f"{rule}; got shape {tuple(value.shape)} on {value.device}")


def _mask(value: Tensor, B: int, R: int, w: Weights) -> None:
    _tensor("mask", value, "B, R", (B, R), w.w_hh)
    if value.requires_grad:
        raise ValueError("mask must be a constant; got one that requires a gradient: detach() it")


def _tokens(x: Tensor, lengths: Tensor | None, w: Weights) -> None:
    """Tokens are rows of W_ih'; behind a sequence's end they may be anything."""
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return  # there, the look-up itself complains
    I = w.w_ih.shape[1]
    wrong = (x < 0) | (x >= I)
    if lengths is not None:
        wrong &= torch.arange(len(x))[:, None] < lengths
    if wrong.any():
        raise ValueError(f"x must have tokens in 0..{I - 1}, as w_ih has I={I} columns; got {int(x[wrong][0])}")


def _zeros(w: Weights, widths: tuple[int, ...], *batch: int) -> State:
    return tuple([w.w_hh.new_zeros(*batch, width) for width in widths])


def _entering(reset: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """Where the state entering a step is `start`, in the order of processing, and nowhere in the padding."""
    if lengths is not None:
        reset = reset & (torch.arange(len(reset), device=reset.device)[:, None] < lengths)
    return torch.cat([reset[1:], torch.zeros_like(reset[:1])]) if reverse else reset


def transforms() -> str | None:
    """Why a kernel with a derivative of its own cannot run inside a transform that wants another kind."""
    if torch.compiler.is_compiling():
        return None
    if torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return "forward-mode derivatives and torch.func need the eager backend"
    return None


def _tensor(name: str, value: Any, letters: str, shape: tuple[int, ...], like: Tensor) -> None:
    """A tensor of this shape, and of the dtype and on the device of `like`, the recurrent weight."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor of shape ({letters}) = {shape}; got {_what(value)}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape ({letters}) = {shape}; got {tuple(value.shape)}")
    if value.dtype is not like.dtype or value.device != like.device:
        came = f"{value.dtype} on {value.device}"
        raise TypeError(f"{name} must be {like.dtype} on {like.device}, as w_hh is; got {came}")


def _what(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return repr(value) if value is None else type(value).__name__
