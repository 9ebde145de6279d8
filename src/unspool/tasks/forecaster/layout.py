"""Which column of a table is what, from tables to series and back. No PyTorch.

    one row a step     the target, or several; a time, or none; a column that tells series apart, or none
    one row a series   a column of names and columns of values, as the M4 competition has them
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...data import clock as clocks
from ...data.clock import Clock
from ...data.ragged import Ragged, ends
from ...errors import DataError
from ..files import SERIES_NAMES, TIME_NAMES, note
from .columns import Column, Table, as_written, table_of, times
from .series import Series

_TARGETS = ("y", "target", "value")
_TIMES = (*TIME_NAMES, "date_time", "year")
_SERIES = (*SERIES_NAMES, "item_id", "store_id", "symbol", "ticker")
_WIDE = re.compile(r"[a-z]{0,4}[ _]?[0-9]+", re.IGNORECASE)  # the names of steps in a table of one row a series
_LEAST_WIDE = 8  # steps that such a table has at least
_MOST_CATEGORIES = 100
_MOST_STEPS, _MOST_GAPS = 10**8, 1000  # steps that all series may have together, and steps for each row
_SHOWN = 5  # rows that a complaint names


class Covariate(NamedTuple):
    """A covariate: its column, and its categories, each of which is read as a number of its own; None: it is a number."""

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        return 1 if self.categories is None else len(self.categories)

    @classmethod
    def of(cls, name: str, column: Column) -> "Covariate":
        if column.number:
            return cls(name)
        if not column.text:
            raise DataError(f"column {name!r:.40} has times; a covariate must have numbers or texts")
        found = sorted({cell for cell in column.values.tolist() if cell is not None})
        if len(found) > _MOST_CATEGORIES:
            raise DataError(
                f"column {name!r:.40} must have at most {_MOST_CATEGORIES} categories; got {len(found):,}: leave it out"
            )
        return cls(name, tuple(found))

    def coded(self, column: Column) -> np.ndarray:
        """The numbers of it, (N, width): of categories 1-of-k, all 0 for one that is not known, NaN where missing."""
        if self.categories is None:
            if not column.number:
                raise DataError(f"column {self.name!r:.40} must have numbers, as when it was trained on")
            return _finite(self.name, column)[:, None]
        cells = [None if v is None or v != v else str(v) for v in column.values.tolist()]
        found = np.array([[cell == one for one in self.categories] for cell in cells], np.float64)
        found[[cell is None for cell in cells]] = np.nan
        return found.reshape(len(cells), len(self.categories))


@dataclass(frozen=True)
class Layout:
    """The columns of tables of series.

    targets: that are forecast.
    time: of the times; None: the rows are in order.
    series: that tells the series apart; None: there is one.
    known, past, static: the covariates.
    clock: of the times.
    written: how times were written.
    library: of the tables.
    wide: whether a row has a whole series.
    """

    targets: tuple[str, ...]
    time: str | None
    series: str | None
    known: tuple[Covariate, ...] = ()
    past: tuple[Covariate, ...] = ()
    static: tuple[Covariate, ...] = ()
    clock: Clock = clocks.NONE
    written: str | None = None
    library: str = "dict"
    wide: bool = False

    @classmethod
    def of(
        cls,
        frame: Any,
        *,
        target: str | Sequence[str] | None = None,
        time: str | None = None,
        series: str | None = None,
        known: Sequence[str] = (),
        past: Sequence[str] = (),
        static: Sequence[str] = (),
        report: Callable[[str], object] = note,
    ) -> "Layout":
        """The layout of a table; what is not said is taken from the names and the kinds of the columns.

        Args:
            frame: a data frame, or a mapping from names to columns.
            target, time, series, known, past, static: columns.
            report: receives what was assumed.
        Raises:
            DataError: a column is not there, or it is in doubt what one is.
        """
        table = table_of(frame)
        if not table.rows:
            raise DataError("X must have rows; got an empty table")
        said = {"known": _named(table, "known", known), "past": _named(table, "past", past)}
        said["static"] = _named(table, "static", static)
        if target is None and time is None and not any(said.values()) and (names := _wide(table)):
            report(f"a row a series, named by {names[0]!r}, its steps in {len(names) - 1:,} columns")
            return cls(("y",), None, names[0], library=table.library, wide=True)
        left = [name for name in table.columns if name not in {n for names in said.values() for n in names}]
        targets = _named(table, "target", [target] if isinstance(target, str) else target or ())
        left = [name for name in left if name not in targets]
        time = _time(table, time, left)
        left = [name for name in left if name != time]
        series = _series(table, series, left, time)
        targets = targets or _target(table, [name for name in left if name != series])
        covariates = {
            role: tuple(Covariate.of(name, table.columns[name]) for name in names) for role, names in said.items()
        }
        when = None if time is None else times(time, table.columns[time])
        made = cls(targets, time, series, **covariates, library=table.library)
        made = made._with_clock(table, when)
        made._say(table, report)
        return made

    def _with_clock(self, table: Table, when: Column | None) -> "Layout":
        if when is None:
            return self
        of = self._ids(table)[1]
        order = np.lexsort((when.values, of))
        cuts = np.flatnonzero(np.diff(of[order])) + 1
        stamps = [np.unique(one) for one in np.split(when.values[order], cuts)]
        return replace(self, clock=clocks.infer(stamps, when.zone), written=when.written)

    def _say(self, table: Table, report: Callable[[str], object]) -> None:
        """Report what was assumed."""
        covariates = [c.name for c in (*self.known, *self.past, *self.static)]
        used = {*self.targets, self.time, self.series, *covariates}
        others = [name for name in table.columns if name not in used]
        parts = [f"target: {', '.join(map(repr, self.targets))}"]
        parts.append("rows in order" if self.time is None else f"time: {self.time!r}, {self.clock}")
        parts.append("one series" if self.series is None else f"series: {self.series!r}")
        if others:
            parts.append(f"not used: {', '.join(map(repr, others[:4]))}" + (", …" if len(others) > 4 else ""))
        report(f"{'; '.join(parts)}; change it by target, time, series, known, past or static")

    def to_series(self, frame: Any, report: Callable[[str], object] = note) -> Series:
        """The series of a table.

        Raises:
            DataError: a column is missing, or has what it must not; rows are told by their numbers, from 1.
        """
        table = table_of(frame)
        if self.wide:
            return self._of_wide(table)
        self._check_columns(table, (*self.targets, *(c.name for c in (*self.known, *self.past, *self.static))))
        ids, of = self._ids(table)
        rows = _Rows(of, self._numbers(table, of), len(ids))
        values = np.stack([_finite(name, table.columns[name]) for name in self.targets], 1)
        parts = [values, *(_coded(part, table) for part in (self.known, self.past, self.static))]
        rows = rows.distinct(np.concatenate(parts, 1), self._named_time, report)
        static = self._static(rows, parts[3], len(ids))
        start, lengths = rows.spans(table.rows)
        y, known, past = (rows.placed(part, start, lengths) for part in parts[:3])
        return Series(ids, y, start, self.clock, known, past, static)

    def future(self, frame: Any, ids: Sequence[Any], first: np.ndarray, H: int) -> np.ndarray:
        """What a table tells of the H steps from the first ones, (n,), of series: float64 (n, H, K)."""
        table = table_of(frame)
        self._check_columns(table, tuple(c.name for c in self.known))
        names, of = self._ids(table)
        rows = _Rows(of, self._numbers(table, of), len(names))
        values = _coded(self.known, table)
        place = {name: k for k, name in enumerate(names)}
        found = np.full((len(ids), H, values.shape[1]), np.nan)
        there = np.zeros((len(ids), H), bool)
        for k, name in enumerate(ids):
            mine = rows.row[rows.of == place[name]] if name in place else rows.row[:0]
            at = rows.number[rows.of == place[name]] - first[k] if name in place else rows.number[:0]
            inside = (at >= 0) & (at < H)
            found[k, at[inside]], there[k, at[inside]] = values[mine[inside]], True
        if not there.all():
            k, h = (int(v) for v in np.argwhere(~there)[0])
            which = "" if self.series is None else f" of series {ids[k]!r:.40}"
            raise DataError(f"known must have a row for each of the {H} steps to come; got none for {self._named_time(first[k] + h)}{which}")
        return found

    def coded(self, role: str, frame: Any) -> np.ndarray:
        """The covariates of a role, known or past, in a table: float64 (rows, numbers)."""
        table, covariates = table_of(frame), getattr(self, role)
        _named(table, role, [c.name for c in covariates])
        return _coded(covariates, table)

    def to_frame(
        self, ids: Sequence[Any], first: np.ndarray, columns: Mapping[str, np.ndarray], cutoff: np.ndarray | None = None
    ) -> Any:
        """A table of the library that the layout is of, a row a step.

        Args:
            ids: the series of each row of the columns.
            first: the number on the clock of the first step of each, int64 (n,).
            columns: (n, H) each, by name.
            cutoff: numbers on the clock, int64 (n,), of a further column `cutoff`.
        """
        H = next(iter(columns.values())).shape[1]
        numbers = first[:, None] + np.arange(H)
        found: dict[str, Any] = {}
        if self.series is not None:
            found[self.series] = [name for name in ids for _ in range(H)]
        found[self.time or "step"] = self._times(numbers.reshape(-1))
        if cutoff is not None:
            found["cutoff"] = self._times(np.repeat(cutoff, H))
        found |= {name: values.reshape(-1) for name, values in columns.items()}
        return self._native(found, [self.time or "step", "cutoff"])

    def _times(self, numbers: np.ndarray) -> Any:
        return as_written(self.clock.stamps(numbers), self.written, self.clock.zone)

    def _named_time(self, number: int) -> str:
        """A step in words."""
        if self.clock.kind == "none":
            return f"step {number}"
        return str(np.asarray(self._times(np.array([number])))[0]).removesuffix(".000000000")

    def _native(self, columns: dict[str, Any], of_times: Sequence[str]) -> Any:
        if self.library == "dict":
            return {name: np.asarray(values) for name, values in columns.items()}
        import narwhals as nw

        frame = nw.from_dict(columns, backend=self.library)
        for name in of_times:
            if name not in columns or self.written is None or not self.clock.timed or "%" in self.written or self.written == "zone":
                continue
            if self.written == "date":
                frame = frame.with_columns(nw.col(name).cast(nw.Date))
                continue
            unit = self.written[len("datetime[") : -1] or "ns"
            of = nw.col(name).cast(nw.Datetime(unit))  # pyright: ignore[reportArgumentType]
            if self.clock.zone is not None:
                of = of.dt.replace_time_zone("UTC").dt.convert_time_zone(self.clock.zone)
            frame = frame.with_columns(of)
        return frame.to_native()

    def _check_columns(self, table: Table, names: Sequence[str]) -> None:
        wanted = [name for name in (self.time, self.series, *names) if name is not None]
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise DataError(f"there is no column {missing[0]!r:.40}; there are {', '.join(table.columns):.200}")

    def _ids(self, table: Table) -> tuple[list[Any], np.ndarray]:
        """The names of the series, in the order in which they come first, and the series of each row."""
        if self.series is None:
            return [0], np.zeros(table.rows, np.int64)
        cells = table.columns[self.series].values.tolist()
        known = {name: k for k, name in enumerate(dict.fromkeys(cells))}
        if None in known:
            raise DataError(f"column {self.series!r:.40} must name a series in each row; got none in row {cells.index(None) + 1}")
        return list(known), np.array([known[cell] for cell in cells], np.int64)

    def _numbers(self, table: Table, of: np.ndarray) -> np.ndarray:
        """The number of each row's step on the clock."""
        if self.time is None:
            order = np.argsort(of, kind="stable")
            turn = np.empty(len(of), np.int64)
            counts = np.bincount(of)
            turn[order] = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
            return turn
        when = times(self.time, table.columns[self.time])
        if (when.values.dtype.kind == "M") != self.clock.timed or (when.zone is None) != (self.clock.zone is None):
            wanted = "times" if self.clock.timed else "integers"
            zone = "" if not self.clock.timed else " with a zone" if self.clock.zone else " without a zone"
            raise DataError(f"column {self.time!r:.40} must have {wanted}{zone}, as what the network was trained on")
        numbers, off = self.clock.numbers(when.values)
        bad = np.flatnonzero(off)
        if len(bad):
            shown = ", ".join(str(row + 1) for row in bad[:_SHOWN])
            raise DataError(
                f"column {self.time!r:.40} must have times at equal steps, {self.clock} as most are; got {len(bad):,} "
                f"between two steps, in the rows {shown}{', …' if len(bad) > _SHOWN else ''}"
            )
        return numbers

    def _static(self, rows: "_Rows", values: np.ndarray, n: int) -> np.ndarray:
        found = np.zeros((n, values.shape[1]))
        found[rows.of[::-1]] = values[rows.row[::-1]]
        differs = rows.row[(found[rows.of] != values[rows.row]).any(1)] if values.shape[1] else rows.row[:0]
        if np.isnan(found).any():
            raise DataError("static covariates must be there for each series")
        if len(differs):
            raise DataError(f"static covariates must be the same in all rows of a series; row {differs.min() + 1} has others")
        return found

    def _of_wide(self, table: Table) -> Series:
        self._check_columns(table, ())
        name = self.series or ""
        steps = [column for other, column in table.columns.items() if other != name]
        if not all(column.number for column in steps):
            raise DataError("a table of one row a series must have numbers in all columns but the first")
        values = np.stack([column.values.astype(np.float64) for column in steps], 1)
        if np.isinf(values).any():
            raise DataError(f"values must be finite; got infinity in row {int(np.argmax(np.isinf(values).any(1))) + 1}")
        there = ~np.isnan(values)
        lengths = np.where(there.any(1), values.shape[1] - there[:, ::-1].argmax(1), 0)
        y = Ragged(values[np.arange(values.shape[1]) < lengths[:, None]][:, None], ends(lengths))
        ids, of = self._ids(table)
        if len(ids) < len(of):
            raise DataError(f"column {name!r:.40} must have another name in each row, as each is a series")
        nothing = Ragged(np.zeros((len(y.values), 0)), y.offsets)
        return Series(ids, y, np.zeros(len(ids), np.int64), clocks.NONE, nothing, nothing, np.zeros((len(ids), 0)))

    def to_json(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return asdict(self) | {role: [list(c) for c in getattr(self, role)] for role in ("known", "past", "static")}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Layout":
        """The inverse of `to_json`; raise KeyError, TypeError or ValueError if it is none."""
        covariates = {
            role: tuple(
                Covariate(str(name), None if categories is None else tuple(map(str, categories)))
                for name, categories in saved[role]
            )
            for role in ("known", "past", "static")
        }
        names = {role: None if saved[role] is None else str(saved[role]) for role in ("time", "series", "written")}
        return cls(
            tuple(map(str, saved["targets"])),
            **covariates,
            **names,
            clock=Clock.loaded(saved["clock"]),
            library=str(saved["library"]),
            wide=bool(saved["wide"]),
        )


class Laid(NamedTuple):
    """The series of a table, and what is what in it."""

    layout: Layout
    series: Series


class _Rows(NamedTuple):
    """Rows of a table as steps: the series and the number on the clock of each, and how many series there are."""

    of: np.ndarray
    number: np.ndarray
    n: int
    kept: np.ndarray | None = None

    @property
    def row(self) -> np.ndarray:
        return np.arange(len(self.of)) if self.kept is None else self.kept

    def distinct(self, values: np.ndarray, named: Callable[[int], str], report: Callable[[str], object]) -> "_Rows":
        """The rows without those that repeat another; raise DataError where two of one time differ."""
        order = np.lexsort((self.number, self.of))
        of, number, sorted_ = self.of[order], self.number[order], values[order]
        again = (np.diff(of) == 0) & (np.diff(number) == 0)
        same = (sorted_[1:] == sorted_[:-1]) | (np.isnan(sorted_[1:]) & np.isnan(sorted_[:-1]))
        differ = np.flatnonzero(again & ~same.all(1))
        if len(differ):
            a, b = sorted(int(order[differ[0] + k]) + 1 for k in (0, 1))
            raise DataError(
                f"each time must be there once a series; got {len(differ):,} again with other values, as in the rows {a} and "
                f"{b}, of {named(int(number[differ[0]]))}: keep one row of each, name the column that tells the series "
                f"apart, or, if it is the hour that comes twice when summer time ends, give times a zone"
            )
        kept = np.append(True, ~again) if len(order) else np.zeros(0, bool)
        if again.any():
            report(f"{int(again.sum()):,} rows repeat the one before with the same values, and count once")
        return _Rows(of[kept], number[kept], self.n, order[kept])

    def spans(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The first number of each series, and its steps; raise DataError if there are far more steps than rows."""
        first = np.full(self.n, np.iinfo(np.int64).max)
        last = np.full(self.n, np.iinfo(np.int64).min)
        np.minimum.at(first, self.of, self.number)
        np.maximum.at(last, self.of, self.number)
        lengths = last - first + 1
        total = int(lengths.sum())
        if total > min(_MOST_STEPS, max(_MOST_GAPS * rows, 10**5)):
            k = int(lengths.argmax())
            raise DataError(
                f"the times make {total:,} steps of {rows:,} rows, {lengths[k]:,} in one series: is one of its times "
                f"wrong, or the step too short?"
            )
        return first, lengths

    def placed(self, values: np.ndarray, start: np.ndarray, lengths: np.ndarray) -> Ragged:
        """The values of rows at their steps, NaN at steps without a row."""
        offsets = ends(lengths)
        found = np.full((int(offsets[-1]), values.shape[1]), np.nan)
        found[offsets[self.of] + self.number - start[self.of]] = values[self.row]
        return Ragged(found, offsets)


def _coded(covariates: Sequence[Covariate], table: Table) -> np.ndarray:
    parts = [c.coded(table.columns[c.name]) for c in covariates]
    return np.concatenate(parts, 1) if parts else np.zeros((table.rows, 0))


def _finite(name: str, column: Column) -> np.ndarray:
    """Numbers as float64, NaN where missing."""
    if not column.number:
        what = "times" if not column.text else f"{next((c for c in column.values.tolist() if c is not None), None)!r:.40}"
        raise DataError(f"column {name!r:.40} must have numbers; got {what}")
    values = column.values.astype(np.float64)
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise DataError(f"column {name!r:.40} must have finite numbers; got infinity in row {bad[0] + 1}")
    return values


def _named(table: Table, role: str, names: Sequence[str]) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in table.columns:
            raise DataError(f"{role}: there is no column {name!r:.40}; there are {', '.join(table.columns):.200}")
    return names


def _known(names: Sequence[str], words: Sequence[str]) -> str | None:
    """The first of the names that is one of the words, the surest word first."""
    return next((name for word in words for name in names if name.casefold() == word), None)


def _wide(table: Table) -> list[str]:
    """The columns of a table with a row a series, the names of the series first; none if it is no such table."""
    first, *others = table.columns.items()
    cells = first[1].values.tolist()
    numbers = all(column.number and _WIDE.fullmatch(name) for name, column in others)
    if len(others) < _LEAST_WIDE or not numbers or not first[1].text or len(set(cells)) < len(cells):
        return []
    return list(table.columns)


def _time(table: Table, given: str | None, names: Sequence[str]) -> str | None:
    """The column of the times."""
    if given is not None:
        return _named(table, "time", [given])[0]
    if (found := _known(names, _TIMES)) is not None:
        return found
    typed = [name for name in names if table.columns[name].values.dtype.kind == "M"]
    found = typed or [name for name in names if _has_times(table.columns[name])]
    if len(found) > 1:
        raise DataError(f"it is in doubt which column has the times, {', '.join(found):.200}; name it by time")
    return found[0] if found else None


def _has_times(column: Column) -> bool:
    """Whether a column of texts has times, as far as its first cells tell."""
    from .columns import parsed

    cells = [cell for cell in column.values[:20].tolist() if cell] if column.text else []
    return bool(cells) and isinstance(parsed(cells), Column)


def _series(table: Table, given: str | None, names: Sequence[str], time: str | None) -> str | None:
    """The column that tells the series apart: by its name, or the one text whose cells and times come once together."""
    if given is not None:
        return _named(table, "series", [given])[0]
    if (found := _known(names, _SERIES)) is not None:
        return found
    texts = [name for name in names if table.columns[name].text]
    if len(texts) != 1 or time is None:
        return None
    when = table.columns[time].values.tolist()
    pairs = set(zip(table.columns[texts[0]].values.tolist(), when, strict=True))
    return texts[0] if len(set(when)) < table.rows == len(pairs) else None


def _target(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """The column to forecast: by its name, or the one of numbers that is left."""
    if (found := _known(names, _TARGETS)) is not None:
        return (found,)
    numbers = [name for name in names if table.columns[name].number]
    if len(numbers) != 1:
        there = ", ".join(numbers or table.columns)
        raise DataError(f"it is in doubt which column is to be forecast; name it by target: there are {there:.200}")
    return (numbers[0],)
