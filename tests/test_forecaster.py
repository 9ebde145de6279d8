"""Forecasters of arrays: what they tell, to the bit, and what they do with series that are short, flat or have gaps."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

from unspool import Forecaster, Training
from unspool.errors import DataError, FolderError, UnspoolError
from unspool.tasks.forecaster import saved
from unspool.tasks.forecaster.history import Lags

SMALL = {"hidden_size": 8, "epochs": 3, "random_state": 1}
OUTPUTS = ["normal", "student-t", "poisson", "negative-binomial", "point", (0.1, 0.5, 0.9)]


def waves(n=5, steps=90, season=6, seed=0):
    random = np.random.default_rng(seed)
    t = np.arange(steps)
    return [random.poisson(20 + 15 * np.sin(2 * np.pi * t / season + k)).astype(float) for k in range(n)]


@pytest.fixture(scope="module")
def fitted():
    return Forecaster(6, season=6, **SMALL).fit(waves())


@pytest.fixture(scope="module", params=OUTPUTS, ids=str)
def told(request):
    return Forecaster(6, season=6, output=request.param, **SMALL).fit(waves())


def test_an_update_is_the_longer_series(told):
    series = waves(seed=3)
    whole = told.predict(series)
    begun = told.streams(X=[one[:70] for one in series])
    for t in range(70, 90):
        begun.update(np.array([s[t] for s in series]))
    assert begun.forecast().tobytes() == whole.tobytes()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 2**31), st.sampled_from([0.0, 0.3]))
def test_each_series_has_the_bits_that_it_has_alone(fitted, lengths, seed, missing):
    random = np.random.default_rng(seed)
    series = [np.where(random.random(T) < missing, np.nan, 20 + random.normal(size=T)) for T in lengths]
    together = fitted.predict(series)
    order = random.permutation(len(series))
    assert fitted.predict([series[k] for k in order]).tobytes() == together[order].tobytes()
    for one, alone in zip(series, together, strict=True):
        assert fitted.predict([one])[0].tobytes() == alone.tobytes()


def test_the_end_of_training_is_a_hot_start(told):
    assert told.predict().tobytes() == told.predict(waves()).tobytes()
    stream = told.stream(2)
    assert stream.forecast().tobytes() == told.predict()[2].tobytes()
    state, first = stream.to_bytes(), stream.forecast()
    after = stream.update(3.0).update(np.nan).forecast()
    assert not np.array_equal(first, after)
    other = told.stream(0)
    other.from_bytes(state)
    assert other.forecast().tobytes() == first.tobytes()
    assert other.update(3.0).update(np.nan).forecast().tobytes() == after.tobytes()


def test_streams_of_other_series(fitted):
    other = waves(2, seed=8)
    stream = fitted.stream(1, other)
    assert stream.forecast().tobytes() == fitted.predict(other)[1].tobytes()
    assert fitted.stream(X=other[:1]).forecast().tobytes() == fitted.predict(other[:1])[0].tobytes()
    with pytest.raises(UnspoolError, match="some of those there are, as 0, 1; got 7"):
        fitted.stream(7, other)
    with pytest.raises(UnspoolError, match="got None"):
        fitted.stream()


def test_a_state_of_another_network_is_refused(fitted):
    other = Forecaster(6, season=6, **SMALL | {"hidden_size": 9}).fit(waves())
    with pytest.raises(UnspoolError, match=r"other names or shapes|state of this network"):
        fitted.stream(0).from_bytes(other.stream(0).to_bytes())


def test_a_folder_forecasts_the_same(told, tmp_path):
    told.save(tmp_path / "it")
    for model in (Forecaster.load(tmp_path / "it"), saved.load(tmp_path / "it")):
        assert model.predict().tobytes() == told.predict().tobytes()
        assert model.report() == told.report()
        assert model.stream(1).forecast(horizon=9).tobytes() == told.stream(1).forecast(horizon=9).tobytes()
    again = pickle.loads(pickle.dumps(told))
    assert again.predict().tobytes() == copy.deepcopy(told).predict().tobytes() == told.predict().tobytes()
    assert clone(told).get_params() == told.get_params()


def test_a_forecast_reads_nothing_of_what_is_to_come(fitted):
    series = waves(1, seed=5)[0]
    for cut in (1, 7, 60):
        poisoned = np.append(series[:cut], np.full(30, np.nan))
        found = fitted.saved_half.outlooks(
            fitted.saved_half._reader([poisoned]), np.array([0]), np.array([cut]), 6
        ).point()
        assert found[0, :, 0].tobytes() == fitted.predict([series[:cut]])[0].tobytes()
    table = fitted.backtest([series], windows=3, step=5)
    other = fitted.backtest([np.append(series[:-6], np.full(6, 1e6))], windows=3, step=5)
    first = table["cutoff"] == table["cutoff"].min()
    assert table["forecast"][first].tobytes() == other["forecast"][first].tobytes()


def test_a_longer_horizon_begins_with_the_shorter_one(told):
    assert told.predict(horizon=20)[:, :6].tobytes() == told.predict().tobytes()
    assert told.predict(horizon=1).tobytes() == np.ascontiguousarray(told.predict()[:, :1]).tobytes()


def test_quantiles_rise_and_intervals_lie_between(told):
    if told.output == "point":
        with pytest.raises(UnspoolError, match="point"):
            told.sample(3)
        return
    found = told.predict_quantiles((0.1, 0.5, 0.9))
    assert (found["q-0.1"] <= found["q-0.5"]).all()
    assert (found["q-0.5"] <= found["q-0.9"]).all()
    intervals = told.predict_interval(level=(80, 95))
    assert intervals["lo-80"].tobytes() == found["q-0.1"].tobytes()
    assert (intervals["lo-95"] <= intervals["lo-80"]).all()


def test_paths_have_the_quantiles_that_are_told(told):
    if told.output == "point":
        return
    paths = told.sample(2000, waves(2, seed=7), random_state=4)
    assert paths.shape == (2, 2000, 6)
    assert paths.tobytes() == told.sample(2000, waves(2, seed=7), random_state=4).tobytes()
    for level in (0.1, 0.5, 0.9):
        wanted = told.saved_half._told(waves(2, seed=7)).outlook.quantile(level)[..., 0]
        below, upto = (paths < wanted[:, None]).mean(1), (paths <= wanted[:, None]).mean(1)
        # Three deviations of the part of 2,000 draws; counts are equal to their quantile with a probability.
        assert (below - 0.035 <= level).all()
        assert (upto + 0.035 >= level).all()


def test_paths_depend_on_each_other_from_step_to_step():
    """A random walk: far steps of a path are near to each other, as in the series."""
    random = np.random.default_rng(0)
    walks = [np.cumsum(random.normal(size=200)) for _ in range(20)]
    model = Forecaster(8, season=1, hidden_size=8, epochs=15).fit(walks)
    paths = model.sample(500, walks[:4])
    correlation = [np.corrcoef(one[:, 6], one[:, 7])[0, 1] for one in paths]
    assert min(correlation) > 0.5


def test_conformal_intervals_hold_what_was_held_out():
    model = Forecaster(6, season=6, output="point", **SMALL).fit(waves(20))
    found = model.predict_interval(waves(20, steps=84), level=80, conformal=True)
    wanted = np.stack([s[-6:] for s in waves(20)])
    inside = ((wanted >= found["lo-80"]) & (wanted <= found["hi-80"])).mean()
    assert 0.7 < inside < 0.95
    margin = model.calibration_.margin(model.setup_.family, 80, 6)
    c = model.calibration_
    off = np.abs(c.y - c.base - c.scale * c.s[..., 0]) / c.scale
    assert np.mean(off <= margin.max()) >= 0.8
    assert np.mean(off < margin.min()) <= 0.8 + 1 / off.size + 0.01


@pytest.mark.parametrize("cell", ["elman", "jordan", "gru", "lstm", "tdnn", "mlp"])
def test_every_cell_forecasts(cell):
    model = Forecaster(6, season=6, cell=cell, **SMALL).fit(waves(3))
    assert np.isfinite(model.predict()).all()
    assert model.stream(0).forecast().tobytes() == model.predict()[0].tobytes()


def test_five_past_prices_tell_the_next():
    price = np.cumsum(np.random.default_rng(2).normal(size=300)) + 50
    model = Forecaster(1, season=1, cell="mlp", window=5, **SMALL).fit([price])
    assert model.network_.architecture.options["window"] == (5,)
    assert "naive" in model.report()


def test_a_report_says_where_a_baseline_wins():
    walk = np.cumsum(np.random.default_rng(0).normal(size=120))
    model = Forecaster(5, season=1, hidden_size=4, epochs=1, learning_rate=0.5).fit([walk])
    validation = model.metrics_["validation"]["mae"]
    best = min(found["mae"] for found in model.metrics_["baselines"].values())
    assert ("is better" in model.report()) == (best < validation)


ODD = {
    "one series shorter than the horizon": [np.arange(9.0)],
    "one series of three values": [np.array([1.0, 2.0, 4.0])],
    "a constant series": [np.full(60, 7.0)],
    "a series of one value among others": [np.arange(60.0), np.array([4.0])],
    "an empty series among others": [np.arange(60.0), np.zeros(0)],
    "all missing at the end": [np.append(np.arange(40.0), np.full(20, np.nan))],
    "all missing at the beginning": [np.append(np.full(20, np.nan), np.arange(40.0))],
    "values far apart": [1e9 * np.sin(np.arange(60.0)), 1e-9 * np.sin(np.arange(60.0))],
    "lists": [[1.0, 2.0, 3.0] * 10, [4, 5, 6] * 10],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_series_have_a_forecast(name):
    model = Forecaster(12, season=4, hidden_size=4, epochs=1).fit(ODD[name])
    assert model.predict().shape == (len(ODD[name]), 12)
    assert np.isfinite(model.predict()).all()
    assert isinstance(model.report(), str)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.array([1.0])], "longer series"),
        ([np.array([1.0, 2.0])], "longer series"),
        ([], "at least one|no series|series"),
        ([np.full(50, np.nan)], "missing|value"),
        ([np.array([1.0, np.inf] * 20)], "infinit"),
        (np.zeros((4, 50)), "series or variables|list"),
        ([np.zeros((50, 2)), np.zeros((50, 3))], "values a step|differ|columns|shape"),
    ],
)
def test_what_cannot_be_used_is_refused(X, message):
    with pytest.raises(DataError, match=message):
        Forecaster(4, hidden_size=4, epochs=1).fit(X)


@pytest.mark.parametrize("output", ["poisson", "negative-binomial"])
@pytest.mark.parametrize("bad", [-1.0, 0.5])
def test_counts_are_integers_from_0(output, bad):
    with pytest.raises(DataError, match=r"counts"):
        Forecaster(4, output=output, hidden_size=4, epochs=1).fit([np.append(np.arange(50.0), bad)])


@pytest.mark.parametrize("output", ["poisson", "negative-binomial"])
def test_counts_may_all_be_0(output):
    model = Forecaster(4, output=output, hidden_size=4, epochs=1).fit([np.zeros(50), np.arange(50.0) % 3])
    assert np.isfinite(model.predict()).all()
    assert (model.predict() >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "gauss"}, "output"),
        ({"output": (0.5, 0.1)}, "level"),
        ({"output": (0.5, 1.5)}, "level"),
        ({"horizon": 0}, "horizon"),
        ({"season": 0}, "season"),
        ({"scale": "none"}, "scale"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UnspoolError, match=message):
        Forecaster(**SMALL | options).fit(waves())


def test_the_season_counts():
    with_, without = (Forecaster(6, season=m, **SMALL).fit(waves()) for m in (6, 1))
    assert with_.setup_.inputs.lags == Lags(6, (1,))
    assert without.setup_.inputs.lags == Lags(1)


def test_one_scale_for_all_is_that_of_the_training_part():
    model = Forecaster(6, season=6, scale="global", **SMALL).fit(waves())
    found = model.saved_half._told(None).outlook
    assert len(np.unique(found.scale)) == 1
    assert len(np.unique(Forecaster(6, season=6, **SMALL).fit(waves()).saved_half._told(None).outlook.scale)) > 1


def test_tbptt_is_the_context():
    short, long = (Forecaster(6, season=6, training=Training(tbptt=k), **SMALL).fit(waves()) for k in (4, 40))
    assert not np.array_equal(short.predict(), long.predict())


def test_several_targets_are_forecast_together():
    pairs = [np.stack([a, b], 1) for a, b in zip(waves(3), waves(3, seed=1), strict=True)]
    model = Forecaster(6, season=6, **SMALL).fit(pairs)
    assert model.predict().shape == (3, 6, 2)
    assert model.sample(4).shape == (3, 4, 6, 2)
    assert model.predict(pairs).tobytes() == model.predict().tobytes()
    assert model.stream(0).update([1.0, np.nan]).forecast().shape == (6, 2)
    assert [s.shape for s in model.score_samples(pairs)] == [(90, 2)] * 3


def test_what_is_unusual_has_a_high_score(fitted):
    series = waves(1, seed=9)[0]
    series[60] = 500
    found = fitted.score_samples([series])[0]
    assert found.shape == (90,)
    assert found.argmax() == 60


def test_score_is_the_scaled_error_of_the_last_horizon(fitted):
    series = waves(3, seed=4)
    found = []
    for one in series:
        forecast = fitted.predict([one[:-6]])[0]
        found.append(np.mean(np.abs(one[-6:] - forecast)) / np.mean(np.abs(one[6:-6] - one[:-12])))
    assert fitted.score(series) == pytest.approx(-np.mean(found))


def test_a_backtest_is_in_the_long_form(fitted):
    series = waves(2, seed=4)
    table = fitted.backtest(series, windows=3, step=4)
    assert list(table) == ["series", "step", "cutoff", "y", "forecast"]
    assert len(table["y"]) == 2 * 3 * 6
    assert sorted(set(table["cutoff"].tolist())) == [75, 79, 83]
    row = (table["series"] == 1) & (table["cutoff"] == 79)
    assert table["step"][row].tolist() == list(range(80, 86))
    assert table["y"][row].tolist() == series[1][80:86].tolist()
    assert table["forecast"][row].tolist() == fitted.predict([series[1][:80]])[0].tolist()


@pytest.mark.parametrize("damage", ["memory.number", "memory.history.sums", "calibration.scale"])
def test_a_damaged_folder_is_refused(fitted, tmp_path, damage):
    from unspool.saved import folder

    fitted.save(tmp_path / "it")
    found = folder.read(tmp_path / "it")
    weights = {**found.weights, damage: found.weights[damage][:-1]}
    folder.write(tmp_path / "bad", found.config, weights, {"metrics.json": "{}", "history.jsonl": ""})
    with pytest.raises(FolderError, match="fit"):
        saved.load(tmp_path / "bad")


def test_a_warm_start_goes_on_training():
    warm = Training(warm_start=True)
    model = Forecaster(6, season=6, training=warm, **SMALL).fit(waves())
    first = model.metrics_["validation"]["mae"]
    before = {name: value.clone() for name, value in model.network_.state_dict().items()}
    model.set_params(epochs=1, learning_rate=1e-9).fit(waves())
    for name, value in model.network_.state_dict().items():
        np.testing.assert_allclose(value.numpy(), before[name].numpy(), atol=1e-6)
    model.set_params(epochs=20, learning_rate=0.01).fit(waves(seed=2))
    assert model.metrics_["validation"]["mae"] < first
    cold = clone(model).set_params(training=Training(), epochs=1, learning_rate=1e-9).fit(waves())
    assert not np.array_equal(cold.network_.head.weight.detach().numpy(), before["head.weight"].numpy())


@pytest.mark.parametrize("change", [{"season": 5}, {"output": "normal"}, {"hidden_size": 9}])
def test_a_warm_start_needs_the_same_network(change):
    model = Forecaster(6, season=6, training=Training(warm_start=True), **SMALL).fit(waves())
    with pytest.raises(DataError, match="warm_start"):
        model.set_params(**change).fit(waves())


@pytest.mark.parametrize(
    "check",
    [
        "estimator_cloneable",
        "estimator_repr",
        "estimator_tags_renamed",
        "valid_tag_types",
        "no_attributes_set_in_init",
        "parameters_default_constructible",
        "get_params_invariance",
        "set_params",
        "do_not_raise_errors_in_init_or_set_params",
        "mixin_order",
    ],
)
def test_it_is_an_estimator(check):
    getattr(estimator_checks, f"check_{check}")("Forecaster", Forecaster())


def test_a_grid_of_options_is_searched():
    """Folds of whole series, each scored by its last horizon."""
    grid = GridSearchCV(Forecaster(6, season=6, hidden_size=4), {"epochs": [1, 2]}, cv=2)
    grid.fit(waves(4))
    assert set(grid.cv_results_["params"][0]) == {"epochs"}
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
