"""A cell of one's own goes to every door: each serves it, or refuses it by name in one sentence."""

import re
from dataclasses import dataclass
from typing import ClassVar

import laws
import pytest
import saved
import torch
from laws import F32, F64, OPTIONS, Case

import unspool
from unspool import LanguageModel, UnspoolError, cells, network, nn, ops
from unspool.cells import GRU, Cell, Facts, Weights, drop, kernel_of, library, linear, linear_backward
from unspool.cli import main as cli
from unspool.nn.recurrent import Recurrent, Shared, torch_names
from unspool.onnx import graph
from unspool.onnx.export import export
from unspool.saved.architecture import parse

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")


@dataclass(frozen=True)
class Edge(Cell):
    """An edge detector: the difference of two leaky averages, one slower than the other.

        u = tanh(a + m W_hh' + b_hh)
        c = (1 - α) c + α u
        d = (1 - β) d + β c
        h = c - d

    Args:
        α, β: how much of the new value each average takes.
    """

    α: float = 0.5
    β: float = 0.25
    facts: ClassVar[Facts] = Facts("edge", states=("h", "c", "d"))

    def step(self, a, state, w, mask=None):
        h, c, d = state
        m = drop(h, mask)
        u = library(a).tanh(a + linear(m, w.w_hh, w.b_hh))
        c = (1 - self.α) * c + self.α * u
        d = (1 - self.β) * d + self.β * c
        return (c - d, c, d), (m, u, mask)

    def step_backward(self, dstate, saved, w):
        """
        dd = dd - dh
        dc = dc + dh + β dd
        da = α dc ∘ (1 - u²)
        dm = da W_hh
        """
        dh, dc, dd = dstate
        m, u, mask = saved
        dd = dd - dh
        dc = dc + dh + self.β * dd
        da = self.α * dc * (1 - u * u)
        dm, dw_hh, db_hh = linear_backward(da, m, w.w_hh, w.b_hh)
        return da, (drop(dm, mask), (1 - self.α) * dc, (1 - self.β) * dd), Weights(None, dw_hh, b_hh=db_hh)


class EdgeLayer(Recurrent):
    """What somebody writes who wants a layer of such a cell."""

    def __init__(self, input_size, hidden_size, num_layers=1, bidirectional=False, **options):
        shared = Shared(input_size, hidden_size, num_layers, True, False, 0.0, bidirectional, None, None)
        super().__init__(Edge(), torch_names(bias=True), shared, **options)


class Leaky(Cell):
    """The shortest cell: h = (h + tanh(a + h W_hh')) / 2, with no derivative of its own."""

    facts = Facts("leaky")

    def step(self, a, state, w, mask=None):
        return ((state[0] + library(a).tanh(a + linear(state[0], w.w_hh, w.b_hh))) / 2,), ()


CASE = Case(Edge())
each_option = pytest.mark.parametrize("option", OPTIONS, ids="+".join)
each_backend = pytest.mark.parametrize("backend", ["reference", "eager"])


def plain_edge(cell, a, m, state, w):
    u = torch.tanh(a + w.w_hh @ m + (0 if w.b_hh is None else w.b_hh))
    c = state[1] + cell.α * (u - state[1])
    d = state[2] + cell.β * (c - state[2])
    return c - d, c, d


# The laws


@pytest.mark.parametrize("option", ["", "mask", "no bias", "input bias only", "hidden bias only", "tokens"])
def test_step_backward_is_autograd_of_step(option):
    laws.law_step_backward_is_autograd(laws.make(CASE, (option,), (1, 5, 3, 4)))


@each_option
def test_reference_equals_plain_loop(option, monkeypatch):
    monkeypatch.setitem(laws.PLAIN, "edge", plain_edge)
    laws.law_equals_plain_loop(laws.make(CASE, option))


@each_backend
@pytest.mark.parametrize("option", [(), OPTIONS[-1]], ids="+".join)
def test_derivatives(option, backend):
    trial = laws.make(CASE, option, (3, 2, 2, 3))
    laws.law_gradcheck(trial, backend, second=backend == "eager")
    laws.law_gradients_one_at_a_time(trial, backend)


@each_backend
@each_option
def test_errors_cuts_lengths_and_resets(option, backend):
    trial = laws.make(CASE, option, (9, 3, 2, 5))
    laws.law_error([trial], backend, F32)
    if "lengths" not in option:
        laws.law_cut(trial, backend, [2, 3, 7])
    if {"lengths", "reset"} & {*option}:
        laws.law_alone(trial, backend)


@each_backend
def test_options_of_the_cell_matter(backend):
    plain = laws.make(CASE)
    for other in (Edge(α=0.9), Edge(β=0.9)):
        laws.law_option_matters(plain.change(cell=other).run(backend), plain.run(backend))


# The doors that serve it


