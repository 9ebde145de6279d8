"""Taggers."""

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils import estimator_checks

from unspool import DataError, FolderError, Tagger, Training, UnspoolError, data
from unspool.data.readers.conll import read_conll
from unspool.saved.small import pack
from unspool.stream import Loaded, Stream
from unspool.tasks import metrics
from unspool.tasks.options import apart, flat
from unspool.tasks.tagger import saved
from unspool.tasks.tagger.network import TaggerNetwork
from unspool.tasks.tagger.words import LONGEST

SMALL = {"hidden_size": 12, "embedding_size": 8, "epochs": 12, "learning_rate": 0.02, "dropout": 0.0, "batch_size": 8}
ONE_WAY = {"bidirectional": False, "output": "softmax"}
WINDOW = {"cell": "tdnn", "num_layers": 2, "characters": False}
KINDS = [
    {},
    WINDOW,
    {"output": "softmax"},
    ONE_WAY,
    ONE_WAY | {"feedback": True},
    {"characters": False},
    {"embedding_size": 0},
]
CHECKS = (
    "estimator_cloneable estimator_repr estimator_tags_renamed valid_tag_types no_attributes_set_in_init "
    "parameters_default_constructible get_params_invariance set_params do_not_raise_errors_in_init_or_set_params "
    "mixin_order"
).split()


def names(n=60, seed=0):
    """Sentences in which names of two words, which end in -a and -o, are among others; few words occur twice."""
    rng = np.random.default_rng(seed)

    def word(end=""):
        return "".join(rng.choice(list("bdfgklmn"), 4)) + end

    X, y = [], []
    for i in range(n):
        words, tags = [word("e") for _ in range(int(rng.integers(0, 4)))], []
        tags = ["O"] * len(words)
        if i % 3 or not words:
            words += [word("a").title(), word("o").title()]
            tags += ["B-PER", "I-PER"]
        more = int(rng.integers(0, 3))
        X.append(words + [word("e") for _ in range(more)])
        y.append(tags + ["O"] * more)
    return X, y


X, Y = names()


def tagger(**options):
    return apart(Tagger, Training, SMALL | options)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def model(request):
    return tagger(**request.param).fit(X, Y)


@pytest.fixture(scope="module")
def crf():
    return tagger().fit(X, Y)


@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_checks_that_need_no_data(check):
    getattr(estimator_checks, f"check_{check}")("Tagger", Tagger())


def test_names_are_learnt_from_the_characters_of_words_never_seen():
    others = names(40, 1)
    found = tagger(epochs=20).fit(X, Y)
    assert found.score(*others) > 0.9
    blind = tagger(epochs=20, characters=False).fit(X, Y)
    assert blind.score(*others) < 0.7
    assert found.metrics_["validation"]["f1"] > max(found.metrics_["baselines"].values())
    assert "baseline" in found.report() and " f1 " in found.report()


def test_it_is_the_same_as_the_network_in_training(model):
    """The saved half gives what the trained network does, of which it knows nothing."""
    s = list(model._fitted().outputs(model._fitted().given(X[:7])))
    words = {w: i for i, w in enumerate(dict.fromkeys(w for words in X[:7] for w in words))}
    known, network = model.words_, model.network_
    spelled = [known.spelling(w) if known.characters else np.zeros(1, int) for w in words]
    letters = np.zeros((len(words), LONGEST), int)
    for i, one in enumerate(spelled):
        letters[i, : len(one)] = one
    told = ([known.row(w) for w in words], [known.number(w) for w in words], [1] * len(words), letters)
    network.prepare(*(torch.tensor(np.array(v)) for v in (*told, [len(one) for one in spelled])))
    for sentence, mine in zip(X[:7], s, strict=True):
        x = torch.tensor([[words[w]] for w in sentence])
        if model.feedback:
            x = torch.stack([x, torch.tensor([[-1], *([k] for k in mine.argmax(1)[:-1])])], -1)
        with torch.no_grad():
            theirs = network(x)[0][:, 0].numpy()
        assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_predictions_are_bits(model):
    whole = model.predict_proba(X)
    backwards = model.predict_proba(X[::-1])[::-1]
    for words, one, other, tags in zip(X, whole, backwards, model.predict(X), strict=True):
        assert_array_equal(one, other)
        assert_array_equal(one, model._fitted().predict_proba([words])[0])
        assert one.shape == (len(words), len(model.classes_)) and len(tags) == len(words)
        assert_allclose(one.sum(1), 1)


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_predictions_do_not_depend_on_the_batch(crf, data):
    model, alone = crf._fitted(), crf.predict_proba(X)
    chosen = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1, max_size=80))
    for i, p in zip(chosen, model.predict_proba([X[i] for i in chosen]), strict=True):
        assert_array_equal(p, alone[i])


