"""Classifiers of sequences."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from unspool import Classifier, DataError, DivergedError, FolderError, Training, UnspoolError, data
from unspool.data.batches import Bucketed
from unspool.data.ragged import Ragged
from unspool.data.vocabulary import TOKENS
from unspool.network import restore
from unspool.saved.small import pack
from unspool.tasks.classifier import saved
from unspool.tasks.classifier.calibration import calibration
from unspool.tasks.options import POOLINGS, apart, by_number, flat
from unspool.tasks.readout import Readout, held_out
from unspool.tasks.sequence_network import SequenceNetwork
from unspool.tasks.supervised import LossOfTargets, Part, _at_ends
from unspool.train.through_time import forward

SMALL = {"hidden_size": 8, "epochs": 15, "learning_rate": 0.03, "dropout": 0.0}
ONE_WAY = {"bidirectional": False}
LAYOUTS = [
    {"pooling": pooling, "bidirectional": both} for pooling in ("last", "mean", "both") for both in (True, False)
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def order(n=60, seed=0):
    """Two bumps among noise, of unequal lengths: which came first? Nothing but the order tells."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        T = int(rng.integers(6, 14))
        x = 0.1 * rng.standard_normal((T, 2))
        first, second = sorted(rng.choice(T, 2, replace=False))
        x[first, i % 2] += 2
        x[second, 1 - i % 2] += 2
        X.append(x)
        y.append(("left", "right")[i % 2])
    return X, y


X, Y = order()


def classifier(**options):
    return apart(Classifier, Training, SMALL | options)


@pytest.fixture(scope="module", params=LAYOUTS, ids=str)
def model(request):
    return classifier(**request.param).fit(X, Y)


@parametrize_with_checks([classifier(epochs=10, batch_size=16)])
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def test_what_came_first_is_learnt_where_the_baselines_know_nothing():
    found = classifier(epochs=40).fit(X, Y, validation=order(40, 1))
    others = order(100, 2)
    assert found.score(*others) > 0.9
    assert max(found.metrics_["baselines"].values()) < 0.75
    assert list(found.classes_) == ["left", "right"]
    lines = found.report().splitlines()
    assert lines[0].startswith("network ") and "40 sequences held out, trained on 60 sequences" in lines[0]
    assert len(lines) == 4 and all(line.startswith("baseline ") for line in lines[1:])


def test_the_report_says_so_where_a_baseline_is_better():
    found = classifier(epochs=1, learning_rate=1e-6).fit([[float(i % 4)] * 3 for i in range(40)], [0, 1, 2, 3] * 10)
    assert "is better: longer training" in found.report()


def test_predictions_are_the_same_bits_in_any_batch_and_order(model):
    p = model.predict_proba(X)
    assert p.shape == (60, 2) and np.allclose(p.sum(1), 1)
    np.testing.assert_array_equal(model.predict_proba(X[::-1])[::-1], p)
    np.testing.assert_array_equal(np.concatenate([model.predict_proba([x]) for x in X]), p)
    np.testing.assert_array_equal(model.predict_proba([*X, np.zeros((50, 2))])[:-1], p)
    np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(X))


def test_predictions_are_those_of_the_trained_network(model):
    for x, p in zip(X[:5], model.predict_proba(X[:5]), strict=True):
        with torch.no_grad():
            out, _ = model.network_(torch.tensor(x, dtype=torch.float32)[:, None])
        torch.testing.assert_close(torch.tensor(p), out[0].double().softmax(0), rtol=0, atol=1e-5)


