"""The baselines of taggers: the commonest tag of each word, and what each step alone tells."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from ...data.ragged import Ragged

_SUFFIX = 4  # the longest ending that is looked up


def by_word(words: Ragged, codes: np.ndarray, held_out: Ragged, scheme: bool) -> dict[str, list[np.ndarray]]:
    """What the baselines of words predict for those held out, by name, as numbers of tags.

    An unknown word has the commonest tag of the known words with its longest ending, one tag for each; or where tags
    are of names, the commonest tag of all.
    """
    commonest = int(np.bincount(codes).argmax())
    of_word = _most_frequent(zip(words.values, codes.tolist(), strict=True))
    endings = [(end, code) for word, code in of_word.items() for end in _endings(word)]
    of_ending = {} if scheme else _most_frequent(endings)

    def guess(word: str) -> int:
        if word in of_word:
            return of_word[word]
        return next((of_ending[end] for end in _endings(word) if end in of_ending), commonest)

    rule = "the commonest tag" if scheme else "that of its ending"
    found = np.array([guess(word) for word in held_out.values], np.int64)
    return {f"the most frequent tag of each word, {rule} if it is unknown": list(Ragged(found, held_out.offsets))}


def by_number(x: Ragged, codes: np.ndarray, held_out: Ragged) -> dict[str, list[np.ndarray]]:
    """What the baselines of numbers predict for those held out, by name, as numbers of tags."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    commonest = np.full(len(held_out.values), np.bincount(codes).argmax())
    out = {"the commonest tag": commonest}
    if len(np.unique(codes)) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(x.values, codes)
        out["logistic regression on each step alone"] = model.predict(held_out.values)
    return {name: list(Ragged(found, held_out.offsets)) for name, found in out.items()}


def _endings(word: str) -> list[str]:
    """The endings of a word, the longest first, with whether it begins with a capital."""
    capital = "A" if word[:1].isupper() else "a"
    return [capital + word[-n:] for n in range(min(_SUFFIX, len(word)), 0, -1)] + [capital]


def _most_frequent(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for word, code in pairs:
        counts[word][code] += 1
    return {word: count.most_common(1)[0][0] for word, count in counts.items()}
