"""Forecasters with published figures, or baselines to beat. Each function trains with a seed, and returns figures.

Settings are the defaults, which were chosen on validation parts; the part that is scored is at the end of each series.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.ragged import Ragged
from ..data.sets import fetch
from ..tasks.forecaster.baseline import naive2
from ..tasks.forecaster.estimator import Forecaster
from ..tasks.forecaster.file import SeriesFile
from ..tasks.forecaster.layout import Laid, Layout
from ..tasks.forecaster.measures import average, coverage, mase, owa, seasonal_scale, smape
from ..tasks.forecaster.scores import INTERVALS, scored
from ..tasks.forecaster.series import windows_between
from ..tasks.forecaster.windows import Reader
from .figures import Figures, whole

_ETT = 8640, 2880  # hours of training, and of validation and of the test


def m4(seed: int) -> Figures:
    """All 414 series, 48 hours."""
    train, test = (_wide(fetch("m4-hourly")[f"Hourly-{part}.csv"]) for part in ("train", "test"))
    y, H, m = np.stack(test), 48, 24
    model = whole(Forecaster(horizon=H, season=m, random_state=seed).fit(train))
    scale = np.array([seasonal_scale(one, m) for one in train])
    second = np.stack([naive2(one, H, m) for one in train])
    errors = [[float(average(v)) for v in (smape(y, told), mase(y, told, scale))] for told in (model.predict(), second)]
    return {"OWA": owa(*errors[0], *errors[1]), "sMAPE": errors[0][0], "MASE": errors[0][1]}


def ett(horizon: int, seed: int) -> Figures:
    """The oil temperature, standardised by the training part; windows at all hours of the test part."""
    train, part = _ETT
    columns = _columns("etth1", "ETTh1.csv")
    y = columns["OT"][: train + 2 * part]
    columns = {"date": columns["date"][: len(y)], "OT": (y - y[:train].mean()) / y[:train].std()}
    laid = _laid(columns)
    model = Forecaster(horizon=horizon, random_state=seed)
    found = _scored(model, laid, train + part, part / (train + part), np.arange(train + part, len(y) - horizon + 1))
    network = found["network"]
    return {"MSE": network["rmse"] ** 2, "MAE": network["mae"], **_spread(found)}


def traffic(seed: int) -> Figures:
    """Six years, with the holidays; the last 60 days, beside the same hour of the week before."""
    columns = _columns("metro-traffic", "Metro_Interstate_Traffic_Volume.csv")
    # A holiday stands at its first hour alone, and hours are repeated for each kind of weather.
    days = np.array([time[:10] for time in columns["date_time"]])
    named = columns["holiday"] != "None"
    holidays = dict(zip(days[named].tolist(), columns["holiday"][named].tolist(), strict=True))
    columns["holiday"] = np.array([holidays.get(day, "None") for day in days.tolist()], object)
    laid = _laid(columns, target="traffic_volume", known=("holiday",))
    return _beside(Forecaster(horizon=24, hidden_size=128, random_state=seed), laid, 60 * 24)


def sunspots(seed: int) -> Figures:
    laid = _laid(_columns("timeseries-univariate", "monthly-sunspots.csv"))
    return _beside(Forecaster(random_state=seed), laid, 0.2)


def temperatures(seed: int) -> Figures:
    laid = _laid(_columns("timeseries-univariate", "daily-min-temperatures.csv"))
    return _beside(Forecaster(random_state=seed), laid, 0.2)


def apple(seed: int) -> Figures:
    laid = _laid(_columns("stocks", "finance-charts-apple.csv"), target="AAPL.Close")
    return _beside(Forecaster(horizon=5, random_state=seed), laid, 0.2)


def _beside(model: Forecaster, laid: Laid, test: float) -> Figures:
    """The mean absolute error of windows side by side in the test part, beside that of the best baseline.

    Args:
        test: the steps at the end that are scored, or the part that they are of all.
    """
    steps = len(laid.series.y.values)
    end = steps - round(test if test >= 1 else test * steps)
    found = _scored(model, laid, end, 0.1, None)
    network = found.pop("network")
    best = min(found, key=lambda name: found[name]["mae"])
    figures = {"part": network["mae"] / found[best]["mae"], "MAE": network["mae"]}
    figures |= {f"of {name}": found[name]["mae"] for name in found if name == best or name.endswith("before")}
    return figures | _spread(found | {"network": network})


def _scored(
    model: Forecaster, laid: Laid, end: int, validation: float, origins: np.ndarray | None
) -> dict[str, dict[str, float]]:
    """Train on the first `end` steps of one series, and score windows after them, by default side by side."""
    known = replace(laid.series, **{name: _cut(getattr(laid.series, name), end) for name in ("y", "known", "past")})
    fitted = whole(model.fit(Laid(laid.layout, known), validation=validation))
    H, steps = fitted.setup_.horizon, len(laid.series.y.values)
    if origins is None:
        origins = windows_between(np.array([end]), np.array([steps]), H)[1]
    i = np.zeros(len(origins), np.int64)
    reader = Reader(fitted.setup_.inputs, laid.series)
    y = reader.y(i[:, None], origins[:, None] + np.arange(H))
    before = reader.past.known(i[:, None], origins[:, None] + np.arange(H), origins[:, None]).bases
    pairs = zip(fitted.setup_.inputs.lags.all, before, strict=True)
    lags = {f"{L} steps before": {"mae": float(average(np.abs(y - of)))} for L, of in pairs if L > 1}
    half = fitted.saved_half
    outlook = half.outlooks(reader, i, origins, H)
    found = scored(laid.series, i, origins, y, outlook, half.season)
    for percent in INTERVALS:
        low, high = outlook.interval(percent)
        more = half.calibration.margin(half.setup.family, percent, H) * outlook.scale
        found["network"][f"conformal {percent}"] = float(average(coverage(y, low - more, high + more)))
    return found | lags


def _spread(found: dict[str, dict[str, float]]) -> Figures:
    """The CRPS, and the parts that intervals cover, in %, and those that conformal intervals do."""
    network = found["network"]
    figures = {"CRPS": network["crps"], "of seasonal naive with past errors": found["seasonal naive"]["crps"]}
    figures |= {f"{percent} % covered": 100 * network[f"coverage {percent}"] for percent in INTERVALS}
    return figures | {f"conformal {percent}": 100 * network[f"conformal {percent}"] for percent in INTERVALS}


def _cut(rows: Ragged, end: int) -> Ragged:
    return Ragged(rows.values[:end], np.array([0, end]))


def _laid(columns: dict[str, np.ndarray], target: str | None = None, known: Sequence[str] = ()) -> Laid:
    layout = Layout.of(columns, target=target, known=known, report=str)
    return Laid(layout, layout.to_series(columns, report=str))


def _columns(name: str, file: str) -> dict[str, np.ndarray]:
    table = SeriesFile(str(fetch(name)[file])).table(report=str)
    return {column: found.values for column, found in table.columns.items()}


def _wide(path: Path) -> list[np.ndarray]:
    """The series of a table with one in each row."""
    columns = SeriesFile(str(path)).table(report=str)
    series = Layout.of(columns, report=str).to_series(columns).y
    return [one[:, 0] for one in series]
