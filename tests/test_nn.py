"""The recurrent layers: parity with torch.nn over random configurations, and every option."""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import F32, F64, TOLERANCE, assert_same, law_option_matters
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unspool import UnspoolError, cells, nn, ops
from unspool.cells import Weights

PEERS: dict[Any, Any] = {nn.Elman: torch.nn.RNN, nn.GRU: torch.nn.GRU, nn.LSTM: torch.nn.LSTM}
ALL: list[Any] = [
    lambda **o: nn.Elman(3, 4, **o),
    lambda **o: nn.Jordan(3, 4, 2, **o),
    lambda **o: nn.GRU(3, 4, **o),
    lambda **o: nn.LSTM(3, 4, **o),
]
each = pytest.mark.parametrize("make", ALL, ids=["Elman", "Jordan", "GRU", "LSTM"])
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# Parity with torch.nn


class Configuration(NamedTuple):
    """A layer, and what it is called with."""

    kind: Any  # Elman, GRU or LSTM
    arguments: dict[str, Any]
    x: Tensor | PackedSequence
    state: tuple[Tensor, ...] | None


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    kind = draw(st.sampled_from(list(PEERS)))
    I, H, T, B = (draw(st.integers(1, n)) for n in (4, 5, 6, 4))
    a: dict[str, Any] = {"input_size": I, "hidden_size": H, "num_layers": draw(st.integers(1, 3))}
    a |= {name: draw(st.booleans()) for name in ("bias", "batch_first", "bidirectional")}
    a["dtype"] = draw(st.sampled_from([F64, F32]))
    if kind is nn.Elman:
        a["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind is nn.LSTM:
        a["proj_size"] = draw(st.integers(0, H - 1))
    torch.manual_seed(draw(st.integers(0, 1000)))
    form = draw(st.sampled_from(["batch", "no batch", "packed", "packed and sorted"]))
    x = torch.randn((B, T, I) if a["batch_first"] else (T, B, I), dtype=a["dtype"])
    batch = (B,)
    if form == "no batch":
        x, batch = torch.randn(T, I, dtype=a["dtype"]), ()
    elif form.startswith("packed"):
        lengths = torch.tensor(draw(st.lists(st.integers(1, T), min_size=B, max_size=B)))
        ordered = form.endswith("sorted")
        lengths = lengths.sort(descending=True).values if ordered else lengths
        x = pack_padded_sequence(x, lengths, a["batch_first"], enforce_sorted=ordered)
    state = None
    if draw(st.booleans()):
        K, R = a["num_layers"] * (1 + a["bidirectional"]), a.get("proj_size") or H
        state = tuple(torch.randn(K, *batch, n, dtype=a["dtype"]) for n in ((R, H) if kind is nn.LSTM else (R,)))
    return Configuration(kind, a, x, state)


def joined(states: tuple[Tensor, ...] | None) -> Any:
    """As a layer takes and returns it: h, or (h, c)."""
    return states[0] if states is not None and len(states) == 1 else states


def outcome(layer: Any, x: Any, state: tuple[Tensor, ...] | None) -> dict[str, Tensor]:
    """The outputs of a call, and the gradients of x, the state and all parameters."""
    data = (x.data if isinstance(x, PackedSequence) else x).detach().clone().requires_grad_()
    given = x._replace(data=data) if isinstance(x, PackedSequence) else data
    leaves = tuple(s.detach().clone().requires_grad_() for s in state or ())
    y, last = layer(given, None if state is None else joined(leaves))
    outputs = {"y": y.data if isinstance(y, PackedSequence) else y}
    outputs |= dict(zip("hc", last if isinstance(last, tuple) else (last,), strict=False))
    inputs = {"x": data} | dict(zip("hc", leaves, strict=False)) | dict(layer.named_parameters())
    above = [torch.linspace(-1, 1, v.numel(), dtype=v.dtype).view(v.shape) for v in outputs.values()]
    gradients = torch.autograd.grad(list(outputs.values()), list(inputs.values()), above)
    return {n: v.detach() for n, v in outputs.items()} | {f"d{n}": v for n, v in zip(inputs, gradients, strict=True)}


@pytest.mark.parametrize("backend", ["eager", "auto"])
@settings(max_examples=60)
@given(configurations())
def test_layers_equal_torch_nn(backend: str, c: Configuration) -> None:
    torch.manual_seed(1)
    theirs = PEERS[c.kind](**c.arguments)
    torch.manual_seed(1)
    ours = c.kind(**c.arguments, backend=backend)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same(ours.state_dict(), theirs.state_dict(), 0)
    assert_same(outcome(ours, c.x, c.state), outcome(theirs, c.x, c.state), TOLERANCE[c.arguments["dtype"]])


def test_packed_output_is_packed_as_torch_packs_it() -> None:
    packed = pack_padded_sequence(torch.randn(5, 4, 3), torch.tensor([2, 5, 1, 5]), enforce_sorted=False)
    theirs = torch.nn.GRU(3, 4)
    ours = nn.GRU(3, 4)
    ours.load_state_dict(theirs.state_dict())
    for a, b in zip(ours(packed)[0], theirs(packed)[0], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", PEERS)
def test_positional_arguments_have_torchs_order(kind: Any) -> None:
    nonlinearity = ("relu",) if kind is nn.Elman else ()
    arguments: tuple[Any, ...] = (3, 4, 2, *nonlinearity, False, True, 0.5, True)
    ours, theirs = kind(*arguments), PEERS[kind](*arguments)
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.all_weights[1][1].shape == theirs.all_weights[1][1].shape
    if nonlinearity:
        assert ours.nonlinearity == theirs.nonlinearity


@pytest.mark.parametrize("kind", PEERS)
def test_state_dicts_load_both_ways(kind: Any) -> None:
    ours, theirs = kind(3, 4, 2, bidirectional=True), PEERS[kind](3, 4, 2, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    theirs.reset_parameters()
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("kind", PEERS)
def test_dropout_between_layers_draws_as_torch_does(kind: Any) -> None:
    ours, theirs = kind(3, 8, 3, dropout=0.5), PEERS[kind](3, 8, 3, dropout=0.5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 2, 3)
    results = []
    for layer in (ours, theirs):
        torch.manual_seed(5)
        results.append(layer(x))
    torch.testing.assert_close(*results)
    law_option_matters((ours(x)[0],), (ours.eval()(x)[0],))
    torch.testing.assert_close(ours(x), theirs.eval()(x))


# What torch.nn has not

TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
JORDAN_NAMES = ("weight_ih", "weight_yh", "bias_h", None, "weight_hy", "bias_y")
PEEPHOLE = "weight_peephole"
# layer, its options, those of them under test, the cell it must run, and its parameters in the order of `Weights`
BEYOND = [
    (nn.Elman, {}, {"nonlinearity": "sigmoid"}, cells.Elman("sigmoid"), TORCH_NAMES),
    (nn.Jordan, {"output_size": 2}, {"nonlinearity": "relu"}, cells.Jordan("relu"), JORDAN_NAMES),
    (nn.Jordan, {"output_size": 2}, {"output_nonlinearity": "tanh"}, cells.Jordan("tanh", "tanh"), JORDAN_NAMES),
    (nn.GRU, {}, {"reset_after": False}, cells.GRU(False), TORCH_NAMES),
    (nn.LSTM, {}, {"forget_gate": False}, cells.LSTM(False), TORCH_NAMES),
    (nn.LSTM, {"proj_size": 2}, {"peephole": True}, cells.LSTM(), (*TORCH_NAMES, "weight_hr", None, PEEPHOLE)),
    (nn.LSTM, {"forget_gate": False}, {"peephole": True}, cells.LSTM(False), (*TORCH_NAMES, None, None, PEEPHOLE)),
]


def normal(layer: torch.nn.Module) -> Any:
    """The layer with parameters that are all different from zero, the same for the same shapes."""
    generator = torch.Generator().manual_seed(2)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return layer


def weights_of(layer: torch.nn.Module, names: tuple[str | None, ...], suffix: str) -> Weights:
    return Weights(*[name and getattr(layer, name + suffix) for name in names])


@pytest.mark.parametrize(("kind", "common", "option", "cell", "names"), BEYOND)
def test_options_of_the_cells(kind: Any, common: dict, option: dict, cell: cells.Cell, names: tuple) -> None:
    """The layer runs the cell it says, in every layer and direction, with its parameters where they belong."""
    layer = normal(kind(3, 4, **common, **option, num_layers=2, bidirectional=True))
    begin = x = torch.randn(5, 2, 3)
    states = []
    for k in range(2):
        runs = [
            ops.run(cell, x, None, weights_of(layer, names, f"_l{k}{d}"), reverse=d != "", backend="reference")
            for d in ("", "_reverse")
        ]
        x = torch.cat([y for y, _ in runs], -1)
        states += [state for _, state in runs]
    last = tuple(torch.stack(s) for s in zip(*states, strict=True))
    torch.testing.assert_close(layer(begin), (x, joined(last)))


@pytest.mark.parametrize(("kind", "common", "option"), [case[:3] for case in BEYOND])
def test_options_of_the_cells_matter(kind: Any, common: dict, option: dict) -> None:
    layer, plain = normal(kind(3, 4, **common, **option)), normal(kind(3, 4, **common))
    if option != {"forget_gate": False}:  # which has other shapes
        plain.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(5, 2, 3)
    law_option_matters((layer(x)[0],), (plain(x)[0],))


def test_without_forget_gate_is_torchs_with_an_open_one() -> None:
    ours, theirs = nn.LSTM(3, 4, forget_gate=False), torch.nn.LSTM(3, 4)
    with torch.no_grad():
        for name, v in ours.named_parameters():
            i, g, o = v.chunk(3)
            getattr(theirs, name).copy_(torch.cat([i, torch.full_like(i, 1e4 if name == "bias_ih_l0" else 0), g, o]))
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(ours(x), theirs(x))


def test_peepholes_begin_at_zero_and_draw_nothing() -> None:
    torch.manual_seed(3)
    plain = nn.LSTM(3, 4, 2)
    torch.manual_seed(3)
    layer = nn.LSTM(3, 4, 2, peephole=True, learn_initial_state=True)
    assert layer.get_parameter("weight_peephole_l1").shape == (3, 4)
    assert not layer.get_parameter("weight_peephole_l1").any()
    assert_same({n: layer.state_dict()[n] for n in plain.state_dict()}, plain.state_dict(), 0)


def test_forget_bias() -> None:
    torch.manual_seed(3)
    plain = nn.LSTM(3, 4, bidirectional=True)
    torch.manual_seed(3)
    layer = nn.LSTM(3, 4, bidirectional=True, forget_bias=2.5)
    for suffix in ("_l0", "_l0_reverse"):
        ours, drawn = (getattr(m, "bias_ih" + suffix) + getattr(m, "bias_hh" + suffix) for m in (layer, plain))
        assert (ours[4:8] == 2.5).all()
        assert (ours[:4] == drawn[:4]).all()
        assert (ours[8:] == drawn[8:]).all()


@each
def test_lengths_are_each_sequence_alone(make: Any) -> None:
    layer = make(num_layers=2, bidirectional=True, dtype=F64)
    x, lengths = torch.randn(5, 3, 3, dtype=F64), [5, 1, 3]
    y, last = layer(x, lengths=torch.tensor(lengths))
    last = last if isinstance(last, tuple) else (last,)
    for b, n in enumerate(lengths):
        alone, end = layer(x[:n, b])
        torch.testing.assert_close(y[:n, b], alone)
        assert not y[n:, b].any()
        for s, e in zip(last, end if isinstance(end, tuple) else (end,), strict=True):
            torch.testing.assert_close(s[:, b], e)


@each
@pytest.mark.parametrize("batch_first", [False, True])
def test_reset_begins_anew(make: Any, batch_first: bool) -> None:
    layer = normal(make(bidirectional=True, learn_initial_state=True, batch_first=batch_first, dtype=F64))
    x = torch.randn(6, 2, 3, dtype=F64)
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[4, 0] = reset[1, 1] = True
    y, _ = layer(x.transpose(0, 1), reset=reset.T) if batch_first else layer(x, reset=reset)
    y = y.transpose(0, 1) if batch_first else y
    for b, cut in enumerate((4, 1)):
        pieces = torch.cat([layer(x[:cut, b])[0], layer(x[cut:, b])[0]])
        torch.testing.assert_close(y[:, b], pieces)
        torch.testing.assert_close(layer(x[:, b], reset=reset[:, b])[0], pieces)
    law_option_matters((y,), (layer(x.transpose(0, 1))[0].transpose(0, 1) if batch_first else layer(x)[0],))


@each
def test_packed_with_reset(make: Any) -> None:
    layer = make()
    x, lengths, reset = torch.randn(5, 3, 3), torch.tensor([2, 5, 3]), torch.rand(5, 3) < 0.5
    y, last = layer(pack_padded_sequence(x, lengths, enforce_sorted=False), reset=reset)
    torch.testing.assert_close((pad_packed_sequence(y)[0], last), layer(x, lengths=lengths, reset=reset))


@each
def test_learned_initial_state(make: Any) -> None:
    layer = normal(make(num_layers=2, learn_initial_state=True))
    plain = make(num_layers=2)
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(5, 3, 3)
    names = [(f"initial_{name}_l0", f"initial_{name}_l1") for name in layer.cell.facts.states]
    state = tuple(torch.stack([getattr(layer, name).expand(3, -1) for name in pair]) for pair in names)
    torch.testing.assert_close(layer(x), plain(x, joined(state)))
    layer(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    law_option_matters((layer(x)[0],), (plain(x)[0],))


def test_recurrent_dropout_is_one_mask_through_time() -> None:
    """h = relu(mask ∘ h), from 1, is mask^T after T steps; with a mask drawn at each step few would not be zero."""
    H, T = 400, 6
    layer = nn.Elman(1, H, nonlinearity="relu", bias=False, recurrent_dropout=0.25, bidirectional=True)
    for suffix in ("", "_reverse"):
        torch.nn.init.eye_(getattr(layer, "weight_hh_l0" + suffix))
    x, state = torch.zeros(T, 2, 1), torch.ones(2, 2, H)
    y, last = layer(x, state)
    kept = last > 0
    torch.testing.assert_close(last[kept], torch.tensor((4 / 3) ** T).expand(int(kept.sum())))
    assert 0.7 < kept.float().mean() < 0.8
    assert (kept[0] != kept[1]).any()  # directions
    assert (kept[:, 0] != kept[:, 1]).any()  # sequences
    assert (layer(x, state)[0] != y).any()  # calls
    assert (layer.eval()(x, state)[0] == 1).all()


def test_hidden_dropout_of_layers_differs() -> None:
    layer = nn.Elman(1, 50, 2, nonlinearity="relu", bias=False, recurrent_dropout=0.5)
    for name, p in layer.named_parameters():
        torch.nn.init.eye_(p) if "hh" in name else torch.nn.init.zeros_(p)
    _, last = layer(torch.zeros(1, 1, 1), torch.ones(2, 1, 50))
    assert (last[0] != last[1]).any()


def test_backend_is_the_one_that_runs() -> None:
    with pytest.raises(ValueError, match="backend='torch' cannot run this"):
        nn.LSTM(3, 4, backend="torch")(torch.randn(5, 2, 3), lengths=torch.tensor([5, 2]))


@each
@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_and_pieces_equal_the_whole(make: Any, batch_first: bool) -> None:
    layer = normal(make(num_layers=2, learn_initial_state=True, batch_first=batch_first, dtype=F64))
    time = int(batch_first)
    for x in (torch.randn(2, 6, 3) if batch_first else torch.randn(6, 2, 3), torch.randn(6, 3)):
        x = x.double()
        axis = time if x.ndim == 3 else 0
        first, state = layer(x.narrow(axis, 0, 3))
        parts = [first]
        for t in (3, 4):
            y, state = layer.step(x.select(axis, t), state)
            parts.append(y.unsqueeze(axis))
        y, state = layer(x.narrow(axis, 5, 1), state)
        torch.testing.assert_close((torch.cat([*parts, y], axis), state), layer(x))
        torch.testing.assert_close(layer.step(x.select(axis, 0))[0], first.select(axis, 0))


@each
def test_tokens_are_one_hot_inputs(make: Any) -> None:
    layer = make(batch_first=True, num_layers=2)
    x = torch.randint(3, (4, 5))
    hot = torch.nn.functional.one_hot(x, 3).float()
    torch.testing.assert_close(layer(x), layer(hot))
    torch.testing.assert_close(layer(x[0]), layer(hot[0]))
    torch.testing.assert_close(layer.step(x[:, 0]), layer.step(hot[:, 0]))
    torch.testing.assert_close(layer.step(x[0, 0]), layer.step(hot[0, 0]))


# A module as others are


@each
def test_hx_is_the_state(make: Any) -> None:
    layer, x = make(), torch.randn(5, 2, 3)
    _, state = layer(x)
    torch.testing.assert_close(layer(x, hx=state), layer(x, state))


@each
def test_copies(make: Any) -> None:
    layer, x = make(num_layers=2, bidirectional=True, learn_initial_state=True), torch.randn(5, 2, 3)
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(saved, weights_only=False)):
        torch.testing.assert_close(other(x), layer(x))
        assert not {id(p) for p in other.parameters()} & {id(p) for p in layer.parameters()}


@each
def test_device_and_dtype(make: Any) -> None:
    abstract = make(device="meta")
    assert {p.device.type for p in abstract.parameters()} == {"meta"}
    assert abstract(torch.randn(5, 2, 3, device="meta"))[0].is_meta
    assert {p.dtype for p in make(dtype=F64).parameters()} == {F64}
    y, _ = make().double()(torch.randn(5, 2, 3, dtype=F64))
    assert y.dtype == F64


def test_repr_is_the_call() -> None:
    layers = (
        "Elman(3, 4, nonlinearity='relu', learn_initial_state=True)",
        "Jordan(3, 4, 2, output_nonlinearity='tanh', backend='eager')",
        "GRU(3, 4, num_layers=2, dropout=0.5, bidirectional=True, reset_after=False)",
        "LSTM(3, 4, bias=False, batch_first=True, proj_size=2, peephole=True, recurrent_dropout=0.5)",
        "LSTM(3, 4, forget_bias=1.0)",
    )
    for text in layers:
        assert repr(eval(text, dict(vars(nn)))) == text


@each
def test_other_weights_for_a_call(make: Any) -> None:
    layer, other, x = make(), make(), torch.randn(5, 2, 3)
    torch.testing.assert_close(torch.func.functional_call(layer, other.state_dict(), (x,)), other(x))
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_ih_l0")
    before = layer(x)[0]
    with torch.no_grad():
        layer.parametrizations.weight_ih_l0.original0.mul_(2)
    law_option_matters((layer(x)[0],), (before,))


@each
def test_autocast_leaves_the_layer_alone(make: Any) -> None:
    layer, x = make(num_layers=2), torch.randn(5, 2, 3).bfloat16()
    _, state = layer(x.float())
    rounded = tuple(s.bfloat16() for s in state) if isinstance(state, tuple) else state.bfloat16()
    exact = tuple(s.float() for s in rounded) if isinstance(rounded, tuple) else rounded.float()
    with torch.autocast("cpu", torch.bfloat16):
        actual = layer(x, rounded)
    torch.testing.assert_close(actual, layer(x.float(), exact), rtol=0, atol=0)


@each
def test_compiles_whole(make: Any) -> None:
    layer, x = make(num_layers=2, bidirectional=True), torch.randn(3, 2, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))


@pytest.mark.filterwarnings("default")
def test_dropout_in_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match=r"dropout must be 0 if num_layers=1.*got 0.5") as caught:
        nn.GRU(3, 4, dropout=0.5)
    assert caught[0].filename == __file__


# Complaints

WRONG_ARGUMENTS = [
    (nn.Elman, {"input_size": 0}, "input_size must be an integer of at least 1; got 0"),
    (nn.Elman, {"hidden_size": -1}, "hidden_size must be an integer of at least 1; got -1"),
    (nn.Elman, {"num_layers": 0}, "num_layers must be an integer of at least 1; got 0"),
    (nn.Elman, {"nonlinearity": "cosine"}, "nonlinearity must be one of tanh, relu, sigmoid; got 'cosine'"),
    (nn.Jordan, {"output_size": 0}, "output_size must be an integer of at least 1; got 0"),
    (nn.GRU, {"dropout": 1.5}, r"dropout must be a probability in \[0, 1\], .* got 1.5"),
    (nn.GRU, {"dropout": True}, "dropout must be a probability .* got True"),
    (nn.GRU, {"recurrent_dropout": 1}, r"recurrent_dropout must be a probability in \[0, 1\), .* got 1"),
    (nn.GRU, {"backend": "fast"}, "backend must be one of auto, .*native.*; got 'fast'"),
    (nn.LSTM, {"proj_size": 4}, "proj_size must be less than hidden_size=4, or 0 for none; got 4"),
    (nn.LSTM, {"proj_size": -1}, "proj_size must be an integer of at least 0; got -1"),
    (nn.LSTM, {"forget_bias": 1, "bias": False}, "forget_bias must be None without bias .* got 1"),
    (nn.LSTM, {"forget_bias": 1, "forget_gate": False}, "forget_bias must be None .* without a forget gate; got 1"),
]
WRONG_TYPES = [
    (nn.Elman, {"input_size": 3.0}, "input_size must be an integer of at least 1; got 3.0"),
    (nn.LSTM, {"hidden_size": "4"}, "hidden_size must be an integer of at least 1; got '4'"),
    (nn.GRU, {"num_layers": True}, "num_layers must be an integer of at least 1; got True"),
    (nn.GRU, {"bias": 1}, "bias must be a bool; got 1"),
    (nn.GRU, {"batch_first": None}, "batch_first must be a bool; got None"),
    (nn.GRU, {"reset_after": 0}, "reset_after must be a bool; got 0"),
    (nn.LSTM, {"peephole": 1}, "peephole must be a bool; got 1"),
    (nn.LSTM, {"learn_initial_state": 1}, "learn_initial_state must be a bool; got 1"),
]


@pytest.mark.parametrize(("kind", "wrong", "message"), [*WRONG_ARGUMENTS, *WRONG_TYPES])
def test_wrong_arguments(kind: Any, wrong: dict, message: str) -> None:
    arguments: dict[str, Any] = (
        {"input_size": 3, "hidden_size": 4} | ({"output_size": 2} if kind is nn.Jordan else {}) | wrong
    )
    error = TypeError if (kind, wrong, message) in WRONG_TYPES else ValueError
    with pytest.raises(error, match=message) as caught:
        kind(**arguments)
    assert isinstance(caught.value, UnspoolError)


def test_numbers_of_numpy_are_numbers() -> None:
    layer = nn.LSTM(np.int64(3), np.int32(4), num_layers=np.int64(2), bias=np.True_, dropout=np.float32(0.5))
    assert repr(layer) == "LSTM(3, 4, num_layers=2, dropout=0.5)"
    assert repr(nn.Jordan(3, 4, np.int64(2))) == "Jordan(3, 4, 2)"
    tdnn = nn.TDNN(np.int64(3), np.int64(4), np.int64(2), window=np.int64(2), dilation=[np.int64(1), 2])
    assert tdnn(torch.zeros(5, 1, 3))[0].shape == (5, 1, 4)
    assert nn.MLP([np.int64(3), np.int64(1)])(torch.zeros(2, 3)).shape == (2, 1)


WRONG_CALLS = [
    ({}, (torch.zeros(2),), {}, r"x must be \(T, B, I\) or \(T, I\) with I=3, or tokens without the I; got \(2,\)"),
    ({"batch_first": True}, (torch.zeros(5, 2, 4),), {}, r"x must be \(B, T, I\) .* got \(5, 2, 4\)"),
    ({}, (torch.zeros(5, 3),), {"lengths": torch.tensor([5])}, "lengths must be None where x has no batch"),
    ({}, (torch.zeros(5, 2, 3),), {"lengths": torch.tensor([5, 6])}, r"lengths must be integers in 0..T=5"),
    ({}, (torch.zeros(5, 2, 3),), {"reset": torch.ones(2, 5) > 0}, r"reset .* shape \(5, 2\), as x; got \(2, 5\)"),
    ({}, (torch.zeros(5, 2, 3), torch.zeros(1, 2, 4)), {}, "state must be h and c; got 1 tensors"),
    ({}, (torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(2, 4))), {}, r"c .* \(1, 2, 4\); got \(2, 4\)"),
    ({}, (torch.zeros(5, 3), (torch.zeros(1, 4), torch.zeros(1, 1, 4))), {}, r"c .* \(1, 4\); got \(1, 1, 4\)"),
    ({}, (torch.zeros(5, 2, 3), 3), {}, "state must be h and c; got 1 tensors"),
    ({}, (pack_padded_sequence(torch.zeros(2, 1, 3), [2]),), {"lengths": torch.ones(1)}, "lengths must be None with"),
]


