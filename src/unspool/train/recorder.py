"""The records of a run: the lines of its history, TensorBoard's events, and the progress that `watch` receives."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from ..arguments import integer, number
from ..errors import UnspoolError
from . import checkpoint
from .plan import Progress
from .ranks import on_first
from .run_folder import HISTORY

_SCALARS = ("loss", "validation", "gradient_norm", "clipped_norm", "learning_rate", "tokens_per_second")


@dataclass
class Window:
    """What happened since the last line of the history: the losses, targets, and norms before and after clipping."""

    losses: float = 0.0
    targets: int = 0
    norms: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)


class Recorder:
    """The history of a run, which is also kept on the disk if the run has a folder.

    Args:
        fabric: the Fabric of the run; only its first rank writes and reports.
        folder: the folder of the run, or None.
        record: converts the progress before it is reported and recorded, for example into other units.
        tensorboard: a folder for TensorBoard's events, or None.
    """

    def __init__(
        self, fabric: Fabric, folder: Path | None, record: Callable[[Progress], Progress], tensorboard: Path | None
    ):
        self.fabric, self.folder, self.record = fabric, folder, record
        self.events = _events(tensorboard) if tensorboard and fabric.global_rank == 0 else None
        self.history: list[dict[str, Any]] = []
        self.window = Window()

    def restore(self, folder: Path, lines: int, window: dict[str, Any]) -> None:
        """Go on after the first lines of the folder's history, as many as `lines`."""
        w = Window(**window)
        integer("targets", w.targets, 0)
        for value in (w.losses, *w.norms, *w.clipped):
            number("a loss or a norm", value, least=-math.inf)
        first = self.fabric.global_rank == 0
        lines = integer("lines", lines, 0)
        self.history, self.window = checkpoint.keep_lines(folder / HISTORY, lines, first, Progress._fields), w

    def state(self) -> dict[str, Any]:
        """The arguments that `restore` needs."""
        return {"lines": len(self.history), "window": asdict(self.window)}

    def add(self, loss: float, targets: int, norms: tuple[float, float] | None) -> None:
        """Add one step: its summed loss, its targets, and the norms of its gradient before and after clipping."""
        self.window.losses += loss
        self.window.targets += targets
        if norms is not None:
            self.window.norms.append(norms[0])
            self.window.clipped.append(norms[1])

    def progress(self, **position: Any) -> Progress:
        """The progress; `position` has the fields of `Progress` that do not come from the window."""
        w = self.window
        losses = {"loss": w.losses / max(w.targets, 1)}
        norms = {"gradient_norm": max(w.norms, default=0.0), "clipped_norm": max(w.clipped, default=0.0)}
        return self.record(Progress(**losses, **norms, **position))

    def report(self, progress: Progress, due: bool, watch: Callable[[Progress], None] | None) -> None:
        """Write a line if one is due, and give the progress to `watch` on the first rank."""
        if due:
            self.write(progress)
        if watch is not None and self.fabric.global_rank == 0:
            watch(progress)

    def write(self, progress: Progress) -> None:
        """Write a line of the history, and begin the next window."""
        norms = {"gradient_norms": self.window.norms, "clipped_norms": self.window.clipped}
        speed = {"tokens_per_second": progress.tokens / max(progress.seconds, 1e-9)}
        line = progress._asdict() | speed | {k: [_rounded(v) for v in values] for k, values in norms.items()}
        self.history.append(line)
        self.window = Window()
        if (folder := self.folder) is not None:
            on_first(self.fabric, lambda: checkpoint.add_line(folder / HISTORY, line))
        if self.events is not None:
            for name in _SCALARS:
                if line[name] is not None:
                    self.events.add_scalar(name, line[name], progress.step)

    def close(self) -> None:
        if self.events is not None:
            self.events.close()


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise UnspoolError("tensorboard is not installed; install it with pip install 'unspool[track]'") from None
    return SummaryWriter(str(folder))
