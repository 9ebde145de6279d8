"""`nn.replace` on other people's models."""

import copy

import pytest
import torch
from torch import Tensor

from unspool import nn


class Tagger(torch.nn.Module):
    """A model as people write them, with each of the three kinds somewhere inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 3)
        lstm = torch.nn.LSTM(3, 4, 2, batch_first=True, dropout=0.3, bidirectional=True, proj_size=2)
        self.encoder = torch.nn.ModuleDict({"lstm": lstm})
        self.stack = torch.nn.Sequential(torch.nn.GRU(4, 4, bias=False, batch_first=True))
        self.rnn = self.again = torch.nn.RNN(4, 4, nonlinearity="relu", batch_first=True)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x, _ = self.encoder["lstm"](self.embedding(tokens))
        x, _ = self.stack(x)
        x, h = self.rnn(x)
        return self.head(self.again(x, h)[0])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_model_computes_and_trains_as_before() -> None:
    theirs = Tagger().eval()
    ours = copy.deepcopy(theirs)
    parameters = dict(ours.named_parameters())
    assert nn.replace(ours) is ours
    assert [type(m) for m in (ours.encoder["lstm"], ours.stack[0], ours.rnn)] == [nn.LSTM, nn.GRU, nn.Elman]
    assert ours.rnn is ours.again
    assert ours.encoder["lstm"].dropout == 0.3
    assert all(not m.training for m in ours.modules())
    after = dict(ours.named_parameters())
    assert list(after) == list(parameters)
    assert all(after[name] is p for name, p in parameters.items())
    tokens = torch.randint(7, (2, 5))
    torch.testing.assert_close(ours(tokens), theirs(tokens))
    for model in (ours, theirs):
        model(tokens).square().sum().backward()
    gradients = [{n: p.grad for n, p in m.named_parameters()} for m in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_a_model_that_is_a_layer() -> None:
    theirs = torch.nn.GRU(3, 4).train()
    ours = nn.replace(theirs)
    assert type(ours) is nn.GRU
    assert ours.weight_ih_l0 is theirs.weight_ih_l0
    assert ours.training
    assert nn.replace(ours) is ours


def test_hooks_stay() -> None:
    calls = []
    model = torch.nn.Sequential(torch.nn.GRU(3, 4))
    handle = model[0].register_forward_hook(lambda module, *_: calls.append(type(module)))
    nn.replace(model)(torch.randn(5, 2, 3))
    handle.remove()
    model(torch.randn(5, 2, 3))
    assert calls == [nn.GRU]


def test_derived_classes_are_left_and_named() -> None:
    class Mine(torch.nn.LSTM):
        pass

    model = torch.nn.ModuleDict({"a": Mine(3, 4), "b": torch.nn.LSTM(3, 4)})
    with pytest.warns(UserWarning, match="replace leaves a as it is, its class Mine is derived") as caught:
        nn.replace(model)
    assert caught[0].filename == __file__
    assert [type(m) for m in model.values()] == [Mine, nn.LSTM]


def test_cells_are_left_and_named() -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.GRUCell(3, 4)})
    with pytest.warns(UserWarning, match="replace leaves a, a GRUCell: a cell steps"):
        nn.replace(model)


def test_a_single_layer_with_dropout_warns_once() -> None:
    with pytest.warns(UserWarning, match="dropout"):
        theirs = torch.nn.GRU(3, 4, dropout=0.5)
    assert nn.replace(theirs).dropout == 0.5
