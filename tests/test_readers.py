"""Readers: every value of a file is read, and what is wrong with a file is reported by line and column."""

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import sys
import time
import wave
import zipfile
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest

from unspool import DataError, UnspoolError
from unspool import data as readers
from unspool.data import text
from unspool.data.ragged import Ragged


def lists(sequences):
    """Each column as lists."""
    return {
        name: [s.tolist() for s in column] if isinstance(column, Ragged) else column.tolist()
        for name, column in sequences.columns.items()
    }


@pytest.fixture
def file(tmp_path):
    """A function that makes a file with this name and these contents."""

    def write(name, contents):
        path = tmp_path / name
        data = contents.encode() if isinstance(contents, str) else contents
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


LONG = "who,when,x,label\nb,2,1.5,no\na,1,-2,yes\nb,1,.5,no\na,3,4e2,yes\n"


def test_long_table(file):
    s = readers.read(file("t.csv", LONG), sequence="who", time="when", per_sequence=["label"])
    assert lists(s) == {
        "who": ["b", "a"],
        "when": [[1, 2], [1, 3]],
        "x": [[0.5, 1.5], [-2.0, 400.0]],
        "label": ["no", "yes"],
    }
    assert s["when"].values.dtype == np.int64 and s["x"].values.dtype == np.float64
    assert s.per_step == ["when", "x"] and s.per_sequence == ["who", "label"]
    assert len(s) == 2 and s.lengths.tolist() == [2, 2] and s.skipped == ()
    assert [s.place(i).rpartition("t.csv")[2] for i in range(2)] == [", line 2", ", line 3"]


def test_long_table_without_time_keeps_the_order_of_rows(file):
    s = readers.read(file("t.csv.gz", LONG), sequence="who")
    assert lists(s)["x"] == [[1.5, 0.5], [-2.0, 400.0]] and lists(s)["label"] == [["no", "no"], ["yes", "yes"]]


def test_plain_series_and_chosen_columns(file):
    s = readers.read(file("t.csv", LONG), columns=["x"])
    assert lists(s) == {"x": [[1.5, -2.0, 0.5, 400.0]]}


def test_rows_of_equal_time_keep_their_order(file):
    s = readers.read(file("t.csv", "t,x\n2,0\n1,1\n1,2\n2,3\n"), time="t")
    assert lists(s)["x"] == [[1, 2, 0, 3]]


def test_times(file):
    contents = "t,x\n2024-03-01 09:30:00.25,1\n2024-02,2\n2024-02-29T23:59,3\n"
    s = readers.read(file("t.csv", contents), time="t")
    assert lists(s)["x"] == [[2, 3, 1]]
    assert s["t"].values.tolist() == [
        datetime(2024, 2, 1),
        datetime(2024, 2, 29, 23, 59),
        datetime(2024, 3, 1, 9, 30, 0, 250000),
    ]
    zoned = readers.read(file("z.csv", "t,x\n2024-01-01T01:00+02:00,1\n2023-12-31T22:30Z,2\n"), time="t")
    assert lists(zoned)["x"] == [[2, 1]] and zoned["t"].values[1].item() == datetime(2023, 12, 31, 23)


def test_wide_table(file):
    s = readers.read(file("t.csv", 'id,a,b,c\nu,1,2,3\n"v, w",4,,\n'), wide=True, steps=["a", "b", "c"])
    assert lists(s) == {"id": ["u", "v, w"], "value": [[1, 2, 3], [4]]}
    whole = readers.read(file("t.tsv", 'say "hi"\tdis\n"a\tb\n'), wide=True)
    assert lists(whole) == {'say "hi"': ['"a'], "dis": ["b"]}


def test_quoted_fields_may_have_everything(file):
    s = readers.read(file("t.csv", '\ufeffa,b\r\n"x ""y"", z\r\nw",1\r\nplain"quote,2\r\n\r\n'))
    assert lists(s) == {"a": [['x "y", z\r\nw', 'plain"quote']], "b": [[1, 2]]}


def test_texts_may_be_as_long_as_a_line(file):
    for long in ("a" * 200_000, 'b"' + ",c" * 200_000, "d\n" * 200_000):
        quoted = '"' + long.replace('"', '""') + '"'
        s = readers.read(file("t.csv", f"x,y\n1,{long if long.isalpha() else quoted}\n2,e\n"))
        assert s["y"].values.tolist() == [long, "e"]


def test_numbers_text_and_missing_as_they_are_named(file):
    path = file("t.csv", "a,b,c\n1,NA,01\n2,3,2\n,5,x\n")
    s = readers.read(path, missing=["NA", ""], text=["c"])
    assert lists(s)["c"] == [["01", "2", "x"]]
    np.testing.assert_array_equal(s["a"].values, [1, 2, np.nan])
    np.testing.assert_array_equal(s["b"].values, [np.nan, 3, 5])
    assert lists(readers.read(file("u.csv", "a\nx\n1\n2\n"), numbers=["a"], skip_bad=1)) == {"a": [[1, 2]]}
    for header in (None, False):
        s = readers.read(file("n.csv", "5,6\n7,8\n"), names=["p", "q"], header=header)
        assert lists(s) == {"p": [[5, 7]], "q": [[6, 8]]}


def test_a_number_may_stand_for_a_missing_one(file):
    for name, content, options in [
        ("t.csv", "x,y\n1,-999\n-999,2.5\n-999.0,4\n", {}),
        ("t.csv", "x;y\n1;-999\n-999;2,5\n-999,0;4\n", {"decimal": ",", "delimiter": ";"}),
        ("t.csv", 'x,y\n"1",-999\n-999,2.5\n-999.0,4\n', {}),
        ("t.tsv", "x\ty\n1\t-999\n-999\t2.5\n-999.0\t4\n", {}),
    ]:
        s = readers.read_csv(file(name, content), missing=["-999"], **options)
        np.testing.assert_array_equal(s["x"].values, [1, np.nan, -999])
        np.testing.assert_array_equal(s["y"].values, [np.nan, 2.5, 4])


def test_integers_are_exact_or_refused(file):
    big = 2**63 - 1
    assert readers.read(file("t.csv", f"a\n{big}\n-{big}\n"))["a"].values.tolist() == [big, -big]
    for contents, place in [(f"a\n1\n{big + 2}\n", "line 3"), ("a\n1.5\n9007199254740993\n", "line 3")]:
        with pytest.raises(DataError, match=f"{place}, column 1 .a.: expected an integer that is exact in float64"):
            readers.read(file("t.csv", contents))
    rows = "1\n" * 20_000
    with pytest.raises(DataError, match=r"column 'a' has both fractions and integers beyond 2\^53"):
        readers.read(file("t.csv", f"a\n{big}\n{rows}1.5\n"))
    wide = {"wide": True, "steps": ["x", "y"], "columns": []}
    rows = "1,\n" * 20_000
    with pytest.raises(DataError, match=r"t\.csv: the steps have both fractions and integers beyond 2\^53"):
        readers.read(file("t.csv", f"x,y\n{big},2\n{rows}1.5,\n"), **wide)
    assert readers.read(file("t.csv", f"x,y\n{big},2\n{rows}"), **wide)["value"][0].tolist() == [big, 2]


BAD = "1,2\n"
TABLES = [
    ("", "the file is empty"),
    ("a,b\n", "expected at least one row that can be used; got none"),
    ("a,b\n1,2\n3\n", r"line 3: expected 2 fields; got 1"),
    ("a,b\n1,2\n3,4,5\n", r"line 3: expected 2 fields; got 3"),
    ("a,b\n1,2\n3,x\n", r"line 3, column 2 \(b\): expected a number; got 'x', or name 'b' in text"),
    ("a,b\n1,2\n3,\n", r"line 3, column 2 \(b\): expected a number; got an empty cell"),
    ("a,b\n1,2\n3,nan\n", r"line 3, column 2 \(b\): expected a number; got 'nan'"),
    ("a,b\n1,2\n3,-inf\n", r"line 3, column 2 \(b\): expected a number; got '-inf'"),
    ("a,b\n1,2\n3,1e999\n", r"line 3, column 2 \(b\): expected a number within ±1\.8e308; got '1e999'"),
    ("a,b\n1,2\n3,1_0\n", r"line 3, column 2 \(b\): expected a number; got '1_0'"),
    ("a,b\n1,2\n3,٣\n", r"line 3, column 2 \(b\): expected a number; got '٣'"),
    ("a,b\n1,2\n3,1 2\n", r"line 3, column 2 \(b\): expected a number"),
    (b"a,b\n1,2\n3,\xff4\n", r"line 3, column 3: byte 0xff is not UTF-8"),
    (b"\xef\xbb\xbfa,\xe9\n1,2\n", r"line 1, column 6: byte 0xe9 is not UTF-8"),
    (b"a,b\n1,2\n3,\0\n", r"line 3, column 3: a NUL byte is not text"),
    ('a,b\n1,2\n"3,4\n5,6\n', r"line 3: expected a closing quotation mark for the one opened here"),
    ('a,b\n1,2\n"3"x,4\n', r"line 3: expected fields with ',' between them"),
    ("a,b\n1,2\n3,4\r5,6\n", r"line 3: expected fields with ',' between them"),
    ("1,2\n3,4\n", r"line 1, column 1: expected the name of a column; got the number '1'"),
    ("a,a\n3,4\n", r"line 1, column 2: expected different names; got 'a' twice"),
    ("a,b\nx,1\n2,3\n4,5\n", "column 'a' does not begin with a number, but 2 of 3 cells are numbers"),
]


