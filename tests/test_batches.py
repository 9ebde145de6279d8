"""Batches: they have every step once and little padding, can begin anywhere, and their shards are the whole."""

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool import DataError, UnspoolError, nn
from unspool.data.batches import NO_TARGET, Batch, Bucketed, Chunks, Rows, ahead
from unspool.data.ragged import Ragged

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 1 / 3])


def numbered(lengths):
    """Tokens that are their own places in the values, and targets that are one more."""
    offsets = np.cumsum([0, *lengths])
    values = np.arange(offsets[-1])
    return Ragged(values, offsets), Ragged(values + 1, offsets)


def equal(a, b):
    """Assert that two batches are the same; lengths that are all T are the same as None."""
    for name, x, y in zip(Batch._fields, a, b, strict=True):
        if x is None or y is None:
            assert x is y, name
        else:
            np.testing.assert_array_equal(x, y, name)
            assert np.asarray(x).dtype == np.asarray(y).dtype


def all_kinds(lengths, size, seed=0, shuffle=True):
    x, y = numbered(lengths)
    return [
        Bucketed(x, y, size, seed=seed, shuffle=shuffle),
        Bucketed(x, np.arange(len(x)) / 2, size, max_padding=0.3, seed=seed, shuffle=shuffle),
        Rows(x, y, size, 7, seed=seed, shuffle=shuffle),
        Chunks(np.arange(x.offsets[-1] + 2), size, 7),
    ]


@given(LENGTHS, st.integers(1, 9), SHARES, st.booleans())
def test_bucketed_has_every_sequence_once_whole_and_padding_within_the_bound(lengths, size, share, shuffle):
    x, y = numbered(lengths)
    batches = Bucketed(x, y, size, max_padding=share, shuffle=shuffle)
    seen = []
    for batch in batches.epoch(3):
        T, B = batch.inputs.shape
        counts = np.full(B, T) if batch.lengths is None else batch.lengths
        assert 1 <= B <= size and counts.max() == T and counts.min() >= 1
        assert batch.fresh and batch.reset is None and batch.inputs.dtype == batch.targets.dtype == np.int64
        assert T * B - counts.sum() <= Fraction(share) * T * B
        for b, n in enumerate(counts):
            sequence = int(np.searchsorted(x.offsets, batch.inputs[0, b], side="right")) - 1
            seen.append(sequence)
            assert batch.inputs[:n, b].tolist() == x[sequence].tolist()
            assert batch.targets[:n, b].tolist() == y[sequence].tolist()
            assert not batch.inputs[n:, b].any() and (batch.targets[n:, b] == NO_TARGET).all()
    assert sorted(seen) == list(range(len(x)))


@given(LENGTHS, st.integers(2, 9), SHARES)
def test_bucketed_is_no_smaller_than_need_be(lengths, size, share):
    """A batch that is not full could not take the next shorter sequence without too much padding."""
    lengths = sorted(lengths, reverse=True)
    x, y = numbered(lengths)
    batches = list(Bucketed(x, y, size, max_padding=share, shuffle=False))
    done = 0
    for batch in batches[:-1]:
        B = batch.inputs.shape[1]
        if size > B:
            more = np.array(lengths[done : done + B + 1])
            assert (more[0] - more).sum() > Fraction(share) * more[0] * (B + 1)
        done += B


def test_without_padding_only_equal_lengths_meet_and_with_all_batches_are_full():
    x, y = numbered([3, 5, 3, 5, 3, 4])
    shapes = sorted(b.inputs.shape for b in Bucketed(x, y, 2, max_padding=0.0))
    assert shapes == [(3, 1), (3, 2), (4, 1), (5, 2)]
    assert len(Bucketed(x, y, 2, max_padding=0.99)) == 3


def test_targets_of_sequences_go_with_them():
    x, _ = numbered([2, 5, 4, 1, 3])
    targets = np.array([20, 50, 40, 10, 30])
    for batch in Bucketed(x, targets, 2, max_padding=0.5):
        counts = np.full(batch.inputs.shape[1], len(batch.inputs)) if batch.lengths is None else batch.lengths
        assert batch.targets.tolist() == (10 * counts).tolist()
    assert next(Bucketed(x, np.ones((5, 3), np.float32), 2).epoch(0)).targets.dtype == np.float32


def test_numbers_keep_their_type_and_missing_float_targets_are_nan():
    x = Ragged(np.ones((6, 4), np.float32), np.array([0, 4, 6]))
    y = Ragged(np.ones((6, 2), ">f8"), np.array([0, 4, 6]))
    for batches in (Bucketed(x, y, 2, max_padding=0.5), Rows(x, y, 2, 9)):
        (batch,) = batches.epoch(0)
        assert batch.inputs.shape == (4, 2, 4) and batch.inputs.dtype == np.float32
        assert batch.targets.shape == (4, 2, 2) and batch.targets.dtype == np.dtype("=f8")
        short = int(np.argmin(batch.lengths))
        assert (batch.inputs[2:, short] == 0).all() and np.isnan(batch.targets[2:, short]).all()
        assert np.isfinite(batch.targets).sum() == 12


