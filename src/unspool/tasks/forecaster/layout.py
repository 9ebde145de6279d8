"""Which column of a table is what, from tables to series and back. No PyTorch.

one row a step     the target, or several; a time, or none; a column that tells series apart, or none
one row a series   a column of names and columns of values, as the M4 competition has them
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...data import clock as clocks
from ...data.clock import Clock
from ...data.ragged import Ragged, ends
from ...errors import DataError
from ..files import note
from .columns import Table, as_written, table_of, times
from .roles import is_wide, recognised, roles_of
from .rows import Covariate, Rows, coded, finite, static_of, turns
from .series import Series

_SHOWN = 5  # rows that a complaint names


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
        given = {"target": target, "time": time, "series": series, "known": known, "past": past, "static": static}
        roles = roles_of(table, given)
        if not any(names for role, names in roles.items() if role != "series") and is_wide(table, series):
            first, *steps = table.columns
            report(f"a row a series, named by {first!r}, its steps in {len(steps):,} columns")
            return cls(("y",), None, first, library=table.library, wide=True)
        when, which, targets = recognised(table, roles)

        def covariates(role: str) -> tuple[Covariate, ...]:
            return tuple(Covariate.of(name, table.columns[name]) for name in roles[role])

        made = cls(targets, when, which, covariates("known"), covariates("past"), covariates("static"))
        made = replace(made, library=table.library)._with_clock(table)
        made._say(table, report)
        return made

    def _with_clock(self, table: Table) -> "Layout":
        if self.time is None:
            return self
        when, of = times(self.time, table.columns[self.time]), self._ids(table)[1]
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
        if not table.rows:
            raise DataError("X must have rows; got an empty table")
        if self.wide:
            return self._of_wide(table)
        self._check_columns(table, (*self.targets, *(c.name for c in (*self.known, *self.past, *self.static))))
        ids, of = self._ids(table)
        values = np.stack([finite(name, table.columns[name]) for name in self.targets], 1)
        parts = [values, *(coded(part, table) for part in (self.known, self.past, self.static))]
        rows = self._rows(table, of, len(ids), np.concatenate(parts, 1), report)
        static = static_of(rows, parts[3])
        start, lengths = rows.spans()
        y, known, past = (rows.placed(part, start, lengths) for part in parts[:3])
        return Series(ids, y, start, self.clock, known, past, static)

    def future(self, frame: Any, ids: Sequence[Any], first: np.ndarray, H: int) -> np.ndarray:
        """What a table tells of the H steps from the first ones, (n,), of series: float64 (n, H, K).

        Where there are no times, the rows of a series are the steps to come, in order.
        """
        if not self.known:
            raise DataError("known must be left out, as the network was trained without such covariates")
        table = table_of(frame)
        self._check_columns(table, tuple(c.name for c in self.known))
        names, of = self._ids(table)
        values = coded(self.known, table)
        rows = self._rows(table, of, len(names), values, lambda said: None)
        place = {name: k for k, name in enumerate(ids)}
        k = np.array([place.get(name, -1) for name in names], np.int64)[rows.of]
        at = rows.number - (0 if self.time is None else first[k])
        inside = (k >= 0) & (at >= 0) & (at < H)
        found, there = np.zeros((len(ids), H, values.shape[1])), np.zeros((len(ids), H), bool)
        found[k[inside], at[inside]], there[k[inside], at[inside]] = values[rows.row[inside]], True
        if not there.all():
            k, h = (int(v) for v in np.argwhere(~there)[0])
            which = "" if self.series is None else f" of series {ids[k]!r:.40}"
            step = self._named(first[k] + h)
            raise DataError(f"known must have a row for each of the {H} steps to come; got none for {step}{which}")
        return found

    def coded(self, role: str, frame: Any) -> np.ndarray:
        """The covariates of a role, known or past, in a table: float64 (rows, numbers)."""
        table, covariates = table_of(frame), getattr(self, role)
        missing = [c.name for c in covariates if c.name not in table.columns]
        if missing:
            there = ", ".join(table.columns)
            raise DataError(f"{role} must have {missing[0]!r:.40}, which the network reads; got {there:.200}")
        return coded(covariates, table)

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

    def _named(self, number: Any) -> str:
        """A step in words."""
        numbers = np.array([number])
        if not self.clock.timed:
            return f"step {self.clock.stamps(numbers)[0]}"
        zone = "" if self.clock.zone is None else f" in {self.clock.zone}"
        return f"{np.datetime_as_string(self.clock.local(numbers), unit='auto')[0]}{zone}"

    def _native(self, columns: dict[str, Any], of_times: Sequence[str]) -> Any:
        """Columns as a table of the library."""
        if self.library == "dict":
            return {name: np.asarray(values) for name, values in columns.items()}
        import narwhals as nw

        backend: Any = self.library
        frame = nw.from_dict(columns, backend=backend)
        for name in columns.keys() & set(of_times):
            time = nw.col(name)
            if self.written == "D":
                frame = frame.with_columns(time.cast(nw.Date))
            elif self.clock.zone is not None and frame[name].dtype == nw.Datetime:
                frame = frame.with_columns(time.dt.replace_time_zone("UTC").dt.convert_time_zone(self.clock.zone))
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
        column = table.columns[self.series]
        if not column.text and not column.number:
            raise DataError(f"column {self.series!r:.40} has times; series must be named by texts or numbers")
        cells = column.values.tolist()
        missing = [row for row, cell in enumerate(cells, 1) if cell is None or cell != cell]
        if missing:
            raise DataError(f"column {self.series!r:.40} must name a series in each row; got none in row {missing[0]}")
        place = {name: k for k, name in enumerate(dict.fromkeys(cells))}
        return list(place), np.array([place[cell] for cell in cells], np.int64)

    def _rows(self, table: Table, of: np.ndarray, n: int, values: np.ndarray, report: Callable[[str], object]) -> Rows:
        """The rows of a table as steps of n series, without those that repeat others."""
        number = self._numbers(table, of)
        order = np.lexsort((number, of))
        rows = Rows(order, of[order], number[order], n)
        again = np.flatnonzero((np.diff(rows.of) == 0) & (np.diff(rows.number) == 0)) + 1
        one, other = values[rows.row[again - 1]], values[rows.row[again]]
        differ = again[((one != other) & ~(np.isnan(one) & np.isnan(other))).any(1)]
        if len(differ):
            raise self._twice(rows, differ)
        if len(again):
            report(f"{len(again):,} rows repeat another one, with its time and values, and do not count")
        return rows.take(np.delete(np.arange(len(order)), again))

    def _twice(self, rows: Rows, again: np.ndarray) -> DataError:
        """The complaint about rows that have the time of the one before, and other values."""
        a, b = sorted((rows.row[again[0] - 1 : again[0] + 1] + 1).tolist())
        hint = "keep one row of each, or name the column that tells the series apart"
        if self.clock.timed and self.clock.zone is None:
            hint += "; if it is the hour that comes twice when summer time ends, give the times a zone"
        return DataError(
            f"each time must be there once a series; got {len(again):,} again with other values, as in the rows {a} "
            f"and {b}, of {self._named(rows.number[again[0]])}: {hint}"
        )

    def _numbers(self, table: Table, of: np.ndarray) -> np.ndarray:
        """The number of each row's step on the clock."""
        if self.time is None:
            return turns(of)
        when = times(self.time, table.columns[self.time])
        if (when.values.dtype.kind == "M") != self.clock.timed or (when.zone is None) != (self.clock.zone is None):
            wanted = "times" if self.clock.timed else "integers"
            zone = "" if not self.clock.timed else " with a zone" if self.clock.zone else " without a zone"
            raise DataError(f"column {self.time!r:.40} must have {wanted}{zone}, as what the network was trained on")
        numbers, off = self.clock.numbers(when.values)
        bad = np.flatnonzero(off)
        if len(bad):
            rows = ", ".join(str(row + 1) for row in bad[:_SHOWN].tolist())
            raise DataError(
                f"column {self.time!r:.40} must have times at equal steps, {self.clock} as most are; got {len(bad):,} "
                f"between two steps, in the rows {rows}{', …' if len(bad) > _SHOWN else ''}"
            )
        return numbers

    def _of_wide(self, table: Table) -> Series:
        """The series of a table with a row for each; what is missing at the end is no step."""
        self._check_columns(table, ())
        values = np.stack([finite(name, column) for name, column in table.columns.items() if name != self.series], 1)
        there = ~np.isnan(values)
        lengths = np.where(there.any(1), values.shape[1] - there[:, ::-1].argmax(1), 0)
        y = Ragged(values[np.arange(values.shape[1]) < lengths[:, None]][:, None], ends(lengths))
        ids, of = self._ids(table)
        if len(ids) < len(of):
            raise DataError(f"column {self.series!r:.40} must have another name in each row, as each is a series")
        nothing = Ragged(np.zeros((len(y.values), 0)), y.offsets)
        return Series(ids, y, np.zeros(len(ids), np.int64), self.clock, nothing, nothing, np.zeros((len(ids), 0)))

    def to_json(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return asdict(self) | {role: [list(c) for c in getattr(self, role)] for role in ("known", "past", "static")}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Layout":
        """The inverse of `to_json`; raise KeyError, TypeError or ValueError if it is none."""
        known, past, static = (
            tuple(Covariate(str(name), None if of is None else tuple(map(str, of))) for name, of in saved[role])
            for role in ("known", "past", "static")
        )
        names = (None if saved[role] is None else str(saved[role]) for role in ("time", "series", "written"))
        time, series, written = names
        targets, clock = tuple(map(str, saved["targets"])), Clock.loaded(saved["clock"])
        library, wide = str(saved["library"]), bool(saved["wide"])
        return cls(targets, time, series, known, past, static, clock, written, library, wide)


class Laid(NamedTuple):
    """The series of a table, and what is what in it."""

    layout: Layout
    series: Series
