"""How values and gradients flow through time."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from unspool import nn
from unspool.cells import Elman, Weights
from unspool.data.batches import NO_TARGET, Batch, Chunks, Overlapping
from unspool.errors import UnspoolError
from unspool.network import Network
from unspool.tasks.language_model.estimator import cross_entropy
from unspool.train import Plan, fit, through_time
from unspool.train.through_time import forward, state_gradients

T, B, K = 24, 3, 7


@pytest.fixture(params=["elman", "jordan", "gru", "lstm"])
def network(request):
    torch.manual_seed(0)
    recurrent = {"cell": request.param, "hidden_size": 6, "num_layers": 2, "dropout": 0.0}
    front = {"kind": "embedding", "tokens": K, "size": 5}
    return Network({"front": front, "recurrent": recurrent, "head": {"kind": "linear", "size": K}}).double()


@pytest.fixture
def chunks():
    tokens = np.random.default_rng(0).integers(0, K, B * T + 1)
    return Chunks(tokens, B, T)


def gradient(network, batches, recompute=False):
    """The gradient of the sum of all batches' losses, and the last state, which is carried from batch to batch."""
    network.zero_grad()
    state = None
    for batch in batches:
        value, state = forward(network, cross_entropy, batch, None if batch.fresh else state, recompute=recompute)
        value.backward()
    return [p.grad.clone() for p in network.parameters()], state


def windows(chunks, k1, k2):
    part = Chunks.__new__(Chunks)
    part.__dict__ |= chunks.__dict__ | {"length": k1}
    return Overlapping(part, k1, k2).epoch(0)


@pytest.mark.parametrize("k1", [1, 8, 12, T])
def test_windows_as_long_as_the_sequence_are_full_backpropagation(network, chunks, k1):
    whole, _ = gradient(network, chunks.epoch(0))
    torch.testing.assert_close(gradient(network, windows(chunks, k1, T))[0], whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (4, 4), (4, 6), (5, 9), (1, 7)])
def test_windows_carry_the_state_and_truncate_the_gradient(network, chunks, k1, k2):
    whole, state = gradient(network, chunks.epoch(0))
    truncated, carried = gradient(network, windows(chunks, k1, k2))
    head = [name.startswith("head") for name, _ in network.named_parameters()]
    for is_head, mine, theirs in zip(head, truncated, whole, strict=True):
        if is_head:  # it has no gradient through time, and its inputs are those of the whole sequence
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
        else:
            assert not torch.allclose(mine, theirs, rtol=1e-3)
    if k1 == k2:
        torch.testing.assert_close(carried, state, rtol=1e-9, atol=1e-12)


def test_resets_and_lengths_reach_the_pieces(network):
    random = np.random.default_rng(1)
    x, targets = random.integers(0, K, (2, T, B))
    lengths = np.array([T, 9, 1])
    reset = random.random((T, B)) < 0.2
    targets[np.arange(T)[:, None] >= lengths] = NO_TARGET
    batch = Batch(x, targets, True, lengths, reset)
    whole, state = gradient(network, [batch])
    torch.testing.assert_close(gradient(network, [batch], recompute=True), (whole, state), rtol=1e-9, atol=1e-12)
    without, _ = gradient(network, [batch._replace(reset=None)])
    assert not torch.allclose(without[0], whole[0])


def test_recomputed_gradients_are_exact_and_dropout_the_same(network, chunks, monkeypatch):
    network.dropout.p = 0.5
    torch.manual_seed(3)
    monkeypatch.setattr(through_time, "checkpoint", lambda piece, state, use_reentrant: piece(state))
    pieces, _ = gradient(network, chunks.epoch(0), recompute=True)
    monkeypatch.undo()
    torch.manual_seed(3)
    again, carried = gradient(network, chunks.epoch(0), recompute=True)
    torch.testing.assert_close(again, pieces, rtol=1e-9, atol=1e-12)
    network.dropout.p = 0.0
    whole, state = gradient(network, chunks.epoch(0))
    again, carried = gradient(network, chunks.epoch(0), recompute=True)
    torch.testing.assert_close((again, carried), (whole, state), rtol=1e-9, atol=1e-12)


def test_recomputing_needs_targets_for_each_step(network):
    batch = Batch(np.zeros((T, B), np.int64), np.zeros(B, np.int64))
    with pytest.raises(UnspoolError, match="recompute needs targets for each of the 24 time steps"):
        forward(network, cross_entropy, batch, recompute=True)


def test_gradients_by_the_state_decay_as_the_spectral_radius():
    class Linear(torch.nn.Module):
        def __init__(self, radius):
            super().__init__()
            self.w = torch.nn.Parameter(radius * torch.linalg.qr(torch.randn(5, 5).double())[0])

        def forward(self, x, state=None):
            state = x + (0 * x if state is None else state) @ self.w
            return state, state

    def last(outputs, targets):
        return (outputs * targets).sum()

    x = np.random.default_rng(0).normal(size=(T, 2, 5))
    targets = np.zeros_like(x)
    targets[-1] = 1
    for radius in (0.5, 1.0, 1.5):
        losses, norms = state_gradients(Linear(radius), last, Batch(x, targets))
        assert losses[:-1] == [0] * (T - 1)
        np.testing.assert_allclose(norms, np.sqrt(10) * radius ** np.arange(T - 1, -1, -1.0), rtol=1e-6)


# Binary addition (see examples/binary_addition.py), with the error of each step going back through at most K steps.