def test_the_states_at_the_ends_are_what_the_head_reads(model):
    Z = model.transform(X)
    assert (
        Z.shape == (60, (1 + model.bidirectional) * (16 if model.pooling == "both" else 8))
        and len(model.get_feature_names_out()) == Z.shape[1]
    )
    with torch.no_grad():
        y, _ = model.network_.recurrent(model.network_.front(torch.tensor(X[0], dtype=torch.float32)[:, None]))
    forward, backward = y[:, 0, :8].numpy(), y[:, 0, 8:].numpy()
    ends = [forward[-1], *([backward[0]] if model.bidirectional else [])]
    means = [y[:, 0].numpy().mean(0)]
    wanted = {"last": ends, "mean": means, "both": ends + means}[model.pooling]
    np.testing.assert_allclose(Z[0], np.concatenate(wanted), atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_padding_never_counts(layout):
    """The loss of a padded batch, and its gradients, are the sums of those of each sequence alone."""
    network, part, error = of_three(layout)
    totals = []
    for size in (6, 1):
        network.zero_grad()
        batches = list(Bucketed(part.inputs, part.y, size, max_padding=0.9))
        assert len(batches) == 6 // size
        for batch in batches:
            forward(network, error, batch)[0].backward()
        totals.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*totals)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_outputs_are_what_a_readout_reads_off_the_sums(layout):
    network, part, error = of_three(layout)
    plain = restore(network.config, {name: p.numpy() for name, p in network.float().state_dict().items()})
    (batch,) = Bucketed(part.inputs, part.y, 6, max_padding=0.9, shuffle=False)
    x, lengths = torch.from_numpy(batch.inputs).float(), torch.from_numpy(batch.lengths)
    with torch.no_grad():
        s, outputs = plain(x, lengths=lengths)[0], network(x, lengths=lengths)[0]
    for b, length in enumerate(batch.lengths):
        np.testing.assert_allclose(network.how.sums(s[:length, b].numpy()), outputs[b], rtol=0, atol=1e-6)
    if network.how.last_alone:  # then windows of parts of sequences have the same loss
        (windows,) = Bucketed(part.inputs, _at_ends(part), 6, max_padding=0.9, shuffle=False)
        values = [forward(*pair)[0] for pair in ((plain, LossOfTargets(error), windows), (network, error, batch))]
        torch.testing.assert_close(*values)


def of_three(layout):
    """A network in double precision for three classes, six sequences, and the loss."""
    torch.manual_seed(0)
    how = Readout(layout["pooling"], layout["bidirectional"])
    recurrent = {"cell": "gru", "hidden_size": 5, "num_layers": 2, "bidirectional": how.bidirectional}
    head = {"kind": "linear", "size": how.width(3)}
    network = SequenceNetwork(how, {"front": {"kind": "dense", "size": 2}, "recurrent": recurrent, "head": head})
    part = Part(Ragged.of([x.astype(np.float64) for x in X[:6]]), np.arange(6) % 3)
    return network.double(), part, lambda s, codes: torch.nn.functional.cross_entropy(s, codes, reduction="sum")


