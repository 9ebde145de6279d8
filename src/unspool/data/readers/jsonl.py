"""JSON lines: one object per line, each a sequence. Its lists have one value per step; all else is per sequence."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import shown
from ..sequences import Column, Places, Sequences
from .growing import Growing, numbered
from .source import Complaints, blank, line_blocks

_WIDEST = 2**14  # fields
_EXACT = 2**53  # integers up to here are exact in a float64
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
    objects = _Objects(complaints, None if columns is None else list(dict.fromkeys(columns)), missing)
    for block in line_blocks(path, complaints):
        rows = [row for row in block if not blank(row[1])]
        while rows and not objects.add_all(rows):
            # The first object sets the types of the others.
            careful = rows if objects.types else rows[:1]
            for row in careful:
                objects.add(*row)
            rows = rows[len(careful) :]
    return objects.finish()


class _Objects:
    """The columns that grow from objects, and the types of their fields."""

    def __init__(self, complaints: Complaints, wanted: list[str] | None, missing: bool):
        self.complaints, self.missing, self.all = complaints, missing, wanted is None
        self.wanted = wanted or []
        self.types: dict[str, _Type] = {}
        self.grown: dict[str, Growing] = {}
        self.where, self.lengths = Growing(), Growing()

    def add(self, number: int, line: str) -> None:
        """Add the object of a line, or complain about it."""
        try:
            fields = _parse(line)
            wanted = list(fields) if self.all and not self.types else self.wanted
            found = _values(fields, wanted, self.types, self.all, self.missing)
        except _Bad as bad:
            self.complaints.bad(number, bad.field, bad.what)
            return
        if not self.types:
            self.wanted = wanted
            self.grown = {name: Growing(len(found)) for name in found}
        if not self.types or any(self.types[name].absent for name in found):
            self.types = {name: kind for name, (kind, _) in found.items()}
        steps = [len(v) for kind, v in found.values() if kind.listed][:1]
        self._keep([number], steps, {n: v if kind.listed else [v] for n, (kind, v) in found.items()})

    def add_all(self, rows: Sequence[tuple[int, str]]) -> bool:
        """Add the objects of lines, all at once; False, and nothing is added, if that needs more care."""
        if not self.types or any(kind.absent for kind in self.types.values()):
            return False
        try:
            fields = [_QUICK.decode(line) for _, line in rows]
            if self.all and set(map(len, fields)) != {len(self.wanted)}:
                return False
            columns = {name: [f[name] for f in fields] for name in self.wanted}
            listed = [list(map(len, columns[name])) for name in self.wanted if self.types[name].listed]
            values = {name: _quick(columns[name], self.types[name], self.missing) for name in self.wanted}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return False
        if any(v is None for v in values.values()) or any(lengths != listed[0] for lengths in listed):
            return False
        self._keep([number for number, _ in rows], listed[0] if listed else [], values)
        return True

    def finish(self) -> Sequences:
        where, lengths = self.where.finish(), self.lengths.finish()
        if not len(where):
            raise self.complaints.refuse(None, None, "expected at least one object that can be used; got none")
        made: dict[str, Column] = {
            name: grown.ragged(lengths) if self.types[name].listed else grown.finish()
            for name, grown in self.grown.items()
        }
        return Sequences(made, Places.of(self.complaints.name, where), tuple(self.complaints.skipped))

    def _keep(self, numbers: list[int], lengths: list[int], values: dict[str, Any]) -> None:
        self.where.add(numbered(np.array(numbers)))
        if lengths:
            self.lengths.add(lengths)
        for name, column in values.items():
            self.grown[name].add(column)


def _quick(values: list, expected: _Type, missing: bool) -> np.ndarray | list[str] | None:
    """The values of a field in many objects, end to end; None unless all are surely of the type that is expected.

    Numbers that `_parse` would mark as unfit have become infinite, or larger than 2^53.
    """
    for level in range(expected.listed + (expected.width is not None)):
        if set(map(type, values)) != {list} or not all(values) or (level and set(map(len, values)) != {expected.width}):
            return None
        values = list(chain.from_iterable(values))
    kinds = set(map(type, values))
    if expected.kind == "text" and kinds == {str}:
        "".join(values).encode()  # refuses half a character
        return values
    if expected.kind == "truth value" and kinds == {bool}:
        return np.array(values)
    if expected.kind != "number" or not kinds <= {int, float, *([type(None)] if missing else [])}:
        return None
    found = np.array(values, np.int64 if kinds == {int} else float)
    if np.isinf(found).any() or (int in kinds and ((found >= _EXACT) | (found <= -_EXACT)).any()):
        return None
    return found if expected.width is None else found.reshape(-1, expected.width)


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


_QUICK = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _float(text: str) -> float | _Unfit:
    value = float(text)
    return value if math.isfinite(value) else _Unfit(text, "expected a number within ±1.8e308")


def _int(text: str) -> int | _Unfit:
    """An integer within ±2^53, which other readers of JSON hold exactly, too (RFC 8259, section 6)."""
    if len(text) > 17 or abs(int(text)) > _EXACT:
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