def additions(iterations):
    random = np.random.RandomState(0)
    weights = [2 * random.random_sample(shape) - 1 for shape in [(2, 16), (16, 1), (16, 16)]]
    pairs = [(random.randint(128), random.randint(128)) for _ in range(iterations)]
    bits = [[[float(n >> place & 1) for n in (a, b, a + b)] for place in range(8)] for a, b in pairs]
    return weights, np.array(bits)


def trace(steps_back, iterations):
    """The errors, with the reference's own derivatives: each step's error goes back through at most this many steps."""
    (w_in, w_out, w_rec), bits = additions(iterations)
    cell, errors = Elman("sigmoid"), []
    for x, target in zip(bits[:, :, :2], bits[:, :, 2], strict=True):
        weights = Weights(w_in.T.copy(), w_rec.T.copy())
        states, saved = [np.zeros((1, 16))], []
        for t in range(8):
            (h,), kept = cell.step(x[t : t + 1] @ w_in, (states[-1],), weights)
            states.append(h)
            saved.append(kept)
        y = 1 / (1 + np.exp(-np.concatenate(states[1:]) @ w_out)).ravel()
        errors.append(np.abs(target - y).sum())
        delta = (y - target) * y * (1 - y)
        d_in, d_rec = np.zeros_like(w_in.T), np.zeros_like(w_rec.T)
        for t in range(8):
            dh = delta[t] * w_out.T
            for s in range(t, max(-1, t - steps_back), -1):
                da, (dh,), given = cell.step_backward((dh,), saved[s], weights)
                d_in, d_rec = d_in + da.T @ x[s : s + 1], d_rec + given.w_hh
        w_out = w_out - 0.1 * np.concatenate(states[1:]).T @ delta[:, None]
        w_in, w_rec = w_in - 0.1 * d_in.T, w_rec - 0.1 * d_rec.T
    return errors


class Adder(torch.nn.Module):
    def __init__(self, w_in, w_out, w_rec):
        super().__init__()
        self.recurrent = nn.Elman(2, 16, nonlinearity="sigmoid", bias=False, dtype=torch.float64)
        self.recurrent.load_state_dict({"weight_ih_l0": torch.tensor(w_in.T), "weight_hh_l0": torch.tensor(w_rec.T)})
        self.w_out = torch.nn.Parameter(torch.tensor(w_out))

    def forward(self, x, state=None):
        h, state = self.recurrent(x, state)
        return torch.sigmoid(h @ self.w_out), state


class Sums:
    """The additions one after the other, each in windows of one step."""

    def __init__(self, bits):
        self.bits = bits

    def __len__(self):
        return 8 * len(self.bits)

    def shard(self, rank, ranks):
        return self

    def epoch(self, number, start=0):
        for i in range(start, len(self)):
            at = self.bits[i // 8, i % 8][None, None]
            yield Batch(at[:, :, :2].copy(), at[:, :, 2:].copy(), i % 8 == 0)


def test_errors_propagated_through_at_most_k_steps_give_the_reference_s_trace():
    iterations = 120
    traces = []
    for k in range(1, 9):
        weights, bits = additions(iterations)
        errors = []

        def loss(y, target, errors=errors):
            there = ~target.isnan()
            error = target[there] - y[there]
            errors.append(error.abs().sum().item())
            return 0.5 * error.square().sum()

        # A rate of 0.1 for the sum over eight steps, and so 0.8 for the mean.
        plan = Plan(0.8, accumulate=8, optimiser="sgd", schedule="constant")
        fit(Adder(*weights), loss, Overlapping(Sums(bits), 1, k), lambda: 0.0, plan)
        traces.append(trace(k, iterations))
        np.testing.assert_allclose(np.reshape(errors, (iterations, -1)).sum(1), traces[-1], rtol=1e-8)
    full = traces[-1]
    for k, other in enumerate(traces[:-1], 1):
        assert np.abs(np.array(other) - full).max() > 1e-5, f"{k} steps back is not full backpropagation"


MEMORY = """
import re, sys
import numpy as np, torch
from unspool.data.batches import Chunks
from unspool.train import Plan, fit
from unspool.network import Network
from unspool.tasks.language_model.estimator import cross_entropy
torch.set_num_threads(1)
T, B = int(sys.argv[1]), 4
recurrent = {"cell": "lstm", "hidden_size": 64, "num_layers": 1, "dropout": 0.0}
front = {"kind": "embedding", "tokens": 20, "size": 32}
network = Network({"front": front, "recurrent": recurrent, "head": {"kind": "linear", "size": 20}})
tokens = np.random.default_rng(0).integers(0, 20, B * T + 1).astype(np.int32)
plan = Plan(0.01, recompute=sys.argv[3] == "recompute")
fit(network, cross_entropy, Chunks(tokens, B, int(sys.argv[2])), lambda: 0.0, plan)
print(re.search("VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
"""


def peak(*arguments):
    """The MiB of a process that trains on four sequences of some number of steps, in windows of another number."""
    command = [sys.executable, "-c", MEMORY, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return int(result.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of this process alone is in /proc")
def test_memory_is_bounded_by_the_window():
    short, long = peak(1000, 100, "no"), peak(100_000, 100, "no")
    assert long <= 1.2 * short
    assert long - short < 20  # full backpropagation takes two megabytes per thousand steps
    full, recomputed = peak(20_000, 20_000, "no"), peak(20_000, 20_000, "recompute")
    assert full - short > 4 * (recomputed - short)
