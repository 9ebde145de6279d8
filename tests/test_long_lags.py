"""The long time lags: the sequences, how the figures are counted, and a short lag that is learnt."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import nn
from unspool.data.batches import NO_TARGET, Batch
from unspool.train import Plan, fit

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import lag_data as data
import long_lags as lags


def rng(seed=0):
    return np.random.default_rng(seed)


def test_reber_strings_are_of_the_grammar_and_others_are_refused():
    for string in (data.reber(rng(seed)) for seed in range(200)):
        assert string[:1] + string[2:3] + string[-3:-2] + string[-1:] == "BBEE"
        assert string[1] == string[-2]
        assert data.reber_nats(string) > 0
        other = string[:-2] + "TP"[string[-2] == "T"] + "E"
        with pytest.raises(KeyError):
            data.reber_nats(other)
    with pytest.raises(KeyError):
        data.reber_nats("BTBTXVETE")  # V cannot follow T X


def test_reber_optimum_is_seven_choices():
    """The expected number of choices from each state on is one plus that of the two states that may follow."""
    following = np.zeros((7, 7))
    for state, ways in data.GRAMMAR.items():
        for way in ways:
            following[state, int(way[1])] += 0.5
    choices = np.linalg.solve(np.eye(7) - following, np.arange(7) % 6 > 0)
    np.testing.assert_allclose(data.OPTIMUM, (1 + choices[1]) * math.log(2), rtol=1e-12)
    drawn = np.mean([data.reber_nats(data.reber(rng(seed))) for seed in range(4000)])
    assert abs(drawn - data.OPTIMUM) < 0.1  # four standard deviations


class Oracle(torch.nn.Module):
    """A network that knows the grammar, and the long link or not."""

    def __init__(self, link):
        super().__init__()
        self.unused, self.link = torch.nn.Parameter(torch.zeros(1)), link

    def forward(self, x, state=None, *, lengths):
        logits = torch.full((*x.shape, len(data.SYMBOLS)), -100.0, dtype=torch.float64)
        for b, length in enumerate(lengths):
            string = "".join(data.SYMBOLS[token] for token in x[:length, b])
            for t, symbols in enumerate(self.expected(string)):
                for symbol in symbols:
                    logits[t, b, data.SYMBOLS.index(symbol)] = 0
        return logits, None

    def expected(self, string):
        state = 1
        yield "TP"
        yield "B"
        for symbol in string[2:-2]:
            state = {way[0]: int(way[1]) for way in data.GRAMMAR[state]}[symbol] if symbol != "B" else state
            yield "E" if state == 6 else [way[0] for way in data.GRAMMAR[state]]
        yield string[1] if self.link else "TP"
        yield "E"


@pytest.mark.parametrize(("link", "nats", "right"), [(True, 7, 1), (False, 8, 0)])
def test_reber_figures_of_a_network_that_knows_the_grammar(link, nats, right):
    figures = lags.judge_reber(Oracle(link), [data.draw_reber(rng(), 50)])
    assert figures == pytest.approx({"nats": nats * math.log(2), "link": right}, abs=1e-6)


def test_adding_has_two_marks_and_their_sum():
    T, rows = 100, 500
    batch = data.draw_adding(T, rng(), rows)
    starts = set()
    for b, length in enumerate(batch.lengths):
        values, marks = batch.inputs[:length, b].T
        assert T <= length <= T + T // 10
        assert marks[0] == marks[-1] == -1
        marked = np.flatnonzero(marks == 1)
        if len(marked) == 1:  # the other is the first step, of value 0
            assert values[0] == 0
            marked = np.append(0, marked)
        assert len(marked) == 2 and marked[0] < 10 and marked[1] < T // 2
        np.testing.assert_allclose(batch.targets[b], 0.5 + values[marked].sum() / 4, rtol=1e-6)
        starts.add(marked[0])
    assert starts == set(range(10))


@pytest.mark.parametrize("draw", [data.draw_order, lambda rng, rows: data.draw_pascanu(50, rng, rows)])
def test_order_is_that_of_the_two_symbols(draw):
    batch = draw(rng(), 300)
    for b, target in enumerate(batch.targets):
        column = batch.inputs[: batch.lengths[b] if batch.lengths is not None else None, b]
        relevant = column[(column == 4) | (column == 5)]
        assert len(relevant) == 2
        assert target == 2 * (relevant[0] == 5) + (relevant[1] == 5)
    assert np.bincount(batch.targets).min() > 40


def test_lags_are_the_published_ones():
    batch = data.draw_order(rng(), 500)
    assert (batch.lengths.min(), batch.lengths.max()) == (100, 110)
    for column, length in zip(batch.inputs.T, batch.lengths, strict=True):
        first, second = np.flatnonzero((column == 4) | (column == 5))
        assert 10 <= first <= 20 and 50 <= second <= 60
        assert column[0] == 6 and column[length - 1] == 7
    steps = np.nonzero(data.draw_pascanu(200, rng(), 500).inputs.T > 3)[1].reshape(-1, 2)
    assert [steps[:, k].min() for k in (0, 1)] == [20, 80]
    assert [steps[:, k].max() for k in (0, 1)] == [39, 99]


def test_drawn_batches_depend_on_seed_rank_and_place_alone():
    def tokens(seed, start=0, rank=0):
        drawn = data.Drawn(lambda i: data.draw_order, 8, 5, seed).shard(rank, 2)
        return [batch.targets.tolist() for batch in drawn.epoch(0, start)]

    assert tokens(1)[3:] == tokens(1, start=3)
    assert tokens(1) != tokens(2) and tokens(1) != tokens(1, rank=1)


def test_windows_of_one_step_are_whole_strings():
    steps = data.Steps(2, 300, seed=0)
    batches = list(steps.epoch(0))
    inputs, targets, reset = (np.concatenate([batch[k] for batch in batches])[:, 1] for k in (0, 1, 4))
    begins = np.flatnonzero(reset)
    assert begins[0] == 0 and not any(batch.fresh for batch in batches[1:])
    for begin, end in pairwise(begins):
        string = "".join(data.SYMBOLS[token] for token in [inputs[begin], *targets[begin:end]])
        assert data.reber_nats(string) > 0
        assert (inputs[begin + 1 : end] == targets[begin : end - 1]).all()
    assert steps.sequences(300) == sum(int(batch.reset.sum()) for batch in batches)
    (alone,) = {batch.inputs.shape for batch in steps.shard(1, 2).epoch(0)}
    assert alone == (1, 1)


def test_a_verdict_says_what_was_not_reached():
    good, bad = {"nats": 4.9, "link": 1.0}, {"nats": 5.5, "link": 0.5}
    results = [lags.Result(0, seed, 100, figures, "finished", 1.0) for seed, figures in enumerate([good, bad])]
    assert lags.verdict(0, results[:1]).endswith(": reached")
    assert lags.verdict(0, results).endswith(": NOT REACHED by 1 of 2 seeds")
    assert "100 sequences" in lags.line(results[0]) and "4.9" in lags.line(results[0])


LAG = 20


def draw_recall(rng, rows):
    """The target of the last step is the first token, 0 or 1; the tokens after it are others."""
    tokens = rng.integers(2, 4, (LAG, rows))
    tokens[0] = rng.integers(0, 2, rows)
    targets = np.full_like(tokens, NO_TARGET)
    targets[-1] = tokens[0]
    return Batch(tokens, targets)


class Windows(data.Drawn):
    """The same batches, in windows of one step."""

    def epoch(self, number, start=0):
        for batch in super().epoch(number):
            for t in range(LAG):
                yield Batch(batch.inputs[t : t + 1], batch.targets[t : t + 1], fresh=t == 0)

    def __len__(self):
        return LAG * self.updates


def nats_after(batches, layer):
    network = lags.Reader(layer, 2, each_step=True)
    test = draw_recall(rng(99), 256)

    def ends():
        [(logits, targets, _)] = lags.read(network, [test])
        return (lags.entropy(logits, targets) / 256).item()

    fit(network, lags.entropy, batches, ends, Plan(0.01, 1.0))
    return ends()


def test_a_lag_is_learnt_through_time_and_not_with_truncation_at_one_step():
    torch.manual_seed(0)
    assert nats_after(data.Drawn(lambda i: draw_recall, 32, 200, 0), lags.chrono(nn.LSTM(4, 8), LAG)) < 0.05
    assert nats_after(Windows(lambda i: draw_recall, 32, 40, 0), nn.Elman(4, 8)) > 0.6  # ln 2 is chance


def test_omega_gradient_is_that_of_its_definition():
    """By eager steps: the derivative of Ω by W, with errors and states held constant, is what W's gradient gains."""
    torch.manual_seed(1)
    x, targets = torch.randint(6, (7, 3)), torch.randint(4, (3,))
    gradients = []
    for omega in (0.0, 4.0):
        torch.manual_seed(0)
        network = lags.Preserving(6, 5, 4, omega).double()
        logits, _ = network(x)
        lags.entropy(logits, targets).backward()
        gradients.append(network.weight.grad)
    h, before, states = torch.zeros(3, 5, dtype=torch.float64), [], []
    for t in range(7):
        before.append(network.embedding(x[t]) + h @ network.weight.T)
        states.append(h := before[-1].tanh())
    deltas = torch.autograd.grad(lags.entropy(network.head(h), targets), before)
    omega = sum(
        (
            (
                ((deltas[t + 1] @ network.weight) * (1 - states[t].detach() ** 2)).norm(dim=-1)
                / deltas[t + 1].norm(dim=-1)
            )
            ** 2
            - 1
        )
        .square()
        .sum()
        for t in range(6)
    )
    (wanted,) = torch.autograd.grad(4 * omega / 6, network.weight)
    torch.testing.assert_close(gradients[1] - gradients[0], wanted, rtol=1e-10, atol=1e-12)
