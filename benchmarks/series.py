"""How fast are forecasts? A thousand series of a thousand steps, with 64 LSTM units and a horizon of 24, on one thread.

From the call of `fit` to the first step of training, and the memory then; updates and forecasts a second of a thousand
series side by side, and of one; forecasts a second of whole series, which are read from their beginnings; and paths.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import torch
from measure import machine, race, table

from unspool import Forecaster, _native

SERIES, STEPS, HORIZON, PATHS = 1000, 1000, 24, 100


def drawn() -> list[np.ndarray]:
    random, t = np.random.default_rng(0), np.arange(STEPS)
    return [50 + 10 * np.sin(2 * np.pi * t / 24 + k) + random.normal(size=STEPS) for k in range(SERIES)]


def speeds(seconds: float) -> dict[str, float]:
    torch.set_num_threads(1)
    series, first = drawn(), []
    began = time.perf_counter()

    def watch(_: object) -> None:
        if not first:
            first.append(time.perf_counter() - began)
            first.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = Forecaster(horizon=HORIZON, season=24, epochs=1).fit(series, watch=watch)
    many, one = model.streams(), model.stream(0)
    y = np.array([one[-1] for one in series])
    taken = race(
        {
            "updates, side by side": lambda: many.update(y),
            "forecasts, side by side": many.forecast,
            "updates of one": lambda: one.update(50.0),
            "forecasts of one": one.forecast,
            "forecasts of whole series": lambda: model.predict(series[:100]),
            "paths": lambda: model.sample(PATHS, series[:10]),
        },
        seconds,
    )
    counts = [SERIES, SERIES, 1, 1, 100, 10 * PATHS]
    found = {f"{name}, a second": count / taken[name] for name, count in zip(taken, counts, strict=True)}
    return {"first step, s": first[0], "memory then, MiB": first[1], "of which before fit, MiB": before, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="the time of the calls, for each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = speeds(args.seconds)
    rows = [[name, f"{value:,.4g}" if value < 100 else f"{value:,.0f}"] for name, value in found.items()]
    print(f"{machine()}; kernels {_native.instruction_set()}\n\n{table(['', 'ours'], rows, args.markdown)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine(), "speeds": found}, indent=1))


if __name__ == "__main__":
    main()
