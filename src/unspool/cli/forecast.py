"""`unspool predict` and `unspool evaluate` for forecasters. Neither needs PyTorch."""

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ..errors import DataError
from ..tasks.source import digest
from .complaints import UsageError, note, say

if TYPE_CHECKING:
    from ..tasks.forecaster.saved import ForecastModel

_LEVELS = 80, 95  # percent, of the intervals that are written
_NOT_FOR_SERIES = "--{} is not for a network that was trained by 'unspool fit series'."


def predict(
    model: "ForecastModel",
    file: str | None,
    stream: TextIO,
    kind: str,
    horizon: int | None,
    future: str | None,
    **data: Any,
) -> None:
    """Write what comes next, with intervals: of a file, or without one of what the network was trained on."""
    known = None if future is None else _table(future, data)
    X = None if file is None else _table(file, data)
    found = model.predict_interval(X, level=_LEVELS, known=known, horizon=horizon)
    if isinstance(found, dict) and model.setup.layout is None:
        raise DataError("the network was trained on arrays, and not on a file; use it in Python")
    columns = {name: np.asarray(values).tolist() for name, values in found.items()}
    rows = zip(*columns.values(), strict=True)
    if kind == ".jsonl":
        stream.writelines(json.dumps(dict(zip(columns, row, strict=True)), default=str) + "\n" for row in rows)
        return
    table = csv.writer(stream, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    table.writerow(columns)
    table.writerows([_short(cell) for cell in row] for row in rows)


def evaluate(
    model: "ForecastModel", config: dict[str, Any], file: str, picture: str | None = None, **data: Any
) -> None:
    """Print how well a network forecasts a file; on the one it was trained on, what was held out."""
    from ..tasks.forecaster.file import SeriesFile
    from ..tasks.forecaster.scores import shown, spread_shown
    from ..tasks.forecaster.windows import Reader

    trained_on = config.get("data", {})
    mine = trained_on.get("sha256") is not None and trained_on["sha256"] == digest(SeriesFile(file).path)
    reader = Reader(model.setup.inputs, model.setup.series(_table(file, data)))
    found, i, origins = model.evaluated(reader, trained_on["validation"] if mine else None)
    network = found.pop("network")
    part = "held out when it was trained on this file" if mine else "the end of each series"
    say(f"{file}     {network['windows']:,} times {model.setup.horizon} steps, {part}")
    say(f"network    {', '.join(text for text in (shown(network), spread_shown(network)) if text)}")
    for name, errors in found.items():
        say(f"{name:<15}{shown(errors)}")
    if picture is not None:
        from ..report.forecast import draw

        draw(model, reader, i, origins, picture)
        say(f"picture in {picture}")


def _table(file: str, data: dict[str, Any]) -> Any:
    from ..tasks.forecaster.file import SeriesFile

    others = data.keys() - {"delimiter", "skip_bad"}
    if others:
        raise UsageError(_NOT_FOR_SERIES.format(min(others)))
    return SeriesFile(file, **data).table(note)


def _short(cell: Any) -> Any:
    """Numbers with as many digits as a forecast can have."""
    return f"{cell:.7g}" if isinstance(cell, float) else cell
