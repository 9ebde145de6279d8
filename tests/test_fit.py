"""The training loop."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unspool import nn
from unspool.data.batches import NO_TARGET, Batch, Chunks
from unspool.errors import DataError, DivergedError, FolderError, UnspoolError
from unspool.network import Network
from unspool.tasks.language_model.estimator import cross_entropy
from unspool.train import Plan, checkpoint, fit
from unspool.train.run_folder import held


class Counter(torch.nn.Module):
    """Its output is its weight, and its state counts the batches since the last fresh one."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.states = []

    def forward(self, x, state=None):
        self.states.append(state)
        return self.weight + 0 * x.sum(), self.weight.sum() * 0 + (1 if state is None else state + 1)


class Listed(list):
    """The same batches in every epoch."""

    def epoch(self, number, start=0):
        return iter(self[start:])

    def shard(self, rank, ranks):
        return self


def batches(n, fresh=(0,)):
    one = np.array([[0], [NO_TARGET]])
    return Listed(Batch(np.zeros((2, 1), np.int64), one, i in fresh) for i in range(n))


def away(outputs, targets):
    """A loss with the minimum at 5."""
    return ((outputs - 5) ** 2).sum()


PLAN = Plan(learning_rate=0.1, clip_norm=0, epochs=1)


def test_state_is_carried_without_gradient_and_not_into_fresh_batches():
    network = Counter()
    fit(network, away, batches(4, fresh=(0, 2)), lambda: 0.0, Plan(0.1, 0, epochs=2))
    assert [s and s.item() for s in network.states] == [None, 1, None, 1] * 2
    assert not any(s.requires_grad for s in network.states if s is not None)


def test_best_weights_are_kept():
    network, seen = Counter(), []
    figures = iter([3.0, 1.0, 2.0, 1.0, 4.0])

    def validate():
        assert not network.training and not torch.is_grad_enabled()
        seen.append(network.weight.detach().clone())
        return next(figures)

    outcome = fit(network, away, batches(5), validate, PLAN)
    assert outcome.best == 1.0 and outcome.stopped == "finished"
    assert [line["validation"] for line in outcome.history] == [3, 1, 2, 1, 4]
    torch.testing.assert_close(network.weight.detach(), seen[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("plan", "checks"), [(Plan(0.1, 0, 1), 10), (Plan(0.1, 0, 1, checks=3), 3), (Plan(0.1, 0, 30), 30)]
)
def test_number_of_checks(plan, checks):
    outcome = fit(Counter(), away, batches(40), lambda: 0.0, plan)
    assert sum(line["validation"] is not None for line in outcome.history) == checks
    assert outcome.history[-1]["step"] == 40 * plan.epochs
    assert outcome.history[-1]["done"] == 1


def test_progress_is_told_after_each_step():
    reported = []
    fit(Counter(), away, batches(4), lambda: 7.0, Plan(0.1, 0, epochs=2, checks=2), watch=reported.append)
    assert [p.step for p in reported] == list(range(1, 9))
    assert [p.epoch for p in reported] == [i / 4 for i in range(1, 9)]
    assert [p.tokens for p in reported] == list(range(1, 9))
    assert [p.validation for p in reported] == [None, None, None, 7, None, None, None, 7]
    assert reported[0].loss == 75 and reported[1].loss < 75
    assert reported[4].loss < reported[3].loss
    assert reported[0].gradient_norm == pytest.approx(math.sqrt(300))


def test_learning_rate_follows_the_schedule():
    reported = []
    fit(Counter(), away, batches(4), lambda: 0.0, Plan(0.1, 0, 1), watch=reported.append)
    np.testing.assert_allclose([p.learning_rate for p in reported], 0.05 * (1 + np.cos(np.pi * np.arange(4) / 4)))
    reported.clear()
    fit(Counter(), away, batches(4), lambda: 0.0, Plan(0.1, 0, 1, schedule="constant"), watch=reported.append)
    assert [p.learning_rate for p in reported] == [0.1] * 4


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.5, 0.5), (0, math.sqrt(300)), (100, math.sqrt(300))])
def test_gradients_are_scaled_down_to_clip_norm(clip_norm, expected):
    network, norms = Counter(), []
    fit(
        network,
        away,
        batches(1),
        lambda: 0.0,
        Plan(0.1, clip_norm, 1),
        watch=lambda _: norms.append(network.weight.grad.norm()),
    )
    assert norms[0].item() == pytest.approx(expected, rel=1e-5)


