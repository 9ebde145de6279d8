"""Runs that are killed, interrupted, moved and resumed."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from unspool import LanguageModel, Training
from unspool.errors import FolderError
from unspool.train import checkpoint

# One process imports and forks a child for each attempt, as 22 starts of an interpreter would take minutes.
KILLS = """
import itertools, json, os, random, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # as optimisers do, once for all children
from unspool.data.batches import Chunks, Overlapping
from unspool.train import Plan, fit
from unspool.network import Network
from unspool.tasks.language_model.estimator import cross_entropy
from safetensors.torch import save_file

folder = Path(sys.argv[1])

def train(name):
    torch.set_num_threads(2)
    torch.manual_seed(0)
    front = {"kind": "embedding", "tokens": 20, "size": 12}
    recurrent = {"cell": "lstm", "hidden_size": 40, "num_layers": 2, "dropout": 0.2}
    network = Network({"front": front, "recurrent": recurrent, "head": {"kind": "linear", "size": 20}})
    tokens = torch.randint(20, (8 * 16 * 20,), generator=torch.Generator().manual_seed(1)).cumsum(0).numpy() % 20
    batches = Overlapping(Chunks(tokens, 8, 16), 16, 24)
    plan = Plan(0.01, clip_norm=0.3, epochs=8, log_steps=7, save_seconds=0)
    validate = lambda: sum(p.square().sum().item() for p in network.parameters())
    outcome = fit(network, cross_entropy, batches, validate, plan, run=folder / name, resume=True)
    save_file(network.state_dict(), folder / f"{name}.safetensors")
    lines = [{k: v for k, v in line.items() if "second" not in k} for line in outcome.history]
    (folder / f"{name}.json").write_text(json.dumps(lines))

def die_in_a_checkpoint(nth):
    # Of three calls the second one forces the new checkpoint to the disk, before it gets its name.
    fsync, calls = os.fsync, itertools.count(1)

    def fatal(file):
        if next(calls) == 3 * nth - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync = fatal

def child(name, seconds=None, nth=None):
    pid = os.fork()
    if pid == 0:
        if nth is not None:
            die_in_a_checkpoint(nth)
        train(name)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert child("whole") == 0
draw, killed, writing = random.Random(0), 0, 0
while killed < 14:
    killed += child("killed", draw.uniform(0.02, 0.25)) == -signal.SIGKILL
while writing < 6 and not (folder / "killed.safetensors").exists():
    killed += child("killed", nth=draw.randint(1, 8)) == -signal.SIGKILL
    writing += bool([*(folder / "killed").glob(".last.checkpoint-*")])
