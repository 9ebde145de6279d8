"""What a trained forecaster does: it tells what is next in a series. This needs no PyTorch."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...arguments import integer, number
from ...data.clock import Clock
from ...errors import DataError, FolderError, UnspoolError
from ...saved import folder
from ...stream import Loaded, Stream
from .. import readout
from .calibration import Calibration
from .choice import held_out
from .columns import Table, table_of
from .distributions import Family, family_of
from .inputs import Inputs
from .layout import Laid, Layout
from .outlook import Outlook
from .scores import scored, shown, spread_shown
from .series import Series, from_arrays, windows_between
from .streams import ForecastStream, ForecastStreams, Memory, memory_after, memory_of, outputs_of, steps_known
from .windows import Reader

TASK = "forecaster"
PARTS = ("memory", "calibration")
_SCORED = 1000  # windows that are scored at the end of a fit
_CALIBRATED = 20_000  # numbers of them that are kept to calibrate intervals


@dataclass(frozen=True)
class Setup:
    """What a forecaster is for.

    layout: of tables; None where it was trained on arrays.
    clock: of the series.
    inputs: what the network reads.
    family: of the distributions that it tells.
    horizon: the steps that it was trained to forecast.
    """

    layout: Layout | None
    clock: Clock
    inputs: Inputs
    family: Family
    horizon: int

    def saved(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return {
            "layout": None if self.layout is None else self.layout.to_json(),
            "clock": self.clock.saved(),
            "inputs": self.inputs.saved(),
            "output": self.family.name if not self.family.levels else list(self.family.levels),
            "horizon": self.horizon,
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> "Setup":
        """The inverse of `saved`; raise KeyError, TypeError or ValueError if it is none."""
        layout = saved["layout"]
        return cls(
            None if layout is None else Layout.from_json(layout),
            Clock.loaded(saved["clock"]),
            Inputs.loaded(saved["inputs"]),
            family_of(saved["output"]),
            integer("horizon", saved["horizon"], 1),
        )

    def series(self, X: Any) -> Series:
        """The series of a table, or of arrays, with the covariates that the network reads."""
        arrays = isinstance(X, list | tuple | np.ndarray) and not isinstance(X, Table)
        if arrays and self.layout is not None:
            raise DataError("X must be a table with the columns that the network was trained on; got arrays")
        found = X if isinstance(X, Series) else from_arrays(X) if self.layout is None else self.layout.to_series(X)
        for name, wanted in (
            ("y", self.inputs.targets),
            ("known", len(self.inputs.known)),
            ("past", len(self.inputs.past)),
        ):
            got = getattr(found, name).values.shape[1]
            if got != wanted:
                what = "values a step" if name == "y" else f"{name} covariates"
                raise DataError(f"X must have {wanted} {what}, as what the network was trained on; got {got}")
        return found


@dataclass
class ForecastModel:
    """A trained forecaster.

    setup: what it is for.
    network: in the compiled core.
    memory: what it remembers of the series that it was trained on, at their ends.
    calibration: what its intervals missed on the validation part.
    metrics: the contents of metrics.json.
    """

    setup: Setup
    network: Loaded
    memory: Memory
    calibration: Calibration
    metrics: dict[str, Any] = field(default_factory=dict)

    def predict(self, X: Any = None, *, known: Any = None, horizon: int | None = None) -> Any:
        """The medians of the steps that come next.

        Args:
            X: series up to the present, of the form that `fit` took; they may be others, or later. None: those that
                the network was trained on.
            known: a table with what is known of the steps to come, where the network reads such covariates.
            horizon: the steps to forecast; None: those that the network was trained for.
        Returns:
            A table of the library of X, with the columns of the series, the time and the target; for arrays (n, H), or
            (n, H, O).
        Raises:
            DataError: X or `known` cannot be used.
        """
        told = self._told(X, known, horizon)
        return self._shown(told, {"": told.outlook.point()}, X)

    def predict_quantiles(self, levels: Sequence[float], X: Any = None, **options: Any) -> Any:
        """As `predict`, but the quantiles of these levels, in columns `y-q-0.1` …"""
        told = self._told(X, **options)
        quantiles = {f"-q-{level:g}": told.outlook.quantile(level) for level in map(_level, levels)}
        return self._shown(told, quantiles, X)

    def predict_interval(
        self, X: Any = None, *, level: float | Sequence[float] = (80, 95), conformal: bool = False, **options: Any
    ) -> Any:
        """As `predict`, and intervals that hold the value with a probability of so many percent.

        Args:
            level: percent, one or several: columns `y-lo-80`, `y-hi-80` …
            conformal: widen or narrow them by what they missed on the validation part; see `Calibration.margin`.
        """
        told = self._told(X, **options)
        columns = {"": told.outlook.point()}
        for percent in [level] if np.ndim(level) == 0 else level:  # pyright: ignore[reportGeneralTypeIssues]
            percent = number("level", percent, above=True, below=100)
            low, high = told.outlook.interval(percent)
            if conformal:
                more = self.calibration.margin(self.setup.family, percent, low.shape[1]) * told.outlook.scale
                low, high = low - more, high + more
            columns |= {f"-lo-{percent:g}": low, f"-hi-{percent:g}": high}
        return self._shown(told, columns, X)

    def sample(
        self, n: int = 100, X: Any = None, *, random_state: int = 0, known: Any = None, horizon: int | None = None
    ) -> np.ndarray:
        """n paths that the series may take, float64 (series, n, H), or (series, n, H, O).

        At each step they have the distribution that `predict_quantiles` tells; how steps depend on each other is what
        the network does when it reads each path step by step (ensemble copula coupling, Schefzik et al. 2013).
        """
        told = self._told(X, known, horizon)
        return self._flat(told.streams.paths(integer("n", n, 1), told.outlook, told.known, random_state))

    def backtest(self, X: Any, *, windows: int = 4, step: int | None = None, horizon: int | None = None) -> Any:
        """Forecasts from several origins in the past of each series, without training again.

        Args:
            X: the series, of the form that `fit` took.
            windows: the origins, the last of which is a horizon before the end.
            step: the steps between two origins; None: a horizon.
        Returns:
            A table in the long form: the series, the time, `cutoff`, which is the time of the last step that was known,
            the target, and `forecast`; for arrays a mapping of columns, with `series`, `step` and `cutoff` as numbers.
        """
        reader = self._reader(X)
        H = self._horizon(horizon)
        i, origins = cutoffs(reader.series, H, integer("windows", windows, 1), integer("step", step or H, 1))
        outlook = self.outlooks(reader, i, origins, H)
        y = reader.y(i[:, None], origins[:, None] + np.arange(H))
        return self._long(reader.series, i, origins, y, outlook.point(), X)

    def evaluate(self, X: Any, validation: float | None = None) -> dict[str, dict[str, float]]:
        """How well the network forecasts, and the baselines: the errors of `metrics_["validation"]`, by name.

        Args:
            X: the series.
            validation: the part at the end of each series that was held out, from which windows side by side are taken;
                None: the last horizon of each series.
        """
        return self.evaluated(self._reader(X), validation)[0]

    def evaluated(
        self, reader: Reader, validation: float | None
    ) -> tuple[dict[str, dict[str, float]], np.ndarray, np.ndarray]:
        """The errors of `evaluate`, and the windows: their series, and their first steps."""
        H = self.setup.horizon
        if validation is None:
            i, origins = cutoffs(reader.series, H, 1, H)
        else:
            i, origins = windows_between(*held_out(reader.series, validation, H), H)
        _, found = self.measured(reader, i, origins)
        return {"network": found["validation"], **found["baselines"]}, i, origins

    def score(self, X: Any) -> float:
        """-MASE of the last horizon of each series, which is withheld: the mean over the series; higher is better.

        The error of each is in units of the mean error of its seasonal naive forecast over what comes before; series
        whose seasonal naive forecast is always right do not count, and if there are no others it is NaN.
        """
        return -self.evaluate(X)["network"]["mase"]

    @property
    def season(self) -> int:
        """The season that errors are measured by: that of the base, or if it is the last value the shortest."""
        lags = self.setup.inputs.lags
        return lags.season if lags.season > 1 else min(lags.long, default=1)

    def score_samples(self, X: Any) -> Any:
        """-log p(y[t]) of each step in the light of those before it, in nats: how unusual it is.

        Returns:
            A list of arrays, float64 (T,) or (T, O), one for each series; NaN where y is missing.
        """
        reader = self._reader(X)
        return [self._flat(-self._log_density(reader, i)) for i in range(len(reader.series.ids))]

    def stream(self, series: Any = None, X: Any = None) -> ForecastStream:
        """A series that goes on step by step; as `streams`; its name may be left out if there is no other."""
        ids = self.memory.ids if X is None else list(self.setup.series(X).ids)
        return ForecastStream(self.streams([ids[0] if series is None and len(ids) == 1 else series], X))

    def streams(self, series: Sequence[Any] | None = None, X: Any = None) -> ForecastStreams:
        """Series that go on step by step, side by side.

        Args:
            series: the names of some; None: all.
            X: series up to the present, of the form that `fit` took; None: those that the network was trained on.
        """
        memory = self.memory if X is None else memory_after(self.setup, self.network, self._reader(X))
        places = {name: k for k, name in enumerate(memory.ids)}
        unknown = [] if series is None else [name for name in series if name not in places]
        if unknown:
            known = ", ".join(map(str, memory.ids[:5]))
            raise UnspoolError(f"series must be some of those there are, as {known}; got {unknown[0]!r:.40}")
        if series is not None:
            memory = memory.take(np.array([places[name] for name in series], np.int64))
        return ForecastStreams(self.setup, self.network, memory)

    def outlooks(self, reader: Reader, i: np.ndarray, origins: np.ndarray, H: int) -> Outlook:
        """The distributions of the H steps from each origin of series i, (W, H, O), of what came before it."""
        found: list[Any] = [None] * len(i)
        for one in np.unique(i).tolist():
            stream, at = Stream(self.network), 0
            mine = np.flatnonzero(i == one)
            for w in mine[np.argsort(origins[mine], kind="stable")].tolist():
                origin = int(origins[w])
                outputs_of(reader, stream, one, at, origin)
                at = origin
                x, base, scale = reader.read(np.array(one), origin + np.arange(H), np.array(origin))
                found[w] = copy(stream).run(x), base, scale
        s, base, scale = (np.stack(parts) for parts in zip(*found, strict=True))
        return Outlook.of(self.setup.family, s, base, scale)

    def measured(self, reader: Reader, i: np.ndarray, origins: np.ndarray) -> tuple[Calibration, dict[str, Any]]:
        """How well the network does from these origins, beside the baselines, and what calibrates its intervals."""
        H = self.setup.horizon
        if len(i) > _SCORED:
            chosen = np.linspace(0, len(i) - 1, _SCORED).astype(np.int64)
            i, origins = i[chosen], origins[chosen]
        outlook = self.outlooks(reader, i, origins, H)
        y = reader.y(i[:, None], origins[:, None] + np.arange(H))
        found = scored(reader.series, i, origins, y, outlook, self.season)
        network = found.pop("network") | {"windows": len(i)}
        return Calibration.of(outlook, y, _CALIBRATED), {"validation": network, "baselines": found}

    def report(self) -> str:
        """The errors on what was held out, beside those of the baselines."""
        network, baselines = self.metrics["validation"], self.metrics["baselines"]
        best = min(baselines, key=lambda name: baselines[name]["mae"])
        better = best if baselines[best]["mae"] < network["mae"] else None
        covered = spread_shown(network)
        windows = f"{network['windows']:,} times {self.setup.horizon} steps held out, trained on {self.metrics['data']}"
        said = ", ".join(part for part in (shown(network), covered, f"on {windows}") if part)
        return readout.compared(said, {name: shown(found) for name, found in baselines.items()}, better)

    def _horizon(self, horizon: int | None) -> int:
        return self.setup.horizon if horizon is None else integer("horizon", horizon, 1)

    def _reader(self, X: Any) -> Reader:
        return Reader(self.setup.inputs, self.setup.series(X))

    def _log_density(self, reader: Reader, i: int) -> np.ndarray:
        steps = np.arange(len(reader.series.y[i]))
        s = np.concatenate(outputs_of(reader, Stream(self.network), i, 0, len(steps)))
        _, base, scale = reader.read(np.array(i), steps, steps)
        y = reader.series.y[i]
        found = Outlook.of(self.setup.family, s, base, scale).log_density(np.where(np.isnan(y), base, y))
        return np.where(np.isnan(y), np.nan, found)

    def _told(self, X: Any, known: Any = None, horizon: int | None = None) -> "Told":
        H, streams = self._horizon(horizon), self.streams(X=X)
        known = self._known(known, streams, H)
        return Told(streams, known, streams.outlook(known, H))

    def _known(self, known: Any, memory: ForecastStreams, H: int) -> np.ndarray:
        layout = self.setup.layout
        if layout is not None and layout.known and known is None:
            names = ", ".join(repr(c.name) for c in layout.known)
            raise DataError(
                f"known must be given (--future): a table with the times of the {H} steps to come, and {names}, which "
                f"the network reads"
            )
        if layout is not None and known is not None and not isinstance(known, np.ndarray):
            known = layout.future(known, memory.ids, memory.arrays["number"], H)
        return steps_known(known, len(memory.ids), H, len(self.setup.inputs.known))

    def _shown(self, told: "Told", columns: Mapping[str, np.ndarray], X: Any) -> Any:
        """Columns, (n, H, O) each, by what is put after the name of the target, as the series were given."""
        layout, memory = self.setup.layout, told.streams
        if layout is None:
            found = {name.lstrip("-"): self._flat(values) for name, values in columns.items()}
            return found[""] if len(found) == 1 else {name or "y": values for name, values in found.items()}
        named = {f"{y}{end}": v[..., o] for end, v in columns.items() for o, y in enumerate(layout.targets)}
        return _like(layout, X).to_frame(memory.ids, memory.arrays["number"], named)

    def _long(
        self, series: Series, i: np.ndarray, origins: np.ndarray, y: np.ndarray, forecast: np.ndarray, X: Any
    ) -> Any:
        """What came and what was forecast of windows, (W, H, O), a row each."""
        layout, H = self.setup.layout, y.shape[1]
        before = np.repeat(origins - 1, H)
        if layout is None:
            steps = (origins[:, None] + np.arange(H)).reshape(-1)
            found = {"series": np.repeat(np.array(series.ids)[i], H), "step": steps, "cutoff": before}
            return found | {
                name: self._flat(v).reshape(len(steps), *self._flat(v).shape[2:])
                for name, v in (("y", y), ("forecast", forecast))
            }
        first = series.start[i]
        columns = {name: y[..., o] for o, name in enumerate(layout.targets)}
        ends = [f"-{name}" if len(layout.targets) > 1 else "" for name in layout.targets]
        columns |= {f"forecast{end}": forecast[..., o] for o, end in enumerate(ends)}
        return _like(layout, X).to_frame(
            [series.ids[k] for k in i], first + origins, columns, cutoff=first + origins - 1
        )

    def _flat(self, values: np.ndarray) -> np.ndarray:
        return values[..., 0] if self.setup.inputs.targets == 1 else values


class Told(NamedTuple):
    """What is told of series: the series at their ends, what is known of the steps to come, and their distributions."""

    streams: ForecastStreams
    known: np.ndarray
    outlook: Outlook


def cutoffs(series: Series, H: int, windows: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The series and the first step of each window, the last of which ends with its series; each has a step before."""
    lengths = series.y.lengths
    origins = lengths[:, None] - H - step * np.arange(windows)[::-1]
    i, k = np.nonzero(origins > 0)
    if not len(i):
        raise DataError(
            f"X must have a series longer than the horizon of {H}; the longest has {lengths.max(initial=0)}"
        )
    return i, origins[i, k]