@pytest.mark.parametrize(("options", "arguments", "keywords", "message"), WRONG_CALLS)
def test_wrong_calls(options: dict, arguments: tuple, keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nn.LSTM(3, 4, **options)(*arguments, **keywords)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((np.zeros((5, 2, 3), np.float32),), {}, "x must be a tensor or a PackedSequence; got ndarray"),
        ((), {}, "x must be a tensor or a PackedSequence; got NoneType"),
        ((torch.zeros(5, 2, 3), (None, None)), {}, "h of the state must be a tensor; got NoneType"),
        ((torch.zeros(5, 2, 3),), {"reset": [1]}, "reset must be a tensor; got list"),
        ((torch.zeros(5, 2, 3),), {"lengths": "55"}, "lengths must be integers .* got str"),
    ],
)
def test_what_is_no_tensor(arguments: tuple, keywords: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        nn.LSTM(3, 4)(*arguments, **keywords)


def test_input_is_x() -> None:
    x, layer = torch.randn(5, 2, 3), nn.GRU(3, 4)
    torch.testing.assert_close(layer(input=x)[0], layer(x)[0], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*jit.trace.* is deprecated", "ignore::torch.jit.TracerWarning")
def test_a_trace_knows_the_layer() -> None:
    x = torch.randn(5, 2, 3)
    for layer in (nn.GRU(3, 4, 2, bidirectional=True), nn.LSTM(3, 4), nn.Elman(3, 4).requires_grad_(False)):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                traced = torch.jit.trace(layer, torch.randn(5, 2, 3))
            torch.testing.assert_close(traced(x)[0], layer(x)[0], rtol=0, atol=0)
            leaf = x.clone().requires_grad_()
            (actual,), (expected,) = (torch.autograd.grad(f(leaf)[0].sum(), leaf) for f in (traced, layer))
            torch.testing.assert_close(actual, expected)


@each
@pytest.mark.parametrize("layers", [1, 2])
def test_what_may_be_done_with_outputs(make: Any, layers: int) -> None:
    layer, x = make(num_layers=layers), torch.randn(5, 2, 3, requires_grad=True)
    for detach in (False, True):
        y, last = layer(x)
        for s in last if isinstance(last, tuple) else (last,):
            s.detach_() if detach else s.mul_(2)
        (y.sum() + (last[0] if isinstance(last, tuple) else last).sum()).backward()
    y, _ = layer(x)
    with pytest.raises(RuntimeError, match=r"change a copy of it, y\.clone\(\)"):
        y.relu_().sum().backward()
    layer(x)[0].clone().relu_().sum().backward()


@each
def test_many_gradients_at_once(make: Any) -> None:
    layer, x = make(num_layers=2, dtype=F64), torch.randn(3, 2, 3, dtype=F64, requires_grad=True)
    y = layer(x)[0]
    above = torch.randn(3, *y.shape, dtype=F64)
    (together,) = torch.autograd.grad(y, x, above, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(
        together, torch.stack([torch.autograd.grad(y, x, v, retain_graph=True)[0] for v in above])
    )


@each
def test_lengths_as_a_list_and_empty_sequences(make: Any) -> None:
    layer, x = normal(make(num_layers=2, bidirectional=True, learn_initial_state=True)), torch.randn(5, 3, 3)
    y, last = layer(x, lengths=[5, 0, 2])
    torch.testing.assert_close((y, last), layer(x, lengths=torch.tensor([5, 0, 2])), rtol=0, atol=0)
    assert not y[:, 1].any()
    states = last if isinstance(last, tuple) else (last,)
    for name, s in zip(layer.cell.facts.states, states, strict=True):
        initial = [getattr(layer, f"initial_{name}_l{k}{d}") for k in range(2) for d in ("", "_reverse")]
        torch.testing.assert_close(s[:, 1], torch.stack(initial), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated")
def test_quantize_dynamic_says_that_it_does_nothing() -> None:
    model = torch.nn.Sequential(nn.LSTM(3, 4))
    with pytest.warns(UserWarning, match=r"LSTM has no form of torch\.ao\.quantization"):
        torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")  # torch's own: this exporter is deprecated, traces, and knows no batch
def test_onnx_export_of_a_layer() -> None:
    x = torch.randn(5, 2, 3)
    for layer in (nn.LSTM(3, 4, 2), nn.GRU(3, 4, bidirectional=True), nn.LSTM(3, 4, peephole=True)):
        written = io.BytesIO()
        torch.onnx.export(torch.nn.Sequential(layer).eval(), (x,), written, dynamo=False)
        assert written.getvalue()
    with pytest.raises(ValueError, match="backend='auto' and 'torch' export"):
        torch.onnx.export(torch.nn.Sequential(nn.GRU(3, 4, backend="native")), (x,), io.BytesIO(), dynamo=False)


def test_export_sees_one_operator_for_each_layer_and_direction() -> None:
    layer = nn.LSTM(3, 4, 2, bidirectional=True).eval()
    program = torch.export.export(layer, (torch.randn(5, 2, 3),))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names.count("unspool.recurrence.default") == 4
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0], rtol=0, atol=0)


def test_what_cannot_step_says_so() -> None:
    with pytest.raises(ValueError, match="step needs bidirectional=False"):
        nn.GRU(3, 4, bidirectional=True).step(torch.zeros(2, 3))
    layer = nn.GRU(3, 4, recurrent_dropout=0.5)
    with pytest.raises(ValueError, match=r"step needs eval\(\)"):
        layer.step(torch.zeros(2, 3))
    assert layer.eval().step(torch.zeros(2, 3))[0].shape == (2, 4)
