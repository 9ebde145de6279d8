"""Every session has the bits that it has alone: in any company, order, cut, and on any number of threads."""

import os
import shutil
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import saved
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from saved import DENSE, EMBEDDING, ONE_HOT, RECURRENT

from unspool import UnspoolError, _native
from unspool.saved import folder, small
from unspool.stream import Loaded, Stream

SIZES = (7, 40, 130)  # less than a panel of any set, some panels, and many
KINDS = ("float32", *small.KINDS)
HEADS = (
    {"kind": "linear", "size": 3},
    {"kind": "softmax", "size": 67},
    {"kind": "logistic", "size": 1},
    {"kind": "distribution", "family": "normal", "size": 2},
)
DIRECTIONS = {name: (False,) if r["cell"] == "tdnn" else (False, True) for name, r in RECURRENT.items()}
sets = pytest.mark.parametrize("instruction_set", _native.instruction_sets())
cells = pytest.mark.parametrize("cell", RECURRENT)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Makes a network of two layers; its front end and head are others for each cell and size."""
    root = tmp_path_factory.mktemp("networks")

    @cache
    def path(cell, size, both, kind):
        if kind != "float32":
            to = root / f"{cell} {size} {both} {kind}"
            small.pack(path(cell, size, both, "float32"), to, kind)
            return to
        k = list(RECURRENT).index(cell) + SIZES.index(size)
        recurrent = {"hidden_size": size} | RECURRENT[cell] | ({"bidirectional": True} if both else {})
        config = saved.config((DENSE, EMBEDDING, ONE_HOT)[k % 3], HEADS[k % 4], **recurrent)
        return saved.saved(root / f"{cell} {size} {both}", config)[1]

    @cache
    def make(cell, size, both, kind, instruction_set):
        found = folder.read(path(cell, size, both, kind))
        return Stream(Loaded(found, cell, instruction_set)), found.config["network"]["front"]

    make.path = path
    return make


def alone(network, xs):
    return Stream(network.network).run(xs)


@sets
@cells
@given(data=st.data())
def test_sequences_have_the_bits_of_each_alone(networks, instruction_set, cell, data):
    both, kind = data.draw(st.sampled_from(DIRECTIONS[cell])), data.draw(st.sampled_from(KINDS))
    network, front = networks(cell, data.draw(st.sampled_from(SIZES)), both, kind, instruction_set)
    lengths = data.draw(st.lists(st.integers(0, 9), max_size=30))
    sequences = [saved.inputs(front, T, seed=k) for k, T in enumerate(lengths)]
    wanted = [alone(network, xs) for xs in sequences]
    order = data.draw(st.permutations(range(len(lengths))))
    got = list(network.predict([sequences[k] for k in order], threads=data.draw(st.integers(1, 3))))
    assert len(got) == len(order)
    for k, y in zip(order, got, strict=True):
        assert_array_equal(y, wanted[k])
    steps = [xs for xs in sequences if len(xs)]
    for y, xs in zip(network.predict(steps, last=True), steps, strict=True):
        assert_array_equal(y, alone(network, xs)[-1])


@sets
@cells
@given(data=st.data())
def test_sessions_have_the_bits_of_each_alone(networks, instruction_set, cell, data):
    """Some of them step, run together, or begin afresh, with other ones each time."""
    size, kind = data.draw(st.sampled_from(SIZES)), data.draw(st.sampled_from(KINDS))
    network, front = networks(cell, size, False, kind, instruction_set)
    n = data.draw(st.integers(1, 30))
    together, singles = network.streams(n, threads=data.draw(st.integers(1, 3))), [network.streams(1) for _ in range(n)]
    for seed in range(4):
        chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
        x = saved.inputs(front, len(chosen), seed=seed)
        for k, y in enumerate(together.step(x, np.array(chosen))):
            assert_array_equal(y, singles[chosen[k]].step(x[k : k + 1])[0])
        xs = saved.inputs(front, 3, n, seed=seed)
        ours = together.run(xs)
        for s in range(n):
            assert_array_equal(ours[:, s], singles[s].run(np.ascontiguousarray(xs[:, s : s + 1]))[:, 0])
        fresh = data.draw(st.integers(0, n - 1))
        together.reset(fresh)
        singles[fresh].reset()
    for s in range(n):
        assert together.to_bytes(s) == singles[s].to_bytes(0)


@pytest.mark.parametrize("kind", KINDS)
@cells
def test_many_sequences_cut_into_steps_on_two_threads(networks, cell, kind):
    """More than there are rows, with enough to do for the threads to be begun."""
    network, front = networks(cell, 130, False, kind, "")
    lengths = np.random.default_rng(0).integers(1, 30, 250)
    sequences = [saved.inputs(front, T, seed=k) for k, T in enumerate(lengths)]
    for xs, y in zip(sequences, network.predict(sequences, threads=2), strict=True):
        stream = Stream(network.network)
        cuts = [0, len(xs) // 3, len(xs)]
        pieces = [stream.run(xs[a:b]) for a, b in pairwise(cuts)]
        assert_array_equal(np.concatenate(pieces), y)
    xs = saved.inputs(front, 3, 250)
    ours = network.streams(250, threads=2).run(xs)
    for s in (0, 100, 249):
        assert_array_equal(ours[:, s], alone(network, np.ascontiguousarray(xs[:, s])))


def test_both_directions_on_two_threads(networks):
    network, front = networks("lstm", 130, True, "float32", "")
    sequences = [saved.inputs(front, T, seed=T) for T in range(150)]
    for xs, y in zip(sequences, network.predict(iter(sequences), threads=2), strict=True):
        assert_array_equal(y, alone(network, xs))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """examples/stream.c and the C library, for the instruction set that Python runs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cmake = shutil.which("cmake", path=path)
    if cmake is None or shutil.which("cc") is None:
        pytest.skip("needs cmake and a C compiler")
    build = tmp_path_factory.mktemp("c")
    options = ["-DUNSPOOL_C=ON", f"-DUNSPOOL_SETS={_native.instruction_sets()[0]}"]
    source = ["-S", Path(__file__).parents[1], "-B", build]
    for command in ([*source, *options], ["--build", build]):
        subprocess.run([cmake, *command], check=True, capture_output=True)
    return build / "stream"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["elman", "jordan relu", "gru", "gru reset before", "lstm projected", "tdnn"])
