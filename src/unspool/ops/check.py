"""The checks of a problem: what `unspool.ops.run` refuses, with one sentence for each complaint.

The only values that are read are those of lengths and tokens, and while torch compiles not even these. The operators of
`unspool.ops.native` check by the same rules, as anybody can call them.
"""

from typing import Any

import torch
from torch import Tensor

from ..cells import Cell, State, Weights, weight_shapes
from .problem import Problem

Kind = tuple[torch.dtype, torch.device]  # those of the recurrent weight, which all tensors share


def complete(p: Problem) -> Problem:
    """Check the problem of a caller, and fill in what it leaves out: the problem that a backend receives."""
    cell, x, state, weights, lengths, reset, start, mask, reverse = p
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be one of unspool.cells, or of a class derived from its Cell; got {cell!r:.80}")
    kind = weights.w_hh.dtype, weights.w_hh.device
    R, H = _cell_and_weights(cell, x, weights, kind)
    T, B = x.shape[:2]
    sizes = cell.facts.state_sizes(R, H)
    if state is not None:
        _state("state", cell, state, (B,), sizes, kind)
        if lengths is None and reset is None and start is None and mask is None and x.dtype is not torch.int64:
            return p  # nothing is left out; a second record would cost a small call time that can be measured
    if start is not None:
        _state("start", cell, start, (), sizes, kind)
    if lengths is not None:
        lengths = checked_lengths(lengths, T, B, x.device)
    if mask is not None:
        _mask(mask, B, R, kind)
    if x.dtype is torch.int64:
        _tokens(x, lengths, weights)
    if state is None:
        state = tuple(s.expand(B, -1) for s in start) if start else _zeros(weights, sizes, B)
    if reset is None:
        start = None
    else:
        _reset(reset, T, B, x.device)
        reset, start = _entering(reset, lengths, reverse), start or _zeros(weights, sizes)
    return Problem(cell, x, state, weights, lengths, reset, start, mask, reverse)


def _cell_and_weights(cell: Cell, x: Tensor, w: Weights, kind: Kind) -> tuple[int, int]:
    """Check that x and the weights fit the cell and each other: R and H."""
    G = cell.gates
    shape = w.w_hh.shape
    if len(shape) != 2 or shape[0] % G or not kind[0].is_floating_point:
        raise ValueError(f"w_hh must be floats of shape (G·H, R) with G={G}; got {_what(w.w_hh)}")
    rows, R = shape
    H = rows // G
    I = w.w_ih.shape[-1]
    if I < 1 or H < 1 or R < 1:
        raise ValueError(f"w_ih (G·H, I) and w_hh (G·H, R) must have no dimension of 0; got I={I}, H={H}, R={R}")
    _tensor("w_ih", w.w_ih, "G·H, I", (rows, I), kind)
    if w.b_ih is not None:
        _tensor("b_ih", w.b_ih, "G·H", (rows,), kind)
    if w.b_hh is not None:
        _tensor("b_hh", w.b_hh, "G·H", (rows,), kind)
    if cell.facts.required or w[4:] != (None, None, None):
        _rarer_weights(cell, w, H, R, kind)
    elif R != H:
        raise ValueError(f"w_hh must have shape (G·H, H) = ({rows}, {H}); got {tuple(shape)}")
    shape = x.shape
    if len(shape) != (2 if x.dtype is torch.int64 else 3) or shape[0] == 0:
        raise ValueError(f"x must have shape (T, B, I), or (T, B) if int64 tokens, with T ≥ 1; got {_what(x)}")
    if len(shape) == 3:
        _tensor("x", x, "T, B, I", (shape[0], shape[1], I), kind)
    elif x.device != kind[1]:
        raise ValueError(f"x must be on {kind[1]}, as w_hh is; got {x.device}")
    return R, H


def _rarer_weights(cell: Cell, w: Weights, H: int, R: int, kind: Kind) -> None:
    required, optional = cell.facts.required, cell.facts.optional
    shapes = weight_shapes(cell.gates, 0, H, R)
    for name, letters in (("w_hr", "R, H"), ("b_hr", "R"), ("peephole", "G-1, H")):
        tensor, shape = getattr(w, name), getattr(shapes, name)
        if tensor is None:
            if name in required or (name == "w_hr" and R != H):
                raise ValueError(f"{name} must be given, ({letters}) = {shape}, for {cell} with this w_hh; got None")
        elif name not in required and name not in optional:
            raise ValueError(f"{name} must be None, as {cell} has none; got {_what(tensor)}")
        else:
            _tensor(name, tensor, letters, shape, kind)


