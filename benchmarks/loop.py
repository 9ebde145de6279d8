"""What the training loop costs, and what training gains: `unspool.train.fit` beside plain loops, in one run.

The network classifies every time step: two layers of 128, T=50, B=50, Adam, gradients scaled down to norm 1, a thousand
steps. The sides take turns of a hundred steps:

    fit      unspool.train.fit: schedule, norms, history, checks
    bare     our layers with only forward, backward and optimiser
    torch    torch.nn's layers in the usual loop: loss, backward, clip_grad_norm_, step

    python benchmarks/loop.py [--steps 1000] [--threads 2]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import machine, table
from torch import Tensor

from unspool import nn
from unspool.data.batches import Batch
from unspool.train import Plan, fit

T, B, I, H, CLASSES, TURN = 50, 50, 128, 128, 10, 100
LAYERS = {"LSTM": (nn.LSTM, torch.nn.LSTM), "GRU": (nn.GRU, torch.nn.GRU)}


class Network(torch.nn.Module):
    """From numbers, (T, B, I), to scores, (T, B, classes)."""

    def __init__(self, layer: Callable[..., torch.nn.Module]) -> None:
        super().__init__()
        self.recurrent = layer(I, H, 2)
        self.head = torch.nn.Linear(H, CLASSES)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.recurrent(x, state)
        return self.head(y), state


class Drawn:
    """The batches of a turn, drawn beforehand."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        shape = (TURN, T, B)
        self.x = random.normal(size=(*shape, I)).astype(np.float32)
        self.targets = random.integers(0, CLASSES, shape)

    def __len__(self) -> int:
        return TURN

    def shard(self, rank: int, ranks: int) -> "Drawn":
        return self

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for i in range(start, TURN):
            yield Batch(self.x[i], self.targets[i])


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum")


def with_fit(network: Network, batches: Drawn) -> None:
    fit(network, summed, batches, lambda: 0.0, Plan(1e-3, clip_norm=1.0, checks=1))


def bare(network: Network, batches: Drawn, optimiser: torch.optim.Optimizer) -> None:
    for batch in batches.epoch(0):
        optimiser.zero_grad()
        outputs, _ = network(torch.from_numpy(batch.inputs))
        (summed(outputs, torch.from_numpy(batch.targets)) / batch.targets.size).backward()
        optimiser.step()


def plain(network: Network, batches: Drawn, optimiser: torch.optim.Optimizer) -> None:
    for batch in batches.epoch(0):
        optimiser.zero_grad()
        outputs, _ = network(torch.from_numpy(batch.inputs))
        loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), torch.from_numpy(batch.targets).flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()


def turns(layers: tuple[Any, Any], steps: int) -> dict[str, float]:
    """Milliseconds per step of each side, the median of the turns."""
    batches = Drawn()
    ours, same, theirs = Network(layers[0]), Network(layers[0]), Network(layers[1])
    fused = torch.optim.Adam(same.parameters(), 1e-3, fused=True)
    usual = torch.optim.Adam(theirs.parameters(), 1e-3)
    sides: dict[str, Callable[[], None]] = {
        "fit": lambda: with_fit(ours, batches),
        "bare": lambda: bare(same, batches, fused),
        "torch": lambda: plain(theirs, batches, usual),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(1 + steps // TURN):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                taken[name].append(1e3 * (time.perf_counter() - start) / TURN)
    return {name: median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name, layers in LAYERS.items():
        ms = turns(layers, args.steps)
        own, faster = 1 - ms["bare"] / ms["fit"], ms["torch"] / ms["fit"]
        rows.append([name, *(f"{taken:.2f}" for taken in ms.values()), f"{own:.1%}", f"×{faster:.2f}"])
    print(machine())
    head = ["two layers of 128", "fit ms", "bare ms", "torch ms", "the loop's own part", "faster than torch"]
    print(table(head, rows, markdown=True))


if __name__ == "__main__":
    main()