def test_a_saved_tagger_is_the_same(model, tmp_path):
    model.save(tmp_path / "m")
    again, light = Tagger.load(tmp_path / "m"), saved.load(tmp_path / "m")
    assert flat(again) == flat(model) and again.report() == light.report() == model.report()
    other = pickle.loads(pickle.dumps(model))
    for p, *others in zip(*(m.predict_proba(X) for m in (model, again, light, other)), strict=True):
        for q in others:
            assert_array_equal(p, q)
    assert light.score(X, Y) == model.score(X, Y)
    again.save(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "m/model.safetensors").read_bytes()


def test_prediction_needs_no_torch(crf, tmp_path):
    crf.save(tmp_path / "m")
    code = (
        "import sys; from unspool.tasks.tagger import saved; m = saved.load(sys.argv[1]);"
        "x = ['Bafa', 'Kilo']; m.predict([x]); m.predict_spans(x); m.n_best(x, 2);"
        "assert not {'torch', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "m"], check=True)


def test_a_folder_has_a_second_network(crf, tmp_path):
    crf.save(tmp_path / "m")
    pack(tmp_path / "m", tmp_path / "small", "int8")
    small = saved.load(tmp_path / "small")
    assert small.reader.made_of[0].weights["head.weight"].dtype == np.int8
    assert small.score(X, Y) > crf.score(X, Y) - 0.1
    found = data_of(tmp_path / "m")
    reader = Loaded(found, "", part="characters")
    copied = pickle.loads(pickle.dumps(Stream(reader)))
    letters = np.array([1, 2, 3])
    assert_array_equal(copied.run(letters), Stream(reader).run(letters))
    with pytest.raises(FolderError, match="no part 'nothing'"):
        Loaded(found, "", part="nothing")
    with pytest.raises(FolderError, match="parts that are objects"):
        Loaded(found._replace(config=found.config | {"parts": [1]}), "")


def data_of(path):
    from unspool.saved import folder

    return folder.read(path, files=("metrics.json", "vocabulary.json"))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["preprocessing"].pop("tags"),
        lambda c: c["preprocessing"].update(tags={"dtype": "<U1", "values": ["b", "a"]}),
        lambda c: c["preprocessing"]["words"].update(trained=10**9),
        lambda c: c["preprocessing"]["words"].update(characters=["", "a"]),
        lambda c: c["parameters"].update(feedback=True),
        lambda c: c["parts"].pop("words"),
        lambda c: c["parts"]["characters"].update(head={"kind": "linear", "size": 3}),
        lambda c: c.update(parts=3),
    ],
)
def test_a_damaged_folder_is_refused(crf, tmp_path, change):
    import json

    crf.save(tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    change(config)
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    for load in (saved.load, Tagger.load):
        with pytest.raises(FolderError):
            load(tmp_path / "m")


def test_marginals_and_paths_are_sums_over_all_paths(crf):
    """Enumeration of all paths of a sentence of four words."""
    model, words = crf._fitted(), ["Bafa", "Kilo", "mefe", "Lina"]
    e = next(model.outputs(model.given([words]))).astype(np.float64)
    A, start, end = model.potentials
    K = len(model.classes)
    paths = list(itertools.product(range(K), repeat=4))

    def score(y):
        inner = sum(A[a, b] for a, b in itertools.pairwise(y))
        return start[y[0]] + end[y[-1]] + e[range(4), y].sum() + inner

    p = np.exp([score(y) for y in paths])
    p /= p.sum()
    marginals = np.zeros((4, K))
    for y, weight in zip(paths, p, strict=True):
        marginals[range(4), y] += weight
    assert_allclose(model.predict_proba([words])[0], marginals, atol=1e-12)
    best = crf.n_best(words, 3)
    assert_allclose([one.probability for one in best], np.sort(p)[::-1][:3], rtol=1e-9)
    assert best[0].tags == crf.predict([words])[0]
    for span in crf.predict_spans(words):
        has = [span[:3] in metrics.spans(model.classes[list(y)].tolist()) for y in paths]
        assert span.probability == pytest.approx(p[has].sum(), rel=1e-9)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_the_posterior_of_a_span_is_exact_in_any_scheme(data):
    """Tags that may follow each other as they like, so that spans begin and end in every way."""
    scheme = data.draw(st.sampled_from(["BI", "BIES"]))
    tags = sorted(["O", *(f"{letter}-{label}" for letter in scheme for label in "XY")])
    T, K = 3, len(tags)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    A, start, end, e = rng.normal(size=(K, K)), rng.normal(size=K), rng.normal(size=K), rng.normal(size=(T, K))
    paths = np.array(list(itertools.product(range(K), repeat=T)))
    s = start[paths[:, 0]] + end[paths[:, -1]] + e[range(T), paths].sum(1) + A[paths[:, :-1], paths[:, 1:]].sum(1)
    p = np.exp(s) / np.exp(s).sum()
    found = [set(metrics.spans([tags[k] for k in path])) for path in paths]
    numbers = {tag: k for k, tag in enumerate(tags)}
    chain = saved.chain
    for a, b, label in [(0, 1, "X"), (1, 2, "Y"), (0, 2, "Y"), (1, 3, "X"), (0, 3, "X"), (2, 3, "Y")]:
        events = saved._events(numbers, a, b, label)
        ours = chain.span_posterior(chain.Chain(A, start, end), e[:, None], events).sum()
        assert ours == pytest.approx(p[[(a, b, label) in spans for spans in found]].sum(), rel=1e-9)


def test_what_is_ill_formed_is_never_predicted_unless_it_was_given(crf):
    assert crf.scheme_ == "BIO"
    masked = crf._fitted().potentials
    inside = crf.classes_.tolist().index("I-PER")
    assert masked.start[inside] == -np.inf and masked.transitions[crf.classes_.tolist().index("O"), inside] == -np.inf
    loose = [["I-PER" if tag == "B-PER" else tag for tag in tags] for tags in Y[:-1]] + [Y[-1]]
    assert tagger(epochs=1).fit(X, loose).scheme_ is None


def test_one_direction_is_a_stream():
    for options in (ONE_WAY, ONE_WAY | {"feedback": True}):
        model = tagger(**options).fit(X, Y)
        stream = model.stream()
        for words in X[:5]:
            assert_array_equal([stream.step(word) for word in words], model.predict_proba([words])[0])
            stream.reset()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"output": "softmax"}, "bidirectional=False"), ({"bidirectional": False}, "output='softmax'")],
)
def test_what_is_no_stream_says_why(options, said):
    with pytest.raises(UnspoolError, match=said):
        tagger(epochs=1, **options).fit(X, Y).stream()