def _state(argument: str, cell: Cell, value: State, batch: tuple[int, ...], sizes: tuple[int, ...], kind: Kind) -> None:
    """Check that `value` has a tensor (*batch, size) for each of the cell's states."""
    names = cell.facts.states
    if not isinstance(value, tuple) or len(value) != len(names):
        raise TypeError(f"{argument} must be a tuple of tensors ({', '.join(names)},); got {_what(value)}")
    letters = "B, R" if batch else "R"
    for name, tensor, size in zip(names, value, sizes, strict=True):
        _tensor(f"{argument}'s {name}", tensor, letters, (*batch, size), kind)
        letters = "B, H" if batch else "H"


def checked_lengths(value: Any, T: int, B: int, device: torch.device) -> Tensor:
    """Check the lengths, and return them as int64 on the device of x."""
    rule = f"lengths must be integers in 0..T={T}, one per sequence (B={B})"
    if isinstance(value, list | tuple) and all(type(n) is int and n.bit_length() < 64 for n in value):
        value = torch.tensor(value, dtype=torch.int64)
    if not isinstance(value, Tensor) or value.is_floating_point() or value.dtype == torch.bool:
        raise TypeError(f"{rule}; got {_what(value)}")
    if value.shape != (B,):
        raise ValueError(f"{rule}; got shape {tuple(value.shape)}")
    if not torch.compiler.is_compiling() and B:
        low, high = (int(v) for v in torch.aminmax(value))
        if low < 0 or high > T:
            raise ValueError(f"{rule}; got values from {low} to {high}")
    return value.to(device, torch.int64)


def _reset(value: Tensor, T: int, B: int, device: torch.device) -> None:
    rule = f"reset must be bool of shape (T, B) = ({T}, {B}) on {device}"
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        raise TypeError(f"{rule}; got {_what(value)}")
    if value.shape != (T, B) or value.device != device:
        raise ValueError(f"{rule}; got shape {tuple(value.shape)} on {value.device}")


def _mask(value: Tensor, B: int, R: int, kind: Kind) -> None:
    _tensor("mask", value, "B, R", (B, R), kind)
    if value.requires_grad:
        raise ValueError("mask must be a constant; got one that requires a gradient: detach() it")


def _tokens(x: Tensor, lengths: Tensor | None, w: Weights) -> None:
    """Check that each token is the number of a row of W_ih'; after the end of a sequence they can be anything."""
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return  # on other devices the look-up itself complains
    I = w.w_ih.shape[1]
    wrong = (x < 0) | (x >= I)
    if lengths is not None:
        wrong &= torch.arange(len(x))[:, None] < lengths
    if wrong.any():
        raise ValueError(f"x must have tokens in 0..{I - 1}, as w_ih has I={I} columns; got {int(x[wrong][0])}")


def as_kept(name: str, value: Tensor | None, like: Tensor, kind: Kind) -> None:
    """Check that what a backward pass is given is as the forward pass makes it."""
    if value is None or value.numel() == 0 == like.numel():
        return
    dtype, device = kind
    if value.shape != like.shape or value.dtype is not dtype or value.device != device:
        raise ValueError(f"{name} must be {dtype} of shape {tuple(like.shape)} for this call; got {_what(value)}")


def _zeros(w: Weights, sizes: tuple[int, ...], *batch: int) -> State:
    return tuple([w.w_hh.new_zeros(*batch, size) for size in sizes])


def _entering(reset: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """True where the state that enters a step, in the order of processing, is `start`; never in the padding."""
    if lengths is not None:
        reset = reset & (torch.arange(len(reset), device=reset.device)[:, None] < lengths)
    return torch.cat([reset[1:], torch.zeros_like(reset[:1])]) if reverse else reset


def transforms() -> str | None:
    """Why a kernel with its own derivative cannot run inside a transform that needs another kind; None if it can."""
    if torch.compiler.is_compiling():
        return None
    if torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return "forward-mode derivatives and torch.func need the eager backend"
    return None


def _tensor(name: str, value: Any, letters: str, shape: tuple[int, ...], kind: Kind, whose: str = "w_hh is") -> None:
    """Check that it is a tensor of this shape, with the dtype and on the device of the recurrent weight, or another."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor of shape ({letters}) = {shape}; got {_what(value)}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape ({letters}) = {shape}; got {tuple(value.shape)}")
    dtype, device = kind
    if value.dtype is not dtype or value.device != device:
        raise TypeError(f"{name} must be {dtype} on {device}, as {whose}; got {value.dtype} on {value.device}")


def _what(value: Any) -> str:
    """A description of a value in a few words."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return repr(value) if value is None else type(value).__name__
