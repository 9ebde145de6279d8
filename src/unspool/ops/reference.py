"""The definition of correct: a NumPy loop over the cells in float64, forward and backward through time."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..cells import Array, Cell, State, Weights, project, project_backward


class Job(NamedTuple):
    """What does not change with time, all of it NumPy; see `unspool.ops.run`."""

    cell: Cell
    lengths: Array | None
    reset: Array | None
    mask: Array | None
    reverse: bool

    def times(self, T: int) -> range:
        return range(T - 1, -1, -1) if self.reverse else range(T)

    def live(self, T: int, B: int) -> Array:
        """(T, B): whether sequence b has a step t."""
        return np.ones((T, B), bool) if self.lengths is None else np.arange(T)[:, None] < self.lengths


def forward(job: Job, x: Array, state: State, w: Weights, start: State | None) -> tuple[Array, State, list]:
    """y (T, B, R), the last state, and the tape that `backward` reads from its end.

    state = start where a sequence begins
    state = step(x[t], state) while a sequence lasts
    y[t] = state[0], and 0 in the padding
    """
    live = job.live(*x.shape[:2])
    x = np.where(live.reshape(*live.shape, *[1] * (x.ndim - 2)), x, 0)
    a = project(x, w)
    y = np.zeros((*live.shape, state[0].shape[1]))
    tape = []
    for t in job.times(len(x)):
        if job.reset is not None and start is not None:
            state = _select(job.reset[t], start, state)
        new, saved = job.cell.step(a[t], state, w, job.mask)
        state = _select(live[t], new, state)
        y[t] = np.where(live[t, :, None], new[0], 0)
        tape.append((t, saved))
    return y, state, [x, *tape]


def backward(job: Job, dy: Array, dstate: State, tape: list, w: Weights, start: State | None) -> tuple:
    """dx (None for tokens), dstate, dw and dstart (None without start): `forward`, line by line, from the end."""
    x, *steps = tape
    live = job.live(*x.shape[:2])
    da = np.zeros((*live.shape, w.w_ih.shape[0]))
    dw = Weights(*(None if v is None else np.zeros_like(v) for v in w))
    dstart = None if start is None else tuple(np.zeros_like(s) for s in start)
    for t, saved in reversed(steps):
        dh, *dc = dstate
        dnew = _select(live[t], (dh + dy[t], *dc), [0] * len(dstate))
        dheld = _select(live[t], [0] * len(dstate), dstate)
        da[t], dstate, dw_t = job.cell.step_backward(dnew, saved, w)
        dstate = tuple(p + q for p, q in zip(dstate, dheld, strict=True))
        dw = Weights(*(total if term is None else total + term for total, term in zip(dw, dw_t, strict=True)))
        if job.reset is not None and dstart is not None:
            begun = _select(job.reset[t], dstate, [0] * len(dstate))
            dstart = tuple(total + term.sum(0) for total, term in zip(dstart, begun, strict=True))
            dstate = _select(job.reset[t], [0] * len(dstate), dstate)
    dx, dw_ih, db_ih = project_backward(da, x, w)
    return dx, dstate, dw._replace(w_ih=dw_ih, b_ih=db_ih), dstart


def unsupported(*_: object) -> None:
    """Nothing is."""


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
    """Run the cell over x, (T, B, I) or tokens (T, B); see `unspool.ops.run`. Derivatives of the first order."""
    job = Job(cell, _array(lengths), _array(reset), _array(mask), reverse)
    y, *last = _Recurrence.apply(job, x, *weights, *state, *(start or ()))
    return y, tuple(last)


class _Recurrence(torch.autograd.Function):
    """`forward` and `backward` as one torch operation on (x, *weights, *state, *start)."""

    @staticmethod
    def forward(ctx: Any, job: Job, x: Tensor, w_ih: Tensor, *others: Tensor | None) -> tuple[Tensor, ...]:
        tensors = x, w_ih, *others
        inputs, ctx.w, state, ctx.start = _unpack(job, [_array(v) for v in tensors])
        y, last, ctx.tape = forward(job, inputs, state, ctx.w, ctx.start)
        ctx.job = job
        ctx.like = [None if v is None else (v.dtype, v.device) for v in tensors]
        return tuple(torch.from_numpy(v).to(w_ih.device, w_ih.dtype) for v in (y, *last))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, *dstate: Tensor) -> tuple[Tensor | None, ...]:
        gradients = backward(ctx.job, _array(dy), tuple(map(_array, dstate)), ctx.tape, ctx.w, ctx.start)
        dx, dstate_0, dw, dstart = gradients
        flat = (dx, *dw, *dstate_0, *(dstart or ()))
        return None, *(
            None if v is None else torch.from_numpy(v).to(like[1], like[0])
            for v, like in zip(flat, ctx.like, strict=True)
        )


def _unpack(job: Job, arrays: list) -> tuple[Array, Weights, State, State | None]:
    n = 1 + len(Weights._fields)
    states = len(job.cell.state_names)
    return arrays[0], Weights(*arrays[1:n]), tuple(arrays[n : n + states]), tuple(arrays[n + states :]) or None


def _array(v: Tensor | None) -> Array | None:
    """A tensor as an array of its own, floats as float64."""
    if v is None:
        return None
    return v.detach().to("cpu", torch.float64 if v.is_floating_point() else v.dtype).numpy().copy()


def _select(condition: Array, yes: Any, no: Any) -> State:
    return tuple(np.where(condition[:, None], p, q) for p, q in zip(yes, no, strict=True))
