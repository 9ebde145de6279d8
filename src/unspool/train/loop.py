"""The one training loop, for every task: it never loses work and never hides a blow-up."""

import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ..arguments import integer, number
from ..data.batches import Batches, ahead
from ..errors import DataError, DivergedError, FolderError, UnspoolError
from ..saved.folder import plain
from . import blowup, checkpoint
from .plan import Outcome, Plan, Progress
from .ranks import alone, gather, interleave, on_first, same_weights
from .recorder import Recorder
from .run_folder import CHECKPOINT, HISTORY, held
from .step import Step
from .through_time import Loss

_OVERFLOWS = 40  # steps in a row that 16-mixed may skip
_THREADS = 1024  # the most that a checkpoint can ask for
_REMEMBERED = 5  # the latest gradient norms, which the message about a blow-up shows


@dataclass
class _Position:
    """Where a run is. With the tensors and the state of the recorder, this is all that it needs to go on."""

    epoch: int
    index: int  # of the next batch in the epoch
    step: int
    tokens: int = 0
    seconds: float = 0.0
    done: float = 0.0
    checked: int = 0
    waited: int = 0  # checks since the best one
    best: float | None = None
    recent: list[float] = field(default_factory=list)  # norms before clipping
    overflows: int = 0  # steps in a row that 16-mixed has skipped, each with half the scale of the one before

    @classmethod
    def restored(cls, found: dict[str, Any], batches: int) -> "_Position":
        """That of a checkpoint. What another version did not have yet has its default; what it had more is refused."""
        if unknown := sorted(found.keys() - {f.name for f in fields(cls)}):
            raise UnspoolError(f"it has {unknown[0]!r:.80}, which this version does not know")
        at = cls(**found)
        for name in ("epoch", "step", "tokens", "checked", "waited", "overflows"):
            integer(name, getattr(at, name), 0)
        integer("the index of the next batch", at.index, 0, batches)
        number("seconds", at.seconds)
        number("done", at.done)
        for value in [*at.recent, *([] if at.best is None else [at.best])]:
            number("a norm or the best check", value, least=-math.inf)
        return at


