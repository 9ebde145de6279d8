"""The language model from Python."""

import itertools
import json
import pickle
import random

import numpy as np
import pytest
import torch
from estimators import language_model
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from unspool import DataError, DivergedError, FolderError, LanguageModel, Training, UnspoolError
from unspool.tasks.language_model import saved
from unspool.tasks.language_model.baseline import NGram
from unspool.tasks.options import flat
from unspool.tasks.sampling import sample

SMALL = {"hidden_size": 16, "embedding_size": 8, "tbptt": 16, "batch_size": 4, "learning_rate": 0.02, "epochs": 4}
RHYME = "the rain in spain stays mainly in the plain. " * 30


def counts(length, seed=0):
    """A letter, five dashes, the letter again: fewer than six characters do not determine the next one."""
    letters = np.random.default_rng(seed).choice(list("abcd"), length)
    return "".join(f"{c}-----{c}\n" for c in letters)


def entropy(text):
    p = np.unique(list(text), return_counts=True)[1] / len(text)
    return -(p * np.log2(p)).sum()


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """One thread, as these networks are too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return language_model(**SMALL).fit(RHYME)


@pytest.mark.parametrize("cell", ["elman", "jordan", "gru", "lstm", "tdnn", "mlp"])
def test_a_small_text_is_learnt(cell):
    window = {"window": 6} if cell in ("tdnn", "mlp") else {}
    model = language_model(**SMALL | {"cell": cell, "epochs": 12} | window).fit(RHYME)
    assert model.metrics_["validation"]["bits"] < 0.5 * entropy(RHYME)
    assert model.generate("the rain", length=20, temperature=0).startswith("the rain in")


@pytest.mark.parametrize("level", ["byte", "word"])
def test_bytes_and_words_are_learnt(level):
    model = language_model(**SMALL | {"level": level, "epochs": 12, "tbptt": 8}).fit(RHYME)
    assert model.metrics_["validation"]["bits"] < 2
    assert model.metrics_["unit"] == level
    assert "the" in model.generate("the rain", length=30, temperature=0.5, random_state=0)


def test_pieces_are_learnt_and_scored_by_the_character():
    model = language_model(**SMALL | {"level": "piece", "vocabulary_size": 30, "epochs": 20}).fit(RHYME)
    network, baseline = model.metrics_["validation"], model.metrics_["baseline"]
    assert network["bits"] < 1 and model.metrics_["unit"] == "character"
    assert network["tokens"] < 0.7 * (len(RHYME) // 10)
    held_out = model.vocabulary_.encode(RHYME[-len(RHYME) // 10 :])
    inputs, targets = (torch.from_numpy(t.astype(np.int64)) for t in (held_out[:-1], held_out[1:]))
    with torch.no_grad():
        logits = model.network_(inputs[:, None])[0][:, 0].double()
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    characters = sum(len(model.vocabulary_.tokens[t]) for t in targets)
    assert network["bits"] == pytest.approx(nats / np.log(2) / characters, rel=1e-4)
    assert network["bits"] == pytest.approx(min(line["validation"] or 9 for line in model.history_), rel=1e-4)
    train = model.vocabulary_.encode(RHYME[: -len(RHYME) // 10])
    per_token = -np.log2(NGram(train, len(model.vocabulary_)).probabilities(held_out))
    assert baseline["bits"] == pytest.approx(per_token.sum() / characters)


def test_pieces_may_go_beyond_the_end_of_the_prompt():
    model = language_model(**SMALL | {"level": "piece", "vocabulary_size": 60, "epochs": 20}).fit(RHYME)
    assert " spain" in model.vocabulary_.tokens and "the" in model.vocabulary_.tokens
    for prompt in ("the rain in spai", "the rain in ", "the rain in spain", "t", "", "the XY in spain st", "?"):
        made = model.generate(prompt, length=12, temperature=0)
        assert made.startswith(prompt) and len(made) > len(prompt)
    assert model.generate("the rain in sp", length=12, temperature=0).startswith("the rain in spain stays")
    assert model.generate("the rain in ", length=12, temperature=0).startswith("the rain in spain")
    assert model.generate("the rain in sp", length=0) == "the rain in sp"


def test_memory_beats_the_5_gram_where_it_is_needed():
    options = SMALL | {"hidden_size": 32, "epochs": 25, "batch_size": 8, "tbptt": 32}
    model = language_model(**options).fit(counts(800))
    bits, baseline = model.metrics_["validation"]["bits"], model.metrics_["baseline"]["bits"]
    assert model.metrics_["baseline"]["name"] == "interpolated 5-gram"
    # Of eight characters one is a new letter of four: 2/8 bits. A model that forgets it needs 4/8.
    assert bits < 0.3 and baseline > 0.48


def test_an_mlp_is_a_neural_n_gram(tmp_path):
    """It sees `window` tokens and no further, across chunks of any length, in PyTorch and in the core."""
    options = SMALL | {"cell": "mlp", "num_layers": 2, "window": 4, "tbptt": [8, 12], "epochs": 2}
    model = language_model(**options).fit(RHYME)
    assert model.network_.config["recurrent"]["window"] == [4, 1]
    model.save(tmp_path / "m")
    tokens = model.vocabulary_.encode(RHYME[:40]).astype(np.int64)[:, None]
    for steps in (model._model.network, saved.load(tmp_path / "m").network):
        whole, run = steps.begin(1)(tokens), steps.begin(1)
        parts = [run(tokens[at:end]) for at, end in itertools.pairwise((0, 1, 2, 5, 20, 40))]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)
        for t in range(4, 40):
            np.testing.assert_allclose(steps.begin(1)(tokens[t - 3 : t + 1])[-1], whole[t], rtol=1e-5, atol=1e-6)
        assert abs(steps.begin(1)(tokens[17:20])[-1] - whole[19]).max() > 1e-3, "it needs all four"
    assert saved.load(tmp_path / "m").score(RHYME) == pytest.approx(model.score(RHYME), rel=1e-5)
    text = model.generate("the rain", length=20, random_state=0)
    assert saved.load(tmp_path / "m").generate("the rain", length=20, random_state=0) == text


def test_fit_is_reproducible_and_leaves_torchs_generator_alone(model):
    before = torch.get_rng_state()
    again = language_model(**SMALL).fit(RHYME)
    assert again.history_ and [h["validation"] for h in again.history_] == [h["validation"] for h in model.history_]
    for a, b in zip(again.network_.parameters(), model.network_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [
        {"level": "byte"},
        {"cell": "lstm"},
        {"hidden_size": 17},
        {"num_layers": 2},
        {"embedding_size": 0},
        {"dropout": 0.2},
        {"tbptt": 8},
        {"batch_size": 5},
        {"learning_rate": 0.01},
        {"clip_norm": 0.1},
        {"epochs": 3},
        {"vocabulary_size": 5},
        {"random_state": 1},
    ],
    ids=str,
)
def test_no_option_is_ignored(model, change):
    other = language_model(**SMALL | change).fit(RHYME)
    assert other.history_[-1]["loss"] != model.history_[-1]["loss"]


def test_validation_is_the_end_or_a_text_of_its_own():
    model = language_model(**SMALL).fit("a" * 800 + "b" * 200, validation=0.2)
    assert model.metrics_["validation"] | {"bits": 0, "perplexity": 0} == {
        "bits": 0, "perplexity": 0, "tokens": 199, "unknown": 199,
    }  # fmt: skip
    model = language_model(**SMALL).fit("ab" * 200, validation="abababc")
    assert model.metrics_["training"]["tokens"] == 400
    assert model.metrics_["validation"]["tokens"] == 6 and model.metrics_["validation"]["unknown"] == 1


def test_the_best_check_is_what_is_kept(model):
    checks = [line["validation"] for line in model.history_ if line["validation"] is not None]
    assert model.metrics_["validation"]["bits"] == pytest.approx(min(checks), rel=1e-5)


def test_watch_sees_bits():
    reported = []
    model = language_model(**SMALL).fit(RHYME, watch=reported.append)
    assert reported[0].loss == pytest.approx(np.log2(len(model.vocabulary_)), abs=0.5)
    assert [t.validation for t in reported if t.validation is not None] == [h["validation"] for h in model.history_]


def test_minutes_instead_of_epochs():
    model = language_model(**SMALL | {"epochs": 1}).fit(RHYME, minutes=0.01)
    assert 0.6 <= model.metrics_["training"]["seconds"] < 10


def test_score_is_the_mean_log_probability_token_by_token(model):
    text = "the plain rain"
    tokens = torch.from_numpy(model.vocabulary_.encode(text).astype(np.int64))
    state, bits = None, []
    for x, y in itertools.pairwise(tokens):
        logits, state = model.network_(x.view(1, 1), state)
        bits.append(-torch.log_softmax(logits[0, 0].double(), 0)[y].item() / np.log(2))
    assert model.score(text) == pytest.approx(-np.mean(bits), rel=1e-5)
    assert model.score(["the pl", "ain rain"]) == pytest.approx(model.score(text), rel=1e-6)


def test_long_texts_are_scored_in_rows_almost_alike(model):
    short, long = model.evaluate(RHYME[:4000]).network, model.evaluate(RHYME * 8).network
    assert long.tokens == len(RHYME) * 8 - 1
    assert long.bits == pytest.approx(short.bits, rel=0.05)


def test_evaluate_knows_the_text_it_was_fitted_to(model):
    own = model.evaluate(RHYME)
    assert own.held_out
    assert own.network._asdict() == pytest.approx(model.metrics_["validation"])
    assert own.baseline == pytest.approx(model.metrics_["baseline"]["bits"])
    other = model.evaluate(RHYME + "?")
    assert not other.held_out and other.baseline is None
    assert other.network.tokens == len(RHYME) and other.network.unknown == 1
    assert other.network.perplexity == pytest.approx(2**other.network.bits)
    assert model.unknown("the QUEEN") == 5


def test_files_are_held_out_whole():
    files = [f"file {i} of many. " * 20 for i in range(10)]
    model = language_model(**SMALL).fit(files, validation=0.15)
    assert model.metrics_["validation"]["tokens"] == 2 * len(files[0]) - 1
    assert model.evaluate(files).network.tokens == 2 * len(files[0]) - 1
    assert not model.evaluate("".join(files)).held_out


def test_generated_text_is_reproducible_by_seed(model):
    first = model.generate("the ", length=80, random_state=3)
    assert len(first) == 84 and first.startswith("the ")
    assert model.generate("the ", length=80, random_state=3) == first
    assert model.generate("the ", length=80, random_state=4) != first
    assert model.generate("the ", length=80) != model.generate("the ", length=80)
    assert "".join(model.pieces("the ", length=80, random_state=3)) == first
    assert model.generate("the ", length=0) == "the "
    assert len(model.generate(length=5)) == 5


def test_generate_carries_the_state_on(model):
    whole = model.generate("the rain in", length=30, temperature=0)
    assert model.generate(whole[:25], length=len(whole) - 25, temperature=0) == whole


def test_unknown_is_never_generated():
    model = language_model(**SMALL).fit("ab" * 200, validation="xyxyxy")
    assert set(model.generate("?", length=200, temperature=50.0)) == {"?", "a", "b"}


def test_bytes_become_characters_when_they_are_whole():
    model = language_model(**SMALL | {"level": "byte", "epochs": 30}).fit("äöü" * 200)
    assert set(model.generate("ä", length=31, temperature=0.2, random_state=0)[:-1]) <= set("äöü")
    assert "\ufffd" not in model.generate("ä", length=32, temperature=0)


@pytest.mark.parametrize(
    ("options", "p"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.6849, 0.2466, 0.0616, 0.0068]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.7}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.85}, [0.5263, 0.3158, 0.1579, 0]),
        ({"top_p": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        ({"top_k": 9, "top_p": 1.0}, [0.5, 0.3, 0.15, 0.05]),
    ],
    ids=str,
)
def test_sampling_has_the_right_frequencies(options, p):
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15], np.float32)) + 3
    rng = random.Random(0)
    drawn = np.bincount([sample(logits, rng, **options) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn[[2, 0, 3, 1]], p, atol=0.025)
    assert (drawn[[2, 0, 3, 1]][np.array(p) == 0] == 0).all()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": -1.0}, "temperature must be a number of at least 0; got -1.0"),
        ({"temperature": float("nan")}, "temperature must be a number of at least 0; got nan"),
        ({"top_k": 0}, "top_k must be an integer of at least 1; got 0"),
        ({"top_p": 0.0}, "top_p must be a number more than 0"),
        ({"top_p": 1.5}, "top_p must be a number more than 0"),
        ({"length": -1}, "length must be an integer of at least 0; got -1"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
    ],
    ids=str,
)
def test_options_of_generate_are_checked(model, options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        model.generate("a", **options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"level": "line"}, "level must be one of char, byte, word, piece; got 'line'"),
        ({"cell": "transformer"}, "cell must be one of elman, jordan, gru, lstm, tdnn, mlp; got 'transformer'"),
        ({"window": 3}, "window is for a tdnn or an mlp; leave it out for cell='gru'"),
        ({"hidden_size": 0}, "hidden_size must be an integer of at least 1; got 0"),
        ({"num_layers": 1.0}, "num_layers must be an integer of at least 1; got 1.0"),
        ({"tbptt": 0}, "tbptt must be an integer of at least 1; got 0"),
        ({"tbptt": [8, 4]}, "k2 of tbptt must be an integer of at least 8; got 4"),
        ({"tbptt": [8, 4, 2]}, "tbptt must be k1, or k1 and k2"),
        ({"optimiser": "adma"}, "optimiser must be one of adam, adamw, nadam, rmsprop, adagrad, sgd; got 'adma'"),
        ({"patience": -1}, "patience must be an integer of at least 0; got -1"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"embedding_size": -1}, "embedding_size must be an integer of at least 0"),
        ({"dropout": 1}, "dropout must be a number of at least 0 and less than 1; got 1"),
        ({"dropout": "much"}, "dropout must be a number of at least 0 and less than 1; got 'much'"),
        ({"learning_rate": 0}, "learning_rate must be a number more than 0; got 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number more than 0; got inf"),
        ({"clip_norm": -1}, "clip_norm must be a number of at least 0; got -1"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"vocabulary_size": 0}, "vocabulary_size must be an integer of at least 1"),
        ({"random_state": -1}, "random_state must be an integer of at least 0"),
    ],
    ids=str,
)
def test_arguments_are_checked(options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        language_model(**options).fit(RHYME)


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("", {}, "text must have at least 4 characters, .* got 0 and 0: give a longer text"),
        ("x", {}, "text must have at least 4 characters"),
        ("abc", {}, "text must have at least 4 characters"),
        ([], {}, "text must be a str, or bytes, or a list of one of them; got none"),
        ([1], {}, "got int"),
        (["a", b"b"], {}, "got bytes and str"),
        (b"abcdefgh", {}, "text must be a str at level 'char'; got bytes"),
        (RHYME, {"validation": 1.0}, "validation must be a number more than 0 and less than 1; got 1.0"),
        (RHYME, {"validation": ""}, "text must have at least 4 characters"),
        (RHYME, {"minutes": 0}, "minutes must be a number more than 0; got 0"),
    ],
    ids=repr,
)
def test_texts_are_checked(text, options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        language_model(**SMALL).fit(text, **options)


def test_a_text_without_a_word_to_learn():
    words = " ".join(map(str, range(1000, 1300)))
    with pytest.raises(DataError, match="text must have a word that occurs twice; got none: give a longer text, or"):
        language_model(**SMALL | {"level": "word"}).fit(words)


def test_the_shortest_text_of_all():
    assert language_model(**SMALL).fit("abab").metrics_["validation"]["tokens"] == 1


def test_text_too_short_to_be_scored(model):
    for text in ("", "a"):
        with pytest.raises(DataError, match="text must have at least 2 characters to be scored; got"):
            model.score(text)


def test_diverged_run_keeps_the_best_weights(monkeypatch):
    from unspool.tasks.language_model import estimator

    calls, original = 0, estimator.cross_entropy

    def loss(logits, targets):
        nonlocal calls
        calls += torch.is_grad_enabled()
        return original(logits, targets) * (np.nan if calls == 30 and torch.is_grad_enabled() else 1)

    monkeypatch.setattr(estimator, "cross_entropy", loss)
    model = language_model(**SMALL)
    with pytest.raises(DivergedError, match="step 30: the loss is not finite"):
        model.fit(RHYME)
    assert model.metrics_["training"]["stopped"] == "diverged"
    checks = [line["validation"] for line in model.history_ if line["validation"] is not None]
    assert model.metrics_["validation"]["bits"] == pytest.approx(min(checks), rel=1e-5)
    calls = 29
    model = language_model(**SMALL)
    with pytest.raises(DivergedError, match="step 1"):
        model.fit(RHYME)
    with pytest.raises(NotFittedError):
        model.score(RHYME)


@pytest.mark.parametrize("level", ["char", "byte", "word", "piece"])
@pytest.mark.parametrize(
    "options", [{"cell": "lstm"}, {"cell": "jordan", "num_layers": 2, "embedding_size": 0}], ids=str
)
def test_saved_and_loaded_it_is_the_same(tmp_path, level, options):
    model = language_model(**SMALL | {"level": level, "epochs": 1} | options).fit(RHYME)
    model.save(tmp_path / "m")
    loaded = LanguageModel.load(tmp_path / "m")
    assert flat(loaded) == flat(model)
    assert loaded.score(RHYME) == model.score(RHYME)
    assert loaded.evaluate(RHYME) == model.evaluate(RHYME)
    assert loaded.generate("the", random_state=1, length=40) == model.generate("the", random_state=1, length=40)
    assert (loaded.metrics_, loaded.history_, loaded.vocabulary_) == (model.metrics_, model.history_, model.vocabulary_)
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "m").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_the_folder_holds_no_code(model, tmp_path):
    model.save(tmp_path / "m")
    files = {"config.json", "model.safetensors", "vocabulary.json", "metrics.json", "history.jsonl", "README.md"}
    assert {p.name for p in (tmp_path / "m").iterdir()} == files
    assert not any(b"\x80\x04" in p.read_bytes()[:2] for p in (tmp_path / "m").iterdir())
    history = (tmp_path / "m" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in history] == [h["step"] for h in model.history_]


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("config.json", {"parameters": {"cell": "x"}}, "cell must be one of elman"),
        ("config.json", {"parameters": {"size": 1}}, "'size' is not an option; there are batch_size, cell"),
        ("config.json", {"parameters": 3}, "not a saved language model"),
        ("config.json", {"network": {}}, "section 'front'"),
        ("config.json", {"preprocessing": {}}, "'source' is missing"),
        ("config.json", {"preprocessing": {"source": {"sha256": "", "validation": 5}}}, "validation must be a number"),
        ("config.json", {"task": "classifier"}, "a language_model is needed"),
        ("config.json", {"format": 99}, "install a newer unspool"),
        ("metrics.json", [], r"metrics\.json: must be a JSON object"),
        ("metrics.json", {"validation": None}, "not a saved language model"),
        ("metrics.json", {"baseline": {"bits": "few"}}, "bits of the baseline must be a number"),
        ("history.jsonl", "{", "not a saved language model"),
        ("vocabulary.json", {"level": "char", "tokens": ["", "a"]}, "vocabulary of 2 and the network do not fit"),
    ],
    ids=str,
)
def test_damaged_folders_are_refused_by_name(model, tmp_path, file, change, complaint):
    model.save(tmp_path / "m")
    path = tmp_path / "m" / file
    if isinstance(change, dict):
        change = json.loads(path.read_bytes()) | change
    path.write_text(change if isinstance(change, str) else json.dumps(change), encoding="utf-8")
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"sha256": {}}), encoding="utf-8")
    with pytest.raises(FolderError, match=complaint) as caught:
        LanguageModel.load(tmp_path / "m")
    assert str(tmp_path / "m") in str(caught.value)


def test_outputs_that_are_not_finite_are_refused(model):
    other = pickle.loads(pickle.dumps(model))
    other.network_.head.weight.data.fill_(3e38)
    for act in (lambda: other.score(RHYME), lambda: other.generate("the")):
        with pytest.raises(UnspoolError, match="outputs are not finite: its weights are damaged"):
            act()


def test_not_fitted():
    for act in ("score", "evaluate", "generate", "unknown", "save"):
        with pytest.raises(NotFittedError):
            getattr(LanguageModel(), act)("text")


def search_texts():
    return [RHYME[:300], RHYME[300:600], RHYME[600:900], RHYME[900:]]


def test_it_is_an_estimator(model):
    copy = clone(model)
    assert flat(copy) == flat(model) and not hasattr(copy, "network_")
    assert copy.training is not model.training
    assert pickle.loads(pickle.dumps(model)).score(RHYME) == model.score(RHYME)
    search = GridSearchCV(language_model(**SMALL | {"epochs": 2}), {"learning_rate": np.array([1e-6, 0.02])}, cv=2)
    search.fit(search_texts())
    assert search.best_params_ == {"learning_rate": 0.02}
    clips = GridSearchCV(language_model(**SMALL | {"epochs": 2}), {"training__clip_norm": [1e-6, 1.0]}, cv=2)
    assert clips.fit(search_texts()).best_params_ == {"training__clip_norm": 1.0}


def test_training_is_a_training():
    with pytest.raises(UnspoolError, match=r"training must be a Training, or None; got \{'clip_norm': 1\}"):
        LanguageModel(training={"clip_norm": 1}).fit(RHYME)
    own = LanguageModel(training=Training(clip_norm=0.5))
    assert flat(own) == flat(LanguageModel()) | {"clip_norm": 0.5}, "what is None is the task's own"
    assert "clip_norm: the largest norm" in Training.__doc__ and "level: what a token is" in LanguageModel.__doc__
    assert len(LanguageModel().get_params(deep=False)) <= 12


def test_parameters_from_a_search_can_be_saved(tmp_path):
    language_model(**SMALL | {"hidden_size": np.int64(8), "dropout": np.float64(0.1), "epochs": 1}).fit(RHYME).save(
        tmp_path / "m"
    )
    assert LanguageModel.load(tmp_path / "m").hidden_size == 8
