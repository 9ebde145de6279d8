"""JSON lines: one object per line, each a sequence. Its lists have one value per step; all else is per sequence."""

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import shown
from ..sequences import Column, Places, Sequences
from .growing import Growing
from .source import Complaints, blank, lines

_WIDEST = 2**14  # fields
_KINDS = {int: "number", float: "number", bool: "truth value", str: "text"}


class _Bad(Exception):
    """What is wrong with a line, and with which of its fields."""

    def __init__(self, field: str | None, what: str):
        super().__init__(what)
        self.field, self.what = field, what


class _Unfit(NamedTuple):
    """A value, as it is written, that no column can hold; why, and what to do. Fields that nobody wants may have it."""

    text: str
    what: str
    remedy: str = ""

    def __repr__(self) -> str:
        return self.text


_TWICE = _Unfit("two values", "expected each field once; got it twice")
_CONSTANTS = {
    text: _Unfit(text, "expected finite numbers, as JSON has them", ": write null for a missing one")
    for text in ("NaN", "Infinity", "-Infinity")
}


class _Type(NamedTuple):
    """What a field holds: a value of a kind, or `width` numbers; if `listed`, a list with one of these per step.

    absent: all values were null so far, which only numbers may be.
    """

    listed: bool
    kind: str
    width: int | None
    absent: bool = False

    def __str__(self) -> str:
        one = self.kind if self.width is None else f"list of {self.width} numbers"
        return f"a list with a {one} per step" if self.listed else f"a {one}"


def read_jsonl(
    path: str | Path, *, columns: Sequence[str] | None = None, missing: bool = False, skip_bad: int = 0
) -> Sequences:
    """Sequences from a file with a JSON object in each line, compressed or not; empty lines are skipped.

    The first object sets which fields there are, and of which type; all others must have the same. A list has one value
    per step: a number, a truth value, a text, or a list of I numbers. All lists of an object have the same length. With
    `columns`, the other fields may hold anything.

    Args:
        path: the file.
        columns: the fields to read; None: all.
        missing: whether null among numbers becomes NaN; else there must be none.
        skip_bad: the number of bad lines to skip, at most; they are listed in `skipped`.
    Raises:
        DataError: the file cannot be read, or a line is bad; the message has line, field, what was expected, what came.
    """
    complaints = Complaints(path, skip_bad)
    wanted = None if columns is None else list(dict.fromkeys(columns))
    types: dict[str, _Type] = {}
    grown: dict[str, Growing] = {}
    where, lengths = array("q"), array("q")
    for number, line in lines(path, complaints):
        if blank(line):
            continue
        try:
            fields = _parse(line)
            found = _values(fields, list(fields) if wanted is None else wanted, types, columns is None, missing)
        except _Bad as bad:
            complaints.bad(number, bad.field, bad.what)
            continue
        if not types:
            wanted = list(found)
            grown = {name: Growing() for name in found}
        if not types or any(types[name].absent for name in found):
            types = {name: kind for name, (kind, _) in found.items()}
        where.append(number)
        lengths.append(max((len(v) for t, v in found.values() if t.listed), default=0))
        for name, (kind, values) in found.items():
            grown[name].add(values if kind.listed else [values])
    if not where:
        raise complaints.refuse(None, None, "expected at least one object that can be used; got none")
    made: dict[str, Column] = {n: g.ragged(lengths) if types[n].listed else g.finish() for n, g in grown.items()}
    return Sequences(made, Places.of(path, where), tuple(complaints.skipped))


