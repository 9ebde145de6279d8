"""Files and folders that are there whole, or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from unspool.beside import beside


def write(path, text, folder):
    with beside(path) as new:
        if folder:
            new.mkdir()
            (new / "file").write_text(text)
        else:
            new.write_text(text)


def write_half(path):
    with beside(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt


def read(path, folder):
    return (path / "file" if folder else path).read_text()


@pytest.mark.parametrize("folder", [False, True])
def test_it_gets_its_name_when_it_is_whole(tmp_path, folder):
    path = tmp_path / "thing"
    for text in ("old", "new"):
        write(path, text, folder)
        assert read(path, folder) == text and os.listdir(tmp_path) == ["thing"]
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert read(path, folder) == "new" and os.listdir(tmp_path) == ["thing"]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, function, folder):
    path = tmp_path / "thing"
    write(path, "old", folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new", folder)
    monkeypatch.undo()
    assert read(path, folder) == "old" and os.listdir(tmp_path) == ["thing"]


KILLED = """
import os, pathlib, signal, sys
from unspool.beside import beside
with beside(pathlib.Path(sys.argv[1])) as new:
    new.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a dead process is not known from a living one")
def test_what_a_killed_process_has_left_is_cleared_away_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "thing[1]"  # no pattern
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert killed.returncode == -signal.SIGKILL and len(os.listdir(tmp_path)) == 1
    with beside(path) as ours:
        ours.write_text("mine")
        write(path, "another's", False)
        assert ours.read_text() == "mine"
    assert read(path, False) == "mine" and os.listdir(tmp_path) == ["thing[1]"]
