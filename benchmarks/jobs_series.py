"""The forecasting jobs of `jobs.py`: `Forecaster` beside the recurrent networks of NeuralForecast and Darts.

    m4        M4 Hourly, 414 series: 48 hours ahead; validation on the last 48 hours of the training file, test on the
              test file
    traffic   vehicles an hour on a motorway, one series of six years with gaps: 24 hours ahead; validation on 60 days,
              each from its midnight, test on the 60 days after them

A score is the mean over the windows of MASE (m4) or of the absolute error (traffic). It is taken now and then while a
side fits, the first times at 8, 16, 32 … steps. The seconds of this are not counted; those of our own validation are,
the peers have none. All keep the weights of their best score. The test is predicted with these weights, from what is
known at its origins.

Ours has its defaults. It reads gaps as they are, and it is told the times of traffic. The peers need a regular grid:
missing hours have the value of a week ago, are left out of their losses, and are not scored. They get as covariates
what ours makes by itself: the values a horizon and a week before each step, and of traffic the hour of the day and the
day of the week as sines and cosines. They read one week and minimise the error that is scored, with a learning rate
that falls along a cosine to 0. Each series is scaled, for Darts each window again; see `SETTINGS`.
"""

import csv
import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jobs_sides import Clock, Part, timed

WEEK, DAYS = 168, 60
NAIVE2 = 18.383, 2.395  # sMAPE and MASE in the competition's table of hourly series
CHECKS = 40  # scores of a run, after the first ones; of ours at most
# Chosen by the best validation score of some runs. NeuralForecast's scalers of windows, which treat each covariate by
# itself, were worse by a tenth to a fifth than scaled series. It fills short series up with zeros: only windows without
# them are to be trained on. It copies all windows of a series at each step: of one long series it takes every eighth.
_NEURALFORECAST: dict[str, Any] = {
    "learning_rate": 5e-3,
    "encoder_hidden_size": 64,
    "encoder_n_layers": 1,
    "scaler_type": "identity",
}
_DARTS: dict[str, Any] = {"learning_rate": 5e-3, "hidden_dim": 64, "hidden_fc_sizes": [128]}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "neuralforecast": {
        "MASE": _NEURALFORECAST | {"max_steps": 1000, "training_data_availability_threshold": 1.0},
        "MAE": _NEURALFORECAST | {"max_steps": 600, "training_data_availability_threshold": 0.5, "step_size": 8},
    },
    "darts": {"MASE": _DARTS | {"max_steps": 3000}, "MAE": _DARTS | {"max_steps": 2000}},
}
Calls = tuple[
    Callable[[], np.ndarray], Callable[[], Any]
]  # forecasts of the test windows, and of series that are known


def m4(data: Path, folder: Path) -> dict[str, Any]:
    """Write the parts of M4 Hourly; return what is known of the job."""
    train, test = (_wide(data / "m4-hourly" / name) for name in ("Hourly-train.csv.gz", "Hourly-test.csv"))
    whole = [np.concatenate(pair) for pair in zip(train, test, strict=True)]
    job = {"horizon": 48, "season": 24, "windows": 1, "measure": "MASE"}
    parts = {"train": train, "valid": train, "test": whole}
    scales = {part: [np.abs(y[24:-48] - y[:-72]).mean() for y in series] for part, series in parts.items()}
    for part, series in parts.items():
        _write(folder / f"{part}.npz", job, series, train, np.array(scales[part]))
    return job