def test_minutes_end_a_run():
    start = time.perf_counter()
    outcome = fit(Counter(), away, batches(3), lambda: 0.0, Plan(0.1, 0, epochs=1, minutes=0.5 / 60))
    assert 0.5 <= time.perf_counter() - start < 5
    assert outcome.stopped == "finished" and outcome.history[-1]["epoch"] > 1
    assert outcome.history[-1]["learning_rate"] < 0.01


def test_slow_checks_leave_time_to_train_between_them(monkeypatch):
    now = 0.0

    def clock():
        nonlocal now
        now += 0.001
        return now

    def validate():
        nonlocal now
        now += 0.15
        return 0.0

    monkeypatch.setattr("unspool.train.loop.time", SimpleNamespace(perf_counter=clock))
    outcome = fit(Counter(), away, batches(3), validate, Plan(0.1, 0, 1, minutes=0.6 / 60, checks=6))
    steps = [line["step"] for line in outcome.history if line["validation"] is not None]
    assert len(steps) > 1 and all(b > a + 1 for a, b in itertools.pairwise(steps[:-1]))


@pytest.mark.parametrize(
    ("bad", "what"), [("loss", "loss"), ("gradient", "gradient"), ("validation", "validation loss")]
)
def test_what_is_not_finite_stops_the_run_with_the_best_weights(bad, what):
    network, kept, calls = Counter(), [], 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        value = away(outputs, targets)
        if calls == 6 and bad == "loss":
            return value * math.nan
        if calls == 6 and bad == "gradient":
            return value + torch.sqrt(0 * outputs.sum())
        return value

    def validate():
        kept.append(network.weight.detach().clone())
        return math.nan if bad == "validation" and len(kept) == 6 else 10.0 - len(kept)

    complaint = f"step 6: the {what} is not finite; .* weights of its best check"
    with pytest.raises(DivergedError, match=complaint) as caught:
        fit(network, loss, batches(10), validate, PLAN)
    assert "learning_rate smaller than 0.1" in str(caught.value) and "clip_norm of 1" in str(caught.value)
    assert caught.value.outcome.stopped == "diverged" and caught.value.outcome.best == 5
    torch.testing.assert_close(network.weight.detach(), kept[4], rtol=0, atol=0)


def test_diverged_at_once_leaves_the_first_weights():
    network = Counter()
    with pytest.raises(DivergedError, match=r"step 1: .* that it began with") as caught:
        fit(network, lambda o, t: o.sum() * math.inf, batches(10), lambda: 0.0, PLAN)
    assert caught.value.outcome.history == []
    assert network.weight.tolist() == [0, 0, 0]


