"""The baselines of forecasts: published figures, a plain loop after the organisers' program, and gaps."""

import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.tasks.forecaster import baseline, measures

NAN = np.nan


def m4_hourly(folder):
    """The histories, and the 48 values that came after each, (414, 48)."""

    def rows(file):
        return [np.array([float(cell) for cell in row[1:] if cell]) for row in list(csv.reader(file))[1:]]

    with gzip.open(folder / "m4-hourly" / "Hourly-train.csv.gz", "rt") as train:
        histories = rows(train)
    with (folder / "m4-hourly" / "Hourly-test.csv").open() as test:
        return histories, np.array(rows(test))


def test_published_figures_of_m4_hourly(data_folder):
    """sMAPE, MASE and OWA to the printed digits; the table prints seasonal naive's OWA, 0.627503, as 0.627."""
    histories, y = m4_hourly(data_folder)
    scale = np.array([measures.seasonal_scale(history, 24) for history in histories])
    forecasts = [baseline.all_baselines(history, 48, 24) for history in histories]
    found = {}
    for name in forecasts[0]:
        forecast = np.array([one[name] for one in forecasts])
        smape, mase = measures.smape(y, forecast), measures.mase(y, forecast, scale)
        found[name] = float(measures.average(smape)), float(measures.average(mase))
    assert f"{found['naive'][0]:.3f} {found['naive'][1]:.3f}" == "43.003 11.608"
    assert f"{found['seasonal naive'][0]:.3f} {found['seasonal naive'][1]:.3f}" == "13.912 1.193"
    assert f"{found['Naive2'][0]:.3f} {found['Naive2'][1]:.3f}" == "18.383 2.395"
    assert f"{measures.owa(*found['seasonal naive'], *found['Naive2']):.6f}" == "0.627503"
    assert f"{measures.owa(*found['naive'], *found['Naive2']):.3f}" == "3.593"


def organisers_naive2(y, H, m):
    """Naive2 in plain loops, as the program of the M4 competition computes it of a series without gaps."""
    T = len(y)
    index = [1.0] * m
    if m > 1 and 3 * m <= T:
        mean = sum(y) / T
        of_lag = [sum((y[t] - mean) * (y[t - lag] - mean) for t in range(lag, T)) for lag in range(m + 1)]
        r = [one / of_lag[0] if of_lag[0] else NAN for one in of_lag]
        limit = 1.645 / math.sqrt(T) * math.sqrt(1 + 2 * sum(one**2 for one in r[1:m]))
        if abs(r[m]) > limit:
            weights = [0.5, *[1.0] * (m - 1), 0.5] if m % 2 == 0 else [1.0] * m
            half, ratios = len(weights) // 2, [[] for _ in range(m)]
            for t in range(half, T - half):
                trend = sum(w * y[t - half + k] for k, w in enumerate(weights)) / m
                ratios[t % m].append(y[t] / trend)
            index = [sum(some) / len(some) for some in ratios]
            index = [one / (sum(index) / m) for one in index]
    return [y[-1] / index[(T - 1) % m] * index[(T + h) % m] for h in range(H)]


@given(st.integers(1, 9), st.integers(1, 60), st.floats(0, 1), st.integers(0, 10**6))
def test_naive2_is_the_organisers(season, T, noise, seed):
    rng = np.random.default_rng(seed)
    y = np.resize(rng.uniform(1, 9, season), T) + noise * rng.uniform(0, 9, T)
    expected = organisers_naive2(y.tolist(), 2 * season + 1, season)
    np.testing.assert_allclose(baseline.naive2(y, 2 * season + 1, season), expected, rtol=1e-12)


@pytest.mark.parametrize("season", [2, 3, 24, 25])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_naive2_goes_on_with_a_season(season, missing):
    """A pattern that repeats itself, also with gaps at random steps and at the end."""
    rng = np.random.default_rng(season)
    whole = np.resize(rng.uniform(5, 9, season), 40 * season + 9)
    y = whole[: 40 * season - 1].copy()
    y[rng.random(len(y)) < missing] = NAN
    y[-2:] = NAN
    assert baseline.is_seasonal(y, season)
    np.testing.assert_allclose(baseline.naive2(y, 8, season), whole[len(y) :][:8], rtol=1e-12)


