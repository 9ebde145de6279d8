"""What one op is asked, in one record that all backends take."""

from typing import NamedTuple

from torch import Tensor

from ..cells import Cell, State, Weights


class Problem(NamedTuple):
    """One layer in one direction over a batch of sequences; `unspool.ops.run` says what each part is and checks it."""

    cell: Cell
    x: Tensor  # (T, B, I), or tokens (T, B)
    state: State  # each (B, ·)
    weights: Weights
    lengths: Tensor | None = None  # (B,) int64
    reset: Tensor | None = None  # (T, B), where the state entering a step is `start`
    start: State | None = None  # each (·,); there if there is a reset
    mask: Tensor | None = None  # (B, R)
    reverse: bool = False
