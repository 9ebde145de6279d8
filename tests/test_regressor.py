"""Regressors of sequences: what they share with classifiers is tested there."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils.estimator_checks import parametrize_with_checks

from unspool import DataError, FolderError, Regressor, Training, UnspoolError
from unspool.data import Ragged
from unspool.data.batches import Bucketed
from unspool.tasks.options import POOLINGS, apart
from unspool.tasks.regressor import saved
from unspool.train.through_time import forward

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


def summed(n=40, seed=0, later=False):
    """At each step the sum of a feature so far, and the other one's product with it; of sequences of unequal lengths.

    later: the sum is that of the steps from this one on.
    """
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((int(rng.integers(1, 10)), 2)) for _ in range(n)]
    sums = [x[::-1, 0].cumsum()[::-1] if later else x[:, 0].cumsum() for x in X]
    return X, [np.column_stack([50 + 10 * s, x[:, 1]]) for x, s in zip(X, sums, strict=True)]


X, Y = marked()
XS, YS = summed()


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


ONE_WAY = {"bidirectional": False}
STEPS = [{}, ONE_WAY, ONE_WAY | {"num_layers": 2, "tbptt": 3}, {"cell": "tdnn"}, {"cell": "mlp", "window": 2}]


@pytest.fixture(scope="module", params=STEPS, ids=str)
def stepwise(request):
    """A regressor that tells two numbers at each step."""
    return regressor(epochs=3, **request.param).fit(XS, YS)


@pytest.mark.parametrize(("options", "later"), [(ONE_WAY, False), ({}, True), (ONE_WAY | {"tbptt": (3, 6)}, False)])
def test_values_at_each_step_are_learnt_that_need_other_steps(options, later):
    model = regressor(hidden_size=12, **options).fit(*summed(80, later=later), validation=summed(20, 1, later))
    others = summed(50, 2, later)
    wanted, found = (np.concatenate(list(y)) for y in (others[1], model.predict(others[0])))
    assert model.score(*others) == pytest.approx(r2_score(wanted, found)) and model.score(*others) > 0.9
    network, baselines = model.metrics_["validation"], model.metrics_["baselines"]
    assert list(baselines) == ["the mean", "the present value", "ridge regression on the inputs of each step alone"]
    assert network["rmse"] < 0.5 * min(errors["rmse"] for errors in baselines.values())
    assert network["steps"] == sum(len(x) for x in summed(20, 1)[0])
    assert f"on {network['steps']} steps of 20 sequences held out" in model.report()


def test_baselines_of_steps_may_be_better():
    steps = regressor(epochs=1, learning_rate=1e-6).fit(XS, XS)
    assert steps.metrics_["baselines"]["the present value"]["rmse"] < 1e-6
    words, numbers = [["a", "b", "b"], ["b", "a"]] * 20, [[1.0, 5.0, 5.0], [5.0, 1.0]] * 20
    tokens = regressor(epochs=1, learning_rate=1e-6).fit(words, numbers)
    assert tokens.metrics_["baselines"]["ridge regression on the token of each step alone"]["r2"] > 0.99
    assert steps.report().splitlines()[-1].startswith("the present value is better")


def test_values_of_steps_are_the_same_bits_alone_saved_and_in_any_batch(stepwise, tmp_path, monkeypatch):
    stepwise.save(tmp_path / "m")
    wanted = stepwise.predict(XS)
    assert wanted.shape == (40,) and wanted.dtype == object
    assert [out.shape for out in wanted] == [y.shape for y in YS]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for other in (Regressor.load(tmp_path / "m"), saved.load(tmp_path / "m"), pickle.loads(pickle.dumps(stepwise))):
        found = other.predict(XS[::-1])[::-1]
        for x, one, more in zip(XS, wanted, found, strict=True):
            np.testing.assert_array_equal(one, more)
            np.testing.assert_array_equal(other.predict([x])[0], one)
        assert other.score(XS, YS) == stepwise.score(XS, YS) and other.report() == stepwise.report()
    assert stepwise.transform(XS).shape == (40, 16 if stepwise.network_.architecture.bidirectional else 8)


def test_a_stream_tells_the_value_of_each_step(stepwise):
    if stepwise.network_.architecture.bidirectional:
        with pytest.raises(UnspoolError, match="trained with bidirectional=False"):
            stepwise.stream()
        return
    stream, x = stepwise.stream(), max(XS, key=len)
    np.testing.assert_array_equal([stream.step(row) for row in x], stepwise.predict([x])[0])


def test_padding_adds_nothing_to_the_loss_of_steps():
    model = regressor(epochs=1)
    work = model._work(XS, YS, (XS, YS))
    network = model._build(work).eval()
    train = work.data[0]
    (batch,) = Bucketed(train.inputs, train.y, 40, max_padding=0.9, shuffle=False)
    assert batch.lengths is not None and batch.targets_there == 2 * len(train.inputs.values)
    together = forward(network, work.loss, batch)[0].item()
    alone = sum(forward(network, work.loss, one)[0].item() for one in Bucketed(train.inputs, train.y, 1))
    assert together == pytest.approx(alone, rel=1e-5)
    np.testing.assert_allclose([train.y.values.mean(0), train.y.values.std(0)], [[0, 0], [1, 1]], atol=1e-5)


def test_how_values_of_steps_are_told_from_values_of_sequences():
    x = np.stack([x[:4] for x in XS if len(x) > 3])
    y = np.stack([y[:4] for y in YS if len(y) > 3])
    objects = np.empty(len(y), object)
    objects[:] = list(y)
    wanted = regressor(epochs=1).fit(x, y).predict(x)
    for same in (list(y), objects, Ragged.of(list(y)), y.tolist()):
        np.testing.assert_array_equal(np.stack(regressor(epochs=1).fit(x, same).predict(list(x))), np.stack(wanted))
    assert regressor(epochs=1).fit(x, list(y[..., 0])).predict(x)[0].shape == (4,)
    assert regressor(epochs=1).fit(x, y[..., 0]).predict(x).shape == y.shape[:2], "a value a sequence, four outputs"
    model = regressor(epochs=1).fit(x, list(y))
    assert model.fit(x, y[:, 0, 0]).predict(x).shape == (len(x),), "fitted anew"


def test_scikit_learn_searches_with_values_of_steps():
    search = GridSearchCV(regressor(), {"hidden_size": [4, 8]}, cv=2).fit(XS, YS)
    assert search.best_score_ > 0.3
    found = cross_val_predict(regressor(epochs=1), XS, YS, cv=2)
    assert [out.shape for out in found] == [y.shape for y in YS]


@pytest.mark.parametrize(
    ("options", "x", "y", "complaint"),
    [
        ({}, XS, YS[1:], "y must have values for the steps of each of 40 sequences"),
        ({}, XS, [*YS[:-1], YS[-1][:-1]], r"y must have a value for each step; got \d for the \d of sequence 39"),
        ({}, XS, [list(pair) for pair in YS[0]] * 40, "y must have values for the steps"),
        (
            {},
            XS,
            [[1.0, 2.0]] * 40,
            r"for the \d of sequence \d: a value a sequence goes as an array \(n,\) or \(n, O\)",
        ),
        ({}, XS, [*YS[:-1], YS[-1][:, 0]], "that differ in T alone; got others in sequence 39"),
        ({}, XS, [*YS[:-1], YS[-1] * np.nan], "y must have finite numbers; got NaN or infinity in sequence 39"),
        ({}, XS, [["a"] * len(x) for x in XS], "y must have real numbers; got what is no number in sequence 0"),
        (
            {},
            XS,
            [np.ones((1, 2, 2)), *YS[1:]],
            r"arrays \(T,\) or \(T, O\); got one of shape \(1, 2, 2\) for sequence 0",
        ),
        ({}, ["ab"] * 4, [[1, 2]] * 4, "X must have numbers or lists of tokens for a value a step; cut each text"),
        ({"pooling": "mean"}, XS, YS, "a value a step needs pooling='last', and no sound_rate nor stride"),
        ({"convolution": (4, 3, 2)}, XS, YS, "a value a step needs pooling='last', and no sound_rate nor stride"),
        ({"tbptt": 3}, XS, YS, "tbptt needs a recurrent cell, bidirectional=False"),
    ],
    ids=str,
)
def test_bad_values_of_steps_are_refused(options, x, y, complaint):
    with pytest.raises((DataError, UnspoolError), match=complaint):
        regressor(**options).fit(x, y)


def test_steps_and_sequences_are_not_mixed(stepwise):
    with pytest.raises(DataError, match="y held out must have a value a step where y has one"):
        regressor().fit(XS, YS, validation=(XS, [len(x) for x in XS]))
    with pytest.raises(DataError, match="y must have values for the steps of each of 40 sequences"):
        stepwise.score(XS, np.ones((40, 2)))
    with pytest.raises(UnspoolError, match="sample_weight must be None"):
        stepwise.score(XS, YS, np.ones(40))