@pytest.mark.parametrize(
    "y",
    [
        np.full(40, 7.0),
        np.resize([0.0, 1, 2, 3], 40),
        np.resize([-3.0, 1, 2, 3], 40),
        np.resize([5.0, 1, 2, 3], 11),
        np.resize([5.0, NAN, NAN, NAN], 40),
    ],
    ids=["constant", "a zero", "negative", "less than three seasons", "known at one phase"],
)
def test_naive2_is_naive_where_nothing_can_be_adjusted(y):
    np.testing.assert_array_equal(baseline.naive2(y, 9, 4), baseline.naive(y, 9))


def test_a_white_noise_is_not_seasonal_but_for_one_in_ten():
    rng = np.random.default_rng(0)
    share = np.mean([baseline.is_seasonal(rng.uniform(1, 2, 400), 12) for _ in range(500)])
    assert 0.06 < share < 0.14


GAPS = [
    ([1, 2, 3], [3, 3, 3], [2, 3, 2], [4, 5, 6]),
    ([1, 2, 3, NAN], [3, 3, 3], [3, 2, 3], [5, 6, 7]),
    ([NAN, 2, NAN, 4, NAN, NAN], [4, 4, 4], [4, 4, 4], [7, 8, 9]),  # no value at one phase: the last one
    ([5], [5, 5, 5], [5, 5, 5], [5, 5, 5]),
    ([NAN, NAN], [NAN] * 3, [NAN] * 3, [NAN] * 3),
    ([], [NAN] * 3, [NAN] * 3, [NAN] * 3),
]


@pytest.mark.parametrize(("y", "naive", "seasonal", "drift"), GAPS)
def test_gaps(y, naive, seasonal, drift):
    found = baseline.all_baselines(np.array(y, np.float64), 3, 2)
    expected = {"naive": naive, "seasonal naive": seasonal, "drift": drift, "Naive2": naive}
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


series = st.lists(st.one_of(st.floats(1, 100), st.just(NAN)), max_size=40).map(lambda y: np.array(y, np.float64))


@given(series, st.integers(1, 7), st.integers(1, 9))
def test_missing_steps_at_the_end_are_forecast_first(y, season, gap):
    """What is forecast for a step does not depend on whether steps before it are missing or to come."""
    longer = np.concatenate([y, np.full(gap, NAN)])
    whole, rest = (baseline.all_baselines(one, H, season) for one, H in ((y, gap + 8), (longer, 8)))
    for name, values in rest.items():
        np.testing.assert_allclose(values, whole[name][gap:], rtol=1e-12, err_msg=name)


@given(series, st.integers(1, 7))
def test_units_do_not_matter(y, season):
    """Twice the series has twice the forecasts, to the bit."""
    one, two = baseline.all_baselines(y, 9, season), baseline.all_baselines(2 * y, 9, season)
    for name in one:
        np.testing.assert_array_equal(2 * one[name], two[name], err_msg=name)


@given(st.lists(st.floats(allow_infinity=False), max_size=30), st.integers(1, 5))
def test_no_value_is_too_large(y, season):
    """No warning, which would be an error; drift may be infinite."""
    for name, values in baseline.all_baselines(np.array(y, np.float64), 4, season).items():
        assert values.shape == (4,)
        assert np.isnan(values).all() == np.isnan(y).all(), name


def test_quantiles_of_the_seasonal_naive_forecast_are_those_of_its_errors():
    y = np.array([1.0, 5, 2, 7, np.nan, 8, 4])
    errors = np.array([1.0, 2, 1])  # 2 - 1, 7 - 5, 8 - 7; nothing is known of the pairs with the missing value
    found = baseline.seasonal_naive_quantiles(y, 3, 2, (0.0, 0.5, 1.0))
    np.testing.assert_allclose(found, np.array([8.0, 4, 8])[:, None] + np.quantile(errors, (0, 0.5, 1)))
    assert baseline.seasonal_naive_quantiles(y[:1], 2, 4, (0.1, 0.9)).tolist() == [[1, 1], [1, 1]]
