"""Long time lags: what our layers and our loop learn of the published tasks, beside the published figures.

    python benchmarks/long_lags.py                        # three seeds, in two processes of one thread
    python benchmarks/long_lags.py --quick --only order   # one seed of one task

reber    Embedded Reber grammar (Hochreiter & Schmidhuber 1997, experiment 1): predict the next symbol. The last symbol
         but one is the same as the second: this is the long link. The figure is nats per string; the optimum is
         7 ln 2 = 4.852, and without the long link 8 ln 2 = 5.545. So that test strings which happen to be longer than
         the mean do not count, the figure is 7 ln 2 plus what the network needs beyond the optimum of each string.
adding   (their experiment 4) Add the two marked values among T to 1.1 T values. The squared error is that of values in
         [0, 1], whose sum has the variance 0.167, as in later papers; `wrong` is |err| ≥ 0.04 in the units of the first
         paper.
order    (their experiment 6a) In which order did two symbols, each X or Y, come among 100 to 110?
pascanu  The same task at lengths of 50 to 200, with a tanh RNN and Ω (Pascanu, Mikolov & Bengio 2013), with and without
         rescaling of the gradient's norm.

These differ from the papers. Sequences are drawn anew for each batch and never repeated. Batches have 16 sequences or
more, where the LSTM's papers have one. LSTMs learn with Adam; they have forget gates and, except for reber, the gate
biases of chrono initialisation (Tallec & Ollivier 2018), b_f = ln U(1, T - 1) = -b_i; they stop as soon as the figure
of 512 validation sequences is good enough. The Elman network of reber learns with Adam, from 64 strings at a time, with
an update at each symbol. pascanu has, as in the paper, 50 units, batches of 20, SGD at 0.01, a threshold of 1, the
spectral radius 0.95 and the regulariser Ω with α = 4; but it has an orthogonal matrix, squared norms in Ω, and at most
60,000 updates instead of 336,000, in which the rate falls to 0 by a cosine. Its lengths go from 10 to a largest one,
which grows from 20 to 200 in the first quarter. What it has learned comes and goes until the rate is small, so it is
validated every 150 updates.

Every figure is that of 2,560 further sequences, and `wrong` the number of wrong ones among them. Seconds are those of
one core. The exit status is 1 if something was not reached.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from lag_data import (
    OPTIMUM,
    SYMBOLS,
    Draw,
    Drawn,
    Steps,
    draw_adding,
    draw_order,
    draw_pascanu,
    draw_reber,
    reber_nats,
    spell,
)
from measure import machine
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspool import nn, ops
from unspool.cells import Weights
from unspool.data.batches import NO_TARGET, Batch
from unspool.errors import DivergedError
from unspool.train import Plan, Progress, fit
from unspool.train.through_time import Loss, as_tensor

Figures = dict[str, float]  # the first is the one to minimise
State = Any

UPDATES, GROWING = 60_000, 15_000  # of pascanu: all updates, and those in which the lengths grow
LENGTHS = range(50, 201, 10)


class Reader(torch.nn.Module):
    """A recurrent layer, and a linear head at each step or only after the last."""

    def __init__(self, layer: nn.Elman | nn.LSTM, outputs: int, each_step: bool = False):
        super().__init__()
        self.layer, self.each_step = layer, each_step
        self.head = torch.nn.Linear(layer.hidden_size, outputs)

    def forward(self, x: Tensor, state: State = None, **options: Tensor | None) -> tuple[Tensor, State]:
        y, state = self.layer(x, state, **options)
        if self.each_step:
            return self.head(y), state
        h = state[0] if isinstance(state, tuple) else state
        return self.head(h[-1]), state


class Preserving(torch.nn.Module):
    """A tanh RNN in which an error should keep its norm on its way back (Pascanu, Mikolov & Bengio 2013, section 3.3).

        h[t] = tanh(a[t]);  a[t] = W_in[x[t]] + W h[t-1];  δ[t] = dE / da[t]
        E + α Σ Ω;  Ω = mean over t of (‖δ[t+1] W diag(1 - h[t]²)‖² / ‖δ[t+1]‖² - 1)²

    where Σ is over sequences, as in E, and δ and h are held constant in the derivative of Ω, as in the paper.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, omega: float = 4.0):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(inputs, hidden), torch.nn.Linear(hidden, outputs)
        self.weight = torch.nn.Parameter(torch.empty(hidden, hidden))
        self.register_buffer("identity", torch.eye(hidden))
        self.omega = omega
        torch.nn.init.normal_(self.embedding.weight, std=0.1)
        torch.nn.init.orthogonal_(self.weight, gain=0.95)

    def forward(self, x: Tensor, state: State = None, lengths: None = None) -> tuple[Tensor, State]:
        outside, weight = self.embedding(x), self.weight
        seen: list[Tensor] = []
        if torch.is_grad_enabled():
            outside, weight = _AddOmega.apply(outside, weight, self.omega, seen)
        y, (h,) = ops.elman(outside, state, Weights(self.identity, weight))
        seen.append(y.detach())
        return self.head(h), (h,)


