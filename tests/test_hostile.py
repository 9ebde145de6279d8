"""Hostile folders: whatever is in one, it is a network that runs, or one line of complaint."""

import hashlib
import json
import os
import pickle
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import saved
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from saved import DENSE, EMBEDDING

from unspool import DataError, DivergedError, FolderError, LanguageModel, Training, UnspoolError, load
from unspool.errors import ArgumentTypeError
from unspool.saved import small
from unspool.saved.folder import read
from unspool.tasks.language_model import saved as language_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A float32 and an int8 LSTM, and a TDNN, each small."""
    root = tmp_path_factory.mktemp("hostile")
    saved.saved(root / "lstm", saved.config(EMBEDDING, proj_size=3, peephole=True, hidden_size=4))
    saved.saved(root / "tdnn", saved.config(DENSE, cell="tdnn", window=[2, 3], dilation=2, hidden_size=4))
    small.pack(root / "lstm", root / "int8", "int8")
    small.pack(root / "lstm", root / "bf16", "bf16")
    return root


def parts(folder):
    """config.json without its checksums, and model.safetensors."""
    config = json.loads((folder / "config.json").read_bytes())
    return config | {"sha256": {}}, (folder / "model.safetensors").read_bytes()


def place(folder, config, weights):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def try_to_run(folder):
    """True if it could be loaded; then it is run, too. Nothing but FolderError may come."""
    try:
        stream = load(folder)
    except FolderError as error:
        complaint = str(error)
    else:
        complaint = ""
    if complaint:
        assert "\n" not in complaint and str(folder) in complaint
        return False
    arch = stream.network.architecture
    xs = np.zeros(3, np.int64) if arch.tokens else np.zeros((3, arch.inputs), np.float32)
    assert stream.run(xs).shape == (3, arch.outputs)
    return True


@pytest.mark.parametrize("name", ["lstm", "tdnn", "int8", "bf16"])
@settings(max_examples=300)
@given(data=st.data())
def test_mutated_weights(folders, tmp_path_factory, name, data):
    """Bytes flipped, cut, repeated and put in, the checksum taken away."""
    config, weights = parts(folders / name)
    mutated = bytearray(weights)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, min(len(mutated) - 1, 1500)) | st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip":
                mutated[where] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del mutated[where : where + data.draw(st.integers(1, 50))]
            case "insert":
                mutated[where:where] = data.draw(st.binary(max_size=9))
            case "repeat":
                mutated[where:where] = mutated[where : where + 20]
        mutated = mutated or bytearray(1)
    try_to_run(place(tmp_path_factory.getbasetemp() / "mutated", config, bytes(mutated)))


SETTINGS = {
    "size": st.integers(-1, 40) | st.just(2**24),
    "tokens": st.integers(0, 2**25),
    "hidden_size": st.integers(-1, 9) | st.just(2**24),
    "num_layers": st.integers(-1, 5) | st.just(1024),
    "proj_size": st.integers(-1, 5),
    "window": st.integers(-1, 2**17) | st.lists(st.integers(-1, 4), max_size=3),
    "dilation": st.integers(-1, 2**17),
    "kind": st.sampled_from(["dense", "one-hot", "linear", "softmax", "../../etc/passwd", "distribution"]),
    "cell": st.sampled_from(["elman", "jordan", "gru", "tdnn", "__import__('os')"]),
    "family": st.sampled_from(["normal", None]),
}
ANYTHING = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=3)


@pytest.mark.parametrize("name", ["lstm", "tdnn", "int8"])
@settings(max_examples=200)
@given(data=st.data())
def test_mutated_configurations(folders, tmp_path_factory, name, data):
    config, weights = parts(folders / name)
    for _ in range(data.draw(st.integers(1, 3))):
        section = config["network"][data.draw(st.sampled_from(["front", "recurrent", "head"]))]
        key = data.draw(
            st.sampled_from([*SETTINGS, "peephole", "bias", "bidirectional", "learn_initial_state", "more"])
        )
        section[key] = data.draw(SETTINGS.get(key, ANYTHING) | ANYTHING)
    try_to_run(place(tmp_path_factory.getbasetemp() / "mutated", config, weights))


def test_what_was_not_mutated_runs(folders, tmp_path):
    for name in ("lstm", "tdnn", "int8", "bf16"):
        assert try_to_run(place(tmp_path / name, *parts(folders / name)))


def rebuilt(folder, **changes):
    """The configuration, and the file of the weights with some put in, changed, or taken out (None)."""
    config, _ = parts(folder)
    weights = dict(read(folder).weights) | changes
    return config, save({name: w for name, w in weights.items() if w is not None})


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("lstm", {"head.bias": None}, "head.bias is missing"),
        ("lstm", {"head.bias": np.zeros(4, "f4")}, "head.bias has another shape"),
        ("lstm", {"head.bias": np.zeros((3, 1), "f4")}, "head.bias has another shape"),
        ("lstm", {"head.bias": np.zeros(3, "f8")}, "head.bias has numbers of an unknown type"),
        ("lstm", {"head.bias": np.zeros(3, "u2")}, "head.bias has another type of numbers"),
        ("lstm", {"head.weight": np.zeros((3, 3), "u2")}, "has another type of numbers than the network"),
        ("lstm", {"head.bias": np.array([1, np.nan, 0], "f4")}, "'head.bias' has values that are not finite"),
        ("lstm", {"../../../tmp/x": np.zeros(1, "f4")}, "has weights that its network has not, '../../../tmp/x'"),
        ("lstm", {"head.weight.scale": np.zeros(3, "f4")}, "has weights that its network has not"),
        ("bf16", {"head.weight": np.full((3, 3), 0x7F80, "u2")}, "'head.weight' has values that are not finite"),
        ("int8", {"head.weight.scale": None}, "head.weight.scale is missing"),
        ("int8", {"head.weight.scale": np.zeros(2, "f4")}, "head.weight.scale must have a number for each row"),
        ("int8", {"head.weight.scale": np.full(3, np.inf, "f4")}, "values that are not finite"),
        ("tdnn", {"front.std": np.array([1, 1, 0, 1, 1], "f4")}, "front.std must have positive numbers"),
        ("tdnn", {"front.std": np.full(5, 1e-45, "f4")}, "front.std must have positive numbers"),
    ],
)
def test_weights_that_do_not_fit(folders, tmp_path, name, changes, complaint):
    path = place(tmp_path / "m", *rebuilt(folders / name, **changes))
    with pytest.raises(FolderError) as caught:
        load(path)
    assert complaint in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("recurrent", "complaint"),
    [
        ({"window": 65536}, "another shape"),
        ({"hidden_size": 2**24}, "another shape"),
        ({"colour": 1}, "recurrent must have cell, hidden_size"),
        ({"bias": 1}, "bias must be true or false; got 1"),
    ],
)
def test_configurations_that_do_not_fit(folders, tmp_path, recurrent, complaint):
    config, weights = parts(folders / "tdnn")
    config["network"]["recurrent"] |= recurrent
    with pytest.raises(FolderError, match=complaint):
        load(place(tmp_path / "m", config, weights))


def test_a_small_file_cannot_claim_much_memory(tmp_path):
    config = saved.config(
        {"kind": "dense", "size": 1}, cell="tdnn", num_layers=1, window=65536, dilation=65536, hidden_size=1
    )
    _, path = saved.saved(tmp_path / "m", config)
    with pytest.raises(FolderError, match=r"window and dilation reach more than 2\^20 steps back"):
        load(path)


def test_a_folder_of_another_kind_or_time(folders, tmp_path):
    config, weights = parts(folders / "lstm")
    with pytest.raises(FolderError, match="has format 9, and this unspool reads 2; install a newer unspool"):
        load(place(tmp_path / "m", config | {"format": 9}, weights))
    with pytest.raises(FolderError, match="was saved by the task 'test'; a language_model is needed here"):
        language_model.load(folders / "lstm")
    with pytest.raises(FolderError, match="no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "m" / "model.safetensors").unlink()
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(FolderError, match=r"model\.safetensors: is missing"):
        load(tmp_path / "m")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """examples/stream.c and the library below it, under AddressSanitizer."""
    compilers = shutil.which("c++"), shutil.which("cc")
    if None in compilers:
        pytest.skip("needs a C and a C++ compiler")
    build = tmp_path_factory.mktemp("asan")
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'native' / 'c'}", "-c"]
    plain = ["-std=c++20", "-O1", "-DUNSPOOL_ISA=baseline", "-DUNSPOOL_SETS(set)=set(baseline)", "-DUNSPOOL_STEPS_ONLY"]
    objects = [build / "stream.o"]
    for name in ("sets", "steps/architecture", "steps/network", "c/folder"):
        objects.append(build / f"{Path(name).name}.o")
        subprocess.run([compilers[0], *plain, *flags, ROOT / "native" / f"{name}.cpp", "-o", objects[-1]], check=True)
    subprocess.run([compilers[1], *flags, ROOT / "examples" / "stream.c", "-o", objects[0]], check=True)
    subprocess.run([compilers[0], "-fsanitize=address,undefined", *objects, "-o", build / "stream"], check=True)
    return build / "stream"


def step_from_c(program, folder, xs):
    """Exit status, outputs, and what was written on standard error."""
    lines = "\n".join(" ".join(map(repr, np.atleast_1d(x).tolist())) for x in xs)
    environment = {
        "ASAN_OPTIONS": "max_allocation_size_mb=2000:allocator_may_return_null=0",
        "PATH": os.environ["PATH"],
    }
    result = subprocess.run([program, folder], input=lines, capture_output=True, text=True, env=environment)
    return result.returncode, [[float(w) for w in line.split()] for line in result.stdout.splitlines()], result.stderr


@pytest.mark.parametrize("name", ["lstm", "tdnn", "int8", "bf16"])
def test_c_steps_as_python_does(program, folders, name):
    stream = load(folders / name)
    xs = saved.inputs(EMBEDDING if stream.network.architecture.tokens else DENSE, 25)
    status, y, complaint = step_from_c(program, folders / name, xs)
    assert status == 0, complaint
    np.testing.assert_allclose(y, stream.run(xs), rtol=0, atol=1e-6)


def test_c_passes_over_the_parts_of_a_folder(program, folders, tmp_path):
    """Further networks, and tables of any types that only Python reads."""
    config, _ = parts(folders / "lstm")
    tables = {"table.sums": np.array([0.5, np.pi]), "table.counts": np.arange(3), "table": np.zeros((2, 2), "u1")}
    more = tables | {"other.head.bias": np.zeros(3, "u2"), "other.head.empty": np.zeros((0, 2), "f8")}
    _, weights = rebuilt(folders / "lstm", **more)
    path = place(tmp_path / "m", config | {"parts": {"table": {}, "other": config["network"]}}, weights)
    xs = saved.inputs(EMBEDDING, 25)
    status, y, complaint = step_from_c(program, path, xs)
    assert status == 0, complaint
    np.testing.assert_allclose(y, load(path).run(xs), rtol=0, atol=1e-6)
    # Without parts they are weights of the network, of a type that it cannot have.
    assert "dtype must be one of" in step_from_c(program, place(path, config, weights), xs)[2]
    for wrong in (None, [], {"table": 1}, {"table": {}, "other": None}):
        path = place(tmp_path / "m", config | {"parts": wrong}, weights)
        assert "config.json must have parts that are objects by name" in step_from_c(program, path, xs)[2]
        with pytest.raises(FolderError, match="must have parts that are objects by name"):
            load(path)


CALLS = """
#include <stdio.h>
#include "unspool.h"

