"""Byte-pair encoding: pieces of words, from single characters to whole words, which make a text short.

A word is at first a row of characters. The two neighbours that occur most often become a piece, and are replaced by it
wherever they stand; this is repeated. Another text is cut into pieces by the same replacements, in the same order.

Sennrich, Haddow & Birch 2016, "Neural machine translation of rare words with subword units".
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

# Joined, the words give the text again. They are short, so that the time for a text does not grow faster than it.
WORD = re.compile(r" ?\w{1,16}| ?[^\w\s]{1,16}|\s{1,16}(?!\S)|\s")
_WORDS = 100_000  # the most frequent ones, from which pieces are learnt


def learn(text: str, characters: Sequence[str], size: int) -> list[str]:
    """The characters, and after them the pieces in the order in which they are made: `size` in all, or fewer.

    A piece occurs at least twice; of two that occur equally often, the first in alphabetical order is made first.
    """
    pieces, known = list(characters), set(characters)
    words = Counter(WORD.findall(text)).most_common(_WORDS)
    parts = [_characters(word, known) for word, _ in words]
    counts: Counter[str] = Counter()  # of the pieces that could be made
    places: defaultdict[str, set[int]] = defaultdict(set)  # the words that each was seen in
    for k, (_, times) in enumerate(words):
        for piece in _possible(parts[k]):
            counts[piece] += times
            places[piece].add(k)
    heap = [(-count, piece) for piece, count in counts.items()]
    heapq.heapify(heap)
    while heap and len(pieces) < size:
        count, piece = heapq.heappop(heap)
        if counts[piece] < -count:  # others have taken some of its parts since
            heapq.heappush(heap, (-counts[piece], piece))
            continue
        if counts[piece] < 2:
            break
        if piece not in known:
            pieces.append(piece)
            known.add(piece)
        more = set()
        for k in places.pop(piece):
            for lost in _possible(parts[k]):
                counts[lost] -= words[k][1]
            parts[k] = _joined(parts[k], piece)
            for found in _possible(parts[k]):
                counts[found] += words[k][1]
                places[found].add(k)
                more.add(found)
        for found in more:
            heapq.heappush(heap, (-counts[found], found))
    return pieces


def cut(word: str, number: Mapping[str, int]) -> list[int]:
    """The numbers of a word's pieces, 0 for an unknown character; `number`: of each piece, in the order of making."""
    parts = _characters(word, number)
    while made := number.keys() & _possible(parts):
        parts = _joined(parts, min(made, key=number.__getitem__))
    return [number.get(part, 0) for part in parts]


def _characters(word: str, known: Mapping[str, int] | set[str]) -> list[str]:
    """The characters of a word, "" for the unknown ones, which are not a part of any piece."""
    return [character if character in known else "" for character in word]


def _possible(parts: Sequence[str]) -> Iterator[str]:
    """The pieces that could be made of two neighbours."""
    return (a + b for a, b in pairwise(parts) if a and b)


def _joined(parts: Sequence[str], piece: str) -> list[str]:
    """The parts, with the piece in the place of each two that make it, from left to right."""
    made = []
    k = 0
    while k < len(parts):
        joined = k + 1 < len(parts) and parts[k] and parts[k + 1] and parts[k] + parts[k + 1] == piece
        made.append(piece if joined else parts[k])
        k += 2 if joined else 1
    return made
