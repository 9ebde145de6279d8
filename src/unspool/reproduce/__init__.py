"""Published figures, and what our estimators reach with their defaults: `unspool reproduce NAME`.

A figure is one row of `ROWS`. A test set is never used for a choice: the estimators keep the weights that are best on
the validation part.
"""

from .rows import ROWS as ROWS
from .rows import Row as Row
from .run import run as run
