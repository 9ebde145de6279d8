"""Law 2 for the cells themselves, and the same step on NumPy arrays as on torch tensors."""

from inspect import signature
from typing import Any

import laws
import numpy as np
import pytest
import torch

from unspool import nn
from unspool.cells import (
    FACTS,
    GRU,
    LSTM,
    RECURRENT,
    Elman,
    Jordan,
    Weights,
    cell_of,
    kernel_of,
    project,
    relu,
    sigmoid,
    variant,
)

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")
SOME = [(1, 1, 1, 1), (1, 3, 3, 2), (1, 17, 4, 5), (1, 2, 5, 16)]


@pytest.mark.parametrize("option", ["", "mask", "no bias", "input bias only", "hidden bias only", "tokens"])
@pytest.mark.parametrize("case", laws.CASES, ids=str)
def test_step_backward_is_autograd_of_step(case, option):
    for seed, size in enumerate(SOME):
        laws.law_step_backward_is_autograd(laws.make(case, (option,), size, seed))


@pytest.mark.parametrize("case", laws.CASES, ids=str)
def test_numpy_and_torch_take_the_same_step(case):
    trial = laws.make(case, ("mask",))
    p, q = trial.problem, trial.problem.map(torch.Tensor.numpy)
    state, saved = q.cell.step(project(q.x[0], q.weights), q.state, q.weights, q.mask)
    gradients = q.cell.step_backward(tuple(s.numpy() for s in trial.dstate), saved, q.weights)
    expected, saved = p.cell.step(project(p.x[0], p.weights), p.state, p.weights, p.mask)
    expected_gradients = p.cell.step_backward(trial.dstate, saved, p.weights)
    for actual, value in zip(_flat((state, gradients)), _flat((expected, expected_gradients)), strict=True):
        assert isinstance(actual, np.ndarray)
        torch.testing.assert_close(torch.from_numpy(actual), value)


def _flat(v):
    return [leaf for part in v for leaf in _flat(part)] if isinstance(v, tuple) else [] if v is None else [v]


def test_nonlinearities_at_their_edges():
    for make in (np.array, torch.tensor):
        edges = make([-1e4, -0.0, 0.0, 1e4, float("nan")])
        np.testing.assert_array_equal(sigmoid(edges), [0, 0.5, 0.5, 1, float("nan")])
        np.testing.assert_array_equal(relu(edges), [0, 0, 0, 1e4, float("nan")])
    a = torch.zeros(1, requires_grad=True)
    relu(a).backward()
    assert a.grad == 0  # as torch.relu


def test_gates_and_states():
    assert [cell.gates for cell in (Elman(), Jordan(), GRU(), LSTM(), LSTM(forget_gate=False))] == [1, 1, 3, 4, 3]
    assert [cell.facts.states for cell in (Elman(), Jordan(), GRU(), LSTM())] == [("h",)] * 3 + [("h", "c")]
    assert LSTM.facts.state_sizes(2, 5) == (2, 5)
    assert Elman() == Elman("tanh") != Elman("relu") and len({GRU(), GRU(), GRU(reset_after=False)}) == 2


def test_names_of_the_cells():
    assert RECURRENT == ("elman", "jordan", "gru", "lstm")
    assert tuple(FACTS) == (*RECURRENT, "tdnn")
    assert all(name == facts.name for name, facts in FACTS.items())
    assert {case.cell.facts.name for case in laws.CASES} == {*laws.PLAIN} == {*RECURRENT}


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_a_layer_has_the_options_and_defaults_of_the_facts(facts):
    """All but Jordan's output_size, which a configuration may leave out and a call of the layer may not."""
    parameters = signature(getattr(nn, facts.layer)).parameters
    assert facts.options.keys() <= parameters.keys()
    defaults = {name: parameters[name].default for name in facts.options if name != "output_size"}
    assert defaults == {name: value for name, value in facts.options.items() if name != "output_size"}


@pytest.mark.parametrize("case", laws.CASES, ids=str)
def test_kernels_and_functions_of_a_cell(case):
    kernel = kernel_of(case.cell)
    assert cell_of(*kernel) == case.cell
    assert variant(case.cell, {"all": {}}) == "all" and variant(case.cell, {}) == ""
    function = variant(case.cell, case.cell.facts.torch)
    assert not function or callable(getattr(torch, function))
    assert sorted(case.cell.facts.onnx_gates) == [*range(case.cell.facts.gates)] or not case.cell.facts.onnx


def test_which_cells_torch_has():
    of_torch = {case.cell: variant(case.cell, case.cell.facts.torch) for case in laws.CASES}
    named = {Elman("tanh"): "rnn_tanh", Elman("relu"): "rnn_relu", GRU(): "gru", LSTM(): "lstm"}
    assert {cell: name for cell, name in of_torch.items() if name} == named


def test_unknown_nonlinearities_are_refused():
    elu: Any = "elu"
    with pytest.raises(ValueError, match="nonlinearity must be one of tanh, relu, sigmoid; got 'elu'"):
        Elman(elu)
    with pytest.raises(ValueError, match=r"output_nonlinearity must be one of .*, identity; got 'elu'"):
        Jordan("tanh", elu)


def test_memory_cell_of_1997_keeps_what_was_written():
    """A value is written at t=0 with the input gate at 1, kept with it at 0, and read with the output gate at 1."""
    cell, w = LSTM(forget_gate=False), Weights(None, np.zeros((3, 1)))
    on, off = 1e3, -1e3
    state = (np.zeros((1, 1)), np.zeros((1, 1)))
    for a in ([on, 0.5, off], *[[off, 9.0, off]] * 50, [off, -9.0, on]):
        state, saved = cell.step(np.array([a]), state, w)
    kept = np.tanh(0.5)
    np.testing.assert_allclose(state, [[[np.tanh(kept)]], [[kept]]], rtol=1e-15)
    _, (_, dc), _ = cell.step_backward((np.zeros((1, 1)), np.ones((1, 1))), saved, w)
    assert dc == 1  # the error that the carousel carries back is not attenuated
