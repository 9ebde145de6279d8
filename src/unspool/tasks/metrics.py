"""Metrics of tasks: the spans of tagged sentences, as conlleval counts them. This needs no PyTorch.

A tag is O, or a letter, a hyphen and a label. In the BIO scheme B-x begins a span of the label x, and I-x goes on with
one. In BIOES E-x ends a span, too, and S-x is a span by itself. Tags that do not follow each other so have spans
nevertheless: one begins wherever the label changes, and one ends wherever the next tag cannot be in it.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_SCHEMES = {"BIO": re.compile("O|[BI]-.+", re.DOTALL), "BIOES": re.compile("O|[BIES]-.+", re.DOTALL)}


class Scores(NamedTuple):
    """The part of what was predicted that is right, the part of what is there that was found, and their mean."""

    precision: float
    recall: float
    f1: float


def scheme_of(tags: Iterable[object]) -> str | None:
    """`BIO` or `BIOES`, if all tags are of that scheme and one of them begins a span; else None.

    >>> scheme_of(["O", "B-LOC", "I-LOC"]), scheme_of(["O", "S-LOC"]), scheme_of(["NOUN", "O"])
    ('BIO', 'BIOES', None)
    """
    found = set(tags)
    if not any(isinstance(tag, str) and tag[:2] in ("B-", "S-") for tag in found):
        return None
    matches = (
        name for name, form in _SCHEMES.items() if all(isinstance(tag, str) and form.fullmatch(tag) for tag in found)
    )
    return next(matches, None)


def follows(before: str, after: str, scheme: str) -> bool:
    """Whether a tag may follow another in a well-formed sentence; before the first and after the last stands O."""
    inside = before[:1] in ("B", "I")
    if after[:1] in ("I", "E"):
        return inside and before[2:] == after[2:]
    return scheme == "BIO" or not inside


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans of a sentence: the first step, the one after the last, and the label.

    >>> spans(["O", "B-LOC", "I-LOC", "B-LOC", "I-PER"])
    [(1, 3, 'LOC'), (3, 4, 'LOC'), (4, 5, 'PER')]
    """
    found, begin = [], 0
    for t, (before, tag) in enumerate(pairwise(["O", *tags, "O"])):
        if before == "O":
            begin = t
        elif not _goes_on(before, tag):
            found.append((begin, t, before[2:]))
            begin = t
    return found


def _goes_on(before: str, tag: str) -> bool:
    """Whether a tag is in the span of the one before it."""
    return tag[:1] in ("I", "E") and before[:1] in ("B", "I") and tag[2:] == before[2:]


def span_scores(right: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> Scores:
    """Precision, recall and F1 of the spans of all sentences: a span is right if its ends and its label are.

    >>> span_scores([["B-LOC", "I-LOC", "O"]], [["B-LOC", "I-LOC", "B-PER"]])
    Scores(precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    return _scores(
        *({(i, *span) for i, tags in enumerate(part) for span in spans(tags)} for part in (right, predicted))
    )


def surface_scores(
    words: Sequence[Sequence[str]], right: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> Scores:
    """The same of distinct pairs of a span's words and its label, so that a frequent name counts once (WNUT 2017)."""
    return _scores(
        *(
            {(tuple(text[a:b]), label) for text, tags in zip(words, part, strict=True) for a, b, label in spans(tags)}
            for part in (right, predicted)
        )
    )


def accuracy(right: Iterable[Sequence[object]], predicted: Iterable[Sequence[object]]) -> float:
    """The part of all steps whose tag is right."""
    same = [a == b for one, other in zip(right, predicted, strict=True) for a, b in zip(one, other, strict=True)]
    return float(np.mean(same))


def _scores(right: set, predicted: set) -> Scores:
    hits = len(right & predicted)
    precision, recall = hits / max(len(predicted), 1), hits / max(len(right), 1)
    return Scores(precision, recall, 2 * hits / max(len(right) + len(predicted), 1))
