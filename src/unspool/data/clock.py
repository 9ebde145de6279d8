"""The clock of series: steps by number, their times, and what the calendar says of them. No PyTorch."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from datetime import datetime as Datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from ..errors import DataError

_SECOND = 1_000_000_000  # nanoseconds
_DAY = 86_400 * _SECOND
_UNITS = {"week": 7 * _DAY, "day": _DAY, "hour": _DAY // 24, "minute": 60 * _SECOND, "second": _SECOND}
_LONGEST = 2016  # steps that a season may have: a week of five minutes
_FIXED = re.compile(r"(?:UTC)?([+-])([0-9]{2}):?([0-9]{2})")  # the name of a zone that is always so far from UTC
_EPOCH = Datetime(1970, 1, 1, tzinfo=UTC)
_WEEKS = range(-292 * 31_556_952, 292 * 31_556_952, 7 * 86_400)  # seconds, of all times that nanoseconds can count


@dataclass(frozen=True)
class Clock:
    """Steps at equal distances, in number 0, 1, 2, … and before.

    kind: "none", steps without times; "integer"; "duration", count nanoseconds apart; "month", count months apart.
    count: of its unit from one step to the next.
    offset: of its unit, the time of step 0; months are counted from January of the year 0.
    day: of months, on which the steps are; where a month is shorter, they are on its last.
    zone: the name of the zone, where times have one; None: times are as they are. Steps of days and months are at the
        same time on the clocks of the zone, and shorter ones equally long.

    >>> clock = Clock("month", 1, 12 * 1949)
    >>> clock.stamps(np.array([0, 13])).astype(str).tolist()
    ['1949-01-01T00:00:00.000000000', '1950-02-01T00:00:00.000000000']
    """

    kind: str = "none"
    count: int = 1
    offset: int = 0
    day: int = 1
    zone: str | None = None

    @property
    def timed(self) -> bool:
        """Whether steps have times of the calendar."""
        return self.kind in ("duration", "month")

    @property
    def _of_zone(self) -> str | None:
        """The zone whose clocks have the steps; None if they are steps of UTC, or there is no zone."""
        return self.zone if self.kind == "month" or self.count % _DAY == 0 else None

    def stamps(self, numbers: np.ndarray) -> np.ndarray:
        """The times of steps, datetime64[ns], in UTC where there is a zone; or integers."""
        found = numbers * self.count + self.offset
        if not self.timed:
            return found
        if self.kind == "month":
            months = (found - 12 * 1970).astype("M8[M]")
            last = (months + 1).astype("M8[D]") - 1
            found = np.minimum(months.astype("M8[D]") + (self.day - 1), last)
        return _utc(found.astype("M8[ns]"), self._of_zone)

    def numbers(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the steps of times, int64, and whether they are not at a step, bool."""
        found = stamps if not self.timed else _local(stamps.astype("M8[ns]"), self._of_zone)
        found = _months(found) if self.kind == "month" else found.astype(np.int64)
        found = (found - self.offset) // self.count
        return found, self.stamps(found) != stamps

    def local(self, numbers: np.ndarray) -> np.ndarray:
        """The times of steps as clocks show them, datetime64[ns]."""
        return _local(self.stamps(numbers), self.zone)

    def calendar(self, numbers: np.ndarray) -> list[tuple[str, np.ndarray, int]]:
        """What the calendar says of steps, (N,): of each cycle that is longer than a step a name, values and a period.

        The hour of the day, or of steps that divide the day these, down to quarters of an hour; the day of the week; of
        steps of a day or more the day of the year, or the month. They are those of the zone, where there is one.
        """
        if not self.timed:
            return []
        stamps = self.local(numbers)
        if self.kind == "month":
            return [("month", _months(stamps) % 12, 12)] if self.count < 12 else []
        ns, found = stamps.astype(np.int64), []
        if self.count < _DAY:
            part = max(self.count, _DAY // 96) if _DAY % self.count == 0 else _DAY // 24
            found.append(("time of day", ns % _DAY // part, _DAY // part))
        if self.count < 7 * _DAY:
            found.append(("day of the week", (ns // _DAY + 3) % 7, 7))
        if _DAY <= self.count < 300 * _DAY:
            found.append(("day of the year", (stamps.astype("M8[D]") - stamps.astype("M8[Y]")).astype(np.int64), 366))
        return found

    def seasons(self) -> tuple[int, ...]:
        """The steps after which the calendar begins anew, the fewest first: of a day, a week, a year."""
        if (self.kind, self.count) == ("duration", 7 * _DAY):
            return (52,)
        lengths = {"month": [12], "duration": [_DAY, 7 * _DAY]}.get(self.kind, [])
        if self.kind == "duration" and self.count >= _DAY:
            lengths.append(365 * _DAY)
        found = [length // self.count for length in lengths if length % self.count == 0]
        return tuple(m for m in found if 1 < m <= _LONGEST)

    def __str__(self) -> str:
        if self.kind == "none":
            return "steps without times"
        if self.kind == "integer":
            return f"steps of {self.count}"
        if self.kind == "month":
            name, count = ("year", self.count // 12) if self.count % 12 == 0 else ("month", self.count)
        else:
            name = next((name for name, length in _UNITS.items() if self.count % length == 0), "nanosecond")
            count = self.count // _UNITS.get(name, 1)
        return f"every {name}" if count == 1 else f"every {count:,} {name}s"

    def saved(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> "Clock":
        """The inverse of `saved`; raise KeyError, TypeError or ValueError if it is none."""
        kind, zone = saved["kind"], saved["zone"]
        count, offset, day = (int(saved[name]) for name in ("count", "offset", "day"))
        if kind not in ("none", "integer", "duration", "month") or not 1 <= day <= 31 or not 1 <= count < 2**62:
            raise ValueError("the clock must have a known kind, a step of at least 1, and a day of the month")
        if abs(offset) >= 2**62:
            raise ValueError("the offset of the clock must be less than 2^62")
        if zone is not None:
            zone_of(zone)
        return cls(kind, count, offset, day, zone)


NONE = Clock()


def zone_of(name: str) -> tzinfo:
    """The zone of this name, or so far from UTC as `+02:00`; raise DataError if there is none."""
    try:
        if fixed := _FIXED.fullmatch(name):
            shift = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
            return timezone(-shift if fixed[1] == "-" else shift)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DataError(f"there is no zone {name!r:.40}; expected a name such as Europe/Berlin") from None


def infer(stamps: Sequence[np.ndarray], zone: str | None = None) -> Clock:
    """The clock of series whose times, datetime64[ns] or int64, rise: its step is the commonest distance.

    Args:
        stamps: of each series, (T,).
        zone: of the times, where they have one; they are then UTC.
    Raises:
        DataError: there is no such zone.
    """
    every = np.concatenate(stamps) if stamps else np.zeros(0, np.int64)
    if every.dtype.kind != "M":
        count = _commonest(stamps, 1)
        return Clock("integer", count, int(every[0]) % count if len(every) else 0)
    shown = _local(every, zone)
    day = _day_of_month(shown)
    if day is not None:
        count = _commonest([_months(_local(one, zone)) for one in stamps], 1)
        return Clock("month", count, int(_months(shown[:1])[0]) % count, day, zone)
    count = _commonest([one.astype("M8[ns]").astype(np.int64) for one in stamps], _DAY)
    first = (shown if count % _DAY == 0 else every)[:1].astype("M8[ns]").astype(np.int64)
    return Clock("duration", count, int(first[0]) % count if len(first) else 0, zone=zone)


def _commonest(stamps: Sequence[np.ndarray], default: int) -> int:
    """The commonest distance; of equally common ones the least, and `default` if there is none."""
    counts: Counter[int] = Counter()
    for one in stamps:
        distances, times = np.unique(np.diff(one), return_counts=True)
        counts.update(dict(zip(distances.tolist(), times.tolist(), strict=True)))
    return max(counts, key=lambda distance: (counts[distance], -distance), default=default)


def _months(stamps: np.ndarray) -> np.ndarray:
    """The months of times, counted from January of the year 0."""
    return stamps.astype("M8[M]").astype(np.int64) + 12 * 1970


def _day_of_month(stamps: np.ndarray) -> int | None:
    """The day on which all of several times are, at midnight; 31 for the last of each month; None if there is none."""
    days = stamps.astype("M8[D]")
    if len(stamps) < 2 or (days != stamps).any():
        return None
    months = days.astype("M8[M]")
    of = (days - months.astype("M8[D]")).astype(np.int64) + 1
    last = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    day = 31 if (of == last).all() else int(of.max())
    return day if (of == np.minimum(day, last)).all() else None


def _local(stamps: np.ndarray, zone: str | None) -> np.ndarray:
    """What the clocks of a zone show at times in UTC, datetime64[ns]; the same if there is no zone."""
    if zone is None:
        return stamps
    changes, more = _changes(zone)
    return stamps + more[np.searchsorted(changes, stamps, "right")]


def _utc(local: np.ndarray, zone: str | None) -> np.ndarray:
    """The inverse of `_local`: the first of two times that look alike; one that is skipped counts as before it."""
    if zone is None:
        return local
    changes, more = _changes(zone)
    return local - more[np.searchsorted(changes + np.maximum(more[:-1], more[1:]), local, "right")]


@lru_cache(16)
def _changes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The times, in UTC, from which on the clocks of a zone show another time, (N,), and how much later, (N + 1,).

    It looks for them once a week.
    """
    zone = zone_of(name)

    def more(second: int) -> int:
        shift = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
        return round(shift.total_seconds()) if shift else 0

    weeks = [(week, more(week)) for week in _WEEKS]
    changes, shifts = [], [weeks[0][1]]
    for (begin, before), (end, after) in pairwise(weeks):
        if before != after:
            seconds = range(begin + 1, end + 1)
            changes.append(seconds[bisect(seconds, False, key=lambda second: more(second) != before)])
            shifts.append(after)
    return np.array(changes, "M8[s]").astype("M8[ns]"), np.array(shifts, "m8[s]").astype("m8[ns]")
