"""Saved folders: they are complete or absent."""

import errno
import itertools
import json
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save

from unspool import FolderError, beside
from unspool.saved import card, folder

WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
CONFIG = {"task": "t", "network": {}}


def write(path, value=0.0, **options):
    folder.write(path, CONFIG | {"value": value}, {"w": WEIGHTS["w"] + value}, {"vocabulary.json": "[]"}, **options)


def contents(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "a" / "b")
    saved = folder.read(tmp_path / "a" / "b", "t", ("vocabulary.json",))
    assert saved.config["format"] == 2 and saved.config["task"] == "t"
    np.testing.assert_array_equal(saved.weights["w"], WEIGHTS["w"])
    assert saved.files == {"vocabulary.json": b"[]"}
    assert os.listdir(tmp_path / "a") == ["b"]
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "a").stat().st_mode


def test_nothing_is_replaced_unless_forced(tmp_path):
    write(tmp_path / "m")
    with pytest.raises(FolderError, match="m exists; choose another folder, or give force to replace it"):
        write(tmp_path / "m", 1)
    assert folder.read(tmp_path / "m", "t").config["value"] == 0
    write(tmp_path / "m", 1, force=True)
    assert folder.read(tmp_path / "m", "t").weights["w"][0, 0] == 1
    assert os.listdir(tmp_path) == ["m"]


def test_what_is_no_network_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"text")
    before = contents(tmp_path)
    complaints = {"photos": "is not a saved network", "file": "is a file", "file/m": "cannot be made"}
    for name, complaint in complaints.items():
        with pytest.raises(FolderError, match=complaint):
            write(tmp_path / name, force=True)
    assert contents(tmp_path) == before


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "m").mkdir()
    write(tmp_path / "m")
    assert folder.read(tmp_path / "m", "t").config["value"] == 0


@pytest.mark.parametrize(
    ("function", "call", "there"),
    [
        *itertools.product(["fsync"], [2], [False, True]),
        *itertools.product(["replace"], [1], [False, True]),
        *itertools.product(["mkdir"], [1, 3, 4], [False, True]),
        ("rename", 1, True),  # the first moves the old network aside
    ],
)
def test_full_disk_leaves_nothing_and_loses_nothing(tmp_path, monkeypatch, there, function, call):
    if there:
        write(tmp_path / "m")
    before = contents(tmp_path)
    calls, original = 0, getattr(os, function)

    def full(*args, **options):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **options)

    monkeypatch.setattr(os, function, full)
    monkeypatch.setattr(beside, "_exchange", lambda new, path: False)
    with pytest.raises(FolderError, match=rf"^{tmp_path}/m (was not written|cannot be made) .*No space left on device"):
        write(tmp_path / "m", 1, force=True)
    monkeypatch.undo()
    assert calls >= call
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == (["m"] if there else [])


def test_file_that_cannot_grow_leaves_nothing(tmp_path):
    """The kernel stops the writing in the middle of the weights."""
    program = (
        "import resource, sys, numpy as np; from unspool.saved import folder; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "folder.write(sys.argv[1], {}, {'w': np.zeros(1000, np.float32)}, {})"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path / "m")], capture_output=True, text=True)
    assert "m was not written (File too large)" in result.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def edit_config(path, **changes):
    config = json.loads((path / "config.json").read_bytes())
    (path / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def test_format_task_and_files_are_checked(tmp_path):
    path = tmp_path / "m"
    with pytest.raises(FolderError, match="m: no such folder"):
        folder.read(path, "t")
    write(path)
    with pytest.raises(FolderError, match="m: was saved by the task 't'; a classifier is needed"):
        folder.read(path, "classifier")
    with pytest.raises(FolderError, match=r"metrics\.json: is missing"):
        folder.read(path, "t", ("metrics.json",))
    edit_config(path, format=3)
    with pytest.raises(FolderError, match="m: has format 3, and this unspool reads 2; install a newer unspool"):
        folder.read(path, "t")


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "[" * 100_000, "\ud800", '{"format": true}', '{"format": 1}', '{"format": "1"}']
)
def test_config_that_is_none(tmp_path, config):
    write(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(config, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(FolderError, match=r"config\.json: .*; save the network again"):
        folder.read(tmp_path / "m", "t")


def test_weights_with_any_bit_flipped_or_end_cut_off_are_refused(tmp_path):
    path = tmp_path / "m"
    write(path)
    data = (path / "model.safetensors").read_bytes()
    for i in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[i] ^= 1 << i % 8
        (path / "model.safetensors").write_bytes(flipped)
        with pytest.raises(FolderError, match=r"model\.safetensors: is damaged"):
            folder.read(path, "t")
    for size in (0, 7, 8, len(data) - 1):
        (path / "model.safetensors").write_bytes(data[:size])
        with pytest.raises(FolderError, match=r"model\.safetensors: is damaged"):
            folder.read(path, "t")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 20,
        (2**60).to_bytes(8, "little") + b"{}",
        (90).to_bytes(8, "little")
        + b'{"w":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'.ljust(94),
        save({"w": np.array([1, np.nan], np.float32)}),
        save({"w": np.array([np.inf, 1], np.float32)}),
    ],
    ids=["empty", "noise", "long header", "enormous shape", "nan", "inf"],
)
def test_weights_that_are_none_even_with_the_right_sum(tmp_path, data):
    path = tmp_path / "m"
    write(path)
    (path / "model.safetensors").write_bytes(data)
    edit_config(path, sha256={})
    with pytest.raises(FolderError, match=r"model\.safetensors: "):
        folder.read(path, "t")