@pytest.mark.parametrize(("contents", "complaint"), TABLES)
def test_table_that_is_bad(file, contents, complaint):
    path = file("t.csv", contents)
    with pytest.raises(DataError, match=f"^{path}.*{complaint}"):
        readers.read(path)
    data = contents.encode() if isinstance(contents, str) else contents
    path = file("t.csv.gz", data)
    with pytest.raises(DataError, match=f"^{path}.*{complaint}"):
        readers.read(path)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sequence": "z"}, "there is no column 'z'; there are who, when, x, label"),
        ({"columns": ["z"]}, "there is no column 'z'"),
        ({"numbers": ["z"]}, "there is no column 'z'"),
        ({"per_sequence": ["x"], "sequence": "who"}, r"line 4, column 'x': expected .*1\.5.*, as in the first step"),
        ({"time": "who"}, r"line 2, column 1 \(who\): expected a number, or a time .*; got 'b': leave time out"),
        ({"steps": ["x"]}, "steps are columns of a wide table"),
        ({"wide": True, "time": "when"}, "in a wide table each row is a sequence"),
        ({"wide": True, "steps": ["when", "label"]}, r"line 2, column 4 \(label\): expected a number; got 'no'"),
    ],
)
def test_columns_that_are_of_no_use(file, options, complaint):
    with pytest.raises(DataError, match=complaint):
        readers.read(file("t.csv", LONG), **options)


def test_time_and_names_of_sequences_are_there_in_all_rows(file):
    with pytest.raises(DataError, match=r"line 3, column 1 \(t\): expected a number, or a time .*; got '2024-13-01'"):
        readers.read(file("t.csv", "t,x\n2024-12-01,1\n2024-13-01,2\n"), time="t")
    with pytest.raises(DataError, match=r"line 3, column 1 \(t\): expected a time without a zone, as above"):
        readers.read(file("t.csv", "t,x\n2024-12-01T00:00,1\n2024-12-01T00:00Z,2\n"), time="t")
    with pytest.raises(DataError, match=r"line 3, column 1 \(s\): expected the name of a sequence; got none"):
        readers.read(file("t.csv", "s,x\na,1\n ,2\n"), sequence="s")
    with pytest.raises(DataError, match=r"line 3, column 2 \(x\): expected a number; got an empty cell"):
        readers.read(file("t.csv", "s,x,y\na,1,2\nb,,2\n"), wide=True, steps=["x", "y"], columns=["s"])
    with pytest.raises(DataError, match=r"line 3, column 2 \(x\): expected a number; got empty cells in all steps"):
        readers.read(file("t.csv", "s,x,y\na,1,2\nb,,\n"), wide=True, steps=["x", "y"])


def test_bad_rows_are_let_go_up_to_so_many(file):
    path = file("t.csv", b"a,b\n1,2\n3\n4,x\n5,\xff\n6,7\n")
    s = readers.read(path, skip_bad=3)
    assert lists(s) == {"a": [[1, 6]], "b": [[2, 7]]}
    assert [c.partition("t.csv")[2] for c in s.skipped] == [
        ", line 3: expected 2 fields; got 1",
        ", line 5, column 3: byte 0xff is not UTF-8; convert the file to UTF-8",
        ", line 4, column 2 (b): expected a number; got 'x', or name 'b' in text",
    ]
    with pytest.raises(DataError, match=r"expected a number; got 'x'.* \(after 2 other bad rows that were skipped\)"):
        readers.read(path, skip_bad=2)
    # A quotation mark that is never closed would take in the rest of the file.
    with pytest.raises(DataError, match="line 3: expected a closing quotation mark"):
        readers.read(file("q.csv", 'a\n1\n"2\n' + "3\n" * 200_000), skip_bad=5)


@pytest.mark.parametrize(
    ("name", "contents", "lengths"),
    [
        ("t.csv", "a,b\n1,2\n3,4\n", [2]),
        ("t.tsv", "a\tb\n1\t2\n3\t4\n", [2]),
        ("t.jsonl", '{"a": [1]}\n{"a": [2, 3]}\n', [1, 2]),
        ("t.ts", "@problemName x\n@data\n1,2\n3\n", [2, 1]),
        ("t.conll", "a\tO\n\nb\tO\n", [1, 1]),
        ("t.conllu", "1" + "\t_" * 9 + "\n\n1" + "\t_" * 9 + "\n", [1, 1]),
    ],
)
@pytest.mark.parametrize("empty", ["", "  ", " \t"])
def test_empty_lines_are_skipped_wherever_they_are(file, name, contents, lengths, empty):
    if name == "t.tsv":
        empty = empty.replace("\t", " ")  # a tab is between two fields
    lines = contents.split("\n")[:-1]
    inside = range(len(lines) + 1) if "conll" not in name else (0, 2, len(lines))
    for at in inside:
        changed = [*lines[:at], empty, *lines[at:]]
        for end in ("\n", "\r\n"):
            s = readers.read(file(name, end.join(changed) + end))
            assert s.lengths.tolist() == lengths and s.skipped == ()


def test_empty_lines_are_cells_where_a_table_has_one_column(file):
    """A missing value is not lost without a word."""
    assert lists(readers.read(file("t.csv", "\na\nx\n\ny\n\n \n"))) == {"a": [["x", "", "y"]]}
    assert lists(readers.read(file("t.csv", 'a\nx\n""\ny\n'))) == {"a": [["x", "", "y"]]}
    s = readers.read(file("t.csv", "a\n1\n\n3\n"), missing=[""])
    np.testing.assert_array_equal(s["a"].values, [1, np.nan, 3])
    with pytest.raises(DataError, match=r"line 3, column 1 \(a\): expected a number; got an empty cell"):
        readers.read(file("t.csv", "a\n1\n\n3\n"))


def test_headers_of_numbers(file):
    pandas = pytest.importorskip("pandas")
    for index in (False, True):
        out = pandas.DataFrame(np.array([[10.0, 11], [20, 21]])).to_csv(index=index)
        assert lists(readers.read(file("t.csv", out), columns=["0", "1"])) == {"0": [[10, 20]], "1": [[11, 21]]}
        assert lists(readers.read(file("t.csv", out)))["1"] == [[11, 21]]
    years = "country,1990,1995\nx,1,2\ny,3,4\n"
    wide = {"wide": True, "steps": ["1990", "1995"]}
    assert lists(readers.read(file("t.csv", years), **wide)) == {"country": ["x", "y"], "value": [[1, 2], [3, 4]]}
    with pytest.raises(DataError, match=r"got the number '1990': say header=True .* or header=False"):
        readers.read(file("t.csv", years))
    assert lists(readers.read(file("t.csv", years), header=True))["1995"] == [[2, 4]]
    assert lists(readers.read(file("t.csv", "5,6\n7,8\n"), header=False)) == {
        "column 1": [[5, 7]],
        "column 2": [[6, 8]],
    }
    assert lists(readers.read(file("t.csv", years), header=True, names=["c", "p", "q"]))["q"] == [[2, 4]]


def test_names_of_columns_that_nobody_wants_are_no_matter(file):
    contents = "a,a,7,value,b\n1,2,3,4,5\n"
    assert lists(readers.read(file("t.csv", contents), columns=["b"])) == {"b": [[5]]}
    assert lists(readers.read(file("t.csv", contents), columns=[], wide=True, steps=["b", "7"])) == {"value": [[5, 3]]}
    for options in ({"columns": ["a"]}, {"header": True}):
        with pytest.raises(DataError, match="expected different names; got 'a' twice"):
            readers.read(file("t.csv", contents), **options)
    assert lists(readers.read(file("t.csv", contents), header=True, names=list("pqrst")))["t"] == [[5]]


@pytest.mark.parametrize("text", ["1.234,5", "-1.234,50", "1234,5", "0,5", "1.234.567", "12", "+1,5e3", ",5"])
def test_numbers_of_other_countries(file, text):
    value = float(text.replace(".", "").replace(",", "."))
    for decimal, thousands in [(",", "."), ("·", "'"), (",", "\u202f")]:
        cell = text.replace(",", "\0").replace(".", thousands).replace("\0", decimal)
        options = {"delimiter": ";", "decimal": decimal, "thousands": thousands}
        s = readers.read(file("t.csv", f"a;b\n{cell};x\n1;y\n"), **options)
        assert s["a"].values.tolist() == [value, 1]
        s = readers.read(file("t.csv", f"a;b\n{cell};2\n1;2\n"), **options, wide=True, steps=["a", "b"])
        assert lists(s)["value"] == [[value, 2], [1, 2]]
        s = readers.read(file("t.csv", f"a;b\n{cell};x\n;y\n"), **options, missing=[""])
        np.testing.assert_array_equal(s["a"].values, [value, np.nan])


def test_numbers_of_other_countries_are_exact_or_refused(file):
    european = {"delimiter": ";", "decimal": ",", "thousands": "."}
    for cell in ("1.23", "1.2345", "1..000", "1,2,3", "1,000.5", "1000.000"):
        with pytest.raises(DataError, match=r"line 3, column 1 \(a\): expected a number; got"):
            readers.read(file("t.csv", f"a;b\n1,5;2\n{cell};2\n"), **european)
    with pytest.raises(DataError, match="an integer that is exact"):
        readers.read(file("t.csv", "a;b\n1,5;2\n9.007.199.254.740.993;2\n"), **european)
    big = readers.read(file("t.csv", "a;b\n9.223.372.036.854.775.807;2\n"), **european)
    assert big["a"].values.tolist() == [2**63 - 1]
    for options in ({"decimal": ""}, {"decimal": "1"}, {"thousands": "."}, {"thousands": "ab"}, {"decimal": None}):
        with pytest.raises(UnspoolError, match=r"(decimal|thousands) must be|must be different"):
            readers.read(file("t.csv", "a\n1\n"), **options)
    for cells in (["1.234,5", "2,5"], ["1,234", "1,234,567.5"], ["1 000", "2 000"]):
        table = "a;b\n" + "".join(f"{cell};x\n" for cell in cells)
        with pytest.raises(DataError, match=r"column 'a' has numbers .* another way, 2 of 2 .* give decimal"):
            readers.read(file("t.csv", table), delimiter=";")
        assert lists(readers.read(file("t.csv", table), delimiter=";", text=["a"]))["a"] == [cells]


