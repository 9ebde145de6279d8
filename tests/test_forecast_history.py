"""What a forecaster reads of a series: the same bits at once and a step at a time, and nothing of what comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.data.ragged import Ragged, ends
from unspool.tasks.forecaster.history import Lags, Memories, Past

LAGS = [Lags(7, (1,)), Lags(1, (5,)), Lags(4), Lags(24, (168, 1)), Lags(3, (), ((1.5, 2.0), (0.5, 3.0)))]


def drawn(random: np.random.Generator, lengths: list[int], O: int, missing: float) -> Ragged:
    y = 100 + 10 * random.normal(size=(sum(lengths), O))
    y[random.random(y.shape) < missing] = np.nan
    return Ragged(y, ends(np.array(lengths)))


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.sampled_from(LAGS),
    st.sampled_from([0, 0.3, 1]),
)
def test_steps_one_by_one_are_those_of_the_whole(seed, lengths, lags, missing):
    random = np.random.default_rng(seed)
    O = 2 if lags.fixed else int(random.integers(1, 3))
    y = drawn(random, lengths, O, missing)
    past, memories = Past(lags, y), Memories(lags, len(lengths), O)
    ahead = np.array([0, 1, 3, 30])[:, None]
    for t in range(max(lengths) + 1):
        rows = np.flatnonzero(np.array(lengths) >= t)
        whole, now = past.known(rows, t + ahead, np.array(t)), memories.known(rows, ahead)
        assert whole.read(lags.season).tobytes() == now.read(lags.season).tobytes()
        assert whole.bases[0].tobytes() == now.bases[0].tobytes()
        assert np.ascontiguousarray(whole.scale).tobytes() == np.ascontiguousarray(now.scale).tobytes()
        rows = np.flatnonzero(np.array(lengths) > t)
        memories.add(rows, y.values[y.offsets[rows] + t], memories.known(rows).bases[0])
    kept = past.memories().arrays
    assert kept.keys() == memories.arrays.keys()
    for name, array in memories.arrays.items():
        np.testing.assert_array_equal(kept[name], array, name)


@pytest.mark.parametrize("lags", LAGS)
def test_nothing_is_read_of_what_is_to_come(lags):
    random = np.random.default_rng(1)
    y = drawn(random, [60], 2, 0.1)
    poisoned = Ragged(np.where(np.arange(60)[:, None] < 30, y.values, np.nan), y.offsets)
    other = Ragged(np.where(np.arange(60)[:, None] < 30, y.values, 1e9), y.offsets)
    steps, origins = np.arange(70), np.minimum(np.arange(70), 30)
    found = [Past(lags, one).known(np.zeros(70, int), steps, origins) for one in (y, poisoned, other)]
    for one in found[1:]:
        assert one.read(lags.season).tobytes() == found[0].read(lags.season).tobytes()
        assert one.scale.tobytes() == found[0].scale.tobytes()


def test_the_base_is_the_seasonal_naive_forecast():
    y = np.arange(10.0)[:, None]
    past = Past(Lags(4), Ragged(y, np.array([0, 10])))
    base = past.known(np.zeros(9, int), np.arange(10, 19), np.full(9, 10)).bases[0]
    assert base[:, 0].tolist() == [6, 7, 8, 9, 6, 7, 8, 9, 6]


def test_the_scale_is_the_mean_error_of_the_base():
    y = np.array([1.0, 2.0, 4.0, np.nan, 3.0, 7.0])[:, None]
    past = Past(Lags(2), Ragged(y, np.array([0, 6])))
    known = past.known(np.array([0]), np.array([6]), np.array([6]))
    # Bases: none, 1 (the last), 1, -, 4, 2; the first value has no error.
    weights = 0.999 ** np.array([4, 3, 1, 0])
    np.testing.assert_allclose(known.scale[0, 0], weights @ [1, 3, 1, 5] / weights.sum(), rtol=1e-12)
    weights = 0.999 ** np.array([5, 4, 3, 1, 0])
    np.testing.assert_allclose(known.mean[0, 0], weights @ [1, 2, 4, 3, 7] / weights.sum(), rtol=1e-12)
    assert known.surprise[0, 0] == 5
    assert known.age[0, 0] == 0


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e12])
def test_constant_and_empty_series_have_a_scale(value):
    y = Ragged(np.full((9, 1), value), np.array([0, 9, 9]))
    known = Past(Lags(2, (1,)), y).known(np.array([0, 1]), np.array([9, 0]), np.array([9, 0]))
    assert (known.scale > 0).all()
    assert np.isfinite(known.read(2)).all()
