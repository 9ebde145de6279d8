"""The one training loop: truncated backpropagation through time, with the best weights kept."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .data.batches import Batch
from .errors import DivergedError


class Batches(Protocol):
    """One epoch of batches, each time that it is iterated."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...


def cosine(done: float) -> float:
    """From 1 down to 0 (Loshchilov & Hutter 2017)."""
    return (1 + math.cos(math.pi * done)) / 2


def constant(done: float) -> float:
    """Always 1."""
    return 1.0


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    learning_rate: of Adam (Kingma & Ba 2015), times schedule(part of the run that is done).
    clip_norm: gradients are scaled down to this norm of all together (Pascanu, Mikolov & Bengio 2013); 0: they are not.
    epochs: the end, unless minutes are given.
    minutes: the end by the clock, however many epochs that makes.
    checks: how often in a run, at least, the network is validated; also at the end of each epoch if these are more.
    """

    learning_rate: float
    clip_norm: float
    epochs: int
    minutes: float | None = None
    schedule: Callable[[float], float] = cosine
    checks: int = 10


class Progress(NamedTuple):
    """How far a run is.

    step, epoch: how many, the epoch not always whole.
    done: part of the run, 0 to 1.
    tokens: targets trained on so far, and seconds used for it.
    loss: the mean since the check before; gradient_norm: the largest since then, before clipping.
    validation: at a check, else None.
    """

    step: int
    epoch: float
    done: float
    seconds: float
    tokens: int
    loss: float
    gradient_norm: float
    learning_rate: float
    validation: float | None


class Outcome(NamedTuple):
    """How a run ended: `finished`, `interrupted` or `diverged`; its best validation; its checks."""

    stopped: str
    best: float
    history: list[Progress]


def fit(
    network: torch.nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Batches,
    validate: Callable[[], float],
    plan: Plan,
    watch: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a network; at the end it has the weights of its best check.

    The state is carried from batch to batch, except into a fresh one, and no gradient passes from one to another.
    Ctrl-C ends the run after the current step as if it were the last one; a second Ctrl-C is an ordinary one.

    Args:
        network: network(inputs, state) gives outputs and the next state.
        loss: loss(outputs, targets), a scalar.
        batches: one epoch.
        validate: the figure to make small.
        plan: how long and how fast.
        watch: is told after each step.
    Raises:
        DivergedError: a loss or gradient was not finite. The network has the best weights so far, those it began with
            if there was no check yet; `outcome` is the error's second argument.
    """
    run = _Run(network, plan, len(batches))
    state = None
    with _interruptible() as interrupted:
        for batch in _endless(batches):
            state = run.step(loss, batch, None if batch.fresh else state)
            last = run.done >= 1 or interrupted.is_set()
            if run.finite and (last or run.check_is_due):
                run.check(validate)
            if not run.finite:
                break
            if watch is not None:
                watch(run.progress())
            if last:
                break
    network.load_state_dict(run.best_weights)
    network.eval()
    if not run.finite:
        raise DivergedError(run.complaint(), Outcome("diverged", run.best, run.history))
    return Outcome("finished" if run.done >= 1 else "interrupted", run.best, run.history)


class _Run:
    """A run's optimiser, clock, best weights and history."""

    def __init__(self, network: torch.nn.Module, plan: Plan, steps_per_epoch: int):
        self.network, self.plan, self.steps_per_epoch = network.train(), plan, steps_per_epoch
        self.checks = plan.checks if plan.minutes else max(plan.checks, plan.epochs)
        self.optimiser = torch.optim.Adam(network.parameters(), plan.learning_rate)
        self.start = time.perf_counter()
        self.steps = self.tokens = self.steps_since_check = self.checked = 0
        self.loss = self.losses = self.norm = self.largest_norm = self.done = 0.0
        self.validation: float | None = None
        self.finite, self.what = True, "loss"
        self.history: list[Progress] = []
        self.best, self.best_weights = math.inf, _copy(network)

    def step(self, loss: Callable[[Tensor, Tensor], Tensor], batch: Batch, state: Any) -> Any:
        """Forward, backward, clip, update, unless loss or gradient is not finite; the next state."""
        if self.validation is not None:
            self.losses = self.largest_norm = self.steps_since_check = 0
            self.validation = None
        self.optimiser.param_groups[0]["lr"] = self.plan.learning_rate * self.plan.schedule(self.done)
        self.optimiser.zero_grad()
        outputs, state = self.network(torch.from_numpy(batch.inputs), state)
        value = loss(outputs, torch.from_numpy(batch.targets))
        value.backward()
        clip = self.plan.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip).item()
        self.steps += 1
        if self._is_finite("loss", value.item()) and self._is_finite("gradient", norm):
            self.optimiser.step()
            self._count(value.item(), norm, batch.targets.size)
        return _detach(state)

    @property
    def check_is_due(self) -> bool:
        return int(self.done * self.checks) > self.checked

    def check(self, validate: Callable[[], float]) -> None:
        """Validate; keep the weights if they are the best."""
        self.network.eval()
        with torch.no_grad():
            self.validation = validate()
        self.network.train()
        # By the clock the check itself may have taken a good part of the run.
        self.checked = int(self._part_done() * self.checks)
        if not self._is_finite("validation loss", self.validation):
            return
        if self.validation < self.best:
            self.best, self.best_weights = self.validation, _copy(self.network)
        self.history.append(self.progress())

    def progress(self) -> Progress:
        return Progress(
            step=self.steps,
            epoch=self.steps / self.steps_per_epoch,
            done=self.done,
            seconds=time.perf_counter() - self.start,
            tokens=self.tokens,
            loss=self.losses / self.steps_since_check,
            gradient_norm=self.largest_norm,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            validation=self.validation,
        )

    def complaint(self) -> str:
        """What was not finite, what came before, which weights are left, and what to try."""
        before = f"; the step before had loss {self.loss:.4g} and gradient norm {self.norm:.4g}" if self.tokens else ""
        kept = "that were best before" if self.history else "that it began with"
        return (
            f"training stopped at step {self.steps}: the {self.what} is not finite{before}; the network has the "
            f"weights {kept}; try a learning_rate smaller than {self.plan.learning_rate:g}, or a clip_norm "
            + (f"smaller than {self.plan.clip_norm:g}" if self.plan.clip_norm else "of 1")
        )

    def _is_finite(self, what: str, value: float) -> bool:
        self.finite, self.what = math.isfinite(value), what
        return self.finite

    def _count(self, loss: float, norm: float, tokens: int) -> None:
        self.loss, self.norm = loss, norm
        self.losses += loss
        self.largest_norm = max(self.largest_norm, norm)
        self.steps_since_check += 1
        self.tokens += tokens
        self.done = self._part_done()

    def _part_done(self) -> float:
        if self.plan.minutes:
            return min(1.0, (time.perf_counter() - self.start) / (60 * self.plan.minutes))
        return min(1.0, self.steps / (self.plan.epochs * self.steps_per_epoch))


def _endless(batches: Batches) -> Iterator[Batch]:
    while True:
        yield from batches


def _detach(state: Any) -> Any:
    return tuple(map(_detach, state)) if isinstance(state, tuple) else state.detach()


def _copy(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; only the main thread can wait for one."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def interrupt(*_: Any) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt) or signal.SIG_DFL
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
