"""Forecasters: what comes next in a series, for training; `saved` has what a trained one does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ...arguments import number
from ...errors import DataError
from ...network import Network, restore
from ...options import documented
from ...saved import folder
from ...stream import Loaded
from ..estimator import Estimator, Work
from ..options import ForecasterOptions, k1_k2, layers_of, training_of
from . import saved
from .calibration import Calibration
from .choice import best_of, candidates_of, check_counts, held_out
from .distributions import Family, family_of
from .inputs import Inputs
from .losses import Loss
from .saved import ForecastModel, Setup, laid_out
from .series import Series
from .streams import ForecastStream, ForecastStreams, memory_after
from .windows import Reader, Span, Windows

_STEPS = 2000  # of training, where the epochs are not given
_SMALL = 0.1  # of the head's first weights, so that a network begins near to the seasonal naive forecast
_CHECKED = 256  # windows that are validated side by side
_SEEN = 200  # windows of which the inputs are scaled
_HORIZON = 12  # where none is given, and there is no season
_EPOCHS = 5, 100  # the fewest and the most, where they are not given
_CONTEXT = 48, 512  # the least and the most steps that a window has before its gap

_ABOUT = """A recurrent forecaster made with unspool. Errors are on the end of each series, which was held out, beside
those of simple methods.

```
unspool predict . FILE
```

