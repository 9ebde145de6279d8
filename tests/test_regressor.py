"""Regressors of sequences: what they share with classifiers is tested there."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_predict
from sklearn.utils.estimator_checks import parametrize_with_checks

from unspool import FolderError, Regressor, Training
from unspool.tasks.options import POOLINGS, apart
from unspool.tasks.regressor import saved

SMALL = {"hidden_size": 8, "epochs": 20, "learning_rate": 0.03}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def marked(n=80, seed=0):
    """The number at the step that is marked, and the number of steps, of sequences of unequal lengths."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(n):
        T = int(rng.integers(2, 9))
        x = np.column_stack([rng.standard_normal(T), np.zeros(T)])
        at = rng.integers(T)
        x[at, 1] = 1
        X.append(x)
        y.append([100 + 10 * x[at, 0], T])
    return X, np.array(y)


X, Y = marked()


def regressor(**options):
    return apart(Regressor, Training, SMALL | options)


@pytest.fixture(scope="module", params=[{}, {"bidirectional": False, "pooling": "mean"}], ids=str)
def model(request):
    return regressor(**request.param).fit(X, Y)


@parametrize_with_checks([regressor(epochs=30, batch_size=16)])
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def test_what_is_marked_is_found_where_the_baselines_know_little():
    model = regressor(epochs=60, hidden_size=16).fit(*marked(200), validation=marked(60, 1))
    others = marked(100, 2)
    assert model.score(*others) > 0.9
    network, baselines = model.metrics_["validation"], model.metrics_["baselines"]
    assert network["rmse"] < 0.5 * min(errors["rmse"] for errors in baselines.values())
    assert [line.split()[0] for line in model.report().splitlines()] == ["network"] + ["baseline"] * len(baselines)


def test_the_last_value_is_a_baseline_that_may_be_better():
    model = regressor(epochs=1, learning_rate=1e-6).fit([x[:, 0] for x in X], [x[-1, 0] for x in X])
    assert model.metrics_["baselines"]["the last value"]["rmse"] < 1e-6
    assert model.report().splitlines()[-1].startswith("the last value is better: ")


def test_one_number_or_several():
    one = regressor(epochs=2).fit(X, Y[:, 0])
    assert one.predict(X).shape == (80,) and regressor(epochs=2).fit(X, Y[:, :1]).predict(X).shape == (80, 1)
    several = regressor(epochs=2).fit(X, Y)
    assert several.predict(X).shape == (80, 2) and several.predict(X).dtype == np.float64
    assert cross_val_predict(regressor(epochs=2), X, Y, cv=2).shape == (80, 2)


def test_the_loss_is_not_ignored():
    y = Y[:, 0].copy()
    y[::10] += 1000
    squared, absolute = (regressor(loss=loss).fit(X, y) for loss in ("squared", "absolute"))
    assert np.median(np.abs(absolute.predict(X) - y)) < 0.7 * np.median(np.abs(squared.predict(X) - y))


def test_scores_are_scikit_learns(model, tmp_path):
    model.save(tmp_path / "m")
    assert saved.load(tmp_path / "m").score(X, Y) == pytest.approx(model.score(X, Y))


def test_a_saved_regressor_is_the_same_in_any_batch_and_order(model, tmp_path):
    model.save(tmp_path / "m")
    wanted = model.predict(X)
    for other in (Regressor.load(tmp_path / "m"), saved.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X), wanted)
        np.testing.assert_array_equal(other.predict(X[::-1])[::-1], wanted)
        np.testing.assert_array_equal(np.concatenate([other.predict([x]) for x in X]), wanted)
        np.testing.assert_array_equal(other.transform(X), model.transform(X))
        assert other.report() == model.report()
    program = (
        "import sys; import numpy as np; from unspool.tasks.regressor import saved; "
        f"p = saved.load({str(tmp_path / 'm')!r}).predict([np.ones((4, 2))]); print(repr(p.tolist())); "
        "sys.exit(bool({'torch', 'sklearn'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert json.loads(out) == model.predict([np.ones((4, 2))]).tolist()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_stream_tells_what_predict_would_of_the_sequence_so_far(pooling):
    model = regressor(bidirectional=False, pooling=pooling).fit(X, Y)
    stream = model.stream()
    for t, x in enumerate(X[0]):
        np.testing.assert_array_equal(stream.step(x), model.predict([X[0][: t + 1]])[0])


@pytest.mark.parametrize(
    ("y", "complaint"),
    [
        (Y[1:], "y must have a number, or a row, for each of 80 sequences"),
        (None, "requires y to be passed, but the target y is None"),
        (Y * np.nan, "Input y contains NaN"),
        (["word"] * 80, "could not convert string to float"),
    ],
    ids=str,
)
def test_bad_targets_are_refused(y, complaint):
    with pytest.raises(ValueError, match=complaint):
        regressor().fit(X, y)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("targets"),
        lambda p: p["targets"].update(mean=[0.0]),
        lambda p: p["targets"].update(std=[0.0, 1.0]),
        lambda p: p["targets"].update(mean=[0.0] * 3, std=[1.0] * 3),
        lambda p: p["targets"].update(mean="no", std="no"),
    ],
)
def test_a_damaged_folder_is_refused(change, tmp_path):
    regressor(epochs=1).fit(X, Y).save(tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    change(config["preprocessing"])
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    for load in (saved.load, Regressor.load):
        with pytest.raises(FolderError, match="m: is not a saved regressor"):
            load(tmp_path / "m")
