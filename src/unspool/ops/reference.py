"""The definition of correct: a NumPy loop over the cells in float64, forward and backward through time.

`forward` and `backward` work on a `Problem` whose tensors are NumPy arrays.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cells import Array, Cell, State, Weights, project, project_backward
from .problem import Problem


def forward(p: Problem) -> tuple[Array, State, list]:
    """y (T, B, R), the last state, and the tape that `backward` reads from its end.

    state = start where a sequence begins
    state = step(x[t], state) while a sequence lasts
    y[t] = state[0], and 0 in the padding
    """
    live, state = _live(p), p.state
    x = np.where(live.reshape(*live.shape, *[1] * (p.x.ndim - 2)), p.x, 0)
    a = project(x, p.weights)
    y = np.zeros((*live.shape, state[0].shape[1]))
    tape = []
    for t in _times(p):
        if p.reset is not None and p.start is not None:
            state = _select(p.reset[t], p.start, state)
        new, saved = p.cell.step(a[t], state, p.weights, p.mask)
        state = _select(live[t], new, state)
        y[t] = np.where(live[t, :, None], new[0], 0)
        tape.append((t, saved))
    return y, state, [x, *tape]


def backward(p: Problem, dy: Array, dstate: State, tape: list) -> tuple:
    """dx (None for tokens), dw, dstate and dstart (None without start): the lines of `forward` from its end."""
    x, *steps = tape
    live, w = _live(p), p.weights
    da = np.zeros((*live.shape, w.w_ih.shape[0]))
    dw = Weights(*(None if v is None else np.zeros_like(v) for v in w))
    dstart = None if p.start is None else tuple(np.zeros_like(s) for s in p.start)
    for t, saved in reversed(steps):
        dh, *dc = dstate
        dnew = _select(live[t], (dh + dy[t], *dc), [0] * len(dstate))
        dheld = _select(live[t], [0] * len(dstate), dstate)
        da[t], dstate, dw_t = p.cell.step_backward(dnew, saved, w)
        dstate = tuple(new + held for new, held in zip(dstate, dheld, strict=True))
        dw = Weights(*(total if term is None else total + term for total, term in zip(dw, dw_t, strict=True)))
        if p.reset is not None and dstart is not None:
            begun = _select(p.reset[t], dstate, [0] * len(dstate))
            dstart = tuple(total + term.sum(0) for total, term in zip(dstart, begun, strict=True))
            dstate = _select(p.reset[t], [0] * len(dstate), dstate)
    dx, dw_ih, db_ih = project_backward(da, x, w)
    return dx, dw._replace(w_ih=dw_ih, b_ih=db_ih), dstate, dstart


def _times(p: Problem) -> range:
    """The time steps in the order of processing."""
    T = len(p.x)
    return range(T - 1, -1, -1) if p.reverse else range(T)


def _live(p: Problem) -> Array:
    """(T, B), True where sequence b has a step t."""
    T, B = p.x.shape[:2]
    return np.ones((T, B), bool) if p.lengths is None else np.arange(T)[:, None] < np.asarray(p.lengths)


def unsupported(problem: Problem) -> str | None:
    """Why the reference cannot run the problem: its cell has no derivative of its own. None if it can."""
    if type(problem.cell).step_backward is Cell.step_backward:
        return f"the reference needs a step_backward, and {problem.cell} has none"
    return None


def recurrence(problem: Problem) -> tuple[Tensor, State]:
    """Solve the problem; see `unspool.ops.run`. It has derivatives of the first order."""
    y, *last = _Recurrence.apply(problem, *_inputs(problem))
    return y, tuple(last)


class _Recurrence(torch.autograd.Function):
    """`forward` and `backward` as one torch operation on (x, *weights, *state, *start)."""

    @staticmethod
    def forward(ctx: Any, problem: Problem, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        ctx.problem = problem.map(_array)
        y, last, ctx.tape = forward(ctx.problem)
        ctx.like = [None if v is None else (v.device, v.dtype) for v in inputs]
        w = problem.weights.w_hh
        return tuple(torch.from_numpy(v).to(w.device, w.dtype) for v in (y, *last))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, *dstate: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw, dstate_0, dstart = backward(ctx.problem, _array(dy), tuple(map(_array, dstate)), ctx.tape)
        gradients = (dx, *dw, *dstate_0, *(dstart or ()))
        return None, *(
            None if v is None else torch.from_numpy(v).to(*like) for v, like in zip(gradients, ctx.like, strict=True)
        )


def _inputs(p: Problem) -> tuple[Tensor | None, ...]:
    """The inputs by which the result can be differentiated."""
    return p.x, *p.weights, *p.state, *(p.start or ())


def _array(v: Tensor) -> Array:
    """A copy of the tensor as an array, in which floats are float64."""
    return v.detach().to("cpu", torch.float64 if v.is_floating_point() else v.dtype).numpy().copy()


def _select(condition: Array, yes: Any, no: Any) -> State:
    return tuple(np.where(condition[:, None], p, q) for p, q in zip(yes, no, strict=True))