def _wide(path: Path) -> list[np.ndarray]:
    """The series of a file with one in each row."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [np.array([float(cell) for cell in row[1:] if cell]) for row in list(csv.reader(file))[1:]]


def traffic(data: Path, folder: Path) -> dict[str, Any]:
    """Write the parts of the traffic; return what is known of the job."""
    with gzip.open(data / "metro-traffic/Metro_Interstate_Traffic_Volume.csv.gz", "rt") as file:
        found = {row["date_time"]: float(row["traffic_volume"]) for row in csv.DictReader(file)}
    hours = np.array([*found], "M8[h]")
    start = hours.min()
    y = np.full(int((hours.max() - start).astype(int)) + 1, np.nan)
    y[(hours - start).astype(int)] = [*found.values()]
    known = [y[: len(y) - DAYS * 24]]
    job = {"horizon": 24, "season": None, "windows": DAYS, "measure": "MAE", "start": str(start)}
    for part, series in {"train": known, "valid": known, "test": [y]}.items():
        _write(folder / f"{part}.npz", job, series, known, np.ones(DAYS))
    return job


def _write(path: Path, job: dict[str, Any], series: list[np.ndarray], train: list[np.ndarray], scale: Any) -> None:
    """Write series, and their last windows side by side.

    values, filled    all series behind each other, NaN where missing, and without such
    offsets           where each begins, and the end
    i, origins        the series and the first step of each window, (W,)
    y, scale          what came, (W, H), and what errors are divided by, (W,)
    mean, deviation   of each series up to the validation windows, (n,)
    """
    H, windows = job["horizon"], job["windows"]
    i, back = np.repeat(np.arange(len(series)), windows), H * np.arange(windows, 0, -1)
    origins = np.concatenate([len(y) - back for y in series])
    y = np.stack([series[k][t : t + H] for k, t in zip(i.tolist(), origins.tolist(), strict=True)])
    known = [_filled(one)[: -H * windows] for one in train]
    mean, deviation = (np.array([of(one) for one in known]) for of in (np.mean, np.std))
    filled, offsets = np.concatenate([_filled(one) for one in series]), np.cumsum([0, *map(len, series)])
    lines = {"values": np.concatenate(series), "filled": filled, "offsets": offsets}
    day = np.array([np.abs(one[24:] - one[:-24]).mean() for one in known])
    scales = {"scale": scale, "mean": mean, "deviation": deviation, "day": day}
    np.savez(path, i=i, origins=origins, y=y, **lines, **scales)


def _filled(y: np.ndarray) -> np.ndarray:
    """The series, where values are missing with those of a week ago, which is no later than they are."""
    y = y.copy()
    for t in np.flatnonzero(np.isnan(y)).tolist():
        y[t] = y[t - WEEK] if t >= WEEK else y[t - 1]
    return y


def error(part: Part, forecast: np.ndarray) -> float:
    """The mean of the absolute errors over their scales, of forecasts (W, H)."""
    return float(np.nanmean(np.abs(part["y"] - forecast) / part["scale"][:, None]))


def tests(job: dict[str, Any], part: Part, forecast: np.ndarray) -> dict[str, float]:
    """The figures of the test by name."""
    found, y = error(part, forecast), part["y"]
    if job["measure"] == "MASE":
        smape = float((200 * np.abs(y - forecast) / (np.abs(y) + np.abs(forecast))).mean())
        return {"test MASE": found, "test sMAPE": smape, "test OWA": (smape / NAIVE2[0] + found / NAIVE2[1]) / 2}
    naive = error(part, before(part, WEEK)[:, : y.shape[1]])
    return {"test MAE": found, "of that of a week ago": found / naive}


def few(job: dict[str, Any], data: dict[str, Part]) -> dict[str, Part]:
    """The same, with the last weeks of one series to train on; the peers take eight steps of training."""
    train = data["train"]
    length = 4 * WEEK + job["horizon"] * job["windows"]
    cut = {name: train[name][-length:] for name in ("values", "filled")}
    one = {name: train[name][-1:] for name in ("mean", "deviation", "day")}
    return data | {"train": train | cut | one | {"offsets": np.array([0, length])}}


def figures(job: dict[str, Any], calls: Calls, part: Part) -> dict[str, float]:
    """The test, and the steps forecast a second: from series that are read first, and of those that are known."""
    (found, seconds), (_, again) = map(timed, calls)
    steps = (len(part["offsets"]) - 1) * job["horizon"]
    return tests(job, part, found) | {"forecasts a second": found.size / seconds, "of known series": steps / again}


def fit_unspool(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """`Forecaster`, whose own validation, on the same windows, is counted."""
    from unspool import Forecaster

    epochs = {"epochs": job["epochs"]} if job["epochs"] else {}
    model = Forecaster(horizon=job["horizon"], season=job["season"], random_state=job["seed"], **epochs)
    vars(model).update(metrics_={}, memory_=None, calibration_=None)  # for predictions before the end
    X, valid = table(job, data["train"]), table(job, data["valid"])
    held = job["horizon"] * job["windows"]
    clock, due = Clock(), [0.0]

    def watch(progress: Any) -> None:
        first = due[0] == 0 and power_of_two(progress.step)
        if first or (progress.validation is not None and progress.done >= due[0]):
            clock.score(lambda: -error(data["valid"], told(model, job, valid)))
        if progress.validation is not None and progress.done >= due[0]:
            due[0] = progress.done + 1 / CHECKS

    model.fit(X, validation=held / np.diff(data["train"]["offsets"]).max(), watch=watch)
    model.save(out / "folder")
    return clock.scores


def power_of_two(step: int) -> bool:
    return step >= 8 and step & (step - 1) == 0


def table(job: dict[str, Any], part: Part) -> Any:
    """The series as arrays; or, if they have times, as a table of the hours that are there."""
    values, offsets = part["values"], part["offsets"]
    if "start" not in job:
        return [values[a:b] for a, b in pairwise(offsets)]
    there = np.flatnonzero(~np.isnan(values))
    return {"date_time": (np.datetime64(job["start"], "h") + there).astype("M8[s]"), "traffic_volume": values[there]}


def told(model: Any, job: dict[str, Any], X: Any) -> np.ndarray:
    """The forecasts of the last windows, (W, H)."""
    found = model.backtest(X, windows=job["windows"], step=job["horizon"])
    return np.asarray(found["forecast"]).reshape(-1, job["horizon"])


def predict_unspool(job: dict[str, Any], part: Part, out: Path) -> Calls:
    """The saved half, which needs no PyTorch: from whole series, and from what is kept of those it was trained on."""
    from unspool.tasks.forecaster import saved

    model, X = saved.load(out / "folder"), table(job, part)
    return lambda: told(model, job, X), model.predict


def before(part: Part, L: int) -> np.ndarray:
    """The L filled values before each window, (W, L)."""
    ends = part["offsets"][part["i"]] + part["origins"]
    return part["filled"][ends[:, None] + np.arange(-L, 0)]


def covariates(job: dict[str, Any], part: Part, i: Any, steps: np.ndarray) -> np.ndarray:
    """What is known of steps of series i at least a horizon before: float32 (..., C).

    The values a horizon and a week before; and where there are times, the hour of the day and the day of the week as
    sines and cosines.
    """
    offsets, lags = part["offsets"][i], (job["horizon"], WEEK)
    mean, deviation = part["mean"][i], part["deviation"][i]
    found = [(part["filled"][offsets + np.maximum(steps - lag, 0)] - mean) / deviation for lag in lags]
    if "start" in job:
        hours = steps + np.datetime64(job["start"], "h").astype(int)
        turns = [2 * np.pi * hours / 24, 2 * np.pi * (hours // 24) / 7]
        found += [of(turn) for turn in turns for of in (np.sin, np.cos)]
    return np.stack(found, -1).astype(np.float32)


def names(job: dict[str, Any]) -> list[str]:
    return ["a horizon ago", "a week ago", *(TURNS if "start" in job else [])]


def steps_of(part: Part, L: int, H: int) -> np.ndarray:
    """The L steps before each window and its own, (W, L + H)."""
    return part["origins"][:, None] + np.arange(-L, H)


def watcher(clock: Clock, steps: int, valid: Part, told: Callable[[Any], np.ndarray]) -> Any:
    """What scores a network of PyTorch Lightning while it is trained, and keeps its best weights."""
    every = max(steps // CHECKS, 1)

    from pytorch_lightning.callbacks import Callback  # pyright: ignore[reportMissingImports]

    class Watcher(Callback):
        best, weights = -np.inf, None

        def __deepcopy__(self, memo: Any) -> "Watcher":
            return self

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            step = trainer.global_step
            if step % every == 0 or (step < every and power_of_two(step)):
                clock.score(lambda: self.score(pl_module))

        def score(self, network: Any) -> float:
            found = -error(valid, told(network))
            if found > self.best:
                self.best = found
                self.weights = {name: value.clone() for name, value in network.state_dict().items()}
            return found

    return Watcher()


def settings_of(side: str, job: dict[str, Any]) -> dict[str, Any]:
    """The settings of a peer; with other epochs, as for a short look, eight steps for each."""
    found = SETTINGS[side][job["measure"]] | job.get("settings", {})
    return found | ({"max_steps": 8 * job["epochs"]} if job["epochs"] else {})


TRAINER = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}
TURNS = ["sine of day", "cosine of day", "sine of week", "cosine of week"]


def scaled_error() -> Any:
    """The absolute error over the mean absolute difference of a day in the window, as MASE has it.

    The library's own MASE divides the errors of a window by the differences of all windows of its batch.
    """
    import torch
    from neuralforecast.losses.pytorch import MAE  # pyright: ignore[reportMissingImports]

    class ScaledError(MAE):
        def __call__(self, y: Any, y_hat: Any, y_insample: Any, mask: Any = None) -> Any:
            day = (y_insample[:, 24:] - y_insample[:, :-24]).abs().mean(1, keepdim=True).clamp_min(0.01)
            there = torch.ones_like(y) if mask is None else mask
            return ((y - y_hat).abs() / day * there).sum() / there.sum().clamp_min(1)

    return ScaledError()


def fit_neuralforecast(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """NeuralForecast's LSTM."""
    import torch
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]
    from neuralforecast.losses.pytorch import MAE  # pyright: ignore[reportMissingImports]
    from neuralforecast.models import LSTM  # pyright: ignore[reportMissingImports]

    settings, clock = settings_of("neuralforecast", job), Clock()
    steps, valid = settings["max_steps"], data["valid"]
    watch = watcher(clock, steps, valid, lambda network: of_neuralforecast(network, job, valid))
    options = {
        "input_size": WEEK,
        "loss": scaled_error() if job["measure"] == "MASE" else MAE(),
        "val_check_steps": steps,
    }
    options |= {"futr_exog_list": names(job), "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR}
    options |= {"lr_scheduler_kwargs": {"T_max": steps}}
    model = LSTM(h=job["horizon"], random_seed=job["seed"], callbacks=[watch], **TRAINER, **options | settings)
    forecaster = NeuralForecast([model], freq="h" if "start" in job else 1)
    forecaster.fit(frame(job, data["train"]), val_size=job["horizon"] * job["windows"])
    forecaster.models[0].load_state_dict(watch.weights)
    forecaster.models[0].hparams["loss"] = MAE()  # which is known when it is loaded
    forecaster.save(str(out / "folder"), save_dataset=False, overwrite=True)
    return clock.scores


def frame(job: dict[str, Any], part: Part) -> Any:
    """The long frame of the series, with what is not there masked."""
    import pandas as pd  # pyright: ignore[reportMissingImports]

    lengths = np.diff(part["offsets"])
    steps = np.concatenate([np.arange(length) for length in lengths])
    i = np.repeat(np.arange(len(lengths)), lengths)
    y = (part["filled"] - part["mean"][i]) / part["deviation"][i]
    found = pd.DataFrame({"unique_id": i, "ds": steps, "y": y})
    found["available_mask"] = (~np.isnan(part["values"])).astype(float)
    if "start" in job:
        found["ds"] = np.datetime64(job["start"], "h") + steps
    found[names(job)] = covariates(job, part, i, steps)
    return found


def of_neuralforecast(network: Any, job: dict[str, Any], part: Part) -> np.ndarray:
    """The forecasts of all windows, (W, H), by the network's own step, without the frames around it."""
    import pandas as pd  # pyright: ignore[reportMissingImports]
    import torch

    L, H = network.input_size, job["horizon"]
    rows = np.ones((len(part["i"]), 2 + len(names(job)), L + H), np.float32)
    mean, deviation = (part[name][part["i"], None] for name in ("mean", "deviation"))
    rows[:, 0, :L] = (before(part, L) - mean) / deviation
    rows[:, 2:] = covariates(job, part, part["i"][:, None], steps_of(part, L, H)).transpose(0, 2, 1)
    columns = pd.Index(["y", "available_mask", *names(job)])
    batch = {"temporal": torch.from_numpy(rows), "temporal_cols": columns, "y_idx": 0}
    trained, size = network.training, network.test_size
    network.predict_step_size, network.test_size = 1, H
    network.eval()
    with torch.inference_mode():
        y = network.predict_step(batch, 0).numpy()[..., 0]
    network.train(trained)
    network.test_size = size
    return y.reshape(len(rows), H) * deviation + mean


def predict_neuralforecast(job: dict[str, Any], part: Part, out: Path) -> Calls:
    """From the last week before each window; it keeps nothing of series, and so reads that of known ones, too."""
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]

    network = NeuralForecast.load(str(out / "folder")).models[0]
    last = latest(part)
    return lambda: of_neuralforecast(network, job, part), lambda: of_neuralforecast(network, job, last)