@pytest.mark.parametrize("cell", ["tdnn", "mlp"])
def test_a_window_of_words_and_those_before(cell):
    model = tagger(cell=cell, window=2, output="softmax").fit(X, Y)
    wanted = {"tdnn": 2, "mlp": [2]}[cell]
    assert model.network_.config["recurrent"]["window"] == wanted
    stream, words = model.stream(), ["blae", "Mola", "Daro", "gole"]
    found = model.predict_proba([words])[0]
    assert_array_equal([stream.step(word) for word in words], found)
    assert_array_equal(model.predict_proba([["Mola", *words[1:]]])[0][2:], found[2:])
    assert not np.array_equal(model.predict_proba([["Mola", *words[1:]]])[0][1], found[1])
    assert model.score(*names(40, 1)) > 0.7
    with pytest.raises(UnspoolError, match=f"bidirectional must be False for a {cell}, which has no direction"):
        tagger(cell=cell, bidirectional=True).fit(X, Y)


def test_feedback_lets_each_tag_enter_the_next_step():
    """The tag is the parity of the ones so far, which a network without a memory of its own can only carry in it."""
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 2, int(rng.integers(20, 30))) for _ in range(150)]
    y = [(np.cumsum(one) % 2).tolist() for one in x]
    x = [one.astype(np.float32) for one in x]
    score = {}
    for feedback in (False, True):
        model = tagger(**ONE_WAY, feedback=feedback, cell="elman", epochs=15, hidden_size=8).fit(x, y)
        score[feedback] = model.score(x, y)
    assert score[True] > 0.99 > score[False] + 0.2
    with pytest.raises(UnspoolError, match="without feedback"):
        model.n_best(x[0])
    with pytest.raises(UnspoolError, match="feedback needs bidirectional=False"):
        tagger(feedback=True).fit(x, y)


