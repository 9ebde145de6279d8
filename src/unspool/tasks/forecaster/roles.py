"""Which column of a table has which role, where it is not said. No PyTorch."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import DataError
from ..files import SERIES_NAMES, TIME_NAMES
from .columns import Table, has_times

_TARGETS = ("y", "target", "value")
_TIMES = (*TIME_NAMES, "date_time", "year")
_SERIES = (*SERIES_NAMES, "item_id", "store_id", "symbol", "ticker")
_WIDE = re.compile(r"[a-z]{0,4}[ _]?[0-9]+", re.IGNORECASE)  # the names of steps in a table of one row a series
_LEAST_WIDE = 8  # steps that such a table has at least


def roles_of(table: Table, given: Mapping[str, str | Sequence[str] | None]) -> dict[str, tuple[str, ...]]:
    """The columns that have a role; raise DataError if one is not there, or has two."""
    roles = {role: (names,) if isinstance(names, str) else tuple(names or ()) for role, names in given.items()}
    found: dict[str, str] = {}
    for role, names in roles.items():
        for name in names:
            if name not in table.columns:
                raise DataError(f"{role}: there is no column {name!r:.40}; there are {', '.join(table.columns):.200}")
            if name in found:
                raise DataError(f"column {name!r:.40} must have one role; got {found[name]} and {role}")
            found[name] = role
    return roles


def recognised(table: Table, roles: Mapping[str, tuple[str, ...]]) -> tuple[str | None, str | None, tuple[str, ...]]:
    """The columns of the times and of the series, and the targets: those that have the role, or look like it."""
    free = [name for name in table.columns if not any(name in names for names in roles.values())]
    time = roles["time"][0] if roles["time"] else _time(table, free)
    free = [name for name in free if name != time]
    series = roles["series"][0] if roles["series"] else _series(table, free, time)
    return time, series, roles["target"] or _target(table, [name for name in free if name != series])


def _first(names: Sequence[str], words: Sequence[str]) -> str | None:
    """The first of the names that is one of the words, the surest word first."""
    return next((name for word in words for name in names if name.casefold() == word), None)


def is_wide(table: Table, series: str | None) -> bool:
    """Whether a table has a row a series: texts, all different, which are no times, and columns of steps."""
    (name, first), *steps = table.columns.items()
    numbers = all(column.number and _WIDE.fullmatch(step) for step, column in steps)
    if len(steps) < _LEAST_WIDE or not numbers or not first.text or series not in (None, name):
        return False
    return len(set(first.values.tolist())) == table.rows and not has_times(first)


def _time(table: Table, names: Sequence[str]) -> str | None:
    """The column of the times: by its name, unless it has fractions, or the one that has times."""
    columns = table.columns
    whole = [n for n in names if not columns[n].number or (np.floor(columns[n].values) >= columns[n].values).all()]
    if (found := _first(whole, _TIMES)) is not None:
        return found
    there = [n for n in names if columns[n].values.dtype.kind == "M"] or [n for n in names if has_times(columns[n])]
    if len(there) > 1:
        raise DataError(f"it is in doubt which column has the times, {', '.join(there):.200}; name it by time")
    return there[0] if there else None


def _series(table: Table, names: Sequence[str], time: str | None) -> str | None:
    """The column that tells the series apart: by its name, or the one text whose cells and times come once together."""
    cells = {name: table.columns[name].values.tolist() for name in names}
    found = _first([name for name in names if len(set(cells[name])) < max(table.rows, 2)], _SERIES)
    texts = [name for name in names if table.columns[name].text]
    if found is not None or len(texts) != 1 or time is None:
        return found
    when = table.columns[time].values.tolist()
    pairs = set(zip(cells[texts[0]], when, strict=True))
    return texts[0] if len(set(when)) < table.rows == len(pairs) else None


def _target(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """The column to forecast: by its name, or the one of numbers that is left."""
    if (found := _first(names, _TARGETS)) is not None:
        return (found,)
    numbers = [name for name in names if table.columns[name].number]
    if len(numbers) != 1:
        there = ", ".join(numbers or table.columns)
        raise DataError(f"it is in doubt which column is to be forecast; name it by target: there are {there:.200}")
    return (numbers[0],)
