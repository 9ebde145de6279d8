"""Data sets: four that are built in, one that is made, and many that are fetched, each file checked by its SHA-256.

    load_set(name)      a `Set`: the training, validation and test part, each a pair (X, y) for an estimator, or a table
    fetch(name)         the files of a set
    moving_digits(n)    films of digits that drift in one of eight directions

The files of a set that is not built in are taken from its folder in the folder that the environment's `UNSPOOL_DATA`
names; else they are fetched once, with pooch, and kept in the user's cache.
"""

from .load import Set as Set
from .load import load_set as load_set
from .moving import moving_digits as moving_digits
from .table import SETS as SETS
from .where import fetch as fetch