def test_c_has_the_bits_of_python(networks, program, cell, kind):
    network, front = networks(cell, 40, False, kind, "")
    sequences = [saved.inputs(front, 12, seed=k) for k in range(15)]
    *_, y = network.predict(sequences)
    lines = "\n".join(" ".join(map(repr, np.atleast_1d(x).tolist())) for x in sequences[-1])
    command = [program, networks.path(cell, 40, False, kind)]
    result = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    ours = np.array([[float(w) for w in line.split()] for line in result.stdout.splitlines()], np.float32)
    assert_array_equal(ours, y)


def test_sequences_are_read_in_blocks(networks, monkeypatch):
    monkeypatch.setattr("unspool.stream._BLOCK", 100)
    network, front = networks("gru", 7, False, "float32", "")
    taken = []

    def sequences():
        for k in range(40):
            taken.append(k)
            yield saved.inputs(front, 5, seed=k)

    state = network.to_bytes()
    for k, y in enumerate(network.predict(sequences())):
        assert len(taken) <= k + 40 // 2
        assert_array_equal(y, alone(network, saved.inputs(front, 5, seed=k)))
    assert network.to_bytes() == state
    assert list(network.predict([])) == list(network.predict(iter(()), last=True)) == []


def test_sequences_that_are_refused(networks):
    network, _ = networks("elman", 7, False, "float32", "")
    good = saved.inputs(DENSE, 3)
    for bad, complaint in (
        (good[:, :4].copy(), r"sequence 2 must be a contiguous NumPy array of float32 of shape \(T, 5\); got float32"),
        (good * np.nan, "sequence 2 must be finite numbers"),
        (None, "sequence 2 must be .*; got None"),
    ):
        with pytest.raises(UnspoolError, match=complaint):
            list(network.predict([good, good, bad]))
    with pytest.raises(UnspoolError, match="sequence 1 must have a step, whose outputs are wanted; got none"):
        list(network.predict([good, good[:0]], last=True))
    with pytest.raises(UnspoolError, match="threads must be"):
        network.predict([good], threads=0)
    tokens, _ = networks("elman relu", 7, False, "float32", "")
    with pytest.raises(UnspoolError, match=r"sequence 0 must be tokens in 0\.\.8; got 9"):
        list(tokens.predict([np.array([1, 9])]))
