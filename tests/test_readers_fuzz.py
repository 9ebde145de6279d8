"""Readers against any input: the result is right, or a DataError of one line, in bounded memory.

What was read is compared with what a second, naive reader makes of the same bytes, or with what was written.
"""

import csv
import gzip
import io
import json
import re
import string
import struct
import tracemalloc
import wave
import zipfile
import zlib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unspool import DataError, UnspoolError, _native
from unspool import data as readers
from unspool.data import opening, text
from unspool.data.ragged import Ragged
from unspool.data.readers import fields, jsonl, source, tables
from unspool.data.readers.split import split

MEMORY = 100  # the memory is at most this many times the size of the file,
BESIDE = 2**22  # plus this many bytes
NAMES = [
    "t.csv",
    "t.tsv",
    "t.jsonl",
    "t.conllu",
    "t.conllup",
    "t.conll",
    "t.ts",
    "t.txt",
    "t.npy",
    "t.npz",
    "t.parquet",
    "t.wav",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def read(path: Path, data: bytes, reader=readers.read, **options):
    """The sequences, or None if the file was refused in one line that names it."""
    path.write_bytes(data)
    try:
        return reader(path, **options)
    except DataError as error:
        message = str(error)
    assert message.startswith(f"{path}") and message.isprintable() and len(message) < 1000
    return None


def lists(sequences):
    return {
        name: [s.tolist() for s in column] if isinstance(column, Ragged) else column.tolist()
        for name, column in sequences.columns.items()
    }


# What is written is read.

CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6)
NAME = st.text(string.ascii_letters, min_size=1, max_size=3)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
WORD = st.text(st.characters(exclude_characters="\0\r\n\t", exclude_categories=("Cs",)), min_size=1, max_size=5)


@given(st.lists(st.tuples(CELL, FLOAT, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=9), st.booleans())
def test_csv_round_trip(folder, rows, packed):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("a", "b,", 'c"'), *rows])
    data = out.getvalue().encode()
    s = read(folder / "t.csv", gzip.compress(data) if packed else data, text=["a"])
    assert s is not None
    assert lists(s) == {"a": [[r[0] for r in rows]], "b,": [[r[1] for r in rows]], 'c"': [[r[2] for r in rows]]}


@given(
    st.dictionaries(st.text("abc", min_size=1), st.lists(st.tuples(st.integers(), FLOAT), min_size=1), min_size=1),
    st.randoms(use_true_random=False),
)
def test_long_table_round_trip(folder, groups, random):
    """However the rows are mixed, each sequence has its own rows in the order of time."""
    groups = {name: [(t % 2**40, x) for t, x in rows] for name, rows in groups.items()}
    rows = [(name, t, x) for name, steps in groups.items() for t, x in dict(steps).items()]
    random.shuffle(rows)
    data = "id,t,x\n" + "".join(f"{name},{t},{x!r}\n" for name, t, x in rows)
    s = read(folder / "t.csv", data.encode(), sequence="id", time="t")
    assert s is not None and s["id"].tolist() == list(dict.fromkeys(r[0] for r in rows))
    for name, x in zip(s["id"], s["x"], strict=True):
        assert x.tolist() == [v for _, v in sorted(dict(groups[name]).items())]


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(st.tuples(st.lists(FLOAT, min_size=width, max_size=width), CELL), min_size=1, max_size=4),
            min_size=1,
        )
    )
)
def test_jsonl_round_trip(folder, sequences):
    objects = [{"x": [x for x, _ in s], "w": [w for _, w in s], "n": len(s)} for s in sequences]
    data = "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)
    s = read(folder / "t.jsonl", data.encode())
    assert s is not None and lists(s) == {key: [o[key] for o in objects] for key in ("x", "w", "n")}


@given(st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), min_size=1, max_size=4))
def test_conll_round_trip(folder, sentences):
    lines = [[f"{i}\t{w}\t_\t{t}\t_\t_\t_\t_\t_\t_" for i, (w, t) in enumerate(s, 1)] for s in sentences]
    universal = "\n\n".join("# c\n" + "\n".join(s) for s in lines)
    expected = [[[w for w, _ in s] for s in sentences], [[t for _, t in s] for s in sentences]]
    s = read(folder / "t.conllu", universal.encode())
    assert s is not None and list(lists(s).values()) == expected
    plain = "\n\n".join("\n".join(f"{w}\t{t}" for w, t in s) for s in sentences) + "\n"
    s = read(folder / "t.conll", plain.encode())
    blank = any(not (w + t).strip(" ") for s in sentences for w, t in s)  # a line of two spaces is an empty line
    assert blank or (s is not None and list(lists(s).values()) == expected)