assert child("killed") == 0
print(json.dumps({"killed": killed, "writing": writing}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_times_killed_it_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, "-c", KILLS, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout.splitlines()[-1])
    assert counts == {"killed": 20, "writing": 6}  # six of them while a checkpoint was written
    assert json.loads((tmp_path / "killed.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_the_same_bits_on_another_number_of_threads(tmp_path):
    before = torch.get_num_threads()
    text = "".join(random.Random(0).choices("abcdefgh \n", k=16_000))

    def trained(threads, *, stop=0, resume=False):
        torch.set_num_threads(threads)
        model = LanguageModel(epochs=1, training=Training(batch_size=32, tbptt=64))

        def interrupt(progress):
            if progress.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        model.fit(text, watch=interrupt, run=tmp_path / f"{stop or resume}", resume=resume)
        assert torch.get_num_threads() == threads, "as it was before"
        assert model.stopped_ == ("interrupted" if stop else "finished")
        return b"".join(weights.numpy().tobytes() for weights in model.network_.state_dict().values())

    try:
        one, two = trained(1), trained(2)
        assert one != two, "torch's sums depend on threads, or else this test is of no use"
        for begun, later, whole in ((2, 1, two), (1, 2, one)):
            trained(begun, stop=3)
            (tmp_path / "3").rename(tmp_path / "True")
            with pytest.warns(
                UserWarning, match=f"begun on {begun} threads, and goes on with as many instead of {later}"
            ):
                assert trained(later, resume=True) == whole
            shutil.rmtree(tmp_path / "True")
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "last.checkpoint"
    checkpoint.write(path, {"network.w": torch.arange(6.0).view(2, 3)}, {"at": 1.1, "what": "é"})
    return path


def test_a_checkpoint_is_read_as_it_was_written(saved):
    tensors, progress = checkpoint.read(saved)
    assert progress == {"at": 1.1, "what": "é"}
    torch.testing.assert_close(tensors, {"network.w": torch.arange(6.0).view(2, 3)}, rtol=0, atol=0)
    assert os.listdir(saved.parent) == ["last.checkpoint"]


def test_a_truncated_or_altered_checkpoint_is_refused_by_name(saved):
    data = saved.read_bytes()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        saved.write_bytes(data[:size])
        with pytest.raises(FolderError, match=re.escape(str(saved))):
            checkpoint.read(saved)
    for place in range(0, len(data), 5):
        altered = bytearray(data)
        altered[place] ^= 1
        saved.write_bytes(altered)
        with pytest.raises(FolderError, match=re.escape(str(saved))):
            checkpoint.read(saved)
    saved.unlink()
    with pytest.raises(FolderError, match=r"last\.checkpoint: is missing; begin the run anew"):
        checkpoint.read(saved)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(saved, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="No space left on device"):
        checkpoint.write(saved, {}, {})
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


OPTIMISERS = [
    lambda p: torch.optim.Adam(p, 0.1, fused=True),
    lambda p: torch.optim.AdamW(p, 0.1, amsgrad=True),
    lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    lambda p: torch.optim.RMSprop(p, 0.1, centered=True),
    lambda p: torch.optim.NAdam(p, 0.1),
    lambda p: torch.optim.Adagrad(p, 0.1),
]


@pytest.mark.parametrize("make", OPTIMISERS)
def test_optimisers_go_on_from_a_checkpoint_to_the_bit(tmp_path, make):
    def descend(weights, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            sum(((w - 3) ** 2).sum() for w in weights).backward()
            optimiser.step()

    def create():
        weights = [torch.nn.Parameter(torch.arange(3.0)), torch.nn.Parameter(torch.ones(2, 2))]
        return weights, make(weights)

    whole, optimiser = create()
    descend(whole, optimiser, 7)
    weights, optimiser = create()
    descend(weights, optimiser, 3)
    tensors, rest = checkpoint.pack_optimiser(optimiser)
    checkpoint.write(tmp_path / "c", tensors, rest)
    again, optimiser = create()
    tensors, rest = checkpoint.read(tmp_path / "c")
    checkpoint.unpack_optimiser(optimiser, tensors, rest)
    with torch.no_grad():
        for mine, theirs in zip(again, weights, strict=True):
            mine.copy_(theirs)
    descend(again, optimiser, 4)
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


# Sentences of unequal lengths on one rank or several; the last batch has three sequences, then one.
RANKS = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
import torch
from unspool import nn
from unspool.data.batches import Batch
from unspool.train import Plan, fit
from unspool.train.ranks import launch

folder, ranks, carried, stop = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "carried", int(sys.argv[4])
fabric = launch(ranks, accelerator="cpu")
torch.manual_seed(fabric.global_rank)  # the ranks begin with different weights, and go on with the first one's
torch.set_num_threads(1)

class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(3, 8), torch.nn.Linear(8, 2)

    def forward(self, x, state=None, **options):
        y, state = self.recurrent(x, state, **options)
        return self.head(y), state

def squares(outputs, targets):
    there = ~targets.isnan()
    return (outputs[there] - targets[there]).square().sum()

class Sentences:
    def __init__(self, rank=0, ranks=1):
        self.rank, self.ranks = rank, ranks

    def __len__(self):
        return 6

    def shard(self, rank, ranks):
        return Sentences(rank, ranks)

    def epoch(self, number, start=0):
        for index in range(start, 6):
            random = np.random.default_rng([number, index])
            B = 5 if carried or index < 5 else 3 if number % 2 else 1
            lengths = random.integers(1, 10, B)
            x = random.normal(size=(9, B, 3)).astype(np.float32)
            targets = x[:, :, :2].cumsum(0)
            targets[np.arange(9)[:, None] >= lengths] = np.nan
            part = np.s_[:, self.rank :: self.ranks]
            fresh = not carried or index == 0
            lengths = lengths[self.rank :: self.ranks]
            yield Batch(x[part].copy(), targets[part].copy(), fresh, lengths)

network, losses = Tagger(), []

def watch(progress):
    losses.append(progress.loss)
    if progress.step == stop:
        signal.raise_signal(signal.SIGTERM)

plan = Plan(0.01, clip_norm=0.5, epochs=9, schedule="constant", log_steps=1)
fit(network, squares, Sentences(), lambda: 1.0, plan, watch=watch, run=folder, resume=True, fabric=fabric)
if fabric.global_rank == 0:
    print("LOSSES", json.dumps(losses))
"""


def losses(folder, ranks, kind, stop=0):
    """The losses of all steps, until the end, or until the step after `stop`, which SIGTERM lets finish."""
    command = [sys.executable, "-c", RANKS, str(folder), str(ranks), kind, str(stop)]
    (folder.parent / "ranks.py").write_text(RANKS)
    command[1:3] = [str(folder.parent / "ranks.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(re.findall("LOSSES (.*)", result.stdout)[0])


@pytest.mark.parametrize("kind", ["fresh", "carried"])
def test_two_ranks_have_the_losses_of_one_and_runs_move_between_them(tmp_path, kind):
    one = losses(tmp_path / "one", 1, kind)
    two = losses(tmp_path / "two", 2, kind)
    assert len(one) == len(two) == 54 and one[-1] < 0.9 * one[0]
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-5, atol=0)
    moved = [losses(tmp_path / "moved", ranks, kind, stop) for ranks, stop in ((1, 15), (2, 33), (1, 0))]
    joined = list(itertools.chain.from_iterable(part[:-1] if i < 2 else part for i, part in enumerate(moved)))
    torch.testing.assert_close(torch.tensor(joined), torch.tensor(one), rtol=1e-5, atol=0)


# Errors on one rank of two, each of another kind.
TROUBLE = """
import math, sys
from pathlib import Path
import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from unspool import UnspoolError
from unspool.train import checkpoint
from unspool.data.batches import Batch
from unspool.train import Plan, fit
from unspool.network import Network
from unspool.train.ranks import launch

folder, mode = Path(sys.argv[1]), sys.argv[2]
if mode.startswith("scaled"):
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=16.0))
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DDPStrategy(broadcast_buffers=False), plugins=precision)
    fabric.launch()
else:
    fabric = launch(2, accelerator="cpu")
torch.set_num_threads(1)
front, head = {"kind": "dense", "size": 3}, {"kind": "linear", "size": 2}
network = Network({"front": front, "recurrent": {"cell": "lstm", "hidden_size": 8, "num_layers": 1}, "head": head})

def squares(outputs, targets):
    worst = {"blow up": math.inf, "scaled overflow": 3e4}.get(mode, 1.0)
    return (outputs - targets).square().sum() * (worst if (targets == 7).any() else 1.0)

class Sequences:
    def __init__(self, rank=0, ranks=1):
        self.part = np.s_[:, rank::ranks]

    def __len__(self):
        return 4

    def shard(self, rank, ranks):
        return Sequences(rank, ranks)

    def epoch(self, number, start=0):
        for i in range(start, 4):
            x = np.random.default_rng(i).normal(size=(9, 1 if mode == "scaled, one rank empty" else 4, 3))
            x = x.astype(np.float32)
            targets = x[:, :, :2].copy()
            if i == 2:
                targets[4, 0] = 7  # the first rank's
            yield Batch(x[self.part].copy(), targets[self.part].copy(), True)

if mode == "full disk" and fabric.global_rank == 0:
    def full(file):
        raise OSError(28, "No space left on device")
    checkpoint.os.fsync = full
try:
    outcome = fit(network, squares, Sequences(), lambda: 1.0, Plan(0.01, epochs=3), run=folder, fabric=fabric)
    said = outcome.stopped
except UnspoolError as error:
    said = str(error)
(folder.parent / f"rank{fabric.global_rank}").write_text(said)
"""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("blow up", "the loss of time step 4 of 9 is the first that is not finite"),
        ("full disk", "was not written (No space left on device)"),
        ("scaled, one rank empty", "finished"),
        ("scaled overflow", "finished"),
    ],
)
def test_trouble_of_one_rank_is_that_of_all(tmp_path, mode, expected):
    (tmp_path / "trouble.py").write_text(TROUBLE)
    command = [sys.executable, str(tmp_path / "trouble.py"), str(tmp_path / "run"), mode]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    said = [(tmp_path / f"rank{rank}").read_text() for rank in range(2)]
    assert expected in said[0] and said[0] == said[1]
