"""The clock of series: steps and times are inverse, the step is the commonest distance, the calendar is local."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.data.clock import NONE, Clock, infer, zone_of
from unspool.errors import DataError

SECOND = 10**9
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
BERLIN = "Europe/Berlin"
CLOCKS = {
    "quarters of an hour": Clock("duration", HOUR // 4, 120),
    "hours": Clock("duration", HOUR),
    "hours of a zone": Clock("duration", HOUR, HOUR // 2, zone=BERLIN),
    "days": Clock("duration", DAY, 7 * HOUR),
    "days of a zone": Clock("duration", DAY, zone=BERLIN),
    "days where midnight is skipped": Clock("duration", DAY, zone="America/Sao_Paulo"),
    "days where half an hour is skipped": Clock("duration", DAY, 2 * HOUR, zone="Australia/Lord_Howe"),
    "weeks": Clock("duration", 7 * DAY, 3 * DAY),
    "weeks of a zone": Clock("duration", 7 * DAY, 3 * DAY, zone="America/New_York"),
    "firsts of months": Clock("month"),
    "ends of months": Clock("month", day=31),
    "the 29th, or the last of February": Clock("month", day=29),
    "months of a zone": Clock("month", zone=BERLIN),
    "quarters": Clock("month", 3, 1),
    "ends of quarters": Clock("month", 3, 2, 31),
    "years": Clock("month", 12),
    "leap days, or the 28th": Clock("month", 12, 1, 31),
    "integers": Clock("integer", 1),
    "integers with a step": Clock("integer", 15, 7),
    "steps": NONE,
}


def times(*texts):
    return np.array(texts, "M8[ns]")


def first(clock):
    """A step of the year 1990."""
    return int(clock.numbers(times("1990-01-20"))[0][0]) if clock.timed else -20


@pytest.mark.parametrize("name", CLOCKS)
@given(start=st.integers(0, 3000), n=st.integers(2, 60))
def test_numbers_and_times_are_inverse(name, start, n):
    clock = CLOCKS[name]
    start = start % 100 if clock.kind == "month" else start
    numbers = first(clock) + start + np.arange(n)
    stamps = clock.stamps(numbers)
    assert (np.diff(stamps) > np.zeros(1, stamps.dtype) - np.zeros(1, stamps.dtype)).all()
    back, off = clock.numbers(stamps)
    assert back.tolist() == numbers.tolist() and not off.any()


@pytest.mark.parametrize("name", [name for name in CLOCKS if name not in ("steps", "leap days, or the 28th")])
def test_the_clock_of_its_times_is_inferred(name):
    clock = CLOCKS[name]
    numbers = first(clock) + np.arange(100 if clock.kind == "month" else 500)
    found = infer([clock.stamps(numbers[:40]), clock.stamps(numbers[50:])], clock.zone)
    assert found.stamps(numbers).tolist() == clock.stamps(numbers).tolist()
    assert (found.kind, found.count, found.day, found.zone) == (clock.kind, clock.count, clock.day, clock.zone)


@pytest.mark.parametrize("name", [name for name, clock in CLOCKS.items() if clock.timed])
def test_times_between_steps_are_seen(name):
    clock = CLOCKS[name]
    stamps = clock.stamps(first(clock) + np.arange(60))
    later = stamps.copy()
    later[7] += 1
    assert np.flatnonzero(clock.numbers(later)[1]).tolist() == [7]
    assert clock.numbers(later)[0].tolist() == clock.numbers(stamps)[0].tolist()


def test_integers_between_steps_are_seen():
    assert Clock("integer", 5, 2).numbers(np.array([2, 7, 8, -3]))[1].tolist() == [False, False, True, False]


def test_days_of_leap_years():
    days = np.arange("2000-02-27", "2000-03-03", dtype="M8[D]").astype("M8[ns]")
    clock = infer([days])
    assert clock.stamps(clock.numbers(days[:1])[0] + np.arange(len(days))).tolist() == days.tolist()
    ends = infer([times("2023-01-31", "2023-02-28", "2023-03-31")])
    number = ends.numbers(times("2024-01-31"))[0]
    assert ends.stamps(number + np.arange(3)).astype("M8[D]").astype(str).tolist() == [
        "2024-01-31",
        "2024-02-29",
        "2024-03-31",
    ]


@pytest.mark.parametrize(
    ("stamps", "text"),
    [
        (times("1949-01-01", "1949-02-01", "1949-03-01"), "every month"),
        (times("2020-01-15", "2020-02-15", "2020-03-15"), "every month"),
        (times("2020-03-31", "2020-06-30", "2020-09-30"), "every 3 months"),
        (times("1990-12-31", "1991-12-31"), "every year"),
        (times("1990-01-01", "2000-01-01", "2010-01-01"), "every 10 years"),
        (times("2020-01-06", "2020-01-13"), "every week"),
        (times("2020-01-06", "2020-01-20", "2020-02-03"), "every 2 weeks"),
        (times("2020-01-30", "2020-01-31"), "every day"),
        (times("2020-01-30"), "every day"),
        (times("2020-01-01T00", "2020-01-01T12"), "every 12 hours"),
        (times("2020-01-01T00:00", "2020-01-01T00:05"), "every 5 minutes"),
        (times("2020-01-01T00:00:00", "2020-01-01T00:00:30"), "every 30 seconds"),
        (times("2020-01-01T00:00:00.0", "2020-01-01T00:00:00.5"), "every 500,000,000 nanoseconds"),
        (np.array([1990, 1992, 1994]), "steps of 2"),
        (np.array([7]), "steps of 1"),
    ],
)
def test_a_step_in_words(stamps, text):
    assert str(infer([stamps])) == text


def test_the_step_is_the_commonest_distance_and_of_equal_ones_the_least():
    assert infer([np.array([0, 2, 4, 5, 6, 8])]).count == 2
    assert infer([np.array([0, 3, 5])]).count == 2
    assert infer([np.array([0, 100]), np.array([0, 3, 6])]).count == 3
    assert infer([]) == Clock("integer")


@pytest.mark.parametrize("day", ["2018-03-25", "2018-10-28"])
@pytest.mark.parametrize("count", [HOUR // 4, HOUR])
def test_the_calendar_is_that_of_clocks_when_summer_time_begins_and_ends(day, count):
    clock = Clock("duration", count, zone=BERLIN)
    start = clock.numbers(times(day) - np.timedelta64(3, "h"))[0]
    numbers = start + np.arange(30 * HOUR // count)
    zone, found = ZoneInfo(BERLIN), clock.calendar(numbers)
    moments = [
        datetime.fromtimestamp(s // SECOND, UTC).astimezone(zone) for s in clock.stamps(numbers).astype(int).tolist()
    ]
    per_hour = HOUR // count
    assert [(name, period) for name, _, period in found] == [("time of day", 24 * per_hour), ("day of the week", 7)]
    assert found[0][1].tolist() == [m.hour * per_hour + m.minute * per_hour // 60 for m in moments]
    assert found[1][1].tolist() == [m.weekday() for m in moments]
    assert clock.local(numbers).astype("M8[us]").tolist() == [m.replace(tzinfo=None) for m in moments]


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata", "UTC"])
@given(seconds=st.lists(st.integers(-2 * 10**9, 4 * 10**9), min_size=1, max_size=20))
def test_local_time_is_that_of_the_zone(name, seconds):
    clock = Clock("duration", SECOND, zone=name)
    wanted = [datetime.fromtimestamp(s, UTC).astimezone(ZoneInfo(name)).replace(tzinfo=None) for s in seconds]
    assert clock.local(np.array(seconds)).astype("M8[us]").tolist() == wanted


def test_days_of_a_zone_are_at_midnight_there():
    clock = Clock("duration", DAY, zone=BERLIN)
    days = np.arange("2018-01-01", "2019-01-01", dtype="M8[D]")
    summer = (days > np.datetime64("2018-03-25")) & (days <= np.datetime64("2018-10-28"))
    numbers, off = clock.numbers(days.astype("M8[ns]") - np.where(summer, 2, 1) * np.timedelta64(HOUR, "ns"))
    assert not off.any() and np.diff(numbers).tolist() == [1] * 364
    assert clock.local(numbers).tolist() == days.astype("M8[ns]").tolist()


@pytest.mark.parametrize(
    ("clock", "cycles"),
    [
        (Clock("duration", 60 * SECOND), {"time of day": 96, "day of the week": 7}),
        (Clock("duration", 6 * HOUR), {"time of day": 4, "day of the week": 7}),
        (Clock("duration", 7 * HOUR), {"time of day": 24, "day of the week": 7}),
        (Clock("duration", DAY), {"day of the week": 7, "day of the year": 366}),
        (Clock("duration", 7 * DAY), {"day of the year": 366}),
        (Clock("duration", 365 * DAY), {}),
        (Clock("month"), {"month": 12}),
        (Clock("month", 3), {"month": 12}),
        (Clock("month", 12), {}),
        (Clock("integer"), {}),
        (NONE, {}),
    ],
)
def test_the_cycles_of_a_calendar_are_longer_than_a_step(clock, cycles):
    found = clock.calendar(np.arange(-2000, 2000))
    assert {name: period for name, _, period in found} == cycles
    assert all(values.min() >= 0 and values.max() < period for _, values, period in found)


def test_the_calendar_of_known_days():
    clock = Clock("duration", DAY)
    numbers = clock.numbers(times("2024-01-01", "2024-12-31", "2023-12-31"))[0]
    week, year = (values.tolist() for _, values, _ in clock.calendar(numbers))
    assert week == [0, 1, 6] and year == [0, 365, 364]
    months = Clock("month").calendar(Clock("month").numbers(times("1949-01-01", "1950-12-01"))[0])
    assert months[0][1].tolist() == [0, 11]


@pytest.mark.parametrize(
    ("clock", "seasons"),
    [
        (Clock("duration", 60 * SECOND), (1440,)),
        (Clock("duration", 300 * SECOND), (288, 2016)),
        (Clock("duration", HOUR // 2), (48, 336)),
        (Clock("duration", HOUR), (24, 168)),
        (Clock("duration", DAY), (7, 365)),
        (Clock("duration", 7 * DAY), (52,)),
        (Clock("duration", 7 * HOUR), (24,)),
        (Clock("month"), (12,)),
        (Clock("month", 3), (4,)),
        (Clock("month", 5), ()),
        (Clock("month", 12), ()),
        (Clock("integer"), ()),
        (NONE, ()),
    ],
)
def test_seasons(clock, seasons):
    assert clock.seasons() == seasons


@pytest.mark.parametrize("name", CLOCKS)
def test_a_saved_clock_is_the_same(name):
    assert Clock.loaded(json.loads(json.dumps(CLOCKS[name].saved()))) == CLOCKS[name]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "minute"},
        {"count": 0},
        {"count": 2**62},
        {"offset": -(2**62)},
        {"day": 32},
        {"zone": "Europe/Atlantis"},
        {"zone": "../../etc/passwd"},
        {"zone": 5},
        {"count": None},
    ],
    ids=str,
)
def test_a_damaged_clock_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        Clock.loaded(CLOCKS["hours"].saved() | wrong)


@pytest.mark.parametrize("name", ["+02:00", "UTC+02:00", "UTC+0200"])
def test_zones_may_be_so_far_from_utc(name):
    clock = Clock("duration", HOUR, zone=name)
    assert clock.local(np.array([0])).tolist() == times("1970-01-01T02").tolist()
    assert str(zone_of("-05:30").utcoffset(None)) == "-1 day, 18:30:00"


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "Europe", "../../etc/passwd", "+99:00"])
def test_unknown_zones_are_refused(name):
    with pytest.raises(DataError, match="there is no zone"):
        zone_of(name)
