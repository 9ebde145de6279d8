"""What the benchmarks share: a race between two sides, the machine's name, a table."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

Side = Callable[[], object]


def race(sides: dict[str, Side], seconds: float = 0, calls: int = 5, block: float = 0.05) -> dict[str, float]:
    """The median seconds of a call of each side, over at least this many seconds and calls of each.

    The sides take turns in blocks, so that another load on the machine affects all alike. The first call of a block is
    not counted: caches are cold, and the other side's threads may still be spinning.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    together = {name: max(1, int(block / duration(call))) for name, call in sides.items()}
    while min(map(sum, times.values())) < seconds or min(map(len, times.values())) < calls:
        for name, call in sides.items():
            call()
            times[name] += [duration(call) for _ in range(together[name])]
    return {name: statistics.median(taken) for name, taken in times.items()}


def duration(call: Side) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def machine() -> str:
    """The processor, its number of cores, the threads in use, and the version of torch."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    """A table with aligned columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0]), *(entry.rjust(width) for entry, width in zip(row[1:], widths[1:], strict=True))]
        for row in [head, *rows]
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
