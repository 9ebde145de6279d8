"""The progress of a training run on standard error."""

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Columns

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
        console = Console(stderr=True, soft_wrap=True)
        self.bar = Columns(
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
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
