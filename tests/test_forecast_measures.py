"""Measures of forecasts, beside utilsforecast and closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from utilsforecast import losses

from unspool.tasks.forecaster import measures

NAN = np.nan


def drawn(seed, n=5, H=8, T=40):
    """Histories (n, T), what came and what was forecast, (n, H)."""
    rng = np.random.default_rng(seed)
    return rng.normal(3, 2, (n, T)), rng.normal(3, 2, (n, H)), rng.normal(3, 2, (n, H))


def frame(**columns):
    """A long frame of (n, steps) arrays."""
    n, steps = next(iter(columns.values())).shape
    ids = {"unique_id": np.repeat(np.arange(n), steps), "ds": np.tile(np.arange(steps), n)}
    return pd.DataFrame(ids | {name: values.ravel() for name, values in columns.items()})


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_smape_and_mase_are_those_of_utilsforecast(seed, season):
    """Its sMAPE is a 200th of ours."""
    history, y, forecast = drawn(seed)
    both = frame(y=y, f=forecast)
    theirs = 200 * losses.smape(both, ["f"])["f"].to_numpy()
    np.testing.assert_allclose(measures.smape(y, forecast), theirs, rtol=1e-12)
    theirs = losses.mase(both, ["f"], season, frame(y=history))["f"].to_numpy()
    np.testing.assert_allclose(measures.mase(y, forecast, measures.seasonal_scale(history, season)), theirs, rtol=1e-12)


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_pinball_and_coverage_are_those_of_utilsforecast(seed, level):
    _, y, q = drawn(seed)
    theirs = losses.quantile_loss(frame(y=y, q=q), {"q": "q"}, level)["q"].to_numpy()
    np.testing.assert_allclose(measures.pinball(y, q[..., None], [level])[:, 0], theirs, rtol=1e-12)
    both = frame(y=y, **{"q-lo-80": q - 1, "q-hi-80": q + 1})
    theirs = losses.coverage(both, ["q"], 80)["q"].to_numpy()
    np.testing.assert_allclose(measures.coverage(y, q - 1, q + 1), theirs, rtol=1e-12)


ALL = {
    "smape": measures.smape,
    "mase": lambda y, f: measures.mase(y, f, 2.0),
    "pinball": lambda y, f: measures.pinball(y, np.stack([f, f + 1], -1), (0.2, 0.7)),
    "crps": lambda y, f: measures.crps(y, np.stack([f, f + 1], -1), (0.2, 0.7)),
    "coverage": lambda y, f: measures.coverage(y, f - 1, f + 1),
}


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 10**6), part=st.floats(0, 1))
def test_missing_steps_do_not_count(name, seed, part):
    """Each series has the measure that it has without its missing steps; without any known step it is NaN."""
    _, y, forecast = drawn(seed)
    gone = np.random.default_rng(seed).random((2, *y.shape)) < part
    y, forecast = np.where(gone[0], NAN, y), np.where(gone[1], NAN, forecast)
    found = ALL[name](y, forecast)
    assert found.shape[0] == len(y)
    for i, there in enumerate(~gone.any(0)):
        expected = ALL[name](y[i, there], forecast[i, there]) if there.any() else np.full(found.shape[1:], NAN)
        np.testing.assert_allclose(found[i], expected, rtol=1e-12)


def test_smape_of_zeros():
    y, forecast = np.array([[0.0, 0, 2], [0, 0, 0]]), np.array([[0.0, 1, 2], [0, 0, 0]])
    np.testing.assert_array_equal(measures.smape(y, forecast), [200 / 3, 0])


@pytest.mark.parametrize(
    ("history", "season", "scale"),
    [
        ([1, 2, 4], 1, 1.5),
        ([1, 2, 4], 2, 3),
        ([1, 2, 4], 3, NAN),
        ([1, 2, 4], 9, NAN),
        ([], 1, NAN),
        ([5, 5, 5, 5], 1, NAN),
        ([1, 2, 1, 2], 2, NAN),
        ([1, NAN, 4, 6], 2, 3),
        ([1, NAN, NAN, 6], 2, NAN),
        ([1, 2, 4], 0, 1.5),
    ],
)
def test_scale_of_mase(history, season, scale):
    history = np.array(history, np.float64)
    np.testing.assert_array_equal(measures.seasonal_scale(history, season), scale)
    found = measures.seasonal_scale(history, season)
    np.testing.assert_array_equal(measures.mase(np.ones(2), np.zeros(2), found), 1 / scale)


def test_a_series_without_mase_is_left_out_of_the_average():
    assert measures.average(np.array([NAN, 2.0, 4.0])) == 3
    assert np.isnan(measures.average(np.array([NAN])))
    np.testing.assert_array_equal(measures.average(np.array([[1, NAN], [3, NAN]]), 0), [2, NAN])


def test_owa():
    assert measures.owa(1, 3, 2, 2) == 1
    assert measures.owa(13.9, 1.19, 13.9, 1.19) == 1


@given(st.floats(-4, 4))
def test_crps_of_a_normal_is_its_closed_form(y):
    """y (2 Φ(y) − 1) + 2 φ(y) − 1/sqrt(π), of a standard normal, from 2000 quantiles."""
    levels = (np.arange(2000) + 0.5) / 2000
    found = measures.crps(np.array([y]), stats.norm.ppf(levels)[None], levels)
    expected = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / math.sqrt(math.pi)
    assert found == pytest.approx(expected, abs=2e-3)


def test_crps_of_the_median_is_the_absolute_error():
    _, y, forecast = drawn(1)
    found = measures.crps(y, forecast[..., None], [0.5])
    np.testing.assert_allclose(found, np.abs(y - forecast).mean(1), rtol=1e-14)


@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_pinball_is_least_at_the_quantile(seed, level):
    y = np.random.default_rng(seed).normal(size=99)
    best = np.quantile(y, level, method="inverted_cdf")
    grid = np.append(y, best)
    of = [measures.pinball(y, np.full((99, 1), q), [level])[0] for q in grid]
    assert of[-1] <= min(of) + 1e-12


def test_ends_of_an_interval_are_in_it():
    y = np.array([1.0, 2, 3, 4])
    assert measures.coverage(y, np.full(4, 2.0), np.full(4, 3.0)) == 0.5