class _Run:
    """A run in progress: the step, the recorder, the position, and the best weights so far."""

    def __init__(self, step: Step, recorder: Recorder, batches: Batches, folder: Path | None, identity: Any):
        self.step, self.recorder, self.folder, self.identity = step, recorder, folder, identity
        self.plan, self.fabric, self.network = step.plan, step.fabric, step.network
        self.batches = batches.shard(self.fabric.global_rank, self.fabric.world_size)
        self.batches_per_epoch = len(batches)
        self.at, self.began = _Position(0, 0, 0), time.perf_counter()
        self.validation: float | None = None  # the result of a check at this step
        self.saved = 0.0  # seconds of the run at the last checkpoint
        same_weights(self.fabric, self.network)
        self.best_weights = _copy(self.network)

    def begin(self) -> None:
        """Begin anew, and remove what an earlier run left in the folder."""
        if (folder := self.folder) is not None:
            on_first(self.fabric, lambda: checkpoint.begin(folder / CHECKPOINT, folder / HISTORY))

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint, which another number of ranks may have written."""
        path = folder / CHECKPOINT
        tensors, progress = checkpoint.read(path)
        with checkpoint.understood(path):
            different = _differences(progress["identity"], self.identity)
        if different:
            raise FolderError(f"{folder}: was made by another run: {different}; go on with the same, or begin anew")
        with checkpoint.understood(path):
            self._restore(tensors, progress, folder)

    def _restore(self, tensors: dict[str, Tensor], progress: dict[str, Any], folder: Path) -> None:
        part, step, device = _by_prefix(tensors), self.step, self.fabric.device
        for weights in (part["best"], part["network"]):  # both must fit
            self.network.load_state_dict(weights)
        self.best_weights = {name: value.to(device) for name, value in part["best"].items()}
        checkpoint.unpack_optimiser(step.optimiser, part.get("optimiser", {}), progress["optimiser"])
        if step.scaler is not None and progress.get("scaler"):
            step.scaler.load_state_dict(progress["scaler"])
        rank, world = self.fabric.global_rank, self.fabric.world_size
        whole = [tensor for _, tensor in sorted(part.get("state", {}).items(), key=lambda item: int(item[0]))]
        mine = [s[..., rank::world, :] if world > 1 else s for s in whole]
        step.state = _unflatten(iter([s.to(device) for s in mine]), progress["shape"])
        torch.set_rng_state(part["random"].get(str(rank), part["random"]["0"]))
        random = part.get("cuda", {}).get(str(rank))
        if random is not None and len(random) and device.type == "cuda":
            torch.cuda.set_rng_state(random, device)
        self.at = _Position.restored(progress["at"], self.batches_per_epoch)
        if (threads := progress.get("threads")) is not None and device.type == "cpu":
            _use(integer("threads", threads, 1, _THREADS))
        self.saved = self.at.seconds
        self.began = time.perf_counter() - self.at.seconds
        self.recorder.restore(folder, **progress["recorder"])

    def add(self, batch: Any) -> bool:
        """Add the gradients of one more batch, and return whether it is the last of the step."""
        self.at.index += 1
        self.step.add(batch)
        return self.step.batches == self.plan.accumulate or self.at.index == self.batches_per_epoch

    def update(self, interrupted: bool) -> bool:
        """Clip the gradients of all ranks and take a step; return whether one of the ranks was interrupted."""
        at = self.at
        clock = 0.0 if self.fabric.global_rank else self._clock()
        loss, targets, asked, at.seconds = self.step.reduce(float(interrupted), clock)
        at.step += 1
        if not math.isfinite(loss):
            self.diverge("loss")
        norms = None
        if targets:
            norms = self.step.clip(targets)
            at.overflows = 0 if math.isfinite(norms[0]) else at.overflows + 1
            if at.overflows > (_OVERFLOWS if self.step.scaler is not None else 0):
                self.diverge("gradient")
            self.step.take(at.done)
            if at.overflows:
                norms = None
            else:
                at.recent = [*at.recent[1 - _REMEMBERED :], norms[0]]
        self.recorder.add(loss, int(targets), norms)
        at.tokens += int(targets)
        at.done = self._part_done()
        return asked > 0

    @property
    def over(self) -> str:
        """How the run has ended, or an empty string if it has not."""
        at, patience = self.at, self.plan.patience
        return "finished" if at.done >= 1 else "early" if patience and at.waited >= patience else ""

    def check(self, validate: Callable[[], float]) -> None:
        """Validate, and keep the weights if they are the best."""
        at = self.at
        self.network.eval()
        with torch.no_grad():
            # When minutes limit the run, the check itself may have taken a good part of it.
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

    def report(self, watch: Callable[[Progress], None] | None) -> None:
        """Report the progress, and record it if a line of the history is due."""
        due = self.validation is not None or self.at.step % self.plan.log_steps == 0
        self.recorder.report(self._progress(), due, watch)

    def save(self) -> None:
        """Write the checkpoint, if the run has a folder."""
        if (folder := self.folder) is None:
            return
        leaves, shape = _flatten(self.step.state)
        ranks = gather(self.fabric, (leaves, torch.get_rng_state(), _cuda_random(self.fabric.device)))
        self.saved = self.at.seconds
        on_first(self.fabric, lambda: self._write_checkpoint(folder, ranks, shape))

    def _write_checkpoint(self, folder: Path, ranks: Sequence[tuple[list[Tensor], Tensor, Tensor]], shape: Any) -> None:
        optimiser, rest = checkpoint.pack_optimiser(self.step.optimiser)
        with_state = [leaves for leaves, _, _ in ranks if leaves]
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best_weights.items()} | optimiser
        tensors |= {f"state.{k}": interleave(parts) for k, parts in enumerate(zip(*with_state, strict=True))}
        tensors |= {f"random.{k}": random for k, (_, random, _) in enumerate(ranks)}
        tensors |= {f"cuda.{k}": random for k, (_, _, random) in enumerate(ranks)}
        progress = {"at": asdict(self.at), "recorder": self.recorder.state(), "identity": self.identity}
        progress |= {"optimiser": rest, "shape": shape, "threads": torch.get_num_threads()}
        progress["scaler"] = self.step.scaler.state_dict() if self.step.scaler is not None else None
        checkpoint.sync(folder / HISTORY)
        checkpoint.write(folder / CHECKPOINT, tensors, progress)

    def end(self, stopped: str) -> Outcome:
        """Put the network on the CPU, with the best weights so far, and return how the run ended."""
        if stopped != "interrupted" or self.at.best is not None:
            self.network.load_state_dict(self.best_weights)
        self.network.cpu().eval()
        self.recorder.close()
        return Outcome(stopped, math.inf if self.at.best is None else self.at.best, self.recorder.history)

    def diverge(self, what: str) -> NoReturn:
        """Raise DivergedError, with all that is known in its message."""
        at, plan = self.at, self.plan
        located, where = False, []
        if what != "validation loss":
            with self.fabric.autocast():
                located, step = blowup.time_step(self.network, self.step.loss, self.step.entered)
            where = [blowup.parameter(self.network), step]
        kept = "the network has the weights " + ("that it began with" if at.best is None else "of its best check")
        if self.folder is not None and (self.folder / CHECKPOINT).exists():
            kept += f", the last good checkpoint is {self.folder / CHECKPOINT}"
        remedies = [
            f"a learning_rate smaller than {plan.learning_rate:g}",
            f"a clip_norm smaller than {plan.clip_norm:g}" if plan.clip_norm else "a clip_norm of 1",
        ]
        if self.recorder.window.norms:  # up to the last good step
            self.recorder.write(self._progress())
        said = gather(self.fabric, (located, blowup.complaint(what, at.step, where, at.recent, kept, remedies)))
        raise DivergedError(max(said, key=lambda one: one[0])[1], self.end("diverged"))

    @property
    def _checks(self) -> int:
        return self.plan.checks if self.plan.minutes else max(self.plan.checks, self.plan.epochs)

    def _progress(self) -> Progress:
        at = self.at
        return self.recorder.progress(
            step=at.step,
            epoch=at.epoch + at.index / self.batches_per_epoch,
            done=at.done,
            seconds=at.seconds,
            tokens=at.tokens,
            learning_rate=self.step.learning_rate,
            validation=self.validation,
        )

    def _clock(self) -> float:
        return time.perf_counter() - self.began

    def _part_done(self) -> float:
        if self.plan.minutes:
            return min(1.0, self.at.seconds / (60 * self.plan.minutes))
        batches = self.at.epoch * self.batches_per_epoch + self.at.index
        return min(1.0, batches / (self.plan.epochs * self.batches_per_epoch))


def _use(threads: int) -> None:
    """Let PyTorch use this number of threads, on which the order of its sums depends, and so the weights' last bits."""
    now = torch.get_num_threads()
    if now != threads:
        torch.set_num_threads(threads)
        text = (
            f"the run was begun on {threads} threads, and goes on with as many instead of {now}, for the same weights"
        )
        warnings.warn(text, stacklevel=2)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """PyTorch has as many threads after it as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _differences(theirs: Any, ours: Any) -> str:
    """Which parts of two identities differ, in words; the parts of mappings are compared by name."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return "" if theirs == ours else f"that was {theirs!r:.80}, and this one is {ours!r:.80}"
    said = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        was, now = (side.get(name, "nothing") for side in (theirs, ours))
        if was != now:
            said.append("the data have changed" if name == "sha256" else f"{name} was {was!r:.60}, and is {now!r:.60}")
    return "; ".join(said[:4])


