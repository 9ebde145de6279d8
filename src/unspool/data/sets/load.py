"""A data set as the estimator for it takes it."""

from dataclasses import dataclass
from typing import Any

from ...errors import DataError
from . import loaders
from .where import fetch, row_of

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Set:
    """The parts of a data set, each a pair (X, y) for `fit`; None where there is no official one.

    rate: of sound, the samples a second.
    """

    name: str
    train: Pair
    validation: Pair | None
    test: Pair | None
    about: str
    licence: str
    source: str
    rate: int | None = None


def load_set(name: str) -> Set:
    """A data set by name; `unspool data list` shows all of them.

    What is not divided officially is all in `train`, in a fixed random order. 185 sequences of dna-splice are
    repeats: scikit-learn's StratifiedGroupKFold, with the sequences as groups, keeps equal ones together. The names by
    nationality are each there once a class, and no name of one part is in another.

    Raises:
        DataError: there is no such set, it cannot be fetched or is damaged, or no estimator is for it.

    >>> from unspool.data import load_set
    >>> promoters = load_set("dna-promoters")
    >>> len(promoters.train[0]), promoters.train[0][0][:10], promoters.licence
    (106, 'cagcggcagc', 'CC BY 4.0')
    """
    row = row_of(name)
    if row.load is None:
        files = ", ".join(file.name for file in row.files)
        raise DataError(f"{name} cannot be loaded; unspool.data.fetch({name!r}) gives its files {files}")
    train, validation, test = getattr(loaders, row.load)(fetch(name))
    return Set(name, train, validation, test, row.task, row.licence, row.source, loaders.RATES.get(name))