@given(
    st.integers(1, 3), st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), min_size=1, max_size=5), st.data()
)
def test_ts_round_trip(folder, channels, series, data):
    values = [
        data.draw(st.lists(st.lists(FLOAT, min_size=n, max_size=n), min_size=channels, max_size=channels))
        for n, _ in series
    ]
    text = "@missing false\n@classLabel true a b\n@data\n" + "".join(
        ":".join(",".join(map(repr, channel)) for channel in v) + f":{label}\n"
        for v, (_, label) in zip(values, series, strict=True)
    )
    s = read(folder / "t.ts", text.encode())
    assert s is not None and s["label"].tolist() == [label for _, label in series]
    assert [x.T.tolist() for x in s["value"]] == values


# Any bytes.


@given(st.sampled_from(NAMES), st.binary(max_size=300))
@example("t.npy", b"\x93NUMPY\x01\x00\x08\x00" + b"(" * 8)
@example("t.npz", b"PK\x05\x06" + b"\0" * 18)
def test_any_bytes(folder, name, data):
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    read(folder / name, data)
    read(folder / name, gzip.compress(data))


PIECES = ["a", "b", "1", "2", "-", ".5", "e9", ",", "\t", '"', "\n", "\r\n", ":", "?", "nan", "inf", "{", "}", "[", "]"]
PIECES += [
    '"a":',
    "null",
    "true",
    "@data",
    "@classLabel true a",
    "# ",
    "1-2",
    "1.1",
    "_",
    " ",
    "é",
    "\u2028",
    "\0",
    "\ufeff",
]


@given(
    st.sampled_from(NAMES),
    st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(lambda p: "".join(p).encode()),
    st.sampled_from(["char", "byte", "word"]),
    st.none() | st.sampled_from(["a", "text", ""]),
    st.integers(0, 3),
)
def test_any_file_as_texts(folder, name, data, level, column, skip_bad):
    """The texts are of the level's type, and not longer than the file and its line ends; or the error is one line."""
    path, reported = folder / name, []
    texts = read(path, data, text.read, level=level, column=column, skip_bad=skip_bad, report=reported.append)
    if texts is None:
        return
    assert texts and {type(t) for t in texts} == {bytes if level == "byte" else str}
    assert len(reported) <= skip_bad
    assert all(line.startswith(f"{path}") and line.isprintable() for line in reported)
    assert sum(map(len, texts)) <= (len(data) if column is None else 2 * len(data) + len(texts))


@given(st.sampled_from(NAMES[:8]), st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.integers(0, 3))
def test_any_text(folder, name, text, skip_bad):
    s = read(folder / name, text.encode(), skip_bad=skip_bad)
    assert s is None or (len(s) and len(s.skipped) <= skip_bad)


HEADERS = ["(3,)", "(-1,)", "(9999999999999,)", "(3,3)", "()", "(True,)", "3", "None", "(2**9,)", "(1.0,)", "('a',)"]


@given(
    st.sampled_from(HEADERS),
    st.sampled_from(["<f8", "O", "V8", "<U9999999", "|S3", "<c8", "zz", "<f8,<i4"]),
    st.booleans(),
)
def test_any_array_header(folder, shape, kind, version):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = len(header).to_bytes(4 if version else 2, "little")
    data = b"\x93NUMPY" + (b"\x02\0" if version else b"\x01\0") + size + header + np.arange(3.0).tobytes()
    s = read(folder / "t.npy", data)
    assert (s is not None) == (shape == "(3,)" and kind == "<f8")


# Real files, altered.