def _like(layout: Layout, X: Any) -> Layout:
    """The layout for tables of the library of X, if X is a table."""
    return layout if X is None or isinstance(X, Series) else replace(layout, library=table_of(X).library)


def _level(level: Any) -> float:
    return number("level", level, above=True, below=1)


def laid_out(X: Any, roles: Mapping[str, Any]) -> tuple[Layout | None, Series]:
    """The layout of a table, and its series; or None, and those of arrays."""
    if isinstance(X, Laid):
        return X
    if isinstance(X, Series):
        return None, X
    if isinstance(X, list | tuple | np.ndarray) and not isinstance(X, Table):
        given = sorted(name for name, value in roles.items() if value)
        if given:
            raise DataError(f"{given[0]} is for tables; X has arrays, whose columns have no names")
        return None, from_arrays(X)
    layout = Layout.of(X, **roles)
    return layout, layout.to_series(X)


def load(path: str | Path) -> ForecastModel:
    """Load a forecaster, which the compiled core will run.

    Raises:
        FolderError: the folder is not a saved forecaster, or is damaged.
    """
    found = folder.read(path, TASK, ("metrics.json",))
    metrics = folder.json_object(found.files["metrics.json"], Path(path) / "metrics.json")
    with folder.read_as(path, TASK):
        return model_of(found, Loaded(found, path), metrics)


