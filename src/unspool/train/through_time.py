"""How a network's values and gradients flow through the time steps of a batch."""

import math
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..data.batches import Batch
from ..errors import UnspoolError

Loss = Callable[[Tensor, Tensor], Tensor]


def forward(
    network: torch.nn.Module, loss: Loss, batch: Batch, state: Any = None, *, recompute: bool = False
) -> tuple[Tensor, Any]:
    """The summed loss of a batch, and the state that the next one begins with.

        outputs, state = network(inputs, state);  value = loss(outputs, targets)

    Args:
        network: network(x, state) returns the outputs and the next state; it also receives the `lengths` and `reset`
            of a batch that has them.
        loss: loss(outputs, targets), the sum over all that has a target.
        batch: if it has a `carry`, the state after that number of steps is the one returned.
        state: the state before the first step; None: zero.
        recompute: keep only the states at the ends of √T segments, and compute what lies between once more on the way
            back: exact gradients through T steps in the memory of about 2 √T (Chen et al. 2016). There must be a target
            per step.
    Returns:
        The loss, and the state without its gradient.
    """
    T = len(batch.inputs)
    cuts = {0, T} | ({batch.carry} if batch.carry is not None else set())
    if recompute:
        if batch.targets.shape[:2] != batch.inputs.shape[:2]:
            shape = batch.targets.shape
            raise UnspoolError(f"recompute needs targets for each of the {T} time steps; got targets of shape {shape}")
        cuts |= set(range(0, T, math.isqrt(T - 1) + 1 if T else 1))
    carried, total = state, None  # this state is carried over if carry is 0
    for begin, end in pairwise(sorted(cuts)):
        piece = _Piece(network, loss, batch, begin, end)
        before = state
        value, state = checkpoint(piece, state, use_reentrant=False) if recompute else piece(state)
        if batch.lengths is not None and (ended := batch.lengths <= begin).any():
            state = _where(torch.from_numpy(ended), before, state)
        total = value if total is None else total + value
        if end == (T if batch.carry is None else batch.carry):
            carried = state
    if total is None:
        raise UnspoolError("a batch must have at least one time step; got none")
    return total, _detach(carried)


class _Piece:
    """The loss over a part of a batch's time steps, and the state after it."""

    def __init__(self, network: torch.nn.Module, loss: Loss, batch: Batch, begin: int, end: int):
        self.network, self.loss = network, loss
        parameter = next(network.parameters())
        whole = end - begin == len(batch.inputs)
        part = slice(None) if whole else slice(begin, end)
        self.x = as_tensor(batch.inputs[part], parameter)
        self.targets = as_tensor(batch.targets if whole else batch.targets[part], parameter)
        self.options = {}
        if batch.reset is not None:
            self.options["reset"] = as_tensor(batch.reset[part], parameter)
        if batch.lengths is not None:
            # A sequence that ended before this part has no targets in it, and its state is kept by `forward`, so the
            # step of padding that it gets here does no harm.
            lengths = batch.lengths if whole else np.clip(batch.lengths - begin, 1, end - begin)
            self.options["lengths"] = as_tensor(lengths, parameter)

    def __call__(self, state: Any) -> tuple[Tensor, Any]:
        outputs, state = self.network(self.x, state, **self.options)
        return self.loss(outputs, self.targets), state


def state_gradients(
    network: torch.nn.Module, loss: Loss, batch: Batch, state: Any = None
) -> tuple[list[float], list[float]]:
    """The loss at each step of a batch, and the norm of the gradient that flows back through each state.

        loss[t] = loss(outputs[t], targets[t]), or 0 before the last step if there is one target per sequence
        norm[t] = ‖d(loss[0] + … + loss[T-1]) / d(state after step t)‖

    Args:
        network, loss, batch, state: as for `forward`.
    Returns:
        T losses, and T norms, the last of which is 0.
    """
    losses, states = [], []
    for value, after in _steps(network, loss, batch, state):
        losses.append(value)
        states.append([leaf for leaf in _leaves(after) if leaf.requires_grad])
    flat = [leaf for leaves in states for leaf in leaves]
    total = torch.stack(losses).sum()
    given = iter(torch.autograd.grad(total, flat, allow_unused=True) if flat else ())
    norms = [math.hypot(*(_norm(g) for g in islice(given, len(leaves)))) for leaves in states]
    return [value.item() for value in losses], norms


def _steps(network: torch.nn.Module, loss: Loss, batch: Batch, state: Any) -> Iterator[tuple[Tensor, Any]]:
    """The loss of each time step, and the state after it."""
    T = len(batch.inputs)
    per_step = batch.targets.shape[:2] == batch.inputs.shape[:2]
    for t in range(T):
        if per_step:
            value, state = _Piece(network, loss, batch, t, t + 1)(state)
            yield value, state
        else:
            step = Batch(
                batch.inputs[t : t + 1], batch.targets, reset=None if batch.reset is None else batch.reset[t : t + 1]
            )
            value, state = _Piece(network, loss, step, 0, 1)(state)
            yield value if t == T - 1 else value.new_zeros(()), state


def as_tensor(values: np.ndarray, like: Tensor) -> Tensor:
    """An array as a tensor on the device of `like`; floats get its dtype."""
    tensor = torch.from_numpy(values)
    return tensor.to(like.device, like.dtype) if tensor.is_floating_point() else tensor.to(like.device)


def _where(ended: Tensor, before: Any, after: Any) -> Any:
    """The state before for the sequences that had ended, (B,), and the state after for the others."""
    if isinstance(after, tuple):
        return tuple(_where(ended, b, a) for b, a in zip(before, after, strict=True))
    return torch.where(ended[:, None].to(after.device), before, after)


def _norm(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else gradient.norm().item()


def _detach(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(map(_detach, state))
    return None if state is None else state.detach()


def _leaves(state: Any) -> list[Tensor]:
    return [leaf for part in state for leaf in _leaves(part)] if isinstance(state, tuple) else [state]
