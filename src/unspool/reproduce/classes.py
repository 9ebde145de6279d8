"""Classifiers with published figures. Each function trains with a seed, and returns figures, in % or errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..data.sets import Set, load_set
from ..tasks.classifier.estimator import Classifier
from .figures import Figures, whole


def motions(seed: int) -> Figures:
    return _apart(load_set("uea-basicmotions"), seed)


def vowels(seed: int) -> Figures:
    return _apart(load_set("uea-japanesevowels"), seed)


def pendigits(seed: int) -> Figures:
    return _apart(load_set("pendigits"), seed)


def films(seed: int) -> Figures:
    return _apart(load_set("moving-digits"), seed)


def spoken(seed: int) -> Figures:
    found = load_set("free-spoken-digits")
    return _apart(found, seed, sound_rate=found.rate)


def names(seed: int) -> Figures:
    found = load_set("names-by-nationality")
    X, y = _whole(found.test)
    classifier = whole(Classifier(random_state=seed).fit(*found.train, validation=found.validation))
    predicted = classifier.predict(X)
    recalls = [(predicted[y == of] == of).mean() for of in np.unique(y)]
    beside = {"mean recall": 100 * float(np.mean(recalls)), "bag of letters": _bag(list, *found.train, X, y)}
    return {"right": 100 * float((predicted == y).mean()), **beside}


def promoters(seed: int) -> Figures:
    X, y = load_set("dna-promoters").train
    errors = 0
    for i in range(len(X)):
        others = np.delete(np.arange(len(X)), i)
        classifier = whole(Classifier(random_state=seed).fit([X[j] for j in others], y[others]))
        errors += int(classifier.predict([X[i]])[0] != y[i])
    return {"errors": errors}


def splice(seed: int) -> Figures:
    """Ten folds; equal sequences are in the same one."""
    X, y = load_set("dna-splice").train
    predicted = np.empty_like(y)
    for train, test in folds(X, y, seed):
        classifier = whole(Classifier(random_state=seed).fit([X[i] for i in train], y[train]))
        predicted[test] = classifier.predict([X[i] for i in test])
    each = {f"of {of}": 100 * float((predicted[y == of] != of).mean()) for of in np.unique(y)}
    return {"errors": 100 * float((predicted != y).mean()), **each}


def polarity(seed: int) -> Figures:
    X, y = load_set("rt-polarity").train
    right, bag = [], []
    for train, test in folds([" ".join(words) for words in X], y, seed):
        parts = [X[i] for i in train], y[train], [X[i] for i in test], y[test]
        classifier = whole(Classifier(random_state=seed).fit(*parts[:2]))
        right.append(_right(classifier, *parts[2:]))
        texts = [[" ".join(words) for words in part] for part in (parts[0], parts[2])]
        bag.append(_bag(str.split, texts[0], y[train], texts[1], y[test]))
    return {"right": float(np.mean(right)), "bag of words": float(np.mean(bag))}


def folds(X: list[str], y: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ten pairs of indices, to train on and to test, with equal texts on one side, and classes in equal parts."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.unique(X, return_inverse=True)[1]
    return StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(X, y, groups)


def _apart(found: Set, seed: int, **options: Any) -> Figures:
    """What is right in the official test part, beside the baselines on what was held out."""
    classifier = Classifier(random_state=seed, **options).fit(*found.train, validation=found.validation or 0.1)
    whole(classifier)
    baselines = {name: 100 * part for name, part in classifier.metrics_["baselines"].items()}
    return {"right": _right(classifier, *_whole(found.test)), **{f"held out, {n}": b for n, b in baselines.items()}}


def _right(classifier: Classifier, X: Any, y: np.ndarray) -> float:
    return 100 * float((classifier.predict(X) == y).mean())


def _whole(part: Any) -> Any:
    if part is None:
        raise AssertionError("the set has no test part")
    return part


def _bag(parts: Callable[[str], list[str]], X: list[str], y: np.ndarray, test: list[str], wanted: np.ndarray) -> float:
    """What logistic regression on counts of letters, or of words between spaces, has right."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    counts = CountVectorizer(analyzer=parts)  # pyright: ignore[reportArgumentType]
    model = make_pipeline(counts, LogisticRegression(max_iter=2000)).fit(X, y)
    return 100 * float((model.predict(test) == wanted).mean())
