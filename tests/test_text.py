"""Reading, splitting and numbering texts, and cutting them into batches."""

import gzip
import hashlib
import io
import itertools
import os
import re
import sysconfig
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import DataError
from unspool.data import pieces, text, vocabulary
from unspool.data.batches import NO_TARGET, Chunks


def test_file_is_read_as_it_is(tmp_path):
    file = tmp_path / "t.txt"
    file.write_bytes("\ufeffnaïve\r\ncafé\n".encode())
    assert text.read(file) == ["naïve\r\ncafé\n"]
    assert text.read(file, "byte") == [file.read_bytes()]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_column_of_a_table(tmp_path, name):
    texts, file = ["to be", "or, not\n", "11"], tmp_path / name
    frame = pandas.DataFrame({"n": [1, 2, 3], "words": texts, "b": [True, False, True]})
    match name.split(".")[1]:
        case "csv":
            frame.to_csv(file, index=False)
        case "tsv":
            texts[1] = "or, not"
            frame.assign(words=texts).to_csv(file, index=False, sep="\t")
        case "jsonl":
            frame.to_json(file, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(file)
    assert text.read(file, column="words") == ["to be\n", "or, not\n", "11\n"]
    assert text.read(file, "byte", column="words") == [b"to be\n", b"or, not\n", b"11\n"]
    with pytest.raises(DataError, match=f"^{file}.*absent"):
        text.read(file, column="absent")
    assert text.read(file.rename(tmp_path / name.upper()), column="words") == ["to be\n", "or, not\n", "11\n"]
    file = tmp_path / name.upper()
    if name in ("t.jsonl", "t.parquet"):
        with pytest.raises(DataError, match="column 'n' must have a text in each row"):
            text.read(file, column="n")


def test_bad_rows_of_a_parquet_file(tmp_path):
    file, reported = tmp_path / "t.parquet", []
    pandas.DataFrame({"words": ["to be", None, "or not"]}).to_parquet(file)
    with pytest.raises(DataError, match="row 2, column 'words': expected a value; got none"):
        text.read(file, column="words")
    assert text.read(file, column="words", skip_bad=1, report=reported.append) == ["to be\n", "or not\n"]
    assert reported == [f"{file}, row 2, column 'words': expected a value; got none"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty"),
        (b"one\ntwo\n123\xff", "line 3, column 4: byte 0xff is not UTF-8; .* level 'byte'"),
        (b"one\nt\0wo", "line 2, column 2: a NUL byte is not text; .* level 'byte'"),
    ],
)
def test_file_that_is_no_text(tmp_path, data, complaint):
    file = tmp_path / "t.txt"
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"^{file}.*{complaint}"):
        text.read(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_text_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"to be\n",))
    writer.start()
    assert text.read(tmp_path / "pipe") == ["to be\n"]
    writer.join()