```python
from unspool import Forecaster

print(Forecaster.load(".").predict())
```"""


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Forecaster(ForecasterOptions, Estimator):
    """A recurrent network that tells the distribution of each of the next steps of a series.

        y[t + k] = base + scale · z,  z ~ family(head(h[t + k])),  h[t + k] = recurrent(x[t + k], h[t + k - 1])

    where the base is the seasonal naive forecast, the scale is the mean size of its past errors, and x has what is
    known at t (`unspool.tasks.forecaster.history`). The future is read like a gap: its steps have all that is known of
    them but y. One network serves all series, of unequal lengths, with missing values and gaps.

    `fit(X)` takes a table, a data frame of pandas, Polars or Arrow, or a mapping of columns, with one row for each step
    of each series; or a list of arrays, (T,) or (T, O), one for each series. `predict` gives what is next.

    Args:
        {options}
        training: a `Training` with all other options; None: its defaults, but patience=20. `tbptt` is the number of
            steps before each gap that the gradient goes back through; without it three seasons, 48 at least.

    After `fit` it has `network_`, `layout_`, `metrics_` (the contents of metrics.json) and `history_` (a list of
    dictionaries, the lines of history.jsonl).

    >>> from unspool import Forecaster
    >>> y = [float(t % 4) for t in range(80)]
    >>> Forecaster(4, season=4, epochs=2).fit([y]).predict().round(1).tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    """

    task: ClassVar[str] = saved.TASK
    about: ClassVar[str] = _ABOUT
    loss_unit: ClassVar[str] = "nats"
    unit: ClassVar[str] = "step"

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        target: str | Sequence[str] | None = None,
        time: str | None = None,
        series: str | None = None,
        known: Sequence[str] = (),
        past: Sequence[str] = (),
        static: Sequence[str] = (),
        **options: Any,
    ) -> "Forecaster":
        """Train the network, and keep the weights that are best on the end of each series.

        Args:
            X: as described in the class.
            y: None, as the targets are in X.
            target: the column, or columns, to forecast.
            time: the column of the times; they may be integers.
            series: the column that tells the series apart.
            known: columns whose values are known of the future, too.
            past: columns whose values are known up to the present.
            static: columns that have one value for each series.
            options: those of `unspool.tasks.estimator.Estimator.fit`: `validation`, `minutes`, `watch`, `run`,
                `resume`. The validation part is the end of each series.
        Raises:
            DataError, DivergedError, FolderError: as there.
        """
        if y is not None:
            raise DataError("y must be None, as the targets are columns, or the arrays, of X")
        roles = {"target": target, "time": time, "series": series, "known": known, "past": past, "static": static}
        return super().fit((X, roles), None, **options)

    def predict(self, X: Any = None, **options: Any) -> Any:
        """See `ForecastModel.predict`."""
        return self.saved_half.predict(X, **options)

    def predict_interval(self, X: Any = None, **options: Any) -> Any:
        """See `ForecastModel.predict_interval`."""
        return self.saved_half.predict_interval(X, **options)

    def predict_quantiles(self, levels: Sequence[float], X: Any = None, **options: Any) -> Any:
        """See `ForecastModel.predict_quantiles`."""
        return self.saved_half.predict_quantiles(levels, X, **options)

    def sample(self, n: int = 100, X: Any = None, **options: Any) -> Any:
        """See `ForecastModel.sample`."""
        return self.saved_half.sample(n, X, **options)

    def backtest(self, X: Any, **options: Any) -> Any:
        """See `ForecastModel.backtest`."""
        return self.saved_half.backtest(X, **options)

    def score(self, X: Any, y: None = None) -> float:
        """See `ForecastModel.score`."""
        return self.saved_half.score(X)

    def score_samples(self, X: Any) -> Any:
        """See `ForecastModel.score_samples`."""
        return self.saved_half.score_samples(X)

    def stream(self, series: Any = None, X: Any = None) -> ForecastStream:
        """See `ForecastModel.stream`."""
        return self.saved_half.stream(series, X)

    def streams(self, series: Sequence[Any] | None = None, X: Any = None) -> ForecastStreams:
        """See `ForecastModel.streams`."""
        return self.saved_half.streams(series, X)

    def report(self) -> str:
        """See `ForecastModel.report`."""
        return self.saved_half.report()

    @property
    def saved_half(self) -> ForecastModel:
        """The trained forecaster, whose network runs in the compiled core."""
        check_is_fitted(self, "network_")
        return ForecastModel(self.setup_, self._core(), self.memory_, self.calibration_, self.metrics_)

    def _core(self) -> Loaded:
        weights = {name: value.detach().numpy() for name, value in self.network_.state_dict().items()}
        return Loaded(folder.Saved({"network": self.network_.config}, weights, {}, ""), "the network")

    def _work(self, X: Any, y: None, validation: Any) -> Work:
        layout, series = laid_out(*X)
        family = family_of(self.output)
        part = number("validation", validation, above=True, below=1)
        if family.discrete:
            check_counts(series)
        candidates = candidates_of(series, self.season)
        horizon = self.horizon or next((m for m in candidates if m > 1), _HORIZON)
        ends, last = held_out(series, part, horizon)
        lags = best_of(series, ends, candidates, horizon, self.scale == "global")
        inputs = Inputs.of(lags, series, ends)
        self.setup_ = Setup(layout, series.clock, inputs, family, horizon)
        reader = Reader(inputs, series)
        first = np.minimum(2 * max(candidates), ends // 2).clip(1)
        context = self._context(candidates, horizon)
        size = training_of(self)["batch_size"]
        windows = partial(Windows, reader, horizon=horizon, context=context, raw=family.discrete)
        train = windows(span=Span(first, ends), batch_size=size, seed=self.random_state)
        valid = windows(span=Span(ends, last), batch_size=_CHECKED, seed=None)
        return Work(
            network=self._network(inputs, family),
            loss=Loss(family),
            batches=train,
            validation=list(valid),
            source={"sha256": _digest(series), "validation": part},
            data=(reader, valid),
            constants=_scale(train),
            plan={} if self.epochs else {"epochs": int(np.clip(-(-_STEPS // len(train)), *_EPOCHS))},
        )

    def _context(self, candidates: Sequence[int], horizon: int) -> int:
        tbptt = training_of(self)["tbptt"]
        if tbptt is not None:
            return k1_k2(tbptt)[1]
        shortest = next((m for m in sorted(candidates) if m > 1), 1)
        return int(np.clip(max(3 * shortest, horizon), *_CONTEXT))

    def _network(self, inputs: Inputs, family: Family) -> dict[str, Any]:
        return {
            "front": {"kind": "dense", "size": inputs.width},
            "recurrent": layers_of(self),
            "head": {"kind": "linear", "size": inputs.targets * family.size},
        }

    def _made(self, config: Mapping[str, Any]) -> Network:
        network = Network(config)
        with torch.no_grad():
            network.head.weight.mul_(_SMALL)
            network.head.bias.zero_()
        return network

    def _finish(self, work: Work) -> dict[str, Any]:
        reader, valid = work.data
        self.metrics_ = {}
        self.memory_ = memory_after(self.setup_, self._core(), reader)
        self.calibration_ = Calibration.none(self.setup_.horizon, self.setup_.inputs.targets, self.setup_.family)
        self.calibration_, metrics = self.saved_half.measured(reader, *valid.origins(0))
        return {"data": _described(reader.series), **metrics}

    def _files(self) -> tuple[dict[str, Any], dict[str, str]]:
        return self.setup_.saved() | {"ids": self.memory_.ids}, {}

    def _meaning(self) -> Any:
        setup, layout = self.setup_, self.setup_.layout
        covariates = None if layout is None else (layout.targets, layout.known, layout.past, layout.static)
        return setup.family.name, setup.family.levels, setup.inputs.lags, setup.inputs.calendar, covariates

    def _networks(self) -> dict[str, Any]:
        return super()._networks() | {"parts": {part: {} for part in saved.PARTS}}

    def _arrays(self) -> dict[str, np.ndarray]:
        return saved.arrays_of(self.memory_, self.calibration_)

    def _rebuild(self, found: folder.Saved) -> Network:
        config, weights = folder.part(found)
        return restore(config["network"], weights, self._made)

    def _restore(self, found: folder.Saved) -> None:
        model = saved.model_of(found, self._core(), self.metrics_)
        self.setup_, self.memory_, self.calibration_ = model.setup, model.memory, model.calibration

    def _title(self) -> str:
        return f"Forecaster, {self.cell} {self.hidden_size}"


def _digest(series: Series) -> str:
    """What identifies the series."""
    found = sha256(repr(series.ids).encode("utf-8", "surrogatepass"))
    for one in (series.y, series.known, series.past):
        found.update(one.offsets.tobytes())
        found.update(np.ascontiguousarray(one.values).tobytes())
    found.update(series.start.tobytes() + np.ascontiguousarray(series.static).tobytes())
    return found.hexdigest()


def _described(series: Series) -> str:
    n, steps = len(series.ids), len(series.y.values)
    return f"{steps:,} steps" + (f" of {n:,} series" if n > 1 else "")


def _scale(windows: Windows) -> dict[str, np.ndarray]:
    """What the inputs are scaled by: their means and deviations over some windows."""
    i, origins = windows.origins(0)
    x = [windows.batch(i[k : k + 1], origins[k : k + 1]).inputs[:, 0] for k in range(min(len(i), _SEEN))]
    rows = np.concatenate(x).astype(np.float64)
    mean, std = rows.mean(0), rows.std(0)
    std[std <= 1e-6 * np.maximum(np.abs(mean), 1)] = 1
    return {"front.mean": mean.astype(np.float32), "front.std": std.astype(np.float32)}
