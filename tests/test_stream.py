"""Streams: what a saved network computes without PyTorch is what the training side computes."""

import copy
import inspect
import json
import multiprocessing
import pickle
import pydoc
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import saved
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from saved import DENSE, EMBEDDING, ONE_HOT, RECURRENT

from unspool import LanguageModel, Training, UnspoolError, _native, load
from unspool.saved import folder, small
from unspool.stream import Loaded, Stream
from unspool.tasks.language_model import saved as language_model

FRONTS = {"dense": DENSE, "one-hot": ONE_HOT, "embedding": EMBEDDING}
ATOL = 1e-5


def predict(net, xs, state=None):
    """(T, ...) without a batch to the network's outputs, (T, O)."""
    with torch.no_grad():
        return net.predict(torch.from_numpy(xs)[:, None], state)[0][:, 0].numpy()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("cell", RECURRENT)
def test_ten_thousand_steps_agree_with_the_training_side(tmp_path, cell, front):
    config = saved.config(FRONTS[front], **RECURRENT[cell])
    net, path = saved.saved(tmp_path / "m", config)
    xs = saved.inputs(FRONTS[front], 10_000)
    stream = load(path)
    assert_allclose(stream.run(xs), predict(net, xs), rtol=0, atol=ATOL)
    assert_allclose(stream.step(xs[0]), predict(net, np.append(xs, xs[:1], 0))[-1], rtol=0, atol=ATOL)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("size", [1, 2, 8, 16, 33, 130])
def test_sizes_that_fill_no_vector(tmp_path, cell, size):
    front = {"kind": "dense", "size": size}
    config = saved.config(front, {"kind": "linear", "size": size}, cell=cell, hidden_size=size, num_layers=3)
    net, path = saved.saved(tmp_path / "m", config)
    xs = saved.inputs(front, 50)
    assert_allclose(load(path).run(xs), predict(net, xs), rtol=0, atol=ATOL)