class _AddOmega(torch.autograd.Function):
    """Pass on a - W h[t-1] and W, and add α dΩ/dW to the gradient of W; `seen` will hold h."""

    @staticmethod
    def forward(ctx: Any, outside: Tensor, weight: Tensor, omega: float, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight)
        ctx.omega, ctx.seen = omega, seen
        return outside.view_as(outside), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, delta: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (weight,), (h,) = ctx.saved_tensors, ctx.seen
        later, slope = delta[1:], 1 - h[:-1].square()
        earlier = (later @ weight) * slope
        norm = later.square().sum(-1, keepdim=True)
        known = norm > 1e-30  # an error that has vanished has no direction
        norm = norm.where(known, 1)
        excess = (earlier.square().sum(-1, keepdim=True) / norm - 1).where(known, 0)
        of_ratio = ctx.omega * 2 * excess / len(later)
        return delta, gradient + torch.einsum("tbi,tbj->ij", of_ratio * 2 / norm * later, earlier * slope), None, None


@torch.no_grad()
def chrono(lstm: nn.LSTM, T: int) -> nn.LSTM:
    """Begin with a memory as long as the lags (Tallec & Ollivier 2018): b_f = ln U(1, T - 1) = -b_i."""
    _, _, b_ih, b_hh = lstm.parameters()
    b_ih.zero_()
    b_hh.zero_()
    i, f, _, _ = b_ih.chunk(4)
    f.uniform_(1, T - 1).log_()
    i.copy_(-f)
    return lstm


def entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=NO_TARGET, reduction="sum")


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(-1) - targets).square().sum()


def read(network: torch.nn.Module, batches: list[Batch]) -> Iterator[tuple[Tensor, Tensor, Batch]]:
    """The outputs and targets of each batch."""
    weight = next(network.parameters())
    for batch in batches:
        lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
        with torch.no_grad():
            outputs, _ = network(as_tensor(batch.inputs, weight), lengths=lengths)
        yield outputs, as_tensor(batch.targets, weight), batch


def judge_reber(network: torch.nn.Module, batches: list[Batch]) -> Figures:
    """The nats per string, and how often the right one of T and P is the likelier at the end of the long link."""
    nats = right = strings = 0.0
    for logits, targets, batch in read(network, batches):
        each, at = torch.arange(targets.shape[1]), torch.from_numpy(batch.lengths) - 2
        link, other = targets[at, each], 3 - targets[at, each]  # T is 2, P is 1
        right += (logits[at, each, link] > logits[at, each, other]).sum().item()
        nats += entropy(logits, targets).item() - sum(map(reber_nats, spell(batch)))
        strings += len(each)
    return {"nats": OPTIMUM + nats / strings, "link": right / strings}


def judge_adding(network: torch.nn.Module, batches: list[Batch]) -> Figures:
    """The mean squared error of the sum of two values in [0, 1], and how many miss by 0.04 in units of the targets."""
    errors = torch.cat([outputs.squeeze(-1) - targets for outputs, targets, _ in read(network, batches)])
    return {"MSE": 4 * errors.square().mean().item(), "wrong": (errors.abs() >= 0.04).sum().item()}


def judge_order(network: torch.nn.Module, batches: list[Batch]) -> Figures:
    wrong = torch.cat([logits.argmax(-1) != targets for logits, targets, _ in read(network, batches)])
    return {"errors": wrong.double().mean().item(), "wrong": wrong.sum().item()}


@dataclass(frozen=True)
class Trial:
    """One network that has to learn one task, with all that depends on the seed."""

    network: torch.nn.Module
    loss: Loss
    batches: Drawn | Steps
    plan: Plan


