"""Every cell in every task of sequences: the window of those that have no state, and predictions that are bits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import Classifier, LanguageModel, Regressor, Tagger, Training, UnspoolError
from unspool.tasks.language_model.saved import load
from unspool.tasks.options import apart

CELLS = ("elman", "jordan", "tdnn", "gru", "lstm", "mlp")
SMALL = {"hidden_size": 6, "epochs": 2, "learning_rate": 0.02}
RNG = np.random.default_rng(0)
X = [RNG.standard_normal((T, 2)) for T in RNG.integers(1, 9, 40)]
Y = np.array([len(x) > 4 for x in X])


def fitted(task: Any, X: Any = X, y: Any = Y, **options):
    return apart(task, Training, SMALL | options).fit(X, y)


MODELS = [
    fitted(task, cell=cell, pooling=pooling)
    for cell in CELLS
    for task, pooling in ((Classifier, "last"), (Regressor, "mean"))
]
MODELS += [fitted(Classifier, bidirectional=False), fitted(Classifier, cell="tdnn", window=2, num_layers=2)]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{type(m).__name__} {m.cell} {m.pooling}")
@given(data=st.data())
def test_predictions_are_the_same_bits_in_any_batch_and_order_and_on_any_threads(model, data):
    ask = model.predict_proba if isinstance(model, Classifier) else model.predict
    alone = np.concatenate([ask([x]) for x in X])
    order = data.draw(st.permutations(range(len(X))))
    cut = data.draw(st.integers(1, len(X) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", str(data.draw(st.integers(1, 3))))
        parts = [ask([X[i] for i in part]) for part in (order[:cut], order[cut:])]
        states = model.transform([X[i] for i in order])
    np.testing.assert_array_equal(np.concatenate(parts), alone[list(order)])
    np.testing.assert_array_equal(states[0], model.transform([X[order[0]]])[0])


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_tells_a_value_at_each_step(cell):
    model = fitted(Regressor, y=[x[:, 0].cumsum() for x in X], cell=cell)
    together = model.predict(X)
    for x, one in zip(X, together, strict=True):
        assert one.shape == (len(x),)
        np.testing.assert_array_equal(model.predict([x])[0], one)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_tags(cell):
    model = fitted(Tagger, y=[(x[:, 0] > 0).astype(int).tolist() for x in X], cell=cell)
    assert model.network_.architecture.bidirectional == (cell not in ("tdnn", "mlp"))
    for x, one in zip(X, model.predict_proba(X), strict=True):
        np.testing.assert_array_equal(model.predict_proba([x])[0], one)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_writes(cell, tmp_path):
    model = fitted(LanguageModel, "to be or not to be " * 20, None, cell=cell, embedding_size=4, tbptt=16)
    model.save(tmp_path / "m")
    written = [m.generate("to be", length=12, random_state=1) for m in (model, load(tmp_path / "m"))]
    assert len(written[0]) == 17 and written[0] == written[1]


@pytest.mark.parametrize("cell", ["tdnn", "mlp"])
def test_cells_with_a_window_can_be_streamed_and_see_no_further(cell):
    model = fitted(Classifier, cell=cell, window=3, pooling="last")
    stream, x = model.stream(), RNG.standard_normal((8, 2))
    for t in range(8):
        np.testing.assert_array_equal(stream.step(x[t]), model.predict_proba([x[: t + 1]])[0])
    np.testing.assert_array_equal(model.predict_proba([x]), model.predict_proba([x + 9 * (np.arange(8) < 5)[:, None]]))
    assert not np.array_equal(model.predict_proba([x]), model.predict_proba([x + (np.arange(8) == 5)[:, None]]))


def test_the_window_of_an_mlp_is_the_whole_sequence():
    """One → one: a feed-forward network of five numbers."""
    x = RNG.standard_normal((80, 5))
    model = fitted(Regressor, x, x[:, 0] * 2, cell="mlp", epochs=60)
    assert model.network_.config["recurrent"]["window"] == [5] and model.score(x, x[:, 0] * 2) > 0.9
    for lengths, window in (((7, 7, 7), 7), ((3, 7, 5), 7), ((3, 700, 5), 100)):
        model = apart(Regressor, Training, SMALL | {"cell": "mlp", "num_layers": 2, "epochs": 1})
        sequences = [np.ones(n) for n in lengths]
        model.fit(sequences, lengths, validation=(sequences, lengths))
        assert model.network_.config["recurrent"]["window"] == [window, 1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"cell": "tdnn", "bidirectional": True}, "bidirectional must be False for a tdnn, which has no direction"),
        ({"window": 3}, "window is for a tdnn or an mlp; leave it out for cell='gru'"),
        ({"cell": "mlp", "tbptt": 3}, "tbptt needs a recurrent cell"),
        ({"cell": "mlp", "window": 0}, "window must be an integer of at least 1"),
        ({"cell": "rnn"}, "cell must be one of .*mlp; got 'rnn'"),
    ],
    ids=str,
)
def test_what_a_cell_cannot_do_is_refused(options, complaint):
    with pytest.raises(UnspoolError, match=complaint):
        fitted(Classifier, **options)
