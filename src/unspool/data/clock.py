"""The clock of series: steps by number, their times, and what the calendar says of them. No PyTorch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from datetime import datetime as Datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from ..errors import DataError

_DAY = 86_400_000_000_000  # nanoseconds
_UNITS = {"week": 7 * _DAY, "day": _DAY, "hour": _DAY // 24, "minute": 60_000_000_000, "second": 1_000_000_000}
_LONGEST = 2016  # steps that a season may have: a week of five minutes


@dataclass(frozen=True)
class Clock:
    """Steps at equal distances, in number 0, 1, 2, … and before.

    kind: "none", steps without times; "integer"; "duration", count nanoseconds apart; "month", count months apart.
    count: of its unit from one step to the next.
    offset: of its unit, the time of step 0; months are counted from January of the year 0.
    day: of months, on which the steps are; 31 is the last.
    zone: the name of the zone, where times have one; steps are then those of UTC. None: times are as they are.

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

    def stamps(self, numbers: np.ndarray) -> np.ndarray:
        """The times of steps, datetime64[ns], in UTC where there is a zone; or integers."""
        if self.kind != "month":
            found = numbers * self.count + self.offset
            return found.astype("M8[ns]") if self.kind == "duration" else found
        months = (numbers * self.count + self.offset - 12 * 1970).astype("M8[M]")
        last = ((months + 1).astype("M8[D]") - 1).astype("M8[ns]")
        return np.minimum(months.astype("M8[D]") + (self.day - 1), last).astype("M8[ns]")

    def numbers(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the steps of times, int64, and whether they are not at a step, bool."""
        if self.kind == "month":
            found, off = np.divmod(_months(stamps) - self.offset, self.count)
            return found, (off != 0) | (self.stamps(found) != stamps)
        found, off = np.divmod(stamps.astype("M8[ns]" if self.kind == "duration" else np.int64).astype(np.int64) - self.offset, self.count)
        return found, off != 0

    def calendar(self, numbers: np.ndarray) -> list[tuple[str, np.ndarray, int]]:
        """What the calendar says of steps, (N,): of each cycle that is longer than a step a name, values and a period.

        The hour of the day, or of steps of a quarter of an hour and more these; the day of the week; of steps of a day
        or more the day of the year, or the month. They are those of the zone, where there is one.
        """
        if not self.timed:
            return []
        stamps = self.local(numbers)
        if self.kind == "month":
            month = stamps.astype("M8[M]").astype(np.int64) % 12
            return [("month", month, 12)] if self.count < 12 else []
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
        if self.kind == "month":
            return (12 // self.count,) if 12 % self.count == 0 and self.count < 12 else ()
        if self.kind != "duration":
            return ()
        lengths = [_DAY, 7 * _DAY] + ([365 * _DAY] if self.count >= _DAY else [])
        if self.count == 7 * _DAY:
            return (52,)
        found = [length // self.count for length in lengths if length % self.count == 0]
        return tuple(m for m in found if 1 < m <= _LONGEST)

    def local(self, numbers: np.ndarray) -> np.ndarray:
        """The times of steps as clocks show them, datetime64[ns]."""
        stamps = self.stamps(numbers)
        if self.zone is None:
            return stamps
        hours, which = np.unique(stamps.astype("M8[h]"), return_inverse=True)
        zone = zone_of(self.zone)
        shifts = [zone.utcoffset(Datetime.fromtimestamp(h * 3600, UTC).astimezone(zone)) for h in hours.astype(np.int64).tolist()]
        return stamps + np.array(shifts, "m8[us]")[which.reshape(stamps.shape)].astype("m8[ns]")

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
        return f"every {name}" if count == 1 else f"every {count} {name}s"

    def saved(self) -> dict[str, Any]:
        """What JSON can have of it."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> "Clock":
        """The inverse of `saved`; raise KeyError, TypeError or ValueError if it is none."""
        kind, zone = saved["kind"], saved["zone"]
        if kind not in ("none", "integer", "duration", "month") or not 1 <= int(saved["day"]) <= 31 or int(saved["count"]) < 1:
            raise ValueError("the clock must have a known kind, a step of at least 1, and a day of the month")
        if zone is not None:
            zone_of(zone)
        return cls(kind, int(saved["count"]), int(saved["offset"]), int(saved["day"]), zone)


NONE = Clock()


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name; raise DataError if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DataError(f"there is no zone {name!r:.40}; expected a name such as Europe/Berlin") from None


def infer(stamps: Sequence[np.ndarray], zone: str | None = None) -> Clock:
    """The clock of series whose times, datetime64[ns] or int64, rise: its step is the commonest distance.

    Args:
        stamps: of each series, (T,).
        zone: of the times, where they have one.
    """
    every = np.concatenate(stamps) if stamps else np.zeros(0, np.int64)
    if every.dtype.kind != "M":
        count = _commonest(stamps)
        return Clock("integer", count, int(every[0]) % count if len(every) else 0)
    day = _day_of_month(every)
    if day is not None and zone is None:
        months = [_months(one) for one in stamps]
        if (count := _commonest(months)) and all((np.diff(one) > 0).all() for one in months):
            return Clock("month", count, int(months[0][0]), day)
    count = _commonest([one.astype("M8[ns]").astype(np.int64) for one in stamps])
    return Clock("duration", count, int(every[0].astype("M8[ns]").astype(np.int64)) % count, zone=zone)


def _commonest(stamps: Sequence[np.ndarray]) -> int:
    """The commonest distance; of equally common ones the least, and 1 if there is none."""
    counts: Counter[int] = Counter()
    for one in stamps:
        counts.update(dict(zip(*(v.tolist() for v in np.unique(np.diff(one), return_counts=True)), strict=True)))
    return max(counts, key=lambda distance: (counts[distance], -distance), default=1)


def _months(stamps: np.ndarray) -> np.ndarray:
    return stamps.astype("M8[M]").astype(np.int64) + 12 * 1970


def _day_of_month(stamps: np.ndarray) -> int | None:
    """The day on which all times are, at midnight; 31 for the last of each month; None if they are on several."""
    days = stamps.astype("M8[D]")
    if not len(stamps) or (days != stamps).any():
        return None
    first = days.astype("M8[M]").astype("M8[D]")
    last = (days.astype("M8[M]") + 1).astype("M8[D]") - 1
    if (days == last).all():
        return 31
    of = (days - first).astype(np.int64) + 1
    return int(of[0]) if (of == of[0]).all() and of[0] <= 28 and len(of) > 1 else None