@pytest.mark.parametrize("right", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_wrong_delimiter_is_told_with_the_right_one(file, name, right):
    path = file(name, "a,b\n1,2\n3,4\n".replace(",", right))
    if right != {"t.csv": ",", "t.tsv": "\t"}[name]:
        for options in ({}, {"columns": ["a"]}, {"names": ["p", "q"]}):
            with pytest.raises(DataError) as raised:
                readers.read(path, **options)
            assert raised.match(f"there are 2 fields with delimiter={right!r}".replace("\\", r"\\").replace("|", r"\|"))
        assert lists(readers.read(path, text=[f"a{right}b"])) == {f"a{right}b": [[f"1{right}2", f"3{right}4"]]}
    assert lists(readers.read(path, delimiter=right)) == {"a": [[1, 3]], "b": [[2, 4]]}


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("before", [0, 1, 2, 20_000])
@pytest.mark.parametrize("after", [0, 1])
def test_missing_cells_are_the_same_wherever_they_stand(file, empty, before, after):
    """Before the first number or after it, in the first block of rows or in another."""
    rows = [empty] * before + ["5.5"] + [empty] * after + ["6.5"]
    path = file("t.csv", "t,v\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(rows)))
    s = readers.read(path, missing=[""])
    np.testing.assert_array_equal(s["v"].values, [float(r) if r.strip() else np.nan for r in rows])
    if before or after:
        line = 2 if before else 3
        with pytest.raises(DataError, match=rf"line {line}, column 2 \(v\): expected a number; got an empty cell: say"):
            readers.read(path)
    if 0 < before < 20_000:
        assert readers.read(path, skip_bad=before + after)["v"].values.tolist() == [5.5, 6.5]
    path = file("t.csv", path.read_text().replace("5.5", "five").replace("6.5", "six"))
    expected = [r.replace("5.5", "five").replace("6.5", "six") for r in rows]
    for missing in ([], [""]):
        assert readers.read(path, missing=missing)["v"].values.tolist() == expected


def test_tables_of_many_columns(file):
    names = [f"c{i}" for i in range(17_984)]
    path = file("t.csv", ",".join(names) + "\n" + ",".join(map(str, range(17_984))) + "\n")
    assert readers.read(path)["c17983"].values.tolist() == [17_983]
    assert readers.read(path, wide=True, steps=names)["value"][0].tolist() == list(range(17_984))


TIMES = [
    ("2024-03-01 00:00:00+00", "2024-03-01"),
    ("2024-03-01T01:30+0130", "2024-03-01"),
    ("2024-03-01T00:00:00.000000000", "2024-03-01"),
    ("2024-03-01T00:00:00,25", "2024-03-01T00:00:00.25"),
    ("2024-03-01T00:00:00.123456000Z", "2024-03-01T00:00:00.123456"),
    ("20240301T000000", "2024-03-01"),
    ("20240301T0130", "2024-03-01T01:30"),
    ("20240301T013005.5Z", "2024-03-01T01:30:05.5"),
    ("2024-03-01T05", "2024-03-01T05"),
    ("2024-03-01 00:00:00 UTC", "2024-03-01"),
    ("2024-03-01 02:00:00 +02:00", "2024-03-01"),
    ("2024-03-01t00:00:00z", "2024-03-01"),
    ("2024-02-29T24:00:00", "2024-03-01"),
    ("2024-12-31 24:00", "2025-01-01"),
    ("2024-W09-5", "2024-03-01"),
    ("2024W095T12", "2024-03-01T12"),
    ("2025-W01", "2024-12-30"),
    ("2020-W53-7", "2021-01-03"),
    ("2024-061", "2024-03-01"),
    ("0001-01-01T00:00-01:00", "0001-01-01T01"),
]


@pytest.mark.parametrize(("text", "moment"), TIMES)
def test_times_in_iso_8601(file, text, moment):
    s = readers.read(file("t.csv", f't,x\n"{text}",1\n'), time="t")
    assert s["t"].values[0] == np.datetime64(moment)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2024-13-01",
            "2023-02-29",
            "2024-W54-1",
            "2021-W53",
            "2024-366-1",
            "2023-366",
            "01.03.2024",
            "2024-3-1",
            "T",
        ),
        *("2024-02-29T24:00:01", "9999-12-31T24:00", "2024-03-01T25", "2024-03-01T00:00:60"),
        *("2024-03-01T00:00:00.1234567", "2024-03-01T00:00:00 CET", "2024-03-01" + " " * 200 + "x", "٢٠٢٤-03-01"),
        *("2024-03-01T00:00+24:00", "0001-01-01T00:00+01:00", "9999-12-31T23:00-05:00", "2024-03-01T00:00+01:75"),
    ],
)
def test_times_that_are_none(file, text):
    with pytest.raises(DataError, match=r"line 2, column 1 \(t\): expected a number, or a time .* or give time_format"):
        readers.read(file("t.csv", f't,x\n"{text}",1\n'), time="t")


def test_times_in_a_format_of_ones_own(file):
    contents = "t,x\n02.01.2024 13:00,1\n01.02.2024 12:00,2\n01.01.2024 00:00,3\n"
    s = readers.read(file("t.csv", contents), time="t", time_format="%d.%m.%Y %H:%M")
    assert lists(s)["x"] == [[3, 1, 2]] and s["t"].values[1].item() == datetime(2024, 1, 2, 13)
    s = readers.read(file("t.csv", "t,x\n20240102 +0200,1\n20240101 -0100,2\n"), time="t", time_format="%Y%m%d %z")
    assert lists(s)["x"] == [[2, 1]] and s["t"].values[1].item() == datetime(2024, 1, 1, 22)
    s = readers.read(file("t.csv", "t,x\n02012024,1\n01022023,2\n"), time="t", time_format="%d%m%Y")
    assert lists(s)["x"] == [[2, 1]], "a time that looks like a number"
    with pytest.raises(DataError, match=r"line 3, column 1 \(t\): expected a time in the format '%d.%m.%Y'; got '2'"):
        readers.read(file("t.csv", "t,x\n01.01.2024,1\n2,2\n"), time="t", time_format="%d.%m.%Y")
    for bad in ("%Q", "%", "%d %d", 5):
        with pytest.raises(UnspoolError, match=r"time_format must be a format of datetime\.strptime"):
            readers.read(file("t.csv", contents), time="t", time_format=bad)
    with pytest.raises(DataError, match="time_format is how the column time is written"):
        readers.read(file("t.csv", contents), time_format="%d")


SLOW = {
    "digits in a header": ("t.csv", "1" * 100_000 + "x\n1\n", {}),
    "digits in a cell": ("t.csv", "a\n1\n" + "1" * 100_000 + "x\n", {}),
    "digits in another column": ("t.csv", "a,b\n1," + "1" * 100_000 + "x\n", {"columns": ["a"]}),
    "digits in a tab file": ("t.tsv", "a\tb\n1\t" + "1" * 1_000_000 + "x\n", {"numbers": ["b"]}),
    "groups of digits": ("t.tsv", "a\tb\n1\t" + "1.111" * 200_000 + "x\n", {"decimal": ",", "thousands": "."}),
    "digits in a series": ("t.ts", "@data\n" + "1" * 1_000_000 + "x\n", {}),
    "spaces in a series": ("t.ts", "@data\n" + " " * 1_000_000 + "x\n", {}),
    "digits of a word": ("t.conllu", "1" * 1_000_000 + "x" + "\t_" * 9 + "\n", {}),
    "spaces between fields": ("t.conll", "a" + " " * 1_000_000 + "b\n", {}),
    "a time": ("t.tsv", "t\tx\n2024-01-01" + " " * 1_000_000 + "x\t1\n", {"time": "t"}),
    "a field twice": ("t.jsonl", "{" + ",".join(f'"{i}":1' for i in range(16_384)) + ',"16383":1}\n', {}),
    "bad rows": ("t.csv", "a,b\n1,2\n" + "x,1\n" * 50_000, {"skip_bad": 50_000}),
    "bad rows and good": ("t.csv", "a,b\n1,2\n" + "x,1\n1,x\n1,1\n" * 20_000, {"skip_bad": 40_000}),
    "bad steps": ("t.csv", "a,b\n1,2\n" + "1,x\n" * 50_000, {"skip_bad": 50_000, "wide": True, "steps": ["a", "b"]}),
    "bad times": ("t.csv", "t,b\n2024-01-01,2\n" + "x,1\n" * 50_000, {"skip_bad": 50_000, "time": "t"}),
    "short lines": (
        "t.jsonl",
        "{" + ",".join(f'"{i}":1' for i in range(16_000)) + "}\n" + "{}\n" * 50_000,
        {"skip_bad": 50_000},
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_no_file_takes_longer_than_its_length(file, name):
    """Each of them took minutes, or would have, where the time grew with the square of the length."""
    suffix, contents, options = SLOW[name]
    begin = time.process_time()
    with suppress(DataError):
        readers.read(file(suffix, contents), **options)
    assert time.process_time() - begin < 6


CONLLU = """# sent_id = 1
# text = Don't go
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\t_\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\t_\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\t_\t_\t0\troot\t_\t_
3.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_


1\tNo 1\tno\tINTJ\t_\t_\t0\troot\t_\t_
"""


def test_conllu(file):
    for name in ("t.conllu", "t.conllu.gz"):
        s = readers.read(file(name, CONLLU))
        assert lists(s) == {"FORM": [["Do", "n't", "go"], ["No 1"]], "UPOS": [["AUX", "PART", "VERB"], ["INTJ"]]}
        assert s.places.lines.tolist() == [4, 10]
    assert lists(readers.read(file("t.conllu", CONLLU), columns=["HEAD"])) == {"HEAD": [["3", "3", "0"], ["0"]]}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("2\tn't\tnot", "2\tn't", r"line 5: expected 10 fields with tabs between them; got 9"),
        ("2\tn't\tnot", "2\t\tnot", r"line 5: expected 10 fields with tabs between them; got an empty one"),
        ("2\tn't", "3\tn't", r"line 5, column 1 \(ID\): expected 2, a range from 2, or 1\.1; got '3'"),
        ("2\tn't", "02\tn't", r"line 5, column 1 \(ID\): expected 2"),
        ("1-2", "1-0", r"line 3, column 1 \(ID\): expected 1"),
        ("3.1", "4.1", r"line 7, column 1 \(ID\): expected 4"),
        ("\n\n\n", "\n", r"line 8, column 1 \(ID\): expected 4.*; got '1'"),
        ("3\tgo\tgo", "\n3\tgo\tgo", r"line 7, column 1 \(ID\): expected 1.*; got '3'"),
    ],
)
def test_conllu_that_is_bad(file, old, new, complaint):
    assert old in CONLLU
    path = file("t.conllu", CONLLU.replace(old, new, 1))
    with pytest.raises(DataError, match=f"^{path}, {complaint}"):
        readers.read(path)


