"""The published figures: the table, and the verb."""

from dataclasses import replace

import numpy as np
import pytest

from unspool import Classifier, UnspoolError
from unspool.cli.main import execute
from unspool.reproduce import ROWS, Row
from unspool.reproduce.classes import folds
from unspool.reproduce.figures import whole


def test_the_table_is_whole():
    for row in ROWS.values():
        assert row.figure and row.published and row.anchor and row.wanted()
        assert row.seconds > 0 and row.seeds > 0
        assert (row.goal > 0) == (row.above is None)


def test_the_list_says_how_long(capsys):
    assert execute(["reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *ROWS]
    assert all("about" in line for line in lines[1:])


def _row(monkeypatch, **changed):
    row = Row("right, %", "90 (someone)", "50 chance", 80, 60, lambda seed: {"right": 78.0 + seed, "bag": 79.5})
    monkeypatch.setitem(ROWS, "mine", replace(row, **changed))


def test_ours_are_beside_the_published(monkeypatch, capsys):
    _row(monkeypatch)
    assert execute(["reproduce", "mine", "--random-state", "1"]) == 0
    out = capsys.readouterr().out
    assert "takes about 3 minutes" in out.splitlines()[0]
    assert "seed 3       right 81, bag 79.5" in out
    assert "published    90 (someone)" in out and "anchor       50 chance" in out
    assert "right 80, bag 79.5, mean of 3; wanted at least 80: reached" in out
    assert execute(["reproduce", "mine", "--seeds", "1"]) == 1
    assert "mean of 1; wanted at least 80: not reached" in capsys.readouterr().out


@pytest.mark.parametrize(("changed", "status"), [({"least": True}, 0), ({"above": "bag"}, 1)])
def test_lower_is_better_or_another_figure_is_the_goal(monkeypatch, changed, status):
    _row(monkeypatch, **changed)
    assert execute(["reproduce", "mine", "--seeds", "1"]) == status


def test_unknown_names_are_one_line(capsys):
    assert execute(["reproduce", "cats"]) == 2
    assert capsys.readouterr().err.startswith("unspool: name must be one of basic-motions, ")
    assert execute(["reproduce", "promoters", "--seeds", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_folds_keep_equal_texts_together():
    X = [f"text {i // 2}" for i in range(60)]
    y = np.array(["a", "b"] * 30)
    seen = []
    for train, test in folds(X, y, 0):
        assert not {X[i] for i in train} & {X[i] for i in test}
        seen += test.tolist()
    assert sorted(seen) == list(range(60))


def test_a_row_trains_by_the_verb(monkeypatch, capsys):
    from unspool.reproduce import classes
    from unspool.tasks.classifier.estimator import Classifier

    monkeypatch.setattr(classes, "Classifier", lambda **options: Classifier(epochs=1, **options))
    assert execute(["reproduce", "basic-motions", "--seeds", "1"]) in (0, 1)
    assert "right " in capsys.readouterr().out


def test_a_network_that_was_not_trained_to_the_end_has_no_figure():
    model = Classifier(hidden_size=4, epochs=1).fit([[0.0], [1.0]] * 4, [0, 1] * 4)
    assert whole(model) is model
    model.stopped_ = "interrupted"
    with pytest.raises(UnspoolError, match="not trained to the end"):
        whole(model)
