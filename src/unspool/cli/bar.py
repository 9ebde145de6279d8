"""The progress of reading and of training on standard error."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Columns

from ..errors import printable
from ..train.plan import Progress


class Bar:
    """A progress bar, and a line for each validation.

    Args:
        loss: the unit of the loss.
        token: the unit in which targets are counted.
        shown: whether there is a bar; False for all ranks but the first.
    """

    def __init__(self, loss: str, token: str, shown: bool):
        self.loss, self.token = loss, token
        self.bar = _columns(shown)
        self.task = self.bar.add_task("", total=1.0)

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def watch(self, progress: Progress) -> None:
        """Show the progress."""
        speed = f"{progress.tokens / progress.seconds:,.0f} {self.token}s/s"
        self.bar.update(self.task, completed=progress.done, description=f"{progress.loss:.3f} {self.loss}  {speed}")
        if progress.validation is not None:
            self.bar.console.print(
                f"step {progress.step:>6,}  {progress.seconds:5.0f} s  training {progress.loss:.3f}  "
                f"validation {progress.validation:.3f} {self.loss}  {speed}",
                highlight=False,
            )


@contextmanager
def reading(file: str) -> Iterator[Callable[[float], None]]:
    """A progress bar for a file that is being read, from the first time that the part read is known."""
    with _columns(os.environ.get("LOCAL_RANK", "0") == "0") as bar:
        task = bar.add_task(f"reading {printable(os.path.basename(file))}", total=1.0, visible=False)
        yield lambda part: bar.update(task, completed=part, visible=True)


def _columns(shown: bool) -> Columns:
    console = Console(stderr=True, soft_wrap=True)
    return Columns(
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
