"""The one training loop, for every task: it never loses work and never hides a blow-up."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from ..data.batches import NO_TARGET, Batch, Batches, ahead
from ..errors import DataError, DivergedError, FolderError, UnspoolError
from . import blowup, checkpoint
from .plan import Outcome as Outcome
from .plan import Plan as Plan
from .plan import Progress as Progress
from .ranks import add_up, alone, gather, interleave, on_first, same_weights
from .run_folder import CHECKPOINT, HISTORY
from .through_time import Loss, forward

_OVERFLOWS = 40


@dataclass
class _Position:
    """Where a run is; with the tensors, all that it goes on from."""

    epoch: int = 0
    index: int = 0  # of the next batch in the epoch
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    done: float = 0.0
    checked: int = 0
    waited: int = 0  # checks since the best
    best: float | None = None
    losses: float = 0.0  # these four since the last line of the history
    counted: int = 0
    norms: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)  # norms before clipping
    overflows: int = 0  # steps in a row that 16-mixed has skipped, each with half the scale of the one before
    lines: int = 0


class _Run:
    """A run under way: the network, its optimiser, the carried state, and the position."""

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Loss,
        batches: Batches,
        plan: Plan,
        fabric: Fabric,
        record: Callable[[Progress], Progress],
        folder: Path | None,
        identity: str,
        tensorboard: Path | None,
    ):
        self.network, self.loss, self.plan, self.fabric = network.to(fabric.device).train(), loss, plan, fabric
        self.batches = batches.shard(fabric.global_rank, fabric.world_size)
        self.batches_per_epoch = len(batches)
        self.record, self.folder, self.identity = record, folder, identity
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        # Of the loss, in 16-mixed.
        self.scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        if self.scaler is not None:  # it has its scale from the first loss, and a rank may have none
            self.scaler.scale(torch.zeros((), device=fabric.device))
        self.optimiser = plan.make_optimiser(self.parameters, self.scaler is not None)
        self.stepping: Any = fabric.setup_optimizers(self.optimiser)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.events = _events(tensorboard) if tensorboard and fabric.global_rank == 0 else None
        self.at, self.history, self.began = _Position(), [], time.perf_counter()
        self.state: Any = None
        self.entered: list[tuple[Batch, Any]] = []  # the batches of this step, and the state that entered each
        self.validation: float | None = None
        self.pending = self.targets = 0  # batches whose gradients wait for the step, and their targets
        self.summed = 0.0
        self.saved = 0.0  # seconds of the run at the last checkpoint
        same_weights(fabric, network)
        self.best_weights = _copy(network)

    def begin(self) -> None:
        """A run anew: what another one left in the folder goes."""
        if (folder := self.folder) is not None:
            on_first(self.fabric, lambda: checkpoint.begin(folder / CHECKPOINT, folder / HISTORY))

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint, whatever the number of ranks was."""
        tensors, progress = checkpoint.read(folder / CHECKPOINT)
        if progress["identity"] != self.identity:
            raise FolderError(
                f"{folder}: was made by another run, {progress['identity']:.200}, and this is "
                f"{self.identity:.200}; go on with the same, or begin anew"
            )
        part = _by_prefix(tensors)
        self.network.load_state_dict(part["network"])
        self.best_weights = {name: value.to(self.fabric.device) for name, value in part["best"].items()}
        checkpoint.unpack_optimiser(self.optimiser, part.get("optimiser", {}), progress["optimiser"])
        if self.scaler is not None and progress.get("scaler"):
            self.scaler.load_state_dict(progress["scaler"])
        rank, world = self.fabric.global_rank, self.fabric.world_size
        whole = [tensor for _, tensor in sorted(part.get("state", {}).items(), key=lambda item: int(item[0]))]
        mine = [s[..., rank::world, :] if world > 1 else s for s in whole]
        self.state = _unflatten(iter([s.to(self.fabric.device) for s in mine]), progress["shape"])
        torch.set_rng_state(part["random"].get(str(rank), part["random"]["0"]))
        random = part.get("cuda", {}).get(str(rank))
        if random is not None and len(random) and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(random, self.fabric.device)
        self.at = _Position(**progress["at"])
        self.saved = self.at.seconds
        self.began = time.perf_counter() - self.at.seconds
        self.history = checkpoint.keep_lines(folder / HISTORY, self.at.lines, write=rank == 0)

    def add(self, batch: Batch) -> None:
        """The gradients of one more batch."""
        if self.pending == 0:
            self.stepping.zero_grad()
            self.summed, self.targets, self.entered = 0.0, 0, []
        self.pending, self.at.index = self.pending + 1, self.at.index + 1
        if batch.inputs.shape[1] == 0:
            self.state = None
            return
        self.entered.append((batch, None if batch.fresh else self.state))
        with self.fabric.autocast():
            value, self.state = forward(self.network, self.loss, *self.entered[-1], recompute=self.plan.recompute)
        if value.requires_grad:
            self.fabric.backward(value)
        self.summed += value.item()
        self.targets += _count(batch.targets)

    def update(self, interrupted: bool) -> bool:
        """Clip, and take a step with the gradients of all ranks; whether one of them is to end."""
        at, plan = self.at, self.plan
        clock = 0.0 if self.fabric.global_rank else self._clock()
        mine = [self.summed, self.targets, float(interrupted), clock]
        summed, targets, asked, at.seconds = add_up(self.fabric, self.parameters, mine)
        at.step, self.pending = at.step + 1, 0
        if not math.isfinite(summed):
            self.diverge("loss")
        if targets:
            if self.scaler is not None:  # unscales, the sum: all ranks take the step, or none
                self.fabric.clip_gradients(self.network, self.stepping, max_norm=math.inf, error_if_nonfinite=False)
            norm, clipped = _clip(self.parameters, plan.clip_norm, plan.clip_value, targets)
            at.overflows = 0 if math.isfinite(norm) else at.overflows + 1
            if at.overflows > (_OVERFLOWS if self.scaler is not None else 0):
                self.diverge("gradient")
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate * plan.factor(at.done)
            self.stepping.step()
            if not at.overflows:
                at.norms.append(norm)
                at.clipped.append(clipped)
                at.recent = [*at.recent[-4:], norm]
        at.losses, at.counted, at.tokens = at.losses + summed, at.counted + int(targets), at.tokens + int(targets)
        at.done = self._part_done()
        return asked > 0

    @property
    def over(self) -> str:
        """How the run has ended, if it has."""
        at, patience = self.at, self.plan.patience
        return "finished" if at.done >= 1 else "early" if patience and at.waited >= patience else ""

    def check(self, validate: Callable[[], float]) -> None:
        """Validate, and keep the weights if they are the best."""
        at = self.at
        self.network.eval()
        with torch.no_grad():
            # By the clock the check itself may have taken a good part of the run.
            value, at.seconds = on_first(self.fabric, lambda: (validate(), self._clock()))
        self.network.train()
        at.checked = int(self._part_done() * self._checks)
        self.validation = value
        if not math.isfinite(value):
            self.diverge("validation loss")
        at.waited += 1
        if at.best is None or value < at.best:
            at.best, at.waited, self.best_weights = value, 0, _copy(self.network)

    @property
    def check_is_due(self) -> bool:
        return self.at.done >= 1 or int(self.at.done * self._checks) > self.at.checked

    @property
    def save_is_due(self) -> bool:
        return self.at.seconds - self.saved >= self.plan.save_seconds

    def tell(self, watch: Callable[[Progress], None] | None) -> None:
        """Tell the progress, and write it down where a line of the history is due."""
        at = self.at
        progress = self.record(self._progress())
        due = self.validation is not None or at.step % self.plan.log_steps == 0
        if due:
            self._write_line(progress)
        if watch is not None and self.fabric.global_rank == 0:
            watch(progress)
        if due:
            at.losses, at.counted, at.norms, at.clipped = 0.0, 0, [], []

    def save(self) -> None:
        """Write the checkpoint, if the run has a folder."""
        if (folder := self.folder) is None:
            return
        leaves, shape = _flatten(self.state)
        ranks = gather(self.fabric, (leaves, torch.get_rng_state(), _cuda_random(self.fabric.device)))
        self.saved = self.at.seconds
        on_first(self.fabric, lambda: self._write_checkpoint(folder, ranks, shape))

    def _write_checkpoint(self, folder: Path, ranks: Sequence[tuple[list[Tensor], Tensor, Tensor]], shape: Any) -> None:
        optimiser, rest = checkpoint.pack_optimiser(self.optimiser)
        with_state = [leaves for leaves, _, _ in ranks if leaves]
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best_weights.items()} | optimiser
        tensors |= {f"state.{k}": interleave(parts) for k, parts in enumerate(zip(*with_state, strict=True))}
        tensors |= {f"random.{k}": random for k, (_, random, _) in enumerate(ranks)}
        tensors |= {f"cuda.{k}": random for k, (_, _, random) in enumerate(ranks)}
        progress = {"at": asdict(self.at), "optimiser": rest, "shape": shape, "identity": self.identity}
        progress["scaler"] = self.scaler.state_dict() if self.scaler is not None else None
        checkpoint.sync(folder / HISTORY)
        checkpoint.write(folder / CHECKPOINT, tensors, progress)

    def end(self, stopped: str) -> Outcome:
        """The network as it is to be used: on the CPU, with the best weights there are."""
        if stopped != "interrupted" or self.at.best is not None:
            self.network.load_state_dict(self.best_weights)
        self.network.cpu().eval()
        if self.events is not None:
            self.events.close()
        return Outcome(stopped, math.inf if self.at.best is None else self.at.best, self.history)

    def diverge(self, what: str) -> NoReturn:
        """Stop with all that is known."""
        at, plan = self.at, self.plan
        located, where = False, []
        if what != "validation loss":
            with self.fabric.autocast():
                located, step = blowup.time_step(self.network, self.loss, self.entered)
            where = [blowup.parameter(self.network), step]
        kept = "the network has the weights " + ("that it began with" if at.best is None else "that were best before")
        if self.folder is not None and (self.folder / CHECKPOINT).exists():
            kept += f", the last good checkpoint is {self.folder / CHECKPOINT}"
        remedies = [
            f"a learning_rate smaller than {plan.learning_rate:g}",
            f"a clip_norm smaller than {plan.clip_norm:g}" if plan.clip_norm else "a clip_norm of 1",
        ]
        if at.norms:  # up to the last good step
            self._write_line(self.record(self._progress()))
        said = gather(self.fabric, (located, blowup.complaint(what, at.step, where, at.recent, kept, remedies)))
        raise DivergedError(max(said, key=lambda one: one[0])[1], self.end("diverged"))

    @property
    def _checks(self) -> int:
        return self.plan.checks if self.plan.minutes else max(self.plan.checks, self.plan.epochs)

    def _progress(self) -> Progress:
        at = self.at
        return Progress(
            step=at.step,
            epoch=at.epoch + at.index / self.batches_per_epoch,
            done=at.done,
            seconds=at.seconds,
            tokens=at.tokens,
            loss=at.losses / max(at.counted, 1),
            gradient_norm=max(at.norms, default=0.0),
            clipped_norm=max(at.clipped, default=0.0),
            learning_rate=self.optimiser.param_groups[0]["lr"],
            validation=self.validation,
        )

    def _write_line(self, progress: Progress) -> None:
        norms = {"gradient_norms": self.at.norms, "clipped_norms": self.at.clipped}
        speed = {"tokens_per_second": progress.tokens / max(progress.seconds, 1e-9)}
        line = progress._asdict() | speed | {k: [_rounded(v) for v in values] for k, values in norms.items()}
        self.history.append(line)
        self.at.lines += 1
        if (folder := self.folder) is not None:
            on_first(self.fabric, lambda: checkpoint.add_line(folder / HISTORY, line))
        if self.events is not None:
            for name in ("loss", "validation", "gradient_norm", "clipped_norm", "learning_rate", "tokens_per_second"):
                if line[name] is not None:
                    self.events.add_scalar(name, line[name], progress.step)

    def _clock(self) -> float:
        return time.perf_counter() - self.began

    def _part_done(self) -> float:
        if self.plan.minutes:
            return min(1.0, self.at.seconds / (60 * self.plan.minutes))
        batches = self.at.epoch * self.batches_per_epoch + self.at.index
        return min(1.0, batches / (self.plan.epochs * self.batches_per_epoch))


