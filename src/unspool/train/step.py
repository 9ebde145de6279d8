"""One step of training: its batches' gradients are summed over the ranks, clipped, and given to the optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ..data.batches import Batch
from .plan import Plan
from .ranks import add_up
from .through_time import Loss, forward


class Step:
    """A network in training: its optimiser, the state that it carries, and the current step.

    Args:
        network, loss: as for `through_time.forward`.
        plan: the learning rate, the optimiser, the clipping.
        fabric: a launched Fabric.
    """

    def __init__(self, network: torch.nn.Module, loss: Loss, plan: Plan, fabric: Fabric):
        self.network, self.loss, self.plan, self.fabric = network.to(fabric.device).train(), loss, plan, fabric
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        # The scaler of the loss in 16-mixed.
        self.scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        if self.scaler is not None:  # it sets its scale at the first loss, and a rank may have no loss
            self.scaler.scale(torch.zeros((), device=fabric.device))
        self.optimiser = plan.make_optimiser(self.parameters, self.scaler is not None)
        self.stepping: Any = fabric.setup_optimizers(self.optimiser)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.state: Any = None  # the state that the next batch begins with
        self.entered: list[tuple[Batch, Any]] = []  # the batches of this step, each with the state that it began with
        self.batches = self.targets = 0
        self.summed = 0.0

    @property
    def learning_rate(self) -> float:
        return self.optimiser.param_groups[0]["lr"]

    def add(self, batch: Batch) -> None:
        """Add the gradients of one more batch."""
        if self.batches == 0:
            self.stepping.zero_grad()
            self.summed, self.targets, self.entered = 0.0, 0, []
        self.batches += 1
        if batch.inputs.shape[1] == 0:
            self.state = None
            return
        self.entered.append((batch, None if batch.fresh else self.state))
        with self.fabric.autocast():
            value, self.state = forward(self.network, self.loss, *self.entered[-1], recompute=self.plan.recompute)
        if value.requires_grad:
            self.fabric.backward(value)
        self.summed += value.item()
        self.targets += batch.targets_there

    def reduce(self, *others: float) -> tuple[float, ...]:
        """Sum the gradients over the ranks; return the sums of the loss, of the targets, and of the other numbers."""
        self.batches = 0
        return tuple(add_up(self.fabric, self.parameters, [self.summed, self.targets, *others]))

    def clip(self, targets: float) -> tuple[float, float]:
        """Divide the gradients by the targets, scale them down and clamp them; return the norms before and after."""
        if self.scaler is not None:  # unscale the sum, so that either all ranks take the step or none does
            self.fabric.clip_gradients(self.network, self.stepping, max_norm=torch.inf, error_if_nonfinite=False)
        return _clip(self.parameters, self.plan.clip_norm, self.plan.clip_value, targets)

    def take(self, done: float) -> None:
        """Let the optimiser take its step; `done` is the part of the run before it."""
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.plan.factor(done)
        self.stepping.step()


def _clip(parameters: Sequence[Tensor], clip_norm: float, clip_value: float, targets: float) -> tuple[float, float]:
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item() / targets
    scale = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
    for gradient in gradients:
        gradient.mul_(scale / targets)
    if not clip_value:
        return norm, norm * scale
    for gradient in gradients:
        gradient.clamp_(-clip_value, clip_value)
    return norm, torch.nn.utils.get_total_norm(gradients).item()
