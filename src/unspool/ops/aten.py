"""PyTorch's own kernels (oneDNN, cuDNN, MIOpen, ATen), for those cells and options that they have."""

from typing import Any

import torch
from torch import Tensor

from ..cells import State, is_tokens, variant
from . import check
from .problem import Problem


def unsupported(problem: Problem) -> str | None:
    """Why torch's kernels cannot run the problem; None if they can."""
    cell, weights = problem.cell, problem.weights
    absent = {"lengths": problem.lengths, "reset": problem.reset, "mask": problem.mask, "peephole": weights.peephole}
    for name, value in absent.items():
        if value is not None:
            return f"torch's kernels have no {name}"
    if not variant(cell, cell.facts.torch):
        return f"torch's kernels have no {cell}"
    if (weights.b_ih is None) != (weights.b_hh is None):
        return "torch's kernels need both biases or neither"
    if weights.w_hr is not None and weights.w_hr.shape[0] == weights.w_hr.shape[1]:
        return "torch's kernels need a projection with R < H"
    return check.transforms()


def recurrence(problem: Problem) -> tuple[Tensor, State]:
    """Solve the problem; see `unspool.ops.run`. The reverse direction runs over flipped copies."""
    cell, x, state, weights, *_, reverse = problem
    if is_tokens(x):
        x = torch.nn.functional.one_hot(x, weights.w_ih.shape[1]).to(weights.w_ih.dtype)
    if reverse:
        x = x.flip(0)
    flat = [w for w in weights if w is not None]
    layer = [s.unsqueeze(0).contiguous() for s in state]
    # Biases, layers, dropout, training (cuDNN then keeps what its backward pass needs), bidirectional, batch first.
    options = (weights.b_ih is not None, 1, 0.0, torch.is_grad_enabled(), False, False)
    kernel: Any = getattr(torch, variant(cell, cell.facts.torch))
    y, *layer = kernel(x, layer if len(layer) > 1 else layer[0], flat, *options)
    return y.flip(0) if reverse else y, tuple(s.squeeze(0) for s in layer)
