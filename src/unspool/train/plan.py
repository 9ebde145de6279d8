"""What a training run is to do, how far it is, and how it ended. PyTorch is imported only to make an optimiser."""

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UnspoolError
from ..options import check, documented, option

if TYPE_CHECKING:
    import torch

# The class of each optimiser in torch.optim, and whether it has a fused version.
OPTIMISERS = {
    "adam": ("Adam", True),
    "adamw": ("AdamW", True),
    "nadam": ("NAdam", False),
    "rmsprop": ("RMSprop", False),
    "adagrad": ("Adagrad", True),
    "sgd": ("SGD", True),
}
# Factors of the learning rate by the part of the run that is done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,  # Loshchilov & Hutter 2017
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@documented
@dataclass(frozen=True)
class Plan:
    """How long a run is, how fast it learns, and how carefully.

    {options}

    Besides a name, `optimiser` may be a function from the parameters and `lr` to an optimiser, and `schedule` may be a
    function from the part of the run that is done, 0 to 1, to a factor. Gradients are scaled down to `clip_norm` as
    Pascanu, Mikolov & Bengio (2013) do.

    Raises:
        UnspoolError: one of the options cannot be used.
    """

    learning_rate: float = option(
        MISSING, "the learning rate at the start, which the schedule then lowers", "training", above=0
    )
    clip_norm: float = option(
        0.0,
        "the largest norm of all gradients together, to which larger ones are scaled down; 0: no limit",
        "training",
        least=0,
    )
    epochs: int = option(1, "how often the training data is read, unless minutes are given", "training", least=1)
    minutes: float | None = option(None, "train for this time, however many epochs that makes", "run", above=0)
    clip_value: float = option(
        0.0, "the largest component of the gradient, to which larger ones are clamped; 0: no limit", "training", least=0
    )
    optimiser: "str | Callable[..., torch.optim.Optimizer]" = option(
        "adam", "the optimiser", "training", choices=tuple(OPTIMISERS)
    )
    schedule: str | Callable[[float], float] = option(
        "cosine",
        "how the learning rate falls: along a cosine or a line to 0, or not at all",
        "training",
        choices=tuple(SCHEDULES),
    )
    accumulate: int = option(1, "the batches whose gradients are added up for one step", "training", least=1)
    recompute: bool = option(
        False,
        "exact gradients through long batches in the memory of about 2 √T steps, for the time of one more forward pass",
        "training",
    )
    checks: int = option(
        10,
        "how often, at least, the network is validated in a run; once per epoch if there are more epochs",
        "training",
        least=1,
    )
    patience: int = option(
        0, "end the run after this number of validations without a better one; 0: do not", "training", least=0
    )
    log_steps: int = option(
        100, "steps between two lines of the history, which also has a line for each validation", "run", least=1
    )
    save_seconds: float = option(
        60.0, "the time between two checkpoints; there is also one at each validation", "run", least=0
    )

    def __post_init__(self) -> None:
        check(self)

    def make_optimiser(self, parameters: Sequence["torch.Tensor"], scaled: bool = False) -> "torch.optim.Optimizer":
        """The optimiser of these parameters; `scaled`: gradients are unscaled before it takes its step."""
        import torch

        if not parameters:
            raise UnspoolError("the network must have a parameter to train, but has none, or all are frozen")
        if not isinstance(self.optimiser, str):
            return self.optimiser(parameters, lr=self.learning_rate)
        name, fused = OPTIMISERS[self.optimiser]
        # The fused versions would unscale the gradients themselves.
        fused = fused and parameters[0].device.type in ("cpu", "cuda") and not scaled
        return getattr(torch.optim, name)(parameters, lr=self.learning_rate, **({"fused": True} if fused else {}))

    def factor(self, done: float) -> float:
        """The factor of the learning rate when this part of the run is done."""
        return SCHEDULES[self.schedule](done) if isinstance(self.schedule, str) else self.schedule(done)


class Progress(NamedTuple):
    """How far a run is.

    step, epoch: the steps and the epochs so far; the latter may be a fraction.
    done: the part of the run that is done, 0 to 1.
    seconds, tokens: the time spent and the targets trained on, so far.
    loss: the mean over the targets since the last line of the history.
    gradient_norm: the largest norm since then, before clipping; clipped_norm: the largest after clipping.
    learning_rate: the learning rate of this step.
    validation: the result of a check at this step, or None.
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
    """How a run ended (`finished`, `early` by patience, `interrupted`, `diverged`), its best check, and its history."""

    stopped: str
    best: float
    history: list[dict[str, Any]]
