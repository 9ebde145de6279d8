"""Tagged sentences: CoNLL-U, and the CoNLL formats with one token per line and an empty line after each sentence."""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from ...errors import UnspoolError, shown
from ..sequences import Places, Sequences
from .growing import Growing
from .source import Complaints, blank, lines

UNIVERSAL = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_GLOBAL = re.compile(r"#[ \t]*global\.columns[ \t]*=(.*)")
_WORD = re.compile(r"[1-9][0-9]*")
_RANGE = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)")
_EMPTY = re.compile(r"([0-9]+)\.([1-9][0-9]*)")

Line = tuple[int, list[str]]


def read_conllu(path: str | Path, *, columns: Sequence[str] = ("FORM", "UPOS"), skip_bad: int = 0) -> Sequences:
    """The sentences of a CoNLL-U or CoNLL-U Plus file, compressed or not; each column has one text per word.

    Words are the lines with a plain number. Multi-word tokens (`3-4`) and empty nodes (`8.1`) are checked and left out;
    comments are left out. In CoNLL-U Plus the first line is `# global.columns =` and the names of the columns; without
    an ID among them each line is a word.

    Args:
        path: the file.
        columns: some of ID, FORM, LEMMA, UPOS, XPOS, FEATS, HEAD, DEPREL, DEPS and MISC, or of the names in the file.
        skip_bad: the number of bad lines to skip, at most, each with its sentence; they are listed in `skipped`.
    Raises:
        DataError: the file cannot be read, or has no such column; or a line has another number of fields than columns,
            has an empty one, or has not the next number.

    https://universaldependencies.org/format.html, https://universaldependencies.org/ext-format.html
    """
    complaints = Complaints(path, skip_bad)
    source = lines(path, complaints)
    first = next(source, (1, ""))
    found = _GLOBAL.fullmatch(first[1])
    there = tuple(found[1].split()) if found else UNIVERSAL
    for column in columns:
        if there.count(column) != 1:
            what = f"columns must be among {', '.join(there):.400}, each of which is there once; got {shown(column)}"
            raise complaints.refuse(first[0] if found else None, None, what)
    if not columns:
        raise UnspoolError("columns must name at least one column; got none")
    sentences = _universal(_blocks(chain([first], source), complaints), complaints, there)
    return _read(complaints, sentences, {c: there.index(c) for c in columns})


def read_conll(
    path: str | Path,
    *,
    columns: Mapping[str, int] = MappingProxyType({"token": 1, "tag": -1}),
    separator: str | None = None,
    comments: bool = False,
    skip_bad: int = 0,
) -> Sequences:
    """The sentences of a file with one token per line and an empty line after each sentence; compressed or not.

    Args:
        path: the file.
        columns: the names, and the field of each, from 1; -1 is the last.
        separator: a tab, or a space, which stands for any number of spaces and tabs; None: a tab if the first line has
            one, else a space.
        comments: whether lines that begin with # are comments; else they are tokens, such as hashtags.
        skip_bad: the number of bad lines to skip, at most, each with its sentence; they are listed in `skipped`.
    Raises:
        DataError: the file cannot be read; or a line has another number of fields than the first, or an empty one.
    """
    if not columns or any(type(c) is not int or c == 0 for c in columns.values()):
        raise UnspoolError(f"columns must map names to field numbers, from 1 up or from -1 down; got {shown(columns)}")
    if separator not in (None, "\t", " "):
        raise UnspoolError(f"separator must be a tab or a space; got {shown(separator)}")
    complaints = Complaints(path, skip_bad)
    places = {name: c - 1 if c > 0 else c for name, c in columns.items()}
    return _read(complaints, _plain(path, complaints, separator, comments, places), places)


def _read(complaints: Complaints, sentences: Iterator[list[Line]], places: Mapping[str, int]) -> Sequences:
    columns = {name: Growing() for name in places}
    first, lengths = array("q"), array("q")
    for sentence in sentences:
        first.append(sentence[0][0])
        lengths.append(len(sentence))
        for name, place in places.items():
            columns[name].add([fields[place] for _, fields in sentence])
    if not lengths:
        raise complaints.refuse(None, None, "expected at least one sentence that can be used; got none")
    ragged = {name: column.ragged(lengths) for name, column in columns.items()}
    return Sequences(ragged, Places.of(complaints.name, first), tuple(complaints.skipped))


def _blocks(source: Iterable[tuple[int, str]], complaints: Complaints) -> Iterator[list[tuple[int, str]]]:
    """The lines between empty lines, without the blocks in which a line could not be read as text."""
    block: list[tuple[int, str]] = []
    skipped = 0
    for number, line in source:
        if not blank(line):
            block.append((number, line))
            continue
        if block and len(complaints.skipped) == skipped:
            yield block
        block, skipped = [], len(complaints.skipped)
    if block and len(complaints.skipped) == skipped:
        yield block


def _universal(
    blocks: Iterable[list[tuple[int, str]]], complaints: Complaints, names: Sequence[str]
) -> Iterator[list[Line]]:
    at = names.index("ID") if "ID" in names else None
    for block in blocks:
        words: list[Line] = []
        ok = True
        for number, line in block:
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) != len(names) or not all(fields):
                have = f"{len(fields)}" if len(fields) != len(names) else "an empty one"
                complaints.bad(number, None, f"expected {len(names)} fields with tabs between them; got {have}")
                ok = False
                break
            what = None if at is None else _wrong_number(fields[at], len(words))
            if what:
                complaints.bad(number, f"{(at or 0) + 1} (ID)", what)
                ok = False
                break
            if at is None or _WORD.fullmatch(fields[at]):
                words.append((number, fields))
        if ok and words:
            yield words


def _wrong_number(number: str, words: int) -> str | None:
    """What is wrong with the number of a line after this many words, or None."""
    span, empty = _RANGE.fullmatch(number), _EMPTY.fullmatch(number)
    if _WORD.fullmatch(number):
        right = number == str(words + 1)
    elif span:
        right = span[1] == str(words + 1) and (len(span[2]), span[2]) >= (len(span[1]), span[1])
    else:
        right = empty is not None and empty[1] == str(words)
    if right:
        return None
    return f"expected {words + 1}, a range from {words + 1}, or {words}.1; got {shown(number)}"


def _plain(
    path: str | Path, complaints: Complaints, separator: str | None, comments: bool, places: Mapping[str, int]
) -> Iterator[list[Line]]:
    width = 0
    needed = max(p + 1 if p >= 0 else -p for p in places.values())
    for block in _blocks(lines(path, complaints), complaints):
        sentence: list[Line] = []
        ok = True
        for number, line in block:
            if comments and line.startswith("#"):
                continue
            separator = separator or ("\t" if "\t" in line else " ")
            fields = line.split("\t") if separator == "\t" else re.split("[ \t]+", line.strip(" \t"))
            if not width and len(fields) < needed:
                raise complaints.refuse(number, None, f"expected at least {needed} fields; got {len(fields)}")
            if not width and len({p % len(fields) for p in places.values()}) < len(places):
                raise complaints.refuse(number, None, f"expected a field for each column; got {len(fields)} fields")
            width = width or len(fields)
            if len(fields) != width or not all(fields):
                have = str(len(fields)) if len(fields) != width else "an empty one"
                complaints.bad(number, None, f"expected {width} fields, as in the first line; got {have}")
                ok = False
                break
            sentence.append((number, fields))
        if ok and sentence:
            yield sentence