def test_a_bad_line_takes_its_sentence_with_it(file):
    path = file("t.conllu", CONLLU.replace("2\tn't", "9\tn't"))
    s = readers.read(path, skip_bad=1)
    assert lists(s)["FORM"] == [["No 1"]] and len(s.skipped) == 1
    path = file("t.conllu", CONLLU.encode().replace(b"n't\tnot", b"n\xff"))
    assert lists(readers.read(path, skip_bad=1))["FORM"] == [["No 1"]]
    with pytest.raises(UnspoolError, match=r"columns must be among ID, FORM.*; got 'WORD'"):
        readers.read(path, columns=["WORD"])


def test_conllu_plus(file):
    words = "1-2\tim\t_\t_\n1\tin\tADP\t*\n2\tdem\tDET\t1:VID\n\n1\tja\tX\t_\n"
    contents = f"# global.columns = ID FORM UPOS PARSEME:MWE\n# c\n{words}"
    s = readers.read(file("t.conllup", contents), columns=["FORM", "PARSEME:MWE"])
    assert lists(s) == {"FORM": [["in", "dem"], ["ja"]], "PARSEME:MWE": [["*", "1:VID"], ["_"]]}
    assert lists(readers.read(file("t.conllu", contents)))["UPOS"] == [["ADP", "DET"], ["X"]]
    plain = "# global.columns = FORM TAG\na\tA\nb\tB\n\nc\tC\n"
    assert lists(readers.read(file("t.conllup", plain), columns=["TAG"])) == {"TAG": [["A", "B"], ["C"]]}
    for changed, complaint in [
        (contents.replace("2\tdem", "3\tdem"), r"line 5, column 1 \(ID\): expected 2"),
        (contents.replace("\t*", ""), r"line 4: expected 4 fields with tabs between them; got 3"),
        (plain, r"line 1: columns must be among FORM, TAG, .*; got 'UPOS'"),
    ]:
        with pytest.raises(DataError, match=complaint):
            readers.read(file("t.conllup", changed))


def test_conll(file):
    contents = "#tag\tO\nis\tO\n\t\nBonn\tB-loc\n\n\n"
    s = readers.read(file("t.conll", contents))
    assert lists(s) == {"token": [["#tag", "is"], ["Bonn"]], "tag": [["O", "O"], ["B-loc"]]}
    s = readers.read_conll(file("t.conll", contents), columns={"tag": 2}, comments=True)
    assert lists(s) == {"tag": [["O"], ["B-loc"]]}
    s = readers.read(file("s.conll", "EU  NNP B-NP \u00a0B-ORG\nno UH O  O\n"), columns={"w": 1, "ner": -1})
    assert lists(s) == {"w": [["EU", "no"]], "ner": [["\u00a0B-ORG", "O"]]}


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ("", "expected at least one sentence that can be used; got none"),
        ("\n\n", "expected at least one sentence that can be used; got none"),
        ("a\tO\nb\n", "line 2: expected 2 fields, as in the first line; got 1"),
        ("a\tO\nb c\tO\nd\tO\tO\n", "line 3: expected 2 fields, as in the first line; got 3"),
        ("a\tO\n\tO\n", "line 2: expected 2 fields, as in the first line; got an empty one"),
        ("a\n", "line 1: expected at least 2 fields; got 1"),
    ],
)
def test_conll_that_is_bad(file, contents, complaint):
    path = file("t.conll", contents)
    with pytest.raises(DataError, match=f"^{path}.*{complaint}"):
        readers.read(path, columns={"token": 1, "tag": 2})
    with pytest.raises(DataError, match="line 1: expected a field for each column; got 1 fields"):
        readers.read(file("t.conll", "a\nb\n"))
    for columns in ({}, {"a": 0}, {"a": "1"}):
        with pytest.raises(UnspoolError, match="columns must map names to field numbers"):
            readers.read(path, columns=columns)


TS = "#about\n@problemName P\n@missing true\n@dimensions 2\n@classLabel true a b\n@data\n1,2:3,?:a\n\n5:6:b\n"


def test_ts(file):
    s = readers.read(file("t.ts", TS))
    np.testing.assert_array_equal(s["value"].values, [[1, 3], [2, np.nan], [5, 6]])
    assert s.lengths.tolist() == [2, 1] and s["label"].tolist() == ["a", "b"] and s.places.lines.tolist() == [7, 9]
    s = readers.read(file("t.ts.gz", "@targetLabel true\n@classLabel false\n@data\n1,2:0.5\n"))
    assert s["value"].values.tolist() == [[1], [2]] and s["target"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("@missing true", "@missing false", r"line 7, column 2: value 2: expected a number; got '\?': missing values"),
        ("@missing true", "@missing maybe", r"line 3: expected @missing true or false; got \['maybe'\]"),
        ("@dimensions 2", "@dimensions 3", r"line 7, column 2: expected 3 channels with : between them; got 2"),
        ("@dimensions 2", "@dimensions 99999999999", r"line 4: expected @dimensions and a number"),
        ("@dimensions 2", "@seriesLength 2", r"line 9, column 1: expected 2 values; got 1"),
        ("@dimensions 2", "@equalLength true", r"line 9, column 1: expected 2 values; got 1"),
        ("@dimensions 2", "@timeStamps true", r"line 4: series with time stamps are not read"),
        ("@dimensions 2", "@univariate true", r"line 7, column 2: expected 1 channels"),
        ("@dimensions 2", "@missing true", r"line 4, column 1: expected a line of the header or @data; got '@missing'"),
        ("@dimensions 2", "1,2,3", r"line 4, column 1: expected a line of the header"),
        ("1,2:3", "1,2:3,4", r"line 7, column 2: expected 2 values, as in channel 1; got 3"),
        ("5:6:b", "5:6:c", r"line 9, column 3: expected a label of @classLabel; got 'c'"),
        ("5:6:b", "5:6", r"line 9, column 2: expected a label of @classLabel; got '6'"),
        ("5:6:b", "5:b", r"line 9, column 1: expected 2 channels"),
        ("1,2:3,?:a", "a", r"line 7, column 1: expected at least one channel before the label; got none"),
        ("5:6:b", "x:6:b", r"line 9, column 1: value 1: expected a number; got 'x'"),
        ("5:6:b", "inf:6:b", r"line 9, column 1: value 1: expected a number; got 'inf'"),
        ("5:6:b", ":6:b", r"line 9, column 1: value 1: expected a number; got an empty cell"),
        ("@data", "", r"line 7, column 1: expected a line of the header or @data"),
        ("@classLabel true a b", "@classLabel true", r"line 5: expected labels after @classLabel true; got none"),
    ],
)
def test_ts_that_is_bad(file, old, new, complaint):
    assert old in TS
    path = file("t.ts", TS.replace(old, new, 1))
    with pytest.raises(DataError, match=f"^{path}, {complaint}"):
        readers.read(path)


def test_ts_as_the_archives_have_them(file):
    """Comments with a percent sign; tags twice that say nothing about the data."""
    head = "% about\n@problemName P\n%\n@problemName Q\n@author a\n@author b\n"
    s = readers.read(file("t.ts", head + TS.replace("#about\n@problemName P\n", "").replace("\n5:6", "\n  % c\n5:6")))
    assert s.lengths.tolist() == [2, 1] and s["label"].tolist() == ["a", "b"]


def test_ts_without_series(file):
    for contents, complaint in [("@data\n", "at least one series after @data"), ("", "expected a line @data")]:
        with pytest.raises(DataError, match=complaint):
            readers.read(file("t.ts", contents))
    s = readers.read(file("t.ts", TS.replace("5:6:b", "5:b")), skip_bad=1)
    assert len(s) == 1 and s.skipped[0].endswith("line 9, column 1: expected 2 channels with : between them; got 1")


