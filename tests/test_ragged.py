"""Sequences of unequal lengths, in memory and in files."""

import errno
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import DataError, UnspoolError
from unspool.data.ragged import Ragged

LENGTHS = [3, 0, 1, 5]


def some(lengths=LENGTHS, width=2):
    values = np.arange(sum(lengths) * width, dtype=np.float32).reshape(-1, width)
    return Ragged(values, np.cumsum([0, *lengths]))


def same(a, b):
    assert a.values.dtype == b.values.dtype
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.offsets, b.offsets)


def test_sequences_are_views():
    r = some()
    assert len(r) == 4 and r.lengths.tolist() == LENGTHS and r.offsets.dtype == np.int64
    assert [s.shape for s in r] == [(n, 2) for n in LENGTHS]
    assert np.shares_memory(r[2], r.values) and r[-1].tolist() == r[3].tolist() == r.values[4:].tolist()
    r[2][:] = 7
    assert (r.values[3] == 7).all()
    for i in (4, -5):
        with pytest.raises(IndexError, match=r"sequence must be in -4\.\.3; got"):
            r[i]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_take_has_the_sequences_in_order(lengths, data):
    r = some(lengths)
    indices = data.draw(st.lists(st.integers(-len(lengths), len(lengths) - 1), max_size=10))
    taken = r.take(indices)
    assert [s.tolist() for s in taken] == [r[i].tolist() for i in indices]
    assert not np.shares_memory(taken.values, r.values)


def test_of_lists():
    same(Ragged.of([[1, 2], [3]]), Ragged(np.array([1, 2, 3]), [0, 2, 3]))
    same(Ragged.of([np.ones((2, 3)), np.zeros((1, 3))]), Ragged(np.array([[1.0] * 3] * 2 + [[0.0] * 3]), [0, 2, 3]))
    assert len(Ragged.of([])) == 0


@pytest.mark.parametrize("second", [[[1.0, 2.0]], 5, ["a"], [[1, 2, 3]]])
def test_of_unlike_arrays_is_refused(second):
    with pytest.raises(
        UnspoolError, match=r"sequences must be arrays \(T, \.\.\.\) that differ in T only; .* for sequence 1"
    ):
        Ragged.of([[1, 2], second])


@pytest.mark.parametrize(
    "offsets", [[], [0], [0, 2], [1, 3], [0, 4, 3], [0, 2, 1, 3], [[0, 3]], [0.0, 3.0], [-1, 3], ["0", "3"]]
)
def test_offsets_that_are_none(offsets):
    with pytest.raises(UnspoolError, match=r"offsets must be integers \(n\+1,\) from 0 to N=3, never decreasing; got"):
        Ragged(np.zeros(3), np.array(offsets))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, bool, "M8[us]", "U3"])
def test_saved_and_opened(tmp_path, dtype):
    r = Ragged(np.arange(9).astype(dtype), np.array([0, 3, 3, 9]))
    r.save(tmp_path / "r")
    opened = Ragged.open(tmp_path / "r")
    same(opened, r)
    assert isinstance(opened.values, np.memmap) and not opened.values.flags.writeable
    assert os.listdir(tmp_path) == ["r"]
    np.testing.assert_array_equal(np.load(tmp_path / "r" / "values.npy", allow_pickle=False), r.values)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_nothing_is_saved_too(tmp_path, lengths):
    some(lengths).save(tmp_path / "r")
    same(Ragged.open(tmp_path / "r"), some(lengths))


def test_built_sequence_by_sequence(tmp_path):
    r = some([3, 0, 1, 5] * 300)
    with Ragged.build(tmp_path / "r") as append:
        for sequence in r:
            append(sequence)
        assert not (tmp_path / "r").exists()
    same(Ragged.open(tmp_path / "r"), r)


def test_larger_than_memory(tmp_path):
    """128 MiB are written and read with 8 MiB of memory."""
    tracemalloc.start()
    try:
        with Ragged.build(tmp_path / "r") as append:
            for i in range(128):
                append(np.full((2**15, 4), i, np.float64))
        opened = Ragged.open(tmp_path / "r")
        assert opened.values.nbytes == 2**27
        assert [int(s[-1, 3]) for s in opened] == list(range(128))
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_build_that_fails_leaves_nothing(tmp_path):
    def build_all(sequences):
        with Ragged.build(tmp_path / "r") as append:
            for sequence in sequences:
                append(sequence)
                assert len(os.listdir(tmp_path)) == 1

    def build(*sequences):
        build_all(sequences)

    def interrupted():
        yield np.ones(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_all(interrupted())
    with pytest.raises(DataError, match="r: no sequence was appended"):
        build()
    with pytest.raises(UnspoolError, match=r"sequence must be float64 .* got int64"):
        build(np.ones(2), np.ones(2, np.int64))
    with pytest.raises(UnspoolError, match=r"sequence must be float64 .* got float64 of shape \('T', 3\)"):
        build(np.ones(2), np.ones((2, 3)))
    with pytest.raises(DataError, match="text and other objects are not saved"):
        Ragged(np.array(["a"], object), [0, 1]).save(tmp_path / "r")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("function", ["mkdir", "fsync", "replace"])
def test_full_disk_leaves_nothing(tmp_path, monkeypatch, function):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(DataError, match=r"r: was not written .No space left on device"):
        some().save(tmp_path / "r")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "r").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="r exists; choose another name"):
        some().save(tmp_path / "r")
    assert (tmp_path / "r").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy"])
def test_any_bit_flipped_or_end_cut_off_is_refused(tmp_path, name):
    some().save(tmp_path / "r")
    file = tmp_path / "r" / name
    data = file.read_bytes()
    for i in range(len(data)):
        flipped = bytearray(data)
        flipped[i] ^= 1 << i % 8
        file.write_bytes(flipped)
        with pytest.raises(DataError, match=f"{name}: is damaged"):
            Ragged.open(tmp_path / "r")
    for damaged in (data[:-1], data + b"\0", b""):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name}: is damaged"):
            Ragged.open(tmp_path / "r")
        with pytest.raises(DataError):  # the size shows it, even without the checksums
            Ragged.open(tmp_path / "r", verify=False)
    file.unlink()
    with pytest.raises(DataError, match=f"{name}: no such file"):
        Ragged.open(tmp_path / "r")


def test_without_verifying_offsets_are_still_looked_at(tmp_path):
    some().save(tmp_path / "r")
    np.save(tmp_path / "r" / "offsets.npy", np.array([0, 5, 3, 4, 9]))
    with pytest.raises(DataError, match=r"r: is damaged .offsets must be .* never decreasing"):
        Ragged.open(tmp_path / "r", verify=False)


@pytest.mark.parametrize("sums", ["", "[]", "{", '{"values.npy": 1}', "[" * 500, "\x00\xff"])
def test_sums_that_are_none(tmp_path, sums):
    some().save(tmp_path / "r")
    (tmp_path / "r" / "sums.json").write_text(sums, encoding="latin-1")
    with pytest.raises(DataError, match=r"sums\.json: is damaged"):
        Ragged.open(tmp_path / "r")


def test_folder_that_is_none(tmp_path):
    for path in (tmp_path, tmp_path / "no"):
        with pytest.raises(DataError, match="is not a folder of saved sequences"):
            Ragged.open(path)


def test_complaints_are_of_one_line(tmp_path):
    some().save(tmp_path / "r")
    np.save(tmp_path / "r" / "offsets.npy", np.arange(100)[::-1])
    with pytest.raises(DataError, match="is damaged") as raised:
        Ragged.open(tmp_path / "r", verify=False)
    assert str(raised.value).isprintable()
