"""A picture of forecasts: what came before, what came, what was told, and its intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..beside import beside
from ..errors import DataError, UnspoolError

if TYPE_CHECKING:
    from ..tasks.forecaster.saved import ForecastModel
    from ..tasks.forecaster.windows import Reader

KINDS = (".png", ".svg", ".pdf")
_BEFORE = 3  # horizons that are shown before the forecast
_SERIES = 3  # that are shown, at most
_WIDTH, _HEIGHT = 9.0, 2.8  # inches, of each
_BLUE, _GREY = "#1f5fa8", "#444444"


def draw(model: "ForecastModel", reader: "Reader", i: np.ndarray, origins: np.ndarray, path: str) -> None:
    """Draw the last of the windows of some series, and write it.

    Args:
        model: the forecaster.
        reader: of the series.
        i, origins: the series and the first step of each window.
        path: the file, whose ending says the format.
    Raises:
        UnspoolError: there is no format of this ending, or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in KINDS:
        raise UnspoolError(f"the picture must end in {', '.join(KINDS)}; got {path!r:.80}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UnspoolError("a picture needs matplotlib; install unspool[train]") from None

    last = {int(i[w]): int(w) for w in np.argsort(origins, kind="stable")}
    shown = [last[k] for k in sorted(last)][:_SERIES]
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, w in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _window(axes, model, reader, i[w : w + 1], origins[w : w + 1], legend=w == shown[0])
    try:
        with beside(Path(path)) as new:
            figure.savefig(new, format=Path(path).suffix[1:].lower(), dpi=150)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error})") from None


def _window(
    axes: Any, model: "ForecastModel", reader: "Reader", i: np.ndarray, origin: np.ndarray, legend: bool
) -> None:
    """One window: the first target of its series."""
    H, series, k, t = model.setup.horizon, reader.series, int(i[0]), int(origin[0])
    outlook = model.outlooks(reader, i, origin, H)
    before, ahead = np.arange(max(t - _BEFORE * H, 0), t + H), t + np.arange(H)
    times = series.clock.local(series.start[k] + before) if series.clock.timed else series.start[k] + before
    of = dict(zip(before.tolist(), times, strict=True))
    future = np.array([of[step] for step in ahead.tolist()])
    axes.plot(times, reader.y(np.array(k), before)[:, 0], color=_GREY, lw=1, label="what came")
    if model.setup.family.spread:
        for percent, alpha in ((95, 0.15), (80, 0.25)):
            low, high = outlook.interval(percent)
            axes.fill_between(future, low[0, :, 0], high[0, :, 0], color=_BLUE, alpha=alpha, lw=0, label=f"{percent} %")
    axes.plot(future, outlook.point()[0, :, 0], color=_BLUE, lw=1.8, label="forecast")
    axes.axvline(future[0], color=_GREY, lw=0.6, ls=":")
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    name = model.setup.layout.targets[0] if model.setup.layout is not None else "y"
    axes.set_ylabel(name if len(series.ids) == 1 else f"{name} of {series.ids[k]}")
    if series.clock.timed:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if legend:
        axes.legend(loc="upper left", ncols=4, frameon=False, fontsize="small", bbox_to_anchor=(0, 1.15))