def altered(data: bytes, draw) -> bytes:
    """Data with one to three small accidents."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["flip", "cut", "again", "insert", "end", "lines"]))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << size % 8)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + size :]
        elif kind == "again":
            data = data[: at + size] + data[at:]
        elif kind == "insert":
            data = data[:at] + draw(st.sampled_from([p.encode() for p in PIECES] + [b"\xff", b"\xc3"])) + data[at:]
        elif kind == "end":
            data = data[: max(at, 1)]
        else:
            lines = data.split(b"\n")
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(draw(st.integers(0, len(lines) - 1))))
            data = b"\n".join(lines)
    return data


def naive_csv(data: bytes):
    """The columns of a table without quotation marks; cells that are not numbers are text."""
    head, *rows = [line.removesuffix("\r").split(",") for line in data.decode("utf-8-sig").rstrip("\r\n").split("\n")]
    return {name: [[row[j] for row in rows]] for j, name in enumerate(head)}


def naive_conllu(data: bytes):
    lines = [line.removesuffix("\r") for line in data.decode("utf-8-sig").split("\n")]
    sentences: list = [[]]
    for line in lines:
        if not line.strip(" \t"):
            sentences.append([])
        elif re.match("[0-9]+\t", line):
            sentences[-1].append(line.split("\t"))
    return {name: [[w[j] for w in s] for s in sentences if s] for name, j in (("FORM", 1), ("UPOS", 3))}


def naive_conll(data: bytes):
    text = "\n".join(
        line.removesuffix("\r").strip(" \t") and line.removesuffix("\r")
        for line in data.decode("utf-8-sig").split("\n")
    )
    sentences = [[line.split("\t") for line in block.split("\n")] for block in re.split("\n\n+", text.strip("\n"))]
    return {name: [[w[j] for w in s] for s in sentences] for name, j in (("token", 0), ("tag", 1))}


def naive_ts(data: bytes):
    lines = [line.removesuffix("\r") for line in data.decode("utf-8-sig").split("\n")]
    body = lines[[line.strip() for line in lines].index("@data") + 1 :]
    series = [line.split(":") for line in body if line.strip() and line[0] != "#"]
    values = [[list(step) for step in zip(*(c.split(",") for c in s[:-1]), strict=True)] for s in series]
    return {"value": values, "label": [s[-1].strip() for s in series]}


def equal(read_value, naive):
    """Numbers are read as numbers, and text as text."""
    if isinstance(naive, list):
        assert len(read_value) == len(naive)
        for a, b in zip(read_value, naive, strict=True):
            equal(a, b)
    elif isinstance(read_value, str):
        assert read_value == naive
    else:
        assert read_value == (int(naive) if isinstance(read_value, int) else float(Decimal(naive.strip(" \t"))))


FILES = {
    "t.csv": ("timeseries-univariate/monthly-sunspots.csv", naive_csv, 60),
    "t.conllu": ("ud-english-ewt/en_ewt-ud-dev.conllu", naive_conllu, 60),
    "t.conll": ("wnut17-ner/wnut17train.conll", naive_conll, 60),
    "t.ts": ("uea-japanesevowels/JapaneseVowels_TRAIN.ts", naive_ts, 24),
}


@pytest.mark.parametrize("name", FILES)
def test_altered_files_are_refused_or_read_as_they_are(folder, data_folder, name):
    source, naive, lines = FILES[name]
    whole = b"\n".join((data_folder / source).read_bytes().replace(b'"', b"").split(b"\n")[:lines]) + b"\n"
    kept = 0

    @given(st.data())
    def law(data):
        nonlocal kept
        changed = altered(whole, data.draw)
        s = read(folder / name, changed)
        if s is not None and b'"' not in changed:
            kept += 1
            found = lists(s)
            for column, expected in naive(changed).items():
                equal(found[column or "column 1"], expected)

    found = lists(read(folder / name, whole))
    for column, expected in naive(whole).items():
        equal(found[column], expected)
    law()
    assert kept


@pytest.mark.parametrize("name", ["etth1/ETTh1.csv.gz", "m4-hourly/Hourly-train.csv.gz"])
def test_altered_gzip_is_refused_or_the_same(folder, data_folder, name):
    text = gzip.decompress((data_folder / name).read_bytes())[:20_000].rpartition(b"\n")[0] + b"\n"
    packed = gzip.compress(text, mtime=0)
    expected = lists(read(folder / "t.csv", packed))

    @given(st.data())
    def law(data):
        s = read(folder / "t.csv", altered(packed, data.draw))
        assert s is None or lists(s) == expected

    law()


def test_altered_npz_is_refused_or_the_same(folder, data_folder):
    z = np.load(data_folder / "omniglot-strokes/omniglot.npz", allow_pickle=False)
    n = z["valid_lengths"][:20]
    out = io.BytesIO()
    np.savez_compressed(out, p=z["valid_points"][: n.sum()], n=n)
    expected = lists(read(folder / "t.npz", out.getvalue(), lengths="n"))

    @given(st.data())
    def law(data):
        s = read(folder / "t.npz", altered(out.getvalue(), data.draw), lengths="n", columns=["p"])
        assert s is None or lists(s) == expected

    law()


@given(st.sampled_from([1, 2, 3, 4]), st.integers(1, 3), st.binary(min_size=12, max_size=60), st.data())
def test_altered_sound_is_refused_or_within_its_range(folder, width, channels, frames, data):
    """Sound has no checksums; what is left out at the end is seen."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((channels, width, 8000, 0, "NONE", ""))
        sound.writeframes(frames[: len(frames) // (width * channels) * width * channels])
    whole = out.getvalue()
    assert read(folder / "t.wav", whole) is not None
    assert read(folder / "t.wav", whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    s = read(folder / "t.wav", altered(whole, data.draw))
    assert s is None or (len(s["value"].values) and np.abs(s["value"].values).max() <= 1 and s["rate"][0] > 0)


def test_altered_parquet_is_refused_or_of_the_right_size(folder):
    """A Parquet file has no checksums unless its writer added them, so not every altered bit can be detected."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": np.arange(50.0), "s": list("ab" * 25)}), out)

    @given(st.data())
    def law(data):
        s = read(folder / "t.parquet", altered(out.getvalue(), data.draw))
        assert s is None or s.lengths.sum() <= 50 * 1000

    law()


@given(
    st.integers(0, 199),
    st.integers(1, 7),
    st.sampled_from(["", "x", "1,5", "NaN", "inf", "1e400", "0x1", "1_0", "--1", "²"]),
)
def test_a_bad_cell_anywhere_is_named(folder, data_folder, row, column, cell):
    lines = gzip.decompress((data_folder / "etth1/ETTh1.csv.gz").read_bytes())[:40_000].decode().split("\n")[:201]
    fields = lines[row + 1].split(",")
    lines[row + 1] = ",".join([*fields[:column], cell, *fields[column + 1 :]])
    path = folder / "t.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    names = lines[0].split(",")
    place = f"line {row + 2}" + (", column " + f"{column + 1} ({names[column]})" if "," not in cell else "")
    if row == 0 and cell not in ("", "1,5", "1e400"):
        place = f"column '{names[column]}' does not begin with a number"
    with pytest.raises(DataError, match=re.escape(place)):
        readers.read(path)
    if row:
        s = readers.read(path, skip_bad=1)
        assert s.lengths.sum() == 199 and len(s.skipped) == 1


@given(st.integers(0, 10**6))
def test_a_line_lost_inside_a_sentence_is_noticed(folder, data_folder, number):
    lines = (data_folder / "ud-english-ewt/en_ewt-ud-dev.conllu").read_text(encoding="utf-8").split("\n")[:300]
    tokens = [
        i for i, line in enumerate(lines[:-1]) if re.match("[0-9]+\t", line) and re.match("[0-9]+\t", lines[i + 1])
    ]
    del lines[tokens[number % len(tokens)]]
    assert read(folder / "t.conllu", "\n".join(lines).encode()) is None


# Many lines at once, or one by one.

COLUMNS = [
    ["0", "7", "-3", "+12", "00", "123456789012345", "-0"],
    ["1.5", "-.25", "5.", "7", "123456.25", "-0.0", "0.1234567890123456", "1e5", " 2 "],
    ["a", "b c", "walking", "é", "7", "2024-01-01", "-"],
    ['"a"', '"b,c"', '"say ""so"""', "plain", '""', '"1.5"'],
    ["2024-01-01 00:00:00", "2024-01-01T12:30:00", "2023-12-31 23:59:59"],
    ["1", "", "NA", "2.5", "-3"],
    ["1,5", "2", "1.234,5"],
    ["0.84442185152504812", "-1.7976931348623157e-05", "3", "+.5E3", "12345678901234567890e-9"],
    ["9007199254740993", "-9007199254740993", "7"],
]
ODD = ["", " ", "x", "NA", '"a\nb"', '"a"b', 'a"b', '"', "1_0", "٣", ".", "1.2.3", "1e999", "nan", "1,2", "a\rb", "\0"]
ODD += [
    "9007199254740993",
    "9" * 16,
    "9" * 20,
    "2024-02-30",
    "2024-01-01T00:00Z",
    "0000-01-01",
    "\ufeff",
    "\u2028",
    "\r",
]


@st.composite
def drawn_tables(draw):
    """The bytes of a table whose columns are each of one kind, with a few accidents."""
    cells = [st.sampled_from(draw(st.sampled_from(COLUMNS))) for _ in range(draw(st.integers(1, 4)))]
    rows = draw(st.lists(st.tuples(*cells).map(list), min_size=1, max_size=40))
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(ODD))
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    lines = [",".join("abcd"[: len(cells)]), *map(",".join, rows)]
    for _ in range(draw(st.integers(0, 1))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", " ", "1,2", "\t"])))
    data = end.join(lines).encode() + draw(st.sampled_from([b"", b"\n", b"\r\n"]))
    return data.replace(b",", draw(st.sampled_from([b",", b",", b";", b"\t"])))


OPTIONS = st.fixed_dictionaries(
    {"skip_bad": st.integers(0, 3)},
    optional={
        "delimiter": st.sampled_from([",", ";", "\t"]),
        "missing": st.sampled_from([["NA", ""], ["NA"], ["-3"]]),
        "decimal": st.just(","),
        "thousands": st.just("'"),
        "columns": st.sampled_from([["a"], ["b"]]),
        "text": st.just(["a"]),
        "numbers": st.just(["b"]),
        "header": st.booleans(),
        "names": st.sampled_from([["a"], ["a", "b"]]),
    },
)
SHAPES = [{}, {}, {"sequence": "a"}, {"time": "b"}, {"time": "a", "sequence": "b"}, {"wide": True}]
SHAPES += [{"wide": True, "steps": ["a", "b"], "columns": []}, {"wide": True, "steps": ["b"]}, {"time": "a"}]


def outcome(path, **options):
    """What is read, to the bit, or the complaint."""
    try:
        s = readers.read(path, **options)
    except UnspoolError as error:
        return str(error)
    kinds = {name: c.values.dtype if isinstance(c, Ragged) else c.dtype for name, c in s.columns.items()}
    return repr((lists(s), kinds, s.places.lines.tolist(), s.skipped))


@settings(max_examples=300)
@given(drawn_tables(), OPTIONS, st.sampled_from(SHAPES), st.sampled_from([4, 12, 2**14]))
def test_a_table_is_the_same_if_each_line_is_read_with_care(folder, data, options, shape, cells):
    path = folder / "t.csv"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_CELLS", cells)
        quick = outcome(path, **options | shape)
        patch.setattr(tables, "split", lambda *_: None)
        assert quick == outcome(path, **options | shape)


DIGITS = st.text("0123456789", max_size=22)
WRITTEN = st.builds(
    "".join,
    st.tuples(st.sampled_from(["", "", "-", "+", "+-", " "]), DIGITS, st.sampled_from(["", ".", ".", ","]), DIGITS)
    | st.tuples(DIGITS, st.sampled_from(["e", "E+", "e-", "e", ""]), st.text("0123456789", max_size=3)),
) | FLOAT.map(repr)


@settings(max_examples=300)
@given(st.lists(WRITTEN, min_size=1, max_size=4), st.sampled_from(".,"))
@example(["9007199254740992"], ".")
@example(["9007199254740992", "1.5"], ".")
@example(["-0", "1.5"], ".")
@example(["8" * 500, "1.5"], ".")
@example(["4.9e-324", "2.2250738585072011e-308", "0e99999"], ".")
@example(["1e22", "1e23", "123456789012345678901234567890e-20"], ".")
def test_numbers_of_the_core_are_those_of_python(cells, point):
    """Equal to the bit, or left to Python; ordinary ones are not left to it."""
    table = split("".join(f"{c};x\n" for c in cells).encode(), ";", 2)
    assert table is not None
    found = table.numbers(0, point)
    plain = [c.replace(point, ".") for c in cells]
    good = all(c.isascii() and fields.Notation(point).pattern.fullmatch(c) for c in cells)
    if found is not None:
        assert good and repr(found.tolist()) == repr([*map(int if found.dtype == np.int64 else float, plain)])
    elif good and " " not in "".join(cells):
        values = [float(c) for c in plain]
        assert any(abs(v) >= 2**53 or abs(v) < 1e-300 for v in values)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["a", "b", "é", ";", '"', '""', "\n", " ", "a;", '";"', ""]), max_size=20),
    st.integers(1, 3),
)
def test_cells_of_the_core_are_those_of_csv(pieces, width):
    """All of them, or none; a newline in quotation marks is left to csv."""
    data = "".join(pieces) + "\n"
    table = split(data.encode(), ";", width)
    try:
        rows = list(csv.reader(io.StringIO(data, newline=""), delimiter=";", strict=True))
    except csv.Error:
        rows = [[]]
    if table is not None:
        assert [*zip(*map(table.column, range(width)), strict=True)] == [*map(tuple, rows)]
    elif {*map(len, rows)} == {width} and '"' not in data:
        assert width == 1 and any(not row[0] or row[0][0] == " " for row in rows)


