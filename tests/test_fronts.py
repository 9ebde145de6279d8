"""Images, sound, and a convolution over time before the recurrent layers: trained, streamed, in C, and as ONNX."""

import copy
import pickle
import subprocess
from functools import cache

import numpy as np
import pytest
import saved
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from saved import DENSE, EMBEDDING, ONE_HOT
from test_rows import program as program

from unspool import UnspoolError, _native
from unspool.network import Network, Sound
from unspool.onnx.export import export
from unspool.saved import folder, small
from unspool.saved.architecture import parse
from unspool.stream import Loaded, Stream, load

IMAGE = {"kind": "image", "height": 7, "width": 9, "channels": 2, "kernel": 3, "stride": 2, "size": 5}
SOUND = {"kind": "sound", "rate": 8000, "size": 6, "window": 32, "hop": 5}
GRU = {"cell": "gru", "hidden_size": 7}
TDNN = {"cell": "tdnn", "hidden_size": 6, "window": 2}
BOTH = GRU | {"bidirectional": True}


def conv(size=4, kernel=3, stride=1, nonlinearity="relu"):
    return {"size": size, "kernel": kernel, "stride": stride, "nonlinearity": nonlinearity}


CASES = {
    "convolution": (DENSE, conv(), GRU),
    "convolution wide": (DENSE, conv(40, 1, 3, "tanh"), {"cell": "lstm", "hidden_size": 19}),
    "DNA": (ONE_HOT, conv(4, 5, 2), GRU),
    "embedding": (EMBEDDING, conv(20, 2, 3, "identity"), TDNN),
    "jordan": (DENSE, conv(4, 4, 2, "sigmoid"), {"cell": "jordan", "hidden_size": 5}),
    "image": (IMAGE, None, GRU),
    "image convolution": (IMAGE, conv(6, 2, 2), GRU),
    "sound": (SOUND, None, GRU),
    "sound convolution": (SOUND, conv(6, 3, 2), TDNN),
    "both": (ONE_HOT, conv(30, 3, 2), BOTH),
    "both image": (IMAGE, None, BOTH),
    "both sound": (SOUND, conv(3, 2, 3), {"cell": "lstm", "hidden_size": 5, "bidirectional": True}),
}
ONE_WAY = [name for name in CASES if not name.startswith("both")]
KINDS = ("float32", *small.KINDS)


def config(front, convolution, recurrent, **head):
    made = saved.config(front, **recurrent)
    return made if convolution is None else made | {"convolution": convolution}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    root = tmp_path_factory.mktemp("fronts")

    @cache
    def make(name, kind):
        path = root / f"{name} {kind}"
        if kind == "float32":
            net, _ = saved.saved(path, config(*CASES[name]))
            return net, path
        small.pack(make(name, "float32")[1], path, kind)
        return None, path

    return lambda name, kind="float32": make(name, kind)


def whole(net, xs):
    with torch.no_grad():
        return net.predict(torch.from_numpy(xs)[:, None])[0][:, 0].numpy()


