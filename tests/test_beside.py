"""Files and folders that are there whole, or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from unspool import beside as module
from unspool.beside import beside, ordinary, recover


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


@pytest.mark.parametrize(
    ("folder", "function"), [(False, "fsync"), (False, "replace"), (True, "fsync"), (True, "rename"), (True, "replace")]
)
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, function, folder):
    path = tmp_path / "thing"
    write(path, "old", folder)
    monkeypatch.setattr(module, "_exchange", lambda new, path: False)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new", folder)
    monkeypatch.undo()
    assert read(path, folder) == "old" and os.listdir(tmp_path) == ["thing"]


KILLED = """
import os, pathlib, signal, sys
from unspool import beside as module
from unspool.beside import beside, ordinary, recover
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


# A folder is replaced by a process that is killed at the n-th step of the replacement.
REPLACED = """
import os, pathlib, signal, sys
from unspool import beside
path, exchange, step = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0
def fatal(function):
    def call(*args):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    return call
if exchange == "exchange":
    beside._exchange = fatal(beside._exchange)
else:
    beside._exchange = lambda new, path: False
os.rename, os.replace, beside._force = fatal(os.rename), fatal(os.replace), fatal(beside._force)
with beside.beside(path) as new:
    new.mkdir()
    (new / "file").write_text("new")
print(calls)
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a dead process is not known from a living one")
@pytest.mark.parametrize("exchange", ["exchange", "two renames"])
def test_a_replacement_that_is_killed_anywhere_loses_nothing(tmp_path, exchange):
    path = tmp_path / "thing"
    write(path, "old", True)
    seen = []
    for step in range(1, 10):
        command = [sys.executable, "-c", REPLACED, str(path), exchange, str(step)]
        killed = subprocess.run(command, capture_output=True, text=True)
        if exchange == "exchange" and sys.platform == "linux":
            assert path.exists(), "there is always one or the other"
        recover(path)
        seen.append(read(path, True))
        assert os.listdir(tmp_path) == ["thing"]
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
        write(path, "old", True)
    assert step > 2 and seen[0] == "old" and seen[-1] == "new" and seen == sorted(seen, reverse=True)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and links")
@pytest.mark.parametrize("there", ["fifo", "link", "dangling link", "folder"])
def test_a_file_replaces_nothing_but_an_ordinary_file(tmp_path, there):
    path, other = tmp_path / "thing", tmp_path / "other"
    other.write_text("another's")
    match there:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(other)
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case "folder":
            path.mkdir()
    before = os.lstat(path)
    with pytest.raises(OSError, match="it is not an ordinary file"):
        write(path, "new", False)
    assert os.lstat(path) == before and other.read_text() == "another's"
    assert sorted(os.listdir(tmp_path)) == ["other", "thing"]
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError, match="it is not an ordinary file"):
            ordinary(path, flags)
    assert sorted(os.listdir(tmp_path)) == ["other", "thing"]


def test_a_link_is_followed_where_that_is_wanted(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open(tmp_path / "link", opener=lambda path, flags: ordinary(path, flags, links=True)) as file:
        assert file.read() == "text"
