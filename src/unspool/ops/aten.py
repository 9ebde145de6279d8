"""PyTorch's own kernels (oneDNN, cuDNN, MIOpen, ATen), for the cells and options that it has."""

from typing import Any

import torch
from torch import Tensor

from ..cells import GRU, LSTM, Cell, Elman, Jordan, State, Weights, is_tokens
from . import check

ABSENT = (Elman("sigmoid"), GRU(reset_after=False), LSTM(forget_gate=False))


def unsupported(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    lengths: Tensor | None,
    reset: Tensor | None,
    start: State | None,
    mask: Tensor | None,
    reverse: bool,
) -> str | None:
    """Why torch's kernels cannot run this; None if they can."""
    absent = {"lengths": lengths, "reset": reset, "mask": mask, "peephole": weights.peephole}
    for name, value in absent.items():
        if value is not None:
            return f"torch's kernels have no {name}"
    if isinstance(cell, Jordan) or cell in ABSENT:
        return f"torch's kernels have no {cell}"
    if (weights.b_ih is None) != (weights.b_hh is None):
        return "torch's kernels want both biases or neither"
    if weights.w_hr is not None and weights.w_hr.shape[0] == weights.w_hr.shape[1]:
        return "torch's kernels know a projection by R < H"
    return check.transforms()


def recurrence(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    lengths: Tensor | None,
    reset: Tensor | None,
    start: State | None,
    mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, State]:
    """Run the cell over x, (T, B, I) or tokens (T, B); see `unspool.ops.run`. Reverse runs over flipped copies."""
    if is_tokens(x):
        x = torch.nn.functional.one_hot(x, weights.w_ih.shape[1]).to(weights.w_ih.dtype)
    if reverse:
        x = x.flip(0)
    flat = [w for w in weights if w is not None]
    layer = [s.unsqueeze(0).contiguous() for s in state]
    # biases, layers, dropout, training (cuDNN keeps what its backward needs), bidirectional, batch first
    options = (weights.b_ih is not None, 1, 0.0, torch.is_grad_enabled(), False, False)
    if isinstance(cell, LSTM):
        y, *layer = torch.lstm(x, layer, flat, *options)
    else:
        kernel: Any = torch.gru if isinstance(cell, GRU) else getattr(torch, f"rnn_{cell.nonlinearity}")
        y, *layer = kernel(x, *layer, flat, *options)
    return y.flip(0) if reverse else y, tuple(s.squeeze(0) for s in layer)
