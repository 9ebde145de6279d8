"""What estimators take as sequences."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest

from unspool import DataError, data
from unspool.data.given import as_sequences, is_table
from unspool.data.ragged import Ragged

A, B = np.arange(6.0).reshape(3, 2), np.arange(2.0).reshape(1, 2)
OBJECTS = np.empty(2, object)
OBJECTS[:] = [A, B]


def lists(given):
    return [values.tolist() for values in given.values]


@pytest.mark.parametrize("X", [[A, B], (A, B), OBJECTS, [A.tolist(), B], [A.astype(int), B], Ragged.of([A, B])])
def test_sequences_of_unequal_lengths(X):
    given = as_sequences(X)
    assert lists(given) == [A.tolist(), B.tolist()] and given.kind == "numbers" and len(given) == 2
    assert given.values.values.dtype == np.float32 and given.steps is None and given.names is None
    assert given.describe() == "2 sequences, steps: 1 to 3, features: 2"


def test_sequences_of_one_feature():
    for X in ([A[:, 0], B[:, 0]], [A[:, :1], B[:, :1]], Ragged.of([A[:, 0], B[:, 0]]), [[0.0, 2.0, 4.0], [0.0]]):
        assert lists(as_sequences(X)) == [[[0], [2], [4]], [[0]]]


def test_arrays_have_time_before_features():
    X = np.arange(24).reshape(2, 3, 4)
    assert lists(as_sequences(X)) == X.tolist()
    table = as_sequences(X[:, :, 0])
    assert lists(table) == X[:, :, :1].tolist() and table.steps == 3


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda X: pl.DataFrame(X, schema=list("abc"), orient="row"), list])
def test_tables(frame):
    X = [[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert is_table(frame(X)) and lists(as_sequences(frame(X))) == [[[v] for v in row] for row in X]
    assert (
        not is_table([np.array(row) for row in X])
        and not is_table([[1, 2], [3, 4]])
        and not is_table([[1.0], [1.0, 2]])
    )


def test_texts_and_tokens():
    for X in (["ab", "c"], np.array(["ab", "c"]), np.array(["ab", "c"], object), pd.Series(["ab", "c"], dtype=object)):
        assert as_sequences(X).texts == ("ab", "c")
    for X in ([["ab", "c"], ["d"]], [[1, 2], [3]], [np.array(["ab", "c"]), np.array(["d"])]):
        given = as_sequences(X)
        assert given.kind == "tokens" and lists(given) == [[str(token) for token in sequence] for sequence in X]
    assert as_sequences(["ab", "c"]).take(np.array([1])).texts == ("c",)


def test_files_keep_the_names_of_their_columns(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("who,t,a,b,word\n1,0,1,2,x\n1,1,3,4,y\n2,0,5,6,z\n", encoding="utf-8")
    read = data.read(file, sequence="who", time="t")
    given = as_sequences(read, ["b", "a"])
    assert lists(given) == [[[2, 1], [4, 3]], [[6, 5]]] and given.names == ("b", "a")
    assert as_sequences(read).names == ("t", "a", "b")
    assert lists(as_sequences(data.read(file, sequence="who", columns=["who", "word"]))) == [["x", "y"], ["z"]]
    file.with_suffix(".txt").write_text("one line\nanother\n", encoding="utf-8")
    assert as_sequences(data.read(file.with_suffix(".txt"))).texts == ("one line", "another")
    with pytest.raises(DataError, match=re.escape("there is no column 'c'; there are who, t, a, b, word")):
        as_sequences(read, ["c"])


NAN, INF = A.copy(), A.copy()
NAN[2, 1], INF[1, 0] = np.nan, np.inf


@pytest.mark.parametrize(
    ("X", "complaint"),
    [
        ([A, NAN], "got NaN in sequence 1 at step 2"),
        (np.stack([A, INF]), "got infinity, or a number too large for float32, in sequence 1 at step 1"),
        ([A, A * 1e39], "number too large for float32, in sequence 1 at step 0"),
        ([A, A[:0]], "at least one step; got none in sequence 1"),
        (["a", ""], "at least one step; got none in sequence 1"),
        ([["a"], []], "at least one step; got none in sequence 1"),
        ([A, A[:, :1]], "one number of features; got 2 first, and 1 in sequence 1"),
        ([A, "text"], "of one kind; got numbers first, and a text as sequence 1"),
        ([["a"], "b"], "of one kind; got tokens first, and a text as sequence 1"),
        ([A, 3.0], "got float as sequence 1"),
        ([A, None], "got NoneType as sequence 1"),
        ([A, A + 1j], "real numbers; got complex128 in sequence 1"),
        ([A, np.array([{}, {}])], "what is no number in sequence 1"),
        ([A, [[1.0], [2.0, 3.0]]], "sequence 1 is neither"),
        ([A, np.zeros((2, 2, 2))], "number of features; got 2 first, and 2 × 2 in sequence 1"),
        (np.zeros((2, 3, 4, 5, 1, 1)), "got an array of shape (2, 3, 4, 5, 1, 1)"),
        (np.zeros(3), "got an array of shape (3,). Reshape your data: X[None] is one sequence"),
        (np.zeros((2, 0)), "got an array of shape (2, 0)"),
        (np.zeros((0, 3)), "at least one sequence; got none"),
        ([], "at least one sequence; got none"),
        (Ragged(np.zeros(0), np.zeros(1, int)), "at least one sequence; got none"),
        ("a text", "got str"),
        (None, "got NoneType"),
        ({"a": 1}, "got dict"),
        (3, "got int"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_read_is_one_clear_line(X, complaint):
    with pytest.raises(DataError) as error:
        as_sequences(X)
    assert complaint in str(error.value)
    assert str(error.value).startswith("X must ") and "\n" not in str(error.value)


def test_time_may_be_last():
    X = np.arange(24).reshape(2, 3, 4)
    assert data.time_last(X)[1, 3, 2] == X[1, 2, 3] and data.time_last(X).shape == (2, 4, 3)
    with pytest.raises(
        DataError, match=re.escape("X must be an array (n, I, T), with time last; got one of shape (3,)")
    ):
        data.time_last([1, 2, 3])


@pytest.mark.parametrize(
    ("column", "coarse"),
    [(1e9 + np.arange(4), True), (10**9 + np.arange(4), True), (np.full(4, 0.1) + 1e-17, False), (np.arange(4), False)],
)
def test_differences_that_float32_cannot_tell_are_known(column, coarse):
    x = np.column_stack([np.arange(4), column])
    assert as_sequences(x[None]).coarse == as_sequences([x[:2], x[2:]]).coarse == (1 if coarse else None)
    assert as_sequences(x[None].astype(np.float32)).coarse is None