def arrays_of(memory: Memory, calibration: Calibration) -> dict[str, np.ndarray]:
    """The arrays of a folder's parts; NaN, which a folder refuses, is 0 there, and `missing` in a further array."""
    arrays = {f"memory.{name}": array for name, array in memory.arrays.items()}
    arrays |= {f"calibration.{name}": array for name, array in calibration.saved().items()}
    found = {}
    for name, array in arrays.items():
        missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(0, bool)
        found[name] = np.ascontiguousarray(np.where(missing, 0, array) if missing.any() else array)
        if missing.any():
            found[f"{name}.missing"] = missing.astype(np.uint8)
    return found


def model_of(found: folder.Saved, network: Loaded, metrics: dict[str, Any]) -> ForecastModel:
    """The forecaster in a folder; raise ValueError, KeyError or TypeError unless its parts fit together."""
    setup = Setup.loaded(found.config["preprocessing"])
    ids = list(found.config["preprocessing"]["ids"])
    arch = network.architecture
    if (arch.inputs, arch.outputs) != (setup.inputs.width, setup.inputs.targets * setup.family.size):
        raise FolderError("the network and what it reads and tells do not fit together")
    parts = {part: _with_missing(folder.part(found, part)[1]) for part in PARTS}
    empty = memory_of(setup, network, ids, np.zeros((len(ids), setup.inputs.static)), np.zeros(len(ids), np.int64))
    _check_arrays(parts["memory"], {name: (a.shape, a.dtype) for name, a in empty.arrays.items()})
    W, H, O = parts["calibration"]["y"].shape
    sizes = {name: ((W, H, O), np.dtype(np.float64)) for name in ("y", "base", "scale")}
    _check_arrays(parts["calibration"], sizes | {"s": ((W, H, O, setup.family.size), np.dtype(np.float64))})
    if setup.inputs.targets != O or not (parts["calibration"]["scale"] > 0).all():
        raise FolderError("what calibrates the intervals does not fit to the network")
    memory, calibration = Memory(ids, parts["memory"]), Calibration(**parts["calibration"])
    return ForecastModel(setup, network, memory, calibration, metrics)


def _with_missing(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of what `arrays_of` does to NaN."""
    found = {name: array for name, array in arrays.items() if not name.endswith(".missing")}
    for name in arrays.keys() - found.keys():
        of = name.removesuffix(".missing")
        found[of] = np.where(arrays[name] != 0, np.nan, found[of])
    return found


def _check_arrays(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> None:
    got = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    different = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
    if different:
        raise FolderError(f"has arrays that do not fit to the network: {', '.join(different):.200}")