OBJECTS = [
    {"x": [[1, 2], [3, 4.5]], "tag": ["a", "b"], "y": 3, "name": "é\n", "ok": True},
    {"x": [[5, 6]], "tag": ["a"], "y": 4, "name": "", "ok": False},
]


def jsonl(*objects):
    return "".join(json.dumps(o) + "\n" for o in objects)


def test_jsonl(file):
    for name in ("t.jsonl", "t.ndjson.gz"):
        s = readers.read(file(name, jsonl(*OBJECTS)))
        assert lists(s) == {n: [o[n] for o in OBJECTS] for n in OBJECTS[0]}
        assert s["x"].values.shape == (3, 2) and s["ok"].dtype == bool and s["y"].dtype == np.int64
        assert s.per_step == ["x", "tag"] and s.places.lines.tolist() == [1, 2]
    s = readers.read(file("t.jsonl", '{"a": [1, null], "b": 1}\n{"a": [null], "b": null}\n'), missing=True)
    np.testing.assert_array_equal(s["a"].values, [1, np.nan, np.nan])
    np.testing.assert_array_equal(s["b"], [1, np.nan])
    assert lists(readers.read(file("t.jsonl", jsonl(*OBJECTS, OBJECTS[0] | {"z": 1})), columns=["y"])) == {
        "y": [3, 4, 3]
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"a": [1], "b": "x"', r"column 20: expected a JSON object; Expecting"),
        ("x", r"column 1: expected a JSON object"),
        ("[1]", r"expected a JSON object; got \[1\]"),
        ('{"a": [1]}', r"expected the fields a, b; got a$"),
        ('{"a": [1], "b": "x", "c": 1}', r"expected the fields a, b; got a, b, c"),
        ('{"a": [1], "a": [2], "b": "x"}', r"column 'a': expected each field once"),
        ('{"a": [], "b": "x"}', r"column 'a': expected at least one step"),
        ('{"a": ["1"], "b": "x"}', r"column 'a': expected a list with a number per step, as above; got \['1'\]"),
        ('{"a": [1, "1"], "b": "x"}', r"column 'a': expected numbers only, or truth values, or text"),
        ('{"a": [1, true], "b": "x"}', r"column 'a': expected numbers only"),
        ('{"a": [[1]], "b": "x"}', r"column 'a': expected a list with a number per step, as above"),
        ('{"a": [[1], [1, 2]], "b": "x"}', r"column 'a': expected equally many numbers in each step"),
        ('{"a": 1, "b": "x"}', r"column 'a': expected a list with a number per step, as above; got 1"),
        ('{"a": [null], "b": "x"}', r"column 'a': expected a value; got null"),
        ('{"a": [{}], "b": "x"}', r"column 'a': expected numbers only"),
        ('{"a": [NaN], "b": "x"}', r"expected finite numbers, as JSON has them; got NaN"),
        ('{"a": [-Infinity], "b": "x"}', r"got -Infinity"),
        ('{"a": [1e999], "b": "x"}', r"expected a number within ±1.8e308; got 1e999"),
        ('{"a": [9007199254740993], "b": "x"}', r"expected an integer within ±2\^53"),
        ('{"a": [' + "9" * 5000 + '], "b": "x"}', r"expected an integer within ±2\^53"),
        ('{"a": [1], "b": "\\ud800"}', r"column 'b': expected text; got half a character"),
        ("[" * 100_000, r"lists nested too deeply|Expecting"),
    ],
)
def test_jsonl_that_is_bad(file, line, complaint):
    path = file("t.jsonl", '{"a": [1], "b": "x"}\n' + line + '\n{"a": [2, 3], "b": "y"}\n')
    with pytest.raises(DataError, match=f"^{path}, line 2(, column [^:]+)?: .*|{complaint}") as raised:
        readers.read(path)
    assert raised.match(complaint)
    s = readers.read(path, skip_bad=1)
    assert lists(s) == {"a": [[1], [2, 3]], "b": ["x", "y"]} and len(s.skipped) == 1


@pytest.mark.parametrize(
    "other",
    [
        *("1234567890123456789", "NaN", "-Infinity", "1e999", "[NaN, 1]", "null", "[]", "[[1], []]", "[1, true]"),
        *('"\\ud800"', '{"k": 1, "k": 2}', '{"a": {"a": [{}]}}', '1, "other": 2'),
    ],
)
def test_jsonl_fields_that_nobody_wants_may_be_anything(file, other):
    for line in (f'{{"text": "x", "n": [1, 2], "other": {other}}}', f'{{"other": {other}, "n": [1, 2], "text": "x"}}'):
        path = file("t.jsonl", f"{line}\n" * 2)
        assert lists(readers.read(path, columns=["text", "n"])) == {"text": ["x", "x"], "n": [[1, 2], [1, 2]]}
        with pytest.raises(DataError, match=r"line 1, column 'other': expected"):
            readers.read(path)


@pytest.mark.parametrize(
    ("lines", "missing", "complaint"),
    [
        (['"x"', "null"], False, 'line 2.* expected a text; got null, which only numbers may be: write ""'),
        (['"x"', "null"], True, 'line 2.* expected a text; got null, which only numbers may be: write ""'),
        (['["x", null]'], True, 'line 1.* expected a text; got null, which only numbers may be: write ""'),
        (["null", '"x"'], True, "line 2.* expected a number, for which null stands above; got 'x'"),
        (["null", "1"], False, "line 1.* got null: give missing=True to read it as NaN"),
        (["true", "null"], True, "line 2.* expected a truth value; got null"),
        (["null", "1"], True, None),
        (["1", "null"], True, None),
        (["[null, 1]", "[null]"], True, None),
        (["[null]", "[null, 1]"], True, None),
    ],
)
def test_jsonl_null(file, lines, missing, complaint):
    path = file("t.jsonl", "".join(f'{{"a": {line}}}\n' for line in lines))
    if complaint:
        with pytest.raises(DataError, match=complaint):
            readers.read(path, missing=missing)
        return
    expected = np.hstack([np.array(json.loads(line), float) for line in lines])
    a = readers.read(path, missing=missing)["a"]
    np.testing.assert_array_equal(a.values if isinstance(a, Ragged) else a, expected)


def test_jsonl_nested_to_the_limit(file):
    for depth in (300, sys.getrecursionlimit() - 100, sys.getrecursionlimit() - 30, sys.getrecursionlimit()):
        for begin, end in ("[", "]"), ('{"a":', "1}"):
            with pytest.raises(DataError, match="expected"):
                readers.read(file("t.jsonl", begin * depth + end * (depth if end == "]" else 1) + "\n"))


def test_jsonl_lists_of_an_object_are_of_one_length(file):
    with pytest.raises(DataError, match="line 1, column 'b': expected 2 steps, as in the list before; got 1"):
        readers.read(file("t.jsonl", '{"a": [1, 2], "b": [3]}\n'))
    with pytest.raises(DataError, match="expected at least one object"):
        readers.read(file("t.jsonl", ""))


def test_lines(file):
    contents = "one\r\n\ntwo\u2028\x85 three\x0b"
    s = readers.read(file("t.txt", contents))
    assert lists(s) == {"text": ["one", "", "two\u2028\x85 three\x0b"]} and s.places.lines.tolist() == [1, 2, 3]
    assert lists(readers.read(file("t.txt.gz", contents))) == lists(s)
    assert lists(readers.read(file("t.txt", b"a\n\xff\nb"), skip_bad=1)) == {"text": ["a", "b"]}
    with pytest.raises(DataError, match="the file is empty"):
        readers.read(file("t.txt", ""))


def test_one_long_text_may_be_compressed(file):
    assert text.read(file("t.txt.gz", "to be\r\n")) == ["to be\r\n"]
    path = file("t.txt.gz", b"to \xff")
    with pytest.raises(DataError, match="line 1, column 4: byte 0xff is not UTF-8"):
        text.read(path)
    assert text.read(path, "byte") == [b"to \xff"], "unpacked"


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_npy(file):
    s = readers.read(file("t.npy", npy(np.arange(6.0).reshape(3, 2))))
    assert lists(s) == {"value": [[[0, 1], [2, 3], [4, 5]]]} and isinstance(s["value"].values, np.memmap)
    s = readers.read(file("t.npy", npy(np.asfortranarray(np.arange(12).reshape(2, 3, 2)))))
    assert lists(s) == {"value": np.arange(12).reshape(2, 3, 2).tolist()}
    assert readers.read(file("t.npy", npy(np.array([1, np.nan]))), missing=True).lengths.tolist() == [2]


def test_npz(file):
    x, y = np.arange(12.0).reshape(2, 3, 2), np.array(["a", "b"])
    assert lists(readers.read(file("t.npz", npz(x=x, y=y)))) == {"x": x.tolist(), "y": ["a", "b"]}
    s = readers.read(
        file("t.npz", npz(p=np.arange(5), n=np.array([2, 3]), y=y, other=x)), columns=["p", "y"], lengths="n"
    )
    assert lists(s) == {"p": [[0, 1], [2, 3, 4]], "y": ["a", "b"]} and s.place(1).endswith("t.npz, sequence 2")