def test_a_saved_classifier_is_the_same(model, tmp_path):
    model.save(tmp_path / "m")
    loaded, core = Classifier.load(tmp_path / "m"), saved.load(tmp_path / "m")
    for other in (loaded, core, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(other.transform(X), model.transform(X))
        assert other.score(X, Y) == model.score(X, Y) and other.report() == model.report()
    assert flat(loaded) == flat(model) and loaded.n_features_in_ == 2
    assert {p.name for p in (tmp_path / "m").iterdir()} == {
        "config.json", "model.safetensors", "metrics.json", "history.jsonl", "README.md",
    }  # fmt: skip
    pack(tmp_path / "m", tmp_path / "small", "bf16")
    for small in (Classifier.load(tmp_path / "small"), saved.load(tmp_path / "small")):
        np.testing.assert_allclose(small.predict_proba(X), model.predict_proba(X), atol=0.1)
        assert small.transform(X).shape == model.transform(X).shape


def test_predicting_needs_neither_torch_nor_scikit_learn(model, tmp_path):
    model.save(tmp_path / "m")
    program = (
        "import sys; import numpy as np; from unspool.tasks.classifier import saved; "
        f"p = saved.load({str(tmp_path / 'm')!r}).predict_proba([np.ones((4, 2))]); print(repr(p.tolist())); "
        "sys.exit(bool({'torch', 'sklearn'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert json.loads(out) == model.predict_proba([np.ones((4, 2))]).tolist()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_stream_tells_what_predict_would_of_the_sequence_so_far(pooling):
    model = classifier(pooling=pooling, **ONE_WAY).fit(X, Y)
    stream = model.stream()
    for _ in range(2):
        for t, x in enumerate(X[3]):
            np.testing.assert_array_equal(stream.step(x), model.predict_proba([X[3][: t + 1]])[0])
        stream.reset()


def test_a_bidirectional_network_is_no_stream():
    model = classifier(epochs=1).fit(X, Y)
    with pytest.raises(UnspoolError, match="trained with bidirectional=False; this one reads"):
        model.stream()


NAMES = ["anna", "berta", "emma", "ida", "jack", "kurt", "frank", "mark"] * 6
ENDS = [name[-1] == "a" for name in NAMES]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (NAMES, {}),
        (NAMES, {"level": "byte", "embedding_size": 0}),
        (NAMES, {"level": "word"}),
        ([list(name) for name in NAMES], {}),
        ([[ord(c) for c in name] for name in NAMES], {"embedding_size": 0}),
    ],
    ids=["texts", "bytes", "words", "tokens", "numbered tokens"],
)
def test_texts_and_tokens(given, options, tmp_path):
    model = classifier(**ONE_WAY, **options).fit(given, ENDS)
    assert model.score(given, ENDS) > 0.9 and model.classes_.dtype == bool
    assert "on counts of tokens" in model.report()
    model.save(tmp_path / "m")
    core = saved.load(tmp_path / "m")
    np.testing.assert_array_equal(core.predict_proba(given[:8]), model.predict_proba(given[:8]))
    np.testing.assert_array_equal(Classifier.load(tmp_path / "m").predict(given), model.predict(given))
    assert core.predict([given[0][:-1] + given[0][:1]]).shape == (1,)
    stream = core.stream()
    parts = given[0] if isinstance(given[0], list) else [given[0]]
    np.testing.assert_array_equal([stream.step(part) for part in parts][-1], model.predict_proba(given[:1])[0])


def test_aligned_letters_are_the_inputs_of_an_mlp(tmp_path):
    given = ["".join(np.random.default_rng(i).permutation(list("aabbcc"))) for i in range(60)]
    y = [text[2] for text in given]  # a place, which the counts know nothing of
    model = classifier(dropout=None).fit(given, y)
    assert model.score(given, y) > 0.9
    assert "54 texts cut into characters, of one length, whose places are the inputs of an mlp" in model.report()
    network = model.network_.config
    assert network["front"] == {"kind": "one-hot", "size": 4}
    assert network["recurrent"] == {"hidden_size": 8, "num_layers": 1, "dropout": 0.5, "cell": "tdnn", "window": [6]}
    model.save(tmp_path / "m")
    loaded = Classifier.load(tmp_path / "m")
    assert "mlp 8" in (tmp_path / "m" / "README.md").read_text(encoding="utf-8") and loaded.cell is None
    for X in (given, [text + text for text in given]):
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    fits = [(given, {"bidirectional": True}), (given, {"bidirectional": False, "tbptt": 3}), (given, {"cell": "gru"})]
    fits += [
        ([*given[:-1], "a"], {}),
        ([text * 17 for text in given], {}),
        ([[ord(c) * i for c in x] for i, x in enumerate(given)], {}),
    ]
    for X, options in fits:
        model = classifier(epochs=1, **options).fit(X, y)
        assert model.network_.architecture.cell == "gru" and "an mlp" not in model.report()
        assert model.network_.config["front"]["size"] == 64


@pytest.mark.parametrize(
    ("more", "level"), [("", "char"), (" d", "char"), (" b c d e", "word"), ("\nb, c  d e", "word")], ids=str
)
def test_texts_of_five_words_are_read_by_words(more, level):
    model = classifier(epochs=1).fit([f"{name}{more}" for name in NAMES], ENDS)
    assert model.encoder_.vocabulary.level == level
    assert f"texts cut into {TOKENS[level]}s" in model.report()
    assert "cut into" not in classifier(epochs=1, level="char").fit(NAMES, ENDS).report()


