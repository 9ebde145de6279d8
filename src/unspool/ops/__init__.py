"""Run a cell over whole sequences: check the arguments once, choose the backend, and call it.

    y, (h, c) = ops.lstm(x, None, Weights(w_ih, w_hh, b_ih, b_hh), lengths=lengths)

There is one layout everywhere, with time first: (T, B, ·). There are T time steps, B sequences, I inputs, H hidden
units and G gates. R is the size of the state that is fed back: H, the size of the projection, or the number of Jordan's
outputs.
"""

from typing import Any

from torch import Tensor

from ..arguments import one_of
from ..cells import GRU, LSTM, Cell, Elman, Jordan, Nonlinearity, State, Weights
from ..errors import UnspoolError
from . import aten, check, eager, native, reference
from .problem import Lengths, Problem

BACKENDS = {"reference": reference, "eager": eager, "native": native, "torch": aten}
PREFERRED = ("native", "torch", "eager")  # "auto" takes the first one that can run the problem


def run(
    cell: Cell,
    x: Tensor,
    state: State | None,
    weights: Weights,
    *,
    lengths: Lengths | None = None,
    reset: Tensor | None = None,
    start: State | None = None,
    mask: Tensor | None = None,
    reverse: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, State]:
    """Run a cell over sequences. The result can be differentiated.

        state, y[t] = step(x[t], state), state[0]      for t = 0 .. T-1, or T-1 .. 0 in reverse

    Args:
        cell: the equations of one step, a `unspool.cells.Cell`.
        x: the input, floats (T, B, I), or int64 tokens (T, B), which stand for 1-of-I inputs.
        state: (h,) or (h, c), each (B, ·); if None, the sequences begin at `start`.
        weights: those of one layer in one direction; x, the states and the weights have one dtype and one device.
        lengths: (B,) integers 0..T. After its end a sequence has y = 0, whatever x is there; its last state is that
            at its own end, and in reverse it runs from its own end. The state of an empty one stays as it was.
        reset: (T, B) bool, True where a new sequence begins. The state that enters step t is then `start`; in reverse
            it is the state that enters step t-1. Values in the padding, and in reverse at t = 0, change nothing.
        start: the state at the beginning of a sequence, of shapes (R,) and (H,); zeros if None.
        mask: (B, R), a constant by which the state that is fed back is multiplied before the recurrent product.
        reverse: process the sequences from their ends; y keeps its place in time.
        backend: a name in `BACKENDS`, or "auto" for the one that `which` names.
    Returns:
        y, (T, B, R), and the last state.
    Raises:
        TypeError or ValueError: an argument is wrong, which the message names, or the chosen backend cannot run the
            problem, and the message says why.

    >>> import torch
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
    """Run a simple recurrent network over whole sequences (Elman 1990); the arguments are those of `run`.

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
    """Run the network that feeds its output back over whole sequences (Jordan 1986); the arguments are those of `run`.

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
    """Run a gated recurrent unit over whole sequences (Cho et al. 2014); the arguments are those of `run`.

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
    """Run a long short-term memory over whole sequences (Hochreiter & Schmidhuber 1997); arguments as for `run`.

    i, f, g, o = split(x[t] W_ih' + b_ih + h W_hh' + b_hh);  f = ∞ without a forget gate
    c = σ(f + p_f ∘ c) ∘ c + σ(i + p_i ∘ c) ∘ tanh(g)
    h = (σ(o + p_o ∘ c) ∘ tanh(c)) W_hr';  y[t] = h

    Without `weights.peephole` p = 0, and without `weights.w_hr` there is no projection.
    """
    return run(LSTM(forget_gate), x, state, weights, **through_time)


def which(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    *,
    lengths: Lengths | None = None,
    reset: Tensor | None = None,
    start: State | None = None,
    mask: Tensor | None = None,
    reverse: bool = False,
) -> str:
    """The name of the backend that "auto" chooses for these arguments of `run`, which are checked as there."""
    problem = check.complete(Problem(cell, x, None, weights, lengths, reset, start, mask, reverse))
    return next(name for name in PREFERRED if BACKENDS[name].unsupported(problem) is None)


def _choose(backend: str, problem: Problem) -> Any:
    """The module of the backend that runs the problem."""
    if backend == "auto":
        for name in PREFERRED:
            if BACKENDS[name].unsupported(problem) is None:
                return BACKENDS[name]
    one_of("backend", backend, ("auto", *BACKENDS))
    reason = BACKENDS[backend].unsupported(problem)
    if reason is not None:
        raise UnspoolError(f"backend={backend!r} cannot run this: {reason}")
    return BACKENDS[backend]