@contextmanager
def alone_in(fabric: Fabric, run: Path | None) -> Iterator[None]:
    """Hold the folder of a run, if there is one, on the first rank: see `run_folder.held`."""
    with ExitStack() as stack:
        if run is not None:
            on_first(fabric, lambda: stack.enter_context(held(run)))
        yield


def _cuda_random(device: torch.device) -> Tensor:
    """The state of the GPU's random numbers, which dropout uses there; empty without a GPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0, dtype=torch.uint8)


def _copy(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _flatten(state: Any) -> tuple[list[Tensor], Any]:
    """A state's tensors, and its shape: a list for a tuple, None for no state, 0 for a tensor."""
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


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; threads other than the main one cannot handle signals."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def restore_handlers() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def interrupt(*_: Any) -> None:
        interrupted.set()
        restore_handlers()

    before = {number: signal.signal(number, interrupt) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        restore_handlers()


def _train(
    this: _Run, validate: Callable[[], float], watch: Callable[[Progress], None] | None, interrupted: threading.Event
) -> None:
    """Train until the run is over, or interrupted."""
    asked = False
    while not (asked or this.over):
        for batch in ahead(this.batches.epoch(this.at.epoch, this.at.index)):
            if not this.add(batch):
                continue
            asked = this.update(interrupted.is_set())
            due = this.check_is_due
            if due:
                this.check(validate)
            this.report(watch)
            if due or asked or this.save_is_due:
                this.save()
            if asked and not due:
                # For the use of the network as it is; the checkpoint has no trace of this check, so a resumed run
                # goes on as if uninterrupted.
                this.check(validate)
                this.report(watch)
            this.validation = None
            if asked or this.over:
                break
        else:
            this.at.epoch, this.at.index = this.at.epoch + 1, 0


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
    identity: Any = "",
    fabric: Fabric | None = None,
    tensorboard: Path | None = None,
) -> Outcome:
    """Train a network; at the end it has the weights of its best check.

    The state is carried from batch to batch, except into a fresh one; no gradient passes between batches. Ctrl-C or
    SIGTERM ends the run after the current step, with a checkpoint; a second one acts as it does without `fit`. A run
    that is resumed ends with the same weights, to the bit, as without the interruption (unless minutes limit it), as it
    goes on with the number of threads that it was begun with; a warning says so where that is another one.

    Args:
        network: network(x, state) returns the outputs and the next state; it also receives the `lengths` and `reset`
            of a batch that has them.
        loss: loss(outputs, targets), the sum over all that has a target.
        batches: the batches of each epoch.
        validate: returns the figure to minimise.
        plan: how long and how fast.
        watch: receives the progress after each step, on the first rank.
        record: converts the progress before it is reported and recorded, for example into other units.
        run: the folder for the checkpoint and the history; without it nothing is kept on the disk.
        resume: go on from the checkpoint in `run`, or begin if there is none yet.
        identity: says what the run is about, in what JSON can have; a checkpoint with another identity is refused. Of a
            dictionary the complaint says which part differs; `sha256` is the data.
        fabric: a launched Fabric; None: this process alone, on its CPU.
        tensorboard: a folder for TensorBoard's events.
    Raises:
        DivergedError: a loss or a gradient was not finite. The network has the best weights so far, or those it began
            with if there was no check yet; the checkpoint is the last good one; the error has the `outcome`.
        FolderError: the checkpoint cannot be read or written, or another run uses the folder.
        DataError: there are no batches.
    """
    if not len(batches):
        raise DataError("batches must have at least one batch to train on; got none")
    fabric = fabric or alone()
    with alone_in(fabric, run), _threads_kept():
        recorder = Recorder(fabric, run, record, tensorboard)
        this = _Run(
            Step(network, loss, plan, fabric), recorder, batches, run, json.loads(json.dumps(identity, default=plain))
        )
        if run is not None and on_first(fabric, lambda: resume and (run / CHECKPOINT).exists()):
            this.restore(run)
        else:
            this.begin()
        with _interruptible() as interrupted:
            _train(this, validate, watch, interrupted)
        return this.end(this.over or "interrupted")