def test_columns_of_a_file_and_of_a_frame_have_names(tmp_path):
    file = tmp_path / "x.csv"
    rows = [f"{i},{t},{x[0]},{x[1]}" for i, one in enumerate(X) for t, x in enumerate(one)]
    file.write_text("\n".join(["who,t,a,b", *rows]), encoding="utf-8")
    read = data.read(file, sequence="who", time="t", columns=["who", "a", "b"])
    model = classifier().fit(read, Y)
    model.save(tmp_path / "m")
    assert list(Classifier.load(tmp_path / "m").feature_names_in_) == ["a", "b", "t"]
    np.testing.assert_array_equal(saved.load(tmp_path / "m").predict(read), model.predict(read))
    frame = pd.DataFrame([x[:6, 0] for x in X]).rename(columns=lambda t: f"t{t}")
    model = classifier().fit(frame, Y)
    assert model.n_features_in_ == 6 and model.feature_names_in_[5] == "t5"
    assert model.predict([x[:, 0] for x in X]).shape == (60,)
    model.save(tmp_path / "m", force=True)
    assert list(Classifier.load(tmp_path / "m").feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(Classifier.load(tmp_path / "m").predict(frame), model.predict(frame))
    with pytest.raises(DataError, match="X must have 6 steps, as what the network was trained on; got 5"):
        saved.load(tmp_path / "m").predict(np.zeros((2, 5)))


def test_a_table_may_follow_a_list_and_a_list_a_table():
    tables = np.stack([x[:6, 0] for x in X])
    listed, table = classifier(epochs=2).fit([x[:, :1] for x in X], Y), classifier(epochs=2).fit(tables, Y)
    for model in (listed, table):
        np.testing.assert_array_equal(model.predict_proba(tables), model.predict_proba(list(tables)))
    with pytest.raises(ValueError, match="X has 5 features, but Classifier is expecting 6 features as input"):
        table.predict(tables[:, :5])


def test_ragged_lists_in_searches_pipelines_and_validations():
    grid = {"hidden_size": [4, 8], "training": [None, Training(batch_size=8)]}
    search = GridSearchCV(classifier(epochs=2), grid, cv=2)
    assert search.fit(X, Y).best_estimator_.hidden_size in (4, 8)
    model = classifier(clip_norm=0.5).set_params(training__batch_size=7, dropout=0.1)
    assert clone(model).training.batch_size == 7
    p = cross_val_predict(classifier(), X, Y, cv=2, method="predict_proba")
    assert p.shape == (60, 2)
    objects = np.empty(60, object)
    objects[:] = X
    pipeline = make_pipeline(classifier(epochs=30), LogisticRegression()).fit(objects, Y)
    assert pipeline.score(objects, Y) > 0.8


def test_every_kind_of_class_comes_back(tmp_path):
    days = np.array(["2024-01-02", "2024-01-01"], "datetime64[D]")
    for classes in ([3, -1], [0.0, 2.0], ["b", "a"], [True, False], np.array(["b", "a"], object), days):
        y = np.array(list(classes) * 30, getattr(classes, "dtype", None))
        model = classifier(epochs=1).fit(X, y)
        assert set(model.predict(X).tolist()) <= set(y.tolist()) and model.classes_.dtype == y.dtype
        model.save(tmp_path / "m", force=True)
        np.testing.assert_array_equal(saved.load(tmp_path / "m").classes, model.classes_)


def test_classes_are_held_out_alike():
    classes = np.repeat([0, 1, 2], [60, 30, 1])
    mine = held_out(91, 0.1, 0, classes)
    assert np.bincount(classes[mine], minlength=3).tolist() == [6, 3, 0]
    assert not np.array_equal(mine, held_out(91, 0.1, 1, classes))
    np.testing.assert_array_equal(mine, held_out(91, 0.1, 0, classes))
    assert held_out(2, 0.9, 0).sum() == 1


BASE = {"hidden_size": 4, "epochs": 2, "embedding_size": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"cell": "lstm"}, {"hidden_size": 5}, {"num_layers": 2}, {"dropout": 0.5}, {"epochs": 3}, {"random_state": 1},
        {"learning_rate": 0.01}, {"bidirectional": False}, {"pooling": "mean"}, {"pooling": "last"},
        {"level": "word"},
        {"embedding_size": 5}, {"batch_size": 5}, {"clip_norm": 1e-3}, {"optimiser": "sgd"},
        {"bidirectional": False, "tbptt": 2},
    ],
    ids=str,
)  # fmt: skip
def test_no_option_is_ignored(change):
    texts = [f"{a}{b} {b}" for a in NAMES[:8] for b in NAMES[:8]]
    base = BASE | {name: value for name, value in change.items() if name == "bidirectional" and "tbptt" in change}
    loss = [classifier(**options).fit(texts, ENDS[:8] * 8).history_[-1]["loss"] for options in (base, BASE | change)]
    assert loss[0] != loss[1]


