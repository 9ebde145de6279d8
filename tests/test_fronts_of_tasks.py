"""What comes before the recurrent layers of a task: images, sound, and a convolution over time."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool import Classifier, Regressor, Training, UnspoolError
from unspool.data.sets import moving_digits
from unspool.tasks import TASKS as VERBS
from unspool.tasks.options import apart

TASKS = {task.folder: task for task in VERBS.values()}
SMALL = {"hidden_size": 6, "epochs": 2, "learning_rate": 0.02, "bidirectional": False}
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 12, 30)
Y = LENGTHS > 5
FILMS = [RNG.standard_normal((T, 5, 6, 2)) * [3, 1] + [9, 0] for T in LENGTHS]
SOUNDS = [np.sin((1 + y) * np.arange(40 * T) / 3).astype(np.float32) for T, y in zip(LENGTHS, Y, strict=True)]
WORDS = ["abcde"[int(y) :] * T for T, y in zip(LENGTHS, Y, strict=True)]


def fitted(X, y: Any = Y, task: Any = Classifier, **options):
    return apart(task, Training, SMALL | options).fit(X, y)


MODELS = {
    "images": (fitted(FILMS), FILMS),
    "images both ways": (fitted(FILMS, convolution=(3, 2, 3), bidirectional=True), FILMS),
    "images to a tdnn": (fitted(FILMS, cell="tdnn", bidirectional=None, pooling="mean"), FILMS),
    "sound": (fitted(SOUNDS, sound_rate=1000), SOUNDS),
    "sound, thinned": (fitted(SOUNDS, sound_rate=1000, convolution=(4, 3, 2), pooling="mean"), SOUNDS),
    "sound both ways": (fitted(SOUNDS, task=Regressor, sound_rate=1000, bidirectional=True), SOUNDS),
    "letters": (fitted(WORDS, convolution=(4, 3, 2)), WORDS),
    "letters 1-of-k": (fitted(WORDS, convolution=[4, 3], embedding_size=0), WORDS),
    "numbers": (fitted([x[:, 0, 0] for x in FILMS], convolution=(4, 3, 3), cell="lstm"), [x[:, 0, 0] for x in FILMS]),
}
NAMES = pytest.mark.parametrize("name", MODELS)


def ask(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@NAMES
@given(data=st.data())
def test_predictions_are_the_same_bits_in_any_batch_and_order_and_on_any_threads(name, data):
    model, X = MODELS[name]
    order = data.draw(st.permutations(range(len(X))))
    cut = data.draw(st.integers(1, len(X) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", str(data.draw(st.integers(1, 3))))
        parts = [ask(model, [X[i] for i in part]) for part in (order[:cut], order[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([ask(model, [X[i]]) for i in order]))


@NAMES
def test_training_reads_what_is_predicted(name):
    """The loss of padded batches is that of the predictions, each made alone."""
    model, X = MODELS[name]
    work = model._work(X, Y, (X, Y))
    total = 0
    with torch.no_grad():
        for batch in work.validation:
            lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
            total += model.network_(torch.from_numpy(batch.inputs), lengths=lengths)[0].double().sum(0)
    core = model._fitted()
    outputs = core._read(core.network, core.inputs(X), core.readout, core.readout.sums)
    np.testing.assert_allclose(total, outputs.sum(0), atol=2e-4)


@NAMES
def test_a_folder_has_the_same_bits_in_both_halves(name, tmp_path):
    model, X = MODELS[name]
    model.save(tmp_path / "net")
    again = type(model).load(tmp_path / "net")
    assert again.encoder_ == model.encoder_
    for half in (again, TASKS[model.task].module("saved").load(tmp_path / "net")):
        np.testing.assert_array_equal(ask(half, X), ask(model, X))


@pytest.mark.parametrize("name", [n for n, (model, _) in MODELS.items() if not model.readout_.bidirectional])
def test_a_stream_says_at_each_step_what_the_beginning_would_predict(name):
    model, X = MODELS[name]
    stream, x = model.stream(), max(X, key=len)
    stride = model.network_.architecture.stride
    for t in range(len(x)):
        found = stream.step(x[t])
        if t % stride:
            assert found is None
        elif t < 60 or t + stride >= len(x):
            np.testing.assert_array_equal(found, model.predict_proba([x[: t + 1]])[0])


def test_a_stream_of_sound_takes_parts_of_any_size():
    model, X = MODELS["sound"]
    stream, x = model.stream(), max(X, key=len)
    found = [stream.step(part) for part in np.array_split(x, [0, 3, 4, 15, 200])[1:]]
    assert found[1] is None
    np.testing.assert_array_equal(found[-1], model.predict_proba([x])[0])


def test_images_are_scaled_by_channel_and_sound_by_feature():
    front = Classifier(**SMALL).fit(FILMS, Y, validation=(FILMS, Y)).network_.front
    pixels = np.concatenate(FILMS).reshape(-1, 2)
    np.testing.assert_allclose(front.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(front.std, pixels.std(0), rtol=1e-5)
    network = Classifier(**SMALL, sound_rate=1000).fit(SOUNDS, Y, validation=(SOUNDS, Y)).network_
    features = torch.cat([network.front.features(torch.from_numpy(x)[:, None, None])[:, 0] for x in SOUNDS])
    np.testing.assert_allclose(network.front.mean, features.mean(0), atol=1e-4)
    np.testing.assert_allclose(network.front.std, features.std(0, correction=0), atol=1e-4)
    assert network.config["front"] == {"kind": "sound", "rate": 1000, "size": 13, "window": 25, "hop": 10}


def test_films_as_one_array_and_as_a_list_are_the_same():
    X, y = moving_digits(24, 1)
    y = [name.split()[1] > "o" for name in y]
    one, other = (fitted(given, y, epochs=1) for given in (X, list(X)))
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba([*X]))
    assert one.network_.config["front"]["height"] == 16 and "each 16 × 16" in one.report()
    grey = fitted(X[..., None], y, epochs=1)
    np.testing.assert_array_equal(grey.predict_proba(X), one.predict_proba(X))


@pytest.mark.parametrize(
    ("X", "options", "complaint"),
    [
        (FILMS, {"sound_rate": 8000}, "X must have one number a step where sound_rate is given"),
        (WORDS, {"sound_rate": 8000}, "X must have one number a step where sound_rate is given"),
        (SOUNDS, {"sound_rate": 999}, "sound_rate must be an integer of at least 1000; got 999"),
        (SOUNDS, {"sound_rate": 10**6}, "sound_rate must be an integer from 1000 to 160000; got 1000000"),
        (WORDS, {"convolution": (3,)}, r"convolution must be filters, kernel and stride; got \(3,\)"),
        (WORDS, {"convolution": 3}, "convolution must be filters, kernel and stride; got 3"),
        (WORDS, {"convolution": (3, 0)}, "the kernel of convolution must be an integer of at least 1; got 0"),
        (FILMS, {"convolution": (3, 6)}, "kernel must be an integer from 1 to 5; got 6"),
        (WORDS, {"convolution": (3, 3, 2), "training": Training(tbptt=4)}, "tbptt needs a recurrent cell.* no stride"),
        (SOUNDS, {"sound_rate": 1000, "training": Training(tbptt=4)}, "tbptt needs a recurrent cell.* no stride"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_one_clear_line(X, options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        Classifier(**SMALL | options).fit(X, Y)


def test_other_images_are_refused():
    model, _ = MODELS["images"]
    for x, got in (
        (np.zeros((1, 3, 6, 5, 2)), "got frames of 6 × 5 × 2"),
        (np.zeros((1, 3, 60)), "got steps that are no images"),
    ):
        with pytest.raises(UnspoolError, match=f"X must have frames of 5 × 6 × 2, as .*; {got}"):
            model.predict(x)
    with pytest.raises(UnspoolError, match=r"got 5 × 6 × 2 first, and 6 × 5 × 2 in sequence 1"):
        fitted([np.zeros((3, 5, 6, 2)), np.zeros((3, 6, 5, 2))], [0, 1])