def test_numbers_of_ones_own(tmp_path):
    """Sensors: the tag is whether the last peak was of the first or of the second of them."""
    rng = np.random.default_rng(0)
    x, y = [], []
    for _ in range(60):
        which = rng.integers(0, 2, 9)
        x.append(np.eye(2)[which] * 100 + 1000)
        y.append(["left" if w else "right" for w in np.append(1, which[:-1])])
    model = tagger(epochs=20).fit(x, y)
    assert model.score(x, y) > 0.95 > max(model.metrics_["baselines"].values()) + 0.2
    assert set(model.metrics_["baselines"]) == {"the commonest tag", "logistic regression on each step alone"}
    assert model.n_features_in_ == 2
    model.save(tmp_path / "m")
    assert_array_equal(
        np.stack(list(Tagger.load(tmp_path / "m").predict_proba(x))), np.stack(list(model.predict_proba(x)))
    )
    with pytest.raises(DataError, match="2 features; got 3"):
        model.predict([np.zeros((4, 3))])
    with pytest.raises(DataError, match="must have numbers"):
        model.predict([["a", "b"]])
    with pytest.raises(DataError, match="NaN in sequence 1 at step 2"):
        model.predict([np.zeros((4, 2)), np.array([[0.0, 1], [1, 1], [np.nan, 1]])])


