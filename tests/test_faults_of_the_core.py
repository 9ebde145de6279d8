"""What once got past the checks of streams: arguments that change, memory that ends, numbers that nobody checked."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import saved
from numpy.testing import assert_array_equal
from saved import DENSE, EMBEDDING, ONE_HOT
from test_fronts import SOUND

from unspool import FolderError, UnspoolError, _native, load
from unspool.saved import folder, small

CONVOLUTION = {"size": 6, "kernel": 3, "stride": 2, "nonlinearity": "tanh"}


def stream(path, front=DENSE, **sections):
    return load(saved.saved(path / "m", saved.config(front) | sections)[1])


def begin(of, xs):
    """The thread of a run that is under way."""
    running = threading.Thread(target=of.run, args=(xs,))
    running.start()
    while running.is_alive():
        try:
            of.reset()
        except UnspoolError:
            break
    return running


def test_a_step_is_refused_where_its_token_begins_a_run(tmp_path):
    ours, started = stream(tmp_path, EMBEDDING), []

    class Token:
        def __index__(self):
            started.append(begin(ours, np.zeros(300_000, np.int64)))
            return 0

    with pytest.raises(UnspoolError, match="running in another thread"):
        ours.step(Token())
    started[0].join()
    ours.step(0)


@pytest.mark.parametrize("front", [DENSE, SOUND], ids=lambda front: front["kind"])
def test_nan_that_comes_during_a_run_leaves_a_state_of_numbers(tmp_path, front):
    ours = stream(tmp_path, front)
    xs = saved.inputs(front, 300_000)
    running = begin(ours, xs)
    xs[-1000:] = np.nan
    running.join()
    assert all(np.isfinite(array).all() for array in ours.state.values())
    ours.step(saved.inputs(front, 1)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_state_of_no_numbers_is_refused(tmp_path, value):
    ours = stream(tmp_path)
    before = ours.state
    with pytest.raises(UnspoolError, match="h of the state must be finite"):
        ours.write(0, 0, np.full(before["h"].shape, value, np.float32))
    for name, array in ours.state.items():
        assert_array_equal(array, before[name])


@pytest.mark.parametrize("phase", [-1, 0.5, 2, 1e30])
def test_a_phase_that_is_no_step_of_the_stride_is_refused(tmp_path, phase):
    ours = stream(tmp_path, convolution=CONVOLUTION)
    with pytest.raises(UnspoolError, match=r"phase of the state must be an integer in 0\.\.1"):
        ours.write(0, list(ours.state).index("phase"), np.array([phase], np.float32))
    assert ours.state["phase"] == 0


@pytest.mark.parametrize("threads", [-(2**31), -1, 0, 1, 2**31 - 1])
def test_any_number_of_threads_gives_the_outputs(tmp_path, threads):
    ours = stream(tmp_path)
    xs = saved.inputs(DENSE, 3, 7)
    for one, y in zip(xs, ours.predict_many(list(xs), 0, False, threads), strict=True):
        ours.reset()
        assert_array_equal(y, ours.run(one))
    wanted = ours.streams(7).run(xs)
    assert_array_equal(_native.Sessions(ours.network.native, 7, threads).run_many(xs), wanted)


def test_sessions_of_the_core_take_only_what_they_have_room_for(tmp_path):
    ours = stream(tmp_path)
    xs = saved.inputs(DENSE, 50, 3)
    sessions = _native.Sessions(ours.network.native, 3)
    assert_array_equal(sessions.run(xs), ours.streams(3).run(xs))
    with pytest.raises(UnspoolError, match=r"shape \(T, 3, 5\); got float32 \(50, 5\)"):
        sessions.run(np.ascontiguousarray(xs[:, 0]))
    for n in (0, 2**31 + 1, 2**63 - 1):
        with pytest.raises(UnspoolError, match=r"n must be in 1\.\.2147483648 sessions"):
            _native.Sessions(ours.network.native, n)
    both = load(saved.saved(tmp_path / "both", saved.config(bidirectional=True))[1])
    with pytest.raises(UnspoolError, match="streams needs a network of one direction"):
        _native.Sessions(both.network.native, 2)


def int8(name, *shape):
    return {name: np.ones(shape, np.int8), f"{name}.scale": np.full(shape[0], 1e-8, np.float32)}


def test_int8_products_have_room_in_their_sums():
    inputs = 11_243_361  # padded to 16, 191 times which is no more below 2^31
    recurrent = {"cell": "elman", "hidden_size": 1, "num_layers": 1, "bias": False}
    config = saved.config({"kind": "one-hot", "size": inputs}, **recurrent)
    weights = int8("recurrent.weight_ih_l0", 1, inputs) | int8("recurrent.weight_hh_l0", 1, 1)
    weights |= int8("head.weight", 3, 1) | {"head.bias": np.zeros(3, np.float32)}
    with pytest.raises(UnspoolError, match=r"recurrent\.weight_ih_l0 has too many columns for int8"):
        _native.Network(json.dumps(config), weights)


@pytest.mark.parametrize("front", [DENSE, ONE_HOT], ids=lambda front: front["kind"])
def test_int8_weights_have_no_number_below_minus_127(tmp_path, front):
    path = saved.saved(tmp_path / "m", saved.config(front))[1]
    small.pack(path, tmp_path / "small", "int8")
    found = folder.read(tmp_path / "small")
    weights = {name: w.copy() for name, w in found.weights.items()}
    config = {name: value for name, value in found.config.items() if name not in ("format", "sha256")}
    for value, fits in ((-127, True), (-128, False)):
        weights["recurrent.weight_ih_l0"][-1, -1] = value
        folder.write(tmp_path / f"{fits}", config, weights, {})
    load(tmp_path / "True")
    with pytest.raises(FolderError, match=r"recurrent\.weight_ih_l0 must have numbers in -127\.\.127"):
        load(tmp_path / "False")


SHORT_OF_MEMORY = """
import resource, sys
import numpy as np
import unspool