@given(LENGTHS, st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_rows_read_every_step_once_and_reset_where_a_sequence_begins(lengths, rows, steps, shuffle):
    x, y = numbered(lengths)
    batches = Rows(x, y, rows, steps, shuffle=shuffle)
    windows = list(batches.epoch(1))
    assert [len(w.inputs) for w in windows[:-1]] == [steps] * (len(windows) - 1)
    assert [w.fresh for w in windows] == [True] + [False] * (len(windows) - 1)
    inputs, targets, reset = (np.concatenate([w[i] for w in windows]) for i in (0, 1, 4))
    assert inputs.shape[1] == min(rows, len(lengths))
    there = targets != NO_TARGET
    assert sorted(inputs[there]) == list(range(x.offsets[-1]))
    assert (targets[there] == inputs[there] + 1).all()
    for column, real, new in zip(inputs.T, there.T, reset.T, strict=True):
        n = real.sum()
        assert real[:n].all() and not column[n:].any() and new[n:].all()
        assert new[:n].tolist() == np.isin(column[:n], x.offsets[:-1]).tolist()
        # between resets, each step follows the one before
        assert (np.diff(column[:n])[~new[1:n]] == 1).all()
    for window in windows:
        real = (window.targets != NO_TARGET).sum(axis=0)
        assert (np.full(len(real), len(window.inputs)) if window.lengths is None else window.lengths).tolist() == (
            np.maximum(real, 1).tolist()
        )


@given(LENGTHS, st.integers(1, 6))
def test_rows_end_together_as_nearly_as_may_be(lengths, rows):
    """Graham's bound: the longest row has at most 4/3 - 1/(3B) of the best possible, which has at least the mean."""
    batches = Rows(*numbered(lengths), rows, 1)
    best = max(max(lengths), -(-sum(lengths) // batches.rows))
    assert best <= len(batches) <= sum(lengths) / batches.rows + max(lengths) * (1 - 1 / batches.rows)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 5))
def test_epochs_are_constant_in_number_and_begin_anywhere(lengths, size, number):
    for batches in all_kinds(lengths, size):
        whole = list(batches.epoch(number))
        assert len(whole) == len(batches)
        for start in range(len(whole) + 1):
            for a, b in itertools.zip_longest(batches.epoch(number, start), whole[start:]):
                equal(a, b)


def test_seed_and_epoch_alone_say_the_order():
    lengths = np.random.default_rng(0).integers(1, 9, 60).tolist()

    def order(kind, seed, epoch, shuffle=True):
        return [b.inputs.tolist() for b in all_kinds(lengths, 8, seed, shuffle)[kind].epoch(epoch)]

    for kind in range(3):
        assert order(kind, 1, 2) == order(kind, 1, 2)
        assert len({str(order(kind, s, e)) for s in range(3) for e in range(3)}) == 9
        assert order(kind, 1, 2, False) == order(kind, 5, 7, False) != order(kind, 1, 2)


def test_epochs_do_not_always_put_the_same_sequences_together():
    batches = Bucketed(*numbered([5] * 40), 4)
    assert len({frozenset(b.inputs[0]) for epoch in range(9) for b in batches.epoch(epoch)}) > 60
    rows = Rows(*numbered([5] * 40), 4, 5)
    assert len({frozenset(b.inputs[0]) for epoch in range(9) for b in rows.epoch(epoch)}) > 60


@given(LENGTHS, st.integers(1, 9), st.integers(1, 5))
def test_shards_are_together_the_whole(lengths, size, ranks):
    for batches in all_kinds(lengths, size):
        shards = [batches.shard(r, ranks) for r in range(ranks)]
        assert {len(s) for s in shards} == {len(batches)}
        for whole, *parts in zip(batches.epoch(1), *(s.epoch(1) for s in shards), strict=True):
            T, B = whole.inputs.shape[:2]
            for r, part in enumerate(parts):
                mine = np.arange(B)[r::ranks]
                assert part.fresh == whole.fresh and part.inputs.shape == (T, len(mine))
                np.testing.assert_array_equal(part.inputs, whole.inputs[:, mine])
                columns = whole.targets[mine] if whole.targets.ndim == 1 else whole.targets[:, mine]
                np.testing.assert_array_equal(part.targets, columns)
                assert part.targets.dtype == whole.targets.dtype
                if whole.reset is not None:
                    np.testing.assert_array_equal(part.reset, whole.reset[:, mine])
                counts = [np.full(b.inputs.shape[1], T) if b.lengths is None else b.lengths for b in (whole, part)]
                np.testing.assert_array_equal(counts[1], counts[0][mine])


def test_a_shard_of_shards_is_not_needed_but_an_empty_one_is_legal():
    x = Ragged(np.ones((3, 4), np.float32), np.array([0, 3]))
    for batches in (Bucketed(x, x, 8), Rows(x, x, 8, 2)):
        batch = next(batches.shard(2, 3).epoch(0))
        assert batch.inputs.shape[1:] == (0, 4) and batch.targets.shape[1:] == (0, 4)
    with pytest.raises(UnspoolError, match=r"rank must be an integer from 0 to 2; got 3"):
        Rows(x, x, 8, 2).shard(3, 3)


def test_beginning_late_costs_no_more_than_one_batch():
    """Only the values of the requested batches are read from a memory map."""

    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, at):
            if isinstance(at, np.ndarray):
                Counted.read += at.size
            return np.asarray(self)[at]

    x, y = numbered([10] * 1000)
    x.values = x.values.view(Counted)
    for batches in (Bucketed(x, y, 10), Rows(x, y, 10, 10)):
        Counted.read = 0
        next(batches.epoch(0, start=90))
        assert Counted.read == 100


