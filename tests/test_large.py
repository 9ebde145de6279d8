"""Files larger than memory: what lies in a file is what memory would have, and memory does not grow with the steps."""

import errno
import gzip
import io
import os
import re
import sys
import tracemalloc

import numpy as np
import pytest

from unspool import Classifier, Regressor
from unspool.cli.main import execute
from unspool.data import given, opening, ragged, readers, sequences
from unspool.data.ragged import Ragged
from unspool.data.readers import rows
from unspool.errors import DataError
from unspool.tasks import source, supervised
from unspool.tasks.files import LabelsFile, NumbersFile
from unspool.tasks.summary import summaries


def table(path, n, order=1, steps=50):
    """A CSV file of n sequences, of 4 to 4 + steps steps and three numbers each, whose rows may be in reverse order."""
    cells = [f"{t},{t % 7},{t * 0.25},{-t / 3:.4f}" for t in range(steps + 4)]
    lines = [f"s{i},{cells[t]},{'abc'[i % 3]}\n" for i in range(n) for t in range(4 + i % (steps + 1))]
    path.write_text("id,t,a,b,c,label\n" + "".join(lines[::order]))
    return LabelsFile(str(path))


def prepared(file):
    """What is read of a file, and what an estimator makes of it before the first step."""
    found = file.labelled(report=lambda _: None)
    estimator = Regressor if isinstance(file, NumbersFile) else Classifier
    return found, estimator(hidden_size=4)._work(found.X, found.y, 0.2)


def in_pieces(monkeypatch, size, block):
    """Let arrays of more than so many bytes lie in files, and all be done in pieces of so many numbers."""
    monkeypatch.setattr(opening, "IN_MEMORY", size)
    monkeypatch.setattr(source, "_HEAD", 2**14)
    pieces = [(ragged, "_PART"), (sequences, "_BLOCK"), (given, "_BLOCK"), (rows, "_BLOCK"), (supervised, "_BLOCK")]
    for module, name in pieces:
        monkeypatch.setattr(module, name, block)


@pytest.mark.parametrize("kind", ["long", "reversed", "numbers", "wide"])
def test_pieces_in_files_are_what_memory_has(tmp_path, monkeypatch, kind):
    file = table(tmp_path / "t.csv", 120, -1 if kind == "reversed" else 1)
    if kind == "numbers":
        (tmp_path / "n.csv").write_text(
            re.sub(r"[abc]\n", lambda of: f"{ord(of[0][0])}.5\n", (tmp_path / "t.csv").read_text())
        )
        file = NumbersFile(str(tmp_path / "n.csv"), label="label")
    elif kind == "wide":
        lines = [f"{i},2,{i / 4},4,{'xy'[i % 2]}\n" for i in range(600)]
        (tmp_path / "w.csv").write_text("a,b,c,d,label\n" + "".join(lines))
        file = LabelsFile(str(tmp_path / "w.csv"))
    whole, at_once = prepared(file)
    in_pieces(monkeypatch, 2**12, 100)
    found, work = prepared(file)
    for name, column in whole.sequences.columns.items():
        mine = found.sequences[name]
        if isinstance(column, Ragged):
            assert opening.in_file(mine.values) and not opening.in_file(column.values)
            assert np.array_equal(mine.values, column.values) and np.array_equal(mine.offsets, column.offsets)
        else:
            assert mine.tolist() == column.tolist()
    assert found.y.tolist() == whole.y.tolist() and work.source == at_once.source
    for mine, theirs in zip(work.data[:2], at_once.data[:2], strict=True):
        assert opening.in_file(mine.inputs.values) or mine.inputs.values.nbytes <= 2**12
        assert np.array_equal(mine.inputs.values, theirs.inputs.values) and mine.y.tolist() == theirs.y.tolist()
        assert np.array_equal(summaries(mine.inputs, 0), summaries(theirs.inputs, 0))
    for name, value in work.constants.items():
        np.testing.assert_allclose(value, at_once.constants[name], rtol=1e-6)
    for a, b in ((work.batches.epoch(1), at_once.batches.epoch(1)), (work.validation, at_once.validation)):
        for mine, theirs in zip(a, b, strict=True):
            assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(mine[:2], theirs[:2], strict=True))


def test_memory_does_not_grow_with_the_steps(tmp_path, monkeypatch):
    """Where 29 steps take 2 KiB, each sequence takes 250 bytes in memory, beside what is the same for any file."""
    in_pieces(monkeypatch, 2**15, 2**12)
    taken = []
    for n in (1_000, 4_000):
        file = table(tmp_path / "t.csv", n)
        tracemalloc.start()
        found = file.labelled(report=lambda _: None)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work = Classifier(hidden_size=4)._work(found.X, found.y, 0.2)
        next(iter(work.validation))
        taken.append([kept, peak, tracemalloc.get_traced_memory()[1]])
        tracemalloc.stop()
        assert sum(len(part.inputs.values) for part in work.data[:2]) > 28 * n
    assert np.all(np.diff(taken, axis=0) < 3_000 * 250), taken


def test_a_column_with_one_text_a_sequence_that_begins_with_empty_cells(tmp_path):
    """Whether it is of texts or of numbers is known only where its first cells have been kept."""
    path = tmp_path / "t.csv"
    for last, expected in (("7", [np.nan, 7.0]), ("x", ["", "x"]), ("", [np.nan, np.nan])):
        path.write_text("id,y\n" + "a,\n" * 20_000 + f"b,{last}\n" * 20_000)
        found = readers.read(path, sequence="id", per_sequence=["y"], missing=[""])
        assert found["id"].tolist() == ["a", "b"]
        assert repr(found["y"].tolist()) == repr(expected)


def test_the_part_that_was_read_is_told(tmp_path):
    file = table(tmp_path / "t.csv", 400)
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    for one in (file, LabelsFile(str(packed))):
        told = []
        one.labelled(report=lambda _: None, watch=told.append)
        assert told == sorted(told) and told[-1] == 1 and len(told) > 3


def test_a_terminal_has_a_bar_while_a_file_is_read(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    table(tmp_path / "t.csv", 40)
    more = ["--hidden-size", "4", "--epochs", "1"]
    assert execute(["fit", "labels", str(tmp_path / "t.csv"), "--out", str(tmp_path / "m"), *more]) == 0
    assert re.search(r"100 %.*reading t\.csv.*\d:\d\d:\d\d.*left", terminal.getvalue())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system does not reserve room")
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    in_pieces(monkeypatch, 2**12, 100)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"has no room for [\d,]+ bytes of data \(No space left.*set TMPDIR"):
        prepared(table(tmp_path / "t.csv", 120))


def test_parts_of_sequences_are_all_of_them(monkeypatch):
    lengths = [3, 0, 500, 1, 0, 7, 0]
    all_of = Ragged(np.arange(511), np.concatenate([[0], np.cumsum(lengths)]))
    monkeypatch.setattr(ragged, "_PART", 40)
    parts = list(all_of.parts())
    assert [x.tolist() for part in parts for x in part] == [x.tolist() for x in all_of] and len(parts) > 2
    assert [x.tolist() for x in all_of.take([5, 2, 1, 5])] == [all_of[i].tolist() for i in (5, 2, 1, 5)]
    assert len(all_of.take([])) == 0