def test_the_core_refuses_what_it_was_not_given():
    table = _native.split(b"1;2\n", ";", True, 2, 100)
    assert table is not None and table.numbers(1, ".") is not None
    for ask in (lambda: table.numbers(2, "."), lambda: table.texts(2), lambda: table.steps([0, 2], ".")):
        with pytest.raises(IndexError, match="the table has no such column"):
            ask()
    for lines, width in [(b"", 1), (b"1;2", 2), (b"1;2\n3", 2), (b"1;2\n", 0), (b'"', 1), (b'"a""', 1), (b'"a"', 1)]:
        assert _native.split(lines, ";", True, width, 100) is None
    assert _native.split(b"abc\n", ";", True, 1, 4) is not None and _native.split(b"abc\n", ";", True, 1, 3) is None


def test_equal_texts_are_one_object(folder):
    (folder / "t.csv").write_text("a,b\n" + "".join(f"é{i % 7},n{i}\n" for i in range(20_000)), encoding="utf-8")
    s = readers.read(folder / "t.csv")
    assert len({*map(id, s["a"].values)}) == 7
    assert lists(s) == {"a": [[f"é{i % 7}" for i in range(20_000)]], "b": [[f"n{i}" for i in range(20_000)]]}


FIELDS = [
    ["1", "-2", "0"],
    ["1.5", "2", "-0.0", "1e300"],
    ["[1, 2]", "[3]", "[0]"],
    ["[1.5]", "[2, 3]", "[null, 1]"],
    ["[[1, 2]]", "[[3, 4], [5, 6.5]]"],
    ['"a"', '"é"', '"\\u00e9"', '""'],
    ['["a", "b"]', '["c"]'],
    ["true", "false"],
    ["[true]", "[false, true]"],
    ["null", "1"],
]
ODD_VALUES = ["NaN", "1e999", "9007199254740993", "9007199254740992", "9" * 30, "null", "[]", "[[]]", "[[1], 2]"]
ODD_VALUES += ['"\\ud800"', "{}", '{"k": 1, "k": 2}', "[NaN]", "[1e999]", "[9007199254740993, 1.5]", "x", "[1", "1.5"]
ODD_VALUES += ["[[1, 2], [3]]", '1, "a": 2', '["\\udc00"]', "[true, 1]", "[null]", "true", '"\0"', "1e5", "[2.0]"]