def test_ctrl_c_ends_the_run_after_the_step():
    before = signal.getsignal(signal.SIGINT)
    network, checks = Counter(), []

    def watch(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    def validate():
        checks.append(network.weight.detach().clone())
        return 1.0 / len(checks)

    outcome = fit(network, away, batches(100), validate, PLAN, watch=watch)
    assert outcome.stopped == "interrupted" and [line["step"] for line in outcome.history] == [4]
    torch.testing.assert_close(network.weight.detach(), checks[0], rtol=0, atol=0)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_is_an_ordinary_one():
    def watch(progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(Counter(), away, batches(100), lambda: 0.0, PLAN, watch=watch)


def recurrent(cell="elman", hidden_size=8, **options):
    torch.manual_seed(0)
    front = {"kind": "embedding", "tokens": 5, "size": 4}
    layers = {"cell": cell, "hidden_size": hidden_size, "num_layers": 1, "dropout": 0.0}
    network = Network({"front": front, "recurrent": layers, "head": {"kind": "linear", "size": 5}})
    if options:
        network.recurrent = nn.Elman(4, hidden_size, **options)
    return network


def text(rows=4, length=10, steps=40):
    tokens = np.random.default_rng(0).integers(0, 5, rows * steps + 1).cumsum() % 5
    return Chunks(tokens, rows, length)


def newest():
    """A validation figure that makes each check the best one."""
    return -time.perf_counter()


def weights(network):
    return [p.detach().clone() for p in network.parameters()]


@pytest.mark.parametrize(("clip_norm", "clip_value"), [(0, 7.0), (6.0, 3.0), (6.0, 100.0)])
def test_gradients_are_clamped_to_clip_value_after_scaling(clip_norm, clip_value):
    network, seen, reported = Counter(), [], []

    def watch(progress):
        seen.append(network.weight.grad.clone())
        reported.append(progress)

    fit(network, away, batches(1), newest, Plan(0.1, clip_norm, clip_value=clip_value), watch=watch)
    expected = torch.full((3,), -10.0) * (clip_norm / math.sqrt(300) if clip_norm else 1)
    expected = expected.clamp(-clip_value, clip_value)
    torch.testing.assert_close(seen[0], expected)
    assert reported[0].gradient_norm == pytest.approx(math.sqrt(300))
    assert reported[0].clipped_norm == pytest.approx(expected.norm().item())


@pytest.mark.parametrize("schedule", ["linear", "constant", lambda done: 0.25])
@pytest.mark.parametrize("optimiser", ["sgd", lambda p, lr: torch.optim.SGD(p, lr)])
def test_optimiser_and_schedule(optimiser, schedule):
    network, reported = Counter(), []
    plan = Plan(0.125, optimiser=optimiser, schedule=schedule)
    fit(network, away, batches(4), newest, plan, watch=reported.append)
    factors = {"linear": [1, 0.75, 0.5, 0.25], "constant": [1] * 4}.get(schedule, [0.25] * 4)
    assert [p.learning_rate for p in reported] == [0.125 * factor for factor in factors]
    w = 0.0
    for factor in factors:
        w -= 0.125 * factor * 2 * (w - 5)
    assert network.weight.tolist() == pytest.approx([w] * 3)


def test_accumulated_batches_are_one_step_of_their_sum():
    whole, parts = recurrent(), recurrent()
    chunks = text(rows=4, length=40)
    columns = [[chunks.shard(rank, 2) for rank in range(2)][k] for k in (0, 1)]
    split = Listed(batch for half in columns for batch in half)
    steps = [fit(whole, cross_entropy, chunks, newest, Plan(0.1, optimiser="sgd"))]
    steps += [fit(parts, cross_entropy, split, newest, Plan(0.1, optimiser="sgd", accumulate=2))]
    assert [outcome.history[-1]["step"] for outcome in steps] == [1, 1]
    torch.testing.assert_close(weights(parts), weights(whole))


def test_patience_ends_a_run_that_gets_no_better():
    figures = iter([3.0, 2.0, 2.5, 2.0, 4.0, 1.0])
    outcome = fit(Counter(), away, batches(10), lambda: next(figures), Plan(0.1, patience=3))
    assert outcome.stopped == "early" and outcome.best == 2.0 and outcome.history[-1]["step"] == 5


def test_history_has_every_norm_before_and_after(tmp_path):
    plan = Plan(0.1, 0.2, epochs=3, log_steps=5, checks=2)
    outcome = fit(recurrent(), cross_entropy, text(), newest, plan, run=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == outcome.history
    assert [line["step"] for line in lines] == [4, 5, 8, 10, 12]  # each epoch, and each fifth step
    before = [norm for line in lines for norm in line["gradient_norms"]]
    after = [norm for line in lines for norm in line["clipped_norms"]]
    assert len(before) == len(after) == 12
    np.testing.assert_allclose(after, np.minimum(before, 0.2), rtol=1e-4)
    assert max(before) > 0.2 and all(line["tokens_per_second"] > 0 for line in lines)
    assert lines[0]["gradient_norm"] == pytest.approx(max(before[:4]), rel=1e-4)


def test_sigterm_ends_a_run_with_a_checkpoint_to_go_on_from(tmp_path):
    def watch(progress):
        if progress.step == 5:
            signal.raise_signal(signal.SIGTERM)

    plan = Plan(0.1, epochs=4)
    whole, parts = recurrent("gru"), recurrent("gru")
    fit(whole, cross_entropy, text(), newest, plan)
    outcome = fit(parts, cross_entropy, text(), newest, plan, watch=watch, run=tmp_path)
    assert outcome.stopped == "interrupted" and outcome.history[-1]["step"] == 6
    outcome = fit(parts, cross_entropy, text(), newest, plan, run=tmp_path, resume=True)
    assert outcome.stopped == "finished" and outcome.history[-1]["step"] == 16
    again = recurrent("gru")
    fit(again, cross_entropy, text(), newest, plan, run=tmp_path, resume=True)  # the run is finished already
    for network in (parts, again):
        torch.testing.assert_close(weights(network), weights(whole), rtol=0, atol=0)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path, identity="hamlet")
    with pytest.raises(
        FolderError, match="was made by another run: that was 'hamlet', and this one is 'macbeth'; go on with the same"
    ):
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path, identity="macbeth", resume=True)
    (tmp_path / "history.jsonl").write_text("")
    with pytest.raises(FolderError, match=r"history.jsonl: has 0 of \d+ lines; put it back"):
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path, identity="hamlet", resume=True)


