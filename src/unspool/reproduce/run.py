"""Train what a row says, and print ours beside the published figure."""

import time

import numpy as np

from ..arguments import integer
from ..cli.complaints import say
from ..errors import UnspoolError
from .rows import ROWS


def run(name: str, seeds: int | None = None, random_state: int = 0) -> int:
    """Train with some seeds, from `random_state` on; print the figures; return 1 if their mean is not good enough."""
    if name not in ROWS:
        raise UnspoolError(f"name must be one of {', '.join(ROWS)}; got {name!r:.80}")
    row = ROWS[name]
    count = row.seeds if seeds is None else integer("seeds", seeds, 1)
    integer("random_state", random_state, 0)
    say(f"{name}, {row.figure}: takes {row.time(count)} on two cores")
    found = []
    for seed in range(random_state, random_state + count):
        began = time.perf_counter()
        found.append(row.train(seed))
        say(f"seed {seed:<8}{_shown(found[-1])}   {time.perf_counter() - began:.0f} s")
    ours = {key: float(np.mean([figures[key] for figures in found])) for key in found[0]}
    reached = row.reached(ours)
    say(f"published    {row.published}\nanchor       {row.anchor}")
    verdict = "reached" if reached else "not reached"
    say(f"ours         {_shown(ours)}, mean of {count}; wanted {row.wanted()}: {verdict}")
    return 0 if reached else 1


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