@st.composite
def drawn_objects(draw):
    """The bytes of a file of objects whose fields are each of one kind, with a few accidents."""
    fields = {name: draw(st.sampled_from(FIELDS)) for name in "abc"[: draw(st.integers(1, 3))]}
    values = st.tuples(*map(st.sampled_from, fields.values())).map(list)
    rows = draw(st.lists(values, min_size=1, max_size=12))
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(ODD_VALUES))
    lines = [
        "{" + ", ".join(f'"{name}": {value}' for name, value in zip(fields, row, strict=True)) + "}" for row in rows
    ]
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", " ", "{}", "[1]", "3", "\xff", "{"])))
    return (
        draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode(draw(st.sampled_from(["utf-8", "utf-8", "latin-1"])))
    )


@settings(max_examples=300)
@given(
    drawn_objects(),
    st.none() | st.sampled_from([["a"], ["b", "a"], []]),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([40, 2**16]),
)
def test_objects_are_the_same_if_each_line_is_read_with_care(folder, data, columns, missing, skip_bad, block):
    path = folder / "t.jsonl"
    path.write_bytes(data)
    options = {"columns": columns, "missing": missing, "skip_bad": skip_bad}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_BLOCK", block)
        quick = outcome(path, **options)
        patch.setattr(jsonl._Objects, "add_all", lambda *_: False)
        assert quick == outcome(path, **options)


# Memory.

N = 20_000
SOUND = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
GREEDY = {
    "t.wav": [SOUND + b"data" + N.to_bytes(4, "little") + bytes(N), SOUND + b"LIST\0\0\0\0" * N],
    "t.csv": [
        b"x\n" + b"1\n" * N,
        b"x\n" + b"".join(b"%x\n" % i for i in range(N)),
        b"x\n" + b'"' + b"a\n" * N,
        b"," * N,
        b"\n" * N,
        b"x\n" + b"1," * N,
        b"a" * 10 * N,
    ],
    "t.tsv": [b"a\tb\n" + b"1\t2\n" * N, b"\t" * N],
    "t.jsonl": [
        b'{"x":[1]}\n' * N,
        b'{"x":[' + b"1," * N + b"1]}",
        b'{"x":[' + b"[1]," * N + b"[1]]}",
        b'{"x":[' + b"{}," * N + b"{}]}",
        b"{" + b",".join(b'"%x":1' % i for i in range(N)) + b"}",
        b"[" * N,
        b'{"x":' + b"9" * N + b"}",
    ],
    "t.conllu": [b"1" + b"\t_" * 9 + b"\n\n" * N, b"#\n" * N, b"1\t" * N],
    "t.conll": [b"a b\n\n" * N, b"a " * N, b"".join(b"%x b\n" % i for i in range(N))],
    "t.ts": [
        b"@classLabel true a\n@data\n" + b"1:a\n" * (N // 4),
        b"@data\n" + b"1," * N,
        b"@data\n" + b"1:" * N + b"1",
    ],
    "t.txt": [b"\n" * N, b"".join(b"%x\n" % i for i in range(N))],
}


def test_channels_take_no_more_than_their_numbers(folder):
    data = b"@data\n" + b"1:" * 100_000 + b"1\n"
    assert peak(folder / "t.ts", data) < 40 * len(data) + BESIDE
    assert readers.read(folder / "t.ts")["value"].values.shape == (1, 100_001)


def peak(path: Path, data: bytes, **options) -> int:
    """The peak of memory in bytes, beyond what was in use before."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        read(path, data, **options)
        return tracemalloc.get_traced_memory()[1] - before - len(data)
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_machine(monkeypatch):
    """A machine of 64 MiB, where a file may unpack to 1 MiB, or 200 times its size."""
    monkeypatch.setattr(opening, "memory", lambda: 2**26)


def parquet_of(column, **options) -> bytes:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": column}), out, **options)
    return out.getvalue()


def test_parquet_bombs_are_not_unpacked(folder, small_machine):
    """Sizes are known before anything of that size is made."""
    pyarrow = pytest.importorskip("pyarrow")
    growing = ["a" * 2**16 + str(i) for i in range(64)]
    zeros = pyarrow.array(np.zeros(2**20))
    bombs = [
        parquet_of(zeros),
        parquet_of(pyarrow.ListArray.from_arrays(pyarrow.array([0, 2**20], pyarrow.int32()), zeros)),
        parquet_of(pyarrow.FixedSizeListArray.from_arrays(zeros, 2**19)),
        parquet_of(pyarrow.array([b"\0" * 2**10] * 2**12, pyarrow.binary(2**10))),
        parquet_of(growing, compression="zstd", use_dictionary=False),
        parquet_of([growing], compression="zstd"),
        parquet_of(growing, compression="zstd", use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"),
    ]
    for data in bombs:
        assert len(data) < 2**13
        before = pyarrow.default_memory_pool().bytes_allocated()
        (folder / "t.parquet").write_bytes(data)
        with pytest.raises(DataError, match="unpacks to more than 200 times its size; if that is right"):
            readers.read(folder / "t.parquet")
        assert pyarrow.default_memory_pool().bytes_allocated() - before < BESIDE


def test_parquet_whose_metadata_are_damaged(folder):
    """With another kind of repetition, the histogram of a column has a level too many, and pyarrow ends the process."""
    data = parquet_of(["a", "b"])
    for at in range(len(data) // 2, len(data)):
        read(folder / "t.parquet", data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        read(folder / "t.parquet", data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :])


def test_a_text_of_a_dictionary_is_kept_once(folder):
    """A text of 100 KB with 2,000 rows takes 100 KB, and is not written 2,000 times where it is asked for as a text."""
    pytest.importorskip("pyarrow")
    for column in (["a" * 10**5] * 2000, [["a" * 10**5] * 2000]):
        data = parquet_of(column, compression="zstd")
        assert read(folder / "t.parquet", data) is not None, "which imports what is not to be counted"
        assert len(data) < 2**12 and peak(folder / "t.parquet", data) < 2**21
    s = readers.read(folder / "t.parquet")
    assert s.lengths.tolist() == [2000] and len(set(map(id, s["x"].values))) == 1


def test_a_column_of_texts_is_no_bomb_either(folder, small_machine):
    pytest.importorskip("pyarrow")
    (folder / "t.parquet").write_bytes(parquet_of(["a" * 2**18] * 100, compression="zstd"))
    with pytest.raises(DataError, match="unpacks to more than 200 times its size; if that is right, write it as text"):
        text.read(folder / "t.parquet", column="x")


def test_what_fits_the_machine_is_unpacked_whatever_its_ratio(folder):
    """Zeros are packed to a thousandth, and no attack."""
    (folder / "t.csv").write_bytes(gzip.compress(b"x\n" + b"0.00000000\n" * 2**18))
    assert readers.read(folder / "t.csv").lengths.tolist() == [2**18]
    out = io.BytesIO()
    np.savez_compressed(out, x=np.zeros(2**20))
    assert read(folder / "t.npz", out.getvalue()) is not None
    assert read(folder / "t.parquet", parquet_of(np.zeros(2**20))) is not None
    assert 2**26 <= opening.memory() < 2**50


@pytest.mark.parametrize(("name", "number"), [(name, i) for name in GREEDY for i in range(len(GREEDY[name]))])
def test_memory_is_a_fixed_multiple_of_the_file(folder, small_machine, name, number):
    data = GREEDY[name][number]
    assert peak(folder / name, data) < MEMORY * len(data) + BESIDE


def test_bombs_are_not_unpacked(folder, small_machine):
    """32 MiB in 32 KiB are refused after 200 times the size of the file."""
    text = b"a" * 2**20
    for name, line in [("t.txt", text + b"\n"), ("t.jsonl", b'{"x": "' + text + b'"}\n')]:
        packer = zlib.compressobj(wbits=31)
        data = b"".join(packer.compress(line) for _ in range(32)) + packer.flush()
        assert 200 * len(data) < 2**23
        assert peak(folder / name, data) < 2**25
        with pytest.raises(
            DataError, match="unpacks to more than 200 times its size; if that is right, unpack it first"
        ):
            readers.read(folder / name)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**23,)})
        for _ in range(64):
            member.write(b"\0" * 2**20)
    assert peak(folder / "t.npz", out.getvalue()) < BESIDE
    with pytest.raises(DataError, match=r"unpacks to more than 200 times its size; if that is right, save it as \.npy"):
        readers.read(folder / "t.npz")


def test_mapped_arrays_stay_in_their_file(folder):
    out = io.BytesIO()
    np.save(out, np.zeros((2**20, 4)))
    assert peak(folder / "t.npy", out.getvalue()) < BESIDE


def test_parquet_of_more_rows_than_it_justifies(folder, small_machine):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": np.zeros(2**22)}), out)
    assert read(folder / "t.parquet", out.getvalue()) is None
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        readers.read(folder / "t.parquet")