def test_a_file_too_large_is_not_read(tmp_path):
    write(tmp_path / "m")
    with open(tmp_path / "m" / "config.json", "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(FolderError, match="has more than"):
        folder.read(tmp_path / "m", "t")


def test_card_names_the_library_and_shows_the_figures():
    text = card.model_card("A title", CONFIG, {"unit": "word", "validation": {"bits": 1.23456, "best": None}}, "About.")
    assert text.startswith("---\nlibrary_name: unspool\n")
    assert "| validation: bits | 1.235 |" in text and "best" not in text


# A process whose memory has room for what it has, and for so many bytes more.
LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from unspool import FolderError
from unspool.saved import folder
from unspool.train import checkpoint
path, what = Path(sys.argv[1]), sys.argv[2]
weights = {"w": np.ones(25_000_000, np.float32)}
folder.write(path / "m", {"network": {}}, weights, {})
checkpoint.write(path / "c", {"w": torch.ones(25_000_000)}, {})
tensors = {"w": torch.ones(25_000_000)}
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (size, size))
calls = {
    "write": lambda: folder.write(path / "n", {"network": {}}, weights, {}),
    "read": lambda: folder.read(path / "m"),
    "write a checkpoint": lambda: checkpoint.write(path / "c", tensors, {}),
    "read a checkpoint": lambda: checkpoint.read(path / "c"),
}
try:
    calls[what]()
    print("done")
except FolderError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of memory")
@pytest.mark.parametrize("what", ["write", "read", "write a checkpoint", "read a checkpoint"])
@pytest.mark.parametrize("room", [2**20, 120_000_000, 220_000_000])
def test_too_little_memory_is_one_line(tmp_path, what, room):
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path), what, str(room)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search("there is not enough memory|does not fit into memory", result.stdout)
    assert "n" not in os.listdir(tmp_path) and folder.read(tmp_path / "m")


def test_what_is_too_large_to_be_read_is_not_written(tmp_path):
    with pytest.raises(FolderError, match=r"vocabulary\.json would have 67108865 bytes, and may have 67108864"):
        folder.write(tmp_path / "m", CONFIG, WEIGHTS, {"vocabulary.json": " " * (2**26 + 1)})
    with pytest.raises(FolderError, match=r"config\.json would have \d+ bytes, and may have 1048576"):
        folder.write(tmp_path / "m", CONFIG | {"more": " " * 2**20}, WEIGHTS, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '["\\udc00\\ud800"]', '{"\\udfff": 1}', "[" * 33 + "1" + "]" * 33, '"\ud800"'], ids=range(5)
)
def test_json_that_nothing_else_could_write_or_print_is_refused(text):
    data = f'{{"a": {text}}}'.encode("utf-8", "surrogatepass")
    with pytest.raises(
        FolderError, match=r"metrics\.json: is not JSON \(it (has what is no char|is nested more than 32)"
    ):
        folder.json_object(data, "metrics.json")
    assert folder.json_object(b'{"a": "\\ud83d\\ude00", "b": [[{}]]}', "x") == {"a": "😀", "b": [[{}]]}