def latest(part: Part) -> Part:
    """One window of each series."""
    at = np.unique(part["i"], return_index=True)[1]
    return part | {"i": part["i"][at], "origins": part["origins"][at]}


def fit_darts(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """Darts' BlockRNNModel, of series that are measured from their means in mean absolute differences of a day."""
    import torch
    from darts.models import BlockRNNModel  # pyright: ignore[reportMissingImports]

    settings, clock, train = settings_of("darts", job), Clock(), data["train"]
    watch = watcher(clock, settings["max_steps"], data["valid"], lambda network: of_darts(network, job, data["valid"]))
    trainer = TRAINER | {"callbacks": [watch], "max_steps": settings.pop("max_steps")}
    rate = {"lr": settings.pop("learning_rate")}
    model = BlockRNNModel(
        input_chunk_length=WEEK,
        output_chunk_length=job["horizon"],
        model="LSTM",
        n_epochs=1000,
        loss_fn=torch.nn.L1Loss(),
        use_reversible_instance_norm=True,
        optimizer_kwargs=rate,
        lr_scheduler_cls=torch.optim.lr_scheduler.CosineAnnealingLR,
        lr_scheduler_kwargs={"T_max": trainer["max_steps"], "interval": "step"},
        random_state=job["seed"],
        pl_trainer_kwargs=trainer,
        **settings,
    )
    model.fit(**lines(job, train), load_best=False)
    model.model.load_state_dict(watch.weights)
    model.save(str(out / "model.pt"), clean=True)
    return clock.scores


def lines(job: dict[str, Any], part: Part) -> dict[str, Any]:
    """The series up to the validation windows as Darts has them; where there are times, those and what is there."""
    import pandas as pd  # pyright: ignore[reportMissingImports]
    from darts import TimeSeries  # pyright: ignore[reportMissingImports]

    ends = part["offsets"][1:] - job["horizon"] * job["windows"]
    cuts = [slice(a, b) for a, b in zip(part["offsets"], ends, strict=False)]
    y = [
        ((part["filled"][c] - m) / d).astype(np.float32)
        for c, m, d in zip(cuts, part["mean"], part["day"], strict=True)
    ]
    series, weights, known = [], [], []
    for k, (cut, one) in enumerate(zip(cuts, y, strict=True)):
        times = pd.RangeIndex(len(one))
        if "start" in job:
            times = pd.date_range(job["start"], periods=len(one), freq="h")
        there = (~np.isnan(part["values"][cut])).astype(np.float32)
        x = covariates(job, part, k, np.arange(len(one)))
        for into, values in ((series, one), (weights, there), (known, x)):
            into.append(TimeSeries.from_times_and_values(times, values))
    return {"series": series, "sample_weight": weights, "future_covariates": known}


def of_darts(network: Any, job: dict[str, Any], part: Part) -> np.ndarray:
    """The forecasts of all windows, (W, H), by the network's own step, without the series around it."""
    import torch
    from darts.utils.data.torch_datasets.utils import PLModuleInput  # pyright: ignore[reportMissingImports]

    mean, day = (part[name][part["i"], None] for name in ("mean", "day"))
    known = covariates(job, part, part["i"][:, None], steps_of(part, WEEK, job["horizon"]))
    given = {"past_target": ((before(part, WEEK) - mean) / day)[..., None]}
    given |= {"historic_future_covariates": known[:, :WEEK], "future_covariates": known[:, WEEK:]}
    tensors = {name: torch.from_numpy(np.float32(values)) for name, values in given.items()}
    trained = network.training
    network.eval()
    with torch.inference_mode():
        y = network(PLModuleInput(**tensors)).prediction[:, :, 0, 0].numpy()
    network.train(trained)
    return y * day + mean


def predict_darts(job: dict[str, Any], part: Part, out: Path) -> Calls:
    """As that of NeuralForecast."""
    from darts.models import BlockRNNModel  # pyright: ignore[reportMissingImports]

    network, last = BlockRNNModel.load(str(out / "model.pt")).model, latest(part)
    return lambda: of_darts(network, job, part), lambda: of_darts(network, job, last)


JOBS = {"m4": m4, "traffic": traffic}
SIDES = {
    "unspool": (fit_unspool, predict_unspool),
    "neuralforecast": (fit_neuralforecast, predict_neuralforecast),
    "darts": (fit_darts, predict_darts),
}
