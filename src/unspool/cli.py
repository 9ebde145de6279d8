"""The command line: one verb per thing a person does. Flags have the names of the keywords in Python."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import folder
from . import verbs as running
from .data import text as texts
from .data.vocabulary import UNITS
from .errors import DataError, DivergedError

if TYPE_CHECKING:
    from .fit import Progress
    from .tasks.language_model import LanguageModel

# The one of click, or of typer's own copy of it.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
_OPTIONS = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}

verbs = typer.Typer(help="Recurrent networks for sequences: train them, and run them.", **_OPTIONS)
fit = typer.Typer(help="Train a network on a file, and save it into a folder.", **_OPTIONS)
verbs.add_typer(fit, name="fit")

Source = Annotated[str, typer.Argument(metavar="FILE", help=f"Text in UTF-8, or {texts.STDLIB}.")]


def app() -> None:
    """What the shell calls."""
    running.speak_utf8()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    if arguments and arguments[0] in running.VERBS:
        return running.run(arguments)
    return running.guarded(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        return verbs(args=arguments, prog_name="unspool", standalone_mode=False)
    except _UsageError as error:
        raise running.UsageError(f"{error.format_message()} Try 'unspool --help'.") from None
    except typer.Abort:
        return 130


@fit.callback()
def _fit() -> None:
    """Train a network on a file, and save it into a folder."""


@fit.command("text")
def fit_text(
    file: Source,
    out: Annotated[Path, typer.Option(help="Folder to save the network into.")],
    level: Annotated[Literal["char", "byte", "word"], typer.Option(help="What a token is.")] = "char",
    cell: Annotated[Literal["elman", "jordan", "gru", "lstm"], typer.Option(help="Recurrent cell.")] = "gru",
    hidden_size: Annotated[int, typer.Option(help="Units of each recurrent layer.", min=1)] = 256,
    num_layers: Annotated[int, typer.Option(help="Recurrent layers.", min=1)] = 1,
    embedding_size: Annotated[int, typer.Option(help="Features of a token; 0: none, 1-of-k.", min=0)] = 128,
    dropout: Annotated[float, typer.Option(help="Part of the units dropped while training.", min=0)] = 0.0,
    tbptt: Annotated[int, typer.Option(help="Steps that a gradient goes back.", min=1)] = 64,
    batch_size: Annotated[int, typer.Option(help="Parts of the text read side by side.", min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of Adam, at the start.")] = 4e-3,
    clip_norm: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.", min=0)] = 1.0,
    epochs: Annotated[int, typer.Option(help="Times that the text is read.", min=1)] = 10,
    vocabulary_size: Annotated[int, typer.Option(help="Most tokens that are known.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the weights and of dropout.", min=0)] = 0,
    validation: Annotated[float, typer.Option(help="Part of the text held out.")] = 0.1,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, instead of so many epochs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the network in --out.")] = False,
) -> int:
    """Train a language model on a text, beside a 5-gram."""
    folder.check_free(out, force)
    text = texts.read(file, level)
    from .tasks.language_model import LanguageModel

    model = LanguageModel(
        level=level,
        cell=cell,
        hidden_size=hidden_size,
        num_layers=num_layers,
        embedding_size=embedding_size,
        dropout=dropout,
        tbptt=tbptt,
        batch_size=batch_size,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        epochs=epochs,
        vocabulary_size=vocabulary_size,
        seed=seed,
    )
    try:
        with _Bar(UNITS[level]) as bar:
            model.fit(text, validation=validation, minutes=minutes, watch=bar.watch)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except DivergedError as error:
        if not error.outcome.history:
            raise
        model.save(out, force=force)
        raise DivergedError(f"{error}; the best weights so far are saved in {out}") from None
    model.save(out, force=force)
    return _report(model, out)


def _report(model: "LanguageModel", out: Path) -> int:
    metrics = model.metrics_
    per = f"bits/{metrics['unit']}"
    print(f"network    {metrics['validation']['bits']:.4f} {per} on {metrics['validation']['tokens']:,} held out")
    print(f"baseline   {metrics['baseline']['bits']:.4f} {per}, {metrics['baseline']['name']}, the same text")
    print(f"saved in   {out}")
    if metrics["training"]["stopped"] == "interrupted":
        print("training was interrupted; the weights are the best until then", file=sys.stderr)
        return 130
    return 0


# For the list of commands; `run` and `__main__` call them before typer could.
for _name, (_verb, _) in running.VERBS.items():
    verbs.command(_name, help=_verb.__doc__)(lambda: None)


class _Bar:
    """A progress bar on standard error, and a line for each check."""

    def __init__(self, unit: str):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.unit = unit
        console = Console(stderr=True, soft_wrap=True)
        self.bar = Bar(
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0)

    def __enter__(self) -> "_Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def watch(self, progress: "Progress") -> None:
        speed = f"{progress.tokens / progress.seconds:,.0f} {self.unit}s/s"
        self.bar.update(
            self.task, completed=progress.done, description=f"{progress.loss:.3f} bits/{self.unit}  {speed}"
        )
        if progress.validation is not None:
            self.bar.console.print(
                f"step {progress.step:>6,}  {progress.seconds:5.0f} s  training {progress.loss:.3f}  "
                f"validation {progress.validation:.3f} bits/{self.unit}  {speed}",
                highlight=False,
            )
