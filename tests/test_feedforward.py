"""The time-delay network and the multi-layer perceptron."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import F64, law_option_matters
from torch.nn.functional import pad

from unspool import nn


@given(T=st.integers(1, 9), K=st.integers(1, 4), d=st.integers(1, 3), bias=st.booleans())
def test_tdnn_is_a_padded_convolution(T: int, K: int, d: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(3, 4, K, dilation=d, bias=bias, dtype=F64)
    torch.manual_seed(0)
    layer = nn.TDNN(3, 4, window=K, dilation=d, bias=bias, nonlinearity="identity", dtype=F64)
    x = torch.randn(2, 3, T, dtype=F64, requires_grad=True)
    expected = conv(pad(x, ((K - 1) * d, 0)))
    y, _ = layer(x.permute(2, 0, 1))
    torch.testing.assert_close(y.permute(1, 2, 0), expected)
    above = torch.randn_like(expected)
    actual = torch.autograd.grad(y, [x, *layer.parameters()], above.permute(2, 0, 1))
    torch.testing.assert_close(actual, torch.autograd.grad(expected, [x, *conv.parameters()], above))


def test_layers_of_a_tdnn_follow_each_other() -> None:
    layer = nn.TDNN(3, 4, 2, window=[2, 3], dilation=[1, 4], nonlinearity="relu")
    x = torch.randn(7, 2, 3)
    past = x.permute(1, 2, 0)
    for conv, size in zip(layer.layers, (1, 8), strict=True):
        past = torch.relu(conv(pad(past, (size, 0))))
    y, state = layer(x)
    torch.testing.assert_close(y, past.permute(2, 0, 1))
    assert [s.shape for s in state] == [(1, 2, 3), (8, 2, 4)]


@given(T=st.integers(2, 8), cut=st.integers(1, 7), batch_first=st.booleans(), batched=st.booleans())
def test_pieces_and_steps_equal_the_whole(T: int, cut: int, batch_first: bool, batched: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TDNN(3, 4, 2, window=3, dilation=[1, 2], batch_first=batch_first, dtype=F64)
    axis = int(batch_first and batched)
    x = torch.randn((2, T, 3) if axis else (T, 2, 3) if batched else (T, 3), dtype=F64)
    cut = min(cut, T - 1)
    first, state = layer(x.narrow(axis, 0, cut))
    parts = [first]
    for t in range(cut, T):
        y, state = layer.step(x.select(axis, t), state)
        parts.append(y.unsqueeze(axis))
    torch.testing.assert_close((torch.cat(parts, axis), state), layer(x))


def test_tdnn_lengths_are_each_sequence_alone() -> None:
    layer = nn.TDNN(3, 4, 2, window=3, dilation=[1, 2], dtype=F64)
    x, lengths = torch.randn(5, 3, 3, dtype=F64), [5, 1, 3]
    for b, n in enumerate(lengths):
        x[n:, b] = torch.nan
    y, state = layer(x, lengths=torch.tensor(lengths))
    for b, n in enumerate(lengths):
        alone, end = layer(x[:n, b])
        torch.testing.assert_close(y[:n, b], alone)
        torch.testing.assert_close(tuple(s[:, b] for s in state), end)
        assert not y[n:, b].any()
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_tdnn_knows_no_future() -> None:
    layer = nn.TDNN(1, 2, 2, window=2, dilation=[1, 3])
    x = torch.randn(9, 1, 1, requires_grad=True)
    (dx,) = torch.autograd.grad(layer(x)[0][6].sum(), x)
    assert dx[:, 0, 0].nonzero().flatten().tolist() == [2, 3, 5, 6]


def test_options_matter() -> None:
    x = torch.randn(5, 2, 3)
    torch.manual_seed(0)
    layer = nn.TDNN(3, 4, 2, dropout=0.5)
    law_option_matters((layer(x)[0],), (layer.eval()(x)[0],))
    torch.manual_seed(0)
    law_option_matters((layer(x)[0],), (nn.TDNN(3, 4, 2, nonlinearity="sigmoid")(x)[0],))
    torch.manual_seed(0)
    mlp = nn.MLP([3, 8, 4], dropout=0.5)
    law_option_matters((mlp(x),), (mlp.eval()(x),))
    for layer in (nn.TDNN(3, 4, device="meta", dtype=F64), nn.MLP([3, 4], device="meta", dtype=F64)):
        assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", F64)}


@pytest.mark.parametrize("bias", [True, False])
def test_mlp_is_linear_layers_and_nonlinearities(bias: bool) -> None:
    torch.manual_seed(0)
    first, second, third = (torch.nn.Linear(I, O, bias) for I, O in ((3, 8), (8, 5), (5, 2)))
    plain = torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Tanh(), third, torch.nn.Sigmoid())
    torch.manual_seed(0)
    mlp = nn.MLP([3, 8, 5, 2], "tanh", "sigmoid", bias)
    x = torch.randn(4, 6, 3)
    torch.testing.assert_close(mlp(x), plain(x), rtol=0, atol=0)
    torch.testing.assert_close(nn.MLP([3, 1])(x).shape, torch.Size([4, 6, 1]))


def test_compile_whole() -> None:
    x = torch.randn(5, 2, 3)
    for layer in (nn.TDNN(3, 4, 2), nn.MLP([3, 8, 2])):
        torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))


def tdnn(x: torch.Tensor, **keywords: Any) -> None:
    nn.TDNN(3, 4)(x, **keywords)


WRONG: Any = "softmax"
COMPLAINTS = [
    (lambda: nn.TDNN(3, 4, 2, window=[1, 2, 3]), r"window must be .* for each of the num_layers=2; got \[1, 2, 3\]"),
    (lambda: nn.TDNN(3, 4, 2, dilation=[0, 1]), "dilation must be an integer of at least 1; got 0"),
    (lambda: nn.TDNN(0, 4), "input_size must be an integer of at least 1; got 0"),
    (lambda: nn.TDNN(3, 4, 2, dropout=2), "dropout must be a probability"),
    (lambda: nn.TDNN(3, 4, nonlinearity=WRONG), "nonlinearity must be one of tanh, .*; got 'softmax'"),
    (lambda: nn.MLP([3]), r"sizes must have at least those of the input and the output; got \[3\]"),
    (lambda: nn.MLP([3, -1]), r"sizes\[1\] must be an integer of at least 1; got -1"),
    (lambda: nn.MLP([3, 1], dropout=-1), "dropout must be a probability"),
    (lambda: nn.MLP([3, 1], output_nonlinearity=WRONG), "output_nonlinearity must be one of .* got 'softmax'"),
    (lambda: tdnn(torch.zeros(5, 2, 4)), r"x must be \(T, B, I\) or \(T, I\) with T ≥ 1 and I=3; got \(5, 2, 4\)"),
    (lambda: tdnn(torch.zeros(0, 2, 3)), r"x must be .* T ≥ 1 .* got \(0, 2, 3\)"),
    (lambda: tdnn(torch.zeros(5, 3), lengths=torch.tensor([5])), "lengths must be None where x has no batch"),
    (lambda: tdnn(torch.zeros(5, 2, 3), lengths=torch.tensor([5, 6])), "lengths must be integers in 0..T=5"),
    (lambda: tdnn(torch.zeros(5, 2, 3), state=(torch.zeros(1, 2, 3),)), r"state must have .* got \[\(1, 2, 3\)\]"),
]


@pytest.mark.parametrize(("call", "message"), COMPLAINTS)
def test_complaints(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (nn.MLP([3, 4]), torch.zeros(2, 5), r"x must be floats \(..., I\) with I=3; got \(2, 5\)"),
        (nn.MLP([3, 4]), torch.zeros(2, 3, dtype=torch.int64), r"x must be floats .*; got \(2, 3\) torch.int64"),
        (nn.MLP([3, 4]), None, "x must be a tensor; got NoneType"),
        (nn.TDNN(3, 4), torch.zeros(5, 2, 3, dtype=torch.int64), "x must be of floating point; got torch.int64"),
        (nn.TDNN(3, 4), [1.0], "x must be a tensor; got list"),
    ],
)
def test_what_is_no_input(layer, x, message):
    with pytest.raises((TypeError, ValueError), match=message):
        layer(x)
