"""Front end, recurrent layers and head."""

import pytest
import torch

from unspool import UnspoolError
from unspool.data.batches import Chunks
from unspool.network import CELLS, Dropout, Network, restore

EMBEDDING = {"kind": "embedding", "tokens": 9, "size": 5}
ONE_HOT = {"kind": "one-hot", "size": 9}


def config(front=EMBEDDING, outputs=9, **recurrent):
    recurrent = {"cell": "lstm", "hidden_size": 6, "num_layers": 2, "dropout": 0.0} | recurrent
    return {"front": front, "recurrent": recurrent, "head": {"kind": "linear", "size": outputs}}


def network(seed=0, **options):
    torch.manual_seed(seed)
    return Network(config(**options)).double()


def tokens(T, B, seed=0):
    return torch.randint(9, (T, B), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("front", [EMBEDDING, ONE_HOT], ids=["embedding", "one-hot"])
def test_chunks_with_the_state_carried_equal_the_whole(cell, front):
    net = network(cell=cell, front=front)
    text = tokens(50, 1).flatten().numpy()
    state, parts = None, []
    for batch in Chunks(text, 1, 7):
        logits, state = net(torch.from_numpy(batch.inputs), state)
        parts.append(logits)
    whole, last = net(torch.from_numpy(text[:-1])[:, None])
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("cell", CELLS)
def test_embedding_the_vocabulary_equals_embedding_the_text(cell):
    net = network(cell=cell)
    x = tokens(8, 3)  # more than the nine tokens of the vocabulary
    logits, _ = net(x)
    y, _ = net.recurrent(net.front(x))
    torch.testing.assert_close(logits, net.head(y))
    wanted = torch.autograd.grad(net.head(y).square().sum(), net.parameters())
    torch.testing.assert_close(torch.autograd.grad(logits.square().sum(), net.parameters()), wanted)


def test_dropout_acts_on_embedding_layers_and_head_in_training_only():
    x = tokens(8, 3)
    net = network(dropout=0.5)
    assert net.recurrent.dropout == 0.5
    assert not torch.equal(net(x)[0], net(x)[0])
    net.eval()
    torch.testing.assert_close(net(x)[0], net(x)[0], rtol=0, atol=0)
    torch.testing.assert_close(net(x)[0], network(dropout=0.0)(x)[0])
    single = network(dropout=0.5, num_layers=1)  # and no warning
    single.front.weight.data.fill_(1)
    embedded = single.dropout(single.front(x))
    assert set(embedded.unique().tolist()) == {0, 2}
    assert not torch.equal(single(x)[0], single(x)[0])


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.999999])
def test_dropout_zeroes_that_part_and_keeps_the_mean(p):
    torch.manual_seed(0)
    dropout, x = Dropout(p), torch.ones(401, 3, 333, dtype=torch.float64, requires_grad=True)
    y = dropout(x)
    kept = y != 0
    n = x.numel()
    assert abs(n * (1 - p) - kept.sum()) <= 5 * (n * p * (1 - p)) ** 0.5 + n * 2**-16
    scales = y[kept].unique().tolist()
    assert all(scale == pytest.approx(1 / (1 - p), rel=2**-16) for scale in scales if p < 0.9) and len(scales) <= 1
    for near in (kept[1:] & kept[:-1], kept[:, 1:] & kept[:, :-1], kept[..., 1:] & kept[..., :-1]):
        assert near.double().mean().item() == pytest.approx((1 - p) ** 2, abs=0.01)  # as of independent ones
    (dx,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(dx, y.detach(), rtol=0, atol=0)
    assert not torch.equal(dropout(x), y) or p == 0 or p > 0.9
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("cell", CELLS)
def test_restored_network_computes_the_same(cell):
    net = network(cell=cell).float().eval()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    torch.testing.assert_close(restore(net.config, weights)(tokens(5, 2)), net(tokens(5, 2)), rtol=0, atol=0)


def test_restore_wants_all_weights_in_their_shapes():
    weights = {name: value.float().numpy() for name, value in network().state_dict().items()}
    bad = {
        "head.bias": {k: v for k, v in weights.items() if k != "head.bias"},
        "more.bias": weights | {"more.bias": weights["head.bias"]},
        "front.weight": weights | {"front.weight": weights["front.weight"].T},
        "head.weight": weights | {"head.weight": weights["head.weight"].astype("f2")},
    }
    for name, given in bad.items():
        with pytest.raises(UnspoolError, match=f"do not fit together: {name}$"):
            restore(config(), given)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (None, "section 'front'"),
        ({"front": 3}, "section 'front'"),
        (config() | {"head": None}, "section 'head'"),
        (config(front={"kind": "pixels"}), "kind must be one of one-hot, embedding, dense, image, sound; got 'pixels'"),
        (config(cell="transformer"), "cell must be one of elman, jordan, gru, lstm, tdnn; got 'transformer'"),
        (config(cell=["lstm"]), "cell must be one of"),
        (config(hidden_size=0), "hidden_size must be an integer from 1"),
        (config(hidden_size=True), "hidden_size must be an integer from 1"),
        (config(hidden_size=2**40), "hidden_size must be an integer from 1"),
        (config(num_layers=10**6), "num_layers must be an integer from 1"),
        (config(dropout=1), "dropout must be a number of at least 0 and less than 1"),
        (config(dropout=float("nan")), "dropout must be a number of at least 0 and less than 1"),
        (config(outputs="9"), "size must be an integer from 1"),
    ],
)
def test_configuration_that_is_none(bad, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        Network(bad)


@pytest.mark.parametrize("front", ["one-hot", "dense"])
def test_dropout_zeroes_letters_that_a_feed_forward_network_reads_and_no_numbers(front):
    recurrent = {"cell": "tdnn", "hidden_size": 4, "num_layers": 1, "window": 1, "dropout": 0.75}
    network = Network(
        {"front": {"kind": front, "size": 4}, "recurrent": recurrent, "head": {"kind": "linear", "size": 4}}
    )
    seen = []
    network.recurrent.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    letters = torch.arange(4000).remainder(4)[:, None]
    x = letters if front == "one-hot" else torch.eye(4)[letters]
    network(x)
    network.eval()(x)
    trained, run = (found.reshape(4000, 4) for found in seen)
    assert torch.equal(run, torch.eye(4).repeat(1000, 1))
    if front == "one-hot":
        assert set(trained.unique().tolist()) == {0.0, 4.0} and 800 < (trained > 0).sum() < 1200
    else:
        assert torch.equal(trained, run)
