"""How good forecasts are, beside simple methods that see the same past. No PyTorch."""

import numpy as np

from .baseline import all_baselines, seasonal_naive_quantiles
from .measures import average, coverage, crps, mase, seasonal_scale, smape
from .outlook import Outlook
from .series import Series

_LEVELS = tuple(k / 20 for k in range(1, 20))  # of the quantiles of the CRPS
INTERVALS = 80, 95  # percent, whose coverage is told
Scores = dict[str, float]


def scored(
    series: Series, i: np.ndarray, origins: np.ndarray, y: np.ndarray, outlook: Outlook, season: int
) -> dict[str, Scores]:
    """The errors of the network and of the baselines, by name.

    Args:
        series: that are forecast.
        i, origins: the series and the first step of each window, int64 (W,).
        y: what came, float64 (W, H, O), NaN where missing.
        outlook: what the network told of the windows.
        season: of MASE and of the baselines.
    Returns:
        Of each the mean absolute error `mae`, the root mean squared error `rmse`, `smape` in percent and `mase`, the
        mean over all windows; of the network the `crps` and the part that its intervals cover, too; and the `crps` of
        the seasonal naive forecast with the quantiles of its own past errors.
    """
    W, H, O = y.shape
    pasts = [series.y[k][:t] for k, t in zip(i.tolist(), origins.tolist(), strict=True)]
    scale = np.array([[seasonal_scale(past[:, o], season) for o in range(O)] for past in pasts]).reshape(W, O, 1)
    found = {"network": _errors(y, outlook.point(), scale) | _spread(y, outlook)}
    told = [[all_baselines(past[:, o], H, season) for o in range(O)] for past in pasts]
    for name in told[0][0]:
        forecast = np.array([[each[name] for each in targets] for targets in told]).transpose(0, 2, 1)
        found[name] = _errors(y, forecast, scale)
    quantiles = [[seasonal_naive_quantiles(past[:, o], H, season, _LEVELS) for o in range(O)] for past in pasts]
    found["seasonal naive"]["crps"] = float(average(crps(y.transpose(0, 2, 1), np.array(quantiles), _LEVELS)))
    return found


def _errors(y: np.ndarray, forecast: np.ndarray, scale: np.ndarray) -> Scores:
    off, (came, told) = y - forecast, (v.transpose(0, 2, 1) for v in (y, forecast))
    found = {
        "mae": average(np.abs(off)),
        "rmse": np.sqrt(average(off**2)),
        "smape": average(smape(came, told)),
        "mase": average(mase(came, told, scale[..., 0])),
    }
    return {name: float(value) for name, value in found.items()}


def _spread(y: np.ndarray, outlook: Outlook) -> Scores:
    if not outlook.family.spread:
        return {}
    quantiles = np.stack([outlook.quantile(level) for level in _LEVELS], -1)
    found = {"crps": float(average(crps(y.transpose(0, 2, 1), quantiles.transpose(0, 2, 1, 3), _LEVELS)))}
    for percent in INTERVALS:
        found[f"coverage {percent}"] = float(average(coverage(y, *outlook.interval(percent))))
    return found


def shown(found: Scores) -> str:
    """The errors in a line."""
    mase = "" if np.isnan(found["mase"]) else f", MASE {found['mase']:.3f}"
    return f"{found['mae']:.4g} mean absolute error{mase}, sMAPE {found['smape']:.1f} %"


def spread_shown(found: Scores) -> str:
    """What is told besides a point, in a line; of a point alone nothing."""
    covered = [
        f"{100 * found[f'coverage {p}']:.0f} % in the {p} % interval" for p in INTERVALS if f"coverage {p}" in found
    ]
    return ", ".join(covered)