@pytest.mark.parametrize("cell", [name for name, r in RECURRENT.items() if r["cell"] != "tdnn"])
@pytest.mark.parametrize("front", FRONTS)
def test_both_directions_over_whole_sequences(tmp_path, cell, front):
    config = saved.config(FRONTS[front], **RECURRENT[cell], bidirectional=True)
    net, path = saved.saved(tmp_path / "m", config)
    stream = load(path)
    for T in (1, 50, 2):
        xs = saved.inputs(FRONTS[front], T)
        assert_allclose(stream.run(xs), predict(net, xs), rtol=0, atol=ATOL)
    with pytest.raises(UnspoolError, match="step needs a network of one direction"):
        stream.step(xs[0])
    with pytest.raises(UnspoolError, match="streams needs a network of one direction"):
        stream.streams(2)
    assert stream.state == {}


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "softmax", "size": 11},
        {"kind": "logistic", "size": 3},
        {"kind": "distribution", "family": "normal", "size": 2},
        {"kind": "distribution", "family": "laplace", "size": 1},
        {"kind": "distribution", "family": "poisson", "size": 4},
    ],
    ids=lambda head: head.get("family", head["kind"]),
)
def test_heads(tmp_path, head):
    config = saved.config(DENSE, head, cell="gru")
    net = saved.network(config)
    with torch.no_grad():
        net.head.weight *= 20
        net.head.bias += torch.linspace(-100, 90, len(net.head.bias))
    xs = saved.inputs(DENSE, 40)
    ours = load(saved.save(tmp_path / "m", net, config)).run(xs)
    assert_allclose(ours, predict(net, xs), rtol=1e-5, atol=ATOL)
    if head["kind"] == "softmax":
        assert_allclose(ours.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_layer_of_torch_nn_can_be_saved(tmp_path, name):
    """The folder's names are torch's, so that a network trained elsewhere needs no converter."""
    torch.manual_seed(0)
    layer, head = getattr(torch.nn, name)(5, 7, 2), torch.nn.Linear(7, 3)
    config = saved.config(DENSE, cell={"RNN": "elman"}.get(name, name.lower()))
    weights = {f"recurrent.{k}": v for k, v in layer.state_dict().items()}
    weights |= {f"head.{k}": v for k, v in head.state_dict().items()}
    weights |= {"front.mean": torch.zeros(5), "front.std": torch.ones(5)}
    folder.write(tmp_path / "m", {"task": "t", "network": config}, {k: v.numpy() for k, v in weights.items()}, {})
    xs = saved.inputs(DENSE, 1000)
    with torch.no_grad():
        wanted = head(layer(torch.from_numpy(xs))[0]).numpy()
    assert_allclose(load(tmp_path / "m").run(xs), wanted, rtol=0, atol=ATOL)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder for each kind of recurrent layers, over embedded tokens or numbers in turn."""
    root = tmp_path_factory.mktemp("networks")
    folders = {}
    for k, (name, recurrent) in enumerate(RECURRENT.items()):
        front = (DENSE, EMBEDDING, ONE_HOT)[k % 3]
        folders[name] = saved.saved(root / str(k), saved.config(front, **recurrent))[1], front
    return folders


@pytest.mark.parametrize("kind", small.KINDS)
@pytest.mark.parametrize("cell", RECURRENT)
def test_a_state_that_moves_gives_the_same_bits_with_small_weights(networks, tmp_path, cell, kind):
    path, front = networks[cell]
    small.pack(path, tmp_path / "m", kind)
    for seed in range(3):
        xs = saved.inputs(front, 20, seed=seed)
        whole, stream = load(tmp_path / "m"), load(tmp_path / "m")
        first = stream.run(xs[:9])
        moved = load(tmp_path / "m")
        moved.from_bytes(stream.to_bytes())
        assert_array_equal(np.concatenate([first, moved.run(xs[9:])]), whole.run(xs))


@pytest.mark.parametrize("cell", RECURRENT)
def test_the_largest_numbers_leave_no_trace_that_is_not_finite(tmp_path, cell):
    _, path = saved.saved(tmp_path / "m", saved.config(DENSE, **RECURRENT[cell]))
    stream = load(path)
    stream.step(np.array([3e38, -3e38, 3e38, 0, -1e30], np.float32))
    assert all(np.isfinite(array).all() for array in stream.state.values())
    if RECURRENT[cell].get("nonlinearity") != "relu" and RECURRENT[cell].get("output_nonlinearity") != "relu":
        assert np.isfinite(stream.run(saved.inputs(DENSE, 50))).all()


def test_an_output_whose_type_was_changed_is_not_given_again(networks):
    stream = load(networks["gru"][0])
    xs = saved.inputs(networks["gru"][1], 6)
    wanted = load(networks["gru"][0]).run(xs)
    for x, y in zip(xs, wanted, strict=True):
        got = stream.step(x)
        assert_array_equal(got, y)
        got.dtype = np.int32
        del got


@pytest.mark.parametrize("cell", RECURRENT)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), state_between=st.booleans())
def test_any_cut_gives_the_same_bits(networks, cell, cuts, state_between):
    path, front = networks[cell]
    xs = saved.inputs(front, 40)
    whole = load(path)
    wanted = whole.run(xs)
    stream, parts, begin = load(path), [], 0
    for cut in [*sorted(cuts), 40]:
        piece = xs[begin:cut]
        parts.append(np.array([stream.step(x) for x in piece]) if cut % 2 and len(piece) else stream.run(piece))
        begin = cut
        if state_between:
            bytes_ = stream.to_bytes()
            stream = load(path)
            stream.from_bytes(bytes_)
    assert_array_equal(np.concatenate([p.reshape(-1, 3) for p in parts]), wanted)
    for name, array in whole.state.items():
        assert_array_equal(stream.state[name], array)
    stream.reset()
    assert_array_equal(stream.run(xs), wanted)


@pytest.mark.parametrize("n", [1, 2, 97, 200])
def test_all_sessions_run_together(networks, n):
    path, front = networks["gru"]
    xs = saved.inputs(front, 5, n)
    alone = load(path)
    ours = alone.streams(n).run(xs)
    assert ours.shape == (5, n, 3)
    for s in {0, n // 2, n - 1}:
        alone.reset()
        assert_array_equal(ours[:, s], alone.run(np.ascontiguousarray(xs[:, s])))


def test_threads_change_no_bits(tmp_path):
    """Neither of steps nor of runs, of all sessions or of some, nor with more threads than there are parts."""
    _, path = saved.saved(tmp_path / "m", saved.config(cell="lstm", hidden_size=64))
    stream, n = load(path), 700
    xs, some = saved.inputs(DENSE, 3, n), np.random.default_rng(0).permutation(n)[:500]
    alone, *others = [stream.streams(n, threads) for threads in (1, 2, 3, 16)]
    wanted = alone.run(xs), alone.step(xs[0]), alone.step(xs[1][:500], some), alone.to_bytes(699)
    for sessions in others:
        got = sessions.run(xs), sessions.step(xs[0]), sessions.step(xs[1][:500], some), sessions.to_bytes(699)
        for a, b in zip(got[:3], wanted[:3], strict=True):
            assert_array_equal(a, b)
        assert got[3] == wanted[3]


def test_a_session_moves_into_a_stream(networks):
    path, front = networks["tdnn"]
    xs = saved.inputs(front, 9)
    stream = load(path)
    sessions = stream.streams(3)
    stream.run(xs)
    sessions.from_bytes(1, stream.to_bytes())
    assert_array_equal(sessions.step(xs[:1], np.array([1]))[0], stream.step(xs[0]))
    stream.from_bytes(sessions.to_bytes(1))
    assert_array_equal(sessions.step(xs[:1], np.array([1]))[0], stream.step(xs[0]))


def test_help_shows_how_to_call_a_step(networks):
    """The step is compiled, and has a signature and takes its argument by name all the same."""
    for method, name in ((Stream.step, "x"), (Stream.run, "xs")):
        assert list(inspect.signature(method).parameters) == ["self", name]
        assert f"{method.__name__}(self, /, {name})" in pydoc.render_doc(method, renderer=pydoc.plaintext)
    path, front = networks["lstm"]
    xs = saved.inputs(front, 3)
    assert_array_equal(load(path).step(x=xs[0]), load(path).step(xs[0]))
    assert_array_equal(load(path).run(xs=xs), load(path).run(xs))
    stream: Any = load(path)
    for call, complaint in (
        (stream.step, "step takes one argument, x; got 0"),
        (lambda: stream.step(xs[0], 1), "step takes one argument, x; got 2"),
        (lambda: stream.step(y=xs[0]), "step takes one argument, x; got one named y"),
        (lambda: stream.run(x=xs), "run takes one argument, xs; got one named x"),
    ):
        with pytest.raises(TypeError, match=complaint):
            call()
    with pytest.raises(TypeError, match="was not made by its __init__"):
        Stream.__new__(Stream).step(xs[0])
    with pytest.raises(TypeError, match="'Sessions' object"):
        Stream.step(3, xs[0])


def test_outputs_are_the_callers(networks):
    """Their memory is used again, but not before nobody holds it, or a view of it."""
    path, front = networks["lstm"]
    stream, xs = load(path), saved.inputs(front, 30)
    wanted = load(path).run(xs)
    views = [stream.step(x)[1:] for x in xs]
    assert_array_equal(views, wanted[:, 1:])
    stream.reset()
    y = None
    for x, w in zip(xs, wanted, strict=True):
        before = y
        y = stream.step(x)
        assert before is not y
        assert_array_equal(y, w)
        y[:] = np.nan


def test_state_is_that_of_the_layers(tmp_path):
    net, path = saved.saved(tmp_path / "m", saved.config(proj_size=3))
    stream, xs = load(path), saved.inputs(DENSE, 20)
    stream.run(xs)
    with torch.no_grad():
        _, (h, c) = net(torch.from_numpy(xs)[:, None])
    assert {name: a.shape for name, a in stream.state.items()} == {"h": (2, 3), "c": (2, 7)}
    assert_allclose(stream.state["h"], h[:, 0].numpy(), rtol=0, atol=ATOL)
    assert_allclose(stream.state["c"], c[:, 0].numpy(), rtol=0, atol=ATOL)
    stream.state = {"h": np.full((2, 3), 0.5, np.float32), "c": np.full((2, 7), -0.25, np.float32)}
    state = torch.full((2, 1, 3), 0.5), torch.full((2, 1, 7), -0.25)
    assert_allclose(stream.run(xs), predict(net, xs, state), rtol=0, atol=ATOL)


def test_state_that_does_not_fit_changes_nothing(networks, tmp_path):
    path, front = networks["lstm"]
    stream = load(path)
    stream.run(saved.inputs(front, 3))
    before = stream.to_bytes()
    h, c = stream.state["h"], stream.state["c"]
    other = load(saved.saved(tmp_path / "m", saved.config(front, **RECURRENT["lstm"]), seed=1)[1])
    bad = [
        ({}, "state must have h, c; got none"),
        ({"h": h}, "state must have h, c; got h"),
        ({"h": h, "c": c[:1]}, r"c of the state must be a float32 array of shape \(2, 7\); got float32 \(1, 7\)"),
        ({"h": h.astype(float), "c": c}, "h of the state must be a float32 array"),
        ({"h": h * 2, "c": c * np.nan}, "c of the state must be finite"),
        ({"h": h, "c": None}, "c of the state must be a float32 array .*; got None"),
    ]
    for state, complaint in bad:
        with pytest.raises(UnspoolError, match=complaint):
            stream.state = state
    for data, complaint in [
        (b"", "cannot be read"),
        (before[:-1], "cannot be read"),
        (other.to_bytes(), "that of another"),
    ]:
        with pytest.raises(UnspoolError, match=complaint):
            stream.from_bytes(data)
    assert stream.to_bytes() == before


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (np.zeros(4, "f4"), r"x must be a contiguous NumPy array of float32 of shape \(5,\); got float32 \(4,\)"),
        (np.zeros((2, 3, 5), "f4"), r"got float32 \(2, 3, 5\)"),
        (np.zeros(5), r"got float64 \(5,\)"),
        (np.zeros(5, ">f4"), r"got >f4 \(5,\)"),
        (np.zeros(5, "i4"), r"got int32 \(5,\)"),
        (np.zeros(10, "f4")[::2], r"not contiguous, or not of numbers, float32 \(5,\)"),
        (np.array([0, 1, np.nan, 0, 0], "f4"), "x must be finite numbers; got NaN or infinity"),
        (np.array([0, 1, 0, 0, -np.inf], "f4"), "x must be finite numbers"),
        (np.array([object()] * 5), "got object"),
        ([0.0] * 5, "of type list"),
        (None, "got None of type NoneType"),
        (b"12345678901234567890", "of type bytes"),
    ],
)
def test_numbers_that_are_refused_leave_the_state(networks, x, complaint):
    path, front = networks["elman"]
    assert front is DENSE
    stream = load(path)
    stream.run(saved.inputs(front, 3))
    before = stream.to_bytes()
    sessions = stream.streams(2)
    with pytest.raises(UnspoolError, match=complaint):
        stream.step(x)
    for call in (lambda: stream.run(x), lambda: sessions.step(x), lambda: sessions.run(x)):
        with pytest.raises(UnspoolError, match="must be"):
            call()
    assert stream.to_bytes() == before


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (9, r"x must be a token in 0\.\.8; got 9"),
        (-1, "got -1"),
        (2**70, "got 1180591620717411303424 of type int"),
        (True, "got True of type bool"),
        (1.0, "got 1.0 of type float"),
        ("1", "got '1' of type str"),
        (np.float32(1), "got float32"),
        (np.array([1, 2]), "got int64"),
        (None, "got None"),
    ],
)
def test_tokens_that_are_refused_leave_the_state(networks, x, complaint):
    path, front = networks["elman relu"]
    assert front is EMBEDDING
    stream = load(path)
    stream.run(saved.inputs(front, 3))
    before = stream.to_bytes()
    with pytest.raises(UnspoolError, match=complaint):
        stream.step(x)
    for xs in (np.array([1, 9]), np.array([1, -1]), np.array([1.0]), np.array([1], "i4"), np.array([[1]]), [1]):
        with pytest.raises(UnspoolError, match="must be"):
            stream.run(xs)
    assert stream.to_bytes() == before
    assert_array_equal(stream.step(np.int64(3)), Stream(stream.network).run(np.append(saved.inputs(front, 3), 3))[-1])


@pytest.mark.parametrize(
    ("sessions", "complaint"),
    [
        ([0, 3], r"sessions must be in 0\.\.2; got 3"),
        ([-1, 0], "got -1"),
        ([1, 1], "sessions must be different; got 1 twice"),
        ([0], "x must be"),
        ([0.0, 1.0], "sessions must be a contiguous NumPy array of int64"),
    ],
)
def test_sessions_that_are_refused(networks, sessions, complaint):
    path, front = networks["elman"]
    streams = load(path).streams(3)
    for _ in range(2):
        with pytest.raises(UnspoolError, match=complaint):
            streams.step(saved.inputs(front, 2), np.array(sessions))
    assert all((streams.state(s)["h"] == 0).all() for s in range(3))
    for call in (
        lambda: streams.reset(3),
        lambda: streams.state(-1),
        lambda: load(path).streams(0),
        lambda: load(path).streams(1.5),
        lambda: load(path).streams(3, 0),
    ):
        with pytest.raises(UnspoolError, match="must be"):
            call()


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("cell", RECURRENT)
def test_all_instruction_sets_agree(networks, cell, instruction_set):
    path, front = networks[cell]
    xs = saved.inputs(front, 30, 13)
    packed = Loaded(folder.read(path), path, instruction_set)
    sessions, wanted = Stream(packed).streams(13), load(path).streams(13)
    assert_allclose(sessions.run(xs), wanted.run(xs), rtol=0, atol=1e-6)
    assert_allclose(sessions.step(xs[0, 3:4], np.array([3])), wanted.step(xs[0, 3:4], np.array([3])), rtol=0, atol=1e-6)


def test_a_stream_is_for_one_thread(networks):
    path, front = networks["lstm"]
    stream = load(path)
    xs = saved.inputs(front, 300_000)
    running = threading.Thread(target=stream.run, args=(xs,))
    running.start()
    time.sleep(0.01)
    assert running.is_alive()
    with pytest.raises(UnspoolError, match="running in another thread"):
        stream.step(xs[0])
    running.join()
    stream.step(xs[0])


@pytest.fixture(scope="module")
def model():
    training = Training(batch_size=4)
    return LanguageModel(
        hidden_size=24, embedding_size=8, num_layers=2, epochs=3, learning_rate=0.02, training=training
    ).fit("the rain in spain stays mainly in the plain.\n" * 60)


def test_text_is_written_and_scored_as_by_the_training_side(model, tmp_path):
    model.save(tmp_path / "m")
    stream = language_model.load(tmp_path / "m")
    options = {"length": 200, "temperature": 0.7, "top_k": 9, "top_p": 0.9, "random_state": 3}
    assert stream.generate("the rain", **options) == model.generate("the rain", **options)
    assert stream.generate(length=50, random_state=1) == model.generate(length=50, random_state=1)
    text = "the rain in Spain stays mainly in the plain.\n" * 500
    ours, theirs = stream.evaluate(text), model.evaluate(text)
    assert ours.network.tokens == theirs.network.tokens and ours.network.unknown == theirs.network.unknown
    assert ours.network.bits == pytest.approx(theirs.network.bits, abs=1e-5)
    own = "the rain in spain stays mainly in the plain.\n" * 60
    assert stream.evaluate(own).held_out and stream.evaluate(own).baseline == model.evaluate(own).baseline
    assert stream.score(text) == pytest.approx(model.score(text), abs=1e-5)
    assert stream.unknown("THE") == 3


def test_folders_of_format_1_are_read(model, tmp_path):
    model.save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    assert set(config["network"]["recurrent"]) == {"cell", "hidden_size", "num_layers", "dropout"}
    saved.edit_config(tmp_path / "m", format=1)
    wanted = model.generate("the", length=9, random_state=0)
    assert language_model.load(tmp_path / "m").generate("the", length=9, random_state=0) == wanted
    assert LanguageModel.load(tmp_path / "m").generate("the", length=9, random_state=0) == wanted


WITHOUT_TORCH = """
import json, sys, time

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "sklearn", "typer", "rich", "scipy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
for name, path in json.loads(sys.argv[1]).items():
    begin = time.perf_counter()
    import unspool
    stream = unspool.load(path)
    took = time.perf_counter() - begin
    import numpy as np
    xs = np.load(path + ".npy")
    y = stream.run(xs)
    if not stream.network.architecture.bidirectional:
        stream.reset()
        y = np.array([stream.step(x) for x in xs])
    np.save(path + ".out.npy", y)
    print(took)
from unspool.cli.main import main
model, text = sys.argv[2], sys.argv[3]
for verb in (
    ["evaluate", model, text], ["pack", model, "--weights", "int8", "--file", text],
    ["generate", model, "--length", "20", "--seed", "0"],
):
    sys.argv[1:] = verb
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
assert "torch" not in sys.modules
"""


def test_without_torch_installed(model, tmp_path):
    """Every cell, stacked, projected and bidirectional, in a process that cannot import it."""
    model.save(tmp_path / "m")
    (tmp_path / "t.txt").write_text("to be, or not to be", encoding="utf-8")
    folders, wanted = {}, {}
    for k, (name, recurrent) in enumerate(RECURRENT.items()):
        for both in (False, True):
            if both and recurrent["cell"] == "tdnn":
                continue
            front = (DENSE, EMBEDDING, ONE_HOT)[k % 3]
            path = tmp_path / f"{k}{both}"
            net, _ = saved.saved(path, saved.config(front, **recurrent, **({"bidirectional": True} if both else {})))
            xs = saved.inputs(front, 10_000)
            np.save(f"{path}.npy", xs)
            folders[f"{name} {both}"], wanted[path] = str(path), predict(net, xs)
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(folders), str(tmp_path / "m"), str(tmp_path / "t.txt")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "network " in result.stdout and "packed " in result.stdout
    for path, y in wanted.items():
        assert_allclose(np.load(f"{path}.out.npy"), y, rtol=0, atol=ATOL)
    assert result.stdout.endswith("%)\n" + model.generate(length=20, random_state=0) + "\n")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
@pytest.mark.parametrize("cell", RECURRENT)
def test_copies_of_a_stream_go_on_with_the_same_bits(networks, cell, copied):
    path, front = networks[cell]
    stream, xs = load(path), saved.inputs(front, 9)
    sessions = stream.streams(3, threads=2)
    stream.run(xs[:5])
    sessions.step(xs[:3])
    sessions.step(xs[:1], np.array([1]))
    again, several = copied(stream), copied(sessions)
    again.run(xs)  # it has a state of its own
    again = copied(stream)
    assert_array_equal(again.run(xs), stream.run(xs))
    assert (len(several), several.threads, type(several)) == (3, 2, type(sessions))
    assert_array_equal(several.step(xs[3:6]), sessions.step(xs[3:6]))


def test_a_pickle_needs_no_folder_and_copies_share_the_weights(tmp_path):
    small_, path = tmp_path / "p", saved.saved(tmp_path / "m", saved.config(bidirectional=True))[1]
    small.pack(path, small_, "int8")
    for folder_ in (path, small_):
        stream = load(folder_)
        assert copy.copy(stream).network is copy.deepcopy(stream).network is stream.network
        data, xs = pickle.dumps([stream, stream.network]), saved.inputs(DENSE, 5)
        wanted = stream.run(xs)
        shutil.rmtree(folder_)
        again, network = pickle.loads(data)
        assert again.network is network and network.sha256 == stream.network.sha256
        assert_array_equal(again.run(xs), wanted)


def test_a_pool_of_processes_goes_on(networks):
    path, front = networks["lstm"]
    stream, xs = load(path), saved.inputs(front, 9)
    stream.run(xs)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        theirs = pool.submit(Stream.run, stream, xs).result()
    assert_array_equal(theirs, stream.run(xs))
