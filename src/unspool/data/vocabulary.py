"""Vocabularies: from text to numbers, and back."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain

import numpy as np

from ..errors import DataError
from . import pieces

LEVELS = ("char", "byte", "word", "piece")
TOKENS = {"char": "character", "byte": "byte", "word": "word", "piece": "piece"}
UNITS = TOKENS | {"piece": "character"}  # what bits are counted for, so that they do not depend on the pieces
SIZES = {"char": 10_000, "word": 10_000, "piece": 1_024}
# Joined, the pieces give the text again: a space belongs to the word after it, and other white space is a word.
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a network knows, numbered.

    Args:
        level: `char`, `byte`, `word` or `piece`.
        tokens: the tokens in the order of their numbers, which for pieces is the order in which they were made. Number
            0 is the unknown token, written "", which stands for any character or word that the training text did not
            have. Bytes are all known, and not listed.
    """

    level: str
    tokens: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 256 if self.level == "byte" else len(self.tokens)

    @property
    def unknown(self) -> int | None:
        """The number of the unknown token, or None for bytes."""
        return None if self.level == "byte" else 0

    def encode(self, text: str | bytes) -> np.ndarray:
        """The numbers of the text's tokens, int32, (N,)."""
        if self.level == "byte":
            try:
                data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            except UnicodeEncodeError as error:
                raise _half(error.object, error.start) from None
            return np.frombuffer(data, np.uint8).astype(np.int32)
        if isinstance(text, bytes):
            raise DataError(f"text must be a str at level {self.level!r}; got bytes: decode them, or use level 'byte'")
        if self.level == "char":
            codes = _codes(text)
            table = self._number_of_code
            return np.where(codes < len(table), table[np.minimum(codes, len(table) - 1)], 0)
        if self.level == "piece":
            cut = cache(lambda word: pieces.cut(word, self._number))
            return np.fromiter(chain.from_iterable(map(cut, pieces.WORD.findall(text))), np.int32)
        return np.fromiter((self._number.get(w, 0) for w in _WORD.findall(text)), np.int32)

    def numbers(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers of tokens that are cut already, int32, (N,)."""
        return np.fromiter((self._number.get(token, 0) for token in tokens), np.int32)

    def units(self, tokens: np.ndarray) -> int:
        """The number of characters, bytes or words that bits are counted for; an unknown token is one."""
        if self.level != "piece":
            return tokens.size
        return int(np.array([len(token) or 1 for token in self.tokens])[tokens].sum())

    def piece(self, number: int) -> bytes:
        """The token with this number, in UTF-8; a byte may be a part of a character."""
        return bytes([number]) if self.level == "byte" else self.tokens[number].encode("utf-8", "replace")

    def to_json(self) -> str:
        return json.dumps({"level": self.level, "unknown": self.unknown, "tokens": self.tokens}, ensure_ascii=False)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def _number_of_code(self) -> np.ndarray:
        """The number of each code point, 0 for the unknown ones."""
        known = [ord(token) for token in self.tokens[1:]]
        table = np.zeros(max(known, default=0) + 1, np.int32)
        table[known] = np.arange(1, len(self.tokens), dtype=np.int32)
        return table


def from_text(text: str | bytes, level: str, size: int | None = None) -> Vocabulary:
    """The vocabulary of a text: its `size` most frequent tokens. A word must occur at least twice.

    Pieces begin with the most frequent characters, which are half of them at most.

    Raises:
        DataError: the text has surrogates, which no file in UTF-8 can have.
    """
    if level == "byte":
        return Vocabulary("byte")
    if isinstance(text, bytes):
        raise DataError(f"text must be a str at level {level!r}; got bytes: decode them, or use level 'byte'")
    if found := _SURROGATE.search(text):
        raise _half(text, found.start())
    size = size or SIZES[level]
    if level == "char":
        return Vocabulary("char", ("", *_characters(text, size)))
    if level == "piece":
        return Vocabulary("piece", ("", *pieces.learn(text, _characters(text, -(-size // 2)), size)))
    words = Counter(_WORD.findall(text)).most_common(size)
    return Vocabulary("word", ("", *(word for word, count in words if count > 1)))


def from_tokens(tokens: Iterable[str], size: int | None = None) -> Vocabulary:
    """The vocabulary of tokens that are cut already: the `size` most frequent."""
    found = Counter(token for token in tokens if token).most_common(size or SIZES["word"])
    if half := next((token for token, _ in found if _SURROGATE.search(token)), None):
        raise _half(half, _SURROGATE.search(half).start())  # pyright: ignore[reportOptionalMemberAccess]
    return Vocabulary("word", ("", *(token for token, _ in found)))


def from_json(data: str | bytes) -> Vocabulary:
    """A vocabulary that was saved.

    Raises:
        DataError: the data is not a vocabulary.
    """
    try:
        saved = json.loads(data.decode() if isinstance(data, bytes) else data)
        level, tokens = saved["level"], saved["tokens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError("is not a vocabulary in JSON with 'level' and 'tokens'") from None
    if level not in LEVELS or not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        raise DataError(f"wants a level of {', '.join(LEVELS)} and a list of strings as its tokens")
    wanted = tokens[:1] == [""] and len(set(tokens)) == len(tokens) and "" not in tokens[1:]
    wanted = wanted and not any(map(_SURROGATE.search, tokens))
    if level == "char":
        wanted = wanted and all(len(t) == 1 for t in tokens[1:])
    if level == "byte":
        wanted = not tokens
    if not wanted:
        raise DataError(f"has tokens that are no vocabulary of level {level!r}: the first must be '', all different")
    return Vocabulary(level, tuple(tokens))


def _half(text: str, at: int) -> DataError:
    return DataError(
        f"character {at + 1} of the text, {text[at]!r}, is half of a pair of surrogates, which is no character and "
        f"cannot be saved: decode the bytes with errors='replace', or give them as they are at level 'byte'"
    )


def _characters(text: str, size: int) -> list[str]:
    """The most frequent characters of a text, in the order of their code points."""
    codes, counts = np.unique(_codes(text), return_counts=True)
    return [chr(code) for code in sorted(codes[np.argsort(-counts, kind="stable")[:size]])]


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