def refused(call, mebibytes):
    in_use = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (mebibytes << 20), resource.RLIM_INFINITY))
    try:
        return call() is None
    except MemoryError:
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

tokens, image, both, delays, far = map(unspool.load, sys.argv[1:])
# The copy of the tokens does not fit: the stream is as it was.
assert refused(lambda: tokens.run(np.zeros(2**25, np.int64)), 140)
tokens.step(0)
# A step of one session of a small folder needs little, and none that it has not had before its state changes.
x = np.zeros((1, 2**20), np.float32)
assert not refused(lambda: image.run(x), 100) and image.state["phase"] == 1
assert not refused(lambda: both.run(x), 100) and both.run(x).shape == (1, 3)
assert not refused(lambda: delays.step(np.zeros(64, np.float32)), 100)
# Nor do many short sequences.
sequences = [np.zeros((1, 1000), np.float32)] * 8
assert not refused(lambda: list(far.predict(sequences)), 1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
def test_memory_that_ends_is_not_claimed_or_leaves_the_stream_as_it_was(tmp_path):
    front = {"kind": "image", "height": 1024, "width": 1024, "channels": 1, "kernel": 1024, "stride": 1, "size": 1}
    point = {"size": 1, "kernel": 1, "stride": 2, "nonlinearity": "tanh"}
    tiny = {"cell": "elman", "hidden_size": 1, "num_layers": 1, "bias": False}
    wide, far = {"window": 65536}, {"window": 2, "dilation": 65536}
    configs = {
        "tokens": saved.config(ONE_HOT, **tiny),
        "image": saved.config(front, **tiny) | {"convolution": point},
        "both": saved.config(front, **tiny, bidirectional=True) | {"convolution": point},
        "delays": saved.config({"kind": "dense", "size": 64}, **tiny | {"cell": "tdnn"} | wide),
        "far": saved.config({"kind": "dense", "size": 1000}, **tiny | {"cell": "tdnn"} | far),
    }
    paths = {name: saved.saved(tmp_path / name, config)[1] for name, config in configs.items()}
    small.pack(paths["delays"], tmp_path / "small", "int8")
    paths["delays"] = tmp_path / "small"
    command = [sys.executable, "-c", SHORT_OF_MEMORY, *paths.values()]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
