"""What all estimators have in common: training, saving and loading.

A task defines its data, its loss, its metric and its baseline; the rest is here.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..data.batches import Batch, Batches
from ..errors import DataError, DivergedError
from ..network import Network, restore
from ..options import documented, options_of
from ..saved import card, folder
from ..train.loop import fit
from ..train.plan import Outcome, Plan, Progress
from ..train.through_time import Loss, forward
from .options import Options, TrainingOptions, apart, check_all, flat

Self = TypeVar("Self", bound="Estimator")
_FILES = ("metrics.json", "history.jsonl")


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Training(TrainingOptions, BaseEstimator):
    """How a network is trained: options that are rarely changed, given to an estimator as `training`.

    Args:
        {options}
        warm_start: `fit` goes on with the weights of the `fit` before, or of `load`, on what may be other data.
    """

    warm_start: bool = False


class Work(NamedTuple):
    """What a task makes of its data for one run.

    network: the configuration of the network.
    loss: as for `unspool.train.fit`.
    batches: the batches to train on.
    validation: the batches whose mean loss per target is to be minimised.
    source: what identifies the data, by name; `sha256` of it.
    data: whatever the task needs for `_finish`, when the network is trained.
    constants: what the network has besides trained weights, by name, as the mean and the std of its inputs.
    plan: what the data decide of the plan, by name, as the epochs where the option leaves them open.
    """

    network: dict[str, Any]
    loss: Loss
    batches: Batches
    validation: Iterable[Batch]
    source: dict[str, Any]
    data: Any
    constants: Mapping[str, np.ndarray] = MappingProxyType({})
    plan: Mapping[str, Any] = MappingProxyType({})


class Estimator(Options, BaseEstimator):
    """The base class of the tasks, which follows the conventions of scikit-learn.

    A task has four methods of its own: `_work` makes what a run needs from the data; `_finish` returns the metrics of
    the trained network; `_files` and `_restore` save and load what the task has besides its network.
    """

    task: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ()  # in its folder, besides those that all tasks have
    may_have: ClassVar[tuple[str, ...]] = ()  # files that its folder has for some data only
    of_data: ClassVar[tuple[str, ...]] = ()  # of what `_files` gives: what may differ when a network learns on
    about: ClassVar[str] = ""  # for the model card
    loss_unit: ClassVar[str] = "nats"  # of the loss that `_record` returns
    unit: ClassVar[str] = "step"  # in which targets are counted

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = 0.1,
        minutes: float | None = None,
        watch: Callable[[Progress], None] | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        **options: Any,
    ) -> Self:
        """Train the network, and keep the weights that are best on the validation part.

        Args:
            X, y: the data, as described in the class.
            validation: the part of the data to hold out, between 0 and 1, or separate data.
            minutes: train for this time instead of a number of epochs.
            watch: receives the progress after each step.
            run: a folder for checkpoints and the history; without it an interrupted run leaves nothing on the disk.
            resume: go on from the checkpoint in `run`, which must be from the same data and parameters.
            options: `fabric` and `tensorboard`, as for `unspool.train.fit`.
        Raises:
            DataError: the data cannot be used.
            DivergedError: a loss or a gradient was not finite. If there was a validation before, the estimator is
                fitted, with the weights of the best one.
            FolderError: the checkpoint cannot be read or written, or was made by another run.
        """
        plan = self._plan(minutes)
        before = self._before()
        work = self._work(X, y, validation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.network_ = self._build(work) if before is None else self._going_on(work, *before)
            plan = replace(plan, **work.plan)
            try:
                outcome = fit(
                    self.network_,
                    work.loss,
                    work.batches,
                    lambda: self._validate(work),
                    plan,
                    watch=watch,
                    record=partial(self._record, work),
                    run=None if run is None else Path(run),
                    resume=resume,
                    identity={"task": self.task, **self._parameters(), **work.source},
                    **options,
                )
            except DivergedError as error:
                if any(line["validation"] is not None for line in error.outcome.history):
                    self._conclude(work, error.outcome)
                else:
                    del self.network_
                raise
        self._conclude(work, outcome)
        return self

    def save(self, path: str | Path, *, force: bool = False, data: Mapping[str, Any] | None = None) -> None:
        """Save into a folder that does not exist; or, with `force`, replace the network in one that does.

        Args:
            path: the folder.
            force: whether to replace what is there.
            data: what the command line is to know of the file that the network was trained on.
        Raises:
            FolderError: the folder cannot be written. What was there is still there.
        """
        check_is_fitted(self, "network_")
        preprocessing, files = self._files()
        config = {
            "task": self.task,
            "parameters": self._parameters(),
            "preprocessing": preprocessing,
            **self._networks(),
            **({} if data is None else {"data": data}),
        }
        weights = {name: value.numpy() for name, value in self.network_.state_dict().items()} | self._arrays()
        files |= {
            "metrics.json": json.dumps(self.metrics_, indent=2),
            "history.jsonl": "".join(json.dumps(row) + "\n" for row in self.history_),
            "README.md": card.model_card(self._title(), config, self.metrics_, self.about),
        }
        folder.write(path, config, weights, files, force=force)

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Load an estimator from a folder.

        Raises:
            FolderError: the folder is not a saved network of this task, or is damaged.
        """
        found = folder.read(path, cls.task, (*cls.files, *_FILES), cls.may_have)
        metrics = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
        with folder.read_as(path, cls.task):
            model = apart(cls, Training, found.config["parameters"])
            model._plan(None)
            model.history_ = [json.loads(line) for line in found.files["history.jsonl"].splitlines()]
            model.metrics_ = metrics
            model.network_ = model._rebuild(found)
            model._restore(found)
        return model

    def report(self) -> str:
        """The metric beside that of the baseline, in a few lines."""
        raise NotImplementedError

    def _plan(self, minutes: float | None) -> Plan:
        """The plan for the training loop; raise UnspoolError unless all options can be used."""
        check_all(self)
        of_plan = {f.name for f in options_of(Plan)}
        given = {name: value for name, value in flat(self).items() if name in of_plan and value is not None}
        return Plan(**given, minutes=minutes)

    def _conclude(self, work: Work, outcome: Outcome) -> None:
        """Set the metrics and the history of a run that has ended."""
        last = outcome.history[-1]
        self.stopped_ = outcome.stopped
        self.history_ = outcome.history
        training = {"epochs": last["epoch"], "steps": last["step"], "seconds": last["seconds"]}
        self.metrics_ = self._finish(work)
        self.metrics_["training"] = self.metrics_.get("training", {}) | training | {"stopped": outcome.stopped}

    def _parameters(self) -> dict[str, Any]:
        """All options by name, in what JSON can have."""
        return flat(self)

    def _build(self, work: Work) -> Network:
        """The network to train."""
        network = self._made(work.network)
        for name, value in work.constants.items():
            network.get_buffer(name).copy_(torch.from_numpy(value))
        return network

    def _made(self, config: Mapping[str, Any]) -> Network:
        """The network of a configuration."""
        return Network(config)

    def _before(self) -> tuple[Network, Any] | None:
        """The network to go on with, and what its inputs and outputs mean; None without `warm_start`."""
        if self.training is None or not getattr(self.training, "warm_start", False) or not hasattr(self, "network_"):
            return None
        return self.network_, self._meaning()

    def _going_on(self, work: Work, network: Network, meaning: Any) -> Network:
        """The network of `_before` for these data; raise DataError if it would mean something else."""
        if json.loads(json.dumps(network.config)) != json.loads(json.dumps(work.network)) or meaning != self._meaning():
            raise DataError(
                "warm_start needs data and options of which the network is the same as before, with the same features, "
                "tokens and classes; set warm_start=False to begin anew"
            )
        return network

    def _meaning(self) -> Any:
        """What the inputs and outputs of the network mean, to be compared."""
        described, files = self._files()
        return {name: value for name, value in described.items() if name not in self.of_data}, files

    def _rebuild(self, found: folder.Saved) -> Network:
        """The network in a folder."""
        return restore(found.config["network"], found.weights, self._made)

    def _networks(self) -> dict[str, Any]:
        """What config.json says of the network, and of its parts if it has any."""
        return {"network": self.network_.config}

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays of parts that the task itself reads; see `unspool.saved.folder`."""
        return {}

    def _validate(self, work: Work) -> float:
        """The figure of the validation part that is to be minimised."""
        return mean_loss(self.network_, work.loss, work.validation)

    def _record(self, work: Work, progress: Progress) -> Progress:
        """The progress in the task's own units."""
        return progress

    def _work(self, X: Any, y: Any, validation: Any) -> Work:
        raise NotImplementedError

    def _finish(self, work: Work) -> dict[str, Any]:
        raise NotImplementedError

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        raise NotImplementedError

    def _restore(self, found: folder.Saved) -> None:
        raise NotImplementedError

    def _title(self) -> str:
        raise NotImplementedError


@torch.no_grad()
def mean_loss(network: torch.nn.Module, loss: Loss, batches: Iterable[Batch]) -> float:
    """The mean loss per target, over batches whose state is carried as in training."""
    state, total, count = None, 0.0, 0
    for batch in batches:
        value, state = forward(network, loss, batch, None if batch.fresh else state)
        total += value.item()
        count += batch.targets_there
    return total / count
