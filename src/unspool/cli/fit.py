"""`unspool fit TASK FILE --out DIR`: train a network on a file, and save it into a folder."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DataError, DivergedError, UnspoolError
from ..options import check, like, option, options_of
from ..tasks import TASKS, Task
from ..tasks.files import Training
from ..train import run_folder
from ..train.plan import Plan
from .complaints import UsageError, note, say
from .flags import Parser, add

if TYPE_CHECKING:
    from ..tasks.estimator import Estimator


@dataclass(kw_only=True)
class RunOptions:
    """What a run is begun with, besides the options of its task."""

    validation: float | str = option(
        0.1, "the part of the data that is held out, or another file, which is validated on", "data", above=0, below=1
    )
    minutes: float | None = like(Plan, "minutes")


@dataclass(kw_only=True)
class MachineOptions:
    """Where and how a run is executed; this may change each time that it is resumed."""

    devices: int = option(1, "the processes on each machine, one per device", "run", least=1)
    nodes: int = option(1, "the machines", "run", least=1)
    precision: str = option("32-true", "the arithmetic", "run", choices=("32-true", "bf16-mixed", "16-mixed"))
    tensorboard: str | None = option(None, "a folder for TensorBoard's events", "run")


class _Job(NamedTuple):
    """A run as it was requested: the arguments by name, which are kept with the run, and where it is executed."""

    task: Task
    given: dict[str, Any]
    out: Path
    resume: bool
    force: bool
    machines: MachineOptions

    def part(self, cls: type) -> dict[str, Any]:
        """The arguments that are fields of a class."""
        names = {f.name for f in fields(cls)}
        return {name: value for name, value in self.given.items() if name in names}

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that are options of the task."""
        others = {**self.part(self.task.part("data")), **self.part(RunOptions)}
        return {name: value for name, value in self.given.items() if name not in others}


def add_arguments(parser: Parser, task: Task) -> None:
    """Add the flags of a task: those of its data, its options, and the run."""
    from ..tasks.options import ALIASES, TrainingOptions

    parser.usage = f"{parser.prog} FILE --out DIR [flags]\n       {parser.prog} --resume DIR"
    options, data = task.part("options"), task.part("data")
    own = vars(options.own_training)
    parser.add_argument("file", nargs="?", metavar="FILE", help=data.what)
    run = parser.groups["run"]
    run.add_argument("--out", type=Path, metavar="DIR", help="the folder to save the network into")
    run.add_argument("--force", action="store_true", help="replace the network in --out")
    run.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run of this --out")
    for part in (data, options, TrainingOptions, RunOptions, MachineOptions):
        add(parser, options_of(part), own, ALIASES)


def fit(word: str, file: str | None, out: Path | None, force: bool, resume: Path | None, **given: Any) -> int:
    """Train the estimator of a task on a file, and save it."""
    task = TASKS[word]
    machines = MachineOptions(**{f.name: given.pop(f.name) for f in fields(MachineOptions) if f.name in given})
    check(machines)
    if resume is not None:
        _check_alone({"file": file, "out": out, "force": force or None, **given})
        job = _Job(task, run_folder.arguments(resume), resume, True, True, machines)
    elif file is None or out is None:
        raise UsageError(f"FILE and --out are needed, or --resume. Try 'unspool fit {word} --help'.")
    else:
        run_folder.check_free(out, force)
        place = task.part("data").place
        given["file"] = place(file)
        if isinstance(given.get("validation"), str):
            given["validation"] = place(given["validation"])
        job = _Job(task, given, out, False, force, machines)
    return _run(job, word)


def _check_alone(given: dict[str, Any]) -> None:
    names = sorted(name.replace("_", "-") for name, value in given.items() if value is not None)
    if names:
        raise UsageError(f"--resume goes on with the run's own arguments; leave out {', '.join(names)}.")


def _run(job: _Job, word: str) -> int:
    """Read the data, before PyTorch is imported; train; and save."""
    from ..tasks.options import TrainingOptions, apart, check_all

    options = apart(job.task.part("options"), TrainingOptions, job.parameters)
    of_run = RunOptions(**job.part(RunOptions))
    check_all(options)
    check(of_run)
    data = job.task.part("data")(**job.part(job.task.part("data")))
    check(data)
    from .bar import reading

    try:
        with reading(data.file) as watch:
            found = data.training_data(options, of_run.validation, watch)
    except DataError as error:
        raise _of_file(error, data.file) from None
    from ..tasks import estimator
    from ..train.loop import alone_in
    from ..train.ranks import launch

    machines = job.machines
    fabric = launch(machines.devices, machines.nodes, machines.precision)
    model = apart(job.task.part("estimator"), estimator.Training, job.parameters | found.options)
    with alone_in(fabric, run_folder.of(job.out)):
        return _train(job, model, found, of_run, fabric, word)


def _train(job: _Job, model: "Estimator", found: Training, of_run: RunOptions, fabric: Any, word: str) -> int:
    from ..train.ranks import on_first

    first = fabric.global_rank == 0
    try:
        if not job.resume:
            on_first(fabric, lambda: run_folder.begin(job.out, job.given))
        _fit(job, model, found, of_run, fabric)
    except UnspoolError as error:
        if not first:
            return 2  # the first rank reports it
        raise _explained(job, model, found, error) from None
    finally:
        if first:
            run_folder.end(job.out, finished=False)
    if not first:
        return 0
    model.save(job.out, force=job.force, data=found.data)
    return _conclude(job, model, word)


def _fit(job: _Job, model: "Estimator", found: Training, of_run: RunOptions, fabric: Any) -> None:
    from .bar import Bar

    with Bar(model.loss_unit, model.unit, fabric.global_rank == 0) as bar:
        model.fit(
            found.X,
            found.y,
            validation=found.validation,
            minutes=of_run.minutes,
            watch=bar.watch,
            run=run_folder.of(job.out),
            resume=job.resume,
            fabric=fabric,
            tensorboard=job.machines.tensorboard,
        )


def _explained(job: _Job, model: "Estimator", found: Training, error: UnspoolError) -> UnspoolError:
    """The error with the name of the file; or with the place where the best weights before a divergence are saved."""
    if isinstance(error, DataError):
        return _of_file(error, job.given["file"])
    if isinstance(error, DivergedError) and hasattr(model, "network_"):
        model.save(job.out, force=job.force, data=found.data)
        return DivergedError(f"{error}; the best weights so far are saved in {job.out}")
    return error


def _of_file(error: DataError, file: str) -> DataError:
    """The error with the name of the file, unless it begins with that."""
    begins = str(error).startswith((file, Path(file).name, "standard input"))
    return error if begins else DataError(f"{file}: {error}")


def _conclude(job: _Job, model: "Estimator", word: str) -> int:
    """Print the result, and how to go on if the run was interrupted."""
    say(f"{model.report()}\nsaved in   {job.out}")
    if model.stopped_ != "interrupted":
        run_folder.end(job.out)
        return 0
    note(
        f"interrupted; the best weights so far are saved, and nothing is lost: "
        f"go on with unspool fit {word} --resume {job.out}"
    )
    return 130