def test_vectors_of_words_never_seen(tmp_path):
    """Only the vector tells the tag of a word that the training part did not have."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(200)]
    kind = {word: i % 2 for i, word in enumerate(words)}
    vectors = {word: np.append(rng.normal(size=3), 4 * k - 2).round(3) for word, k in kind.items()}
    x = [list(rng.choice(words[:100], 6)) for _ in range(40)]
    new = [list(rng.choice(words[100:], 6)) for _ in range(20)]
    y, wanted = ([[kind[word] for word in one] for one in part] for part in (x, new))
    path = tmp_path / "vectors.txt"
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()]
    path.write_text("200 4\n" + "".join(lines))
    options = {"characters": False, "output": "softmax", "epochs": 20}
    by_file, by_mapping = (tagger(vectors=v, **options).fit(x, y) for v in (str(path), vectors))
    assert by_file.score(new, wanted) > 0.95
    assert tagger(**options).fit(x, y).score(new, wanted) < 0.75
    by_mapping.save(tmp_path / "m")
    by_file.save(tmp_path / "f")
    path.unlink()
    for folder in "mf":
        again = Tagger.load(tmp_path / folder)
        assert_array_equal(again.predict_proba(new)[0], by_file.predict_proba(new)[0])
    assert set(Tagger.load(tmp_path / "m").vectors) == set(words)
    assert clone(by_mapping).get_params().keys() == by_mapping.get_params().keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 1 2\nb 1\n", "line 2: expected a word and 2 numbers"),
        ("a 1 x\n", "line 1: expected a word and 2 numbers"),
        ("a\n", "expected a word and some numbers"),
        ("a 1 nan\n", "finite; got NaN or infinity for 'a'"),
        ("2 3\n", "at least one word"),
    ],
)
def test_bad_vectors(tmp_path, text, said):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        tagger(vectors=str(tmp_path / "v.txt")).fit(X, Y)


def test_vectors_that_cannot_be_used():
    for vectors in ({}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": []}, {"a": [[1.0]]}):
        with pytest.raises(DataError, match="vectors must have"):
            tagger(vectors=vectors).fit(X, Y)
    with pytest.raises(DataError, match="NaN"):
        tagger(vectors={"a": [np.nan]}).fit(X, Y)
    with pytest.raises(UnspoolError, match="X has numbers"):
        tagger(vectors={"a": [1.0]}).fit([np.zeros(3)] * 4, [["a", "b", "a"]] * 4)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([["a"], []], [["A"], []], "at least one step; got none in sequence 1"),
        ([["a", "b"], ["c"]], [["A", "B"], ["A", "B"]], "got 2 for the 1 of sequence 1"),
        ([["a"], ["b"]], [["A"]], "one for each of 2 sequences; got 1"),
        ([["a", "b"], ["c"]], [["A", None], ["A"]], "got None at step 1 of sequence 0"),
        ([["a", "b"], ["c"]], [["A", ""], ["A"]], "got '' at step 1 of sequence 0"),
        ([["a"], ["b"]], [["A"], [1]], "all str, or all int"),
        ([["a"], ["b"]], [[1.5], [1.0]], "got 1.5"),
        ([["a"], ["b"]], ["A", "B"], "got 'A' for sequence 0"),
        ([["a"], ["b"]], None, "got NoneType"),
        ([["a"], ["b"]], "tag", "needs Sequences"),
        ([["a"], ["b"], ["c"]], [["A"]] * 3, "at least two different ones; got A alone"),
        (["a b", "c d"], [["A", "B"]] * 2, "got texts"),
        ([["a"]], [["A"]], "at least 2 sequences"),
        ([["a", "b"]] * 4, [["A", 2**70]] * 4, "int"),
    ],
)
def test_bad_data(x, y, said):
    with pytest.raises(DataError, match=said):
        tagger(epochs=1).fit(x, y)


def test_ten_thousand_tags():
    x = [[f"w{i}", f"v{i}"] for i in range(5000)]
    y = [[2 * i, 2 * i + 1] for i in range(5000)]
    with pytest.raises(DataError, match="at most 1,000 different ones"):
        tagger(epochs=1).fit(x, y)
    options = {"output": "softmax", "epochs": 1, "hidden_size": 4, "batch_size": 512, "characters": False}
    model = tagger(**options).fit(x, y, validation=(x[:9], y[:9]))
    assert model.predict_proba(x[:1])[0].shape == (2, 10_000)
    with pytest.raises(UnspoolError, match=r"at most 1,000 tags; this tagger has 10,000"):
        model.n_best(x[0])


def test_words_that_nobody_knows(crf):
    for words in (["ψ" * 500], [""], ["\x00"], ["😀", "a" * LONGEST], ["\ud800"]):
        assert len(crf.predict([words])[0]) == len(words)


def test_sentences_of_one_word():
    x, y = [["anna"], ["bert"]] * 6, [[1], [2]] * 6
    model = tagger().fit(x, y)
    assert model.predict([["anna"], ["bert"]]).tolist() == [[1], [2]]
    with pytest.raises(UnspoolError, match="BIO or BIOES"):
        model.predict_spans(["anna"])


def test_before_a_fit_there_is_nothing():
    with pytest.raises(NotFittedError):
        Tagger().predict(X)


def test_what_readers_return(tmp_path):
    path = tmp_path / "names.conll"
    path.write_text(
        "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*pair, strict=True)) for pair in zip(X, Y, strict=True))
    )
    read = read_conll(path, separator="\t")
    wanted = tagger(epochs=2).fit(X, Y)
    for x, y in ((read, "tag"), (read, read["tag"]), (read["token"], read["tag"])):
        model = tagger(epochs=2).fit(x, y)
        for p, q in zip(model.predict_proba(x), wanted.predict_proba(X), strict=True):
            assert_array_equal(p, q)
        assert model.score(x, y) == wanted.score(X, Y)
    assert isinstance(read["token"], data.Ragged)


def test_scikit_learn_takes_it_on_ragged_sentences():
    small = tagger(epochs=2)
    search = GridSearchCV(small, {"hidden_size": [4, 8]}, cv=2).fit(X, Y)
    assert search.best_params_["hidden_size"] in (4, 8)
    found = cross_val_predict(small, X, Y, cv=2)
    assert found.dtype == object and [len(tags) for tags in found] == [len(words) for words in X]


def test_the_same_seed_gives_the_same_bits_and_another_another(tmp_path):
    one, two, three = (tagger(epochs=2, random_state=seed).fit(X, Y).predict_proba(X)[0] for seed in (0, 0, 1))
    assert_array_equal(one, two)
    assert not np.array_equal(one, three)
    with pytest.raises(UnspoolError, match="tbptt must be None"):
        tagger(tbptt=4).fit(X, Y)


def test_dropout_acts_on_what_is_read_of_words_and_not_on_numbers():
    torch.manual_seed(0)
    recurrent = {"cell": "gru", "hidden_size": 3, "num_layers": 1, "dropout": 0.5}
    config = {"front": {"kind": "dense", "size": 4}, "recurrent": recurrent, "head": {"kind": "linear", "size": 2}}
    network = TaggerNetwork(config, {"words": {}}, {"words": (5, 4)}).train()
    n = torch.arange(5)
    network.prepare(n, n, torch.full((5,), 10**9), n[:, None], torch.ones(5, dtype=torch.int64))
    seen = []
    network.recurrent.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(n[:, None])
    assert (seen[0] == 0).any()
    network(torch.ones(5, 1, 4))
    assert (seen[1] == 1).all()