def test_epochs_and_patience_are_of_the_number_of_sequences():
    assert by_number(90) == (8, 100, 0) and by_number(90, 30) == (8, 30, 0) and by_number(1000).patience == 0
    assert by_number(4000) == (32, 50, 8) and by_number(10**6) == (128, 5, 8)
    x, y = np.zeros((1200, 1)), np.arange(1200) % 2  # nothing can be learnt
    for options, patience in (({"patience": 3}, 3), ({}, 8), ({"patience": 0, "epochs": 25}, None)):
        model = classifier(**{"batch_size": 1000, "epochs": None} | options).fit(x, y)
        found = [line["validation"] for line in model.history_ if line["validation"] is not None]
        assert len(found) == 25 if patience is None else len(found) - 1 - np.argmin(found) == patience


def test_a_run_is_resumed_to_the_same_bits(tmp_path):
    def stop(progress):
        if progress.step == 20:
            raise KeyboardInterrupt

    whole = classifier().fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        classifier().fit(X, Y, run=tmp_path / "run", watch=stop)
    resumed = classifier().fit(X, Y, run=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    with pytest.raises(FolderError, match="the data have changed"):
        classifier().fit(X, Y[::-1], run=tmp_path / "run", resume=True)


def test_a_divergence_is_told_and_the_best_weights_are_kept():
    with pytest.raises(DivergedError, match="is not finite"):
        classifier(learning_rate=1e38, clip_norm=0.0, optimiser="sgd").fit(X, Y)


@pytest.mark.parametrize(
    ("options", "x", "y", "validation", "complaint"),
    [
        ({}, X, Y[1:], 0.1, "y must have a class for each of 60 sequences; got 59"),
        ({}, X, None, 0.1, "requires y to be passed, but the target y is None"),
        ({}, X, ["one"] * 60, 0.1, "at least two classes; got one class, one"),
        ({}, X[:2], Y[:2], 0.1, "at least 2 sequences of a class"),
        ({}, X, np.arange(60) / 7, 0.1, "Unknown label type"),
        ({}, X, Y, 1.5, "validation must be a number more than 0 and less than 1; got 1.5"),
        ({}, X, Y, "end", "a part between 0 and 1, or a pair"),
        ({}, X, [None, *Y[1:]], 0.1, "y must have a class for each sequence; got None for sequence 0"),
        ({}, X, [np.nan, *range(59)], 0.1, "y must have a class for each sequence; got nan for sequence 0"),
        ({}, [], [], 0.1, "X must have at least one sequence; got none"),
        ({}, [*X[:-1], X[-1] + np.inf], Y, 0.1, "got infinity, or a number too large for float32, in sequence 59"),
        ({"level": "word"}, X, Y, 0.1, "level is for texts, and X has numbers"),
        ({}, X, [["a"] * len(x) for x in X], 0.1, "got several for each: Tagger learns a label a step"),
        ({}, X, np.ones((len(X), 5)), 0.1, "got several for each: Tagger learns a label a step"),
        ({"tbptt": 4}, X, Y, 0.1, "tbptt needs a recurrent cell, bidirectional=False, pooling='last' and no stride"),
        ({"pooling": "max"}, X, Y, 0.1, "pooling must be one of last, mean, both; got 'max'"),
        ({"bidirectional": 1}, X, Y, 0.1, "bidirectional must be a bool; got 1"),
        ({}, [*X[:-1], X[-1] * np.nan], Y, 0.1, "got NaN in sequence 59 at step 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_data_are_refused(options, x, y, validation, complaint):
    with pytest.raises(ValueError, match=complaint):
        classifier(**options).fit(x, y, validation=validation)


def rare(n=400):
    """One in twenty is of the class 1, which differs from the others by less than they do."""
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 20 == 0).astype(int)
    return [rng.standard_normal((3, 1)) + 0.8 * of for of in y], y


def test_weights_of_classes():
    x, y = rare()
    plain, balanced = (classifier(class_weight=w, batch_size=32).fit(x, y) for w in (None, "balanced"))
    assert balanced.predict(x).sum() > 60 > 3 * plain.predict(x).sum()
    n = len(y) * 0.9
    assert balanced.class_weight_ == pytest.approx([n / 2 / 342, n / 2 / 18])
    same = classifier(class_weight={1: n / 2 / 18, 0: n / 2 / 342}, batch_size=32).fit(x, y)
    np.testing.assert_array_equal(same.predict_proba(x), balanced.predict_proba(x))
    for wrong, complaint in (
        ("even", "class_weight must be one of balanced; got 'even'"),
        ([1, 2], r"class_weight must be balanced, or a weight for each class by name; got \[1, 2\]"),
        ({2: 1.0}, "class_weight must have classes of y; got 2"),
        ({1: 0.0}, r"class_weight\[1\] must be a number more than 0; got 0.0"),
    ):
        with pytest.raises(UnspoolError, match=complaint):
            classifier(class_weight=wrong).fit(x, y)


def test_calibration_is_measured():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.05, 0.95]])
    found = calibration(p, np.array([0, 1, 0, 1]))
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.2, 0.55, 0.95]).mean())
    assert found["brier"] == pytest.approx(2 * np.mean(np.square([0.1, 0.8, 0.45, 0.05])))
    assert found["calibration_error"] == pytest.approx((2 * 0.075 + 0.8 + 0.45) / 4)
    assert found["reliability"]["0.9 to 1"] == {"count": 2, "confidence": pytest.approx(0.925), "accuracy": 1.0}
    assert list(found["reliability"]) == ["0.5 to 0.6", "0.8 to 0.9", "0.9 to 1"]
    fitted = classifier(epochs=1).fit(X, Y).metrics_["validation"]
    assert fitted["sequences"] == 6 == sum(row["count"] for row in fitted["reliability"].values())


