"""Taggers with published figures. Each function trains with a seed, and returns figures in %."""

from collections import Counter, defaultdict
from typing import Any

from ..data.sets import load_set
from ..tasks.metrics import span_scores, surface_scores
from ..tasks.tagger.estimator import Tagger
from .figures import Figures, whole


def partut(seed: int) -> Figures:
    return _words("ud-english-partut", seed)


def ewt(seed: int) -> Figures:
    return _words("ud-english-ewt", seed)


def emerging(seed: int) -> Figures:
    predicted, (X, y), commonest = _predicted("wnut17-ner", seed)
    return {
        "F1": 100 * span_scores(y, predicted).f1,
        "surprise F1": 100 * surface_scores(X, y, predicted).f1,
        "commonest tag": 100 * span_scores(y, commonest).f1,
        "commonest tag, surprise": 100 * surface_scores(X, y, commonest).f1,
    }


def _words(name: str, seed: int) -> Figures:
    predicted, (_, y), commonest = _predicted(name, seed)
    return {"right": _right(predicted, y), "commonest tag": _right(commonest, y)}


def _predicted(name: str, seed: int) -> tuple[list[list[str]], Any, list[list[str]]]:
    """The tags of the test part by a tagger, the test part, and the tags that each word has most often in training."""
    found = load_set(name)
    test: Any = found.test
    tagger = whole(Tagger(random_state=seed).fit(*found.train, validation=found.validation))
    return [list(tags) for tags in tagger.predict(test[0])], test, _commonest(*found.train, test[0])


def _commonest(X: list[list[str]], y: list[list[str]], test: list[list[str]]) -> list[list[str]]:
    """For each word its commonest tag; for one that is new, the commonest of all."""
    of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in zip(X, y, strict=True):
        for word, tag in zip(words, tags, strict=True):
            of[word][tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in of.items()}
    other = sum(of.values(), Counter()).most_common(1)[0][0]
    return [[best.get(word, other) for word in words] for words in test]


def _right(predicted: list[list[str]], y: list[list[str]]) -> float:
    pairs = [a == b for one, other in zip(predicted, y, strict=True) for a, b in zip(one, other, strict=True)]
    return 100 * sum(pairs) / len(pairs)
