"""What to say when a loss or a gradient is not finite: where it began, how the norms grew, and what to try."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..data.batches import Batch
from .through_time import Loss, state_gradients

_LONGEST = 4096  # time steps that are examined one by one


def parameter(network: torch.nn.Module) -> str | None:
    """The first parameter that is not finite, or else those whose gradient is not finite, in words; None if all are."""
    named = list(network.named_parameters())
    for name, p in named:
        if not p.isfinite().all():
            return f"{name} is not finite itself"
    bad = [name for name, p in named if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {_few(bad)}" if bad else None


def time_step(network: torch.nn.Module, loss: Loss, entered: Sequence[tuple[Batch, Any]]) -> tuple[bool, str | None]:
    """Find the first time step whose loss is not finite, or the last at which the gradient on its way back is not.

    Args:
        network, loss: as for `through_time.forward`.
        entered: the batches of a step, each with the state that it began with.
    Returns:
        Whether it was found, and the words that say so.
    """
    said = None
    for batch, state in entered:
        found, said = _of_batch(network, loss, batch, state)
        if found:
            return True, said
    return False, said


def _of_batch(network: torch.nn.Module, loss: Loss, batch: Batch, state: Any) -> tuple[bool, str]:
    T = len(batch.inputs)
    if T > _LONGEST:
        return False, f"its {T} time steps are too many to be examined one by one"
    with torch.enable_grad():
        losses, norms = state_gradients(network, loss, batch, state)
    for t, value in enumerate(losses):
        if not math.isfinite(value):
            return True, f"the loss of time step {t} of {T} is the first that is not finite"
    for t in reversed(range(T)):
        if not math.isfinite(norms[t]):
            later = [norm for norm in norms[t + 1 :] if norm > 0]
            grew = f", having grown from {later[-1]:.3g} to {later[0]:.3g} on the way back" if later else ""
            return True, f"the gradient by the state is not finite from time step {t} of {T} backwards{grew}"
    largest = max(range(T), key=norms.__getitem__)
    return False, (
        f"step by step it is finite; the gradient by the state is largest, {norms[largest]:.3g}, at time step {largest}"
    )


def complaint(
    what: str, step: int, where: Sequence[str | None], norms: Sequence[float], kept: str, remedies: Sequence[str]
) -> str:
    """All that is known, in one line."""
    known = "".join(f"; {part}" for part in where if part)
    grew = f"; gradient norms before: {', '.join(f'{norm:.3g}' for norm in norms)}" if norms else ""
    return (
        f"training stopped at step {step}: the {what} is not finite{known}{grew}; {kept}; try {', or '.join(remedies)}"
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