def test_text_may_come_from_standard_input(monkeypatch):
    for data in (b"to be\n", gzip.compress(b"to be\n")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert text.read("-") == ["to be\n"]
    with pytest.raises(DataError, match="-: the file is empty"):
        text.read("-")


def test_tables_of_texts_with_other_delimiters(tmp_path):
    for name, delimiter in (("t.csv", ";"), ("t.csv", "\t"), ("t.csv", "\\t"), ("t.tsv", ",")):
        (tmp_path / name).write_text("id;words\n1;to be\n2;or not\n".replace(";", delimiter.replace("\\t", "\t")))
        assert text.read(tmp_path / name, column="words", delimiter=delimiter) == ["to be\n", "or not\n"]
        with pytest.raises(DataError, match="there are 2 fields with delimiter="):
            text.read(tmp_path / name, column="words")
    with pytest.raises(DataError, match="delimiter is for a table; name the column"):
        text.read(tmp_path / "t.csv", delimiter=";")
    with pytest.raises(DataError, match="delimiter is for CSV and TSV tables; leave it out"):
        text.read(tmp_path / "t.jsonl", column="words", delimiter=";")


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"no\.txt: no such file; give a text file, or python-stdlib"):
        text.read(tmp_path / "no.txt")
    with pytest.raises(DataError, match="cannot be read"):
        text.read(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        text.read("a\0b")
    with pytest.raises(DataError, match="no line is bad; leave it out"):
        text.read(__file__, "byte", skip_bad=1)
    if os.path.exists("/dev/zero"):
        with pytest.raises(DataError, match="is not an ordinary file"):
            text.read("/dev/zero")


def test_standard_library_is_shuffled_alike_and_holds_no_tests():
    sources = text.read("python-stdlib")
    assert sources == text.standard_library()
    root = Path(sysconfig.get_path("stdlib"))
    dataclasses = (root / "dataclasses.py").read_text(encoding="utf-8").rstrip() + "\n\n"
    assert dataclasses in sources
    names = ["argparse.py", "dataclasses.py", "json/decoder.py", "textwrap.py"]
    places = [sources.index((root / n).read_text(encoding="utf-8").rstrip() + "\n\n") for n in names]
    assert np.argsort(places).tolist() == np.argsort([hashlib.sha256(n.encode()).hexdigest() for n in names]).tolist()
    tests = [p.read_text(encoding="utf-8").rstrip() + "\n\n" for p in (root / "test").glob("test_a*.py")]
    assert not set(tests) & set(sources)


def test_split_of_one_text_is_contiguous():
    assert text.split(["0123456789"], 0.3) == ("0123456", "789")
    assert text.split([b"0123456789"], 0.01) == (b"01234567", b"89")


def test_split_keeps_files_whole():
    parts = ["a" * 50, "b" * 30, "c" * 5, "d" * 15]
    assert text.split(parts, 0.2) == ("a" * 50 + "b" * 30, "c" * 5 + "d" * 15)
    assert text.split(parts, 0.99) == ("a" * 50, "b" * 30 + "c" * 5 + "d" * 15)


def test_digest_sees_borders():
    assert text.digest(["ab", "c"]) != text.digest(["a", "bc"])
    assert text.digest(["é"]) == text.digest(["é".encode()])


@given(st.text(max_size=200))
def test_known_text_survives_numbering(known):
    for level in vocabulary.LEVELS:
        v = vocabulary.from_text(known + " " + known, level)  # a word must occur twice
        numbers = v.encode(known)
        if v.unknown is None or (numbers != 0).all():
            assert b"".join(v.piece(i) for i in numbers) == known.encode("utf-8", "replace")


def test_characters_in_order_of_code_and_unknown():
    v = vocabulary.from_text("hello", "char")
    assert v.tokens == ("", "e", "h", "l", "o")
    assert v.encode("hölle😀").tolist() == [2, 0, 3, 3, 1, 0]


def test_vocabulary_size_keeps_the_most_frequent():
    assert vocabulary.from_text("abbccc", "char", 2).tokens == ("", "b", "c")
    assert vocabulary.from_text("x y y z z z", "word", 2).tokens == ("", " z", " y")


def test_words_come_with_their_space_and_once_is_never():
    v = vocabulary.from_text("to be, or not to be,\n    to be", "word")
    assert v.tokens == ("", " be", ",", " to")
    assert [v.tokens[i] for i in v.encode(" to be, that")] == [" to", " be", ",", ""]


def made_one_by_one(text, characters, size):
    """Byte-pair encoding as its paper has it: all is counted again for each piece."""
    words = [[c if c in characters else "" for c in word] for word in pieces.WORD.findall(text)]
    made = list(characters)
    while len(made) < size:
        counts = Counter(a + b for word in words for a, b in itertools.pairwise(word) if a and b)
        if not counts or max(counts.values()) < 2:
            break
        piece = min(counts, key=lambda p: (-counts[p], p))
        made += [piece] if piece not in made else []
        for word in words:
            k = 0
            while k + 1 < len(word):
                if word[k] and word[k + 1] and word[k] + word[k + 1] == piece:
                    word[k : k + 2] = [piece]
                k += 1
    return made


@given(st.text("ab c", max_size=120), st.integers(2, 20))
def test_pieces_are_those_that_occur_most_often(known, size):
    characters = sorted(set(known) - {"c"})
    assert pieces.learn(known, characters, size) == made_one_by_one(known, characters, size)


def test_a_text_is_cut_in_the_order_in_which_pieces_were_made():
    v = vocabulary.from_text("low low low lower lower newest newest newest newest", "piece", 20)
    assert v.tokens[10:] == ("we", "lo", " lo", " n", " ne", " newe", " newes", " newest", " low", " lowe", " lower")
    assert [v.tokens[i] for i in v.encode("lowest newer?")] == ["lo", "we", "s", "t", " newe", "r", ""]
    assert v.units(v.encode("lowest newer?")) == 13


def test_half_of_the_pieces_are_characters_at_most():
    v = vocabulary.from_text("".join(map(chr, range(0x4E00, 0x5000))) * 2 + " the the", "piece", 200)
    assert sum(len(token) == 1 for token in v.tokens) == 100 < len(v) - 1 <= 200
    assert len(vocabulary.from_text("ab" * 600 + " ba", "piece").tokens) < vocabulary.SIZES["piece"]


def test_a_word_without_an_end_takes_no_more_time_than_words():
    for long in ("a" * 2_000_000, "\n" * 2_000_000, "ab" * 1_000_000, "." * 2_000_000):
        v = vocabulary.from_text(long, "piece")
        assert v.units(v.encode(long)) == len(long)


def test_bytes_are_all_known():
    v = vocabulary.from_text(b"x", "byte")
    assert len(v) == 256 and v.unknown is None
    assert v.encode("é").tolist() == [0xC3, 0xA9]


def test_bytes_are_no_characters():
    with pytest.raises(DataError, match="text must be a str at level 'char'; got bytes"):
        vocabulary.from_text(b"x", "char")
    with pytest.raises(DataError, match="text must be a str at level 'word'; got bytes"):
        vocabulary.Vocabulary("word", ("",)).encode(b"x")


@pytest.mark.parametrize("level", vocabulary.LEVELS)
def test_vocabulary_through_json(level):
    v = vocabulary.from_text("é 😀\n é", level)
    assert vocabulary.from_json(v.to_json()) == v


@pytest.mark.parametrize(
    "json",
    [
        "",
        "[1]",
        "[" * 100_000,
        '{"level": "char"}',
        '{"level": "line", "tokens": [""]}',
        '{"level": "char", "tokens": "abc"}',
        '{"level": "char", "tokens": ["", 1]}',
        '{"level": "char", "tokens": ["a"]}',
        '{"level": "char", "tokens": ["", "a", "a"]}',
        '{"level": "char", "tokens": ["", "ab"]}',
        '{"level": "byte", "tokens": ["a"]}',
        '{"level": [], "tokens": []}',
    ],
)
def test_json_that_is_no_vocabulary(json):
    with pytest.raises(DataError):
        vocabulary.from_json(json)


@given(st.integers(2, 300), st.integers(1, 12), st.integers(1, 12))
def test_chunks_have_every_target_once_after_its_input(N, rows, length):
    tokens = np.arange(100, 100 + N)
    chunks = Chunks(tokens, rows, length)
    batches = list(chunks)
    assert len(batches) == len(chunks)
    assert [b.fresh for b in batches] == [True] + [False] * (len(batches) - 1)
    assert all(b.inputs.shape == b.targets.shape and len(b.inputs) <= length for b in batches)
    inputs = np.concatenate([b.inputs for b in batches])
    targets = np.concatenate([b.targets for b in batches])
    there = targets != NO_TARGET
    assert sorted(targets[there]) == list(range(101, 100 + N))
    assert (targets[there] == inputs[there] + 1).all()
    assert there[:, 0].all()
    assert inputs.shape[1] <= rows
    # The text goes on from each row of a column to the next.
    assert (np.diff(inputs, axis=0)[there[1:]] == 1).all()


@pytest.mark.parametrize("level", vocabulary.LEVELS)
@given(text=st.text(st.characters(exclude_categories=[]) | st.sampled_from("\ud800\udc80\udcff\udfff"), min_size=1))
def test_what_a_vocabulary_takes_it_can_save(level, text):
    """Half of a pair of surrogates is in no file in UTF-8: it is refused before anything is trained."""
    wrong = "[\ud800-\udfff]" if level != "byte" else "[\ud800-\udc7f\udd00-\udfff]"  # a byte may be half a pair
    if re.search(wrong, text):
        with pytest.raises(DataError, match=r"half of a pair of surrogates.* level 'byte'"):
            vocabulary.from_text(text, level).encode(text)
        return
    v = vocabulary.from_text(text, level)
    numbers = v.encode(text)
    again = vocabulary.from_json(v.to_json().encode())
    assert again == v and again.encode(text).tolist() == numbers.tolist()


def test_bytes_that_are_no_utf_8_are_learnt_as_they_are():
    text = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert bytes(vocabulary.from_text(text, "byte").encode(text).tolist()) == b"caf\xe9"
    with pytest.raises(DataError, match=r"character 4 of the text, '\\udce9', is half of a pair of surrogates"):
        vocabulary.from_text(text, "word")


@pytest.mark.parametrize("token", ["\\ud800", "\\udc80"])
def test_a_vocabulary_with_half_a_character_is_none(token):
    with pytest.raises(DataError, match="no vocabulary of level"):
        vocabulary.from_json(f'{{"level": "char", "tokens": ["", "{token}"]}}')
