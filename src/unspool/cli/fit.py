"""The command line: one verb per thing a person does. Flags have the names of the keywords in Python."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..data import text as texts
from ..data.vocabulary import UNITS
from ..errors import DataError, DivergedError, UnspoolError
from ..train import run_folder
from . import run as running

if TYPE_CHECKING:
    from ..tasks.language_model.estimator import LanguageModel
    from ..train.plan import Progress

# The one of click, or of typer's own copy of it.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
_OPTIONS = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}

verbs = typer.Typer(help="Recurrent networks for sequences: train them, and run them.", **_OPTIONS)
fit = typer.Typer(help="Train a network on a file, and save it into a folder.", **_OPTIONS)
verbs.add_typer(fit, name="fit")

Optimiser = Literal["adam", "adamw", "nadam", "rmsprop", "adagrad", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

_OF_THE_RUN = ("file", "column", "skip_bad", "validation", "minutes")  # all else is the model's
_EACH_TIME = ("devices", "nodes", "precision", "tensorboard")  # may be others when a run goes on


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
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help=f"{running.FILE}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to save the network into.")] = None,
    column: Annotated[str | None, typer.Option(help="Of a table: each of its cells is a text.")] = None,
    skip_bad: Annotated[int, typer.Option(help="Bad lines or rows to let go.", min=0)] = 0,
    level: Annotated[Literal["char", "byte", "word"], typer.Option(help="What a token is.")] = "char",
    cell: Annotated[Literal["elman", "jordan", "gru", "lstm"], typer.Option(help="Recurrent cell.")] = "gru",
    hidden_size: Annotated[int, typer.Option(help="Units of each recurrent layer.", min=1)] = 256,
    num_layers: Annotated[int, typer.Option(help="Recurrent layers.", min=1)] = 1,
    embedding_size: Annotated[int, typer.Option(help="Features of a token; 0: none, 1-of-k.", min=0)] = 128,
    dropout: Annotated[float, typer.Option(help="Part of the units dropped while training.", min=0)] = 0.0,
    tbptt: Annotated[str, typer.Option(help="Steps k1 between updates [,k2 that a gradient goes back].")] = "64",
    batch_size: Annotated[int, typer.Option(help="Parts of the text read side by side.", min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="At the start.")] = 4e-3,
    clip_norm: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.", min=0)] = 1.0,
    clip_value: Annotated[float, typer.Option(help="Largest component of the gradient; 0: any.", min=0)] = 0.0,
    optimiser: Annotated[Optimiser, typer.Option(help="Optimiser.")] = "adam",
    schedule: Annotated[Schedule, typer.Option(help="Of the learning rate.")] = "cosine",
    epochs: Annotated[int, typer.Option(help="Times that the text is read.", min=1)] = 10,
    patience: Annotated[int, typer.Option(help="End after so many checks without a better one; 0: never.", min=0)] = 0,
    vocabulary_size: Annotated[int, typer.Option(help="Most tokens that are known.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the weights and of dropout.", min=0)] = 0,
    validation: Annotated[float, typer.Option(help="Part of the text held out.")] = 0.1,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, instead of so many epochs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the network in --out.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with the run of this --out.")] = None,
    devices: Annotated[int, typer.Option(help="Processes on each machine, one a device.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
    precision: Annotated[Precision, typer.Option(help="Of the arithmetic.")] = "32-true",
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard.")] = None,
) -> int:
    """Train a language model on a text, beside a 5-gram."""
    given, out = _arguments(context, file, out, resume)
    if resume is None:
        run_folder.check_free(out, force)
    text = running.texts(*(given[name] for name in ("file", "level", "column", "skip_bad")))
    from ..tasks.language_model.estimator import LanguageModel
    from ..train.ranks import launch, on_first

    fabric = launch(devices, nodes, precision)
    first = fabric.global_rank == 0
    parameters: dict[str, Any] = {name: value for name, value in given.items() if name not in _OF_THE_RUN}
    parameters["tbptt"] = _numbers("tbptt", given["tbptt"])
    model = LanguageModel(**parameters)
    try:
        if resume is None:
            on_first(fabric, lambda: run_folder.begin(out, given))
        with _Bar(UNITS[model.level], first) as bar:
            model.fit(
                text,
                validation=given["validation"],
                minutes=given["minutes"],
                watch=bar.watch,
                run=run_folder.of(out),
                resume=resume is not None,
                fabric=fabric,
                tensorboard=tensorboard,
            )
    except UnspoolError as error:
        if not first:
            return 2  # the first rank says it
        if isinstance(error, DataError):
            raise DataError(f"{given['file']}: {error}") from None
        if isinstance(error, DivergedError) and hasattr(model, "metrics_"):
            model.save(out, force=force or resume is not None)
            raise DivergedError(f"{error}; the best weights so far are saved in {out}") from None
        raise
    finally:
        if first:
            run_folder.end(out, finished=False)
    if not first:
        return 0
    model.save(out, force=force or resume is not None)
    return _conclude(model, out)


def _arguments(
    context: typer.Context, file: str | None, out: Path | None, resume: Path | None
) -> tuple[dict[str, Any], Path]:
    """What the network is to be trained with, given now or when the run was begun, and its folder."""
    if resume is not None:
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
        if others := sorted(set(given) - {"resume", *_EACH_TIME}):
            names = ", ".join(name.replace("_", "-") for name in others)
            raise UnspoolError(f"--resume goes on with the run's own arguments; leave out {names}")
        return run_folder.arguments(resume), resume
    if file is None or out is None:
        raise UnspoolError("FILE and --out are needed, or --resume; try 'unspool fit text --help'")
    own = {name: value for name, value in context.params.items() if name not in ("out", "force", "resume", *_EACH_TIME)}
    if file != texts.STDLIB:
        own["file"] = str(Path(file).absolute())
    return own, out


def _numbers(name: str, value: str) -> int | list[int]:
    """One integer, or several with commas between them."""
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        raise UnspoolError(f"{name} must be an integer, or two with a comma between them; got {value!r:.80}") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _conclude(model: "LanguageModel", out: Path) -> int:
    """Say how it went, and what is left to do."""
    status = _report(model, out)
    if status == 0:
        run_folder.end(out)
    else:
        print(
            f"unspool: interrupted; the best weights until then are saved, and nothing is lost: "
            f"go on with unspool fit text --resume {out}",
            file=sys.stderr,
        )
    return status


def _report(model: "LanguageModel", out: Path) -> int:
    metrics = model.metrics_
    per = f"bits/{metrics['unit']}"
    score = metrics["validation"]
    unknown = f", {score['unknown']:,} of them unknown" if score["unknown"] else ""
    print(f"network    {score['bits']:.4f} {per} on {score['tokens']:,} held out{unknown}")
    print(f"baseline   {metrics['baseline']['bits']:.4f} {per}, {metrics['baseline']['name']}, the same text")
    print(f"saved in   {out}")
    return 130 if metrics["training"]["stopped"] == "interrupted" else 0


# For the list of commands; `run` and `__main__` call them before typer could.
for _name, (_verb, _) in running.VERBS.items():
    verbs.command(_name, help=_verb.__doc__)(lambda: None)


class _Bar:
    """A progress bar on standard error, and a line for each check."""

    def __init__(self, unit: str, shown: bool):
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
            disable=not (shown and console.is_terminal),
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