@pytest.mark.parametrize("name", CASES)
def test_stream_and_training_agree(networks, name):
    net, path = networks(name)
    stride = net.architecture.stride
    for T in (1, 2, 29, 120):
        xs = saved.inputs(CASES[name][0], T, seed=T)
        y = Stream(load(path).network).run(xs)
        assert y.shape == (-(-T // stride), 3) == (net.architecture.lengths(T), 3)
        assert_allclose(y, whole(net, xs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_any_company_order_and_threads_give_the_same_bits(networks, instruction_set, name, data):
    path = networks(name, data.draw(st.sampled_from(KINDS)))[1]
    network = Stream(Loaded(folder.read(path), path, instruction_set))
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    sequences = [saved.inputs(CASES[name][0], T, seed=k) for k, T in enumerate(lengths)]
    alone = [Stream(network.network).run(xs) for xs in sequences]
    order = data.draw(st.permutations(range(len(lengths))))
    several = [sequences[k] for k in order]
    for k, y in zip(order, network.predict(several, threads=data.draw(st.integers(1, 3))), strict=True):
        assert_array_equal(y, alone[k])
    for k, y in zip(order, network.predict(several, last=True), strict=True):
        assert_array_equal(y, alone[k][-1])


@pytest.mark.parametrize("name", ONE_WAY)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), move=st.sampled_from(["no", "bytes", "copy", "pickle"]))
def test_any_cut_gives_the_same_bits(networks, name, cuts, move):
    path = networks(name)[1]
    xs = saved.inputs(CASES[name][0], 40)
    once = load(path)
    wanted = once.run(xs)
    stream, parts, begin = load(path), [], 0
    for cut in [*sorted(cuts), 40]:
        piece = xs[begin:cut]
        if cut % 2:
            outs = [stream.step(x) for x in piece]
            assert [y is not None for y in outs] == [
                t % stream.network.architecture.stride == 0 for t in range(begin, cut)
            ]
            parts += [y[None] for y in outs if y is not None]
        else:
            parts.append(stream.run(piece))
        begin = max(begin, cut)
        if move == "bytes":
            data, stream = stream.to_bytes(), load(path)
            stream.from_bytes(data)
        elif move != "no":
            stream = copy.copy(stream) if move == "copy" else pickle.loads(pickle.dumps(stream))
    assert_array_equal(np.concatenate(parts), wanted)
    assert stream.to_bytes() == once.to_bytes()
    stream.reset()
    assert_array_equal(stream.run(xs), wanted)


@pytest.mark.parametrize("name", ONE_WAY)
@given(data=st.data())
def test_sessions_step_at_phases_of_their_own(networks, name, data):
    path = networks(name)[1]
    n = data.draw(st.integers(1, 9))
    together, singles = load(path).streams(n), [load(path) for _ in range(n)]
    for seed in range(6):
        chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
        x = saved.inputs(CASES[name][0], len(chosen), seed=seed)
        for k, y in enumerate(together.step(x, np.array(chosen))):
            mine = singles[chosen[k]].step(x[k])
            assert_array_equal(y, np.full(3, np.nan) if mine is None else mine)
    for s in range(n):
        assert together.to_bytes(s) == singles[s].to_bytes()
    together.reset()
    xs = saved.inputs(CASES[name][0], 11, n)
    ours = together.run(xs)
    for s in range(n):
        assert_array_equal(ours[:, s], Stream(load(path).network).run(np.ascontiguousarray(xs[:, s])))


def test_sessions_at_different_steps_do_not_run_together(networks):
    streams = load(networks("DNA")[1]).streams(2)
    streams.step(np.array([1]), np.array([1]))
    with pytest.raises(UnspoolError, match="run needs sessions that are all at the same step of the stride"):
        streams.run(np.zeros((4, 2), np.int64))


def test_the_state_has_the_past_by_name(networks):
    stream = load(networks("sound convolution")[1])
    xs = saved.inputs(SOUND, 43)
    stream.run(xs)
    state = stream.state
    assert {k: v.shape for k, v in state.items()} == {
        "samples": (31, 1), "convolution": (2, 6), "phase": (1,), "window_l0": (1, 6), "window_l1": (1, 6)
    }  # fmt: skip
    assert_array_equal(state["samples"], xs[-31:])
    assert state["phase"] == [43 % 10]
    for bad in (-1, 10, 0.5):
        with pytest.raises(UnspoolError, match=r"phase of the state must be an integer in 0\.\.9; got"):
            stream.state = state | {"phase": np.array([bad], np.float32)}


@pytest.mark.parametrize("name", CASES)
def test_padding_never_changes_a_result(networks, name):
    net = copy.deepcopy(networks(name)[0]).double()
    lengths = torch.tensor([23, 1, 7, 30])
    x = torch.from_numpy(saved.inputs(CASES[name][0], 30, 4))
    x = x.double() if x.is_floating_point() else x
    s, _ = net(x, lengths=lengths)
    outs = net.architecture.lengths(lengths)
    grads = torch.autograd.grad(torch.cat([s[: outs[b], b] for b in range(4)]).square().sum(), list(net.parameters()))
    alone = [net(x[: lengths[b], b : b + 1])[0][:, 0] for b in range(4)]
    for b in range(4):
        torch.testing.assert_close(s[: outs[b], b], alone[b])
    wanted = torch.autograd.grad(torch.cat(alone).square().sum(), list(net.parameters()))
    torch.testing.assert_close(grads, wanted)
    for (parameter, _), gradient in zip(net.named_parameters(), grads, strict=True):
        if parameter.startswith(("convolution", "front")):
            assert gradient.abs().max() > 0, parameter


@pytest.mark.parametrize("T", [1, 2, 4, 9])
def test_chunks_and_resets_of_a_convolution_equal_each_sequence_alone(T):
    """With a stride of 1 the state is carried, and a reset begins afresh."""
    net = saved.network(config(DENSE, conv(), GRU)).double()
    first, second = (torch.from_numpy(saved.inputs(DENSE, n, 1, seed=n)).double() for n in (7, 11))
    x = torch.cat([first, second])
    reset = torch.zeros(18, 1, dtype=torch.bool)
    reset[[0, 7]] = True
    wanted = torch.cat([net(first)[0], net(second)[0]])
    for masks in (True, False):
        state, parts = None, []
        for begin in range(0, 18, T):
            part = slice(begin, begin + T)
            options = {"reset": reset[part]} if masks else {}
            s, state = net(x[part], state, **options)
            parts.append(s)
        torch.testing.assert_close(torch.cat(parts), wanted if masks else net(x)[0])


def test_a_stride_trains_on_whole_sequences():
    net = saved.network(config(DENSE, conv(stride=2), GRU))
    x = torch.zeros(4, 1, 5)
    for options in ({"state": net(x)[1]}, {"reset": torch.zeros(4, 1, dtype=torch.bool)}):
        with pytest.raises(UnspoolError, match="trains on whole sequences"):
            net(x, **options)


def log_mel(x, rate, size, window, hop):
    """As in a textbook, frame by frame."""
    padded = np.concatenate([np.zeros(window - 1), x])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 1400), size + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    f = np.fft.rfftfreq(window, 1 / rate)
    filters = np.array([np.interp(f, corners[k : k + 3], [0, 1, 0]) for k in range(size)])
    frames = (padded[t : t + window] * hann for t in range(0, len(x), hop))
    return np.array([np.log(filters @ np.abs(np.fft.rfft(frame)) ** 2 + 1e-6) for frame in frames])


@pytest.mark.parametrize("front", [SOUND, SOUND | {"window": 33, "hop": 1}, SOUND | {"window": 400, "size": 40}])
def test_log_mel_equals_numpy_in_training_and_frame_by_frame(tmp_path, front):
    M = front["size"]
    x = saved.inputs(front, 900) * 0.1
    recurrent = {"cell": "elman", "hidden_size": M, "nonlinearity": "relu", "bias": False, "num_layers": 1}
    plain = {"front": front, "recurrent": recurrent, "head": {"kind": "linear", "size": M}}
    net = saved.network(plain)
    assert isinstance(net.front, Sound)
    named = net.state_dict()
    for name in ("recurrent.weight_ih_l0", "head.weight"):
        named[name].copy_(torch.eye(M))
    for name in ("recurrent.weight_hh_l0", "head.bias"):
        named[name].zero_()
    named["front.mean"].fill_(-30)  # so that nothing is negative
    stream = load(saved.save(tmp_path / "m", net, plain))
    wanted = log_mel(x[:, 0].astype(np.float64), *(front[k] for k in ("rate", "size", "window", "hop")))
    assert_allclose(net.front.features(torch.from_numpy(x)[:, None])[:, 0], wanted, rtol=0, atol=1e-4)
    outs = [y for y in map(stream.step, x) if y is not None]
    std = net.front.std.numpy()
    assert_allclose(np.array(outs) * std - 30, wanted, rtol=0, atol=1e-4)


def test_the_largest_samples_leave_numbers(networks):
    stream = load(networks("sound")[1])
    for x in (3e38, -3e38, 0, 1e30):
        stream.step(np.array([x], np.float32))
    assert all(np.isfinite(array).all() for array in stream.state.values())
    assert np.isfinite(stream.run(saved.inputs(SOUND, 80))).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["DNA", "image convolution", "sound convolution"])
