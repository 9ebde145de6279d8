"""The cells as torch operations in a loop over time, for any device, any dtype and any derivative."""

import torch
from torch import Tensor

from ..cells import State, project
from .problem import Problem


def unsupported(problem: Problem) -> str | None:
    """None: this backend runs every problem."""


def recurrence(problem: Problem) -> tuple[Tensor, State]:
    """Solve the problem; see `unspool.ops.run`."""
    cell, x, state, weights, lengths, reset, start, mask, reverse = problem
    T = x.shape[0]
    live = None
    if lengths is not None:
        live = torch.arange(T, device=x.device)[:, None, None] < lengths[:, None]  # (T, B, 1)
        # With zeros in the padding; a NaN there would reach the gradients of the weights as 0 · NaN.
        x = torch.where(live.view(T, -1) if x.ndim == 2 else live, x, 0)
    a = project(x, weights).unbind(0)
    y: list[Tensor] = [x] * T
    for t in range(T - 1, -1, -1) if reverse else range(T):
        if reset is not None and start is not None:
            state = _select(reset[t, :, None], start, state)
        new, _ = cell.step(a[t], state, weights, mask)
        state = new if live is None else _select(live[t], new, state)
        y[t] = new[0] if live is None else torch.where(live[t], new[0], 0)
    return torch.stack(y), state


def _select(condition: Tensor, yes: State, no: State) -> State:
    return tuple(torch.where(condition, p, q) for p, q in zip(yes, no, strict=True))
