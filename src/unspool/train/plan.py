"""What a training run is to do, how far it is, and how it ended."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import integer, number, one_of
from ..errors import UnspoolError

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}
_FUSED = ("adam", "adamw", "adagrad", "sgd")
# Factors of the learning rate by the part of the run that is done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,  # Loshchilov & Hutter 2017
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Plan:
    """How long, how fast, and how carefully.

    learning_rate: times the schedule's factor.
    clip_norm: when the norm of all gradients together exceeds it, all are scaled down to it (Pascanu, Mikolov & Bengio
        2013); 0: they are not.
    clip_value: then each component is forced into ±clip_value; 0: it is not.
    epochs: the end, unless minutes are given.
    minutes: the end by the clock, however many epochs that makes.
    optimiser: a name in `OPTIMISERS`, or what makes one of the parameters and `lr`.
    schedule: a name in `SCHEDULES`, or a function from the part of the run that is done, 0 to 1, to a factor.
    accumulate: batches whose gradients are added up for one step.
    recompute: exact gradients through long batches in the memory of 2√T steps, for the time of one more forward pass.
    checks: how often in a run, at least, the network is validated; also at the end of each epoch if these are more.
    patience: the end after so many checks in a row without a better one; 0: it is not.
    log_steps: steps between two lines of the history; there is one at each check, too.
    save_seconds: time between two checkpoints; there is one at each check, too.

    Raises:
        UnspoolError: one of them cannot be used.
    """

    learning_rate: float
    clip_norm: float = 0.0
    epochs: int = 1
    minutes: float | None = None
    clip_value: float = 0.0
    optimiser: str | Callable[..., torch.optim.Optimizer] = "adam"
    schedule: str | Callable[[float], float] = "cosine"
    accumulate: int = 1
    recompute: bool = False
    checks: int = 10
    patience: int = 0
    log_steps: int = 100
    save_seconds: float = 60.0

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, above=True)
        for name in ("clip_norm", "clip_value", "save_seconds"):
            number(name, getattr(self, name))
        if self.minutes is not None:
            number("minutes", self.minutes, above=True)
        for name in ("epochs", "accumulate", "checks", "log_steps"):
            integer(name, getattr(self, name), 1)
        integer("patience", self.patience, 0)
        if isinstance(self.optimiser, str):
            one_of("optimiser", self.optimiser, tuple(OPTIMISERS))
        if isinstance(self.schedule, str):
            one_of("schedule", self.schedule, tuple(SCHEDULES))

    def make_optimiser(self, parameters: Sequence[Tensor], scaled: bool = False) -> torch.optim.Optimizer:
        """The optimiser of these parameters; `scaled` if gradients are to be unscaled before it sees them."""
        if not parameters:
            raise UnspoolError("the network must have a parameter to train; all are frozen")
        if not isinstance(self.optimiser, str):
            return self.optimiser(parameters, lr=self.learning_rate)
        # One pass over each parameter instead of several; but these optimisers would unscale for themselves.
        fused = self.optimiser in _FUSED and parameters[0].device.type in ("cpu", "cuda") and not scaled
        options = {"fused": True} if fused else {}
        return OPTIMISERS[self.optimiser](parameters, lr=self.learning_rate, **options)

    def factor(self, done: float) -> float:
        """Of the learning rate, when this part of the run is done."""
        return SCHEDULES[self.schedule](done) if isinstance(self.schedule, str) else self.schedule(done)


class Progress(NamedTuple):
    """How far a run is.

    step, epoch: how many, the epoch not always whole.
    done: part of the run, 0 to 1.
    seconds, tokens: spent, and targets trained on, so far.
    loss: the mean over the targets since the last line of the history.
    gradient_norm: the largest since then, before clipping; clipped_norm: behind it.
    learning_rate: of this step.
    validation: at a check, else None.
    """

    step: int
    epoch: float
    done: float
    seconds: float
    tokens: int
    loss: float
    gradient_norm: float
    clipped_norm: float
    learning_rate: float
    validation: float | None


class Outcome(NamedTuple):
    """How a run ended (`finished`, `early` by patience, `interrupted` or `diverged`), its best check, its history."""

    stopped: str
    best: float
    history: list[dict[str, Any]]