def _parse(line: str) -> dict[str, Any]:
    try:
        value = json.loads(
            line, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except json.JSONDecodeError as error:
        raise _Bad(str(error.colno), f"expected a JSON object; {error.msg}") from None
    except RecursionError:
        raise _Bad(None, "expected an object of values and lists; got lists nested too deeply") from None
    if not isinstance(value, dict):
        raise _Bad(None, f"expected a JSON object; got {shown(value)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object; one that it has twice is unfit."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        fields |= {n: _TWICE for n, count in Counter(name for name, _ in pairs).items() if count > 1}
    return fields


def _constant(text: str) -> _Unfit:
    return _CONSTANTS[text]


def _float(text: str) -> float | _Unfit:
    value = float(text)
    return value if math.isfinite(value) else _Unfit(text, "expected a number within ±1.8e308")


def _int(text: str) -> int | _Unfit:
    """An integer within ±2^53, which other readers of JSON hold exactly, too (RFC 8259, section 6)."""
    if len(text) > 17 or abs(int(text)) > 2**53:
        return _Unfit(text, "expected an integer within ±2^53", ": write it as text")
    return int(text)


def _values(
    fields: dict[str, Any], wanted: Sequence[str], types: dict[str, _Type], all_: bool, missing: bool
) -> dict[str, tuple[_Type, Any]]:
    """The wanted fields, each with its type and its values."""
    if not all(name in fields for name in wanted) or (all_ and len(fields) != len(wanted)) or not wanted:
        have = [", ".join(islice(names, 50)) for names in (wanted, fields)]
        raise _Bad(None, f"expected the fields {have[0] or 'at least one':.200}; got {have[1] or 'none':.200}")
    if len(wanted) > _WIDEST:
        raise _Bad(None, f"expected at most {_WIDEST} fields; got {len(wanted)}: name the ones to read in columns")
    found, steps = {}, None
    for name in wanted:
        expected = types.get(name)
        kind, values = _typed(name, fields[name], expected, missing)
        if expected and kind[:3] != expected[:3]:
            if expected.absent and kind.kind != "number":
                raise _Bad(repr(name), f"expected {expected}, for which null stands above; got {shown(fields[name])}")
            raise _Bad(repr(name), f"expected {expected}, as above; got {shown(fields[name])}")
        if kind.listed:
            steps = len(values) if steps is None else steps
            if len(values) != steps:
                raise _Bad(repr(name), f"expected {steps} steps, as in the list before; got {len(values)}")
        found[name] = kind, values
    return found


def _typed(name: str, value: Any, expected: _Type | None, missing: bool) -> tuple[_Type, Any]:
    """The type of a field, and its values: an array, a list if they are text, or a single value."""
    listed = isinstance(value, list)
    steps = value if listed else [value]
    if not steps:
        raise _Bad(repr(name), "expected at least one step; got an empty list")
    width = len(steps[0]) if isinstance(steps[0], list) else None
    if width is not None and not (width and all(isinstance(s, list) and len(s) == width for s in steps)):
        raise _Bad(repr(name), f"expected equally many numbers in each step, and at least one; got {shown(value)}")
    cells = steps if width is None else [cell for step in steps for cell in step]
    for cell in cells:
        if type(cell) is _Unfit:
            raise _Bad(repr(name), cell.what + (f"; got {shown(cell)}" if cell is not _TWICE else "") + cell.remedy)
    kinds = {_KINDS.get(type(cell), "") for cell in cells if cell is not None}
    absent = None in cells
    if absent:
        _check_null(name, kinds, expected, missing)
    undecided = not kinds and (expected is None or expected.absent)
    if not kinds:
        kinds = {expected.kind if expected is not None else "number"}
    if len(kinds) != 1 or "" in kinds or (kinds != {"number"} and width is not None):
        raise _Bad(repr(name), f"expected numbers only, or truth values, or text; got {shown(value)}")
    (kind,) = kinds
    if kind == "text":
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            raise _Bad(repr(name), f"expected text; got half a character in {shown(value)}") from None
        return _Type(listed, kind, width), steps if listed else value
    array_ = np.array([np.nan if cell is None else cell for cell in cells])
    array_ = array_ if width is None else array_.reshape(-1, width)
    return _Type(listed, kind, width, undecided), array_ if listed else array_.item()


def _check_null(name: str, kinds: set[str], expected: _Type | None, missing: bool) -> None:
    """Refuse null except where a number is missing."""
    if not kinds and expected is not None and not expected.absent:
        kinds = {expected.kind}
    if kinds in ({"text"}, {"truth value"}):
        remedy = ': write "" for a text that is empty' if kinds == {"text"} else ""
        raise _Bad(repr(name), f"expected a {min(kinds)}; got null, which only numbers may be{remedy}")
    if not missing:
        raise _Bad(repr(name), "expected a value; got null: give missing=True to read it as NaN among numbers")