def test_auto_trains_it():
    """Weights that begin elsewhere learn what others make of the same input."""
    x = laws.make(CASE, size=(20, 8, 3, 5)).problem.x
    teacher, w = (laws.make(CASE, size=(1, 1, 3, 5), seed=seed).problem.weights for seed in (1, 2))
    wanted, _ = ops.run(Edge(), x, None, teacher)
    parameters = [v.requires_grad_() for v in w if v is not None]
    assert ops.which(Edge(), x, w) == "eager"
    optimiser, losses = torch.optim.Adam(parameters, 0.03), []
    for _ in range(60):
        y, _ = ops.run(Edge(), x, None, w, backend="auto")
        loss = (y - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_a_cell_without_a_derivative_has_torchs():
    trial = laws.make(Case(Leaky()), ("no bias", "reset", "lengths"))
    laws.law_gradcheck(trial, "auto", second=True)
    assert not trial.possible("reference") and not trial.possible("native") and not trial.possible("torch")
    with pytest.raises(UnspoolError, match=r"the reference needs a step_backward, and Leaky\(\) has none$"):
        trial.run("reference")
    with pytest.raises(NotImplementedError, match="Leaky has no step_backward"):
        Leaky().step_backward((), (), trial.problem.weights)
    nothing = type("Nothing", (Cell,), {"facts": Facts("nothing")})()
    with pytest.raises(NotImplementedError, match="Nothing has no step"):
        trial.change(cell=nothing).run("auto")


def test_a_layer_of_it_is_a_layer():
    layer = EdgeLayer(3, 4, 2, bidirectional=True, learn_initial_state=True).double()
    assert nn.replace(torch.nn.Sequential(layer))[0] is layer
    x, lengths = torch.randn(5, 3, 3, dtype=F64), [5, 1, 3]
    y, (h, c, d) = layer(x, lengths=torch.tensor(lengths))
    assert h.shape == c.shape == d.shape == (4, 3, 4)
    for b, n in enumerate(lengths):
        torch.testing.assert_close(y[:n, b], layer(x[:n, b])[0])
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    forward = EdgeLayer(3, 4, 2).double()
    y, state = forward(x[:4])
    torch.testing.assert_close(torch.cat([y, forward.step(x[4], state)[0][None]]), forward(x)[0])
    assert {name.split("_l")[0] for name, _ in layer.named_parameters()} == {
        *("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
        *("initial_h", "initial_c", "initial_d"),
    }


# The doors that refuse it


def configuration():
    return saved.config(cell="edge")


def of_another_cell(tmp_path):
    """A saved folder that says it is of this cell."""
    _, path = saved.saved(tmp_path / "m", saved.config(cell="elman"))
    saved.edit_config(path, network=configuration())
    return path


def refusals():
    _, x, state, weights, *_ = laws.make(CASE).problem
    cell_of_networks = "cell must be one of elman, jordan, gru, lstm, tdnn; got 'edge'"
    architecture = parse(saved.config(cell="elman"))._replace(cell="edge")
    edge = re.escape(str(Edge()))
    return {
        "native": (
            lambda _: ops.run(Edge(), x, state, weights, backend="native"),
            f"backend='native' cannot run this: native has no kernel of {edge}",
        ),
        "torch": (
            lambda _: ops.run(Edge(), x, state, weights, backend="torch"),
            f"backend='torch' cannot run this: torch's kernels have no {edge}",
        ),
        "layer": (
            lambda _: EdgeLayer(5, 5, backend="native")(x.new_zeros(2, 1, 5).float()),
            f"backend='native' cannot run this: native has no kernel of {edge}",
        ),
        "kernel": (lambda _: kernel_of(Edge()), f"cell must have a kernel in C\\+\\+; got {edge}, which has none"),
        "kernel of another version": (
            lambda _: cells.cell_of("edge", "tanh", "identity"),
            "kernel must be one of elman, jordan, gru, gru_reset_before, lstm, lstm_without_forget; got 'edge'",
        ),
        "network": (lambda _: network.Network(configuration()), cell_of_networks),
        "stream": (lambda path: unspool.load(of_another_cell(path)), cell_of_networks),
        "onnx": (lambda path: export(of_another_cell(path), path / "m.onnx"), cell_of_networks),
        "graph": (
            lambda _: graph.model(architecture, {}, {}),
            "cell of an ONNX file must be one of elman, gru, lstm, jordan, tdnn; got 'edge'",
        ),
        "language model": (
            lambda _: LanguageModel(cell="edge").fit("to be, or not to be: " * 20),
            "cell must be one of elman, jordan, gru, lstm, tdnn, mlp; got 'edge'",
        ),
    }


@pytest.mark.parametrize("door", refusals())
def test_it_is_refused_by_name(door, tmp_path):
    call, message = refusals()[door]
    with pytest.raises(UnspoolError, match=message):
        call(tmp_path)


def test_a_configuration_that_is_known_too_early(monkeypatch):
    """Where the reader of configurations knows a cell, front or head before the others do, they refuse it by name."""
    known = parse(saved.config(cell="elman"))
    fronts = "one-hot, embedding, dense, image, sound"
    for part, kinds in (("cell", "elman, jordan, gru, lstm, tdnn"), ("front", fronts)):
        monkeypatch.setattr(network, "parse", lambda _, part=part: known._replace(**{part: "edge"}))
        with pytest.raises(UnspoolError, match=f"^{part} must be one of {kinds}; got 'edge'$"):
            network.Network({})
        with pytest.raises(UnspoolError, match=f"^{part} of an ONNX file must be one of .*; got 'edge'$"):
            graph.model(known._replace(**{part: "edge"}), {}, {})
    s = torch.zeros(1, 2)
    with pytest.raises(UnspoolError, match=r"^head must be one of linear, softmax, logistic; got 'edge'$"):
        network.activate(known._replace(head="edge"), s)
    with pytest.raises(UnspoolError, match=r"^family must be one of normal, laplace, poisson; got 'edge'$"):
        network.activate(known._replace(head="distribution", family="edge"), s)


def test_the_command_line_refuses_it(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("to be, or not to be: " * 20)
    assert cli.execute(["fit", "text", str(text), "--out", str(tmp_path / "m"), "--cell", "edge"]) != 0
    assert "'edge'" in capsys.readouterr().err


def test_no_cell_is_another_one_by_descent():
    with pytest.raises(TypeError, match=r"^Mine must have facts of its own"):

        class Mine(GRU):
            """With another step, which the GRU's kernels would not run."""

    for wrong in (GRU, "gru", None):
        with pytest.raises(
            TypeError, match=r"^cell must be one of unspool\.cells, or of a class derived from its Cell"
        ):
            ops.run(wrong, *laws.make(CASE).problem[1:4])