def test_a_class_that_occurs_once_is_trained_on():
    y = ["once", *Y[1:]]
    assert list(classifier(epochs=1).fit(X, y).classes_) == ["left", "once", "right"]


def test_sequences_of_one_step():
    x = np.linspace(-1, 1, 40)[:, None]
    model = classifier(epochs=40).fit(list(x), x[:, 0] > 0)
    assert model.score(list(x), x[:, 0] > 0) > 0.9 and model.predict(x.tolist()).shape == (40,)


def test_ten_thousand_classes():
    """Each occurs twice; logistic regression is left out, and the nearest neighbour sees a part."""
    y = np.repeat(np.arange(10_000), 2)
    model = classifier(epochs=1, hidden_size=2, batch_size=2048, bidirectional=False).fit(
        y[:, None] / 1e4, y, validation=0.01
    )
    assert list(model.metrics_["baselines"]) == [
        "commonest class",
        "1-nearest neighbour by all values, of 2,000 sequences",
    ]
    assert model.predict_proba(y[:2, None] / 1e4).shape == (2, 10_000)


def test_differences_too_fine_for_float32_are_refused():
    x = 1e9 + np.arange(60.0)[:, None]
    with pytest.raises(DataError, match="less than a millionth of their size in feature 0: subtract an offset"):
        classifier().fit(list(x), Y)
    classifier(epochs=1).fit(list(x - 1e9), Y)