def test_a_gradient_that_explodes_is_located(tmp_path):
    network = recurrent(nonlinearity="relu")
    with torch.no_grad():
        network.recurrent.weight_hh_l0.copy_(40 * torch.eye(8))
        network.recurrent.weight_ih_l0.abs_()
    with pytest.raises(DivergedError) as caught:
        fit(network, lambda o, t: (o * 1e-30).square().sum(), text(length=40), newest, Plan(0.01), run=tmp_path)
    message = str(caught.value)
    assert "training stopped at step 1: the loss is not finite; the gradient of front.weight, " in message
    assert re.search(r"the loss of time step 2\d of 40 is the first that is not finite", message)
    assert "try a learning_rate smaller than 0.01, or a clip_norm of 1" in message


def test_a_blow_up_names_parameter_time_step_and_norms():
    network = recurrent()
    calls = 0

    def loss(logits, targets):
        nonlocal calls
        calls += 1
        value = cross_entropy(logits, targets)
        if calls > 3 and len(targets) in (10, 1):
            # The slope is infinite at a value of zero, in the seventh of ten time steps.
            at = 6 if len(targets) == 10 else 0
            if len(targets) == 10 or calls == 5 + 6:
                value = value + torch.sqrt(0 * logits[at].sum())
        return value

    with pytest.raises(DivergedError) as caught:
        fit(network, loss, text(), newest, Plan(0.01, 1.0))
    message = str(caught.value)
    assert "stopped at step 4: the gradient is not finite; the gradient of front.weight, " in message
    assert "the gradient by the state is not finite from time step 5 of 10 backwards, having grown from" in message
    assert re.search(r"gradient norms before: [\d.]+, [\d.]+, [\d.]+;", message)
    assert "a clip_norm smaller than 1" in message


def test_parameters_that_are_not_finite_are_named():
    network = recurrent()
    with torch.no_grad():
        network.recurrent.bias_hh_l0[3] = math.inf
    with pytest.raises(DivergedError, match=r"recurrent.bias_hh_l0 is not finite itself"):
        fit(network, lambda o, t: (o - o).sum() + math.nan, text(), newest, Plan(0.01))


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precision(precision):
    from unspool.train.ranks import launch

    network, plain = recurrent("gru", 16), recurrent("gru", 16)
    if precision == "64-true":
        network.double()
    plan = Plan(0.01, epochs=20)
    outcome = fit(network, cross_entropy, text(), newest, plan, fabric=launch(precision=precision))
    theirs = fit(plain, cross_entropy, text(), newest, plan)
    first, last = outcome.history[0]["loss"], outcome.history[-1]["loss"]
    assert last < 0.95 * first and last != theirs.history[-1]["loss"]
    assert last == pytest.approx(theirs.history[-1]["loss"], rel=0.02)