@dataclass(frozen=True)
class Task:
    """What has to be shown.

    name: the task.
    network, published, wanted: the network and its settings, the published result, and the result wanted, in words.
    reached: whether figures are the result wanted.
    make: makes the trial of a seed; torch's generator must have been seeded.
    draw: draws a number of sequences, as batches.
    judge: the figures of a network on such batches.
    enough: training stops when the first figure is at most this.
    """

    name: str
    network: str
    published: str
    wanted: str
    reached: Callable[[Figures], bool]
    make: Callable[[int], Trial]
    draw: Callable[[np.random.Generator, int], list[Batch]]
    judge: Callable[[torch.nn.Module, list[Batch]], Figures]
    enough: float = 0.0


class Result(NamedTuple):
    """The result of a task and a seed; the seconds are those of one core."""

    task: int
    seed: int
    sequences: int
    figures: Figures
    stopped: str
    seconds: float


class Enough(Exception):
    """The network is good enough."""


def draw_growing(update: int) -> Draw:
    """Sequences of a length from 10 to a largest one, which grows from 20 to 200."""
    longest = min(200, 20 + 180 * update // GROWING)
    return lambda rng, rows: draw_pascanu(int(rng.integers(10, longest + 1)), rng, rows)


def draw_lengths(rng: np.random.Generator, rows: int) -> list[Batch]:
    """Equally many sequences of each length."""
    return [draw_pascanu(L, rng, rows // len(LENGTHS)) for L in LENGTHS]


def reber_lstm(seed: int) -> Trial:
    network = Reader(nn.LSTM(len(SYMBOLS), 16, forget_bias=1.0), len(SYMBOLS), each_step=True)
    batches = Drawn(lambda i: draw_reber, 16, 4000, seed)
    return Trial(network, entropy, batches, Plan(0.01, 1.0, schedule="constant", checks=40))


def reber_elman(seed: int) -> Trial:
    network = Reader(nn.Elman(len(SYMBOLS), 16), len(SYMBOLS), each_step=True)
    return Trial(network, entropy, Steps(64, 4000, seed), Plan(0.01, 1.0))


def adding_lstm(T: int, hidden: int, updates: int, seed: int) -> Trial:
    batches = Drawn(lambda i: partial(draw_adding, T), 32, updates, seed)
    return Trial(Reader(chrono(nn.LSTM(2, hidden), T), 1), squares, batches, Plan(0.003, 1.0, checks=25))


def adding_elman(seed: int) -> Trial:
    batches = Drawn(lambda i: partial(draw_adding, 100), 32, 2500, seed)
    return Trial(Reader(nn.Elman(2, 32), 1), squares, batches, Plan(0.001, 1.0))


def order_lstm(seed: int) -> Trial:
    network = Reader(chrono(nn.LSTM(8, 16), 100), 4)
    batches = Drawn(lambda i: draw_order, 32, 4000, seed)
    return Trial(network, entropy, batches, Plan(0.005, 1.0, schedule="constant", checks=40))


def pascanu_elman(clip_norm: float, seed: int) -> Trial:
    batches = Drawn(draw_growing, 20, UPDATES, seed)
    return Trial(Preserving(6, 50, 4), entropy, batches, Plan(0.01, clip_norm, optimiser="sgd", checks=400))


def once(draw: Draw) -> Callable[[np.random.Generator, int], list[Batch]]:
    return lambda rng, rows: [draw(rng, rows)]


TASKS = [
    Task(
        "reber",
        "LSTM 16",
        "97–100 % of runs, 8,440–39,740 sequences",
        "at most 4.95 nats per string, where 4.852 is the optimum",
        lambda figures: figures["nats"] <= 4.95,
        reber_lstm,
        once(draw_reber),
        judge_reber,
        enough=4.92,
    ),
    Task(
        "reber",
        "Elman 16, truncation 1",
        "0 % of runs",
        "fails: at least 5.2 nats per string, half-way to the optimum",
        lambda figures: figures["nats"] >= 5.2,
        reber_elman,
        once(draw_reber),
        judge_reber,
    ),
    Task(
        "adding100",
        "LSTM 24",
        "74,000 sequences, 1 of 2,560 wrong; MSE .0007",
        "MSE at most .003",
        lambda figures: figures["MSE"] <= 0.003,
        partial(adding_lstm, 100, 24, 2500),
        once(partial(draw_adding, 100)),
        judge_adding,
        enough=0.0005,
    ),
    Task(
        "adding100",
        "Elman 32",
        "MSE .07",
        "for comparison: does not reach .003",
        lambda figures: figures["MSE"] > 0.003,
        adding_elman,
        once(partial(draw_adding, 100)),
        judge_adding,
    ),
    Task(
        "adding500",
        "LSTM 24",
        "209,000 sequences, 0 of 2,560 wrong",
        "solved: MSE at most .003, at most 1 % wrong",
        lambda figures: figures["MSE"] <= 0.003 and figures["wrong"] <= 25,
        partial(adding_lstm, 500, 24, 3000),
        once(partial(draw_adding, 500)),
        judge_adding,
        enough=0.0005,
    ),
    Task(
        "order",
        "LSTM 16",
        "31,390 sequences, 1 of 2,560 wrong",
        "at most 0.5 % errors",
        lambda figures: figures["errors"] <= 0.005,
        order_lstm,
        once(draw_order),
        judge_order,
        enough=0.001,
    ),
    Task(
        "pascanu",
        "Elman 50, Ω, rescaled to 1",
        "0 errors after 336,000 updates of 20",
        "less than 1 % errors",
        lambda figures: figures["errors"] < 0.01,
        partial(pascanu_elman, 1.0),
        draw_lengths,
        judge_order,
        enough=0.002,
    ),
    Task(
        "pascanu",
        "Elman 50, Ω, not rescaled",
        "fails",
        "fails: at least 10 % errors",
        lambda figures: figures["errors"] >= 0.1,
        partial(pascanu_elman, 0.0),
        draw_lengths,
        judge_order,
    ),
]


def measure(number: int, seed: int) -> Result:
    """Train, and judge with sequences that were not used for training or validation."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task = TASKS[number]
    trial, begin = task.make(seed), time.process_time()
    validation, test = (task.draw(np.random.default_rng((seed, part)), rows) for part, rows in ((1, 512), (2, 2560)))
    updates = 0

    def watch(progress: Progress) -> None:
        nonlocal updates
        updates = progress.step
        if progress.validation is not None and progress.validation <= task.enough:
            raise Enough

    def validate() -> float:
        return next(iter(task.judge(trial.network, validation).values()))

    try:
        stopped = fit(trial.network, trial.loss, trial.batches, validate, trial.plan, watch=watch).stopped
    except Enough:
        stopped = "enough"
    except DivergedError:
        stopped = "diverged"
    seconds = time.process_time() - begin
    figures = task.judge(trial.network.eval(), test)
    return Result(number, seed, trial.batches.sequences(updates), figures, stopped, seconds)


def line(result: Result) -> str:
    """Task, network, seed, sequences used, figures, seconds of one core, and the published result."""
    task = TASKS[result.task]
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result.figures.items())
    ours = f"{result.sequences:9,} sequences  {figures:28} {result.stopped:9} {result.seconds:4.0f} s"
    return f"{task.name:10} {task.network:29} seed {result.seed} {ours}   published: {task.published}"


def verdict(number: int, results: list[Result]) -> str:
    task = TASKS[number]
    reached = [task.reached(result.figures) for result in results if result.task == number]
    word = "reached" if all(reached) else f"NOT REACHED by {reached.count(False)} of {len(reached)} seeds"
    return f"{task.name:10} {task.network:29} {task.wanted}: {word}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--only", choices=sorted({task.name for task in TASKS}), help="one task")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def main() -> bool:
    """Run the tasks, and return whether everything was reached."""
    args, begin = arguments(), time.perf_counter()
    numbers = [k for k, task in enumerate(TASKS) if args.only in (None, task.name)]
    print(f"{machine()}, of which {args.processes} processes use one each", flush=True)
    results = []
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        running = [pool.submit(measure, k, seed) for seed in range(1 if args.quick else 3) for k in reversed(numbers)]
        for done in as_completed(running):
            results.append(done.result())
            print(line(results[-1]), flush=True)
    print(*(verdict(k, results) for k in numbers), f"{time.perf_counter() - begin:.0f} s in all", sep="\n")
    return all(TASKS[result.task].reached(result.figures) for result in results)


if __name__ == "__main__":
    sys.exit(not main())