@pytest.mark.parametrize("kind", [Bucketed, lambda x, y, B: Rows(x, y, B, 3)])
def test_data_of_no_use(kind):
    x, y = numbered([2, 3])
    for inputs, targets, complaint in [
        (Ragged(np.zeros(0), np.zeros(1, int)), y, "inputs must have at least one sequence; got none"),
        (Ragged(np.zeros(2), np.array([0, 2, 2])), y, "inputs: sequence 1 has no steps"),
        (x, numbered([2, 3, 1])[1], "targets must have the lengths of the inputs; got 3 sequences for 2"),
        (x, numbered([3, 2])[1], "targets must have the lengths of the inputs; got 3 steps for 2 in sequence 0"),
    ]:
        with pytest.raises(DataError, match=complaint):
            kind(inputs, targets, 2)
    with pytest.raises(UnspoolError, match="must be an integer of at least 1; got 0"):
        kind(x, y, 0)


def test_arguments_of_no_use():
    x, y = numbered([2, 3])
    with pytest.raises(DataError, match="targets must have one target for each of 2 sequences; got 3"):
        Bucketed(x, np.zeros(3), 2)
    with pytest.raises(UnspoolError, match="targets must be Ragged"):
        Rows(x, np.zeros(2), 2, 3)
    for share in (1.0, -0.1, "0"):
        with pytest.raises(UnspoolError, match="max_padding must be a number of at least 0 and less than 1"):
            Bucketed(x, y, 2, max_padding=share)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(1, 4), st.integers(1, 5))
def test_a_layer_on_any_batches_has_the_outputs_of_each_sequence_alone(lengths, size, steps):
    layer = nn.GRU(2, 3, dtype=torch.float64)
    x = Ragged(np.random.default_rng(0).normal(size=(sum(lengths), 2)), np.cumsum([0, *lengths]))
    alone = Ragged(np.concatenate([layer(torch.tensor(s)[:, None])[0].detach().numpy()[:, 0] for s in x]), x.offsets)
    for batches in (Bucketed(x, alone, size, max_padding=0.5), Rows(x, alone, size, steps)):
        state, seen = None, 0
        for batch in batches.epoch(0):
            options = {n: torch.from_numpy(v) for n in ("lengths", "reset") if (v := getattr(batch, n)) is not None}
            y, state = layer(torch.from_numpy(batch.inputs), None if batch.fresh else state, **options)
            there = ~np.isnan(batch.targets)
            np.testing.assert_allclose(y.detach().numpy()[there], batch.targets[there], rtol=0, atol=1e-12)
            seen += there.sum()
        assert seen == alone.values.size


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("ahead")]


@pytest.mark.parametrize(("seconds", "part"), [(0.0, 1), (60.0, 6)])
def test_ahead_gives_the_same_and_makes_a_part_in_advance(seconds, part):
    made = []

    def items():
        for i in range(6):
            made.append(threading.current_thread().name)
            yield i

    source = ahead(items(), seconds)
    assert not threads()  # nothing happens before the first item is requested
    assert next(source) == 0
    for _ in range(1000):
        if len(made) == min(6, 2 * part):
            break
        threading.Event().wait(0.002)
    assert len(made) == min(6, 2 * part) and all(name.startswith("ahead") for name in made)
    assert list(source) == [1, 2, 3, 4, 5]
    assert not threads()
    assert list(ahead([])) == [] and list(ahead(iter("ab"))) == ["a", "b"]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_ahead_passes_an_error_on_where_it_came(seconds):
    def items():
        yield 1
        raise DataError("here")

    source = ahead(items(), seconds)
    assert next(source) == 1
    with pytest.raises(DataError, match="here"):
        next(source)
    assert not threads()


@pytest.mark.parametrize("close", [lambda s: s.close(), lambda s: None])
def test_ahead_ends_its_thread_when_it_is_closed_or_forgotten(close):
    source = ahead(itertools.count())
    assert next(source) == 0 and threads()
    close(source)
    del source
    assert not threads()