int main(int argc, char** argv) {
    char error[256];
    float x[5] = {0}, y[3];
    int64_t steps[] = {-1, 0, 1, 2, 3, 4, INT64_MAX - 1, INT64_MAX};
    unspool_stream* stream = unspool_load(argv[argc - 1], error, sizeof error);
    if (!stream) return 1;
    for (int begun = 0; begun < 3; begun++) {
        for (int i = 0; i < 8; i++) printf("%lld ", (long long)unspool_outputs_of(stream, steps[i]));
        if (unspool_step(stream, x, y, error, sizeof error) < 0) return 1;
    }
    for (int i = 0; i < 8; i += 7)
        if (unspool_run(stream, steps[i], x, NULL, y, error, sizeof error) != -1) return 1;
    unspool_free(stream);
    return 0;
}
"""


def test_c_counts_the_outputs_of_any_number_of_steps(program, tmp_path):
    convolution = {"size": 4, "kernel": 2, "stride": 3, "nonlinearity": "tanh"}
    path = saved.saved(tmp_path / "m", saved.config(DENSE) | {"convolution": convolution})[1]
    (tmp_path / "calls.c").write_text(CALLS)
    sanitized = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'native' / 'c'}"]
    subprocess.run(["cc", *sanitized, "-c", tmp_path / "calls.c", "-o", tmp_path / "calls.o"], check=True)
    library = [one for one in program.parent.glob("*.o") if one.name != "stream.o"]
    subprocess.run(["c++", *sanitized, tmp_path / "calls.o", *library, "-o", tmp_path / "calls"], check=True)
    result = subprocess.run([tmp_path / "calls", path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    steps = (-1, 0, 1, 2, 3, 4, 2**63 - 2, 2**63 - 1)
    # Of T steps, the first of which is number `begun`, those that are multiples of the stride.
    wanted = [(begun + max(T, 0) + 2) // 3 - (begun + 2) // 3 for begun in range(3) for T in steps]
    assert list(map(int, result.stdout.split())) == wanted


def test_c_refuses_what_it_cannot_step(program, folders, tmp_path):
    both = saved.saved(tmp_path / "both", saved.config(cell="gru", bidirectional=True))[1]
    flipped = shutil.copytree(folders / "lstm", tmp_path / "flipped")
    data = bytearray((flipped / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (flipped / "model.safetensors").write_bytes(data)
    for folder, xs, complaint in [
        (folders / "lstm", [9], "a token is not in 0..K-1"),
        (folders / "lstm", [-1], "a token is not in 0..K-1"),
        (folders / "tdnn", [[1.0, 2.0, float("nan"), 3.0, 4.0]], "x must be finite numbers"),
        (tmp_path / "nowhere", [], "config.json is missing or cannot be read"),
        (both, [np.zeros(5)], "bidirectional"),
        (flipped, [1], "model.safetensors is damaged, as its SHA-256 is not the one in config.json"),
    ]:
        status, y, error = step_from_c(program, folder, xs)
        assert status == 2 and y == [] and complaint in error and error.count("\n") == 1


def test_c_complains_in_one_line_that_names_the_file(program, folders, tmp_path):
    config, weights = parts(folders / "lstm")
    bad = place(tmp_path / "bad", config, weights)
    (bad / "config.json").write_text("{")
    assert "config.json is not JSON at byte" in step_from_c(program, bad, [1])[2]
    header = b'{"a\\nb\\u001b[31m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    nan = place(tmp_path / "nan", config, len(header).to_bytes(8, "little") + header + b"\0\0\xc0\x7f")
    status, _, complaint = step_from_c(program, nan, [1])
    assert status == 2 and complaint.count("\n") == 1 and "\x1b" not in complaint
    entries = ",".join(f'"w{i}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' for i in range(3)).encode()
    header = b"{" + entries + b"}"
    same = place(tmp_path / "same", config, len(header).to_bytes(8, "little") + header + b"\0" * 4)
    assert "has arrays that overlap" in step_from_c(program, same, [1])[2]


NETWORK = {"front": {"kind": "dense", "size": 5}, "recurrent": {"cell": "tdnn", "hidden_size": 4, "num_layers": 2}}
NETWORK |= {"head": {"kind": "linear", "size": 3}}


def odd(section, **changes):
    """A configuration as text; values are JSON, or None for what is to be absent."""
    values = {name: json.dumps(value) for name, value in NETWORK[section].items()} | changes
    body = ", ".join(f'"{name}": {value}' for name, value in values.items() if value is not None)
    sections = {name: json.dumps(value) for name, value in NETWORK.items()} | {section: f"{{{body}}}"}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in sections.items()) + "}"


ODD = [
    ("null", "network must have a section 'front'"),
    ("[]", "network must have a section 'front'"),
    ('{"front": {}, "recurrent": [], "head": {}}', "network must have a section 'recurrent'"),
    (odd("front", kind="true"), "kind must be one of one-hot, embedding, dense"),
    (odd("front", kind='"d\\u00e9nse\\n"'), "kind must be one of one-hot, embedding, dense"),
    (odd("front", kind='"\\ud800"'), "JSON"),
    (odd("front", kind='"\\udc00\\ud800"'), "JSON"),
    (odd("front", kind='"\\ud83d\\ude00"'), "kind must be one of one-hot, embedding, dense"),
    (odd("front", kind='"dense\\u0000"'), "kind must be one of one-hot, embedding, dense"),
    (odd("front", kind='["dense"]'), "kind must be one of one-hot, embedding, dense"),
    (odd("front", kind='"dens\\u0065"'), None),
    (odd("front", tokens="3"), "front must have kind, size and no more"),
    (odd("recurrent", bar="3"), "recurrent must have cell, hidden_size, num_layers, dropout, bias, nonlinearity"),
    (odd("recurrent", peephole="false"), "recurrent must have cell, hidden_size"),
    (odd("recurrent", cell='"foo"'), "cell must be one of elman, jordan, gru, lstm, tdnn"),
    (odd("recurrent", cell='"gru_reset_before"'), "cell must be one of elman, jordan, gru, lstm, tdnn"),
    (odd("recurrent", cell=None), "cell must be one of elman, jordan, gru, lstm, tdnn"),
    (odd("recurrent", cell='""'), "cell must be one of elman, jordan, gru, lstm, tdnn"),
    (odd("recurrent", num_layers='"x"'), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="true"), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="2.0"), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="2e0"), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="-0"), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="NaN"), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", num_layers="9" * 400), "num_layers must be an integer from 1 to 1024"),
    (odd("recurrent", hidden_size="16777217"), "hidden_size must be an integer from 1 to 16777216"),
    (odd("recurrent", dropout="1"), "dropout must be a number of at least 0 and less than 1"),
    (odd("recurrent", dropout="-1e-400"), None),
    (odd("recurrent", dropout="1e400"), "dropout must be a number of at least 0 and less than 1"),
    (odd("recurrent", dropout="-Infinity"), "dropout must be a number of at least 0 and less than 1"),
    (odd("recurrent", dropout="null"), "dropout must be a number of at least 0 and less than 1"),
    (odd("recurrent", dropout="false"), "dropout must be a number of at least 0 and less than 1"),
    (odd("recurrent", dropout="0"), None),
    (odd("recurrent", bias="1"), "bias must be true or false"),
    (odd("recurrent", bias="null"), "bias must be true or false"),
    (odd("recurrent", nonlinearity="null"), "nonlinearity must be one of identity, tanh, relu, sigmoid"),
    (odd("recurrent", window="[3, 3, 3]"), "window must be an integer, or one for each of 2 layers"),
    (odd("recurrent", window="[3, true]"), "window must be an integer from 1 to 65536"),
    (odd("recurrent", window="3.0"), "window must be an integer from 1 to 65536"),
    (odd("recurrent", window="[3, 3]"), None),
    (odd("recurrent", cell='"jordan"', nonlinearity='"identity"'), "nonlinearity must be one of tanh, relu, sigmoid"),
    (odd("recurrent", cell='"jordan"', output_size="0"), "output_size must be an integer from 1 to 16777216"),
    (odd("recurrent", cell='"lstm"', proj_size="4"), "proj_size must be an integer from 0 to 3"),
    (odd("recurrent", cell='"lstm"', proj_size="null"), "proj_size must be an integer from 0 to 3"),
    (odd("head", kind='"distribution"'), "family must be one of normal, laplace, poisson"),
    (odd("head", kind='"distribution"', family='"none"'), "family must be one of normal, laplace, poisson"),
    (odd("head", family='"normal"'), "head must have kind, size and no more"),
    (odd("head", size='3, "size": 3'), "twice"),
    (odd("head", size="03"), "JSON"),
    (odd("head", size="3."), "JSON"),
    (odd("head", size="[" * 30 + "]" * 30), "size must be an integer from 1 to 16777216"),
    (odd("head", size="'3'"), "JSON"),
]


@pytest.mark.parametrize(("network", "complaint"), ODD, ids=lambda value: str(value)[-60:])
def test_python_and_c_say_the_same_of_odd_configurations(program, folders, tmp_path, network, complaint):
    config, weights = parts(folders / "tdnn")
    text = json.dumps(config | {"network": "?", "odd": float("nan")}).replace('"?"', network)
    path = place(tmp_path / "m", text.encode(), weights)
    status, _, from_c = step_from_c(program, path, np.zeros((1, 5)))
    try:
        load(path)
        from_python = ""
    except FolderError as error:
        from_python = str(error)
    # A network that is well formed but has other weights than this one is refused later on.
    if complaint is None:
        assert all(not said or "shape" in said or "missing" in said for said in (from_c, from_python))
        return
    assert status == 2 and from_c.count("\n") == 1
    assert complaint in from_c and complaint in from_python
    if complaint.endswith(("JSON", "twice")):
        return
    came = re.search(r"; got (.*)", from_c)[1]
    assert came.isascii() and "; got " in from_python
    if came not in ("2e0", "-0", "1e400"):  # which Python's json has read before
        assert came[:60] in from_python


def test_a_configuration_that_is_no_utf_8_is_refused_by_both(program, folders, tmp_path):
    config, weights = parts(folders / "tdnn")
    for bad in (b"\xff", b"\xc0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80"):
        path = place(tmp_path / "m", json.dumps(config).encode().replace(b'"test"', b'"' + bad + b'"'), weights)
        assert "config.json is not JSON at byte" in step_from_c(program, path, np.zeros((1, 5)))[2]
        with pytest.raises(FolderError, match="is not JSON"):
            load(path)


def test_a_small_file_does_not_make_a_large_state(tmp_path):
    wide = {"kind": "dense", "size": 80}
    config = saved.config(wide, cell="tdnn", window=17, dilation=65535, hidden_size=2, num_layers=1)
    _, path = saved.saved(tmp_path / "m", config)
    with pytest.raises(FolderError, match=r"window and dilation reach back over more than 2\^26 numbers"):
        load(path)


def test_sha256_in_c(tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    source = tmp_path / "sums.cpp"
    source.write_text("""
        #include <iostream>
        #include "sha256.h"
        int main() {
            std::string data;
            for (int i = 0; i < 300; data += char(i++ * 37)) std::cout << unspool::Sha256::of(data) << "\\n";
        }
    """)
    subprocess.run([compiler, "-std=c++20", f"-I{ROOT / 'native' / 'c'}", source, "-o", tmp_path / "sums"], check=True)
    sums = subprocess.run([tmp_path / "sums"], capture_output=True, text=True, check=True).stdout.split()
    data = bytes(i * 37 % 256 for i in range(300))
    assert sums == [hashlib.sha256(data[:i]).hexdigest() for i in range(300)]


@pytest.mark.parametrize("name", ["lstm", "tdnn", "int8"])
def test_c_under_the_sanitizer_with_mutated_folders(program, folders, tmp_path, name):
    """No memory error and no undefined behaviour: it runs, or says one line."""
    rng = random.Random(name)
    config, weights = parts(folders / name)
    texts, ran = json.dumps(config).encode(), 0
    for _ in range(60):
        files = [bytearray(texts), bytearray(weights)]
        for _ in range(rng.randint(1, 3)):
            file = rng.choice(files)
            where = rng.randrange(min(len(file), 1500) if rng.random() < 0.7 else len(file))
            if rng.random() < 0.7:
                file[where] = rng.choice([file[where] ^ 1 << rng.randrange(8), rng.randrange(256), *b'0129-{}[],"e'])
            else:
                del file[where : where + rng.randint(1, 30)]
        path = place(tmp_path / "m", bytes(files[0]), bytes(files[1]))
        status, _, error = step_from_c(program, path, [0, 1, 2])
        assert status == 0 or (status == 2 and error.count("\n") == 1), error
        ran += status == 0
    assert 0 < ran < 60


def test_a_pipe_in_a_folder_is_not_waited_for(program, folders, tmp_path):
    for name in ("config.json", "model.safetensors"):
        path = place(tmp_path / name.partition(".")[0], *parts(folders / "lstm"))
        (path / name).unlink()
        os.mkfifo(path / name)
        status, _, error = step_from_c(program, path, [1])
        assert status == 2 and f"{name} is missing or cannot be read" in error


def test_a_name_twice_is_found_in_time_in_proportion_to_the_file(folders, tmp_path):
    names = ",".join(f'"{i}":0' for i in [*range(80_000), 79_999])
    place(tmp_path / "m", f"{{{names}}}".encode(), b"")
    with pytest.raises(FolderError, match="it has a name twice, '79999'"):
        load(tmp_path / "m")


def test_a_small_file_of_json_makes_no_large_memory(program, folders, tmp_path):
    config, weights = parts(folders / "lstm")
    path = place(tmp_path / "large", json.dumps(config).encode() + b" " * 2**20, weights)
    assert "config.json is too large" in step_from_c(program, path, [1])[2]
    with pytest.raises(FolderError, match=r"config\.json: has more than 1048576 bytes"):
        load(path)
    header = b'{"w": [' + b"0," * 2**18 + b"0]}"
    path = place(tmp_path / "header", config, len(header).to_bytes(8, "little") + header)
    assert "model.safetensors has more than 2^18 values" in step_from_c(program, path, [1])[2]


def test_no_escape_sequence_gets_out_of_c(program, folders, tmp_path):
    config, _ = parts(folders / "lstm")
    names = [json.dumps(f"x{code}", ensure_ascii=False).encode() for code in ("\x9b31m", "\u202e", "é")]
    for name in [*names, b'"x\\u001b[31m"']:
        header = b"{" + name + b':{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        path = place(tmp_path / "m", config, len(header).to_bytes(8, "little") + header + b"\0\0\xc0\x7f")
        status, _, error = step_from_c(program, path, [1])
        assert status == 2 and error.isascii() and error.removesuffix("\n").isprintable()


@pytest.mark.parametrize("kind", [UnspoolError, ArgumentTypeError, DataError, DivergedError, FolderError])
def test_no_escape_sequence_gets_out_of_an_error(kind):
    error = kind("é\x1b[31m, 'a\\b'\n\ud800")
    assert str(error) == "é\\x1b[31m, 'a\\b'\\n\\ud800"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_is_quoted_of_a_file_is_printable(tmp_path):
    text = "the rain in spain. " * 40
    model = LanguageModel(hidden_size=4, epochs=1, training=Training(batch_size=2, tbptt=8))
    model.fit(text, run=tmp_path / "run").save(tmp_path / "m")
    checkpoint = tmp_path / "run" / "last.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"checkpoint 2", b"checkpoint \x1b[31m", 1))
    with pytest.raises(FolderError, match=re.escape(r"of format \x1b[31m, and")):
        model.fit(text, run=tmp_path / "run", resume=True)
    config = json.loads((tmp_path / "m" / "config.json").read_bytes()) | {"sha256": {}}
    config["preprocessing"]["source"]["\x1b[31m"] = 1
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(FolderError, match=re.escape(r"argument '\x1b[31m'")):
        LanguageModel.load(tmp_path / "m")