def _clip(parameters: Sequence[Tensor], clip_norm: float, clip_value: float, targets: float) -> tuple[float, float]:
    """Make the gradients means over the targets, scale them down, clamp them; the norm before and behind."""
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


def _count(targets: np.ndarray) -> int:
    """How many targets there are."""
    missing = np.isnan(targets) if targets.dtype.kind == "f" else targets == NO_TARGET
    return targets.size - int(np.count_nonzero(missing))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _cuda_random(device: torch.device) -> Tensor:
    """The state of the GPU's random numbers, which dropout draws there; empty without one."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0, dtype=torch.uint8)


def _copy(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _flatten(state: Any) -> tuple[list[Tensor], Any]:
    """A state's tensors, and its shape: a list for a tuple, None for none, 0 for a tensor."""
    if isinstance(state, tuple):
        parts = [_flatten(part) for part in state]
        return [leaf for leaves, _ in parts for leaf in leaves], [shape for _, shape in parts]
    return ([], None) if state is None else ([state], 0)


def _unflatten(leaves: Iterator[Tensor], shape: Any) -> Any:
    if isinstance(shape, list):
        return tuple(_unflatten(leaves, part) for part in shape)
    return None if shape is None else next(leaves)


def _by_prefix(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, rest = name.split(".", 1)
        parts.setdefault(prefix, {})[rest if prefix != "optimiser" else name] = tensor
    return parts


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise UnspoolError("tensorboard is not installed; pip install 'unspool[track]' brings it") from None
    return SummaryWriter(str(folder))


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; only the main thread can wait for one."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def interrupt(*_: Any) -> None:
        interrupted.set()
        give_back()

    before = {number: signal.signal(number, interrupt) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        give_back()


def fit(
    network: torch.nn.Module,
    loss: Loss,
    batches: Batches,
    validate: Callable[[], float],
    plan: Plan,
    *,
    watch: Callable[[Progress], None] | None = None,
    record: Callable[[Progress], Progress] = lambda progress: progress,
    run: Path | None = None,
    resume: bool = False,
    identity: str = "",
    fabric: Fabric | None = None,
    tensorboard: Path | None = None,
) -> Outcome:
    """Train a network; at the end it has the weights of its best check.

    The state is carried from batch to batch, except into a fresh one, and no gradient passes from one to another.
    Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint; a second one is an ordinary one.
    A run that is resumed ends with the weights, to the bit, that it would have had undisturbed (unless minutes end it).

    Args:
        network: network(x, state) gives outputs and the next state; what batches have of lengths and reset is passed.
        loss: loss(outputs, targets), the sum over what has a target.
        batches: of each epoch.
        validate: the figure to make small.
        plan: how long and how fast.
        watch: is told after each step, on the first rank.
        record: what becomes of the progress before it is told and written: other units, for example.
        run: the folder for checkpoint and history; nothing is kept on the disk without it.
        resume: go on from the checkpoint in `run`, or begin, where none was written yet.
        identity: what the run is about; a checkpoint with another one is refused.
        fabric: launched; this process alone, on its CPU, if None.
        tensorboard: a folder for TensorBoard's events.
    Raises:
        DivergedError: a loss or gradient was not finite. The network has the best weights so far, those it began with
            if there was no check yet; the checkpoint is the last good one; `outcome` is the error's second argument.
        FolderError: the checkpoint cannot be read or written.
        DataError: there are no batches.
    """
    if not len(batches):
        raise DataError("there must be a batch at least to train on; got none")
    fabric = fabric or alone()
    this = _Run(network, loss, batches, plan, fabric, record, run, identity, tensorboard)
    if run is not None and on_first(fabric, lambda: resume and (run / CHECKPOINT).exists()):
        this.restore(run)
    else:
        this.begin()
    with _interruptible() as interrupted:
        asked = False
        while not (asked or this.over):
            for batch in ahead(this.batches.epoch(this.at.epoch, this.at.index)):
                this.add(batch)
                if this.pending < plan.accumulate and this.at.index < len(batches):
                    continue
                asked = this.update(interrupted.is_set())
                due = this.check_is_due
                if due:
                    this.check(validate)
                this.tell(watch)
                if due or asked or this.save_is_due:
                    this.save()
                if asked and not due:
                    # For use as it is: the checkpoint, which goes on as if nothing had been, does not know of it.
                    this.check(validate)
                    this.tell(watch)
                this.validation = None
                if asked or this.over:
                    break
            else:
                this.at.epoch, this.at.index = this.at.epoch + 1, 0
    return this.end(this.over or "interrupted")