def zipped(data, name="x.npy"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is not an array file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "is not an array file"),
        (npy(np.arange(3))[:-1], r"an array of shape \(3,\) and int64 should have 24 bytes; the file has 23"),
        (npy(np.arange(3)) + b"\0", r"should have 24 bytes; the file has 25"),
        (
            npy(np.arange(3)).replace(b"(3,)", b"(3" + b"0" * 18 + b",)").replace(b" " * 18 + b"\n", b"\n"),
            "should have",
        ),
        (npy(np.array([1j])), "expected booleans, numbers, dates or strings; got complex128"),
        (npy(np.zeros(2, [("a", int)])), "expected booleans, numbers"),
        (npy(np.array([1, np.inf])), r"at \(1,\): expected a finite number; got inf$"),
        (npy(np.array([[1, np.nan]])), r"at \(0, 1\): expected a finite number; got nan: give missing=True"),
        (npy(np.array(3.0)), "expected an array with at least one dimension"),
        (npy(np.zeros((0, 3))), "and one element; got float64 of shape .0, 3."),
        (npy(np.array(["NaT"], "M8[s]")), "expected a date everywhere"),
    ],
)
def test_arrays_that_are_bad(file, data, complaint):
    for path in (file("t.npy", data), file("t.npz", zipped(data))):
        with pytest.raises(DataError, match=f"^{path}.*{complaint}"):
            readers.read(path)


def test_objects_are_never_unpickled(file):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    for path in (file("t.npy", buffer.getvalue()), file("t.npz", zipped(buffer.getvalue()))):
        with pytest.raises(DataError, match="expected booleans, numbers, dates or strings; got object"):
            readers.read(path)


@pytest.mark.parametrize("order", "<>")
def test_strings_of_code_points_that_are_none(file, order):
    good = np.array([[65, 0x10FFFF], [66, 0xE000]], f"{order}u4").view(f"{order}U2")
    assert lists(readers.read(file("t.npy", npy(good)))) == {"value": [[["A\U0010ffff"], ["B\ue000"]]]}
    for code in (0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF):
        bad = np.array([[65, 66], [67, code]], f"{order}u4").view(f"{order}U2")
        for path in (file("t.npy", npy(bad)), file("t.npz", npz(x=bad))):
            with pytest.raises(DataError, match=rf"at \(1, 0\): expected text; got 0x{code:x}, which is no character"):
                readers.read(path)


def test_npz_that_is_bad(file):
    good = npz(x=np.zeros((2, 3, 1)), n=np.array([2, 4]))
    for options, complaint in [
        ({"columns": ["z"]}, "there is no array 'z'; there are x, n"),
        ({"lengths": "x"}, "array 'x' must have integers of at least 1"),
        ({"lengths": "n", "columns": ["x", "n"]}, None),
    ]:
        if complaint:
            with pytest.raises(DataError, match=complaint):
                readers.read(file("t.npz", good), **options)
    with pytest.raises(DataError, match=r"array 'y' must be for 2 sequences of 6 steps; got float64 of shape \(3,\)"):
        readers.read(file("t.npz", npz(x=np.zeros((2, 3, 1)), y=np.zeros(3))))
    for data in (b"", b"PK", good[:-1], good[:50]):
        with pytest.raises(DataError, match=r"t\.npz"):
            readers.read(file("t.npz", data))


WHOLE = {  # samples of each width that lie at the ends of its range, and what they are read as
    1: ([-128, -1, 0, 1, 127], 128),
    2: ([-(2**15), -2, 0, 3, 2**15 - 1], 2**15),
    3: ([-(2**23), -1, 0, 2**22 + 1, 2**23 - 1], 2**23),
    4: ([-(2**31), -(2**8), 0, 2**30, 2**31 - 2**8], 2**31),
}


