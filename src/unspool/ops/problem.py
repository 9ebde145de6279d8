"""What one op is asked, in one record that all backends take."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..cells import Cell, State, Weights

Lengths = Tensor | Sequence[int]  # as a caller gives them


class Problem(NamedTuple):
    """One layer in one direction over a batch of sequences; `unspool.ops.run` says what each part is.

    `unspool.ops.check.complete` turns the problem of a caller into the one that a backend receives. The comments name
    both where they differ.
    """

    cell: Cell
    x: Tensor  # (T, B, I), or tokens (T, B) int64
    state: Any  # (h,) or (h, c), each (B, ·); a caller's can be None
    weights: Weights
    lengths: Any = None  # (B,) integers; a backend's are an int64 tensor on the device of x
    reset: Tensor | None = None  # (T, B); a backend's is True where the state entering a step is `start`
    start: State | None = None  # each (·,); a backend's is None if and only if `reset` is
    mask: Tensor | None = None  # (B, R)
    reverse: bool = False

    def map(self, f: Callable[[Tensor], Any]) -> "Problem":
        """The problem with each tensor replaced by its image under f."""

        def each(v: Any) -> Any:
            if isinstance(v, Weights):
                return Weights(*map(each, v))
            if isinstance(v, tuple):
                return tuple(map(each, v))
            return f(v) if isinstance(v, Tensor) else v

        return Problem(*map(each, self))