def scaling(scale):
    """A Fabric with 16-mixed precision on the CPU, although Fabric itself has it for GPUs only."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))


def test_scaled_gradients_are_clipped_unscaled_and_overflows_skipped():
    reported, plain = [], []
    plan = Plan(0.01, 0.05, epochs=10, log_steps=1)
    theirs = fit(recurrent("gru", 16), cross_entropy, text(), newest, plan, watch=plain.append)
    ours = fit(recurrent("gru", 16), cross_entropy, text(), newest, plan, watch=reported.append, fabric=scaling(2.0**4))
    np.testing.assert_allclose([p.gradient_norm for p in reported], [p.gradient_norm for p in plain], rtol=0.05)
    assert max(p.clipped_norm for p in reported) == pytest.approx(0.05, rel=1e-3)
    assert ours.history[-1]["loss"] == pytest.approx(theirs.history[-1]["loss"], rel=0.02)
    skipped = fit(recurrent("gru", 16), cross_entropy, text(), newest, plan, fabric=scaling(2.0**24))
    lengths = [len(line["gradient_norms"]) for line in skipped.history]
    assert lengths[0] == 0 and lengths[-1] == 1 and len(lengths) == 40


def test_a_run_goes_on_with_its_scale(tmp_path):
    def watch(progress):
        if progress.step == 6:
            signal.raise_signal(signal.SIGTERM)

    plan = Plan(0.01, epochs=4)
    whole, parts = recurrent("gru"), recurrent("gru")
    fit(whole, cross_entropy, text(), newest, plan, fabric=scaling(2.0**24))
    fit(parts, cross_entropy, text(), newest, plan, watch=watch, run=tmp_path, fabric=scaling(2.0**24))
    fit(parts, cross_entropy, text(), newest, plan, run=tmp_path, resume=True, fabric=scaling(2.0**24))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=0)


def of_tokens(tokens, targets=None):
    x = np.full((6, 3), tokens)
    return Batch(x, x if targets is None else np.full((6, 3), targets), True)


def test_a_batch_without_targets_is_no_step_of_the_scale():
    reported, plan = [], Plan(0.01, schedule="constant")
    given = Listed([of_tokens(1), of_tokens(1, NO_TARGET), of_tokens(2)])
    fit(recurrent("gru"), cross_entropy, given, newest, plan, watch=reported.append, fabric=scaling(16.0))
    assert len(reported) == 3 and math.isfinite(reported[-1].loss)


def test_a_blow_up_is_looked_for_in_all_batches_of_the_step(tmp_path):
    def loss(outputs, targets):
        return cross_entropy(outputs, targets) * (math.inf if (targets == 4).any() else 1)

    given = Listed([*[of_tokens(k % 3) for k in range(10)], of_tokens(4), of_tokens(1)])
    with pytest.raises(DivergedError, match=r"step 6: the loss .*; the loss of time step 0 of 6 is the first"):
        fit(recurrent(), loss, given, newest, Plan(0.01, accumulate=2, checks=1), run=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [len(line["gradient_norms"]) for line in lines] == [5]


def test_the_last_good_checkpoint_is_named_and_goes_on(tmp_path):
    bad = [True]

    def loss(outputs, targets):
        return cross_entropy(outputs, targets) * (math.inf if bad[0] and (targets == 4).all() else 1)

    given = Listed([*[of_tokens(k % 3) for k in range(11)], of_tokens(4)])
    plan = Plan(0.01, checks=3)
    with pytest.raises(DivergedError, match=f"the last good checkpoint is {tmp_path / 'last.checkpoint'}"):
        fit(recurrent(), loss, given, newest, plan, run=tmp_path)
    bad[0] = False
    mended, whole = recurrent(), recurrent()
    outcome = fit(mended, loss, given, newest, plan, run=tmp_path, resume=True)
    fit(whole, loss, given, newest, plan)
    assert outcome.stopped == "finished"
    torch.testing.assert_close(weights(mended), weights(whole), rtol=0, atol=0)


def test_tied_weights_are_saved(tmp_path):
    def tied():
        torch.manual_seed(0)
        network = recurrent(hidden_size=4)
        network.head.weight = network.front.weight
        return network

    plan = Plan(0.01, epochs=2)
    whole, parts = tied(), tied()
    fit(whole, cross_entropy, text(), newest, plan)
    fit(parts, cross_entropy, text(), newest, plan, run=tmp_path)
    again = tied()
    fit(again, cross_entropy, text(), newest, plan, run=tmp_path, resume=True)
    for network in (parts, again):
        torch.testing.assert_close(weights(network), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"learning_rate": 0}, "learning_rate must be a number more than 0"),
        ({"clip_norm": -1}, "clip_norm must be a number of at least 0; got -1"),
        ({"clip_value": math.nan}, "clip_value must be a number of at least 0; got nan"),
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
        ({"minutes": 0}, "minutes must be a number more than 0"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1"),
        ({"patience": -1}, "patience must be an integer of at least 0"),
        ({"optimiser": "adma"}, "optimiser must be one of adam, "),
        ({"schedule": "cos"}, "schedule must be one of cosine, linear, constant; got 'cos'"),
    ],
)
def test_a_plan_that_cannot_be(options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        Plan(**{"learning_rate": 0.1} | options)


def test_nothing_to_train(tmp_path):
    with pytest.raises(DataError, match="batches must have at least one batch to train on; got none"):
        fit(recurrent(), cross_entropy, Chunks(np.array([1]), 4, 10), newest, Plan(0.1))
    with pytest.raises(
        UnspoolError, match="the network must have a parameter to train, but has none, or all are frozen"
    ):
        fit(recurrent().requires_grad_(False), cross_entropy, text(), newest, Plan(0.1))
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="file/run: cannot be written"):
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path / "file" / "run")


def test_gradients_that_overflow_at_every_scale_are_a_blow_up(monkeypatch):
    monkeypatch.setattr("unspool.train.loop._OVERFLOWS", 5)
    plan = Plan(0.01, epochs=9)
    with pytest.raises(DivergedError, match="step 6: the gradient is not finite"):
        fit(recurrent("gru"), lambda o, t: o.sum() + torch.sqrt(0 * o.sum()), text(), newest, plan, fabric=scaling(4.0))


def test_a_precision_that_the_device_has_not_is_refused():
    from unspool.train.ranks import launch

    with pytest.raises(UnspoolError, match=r"2 nodes .* give each machine MASTER_ADDR, MASTER_PORT, NODE_RANK in its"):
        launch(nodes=2, accelerator="cpu")
    complaint = "in 16-mixed cannot be started: 16-mixed needs another accelerator than cpu"
    with pytest.raises(UnspoolError, match=complaint):
        launch(precision="16-mixed", accelerator="cpu")


def test_tensorboard_is_told_the_history(tmp_path):
    pytest.importorskip("tensorboard", reason="the track extra is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = fit(recurrent(), cross_entropy, text(), newest, Plan(0.1, epochs=2), tensorboard=tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in ("loss", "validation", "gradient_norm", "learning_rate"):
        reported = [(event.step, event.value) for event in events.Scalars(name)]
        assert reported == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in outcome.history]


def test_a_checkpoint_of_another_version_is_no_traceback(tmp_path):
    """What it lacks has a default or is named; what it has more is named; what it cannot mean is refused."""

    def resumed():
        return fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path, resume=True)

    whole = fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path)
    path = tmp_path / "last.checkpoint"
    tensors, progress = checkpoint.read(path)
    history = (tmp_path / "history.jsonl").read_bytes()
    at = progress["at"]
    for absent in ("tokens", "waited", "best", "recent", "overflows"):
        checkpoint.write(path, tensors, progress | {"at": {k: v for k, v in at.items() if k != absent}})
        assert resumed().history == whole.history
    window, optimiser = progress["recorder"]["window"], progress["optimiser"]
    bad = [
        ({"at": at | {"colour": 1}}, "'colour', which this version does not know"),
        ({"at": at | {"index": 10**9}}, "the index of the next batch must be an integer from 0 to"),
        ({"at": at | {"epoch": "1"}}, "epoch must be an integer"),
        ({"at": at | {"seconds": None}}, "seconds must be a number"),
        ({"at": at | {"recent": ["x"]}}, "a norm or the best check must be a number"),
        ({"at": {k: v for k, v in at.items() if k != "epoch"}}, "epoch"),
        ({"at": []}, "last.checkpoint"),
        ({"recorder": {"lines": -1, "window": window}}, "lines must be an integer"),
        ({"recorder": {"lines": 1, "window": window | {"colours": []}}}, "colours"),
        ({"recorder": {"lines": 1, "window": window | {"losses": "x"}}}, "a loss or a norm must be a number"),
        ({"optimiser": {}}, "'state' is missing"),
        ({"threads": 0}, "threads must be an integer"),
        ({"optimiser": optimiser | {"groups": []}}, "last.checkpoint"),
        ({"shape": [0, 0, 0, 0]}, "last.checkpoint"),
    ]
    for name in progress.keys() - {"scaler", "threads"}:
        bad.append(({name: None}, "."))
    for changes, complaint in bad:
        checkpoint.write(path, tensors, progress | changes)
        if changes in ({"shape": None},):
            continue  # a state that is not carried
        with pytest.raises(FolderError, match=complaint) as caught:
            resumed()
        assert str(tmp_path) in str(caught.value)
    for name in ("identity", "at", "recorder", "optimiser", "shape"):
        checkpoint.write(path, tensors, {k: v for k, v in progress.items() if k != name})
        with pytest.raises(FolderError, match=f"'{name}' is missing"):
            resumed()
    for name in [name for name in tensors if name.startswith(("network", "best", "random"))]:
        checkpoint.write(path, {k: v for k, v in tensors.items() if k != name}, progress)
        with pytest.raises(FolderError, match="finish the run with the version of unspool that began it"):
            resumed()
    checkpoint.write(path, tensors, progress)
    for torn in (history[:-5], b"[]\n" + history, b"{}\n" + history):
        (tmp_path / "history.jsonl").write_bytes(torn)
        with pytest.raises(FolderError, match=r"history\.jsonl"):
            resumed()


def test_a_checkpoint_of_other_data_or_options_says_which(tmp_path):
    identity = {"task": "t", "learning_rate": 0.1, "tbptt": (3, 4), "sha256": "a" * 64}

    def run(**changes):
        now = {k: v for k, v in (identity | changes).items() if v is not None}
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=tmp_path, identity=now, resume=True)

    run()
    run(learning_rate=np.float64(0.1))
    for changes, said in (
        ({"sha256": "b" * 64}, "was made by another run: the data have changed; go on"),
        ({"learning_rate": 0.2}, "another run: learning_rate was 0.1, and is 0.2; go on"),
        ({"tbptt": None, "sha256": ""}, r"the data have changed; tbptt was \[3, 4\], and is 'nothing'; go on"),
    ):
        with pytest.raises(FolderError, match=said):
            run(**changes)


HOLDS = """
import sys, time
from pathlib import Path
from unspool.train.run_folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_folder_is_for_one_run(tmp_path):
    run = tmp_path / "m.run"

    def train():
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=run)

    with subprocess.Popen([sys.executable, "-c", HOLDS, str(run)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            with pytest.raises(
                FolderError, match=rf"m\.run: is in use by process {process.pid} of .*; wait for its end"
            ):
                train()
            assert sorted(p.name for p in run.iterdir()) == ["lock"]
        finally:
            process.kill()
    train()  # the system has taken the lock away
    with held(run), held(run):
        train()
        with ThreadPoolExecutor(1) as pool, pytest.raises(FolderError, match=f"in use by process {os.getpid()} of"):
            pool.submit(train).result()
    assert sorted(p.name for p in run.iterdir()) == ["history.jsonl", "last.checkpoint"]


@pytest.mark.parametrize("name", ["history.jsonl", "last.checkpoint", "lock", "."])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_written_through_what_somebody_else_has_put_there(tmp_path, name, kind):
    run, other = tmp_path / "m.run", tmp_path / "other"
    other.mkdir()
    for file in ("history.jsonl", "last.checkpoint", "lock"):
        (other / file).write_text("another's")
    if name != ".":
        run.mkdir()
    place = run / name if name != "." else run
    if kind == "link":
        place.symlink_to(other / name)
    else:
        os.mkfifo(place)
    if name == "last.checkpoint":  # it is removed
        fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=run)
    else:
        with pytest.raises(FolderError, match="cannot be written"):
            fit(recurrent(), cross_entropy, text(), newest, Plan(0.1), run=run)
    assert {p.read_text() for p in other.iterdir()} == {"another's"}
