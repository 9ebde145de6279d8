"""How each set is read: from its files, by name, to the training, validation and test part, each (X, y) or None."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..readers.conll import read_conll, read_conllu
from ..readers.plain import read_lines
from ..readers.sound import read_wav
from ..readers.source import Excerpt, whole
from ..readers.tables import read_csv
from ..readers.ts import read_ts
from ..sequences import Sequences
from .moving import moving_digits
from .where import RECORDING, recordings

RATES = {"free-spoken-digits": 8000}  # of sounds, in samples a second
Files = Mapping[str, Path]
Pair = tuple[Any, Any]
Parts = tuple[Pair, Pair | None, Pair | None]

BUILT_IN = Path(__file__).parent / "built_in"


def promoters(_: Files) -> Parts:
    """Texts of the bases a, c, g and t; + or -."""
    of, sequences = _columns(BUILT_IN / "promoters.csv.xz")
    return _shuffled(sequences, np.array(of)), None, None


def motions(_: Files) -> Parts:
    """(n, 100, 6)"""
    train, test = (_series(read_ts(BUILT_IN / f"BasicMotions_{part}.ts.xz")) for part in ("TRAIN", "TEST"))
    return (np.stack(train[0]), train[1]), None, (np.stack(test[0]), test[1])


def names(_: Files) -> Parts:
    """Texts and nationalities: eight tenths of the distinct names, one, and one."""
    of, text = map(np.array, zip(*_groups(BUILT_IN / "names.txt.xz"), strict=True))
    distinct, which = np.unique(text, return_inverse=True)
    draw = np.random.default_rng(0)
    tenth = draw.permutation(len(distinct))[which] * 10 // len(distinct)
    order = draw.permutation(len(text))
    bounds = ((0, 8), (8, 9), (9, 10))
    parts = (order[(tenth[order] >= first) & (tenth[order] < end)] for first, end in bounds)
    train, validation, test = ((text[part].tolist(), of[part]) for part in parts)
    return train, validation, test


def traffic(_: Files) -> Parts:
    """A table by its columns: the hours, the vehicles in each, and the holidays."""
    found = read_csv(BUILT_IN / "road-traffic.csv.xz")
    return ({name: found[name].values for name in found.columns}, None), None, None  # pyright: ignore


def films(_: Files) -> Parts:
    """(n, 20, 16, 16)"""
    train, validation, test = (
        moving_digits(n, i, part=part)
        for i, (part, n) in enumerate((("train", 16000), ("validation", 500), ("test", 1000)))
    )
    return train, validation, test


def splice(files: Files) -> Parts:
    """Texts of 60 bases; EI, IE or N."""
    text = whole(files["splice.arff"]).decode("ascii").replace("\r", "")
    body = (line for line in text.partition("@data")[2].split("\n") if line.strip() and not line.startswith("%"))
    rows = list(csv.reader(body))
    return (
        _shuffled(["".join(row[1:-1]).strip() for row in rows], np.array([row[-1].strip() for row in rows])),
        None,
        None,
    )


def vowels(files: Files) -> Parts:
    """Arrays (T, 12)"""
    train, test = (_series(read_ts(files[f"JapaneseVowels_{part}.ts"])) for part in ("TRAIN", "TEST"))
    return train, None, test


def pendigits(files: Files) -> Parts:
    """(n, 8, 2), the points x, y from 0 to 100."""

    def part(end: str) -> Pair:
        table = np.loadtxt(io.BytesIO(whole(files[f"pendigits.{end}"])), delimiter=",", dtype=np.int64)
        return table[:, :-1].reshape(-1, 8, 2).astype(np.float64), table[:, -1]

    return part("tra"), None, part("tes")


def polarity(files: Files) -> Parts:
    """Lists of words; pos or neg."""
    texts = {of: list(read_lines(files[f"rt-polarity.{of}"])["text"]) for of in ("pos", "neg")}
    y = np.array([of for of, sentences in texts.items() for _ in sentences])
    return _shuffled([str(text).split() for sentences in texts.values() for text in sentences], y), None, None


def spoken(files: Files) -> Parts:
    """Arrays (T,) from -1 to 1; the recordings 0 to 4 of each digit and speaker are the test part."""
    rate = RATES["free-spoken-digits"]
    train: Pair = ([], [])
    test: Pair = ([], [])
    for name, data in recordings(files["recordings.zip"]):
        digit, _, number = RECORDING.fullmatch(name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        sound = read_wav(Excerpt(name, data))
        if sound["rate"] != rate:
            raise DataError(f"{name}: expected {rate:,} samples a second; got {sound['rate'][0]:,}")
        X, y = test if int(number) < 5 else train
        X.append(sound.steps("value")[0])
        y.append(int(digit))
    return _shuffled(train[0], np.array(train[1])), None, (test[0], np.array(test[1]))


def universal(files: Files) -> Parts:
    """Lists of words; lists of universal parts of speech."""
    return _tagged(files, read_conllu, "FORM", "UPOS")


def emerging(files: Files) -> Parts:
    """Lists of words; lists of tags B-…, I-… and O."""
    return _tagged(files, lambda path: read_conll(path, comments=False), "token", "tag")


def _tagged(files: Files, read: Callable[[Path], Sequences], word: str, tag: str) -> Parts:
    def part(path: Path) -> Pair:
        sentences = read(path)
        return tuple([list(of) for of in sentences.steps(name)] for name in (word, tag))  # pyright: ignore[reportReturnType]

    train, validation, test = map(part, files.values())
    return train, validation, test


def _columns(path: Path) -> tuple[list[str], list[str]]:
    """The two columns of a table, without its header."""
    _, *rows = csv.reader(io.StringIO(whole(path).decode()))
    return [row[0] for row in rows], [row[1] for row in rows]


def _groups(path: Path) -> Iterator[tuple[str, str]]:
    """Class and text of each line, from groups of lines: the class, then for each text its new end.

    The end is after a character of code 48 + k, where the text begins with the first k characters of the one before.
    """
    for group in whole(path).decode().rstrip("\n").split("\n\n"):
        of, *lines = group.split("\n")
        text = ""
        for line in lines:
            text = text[: ord(line[0]) - 48] + line[1:]
            yield of, text


def _series(read: Sequences) -> Pair:
    return list(read.steps("value")), _labels(read["label"])


def _labels(column: Any) -> np.ndarray:
    """Texts in an array of their own type, as scikit-learn likes them."""
    return np.array(list(column), str)


def _shuffled(X: list[Any], y: np.ndarray) -> Pair:
    order = np.random.default_rng(0).permutation(len(X))
    return [X[i] for i in order], y[order]