def test_what_the_network_was_not_trained_on_is_refused():
    model = classifier(epochs=1).fit(X, Y)
    for other, complaint in (
        ([x[:, :1] for x in X], "X must have sequences of 2 features; got 1"),
        (["text"], "X must have numbers, as what the network was trained on; got texts"),
        ([X[0], X[1] * np.inf], "finite numbers; got NaN in sequence 1|got infinity"),
    ):
        with pytest.raises(DataError, match=complaint):
            model.predict(other)
    with pytest.raises(NotFittedError):
        classifier().predict(X)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("encoder"),
        lambda p: p["encoder"].update(kind="tokens"),
        lambda p: p["encoder"].update(features=3),
        lambda p: p["encoder"].update(features="2"),
        lambda p: p.update(classes=["left", "right"]),
        lambda p: p["classes"].update(values=["right", "left"]),
        lambda p: p["classes"].update(values=["a", "b", "c"]),
        lambda p: p["classes"].update(values={"a": 1}),
        lambda p: p["classes"].update(dtype="nothing"),
        lambda p: p["classes"].update(dtype="V8"),
    ],
)
def test_a_damaged_folder_is_refused(change, tmp_path):
    classifier(epochs=1).fit(X, Y).save(tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    change(config["preprocessing"])
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    for load in (saved.load, Classifier.load):
        with pytest.raises(FolderError, match="m: is not a saved classifier"):
            load(tmp_path / "m")


@pytest.mark.parametrize(
    ("folder", "name", "least"),
    [("uea-japanesevowels", "JapaneseVowels", 0.95), ("uea-basicmotions", "BasicMotions", 0.95)],
)
def test_real_sequences(data_folder, folder, name, least):
    train, test = (data.read(data_folder / folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    model = Classifier().fit(train, train["label"])
    assert model.score(test, test["label"]) >= least


@pytest.mark.parametrize("window", [[1], [3], [9], [3, 1], [20, 1, 1]], ids=str)
@pytest.mark.parametrize("count", [1, 6])
def test_an_mlp_computes_its_last_step_alone(window, count):
    torch.manual_seed(0)
    recurrent = {"cell": "tdnn", "hidden_size": 5, "num_layers": len(window), "window": window}
    config = {"front": {"kind": "dense", "size": 2}, "recurrent": recurrent, "head": {"kind": "linear", "size": 3}}
    network = SequenceNetwork(Readout("last", False), config)
    plain = restore(network.config, {name: p.numpy() for name, p in network.state_dict().items()})
    (batch,) = Bucketed(Ragged.of([x.astype(np.float32) for x in X[:count]]), np.arange(count), count, max_padding=0.9)
    x, lengths = torch.from_numpy(batch.inputs), None if count == 1 else torch.from_numpy(batch.lengths)
    steps = []
    network.recurrent.register_forward_hook(lambda _, given, out: steps.append(len(out[0])))
    out = network(x, lengths=lengths)[0]
    last = (torch.tensor([len(x)]) if lengths is None else lengths) - 1
    s = plain(x, lengths=lengths)[0][last, torch.arange(count)]
    torch.testing.assert_close(out, s, rtol=0, atol=1e-6)
    assert steps == [1]


def test_words_are_dropped_more_often_and_begin_small():
    words = [[f"w{i + 40 * j}" for i in range(40)] for j in range(30)]
    few = Classifier(**SMALL | {"dropout": None, "epochs": 1}).fit(
        [w[:3] + ["a"] * i for i, w in enumerate(words)], Y[:30]
    )
    many = Classifier(**SMALL | {"dropout": None, "epochs": 1}).fit(
        [w + ["a"] * i for i, w in enumerate(words)], Y[:30]
    )
    assert [m.network_.architecture.dropout for m in (few, many)] == [pytest.approx(0.3), pytest.approx(0.7)]
    network = SequenceNetwork(Readout("last", False), many.network_.config | {"head": {"kind": "linear", "size": 2}})
    assert network.front.weight.norm(dim=1).mean().item() == pytest.approx(1, abs=0.1)
