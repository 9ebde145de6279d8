"""The training loop."""

import itertools
import math
import signal
import time

import numpy as np
import pytest
import torch

from unspool.data.batches import NO_TARGET, Batch
from unspool.errors import DivergedError
from unspool.fit import Plan, fit


class Counter(torch.nn.Module):
    """output = weight; the state counts the batches since the last fresh one."""

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
    told = []
    fit(Counter(), away, batches(4), lambda: 7.0, Plan(0.1, 0, epochs=2, checks=2), watch=told.append)
    assert [p.step for p in told] == list(range(1, 9))
    assert [p.epoch for p in told] == [i / 4 for i in range(1, 9)]
    assert [p.tokens for p in told] == list(range(1, 9))
    assert [p.validation for p in told] == [None, None, None, 7, None, None, None, 7]
    assert told[0].loss == 75 and told[1].loss < 75
    assert told[4].loss < told[3].loss
    assert told[0].gradient_norm == pytest.approx(math.sqrt(300))


def test_learning_rate_follows_the_schedule():
    told = []
    fit(Counter(), away, batches(4), lambda: 0.0, Plan(0.1, 0, 1), watch=told.append)
    np.testing.assert_allclose([p.learning_rate for p in told], 0.05 * (1 + np.cos(np.pi * np.arange(4) / 4)))
    told.clear()
    fit(Counter(), away, batches(4), lambda: 0.0, Plan(0.1, 0, 1, schedule="constant"), watch=told.append)
    assert [p.learning_rate for p in told] == [0.1] * 4


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


def test_slow_checks_leave_time_to_train_between_them():
    def validate():
        time.sleep(0.15)
        return 0.0

    outcome = fit(Counter(), away, batches(3), validate, Plan(0.1, 0, 1, minutes=0.6 / 60, checks=6))
    steps = [line["step"] for line in outcome.history]
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

    with pytest.raises(DivergedError, match=f"step 6: the {what} is not finite; .* weights that were best") as caught:
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