def test_c_has_the_bits_of_python(networks, program, name, kind):
    path = networks(name, kind)[1]
    xs = saved.inputs(CASES[name][0], 47)
    lines = "\n".join(" ".join(map(repr, np.atleast_1d(x).tolist())) for x in xs)
    result = subprocess.run([program, path], input=lines, capture_output=True, text=True, check=True)
    ours = np.array([[float(w) for w in line.split()] for line in result.stdout.splitlines()], np.float32)
    assert_array_equal(ours, load(path).run(xs))


def test_onnx_has_images_and_refuses_the_rest(networks, tmp_path):
    assert export(networks("image")[1], tmp_path / "i.onnx") <= 1e-5
    assert export(networks("both image")[1], tmp_path / "b.onnx") <= 1e-5
    for name, complaint in (("convolution", "cannot have a convolution over time"), ("sound", "got 'sound'")):
        with pytest.raises(UnspoolError, match=complaint):
            export(networks(name)[1], tmp_path / "no.onnx")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"front": IMAGE | {"kernel": 8}}, "kernel must be an integer from 1 to 7; got 8"),
        ({"front": IMAGE | {"height": 65536, "width": 65536}}, r"an image must have at most 2\^24 numbers"),
        ({"front": IMAGE | {"size": 2**24}}, r"an image must have at most 2\^24 numbers, and as many features"),
        ({"front": IMAGE | {"pad": 1}}, "front must have kind, height, width, channels, kernel, stride, size and no"),
        ({"front": {"kind": "image", "height": 3}}, "width must be an integer"),
        ({"front": SOUND | {"size": 18}}, "size must be an integer from 1 to 17; got 18"),
        ({"front": SOUND | {"window": 2**40}}, "window must be an integer from 2 to 4096"),
        ({"front": SOUND | {"hop": 0}}, "hop must be an integer from 1 to 16384; got 0"),
        ({"convolution": conv(stride=2**20)}, "stride must be an integer from 1 to 1024"),
        ({"convolution": conv(kernel=2**20)}, "kernel must be an integer from 1 to 65536"),
        ({"convolution": conv(nonlinearity="gelu")}, "nonlinearity must be one of identity, tanh, relu, sigmoid"),
        ({"convolution": conv() | {"dilation": 2}}, "convolution must have size, kernel, stride, nonlinearity and no"),
        ({"convolution": None}, "network must have a section 'convolution'"),
        ({"convolutions": conv()}, "network must have front, convolution, recurrent, head and no more"),
    ],
)
def test_configurations_that_are_refused(change, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        Network(config(DENSE, None, GRU) | change)


def test_weights_that_do_not_fit_are_refused(networks, tmp_path):
    net, path = networks("sound convolution")
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    for name in ("front.filters", "front.mean", "convolution.weight", "convolution.bias"):
        bad = weights | {name: np.zeros(3, np.float32)}
        with pytest.raises(UnspoolError, match=f"{name} has another shape"):
            Loaded(folder.Saved({"network": net.config}, bad, {}, ""), path)


def test_an_architecture_tells_what_comes_before():
    a = parse(config(SOUND, conv(stride=4), GRU))
    assert (a.inputs, a.front_size, a.fed, a.stride) == (1, 6, 4, 20)
    assert a.front_options == {"rate": 8000, "size": 6, "window": 32, "hop": 5} and a.convolution == conv(stride=4)
    a = parse(config(IMAGE, None, GRU))
    assert (a.inputs, a.front_size, a.fed, a.stride) == (126, 3 * 4 * 5, 60, 1)
