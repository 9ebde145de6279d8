"""What a tagger reads of a word: its row in a table that is learnt, its characters, and a vector of one's own."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data import vocabulary as vocabularies
from ...data.readers.source import Complaints, lines
from ...data.vocabulary import Vocabulary
from ...errors import DataError

LONGEST = 32  # characters of a word that are read; of a longer one the first half of them, and the last
_MOST = 10**6  # words, of which the most frequent are kept


@dataclass(frozen=True)
class Words:
    """The words that a tagger knows, numbered.

    vocabulary: first those of the training part, then those that have only a vector.
    trained: how many of them have a row of their own in the table that is learnt, the unknown word among them.
    characters: those of the training part; None if they are not read.
    """

    vocabulary: Vocabulary
    trained: int
    characters: Vocabulary | None

    def number(self, word: str) -> int:
        """The number of a word, or of the word in small letters, or 0 if neither is known."""
        known = self.vocabulary._number
        return known.get(word) or known.get(word.lower(), 0)

    def row(self, word: str) -> int:
        """The row of a word in the table that is learnt."""
        known = self.vocabulary._number
        rows = (known.get(form, 0) for form in (word, word.lower()))
        return next((row for row in rows if 0 < row < self.trained), 0)

    def spelling(self, word: str) -> np.ndarray:
        """The numbers of a word's characters, int64 (n,); n is at least 1, and at most `LONGEST`."""
        half = LONGEST // 2
        text = word if len(word) <= LONGEST else word[:half] + word[-half:]
        return self.characters.encode(text).astype(np.int64) if text else np.zeros(1, np.int64)  # pyright: ignore[reportOptionalMemberAccess]


def learn(words: Iterable[str], characters: bool, vectors: Mapping[str, np.ndarray]) -> tuple[Words, np.ndarray]:
    """The words of the training part, and how often each occurs, by its row, (trained,)."""
    counts = Counter(word for word in words if word)
    known = vocabularies.from_tokens(counts.elements(), _MOST)
    times = np.array([0, *(counts[word] for word in known.tokens[1:])])
    more = [word for word in vectors if word and word not in known._number]
    spelled = vocabularies.from_text("".join(counts.elements()), "char") if characters else None
    return Words(Vocabulary("word", (*known.tokens, *more)), len(known), spelled), times


def table(words: Words, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vector of each word by its number, float32 (words, D); zeros for a word that has none."""
    size = len(next(iter(vectors.values())))
    none = np.zeros(size, np.float32)
    rows = [none] + [vectors.get(w, vectors.get(w.lower(), none)) for w in words.vocabulary.tokens[1:]]
    return np.stack(rows)


def read_vectors(given: Any) -> dict[str, np.ndarray]:
    """Vectors by word, float32 (D,), of a mapping or a file, in which each line has a word and D numbers.

    A first line with two numbers, of words and of numbers in each, is left out, and so is all after the first vector of
    a word.

    Raises:
        DataError: the file cannot be read, or a vector is of another size than the first, or is not finite.
    """
    if isinstance(given, Mapping):
        found = {str(word): np.asarray(vector, np.float32) for word, vector in given.items()}
        sizes = {vector.shape for vector in found.values()}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1 or sizes == {(0,)}:
            raise DataError("vectors must have at least one word, and for each an array (D,) of one size")
    else:
        found = _from_file(given)
    for word, vector in found.items():
        if not np.isfinite(vector).all():
            raise DataError(f"vectors must be finite; got NaN or infinity for {word!r:.40}")
    return found


def _from_file(path: Any) -> dict[str, np.ndarray]:
    complaints = Complaints(path, 0)
    found, size = {}, 0
    for number, line in lines(path, complaints):
        fields = line.rstrip().split(" ")
        if number == 1 and len(fields) == 2 and all(map(re.compile("[0-9]+").fullmatch, fields)):
            continue
        size = size or len(fields) - 1
        try:
            vector = np.array(fields[len(fields) - size :], np.float32)
        except ValueError:
            vector = np.empty(0)
        if len(fields) <= size or len(vector) != size or not size:
            raise complaints.refuse(number, None, f"expected a word and {size or 'some'} numbers; got {line!r:.60}")
        found.setdefault(" ".join(fields[:-size]), vector)
    if not found:
        raise complaints.refuse(None, None, "expected at least one word with its numbers; got none")
    return found
