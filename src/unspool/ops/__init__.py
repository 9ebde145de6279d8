"""A cell over whole sequences: check once, choose the backend, call.

    y, (h, c) = ops.lstm(x, None, Weights(w_ih, w_hh, b_ih, b_hh), lengths=lengths)

One layout everywhere: time first, (T, B, ·). T time steps, B sequences, I inputs, H hidden units, G gates, and R, the
size of the state that is fed back: H, or the projection's size, or Jordan's outputs.
"""

from typing import Any

from torch import Tensor

from ..arguments import one_of
from ..cells import GRU, LSTM, Cell, Elman, Jordan, Nonlinearity, State, Weights
from ..errors import UnspoolError
from . import aten, check, eager, native, reference
from .problem import Problem

BACKENDS = {"reference": reference, "eager": eager, "native": native, "torch": aten}
PREFERRED = ("native", "torch", "eager")  # "auto" takes the first that can


def run(
    cell: Cell,
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    start: State | None = None,
    mask: Tensor | None = None,
    reverse: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, State]:
    """Run a cell over sequences, differentiably.

        state, y[t] = step(x[t], state), state[0]      for t = 0 .. T-1, or T-1 .. 0 in reverse

    Args:
        x: input, (T, B, I), or tokens, (T, B) int64: 1-of-I inputs.
        state: (h,) or (h, c), each (B, ·); where None, the sequences begin at `start`.
        weights: one layer's, one direction's; all of one dtype and on one device, as x and the states are.
        lengths: (B,) integers 1..T. Behind its end a sequence has y = 0, whatever x is there; its last state is that
            at its own end, and in reverse it runs from its own end.
        reset: (T, B) bool: a new sequence begins at t, so that the state entering step t is `start`; in reverse, that
            entering step t-1. What stands in the padding, or in reverse at 0, changes nothing.
        start: state at the beginning of a sequence, shapes (R,) and (H,); zeros if None.
        mask: (B, R), multiplies the state that is fed back where it enters the recurrent product. A constant.
        reverse: process from the end; y keeps its place in time.
        backend: a name in `BACKENDS`, or "auto", the one that `which` names.
    Returns:
        y, (T, B, R), and the last state.
    Raises:
        TypeError or ValueError that names the argument, or says why the backend that was asked for cannot run this.

    >>> weights = Weights(w_ih=torch.randn(64, 8), w_hh=torch.randn(64, 16))
    >>> y, (h, c) = run(LSTM(), torch.randn(50, 32, 8), None, weights, lengths=torch.arange(1, 33))
    >>> y.shape, h.shape
    (torch.Size([50, 32, 16]), torch.Size([32, 16]))
    """
    problem = check.complete(Problem(cell, x, state, weights, lengths, reset, start, mask, reverse))
    return _choose(backend, problem).recurrence(problem)


def elman(
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    nonlinearity: Nonlinearity = "tanh",
    **through_time: Any,
) -> tuple[Tensor, State]:
    """Simple recurrent network over whole sequences (Elman 1990); arguments as for `run`.

    h = φ(x[t] W_ih' + b_ih + h W_hh' + b_hh);  y[t] = h
    """
    return run(Elman(nonlinearity), x, state, weights, **through_time)


def jordan(
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    nonlinearity: Nonlinearity = "tanh",
    output_nonlinearity: Nonlinearity = "identity",
    **through_time: Any,
) -> tuple[Tensor, State]:
    """The network that feeds its output back (Jordan 1986), over whole sequences; arguments as for `run`.

    h = φ(x[t] W_ih' + b_ih + y W_yh' + b_hh);  y = ψ(h W_hy' + c);  y[t] = y
    """
    return run(Jordan(nonlinearity, output_nonlinearity), x, state, weights, **through_time)


def gru(
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    reset_after: bool = True,
    **through_time: Any,
) -> tuple[Tensor, State]:
    """Gated recurrent unit over whole sequences (Cho et al. 2014); arguments as for `run`.

    a, u = x[t] W_ih' + b_ih, h W_hh' + b_hh
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n), or tanh(a_n + (r ∘ h) W_hn' + b_hn) with reset_after=False
    h = (1 - z) ∘ n + z ∘ h;  y[t] = h
    """
    return run(GRU(reset_after), x, state, weights, **through_time)


def lstm(
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    forget_gate: bool = True,
    **through_time: Any,
) -> tuple[Tensor, State]:
    """Long short-term memory over whole sequences (Hochreiter & Schmidhuber 1997); arguments as for `run`.

    i, f, g, o = split(x[t] W_ih' + b_ih + h W_hh' + b_hh);  f = ∞ without forget gate
    c = σ(f + p_f ∘ c) ∘ c + σ(i + p_i ∘ c) ∘ tanh(g)
    h = (σ(o + p_o ∘ c) ∘ tanh(c)) W_hr';  y[t] = h

    The p are there with `weights.peephole`, the projection with `weights.w_hr`.
    """
    return run(LSTM(forget_gate), x, state, weights, **through_time)


def which(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    start: State | None = None,
    mask: Tensor | None = None,
    reverse: bool = False,
) -> str:
    """The backend that "auto" runs for these arguments of `run`, which checks them likewise."""
    problem = check.complete(Problem(cell, x, None, weights, lengths, reset, start, mask, reverse))
    return next(name for name in PREFERRED if BACKENDS[name].unsupported(problem) is None)


def _choose(backend: str, problem: Problem) -> Any:
    """The backend's module."""
    if backend == "auto":
        for name in PREFERRED:
            if BACKENDS[name].unsupported(problem) is None:
                return BACKENDS[name]
    one_of("backend", backend, ("auto", *BACKENDS))
    reason = BACKENDS[backend].unsupported(problem)
    if reason is not None:
        raise UnspoolError(f"backend={backend!r} cannot run this: {reason}")
    return BACKENDS[backend]