def wav(samples, width=2, rate=8000, channels=1):
    """A file that the standard library writes; samples of one byte have no sign."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((channels, width, rate, 0, "NONE", ""))
        add = 128 if width == 1 else 0
        sound.writeframes(b"".join((n + add).to_bytes(width, "little", signed=width > 1) for n in samples))
    return out.getvalue()


def riff(*chunks):
    """A file of these chunks, each a name and its contents."""
    body = b"".join(name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body


def form(kind=1, channels=1, rate=8000, bits=16):
    return struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)


@pytest.mark.parametrize("width", WHOLE)
def test_sound_of_each_width(file, width):
    samples, half = WHOLE[width]
    s = readers.read(file("t.wav", wav(samples, width, 11_025)))
    assert s["value"].values.dtype == np.float32 and s["value"][0].tolist() == [n / half for n in samples]
    assert s["rate"].tolist() == [11_025] and s.place(0).endswith("t.wav")
    twice = [n for n in samples for _ in range(2)]
    assert lists(readers.read(file("c.wav", wav(twice, width, channels=2)))) == {
        "value": [[n / half for n in samples]],
        "rate": [8000],
    }


def test_sound_of_several_channels_is_averaged(file):
    assert lists(readers.read(file("t.WAV", wav([300, 600, 0, -100, 200, 500], channels=3))))["value"] == [
        pytest.approx([300 / 2**15, 200 / 2**15], abs=1e-8)
    ]


def test_sound_with_other_chunks_or_a_longer_header_or_packed(file):
    samples = np.array([1, -2, 3], "<i2")
    expected = [(samples / 2**15).tolist()]
    tail = bytes.fromhex("000000001000800000aa00389b71")
    long = form(kind=0xFFFE) + struct.pack("<HHIH", 22, 16, 4, 1) + tail
    data = samples.tobytes()
    for contents in (
        riff((b"LIST", b"odd"), (b"fmt ", form()), (b"fact", b"1234"), (b"data", data), (b"LIST", b"more")),
        riff((b"fmt ", long), (b"data", data)),
        riff((b"fmt ", form()), (b"data", data + b"\1")),  # a part of a sample at the end is nobody's
        riff((b"fmt ", form()), (b"data", data)) + b"padding",
    ):
        assert lists(readers.read(file("t.wav", contents)))["value"] == expected
    assert lists(readers.read(file("t.wav.gz", wav(samples.tolist()))))["value"] == expected


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (b"", r"expected a \.wav file, which begins with RIFF and WAVE; got b''"),
        (b"ID3\x04 a song", "begins with RIFF and WAVE; got b'ID3"),
        (wav([])[:44], "has no samples"),
        (wav([1, 2, 3])[:-1], r"is cut short: expected 6 bytes of sound; got 5: copy it again"),
        (wav([1, 2, 3])[:44], r"is cut short: expected 6 bytes of sound; got 0"),
        (wav([1, 2, 3])[:30], "is cut short: expected a chunk of samples; got none"),
        (riff((b"data", b"1234")), "is damaged: it does not say how its sound is written"),
        (riff((b"fmt ", form()[:10]), (b"data", b"1234")), "is damaged: it does not say how"),
        (riff((b"fmt ", form(kind=3, bits=32)), (b"data", b"1234")), "got format 3 of 32 bits: convert it"),
        (riff((b"fmt ", form(kind=2, bits=4)), (b"data", b"1234")), "got format 2 of 4 bits: convert it"),
        (riff((b"fmt ", form(kind=0xFFFE)), (b"data", b"1234")), "got format 65534 of 16 bits: convert it"),
        (riff((b"fmt ", form(bits=12)), (b"data", b"1234")), "got format 1 of 12 bits: convert it"),
        (riff((b"fmt ", form(channels=0)), (b"data", b"1234")), "is damaged: it says that it has 0 channels"),
        (riff((b"fmt ", form(rate=0)), (b"data", b"1234")), "0 times a second; copy it again"),
        (riff((b"fmt ", form()[:12] + b"\3\0\x10\0"), (b"data", b"1234")), "1 channels of 16 bits in 3 bytes"),
    ],
)
def test_sound_that_is_bad(file, contents, complaint):
    with pytest.raises(DataError, match=rf"t\.wav: .*{complaint}") as error:
        readers.read(file("t.wav", contents))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path, file):
    for name in ("t.csv", "t.parquet", "t.jsonl", "t.conllu", "t.conll", "t.ts", "t.txt", "t.npy", "t.npz", "t.wav"):
        with pytest.raises(DataError, match=rf"no{name}: (no such file|cannot be read .No such file)"):
            readers.read(tmp_path / f"no{name}")
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=rf"{name}: (is not an ordinary file|cannot be read)"):
            readers.read(tmp_path / name)
    with pytest.raises(DataError, match=r"expected a name with one of \.csv, .*; got '\.mat'"):
        readers.read("x.mat")
    with pytest.raises(DataError, match="is not an ordinary file"):
        readers.read_lines("/dev/zero")
    with pytest.raises(DataError, match="cannot be read"):
        readers.read_lines("a\0b")
    for delimiter in ("", "ab", '"', "\n"):
        with pytest.raises(UnspoolError, match="delimiter must be one character"):
            readers.read_csv(file("d.csv", "a\n1\n"), delimiter=delimiter)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    for name in ("csv", "tsv", "parquet", "jsonl", "conllu", "conllup", "conll", "ts", "txt", "npy", "npz", "wav"):
        os.mkfifo(tmp_path / f"t.{name}")
        with pytest.raises(DataError, match=rf"t\.{name}: is not an ordinary file"):
            readers.read(tmp_path / f"t.{name}")
    Ragged.of([[1, 2]]).save(tmp_path / "r")
    for name in ("sums.json", "values.npy", "offsets.npy"):
        os.rename(tmp_path / "r" / name, tmp_path / "kept")
        os.mkfifo(tmp_path / "r" / name)
        for verify in (True, False):
            with pytest.raises(DataError, match=f"{name}: is not an ordinary file"):
                Ragged.open(tmp_path / "r", verify=verify)
        os.unlink(tmp_path / "r" / name)
        os.rename(tmp_path / "kept", tmp_path / "r" / name)


def zip_of(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        for i, data in enumerate(members):
            archive.writestr(f"folder/{i}.csv", data)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zip_of])
def test_the_contents_show_that_a_file_is_compressed(tmp_path, pack):
    contents = b"a,b\n" + b"".join(b"%d,2\n" % i for i in range(1000))
    data = pack(contents)
    for name in ("t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zip", "t.CSV.ZST"):
        (tmp_path / name).write_bytes(data)
        assert readers.read(tmp_path / name)["a"].values.tolist() == list(range(1000))
    assert text.read(tmp_path / "t.csv") == [contents.decode()]
    for damaged in (data[: len(data) // 2], data[:20], data[:40] + bytes([data[40] ^ 255]) + data[41:]):
        (tmp_path / "t.csv").write_bytes(damaged)
        with pytest.raises(DataError, match=r"t\.csv: is damaged after [0-9]+ unpacked bytes .*; copy it again"):
            readers.read(tmp_path / "t.csv")


def test_compressed_files_that_are_not_unpacked(file):
    for members in ((), (b"a\n1\n", b"a\n2\n")):
        with pytest.raises(DataError, match=f"is a zip file of {len(members)} files; expected one"):
            readers.read(file("t.csv.zip", zip_of(*members)))
    if sys.version_info < (3, 14):
        with pytest.raises(DataError, match="is compressed with zstd; unpack it first"):
            readers.read(file("t.csv.zst", b"\x28\xb5\x2f\xfd....."))


def test_damaged_gzip(file, tmp_path):
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    flipped = bytearray(data)
    flipped[-6] ^= 1
    for damaged in (data[:-1], data[:20], bytes(flipped), data + b"x", data[:2]):
        (tmp_path / "t.csv.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"t\.csv\.gz: is damaged after [0-9]+ unpacked bytes .*; copy it again"):
            readers.read(tmp_path / "t.csv.gz")
    (tmp_path / "t.csv").write_bytes(data)  # the first bytes show that it is compressed, not the name
    assert readers.read(tmp_path / "t.csv").lengths.tolist() == [1000]


def test_take_and_stack(file):
    s = readers.read(file("t.csv", LONG), sequence="who")
    stacked = s.stack(["x", "when"])
    assert stacked.values.dtype == np.float32 and stacked[0].tolist() == [[1.5, 2], [0.5, 1]]
    other = s.take([1, 0, 1])
    assert other["who"].tolist() == ["a", "b", "a"] and other.places.lines.tolist() == [3, 2, 3]
    for names, complaint in [
        (["label"], "column 'label' is text; numbers are needed"),
        (["who"], "column 'who' has one value per sequence; one value per step is needed, as when, x, label"),
        (["z"], "there is no column 'z'; there are who, when, x, label"),
        ([], "no column was named"),
    ]:
        with pytest.raises(DataError, match=complaint):
            s.stack(names)


def test_numbers_beyond_float32_are_not_stacked_as_infinite(file):
    s = readers.read(file("t.csv", "who,x,y\na,1,2\nb,3e38,4\nb,5,-4e38\n"), sequence="who")
    with pytest.raises(DataError, match=r"t\.csv, line 3: column 'y' has -4e\+38, which is beyond float32; scale it"):
        s.stack(["x", "y"])
    assert s.stack(["x", "y"], np.float64)[1].tolist() == [[3e38, 4], [5, -4e38]]


def test_join(file):
    s = readers.read(file("t.csv", LONG), sequence="who")
    other = readers.read(file("u.csv", "x,who,when,label\n7.5,c,9,maybe\n"), sequence="who")
    both = s.join([s, other, s.take([1])])
    assert both["who"].tolist() == ["b", "a", "c", "a"] and both.lengths.tolist() == [2, 2, 1, 2]
    assert lists(both)["x"] == [[1.5, 0.5], [-2.0, 400.0], [7.5], [-2.0, 400.0]]
    assert [both.place(i).split("/")[-1] for i in range(4)] == [
        "t.csv, line 2",
        "t.csv, line 3",
        "u.csv, line 2",
        "t.csv, line 3",
    ]
    for contents, options, complaint in [
        ("x,who,when\n1,c,9\n", {}, r"v\.csv: there is no column 'label'; there are who, x, when|there is no column"),
        (LONG.replace(",no", ",1").replace(",yes", ",2"), {}, r"v\.csv: column 'label' is numbers .*; expected text"),
        (
            LONG,
            {"per_sequence": ["label"]},
            r"v\.csv: column 'label' is text .* one value per sequence; expected .* one value per step",
        ),
    ]:
        with pytest.raises(DataError, match=complaint):
            s.join([s, readers.read(file("v.csv", contents), sequence="who", **options)])


def frame_data():
    return {
        "who": ["b", "a", "b"],
        "when": [datetime(2024, 1, 2), datetime(2024, 1, 1), datetime(2024, 1, 1)],
        "x": [1.5, None, -1.0],
        "k": [1, 2, 3],
        "ok": [True, False, True],
    }


@pytest.fixture(params=["pandas", "polars", "pyarrow", "parquet"])
def frame(request, tmp_path):
    """Tables of each library, and the same table as a file."""
    library = pytest.importorskip("pyarrow" if request.param == "parquet" else request.param)
    if request.param == "pandas":
        return lambda data=None, **options: readers.from_frame(library.DataFrame(data or frame_data()), **options)
    if request.param == "polars":
        return lambda data=None, **options: readers.from_frame(library.DataFrame(data or frame_data()), **options)
    if request.param == "pyarrow":
        return lambda data=None, **options: readers.from_frame(library.table(data or frame_data()), **options)

    def through_file(data=None, **options):
        from pyarrow import parquet

        parquet.write_table(library.table(data or frame_data()), tmp_path / "t.parquet")
        return readers.read(tmp_path / "t.parquet", **options)

    return through_file


def test_frames(frame):
    s = frame(sequence="who", time="when", missing=True)
    assert (
        s["who"].tolist() == ["b", "a"] and lists(s)["k"] == [[3, 1], [2]] and lists(s)["ok"] == [[True, True], [False]]
    )
    np.testing.assert_array_equal(s["x"].values, [-1.0, 1.5, np.nan])
    assert s["when"].values.tolist() == [datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 1)]
    assert s["k"].values.dtype == np.int64 and s["ok"].values.dtype == bool
    assert s.places.lines.tolist() == [1, 2] and ", row 2" in s.place(1)
    assert list(frame(columns=["k"]).columns) == ["k"]


@pytest.mark.parametrize(
    ("data", "options", "complaint"),
    [
        (None, {}, r"row 2, column 'x': expected a value; got none: give missing=True to read it as NaN"),
        ({"x": [1.0, float("inf")]}, {}, r"row 2, column 'x': expected a finite number; got infinity"),
        ({"x": ["a", None]}, {"missing": True}, r"row 2, column 'x': expected a value; got none"),
        ({"x": ["2024-01-01", "yesterday"]}, {"time": "x"}, r"row 2, column 'x': expected a number, or a time"),
        ({"x": [{"a": 1}, {"a": 2}]}, {}, r"column 'x'.* expected (numbers, truth values, dates or text|text)"),
        ({"x": [1, 2]}, {"sequence": "z"}, r"there is no column 'z'; there are x"),
        ({"x": []}, {}, r"expected at least one row; got none"),
    ],
)
def test_frames_that_are_bad(frame, data, options, complaint):
    with pytest.raises(DataError, match=complaint):
        frame(data, **options)


def test_lists_in_frames(frame):
    data = {"x": [[1.5, 2.0, 3.0], [4.0]], "w": [["a", "b", "a"], ["é"]], "item": ["p", "q"], "n": [1, 2]}
    s = frame(data)
    assert lists(s) == data and s.per_step == ["x", "w"] and s.lengths.tolist() == [3, 1]
    assert s.place(1).endswith(", row 2")
    data = {"v": [[[1, 2], [3, 4]], [[5, 6]]], "ok": [[True, False], [True]]}
    assert lists(frame(data)) == data
    np.testing.assert_array_equal(frame({"x": [[1.0, None], [2.0]]}, missing=True)["x"].values, [1, np.nan, 2])
    s = frame({"x": [[1], [], [2, 3], [4]], "y": [[1], [], [2], [5]]}, skip_bad=2)
    assert lists(s) == {"x": [[1], [4]], "y": [[1], [5]]} and [c.split(", ", 1)[1] for c in s.skipped] == [
        "row 2, column 'x': expected at least one step; got none",
        "row 3, column 'y': expected 2 steps, as in the list before; got 1",
    ]


@pytest.mark.parametrize(
    ("data", "options", "complaint"),
    [
        ({"x": [[1.0], [2.0, None]]}, {}, "row 2, column 'x': expected a value; got none: give missing=True"),
        ({"x": [[1.0], [float("inf")]]}, {}, "row 2, column 'x': expected a finite number; got infinity"),
        ({"x": [["a"], [None, "b"]]}, {"missing": True}, "row 2, column 'x': expected a value; got none"),
        ({"x": [[1.0], None]}, {"missing": True}, "row 2, column 'x': expected at least one step; got none"),
        ({"x": [[1.0], []]}, {}, "row 2, column 'x': expected at least one step; got none"),
        ({"x": [[[1, 2]], [[1], [2]]]}, {}, "row 2, column 'x': expected equally many numbers in each step"),
        ({"x": [[["a"]], [["b"]]]}, {}, "column 'x': expected lists of numbers in lists"),
        ({"x": [[[[1]]]]}, {}, "column 'x': expected numbers, truth values, dates or text, or lists of them"),
        ({"x": [[1]], "t": [1]}, {"time": "t"}, "a column has lists, so each row is a sequence; leave out"),
    ],
)
def test_lists_in_frames_that_are_bad(frame, data, options, complaint):
    with pytest.raises(DataError, match=complaint):
        frame(data, **options)


def test_decimal_fractions_are_the_nearest_numbers(frame):
    texts = ["1.25", "-0.10", "12345678901234.57", "9007199254740993.5", "0.30", "9007199254740992"]
    s = frame({"price": [Decimal(t) for t in texts]})
    assert s["price"].values.tolist() == [float(t) for t in texts]
    np.testing.assert_array_equal(frame({"p": [Decimal("1.5"), None]}, missing=True)["p"].values, [1.5, np.nan])
    with pytest.raises(DataError, match="row 2, column 'p': expected a value; got none: give missing=True"):
        frame({"p": [Decimal("1.5"), None]})
    with pytest.raises(DataError, match="row 2, column 'p': expected an integer that is exact in float64"):
        frame({"p": [Decimal(1), Decimal(2**53 + 1)]})


def test_times_of_frames_in_a_format_of_ones_own(frame):
    s = frame({"t": ["02.01.2024", "01.02.2024", "01.01.2024"], "x": [1, 2, 3]}, time="t", time_format="%d.%m.%Y")
    assert lists(s)["x"] == [[3, 1, 2]]
    with pytest.raises(DataError, match="row 2, column 't': expected a time in the format"):
        frame({"t": ["02.01.2024", "2024"], "x": [1, 2]}, time="t", time_format="%d.%m.%Y")


def test_frames_whose_libraries_complain():
    """No exception of another library comes out of a frame."""
    pandas, arrow, polars = map(pytest.importorskip, ("pandas", "pyarrow", "polars"))
    assert lists(readers.from_frame(pandas.DataFrame(np.eye(2)))) == {"0": [[1, 0]], "1": [[0, 1]]}
    damaged = [
        arrow.DictionaryArray.from_arrays(arrow.array([5], arrow.int8()), arrow.array(["a"]), safe=False),
        arrow.Array.from_buffers(
            arrow.string(), 1, [None, arrow.py_buffer(np.array([0, 1], np.int32)), arrow.py_buffer(b"\xff")]
        ),
        arrow.array([2**62], arrow.timestamp("s")),
        arrow.array([1], arrow.timestamp("ns")),
        arrow.array([1], arrow.duration("s")),
        arrow.array([2**64 - 1], arrow.uint64()),
        arrow.array([b"x"]),
        arrow.array([None]),
    ]
    frames = [arrow.table({"x": column}) for column in damaged]
    frames += [
        arrow.table([[1], [2]], names=["a", "a"]),
        pandas.DataFrame([[1, 2]], columns=["a", "a"]),
        pandas.DataFrame([[1, 2]], columns=[1, "1"]),
        pandas.DataFrame({"x": [1j]}),
        pandas.DataFrame({"x": [[1], ["a"]]}),
        pandas.DataFrame({"x": pandas.Series(["\ud800"], dtype=object)}),
        pandas.DataFrame({"x": [pandas.Period("2024")]}),
        polars.DataFrame({"x": [2**100]}, schema={"x": polars.Int128}),
        polars.DataFrame({"x": [object()]}),
        polars.DataFrame({"x": [1]}).lazy(),
        pandas.Series([1]),
    ]
    for table in frames:
        with pytest.raises(DataError, match=r"^table"):
            readers.from_frame(table)


def test_parquet_columns_of_one_name(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table([[1], [2], [3]], names=["a", "a", "b"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'a' is there twice; name others in columns"):
        readers.read(tmp_path / "t.parquet")
    assert lists(readers.read(tmp_path / "t.parquet", columns=["b"])) == {"b": [[3]]}


def test_what_is_no_frame():
    with pytest.raises(DataError, match="table: expected a table of pandas, polars or arrow; got list"):
        readers.from_frame([1])


def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch):
    for name in ("pyarrow", "narwhals"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(DataError, match=f"this needs {name}, which is not installed: pip install {name}"):
            readers.read(tmp_path / "t.parquet") if name == "pyarrow" else readers.from_frame([])


HOURS = {"wide": True, "steps": [f"V{i}" for i in range(2, 962)]}
REAL = [
    ("etth1/ETTh1.csv.gz", {"time": "date"}, 1, 17_420),
    ("metro-traffic/Metro_Interstate_Traffic_Volume.csv.gz", {"time": "date_time"}, 1, 48_204),
    ("timeseries-univariate/daily-min-temperatures.csv", {}, 1, 3_650),
    ("timeseries-univariate/monthly-sunspots.csv", {"time": "Month"}, 1, 2_820),
    ("timeseries-univariate/airline-passengers.csv", {"time": "Month"}, 1, 144),
    ("stocks/finance-charts-apple.csv", {"time": "Date"}, 1, 506),
    ("stocks/stocks.csv", {"sequence": "symbol"}, 5, 560),
    ("dna-splice/splice.csv", {"wide": True}, 3_190, 0),
    (
        "m4-hourly/Hourly-train.csv.gz",
        {"wide": True, "steps": [f"V{i}" for i in range(2, 962)]},
        414,
        245 * 960 + 169 * 700,
    ),
    ("m4-hourly/Hourly-test.csv", {"wide": True, "steps": [f"V{i}" for i in range(2, 50)]}, 414, 414 * 48),
    ("ud-english-ewt/en_ewt-ud-train.conllu.gz", {}, 12_544, 204_577),
    ("ud-english-ewt/en_ewt-ud-dev.conllu", {}, 2_001, 25_147),
    ("ud-english-ewt/en_ewt-ud-test.conllu", {}, 2_077, 25_094),
    ("wnut17-ner/wnut17train.conll", {}, 3_394, 62_730),
    ("wnut17-ner/emerging.dev.conll", {}, 1_009, 15_733),
    ("uea-basicmotions/BasicMotions_TRAIN.ts", {}, 40, 4_000),
    ("uea-basicmotions/BasicMotions_TEST.ts", {}, 40, 4_000),
    ("uea-japanesevowels/JapaneseVowels_TRAIN.ts", {}, 270, 4_274),
    ("uea-japanesevowels/JapaneseVowels_TEST.ts", {}, 370, 5_687),
    ("names-by-nationality/Russian.txt", {}, 9_384, 0),
    ("names-by-nationality/Arabic.txt", {}, 2_000, 0),
    ("omniglot-strokes/omniglot.npz", {"columns": ["train_points"], "lengths": "train_lengths"}, 30_000, 933_430),
    ("omniglot-strokes/omniglot.npz", {"columns": ["test_points"], "lengths": "test_lengths"}, 1_000, 31_144),
]


@pytest.mark.parametrize(("name", "options", "sequences", "steps"), REAL)
def test_real_files_have_what_their_readme_says(data_folder, name, options, sequences, steps):
    s = readers.read(data_folder / name, **options)
    assert len(s) == sequences and s.lengths.sum() == steps and s.skipped == ()


def test_real_files_of_other_names(data_folder):
    lines = readers.read_lines
    assert len(lines(data_folder / "rt-polarity/rt-polarity.pos")) == 5_331
    assert len(lines(data_folder / "multi30k-de-en/train.de.gz")) == 29_000
    pairs = readers.read_csv(data_folder / "tatoeba-eng-fra/fra.txt.gz", names=["eng", "fra"], wide=True)
    assert len(pairs) == 142_787 and len(set(pairs["eng"])) == 98_659
    s = readers.read_conll(data_folder / "wnut17-ner/emerging.test.annotated")
    assert len(s) == 1_287 and s.lengths.sum() == 23_394
    assert sum(tag.startswith("B-") for tag in s["tag"].values) == 1_079
    points = [f"{axis}{i}" for i in range(1, 9) for axis in "xy"]
    s = readers.read_csv(data_folder / "pendigits/pendigits.tes", names=[*points, "digit"], wide=True, steps=points)
    assert len(s) == 3_498 and set(s["digit"]) == set(range(10)) and (s.lengths == 16).all()
    s = readers.read_csv(data_folder / "dna-promoters/promoters.data", names=["class", "name", "bases"], wide=True)
    assert len(s) == 106 and (s["class"] == "+").sum() == 53 and {len(b.strip()) for b in s["bases"]} == {57}


def test_real_values_are_those_of_another_reader(data_folder):
    import csv

    name = data_folder / "metro-traffic/Metro_Interstate_Traffic_Volume.csv.gz"
    s = readers.read(name)
    with gzip.open(name, "rt", encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for column in s.columns:
        values = s[column].values
        kind = str if values.dtype.kind == "O" else float
        assert [kind(row[column]) for row in rows] == values.tolist()
    assert s["rain_1h"].values.max() == 9831.3 and len(set(s["date_time"].values)) == 40_575
    z = np.load(data_folder / "omniglot-strokes/omniglot.npz", allow_pickle=False)
    r = readers.read(data_folder / "omniglot-strokes/omniglot.npz", columns=["valid_points"], lengths="valid_lengths")
    np.testing.assert_array_equal(r["valid_points"].values, z["valid_points"])
    assert r.lengths.tolist() == z["valid_lengths"].tolist() and r.lengths.max() == 157


def test_real_names_of_all_nationalities(data_folder):
    parts = [readers.read(p) for p in sorted(data_folder.glob("names-by-nationality/*.txt"))]
    names = parts[0].join(parts)
    assert len(parts) == 18 and len(names) == 20_050 and len(set(names["text"])) == 17_455
    assert names.place(len(names) - 1).endswith("Vietnamese.txt, line 73")


def test_real_chorales_through_json_lines(data_folder, file):
    pieces = json.loads((data_folder / "jsb-chorales/Jsb16thSeparated.json").read_bytes())["valid"]
    s = readers.read(file("t.jsonl", jsonl(*({"voices": p} for p in pieces))))
    assert len(s) == 76 and s.lengths.sum() == 18_408 and s["voices"].values.shape == (18_408, 4)
    assert [p.tolist() for p in s["voices"]] == pieces
