"""Tables of series: the same series from every library, back in the same one, and a clear line on what is wrong."""

import gzip
import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from unspool import Forecaster
from unspool.data.clock import Clock
from unspool.errors import DataError
from unspool.tasks.forecaster import saved
from unspool.tasks.forecaster.columns import _ISO, _WRITTEN, table_of
from unspool.tasks.forecaster.file import ROAD_TRAFFIC, SeriesFile
from unspool.tasks.forecaster.layout import Layout
from unspool.tasks.forecaster.rows import Covariate

SMALL = {"hidden_size": 8, "epochs": 2, "random_state": 1}
LIBRARIES = {"dict": dict, "pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
HOUR = timedelta(hours=1)
HOURS = np.arange("2020-03-28T20", "2020-03-30T02", dtype="M8[h]").astype("M8[us]")


def laid(frame, **roles):
    """The layout of a table, its series, and what was said."""
    notes = []
    layout = Layout.of(frame, report=notes.append, **roles)
    return layout, layout.to_series(frame, notes.append), notes


def table(n=2, steps=30):
    """Hours of series `a`, `b`, …, with covariates of each kind; fewer steps are the first of 30."""
    random, N = np.random.default_rng(0), 30 * n
    whole = {
        "unique_id": np.repeat(np.array([chr(97 + k) for k in range(n)], object), 30),
        "ds": np.tile(HOURS, n),
        "y": random.poisson(20 + 9 * np.sin(np.arange(N) * np.pi / 3)).astype(float),
        "open": np.arange(N) % 5 > 0,
        "price": random.normal(size=N),
        "day": np.array(["rest", "work", "work"], object)[np.arange(N) % 3],
        "rain": random.normal(size=N),
        "kind": np.repeat(np.array(["shop", "park"], object)[np.arange(n) % 2], 30),
        "size": np.repeat(np.arange(n) + 0.5, 30),
    }
    return rows(whole, np.tile(np.arange(30) < steps, n))


ROLES = {"known": ["open", "price", "day"], "past": ["rain"], "static": ["kind", "size"]}


def by_name(series):
    return {
        name: [series.start[i], series.static[i].tolist()]
        + [part[i].tobytes() for part in (series.y, series.known, series.past)]
        for i, name in enumerate(series.ids)
    }


def rows(columns, kept):
    return {name: np.asarray(values)[kept] for name, values in columns.items()}


# Tables


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_libraries_have_the_same_series_and_come_back(library):
    columns = table()
    layout, series, _ = laid(LIBRARIES[library](columns), **ROLES)
    assert (layout.targets, layout.time, layout.series, layout.library) == (("y",), "ds", "unique_id", library)
    assert series.ids == ["a", "b"] and series.y.lengths.tolist() == [30, 30]
    assert series.y.values.ravel().tolist() == columns["y"].tolist()
    assert series.clock.stamps(series.start).tolist() == HOURS[[0, 0]].astype("M8[ns]").tolist()
    is_open, day = columns["open"], columns["day"]
    known = [~is_open, is_open, columns["price"], day == "rest", day == "work"]
    assert series.known.values.tolist() == np.stack(known, 1).tolist()
    assert series.past.values.ravel().tolist() == columns["rain"].tolist()
    assert series.static.tolist() == [[0, 1, 0.5], [1, 0, 1.5]]
    found = layout.to_frame(series.ids, series.start, {"y": np.arange(60.0).reshape(2, 30)})
    assert isinstance(found, type(LIBRARIES[library](columns)))
    assert table_of(found).library == library and list(table_of(found).columns) == ["unique_id", "ds", "y"]
    for name in ("unique_id", "ds"):
        assert np.asarray(found[name]).tolist() == columns[name].tolist()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_table_has_the_same_series(library, seed):
    columns = table(3, 20)
    order = np.random.default_rng(seed).permutation(60)
    wanted, found = (laid(LIBRARIES[library](c), **ROLES)[1] for c in (columns, rows(columns, order)))
    assert by_name(found) == by_name(wanted)
    assert found.ids == list(dict.fromkeys(columns["unique_id"][order].tolist()))


def _days():
    return [date(2020, 2, 1) + timedelta(k) for k in range(40)]


def pandas(ds):
    return pd.DataFrame({"ds": ds})


UTC_HOURS = pd.DatetimeIndex(HOURS, tz="UTC")
TYPES = {
    "texts of pandas": pandas(HOURS.astype("M8[s]").astype(str)),
    "dates of pandas": pandas(pd.Series(_days()).astype("date32[pyarrow]")),
    "so far from UTC": pandas(pd.to_datetime([f"{t}+02:00" for t in HOURS.astype(str)])),
    "days of a zone": pandas(pd.date_range("2020-03-01", periods=60, tz="Europe/Berlin")),
    "months of a zone": pandas(pd.date_range("2020-03-01", periods=60, freq="MS", tz="Asia/Tokyo")),
    "ends of quarters": pandas(pd.date_range("2020-01-01", periods=60, freq="QE")),
    "Polars with a zone": pl.DataFrame({"ds": pl.Series(HOURS).dt.replace_time_zone("America/New_York")}),
    "Polars dates": pl.DataFrame({"ds": _days()}),
    "Polars integers": pl.DataFrame({"ds": np.arange(60) * 5}),
    "Arrow with a zone": pa.table({"ds": pa.array(HOURS).cast(pa.timestamp("us", "Europe/Berlin"))}),
    "Arrow dates": pa.table({"ds": _days()}),
    "arrays of days": {"ds": np.array(_days(), "M8[D]")},
    "arrays of months": {"ds": np.arange("2020-01", "2024-01", dtype="M8[M]")},
    "arrays of integers": {"ds": np.arange(1900, 1960)},
}
for _unit in ("s", "ms", "us", "ns"):
    _hours = HOURS.astype(f"M8[{_unit}]")
    TYPES[f"pandas {_unit}"], TYPES[f"Arrow {_unit}"] = pandas(_hours), pa.table({"ds": _hours})
    TYPES[f"pandas {_unit} of a zone"] = pandas(UTC_HOURS.tz_convert("Europe/Berlin").as_unit(_unit))
    TYPES[f"arrays {_unit}"] = {"ds": _hours}
    if _unit != "s":
        TYPES[f"Polars {_unit}"] = pl.DataFrame({"ds": _hours})


@pytest.mark.parametrize("name", TYPES)
def test_times_come_back_with_their_type(name):
    frame = TYPES[name]
    n = len(table_of(frame).columns["ds"].values)
    y = np.arange(float(n))
    if isinstance(frame, dict):
        whole, half = frame | {"y": y}, {"ds": frame["ds"][: n // 2], "y": y[: n // 2]}
    elif isinstance(frame, pa.Table):
        whole = frame.append_column("y", pa.array(y))
        half = whole.slice(0, n // 2)
    else:
        whole = frame.assign(y=y) if isinstance(frame, pd.DataFrame) else frame.with_columns(y=y)
        half = whole[: n // 2]
    layout, series, _ = laid(half)
    assert series.y.lengths.tolist() == [n // 2]
    found = layout.to_frame(series.ids, series.start, {"y": y[None]})
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(found, whole)
    elif isinstance(frame, dict):
        assert found["ds"].dtype == whole["ds"].dtype
        assert found["ds"].tolist() == whole["ds"].tolist()
    else:
        assert found.equals(whole)


@pytest.mark.parametrize("written", _ISO + _WRITTEN)
@pytest.mark.parametrize("short", [False, True])
def test_texts_come_back_as_they_were_written(written, short):
    step = "M" if "%d" not in written else "D" if "%H" not in written else "h"
    moments = (np.datetime64("2018-12-20", step) + np.arange(40)).astype("M8[us]").tolist()
    texts = [moment.strftime(written) for moment in moments]
    if short:  # without digits in front that are 0, but in minutes and seconds
        texts = [re.sub(r"(?<![0-9:])0(?=[0-9])", "", text) for text in texts]
    layout, series, _ = laid({"ds": texts[:30], "y": np.arange(30.0)})
    assert series.y.lengths.tolist() == [30]
    assert layout.clock.stamps(series.start).astype("M8[us]").tolist() == moments[:1]
    found = layout.to_frame([0], series.start, {"y": np.zeros((1, 40))})
    assert found["ds"].tolist() == texts


def test_iso_with_a_zone_is_utc_and_comes_back_so():
    texts = ["2018-10-28T01:30:00+02:00", "2018-10-28T02:30:00+02:00", "2018-10-28T02:30:00+01:00", "2018-10-28T02:30Z"]
    layout, series, _ = laid({"ds": texts, "y": [1.0, 2, 3, 4]})
    assert series.y.values.ravel().tolist() == [1, 2, 3, 4]
    assert layout.clock == Clock("duration", 3600 * 10**9, 1800 * 10**9, zone="UTC")
    found = layout.to_frame([0], series.start, {"y": np.zeros((1, 2))})
    assert found["ds"].tolist() == ["2018-10-27T23:30:00Z", "2018-10-28T00:30:00Z"]


def test_parts_of_a_second_come_back():
    texts = [f"2018-10-28 00:00:{k // 2:02}{'.500' if k % 2 else ''}" for k in range(9)]
    layout, series, _ = laid({"ds": texts, "y": np.arange(9.0)})
    found = layout.to_frame([0], series.start, {"y": np.zeros((1, 2))})
    assert found["ds"].tolist() == ["2018-10-28T00:00:00.000000", "2018-10-28T00:00:00.500000"]


def test_objects_are_times_numbers_or_texts():
    moments = [datetime(2020, 1, 1) + k * HOUR for k in range(9)]
    layout, series, _ = laid({"ds": moments, "y": [None, 1, 2.5, Decimal(3), *range(5)]})
    assert layout.clock.count == 3600 * 10**9
    np.testing.assert_array_equal(series.y.values[:, 0], [np.nan, 1, 2.5, 3, 0, 1, 2, 3, 4])
    aware = [m.replace(tzinfo=UTC) for m in moments]
    assert laid({"ds": aware, "y": np.arange(9.0)})[0].clock.zone == "UTC"
    assert laid(pd.DataFrame({"ds": _days(), "y": np.arange(40.0)}))[0].clock.count == 86_400 * 10**9


def test_names_of_rows_of_pandas_are_columns_where_they_are_times():
    wanted = laid(pd.DataFrame({"ds": HOURS, "y": np.arange(30.0)}))[1]
    for frame in (
        pd.DataFrame({"y": np.arange(30.0)}, index=pd.DatetimeIndex(HOURS)),
        pd.DataFrame({"ds": HOURS, "id": "a", "y": np.arange(30.0)}).set_index(["id", "ds"]),
    ):
        assert [v[1:] for v in by_name(laid(frame)[1]).values()] == [v[1:] for v in by_name(wanted).values()]
    months = pd.DataFrame({"y": np.arange(30.0)}, index=pd.period_range("2020-01", periods=30, freq="M"))
    assert str(laid(months)[0].clock) == "every month"


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_missing_cells_and_categories(library):
    columns = {
        "ds": list(range(6)),
        "y": [1, None, 3, 4, 5, 6],
        "c": ["x", None, "y", "x", "y", "x"],
        "b": [True, None, False, True, True, False],
        "n": [1.5, None, 2, 3, 4, 5],
    }
    frame = LIBRARIES[library](columns)
    if library == "pandas":
        frame = frame.astype({"c": "category", "b": "boolean", "y": "Int64"})
    elif library == "polars":
        frame = frame.with_columns(pl.col("c").cast(pl.Enum(["y", "x", "never"])))
    else:
        frame = frame.set_column(2, "c", frame["c"].dictionary_encode())
    layout, series, _ = laid(frame, target="y", known=["c", "b"], past=["n"])
    nan = np.nan
    np.testing.assert_array_equal(series.y.values[:, 0], [1, nan, 3, 4, 5, 6])
    np.testing.assert_array_equal(series.known.values[:3], [[1, 0, 0, 1], [nan] * 4, [0, 1, 1, 0]])
    np.testing.assert_array_equal(series.past.values[:, 0], [1.5, nan, 2, 3, 4, 5])
    assert layout.known == (Covariate("c", ("x", "y")), Covariate("b", ("False", "True")))


def test_categories_of_integers_are_no_numbers():
    frame = pd.DataFrame({"ds": range(4), "y": 1.0, "c": pd.Categorical([7, 8, 7, 8])})
    assert laid(frame, target="y", known=["c"])[0].known == (Covariate("c", ("7", "8")),)


def test_an_unknown_category_is_none_of_those():
    frame = {"ds": np.arange(4), "y": np.arange(4.0), "c": ["a", "b", "a", "b"]}
    layout = laid(frame, target="y", known=["c"])[0]
    assert layout.to_series(frame | {"c": ["b", "new", None, "a"]}).known.values[:2].tolist() == [[0, 1], [0, 0]]
    with pytest.raises(DataError, match="'n' must have numbers"):
        laid(frame | {"n": np.arange(4.0)}, target="y", known=["n"])[0].to_series(frame | {"n": ["a", "b", "c", "d"]})


def test_several_targets_and_one_in_a_list():
    frame = {"ds": np.arange(9), "a": np.arange(9.0), "b": np.arange(9) * 2}
    layout, series, _ = laid(frame, target=["b", "a"])
    assert series.y[0].tolist() == np.stack([frame["b"], frame["a"]], 1).tolist() and layout.targets == ("b", "a")
    assert laid(frame, target=["b"])[1].y.values.shape == (9, 1)


def test_gaps_are_missing_steps():
    columns = rows(table(1), [k for k in range(30) if k not in (4, 5, 20)])
    _, series, _ = laid(columns, **ROLES)
    assert np.flatnonzero(np.isnan(series.y[0][:, 0])).tolist() == [4, 5, 20]
    assert np.isnan(series.known[0][[4, 5, 20]]).all() and np.isnan(series.past[0]).sum() == 3


def test_series_begin_and_end_when_they_will():
    columns = table(2)
    _, series, _ = laid(rows(columns, np.r_[3:20, 30:60]))
    assert series.y.lengths.tolist() == [17, 30] and (series.start[0] - series.start[1]) == 3


def test_rows_that_repeat_count_once():
    columns = table(2)
    order = np.r_[0:60, 7, 7, 31]
    _, series, notes = laid(rows(columns, order), **ROLES)
    assert by_name(series) == by_name(laid(columns, **ROLES)[1])
    assert notes[1:] == ["3 rows repeat another one, with its time and values, and do not count"]
    twice = rows(columns, order)
    twice["y"][[5, 60, 61, 7]] = np.nan
    assert np.isnan(laid(twice)[1].y[0][[5, 7]]).all()


def test_rows_without_times_are_in_order():
    columns = rows(table(2), np.random.default_rng(0).permutation(60))
    del columns["ds"]
    layout, series, notes = laid(columns, target="y", known=["price"])
    assert "rows in order" in notes[0] and layout.clock.kind == "none" and series.start.tolist() == [0, 0]
    mine = columns["unique_id"] == series.ids[0]
    assert series.y[0][:, 0].tolist() == columns["y"][mine].tolist()
    found = layout.to_frame(series.ids, series.start + 30, {"y": np.zeros((2, 3))})
    assert list(found) == ["unique_id", "step", "y"] and found["step"].tolist() == [30, 31, 32] * 2
    told = {"unique_id": ["b", "a"] * 3, "price": np.arange(6.0)}
    assert layout.future(told, ["a", "b"], np.array([30, 30]), 3).tolist() == [[[1], [3], [5]], [[0], [2], [4]]]


def test_the_repeated_hour_of_summer_time_needs_a_zone():
    moments = pd.date_range("2018-10-27T20:00", periods=12, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"ds": moments, "y": np.arange(12.0)})
    assert laid(frame)[1].y.values.ravel().tolist() == list(range(12))
    with pytest.raises(DataError, match=r"1 again.*rows 7 and 8, of 2018-10-28T02:00.*give the times a zone"):
        laid(frame.assign(ds=moments.tz_localize(None)))
    layout, series, _ = laid(frame)
    back = layout.to_frame(series.ids, series.start, {"y": np.arange(12.0)[None]})
    pd.testing.assert_frame_equal(back, frame)


# What is recognised


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["unique_id", "ds", "y"], ("y", "ds", "unique_id")),
        (["Store_ID", "Date", "Sales"], ("Sales", "Date", "Store_ID")),
        (["name", "when", "amount"], ("amount", "when", "name")),
        (["ticker", "timestamp", "value"], ("value", "timestamp", "ticker")),
    ],
)
@pytest.mark.parametrize("texts", [False, True])
def test_columns_are_recognised(names, roles, texts):
    columns = table()
    when = columns["ds"].astype(str) if texts else columns["ds"]
    layout, series, notes = laid(dict(zip(names, (columns["unique_id"], when, columns["y"]), strict=True)))
    assert (*layout.targets, layout.time, layout.series) == roles and series.ids == ["a", "b"]
    assert notes == [
        f"target: {roles[0]!r}; time: {roles[1]!r}, every hour; series: {roles[2]!r}; change it by target, time, "
        f"series, known, past or static"
    ]


def test_what_has_another_name_is_not_mistaken():
    columns = {"id": np.arange(30), "t": np.arange(30) / 4 + 0.1, "ds": HOURS, "y": np.arange(30.0)}
    layout, series, notes = laid(columns)
    assert (layout.time, layout.series) == ("ds", None) and len(series.ids) == 1
    assert "not used: 'id', 't'" in notes[0]


def test_a_table_of_one_row_a_series():
    columns = {"V1": ["H1", "H2", "H3"]} | {f"V{k + 2}": [k, 2.0 * k if k < 5 else None, None] for k in range(9)}
    layout, series, notes = laid(pd.DataFrame(columns))
    assert layout.wide and notes == ["a row a series, named by 'V1', its steps in 9 columns"]
    assert series.ids == ["H1", "H2", "H3"] and series.y.lengths.tolist() == [9, 5, 0]
    assert series.y[1].ravel().tolist() == [0, 2, 4, 6, 8]
    assert laid(pd.DataFrame(columns), series="V1")[0].wide
    twice = columns | {"V1": ["H1", "H1", "H3"]}
    with pytest.raises(DataError, match="another name in each row"):
        layout.to_series(pd.DataFrame(twice))
    sensors = {"when": [f"2020-01-0{k}" for k in (1, 2, 3)]} | {f"s{k}": [1.0, 2, 3] for k in range(9)}
    with pytest.raises(DataError, match="in doubt which column is to be forecast"):
        laid(sensors)


def test_a_layout_is_the_same_after_json():
    for frame, roles in (
        (table(), ROLES),
        (pd.DataFrame(table()), ROLES | {"target": ["y", "price"], "known": ["day"]}),
        ({"ds": pd.date_range("2020", periods=9, tz="Europe/Berlin").astype(str), "y": np.arange(9.0)}, {}),
        ({"V1": ["a", "b"]} | {f"V{k}": [1.0, 2] for k in range(2, 12)}, {}),
    ):
        layout = laid(frame, **roles)[0]
        assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(
    "wrong", [{"known": [["a"]]}, {"targets": None}, {"clock": {"kind": "day"}}, {"past": 5}, {"clock": None}], ids=str
)
def test_a_damaged_layout_is_refused(wrong):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Layout.from_json(laid(table(), **ROLES)[0].to_json() | wrong)


# What cannot be used


def changed(**columns):
    return lambda: table(1) | {name: change(table(1)[name]) for name, change in columns.items()}


def put(row, value, dtype=None):
    def change(values):
        values = np.array(values, dtype or values.dtype)
        values[row] = value
        return values

    return change


def texts(*others):
    """Times as texts, the first of them others."""
    return changed(ds=lambda values: [*others, *values.astype("M8[s]").astype(str).tolist()[len(others) :]])


WRONG = {
    "no rows": (lambda: rows(table(), slice(0)), {}, "X must have rows"),
    "no table": (lambda: 5, {}, "expected a table"),
    "no columns": (dict, {}, "columns of one length; got none"),
    "unequal columns": (lambda: {"ds": [1, 2], "y": [1.0]}, {}, "columns of one length; got 1, 2"),
    "a column of rows": (lambda: {"ds": [1, 2], "y": np.zeros((2, 2))}, {}, r"'y' must have one value a row"),
    "lists": (lambda: {"ds": [1, 2], "y": [[1, 2], [1]]}, {}, "'y' must have one value a row"),
    "no such target": (table, {"target": "z"}, "target: there is no column 'z'; there are unique_id, ds, y"),
    "no such time": (table, {"time": "z"}, "time: there is no column 'z'"),
    "no such series": (table, {"series": "z"}, "series: there is no column 'z'"),
    "no such covariate": (table, {"known": ["day", "z"]}, "known: there is no column 'z'"),
    "two roles": (table, {"target": "y", "known": ["y"]}, "'y' must have one role; got target and known"),
    "doubt about the target": (lambda: {"ds": [1], "a": [1], "b": [3]}, {}, "name it by target: there are a, b"),
    "no target": (lambda: {"ds": [1, 2], "a": ["x", "y"]}, {}, "in doubt which column is to be forecast"),
    "doubt about the time": (
        lambda: {"begin": HOURS, "end": HOURS, "y": np.arange(30.0)},
        {},
        "in doubt which column has the times, begin, end; name it by time",
    ),
    "infinity": (changed(y=put(3, np.inf)), {}, "'y' must have finite numbers; got infinity in row 4"),
    "an infinite covariate": (changed(price=put(0, -np.inf)), ROLES, "'price' must have finite.*in row 1"),
    "a target of texts": (changed(y=lambda y: ["a"] * len(y)), {}, "'y' must have numbers; got 'a'"),
    "a target of times": (
        lambda: {"n": np.arange(30), "ds": HOURS},
        {"target": "ds", "time": "n"},
        "'ds' must have numbers; got times",
    ),
    "a covariate of times": (table, {"target": "y", "known": ["ds"]}, "'ds' has times; a covariate"),
    "too many categories": (
        lambda: {"ds": np.arange(200), "y": np.arange(200.0), "c": np.arange(200).astype(str)},
        {"target": "y", "known": ["c"]},
        "'c' must have at most 100 categories; got 200",
    ),
    "a time between two steps": (
        changed(ds=put([4, 9], HOURS[[4, 9]] + np.timedelta64(7, "m"))),
        {},
        "every hour as most are; got 2 between two steps, in the rows 5, 10",
    ),
    "many times between steps": (
        changed(ds=lambda v: np.r_[v[:20], v[20:] + np.timedelta64(1, "s")]),
        {},
        "got 10 between two steps, in the rows 21, 22, 23, 24, 25, …",
    ),
    "a missing time": (changed(ds=put(6, "NaT")), {}, "'ds' must have a time in each row; got none in row 7"),
    "a missing text": (texts("2020-03-28 20:00:00", None), {}, "a time in each row; got none in row 2"),
    "an empty text": (texts("2020-03-28 20:00:00", "  "), {}, "a time in each row; got none in row 2"),
    "a text that is no time": (texts("2020-03-28 20:00:00", "?"), {}, r"'ds', row 2: expected .*; got '\?'$"),
    "the 31st of April": (texts("2020-04-30", "2020-04-31"), {}, "row 2: expected .*; got '2020-04-31'"),
    "another format": (texts("28.03.2020", "29.03.2020", "30/03/2020"), {}, "row 3: expected a time as above.*30/03"),
    "days or months": (
        lambda: {"ds": ["01/02/2020", "02/02/2020", "03/02/2020"], "y": [1.0, 2, 3]},
        {},
        "days and the months of '01/02/2020' and the others are in doubt; write times as 2024-05-17",
    ),
    "aware and naive": (
        texts("2020-03-28T20:00:00Z", "2020-03-28T21:00:00"),
        {},
        "row 2: expected a time with a zone, as above; got '2020-03-28T21:00:00'",
    ),
    "naive and aware": (
        texts("2020-03-28T20:00:00", "2020-03-28T21:00:00+01:00"),
        {},
        r"row 2: expected a time without a zone, as above; got '2020-03-28T21:00:00\+01:00'",
    ),
    "objects of several zones": (
        lambda: pd.DataFrame({"ds": pd.Series([pd.Timestamp(0, tz="UTC"), pd.Timestamp(0)], dtype=object), "y": 1.0}),
        {},
        "row 2: expected a time with a zone",
    ),
    "the year 9999": (
        changed(ds=put(4, np.datetime64("9999-12-31"), "M8[us]")),
        {},
        "'ds' must have times from 1678 to 2261; got 9999-12-31T00:00:00.000000 in row 5",
    ),
    "the year 9999 as a text": (texts("9999-12-31"), {}, "from 1678 to 2261; got 9999-12-31.* in row 1"),
    "the year 2199": (
        changed(ds=put(29, np.datetime64("2199-12-31"))),
        {},
        r"30 rows make 1,5\d\d,\d\d\d steps, and most between the rows 29 and 30: is one of their times wrong",
    ),
    "an integer far away": (
        lambda: {"ds": [1, 2, 3, 2**50], "y": [1.0, 2, 3, 4]},
        {},
        "most between the rows 3 and 4",
    ),
    "an integer beyond": (lambda: {"ds": [1, 2, -(2**63)], "y": [1.0, 2, 3]}, {}, r"up to 2\^53; got .* in row 3"),
    "fractions as times": (lambda: {"ds": [1, 2.5], "y": [1.0, 2]}, {"time": "ds"}, "or integers .*got 2.5 in row 2"),
    "missing integers": (lambda: {"ds": [1, np.nan, 3], "y": [1.0, 2, 3]}, {"time": "ds"}, "got nan in row 2"),
    "a time twice": (
        changed(ds=put(9, HOURS[2])),
        {},
        "each time must be there once a series; got 1 again .* as in the rows 3 and 10, of 2020-03-28T22",
    ),
    "an integer twice": (
        lambda: {"ds": [1, 2, 2], "y": [1.0, 2, 3]},
        {},
        "rows 2 and 3, of step 2: keep one row .*apart$",
    ),
    "two series in one": (table, {"series": "day"}, "again with other values"),
    "a series without a name": (changed(unique_id=put(3, None)), {}, "name a series in each row; got none in row 4"),
    "a series that is NaN": (
        lambda: table(1) | {"unique_id": np.r_[np.nan, np.ones(29)]},
        {},
        "name a series in each row; got none in row 1",
    ),
    "series named by times": (
        lambda: {"n": np.arange(30), "ds": HOURS, "y": HOURS.astype(float)},
        {"series": "ds", "time": "n"},
        "series must be named by texts or numbers",
    ),
    "a static covariate that changes": (changed(size=put(7, 3)), ROLES, "the same in all rows of a series; row 8 has"),
    "a static covariate that is missing": (changed(kind=put(7, None)), ROLES, "there for each series; row 8 has none"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_clear_line(name):
    frame, roles, message = WRONG[name]
    with pytest.raises(DataError, match=message) as error:
        laid(frame(), **roles)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("name", ["a missing time", "infinity", "a series without a name", "a time twice"])
def test_what_is_wrong_has_the_same_line_in_each_library(library, name):
    frame, roles, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        laid(LIBRARIES[library](frame()), **roles)


def test_columns_that_are_not_used_may_have_anything():
    frame = pd.DataFrame(table(1)).assign(until=pd.Timestamp("9999-12-31"), more=[[1, 2], None] * 15, gone=pd.NaT)
    assert laid(frame, time="ds")[1].y.lengths.tolist() == [30]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ds": [f"{time}Z" for time in HOURS.astype("M8[s]").astype(str)]}, "'ds' must have times without a zone"),
        ({"ds": np.arange(30)}, "'ds' must have times without a zone, as what the network was trained on"),
        ({"ds": HOURS + np.timedelta64(1, "s")}, "got 30 between two steps"),
        ({"unique_id": [None] * 30}, "none in row 1"),
        ({"price": ["a"] * 30}, "'price' must have numbers"),
    ],
)
def test_a_later_table_must_be_like_the_first(columns, message):
    layout = laid(table(1), **ROLES)[0]
    with pytest.raises(DataError, match=message):
        layout.to_series(table(1) | columns)
    without = table(1)
    del without["rain"]
    with pytest.raises(DataError, match="there is no column 'rain'; there are unique_id"):
        layout.to_series(without)


# What is known of the steps to come


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_future_is_found_by_time_and_series(library):
    columns = table(2)
    layout, series, _ = laid(LIBRARIES[library](rows(columns, np.r_[0:20, 30:50])), **ROLES)
    order = np.random.default_rng(0).permutation(60)
    told = {name: values for name, values in rows(columns, order).items() if name not in ("y", "rain", "kind", "size")}
    found = layout.future(LIBRARIES[library](told), ["b", "a"], (series.start + 20)[::-1], 5)
    whole = laid(columns, **ROLES)[1].known
    assert found.tolist() == [whole[1][20:25].tolist(), whole[0][20:25].tolist()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: rows(c, np.delete(np.arange(60), 52)),
            "each of the 5 steps .* got none for 2020-03-29T18:00 of series 'b'",
        ),
        (lambda c: rows(c, slice(0, 30)), "got none for 2020-03-29T16:00 of series 'b'"),
        (lambda c: rows(c, slice(0)), "got none for 2020-03-29T16:00 of series 'a'"),
        (lambda c: rows(c, np.r_[0:60, 3]) | {"price": np.arange(61.0)}, "again .* in the rows 4 and 61"),
        (lambda c: {name: c[name] for name in ("ds", "open", "price", "day")}, "no column 'unique_id'"),
        (lambda c: {name: c[name] for name in ("ds", "unique_id", "open", "day")}, "no column 'price'"),
        (lambda c: c | {"price": np.full(60, np.inf)}, "infinity in row 1"),
    ],
)
def test_a_future_that_is_not_whole_is_refused(change, message):
    columns = table(2)
    layout, series, _ = laid(columns, **ROLES)
    with pytest.raises(DataError, match=message):
        layout.future(change(columns), ["a", "b"], series.start + 20, 5)


def test_a_future_of_which_nothing_is_read_is_refused():
    with pytest.raises(DataError, match="known must be left out"):
        laid(table(1))[0].future(table(1), ["a"], np.array([0]), 2)


# Files


def of_file(path, **flags):
    return SeriesFile(str(path), **flags).training_data(None, 0.1).X


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet", ".txt"])
def test_a_file_has_the_same_series(tmp_path, suffix, capsys):
    frame, path = pd.DataFrame(table()), tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix in (".tsv", ".txt") else ",")
    roles = {role: ",".join(names) for role, names in ROLES.items()}
    found = of_file(path, target="y", **roles)
    assert by_name(found.series) == by_name(laid(table(), **ROLES)[1])
    assert found.layout.library == "dict"
    assert "--target, --time, --series, --known, --past or --static" in capsys.readouterr().err


def test_standard_input_is_a_file(monkeypatch):
    text = pd.DataFrame(table())[["unique_id", "ds", "y"]].to_csv(index=False)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert by_name(of_file("-").series) == by_name(laid(rows(table(), slice(None)))[1])


def test_a_european_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Datum;Menge;Preis\n" + "".join(f"{k + 1:02}.02.2020;1.23{k % 10},5;{k},25\n" for k in range(20)))
    found = of_file(path, target="Menge", known="Preis")
    assert found.series.y[0][:3, 0].tolist() == [1230.5, 1231.5, 1232.5] and found.series.known[0][3, 0] == 3.25
    assert found.layout.written == "%d.%m.%Y" and str(found.layout.clock) == "every day"


def test_a_file_without_a_header(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("".join(f"2020-01-{k + 1:02},{k}\n" for k in range(20)))
    found = of_file(path)
    assert (found.layout.targets, found.layout.time) == (("column 2",), "column 1")
    assert found.series.y[0][:, 0].tolist() == list(range(20))


def test_missing_cells_of_a_file(tmp_path):
    path = tmp_path / "t.csv"
    cells = [(k, "NA" if k == 3 else k, "" if k == 4 else "ab"[k % 2]) for k in range(9)]
    path.write_text("t,y,c\n" + "".join(f"{t},{y},{c}\n" for t, y, c in cells))
    series = of_file(path, target="y", known="c").series
    assert np.flatnonzero(np.isnan(series.y[0][:, 0])).tolist() == [3]
    assert np.flatnonzero(np.isnan(series.known[0][:, 0])).tolist() == [4] and series.known.values.shape == (9, 2)


def test_bad_lines_may_be_skipped(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("t,y\n" + "".join(f"{k},{'bad' if k == 4 else k}\n" for k in range(9)))
    with pytest.raises(DataError, match=r"t.csv, line 6, column 2 \(y\): expected a number; got 'bad'"):
        of_file(path)
    assert np.flatnonzero(np.isnan(of_file(path, skip_bad=1).series.y.values)).tolist() == [4]
    assert "skipped: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"t,y\n", "expected at least one row"),
        ("t.csv", b"\xff\xfe\x00\x01,\x80\n1,2\n3,4\n", "UTF-8|column"),
        ("t.csv", b't,y\n1,"2\n3,4\n', "quotation mark"),
        ("t.csv", b"t,y\n1,2,3\n2,3\n", "line 2: expected 2 fields; got 3"),
        ("t.csv", b"t,y\n1,inf\n2,3\n", "'y' must have numbers; got 'inf'"),
        ("t.csv.gz", b"\x1f\x8b\x08 no gzip", "t.csv.gz"),
        ("t.parquet", b"PAR1 no parquet", "t.parquet: cannot be read as Parquet"),
        ("t.parquet", b"", "t.parquet: cannot be read as Parquet"),
        ("t.jsonl", b'{"y": 1}\n', "must be a table in CSV, TSV or Parquet"),
        ("t.npy", b"", "must be a table in CSV, TSV or Parquet"),
        ("t.txt", b"one two\nthree\n", "must be a table in CSV, TSV or Parquet"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        of_file(tmp_path / name)


def test_files_that_are_not_there_are_refused(tmp_path):
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(DataError, match=name):
            of_file(tmp_path / name)
    with pytest.raises(DataError, match="--validation must be a part"):
        SeriesFile(ROAD_TRAFFIC).training_data(None, "other.csv")


def test_names_with_commas_between_them(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame(table()).to_csv(path, index=False)
    assert of_file(path, target="y, price").layout.targets == ("y", "price")
    with pytest.raises(DataError, match="target: there is no column 'z'"):
        of_file(path, target="y,z")


def test_the_built_in_road_traffic():
    found = of_file(ROAD_TRAFFIC, known="holiday")
    assert found.layout.targets == ("traffic_volume",) and str(found.layout.clock) == "every hour"
    assert found.series.y.lengths.tolist() == [8760] and found.series.known.values.shape[1] > 1
    assert SeriesFile.place(ROAD_TRAFFIC) == ROAD_TRAFFIC and SeriesFile.place("-") == "-"


METRO = "metro-traffic/Metro_Interstate_Traffic_Volume.csv.gz"
FILES = {
    METRO: ({"target": "traffic_volume"}, "every hour", 1, 52_551),
    "etth1/ETTh1.csv.gz": ({"target": "OT", "past": "HUFL,HULL"}, "every hour", 1, 17_420),
    "m4-hourly/Hourly-train.csv.gz": ({}, "steps without times", 414, 353_500),
    "m4-hourly/Hourly-test.csv": ({}, "steps without times", 414, 414 * 48),
    "stocks/stocks.csv": ({}, "every month", 5, 560),
    "stocks/finance-charts-apple.csv": ({"target": "AAPL.Close"}, "every day", 1, 731),
    "timeseries-univariate/airline-passengers.csv": ({}, "every month", 1, 144),
    "timeseries-univariate/daily-min-temperatures.csv": ({}, "every day", 1, 3652),
    "timeseries-univariate/monthly-sunspots.csv": ({}, "every month", 1, 2820),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_people_have(data_folder, name):
    flags, step, n, steps = FILES[name]
    layout, series = of_file(data_folder / name, **flags)
    assert (str(layout.clock), len(series.ids), len(series.y.values)) == (step, n, steps)
    if layout.time is None:
        return
    raw = pd.read_csv(data_folder / name)
    of = [raw] if layout.series is None else [raw[raw[layout.series] == name] for name in series.ids]
    for i, one in enumerate(of):
        stamps = layout.to_frame([series.ids[i]], series.start[[i]], {"y": series.y[i][:, 0][None]})
        there = ~np.isnan(stamps["y"])
        again = one.drop_duplicates(layout.time)
        assert stamps[layout.time][there].tolist() == again[layout.time].tolist()
        assert stamps["y"][there].tolist() == again[layout.targets[0]].tolist()


def test_metro_traffic_has_hours_that_repeat_and_a_gap_of_307_days(data_folder, capsys):
    series = of_file(data_folder / METRO, target="traffic_volume").series
    assert "7,629 rows repeat" in capsys.readouterr().err
    missing = np.isnan(series.y[0][:, 0]).astype(int)
    edges = np.flatnonzero(np.diff(np.r_[0, missing, 0]))
    assert (edges[1::2] - edges[::2]).max() // 24 == 307
    with pytest.raises(DataError, match=r"each time must be there once a series; got [\d,]+ again with other values"):
        of_file(data_folder / METRO, target="traffic_volume", known="weather_main")


def test_doubt_about_etth1(data_folder):
    with pytest.raises(DataError, match="name it by target: there are HUFL, HULL, MUFL, MULL, LUFL, LULL, OT"):
        of_file(data_folder / "etth1/ETTh1.csv.gz")


# A forecaster of tables


@pytest.fixture(scope="module", params=["pandas", "polars", "pyarrow"])
def fitted(request):
    make = LIBRARIES[request.param]
    model = Forecaster(4, season=6, **SMALL).fit(make(table(2, 24)), target="y", time="ds", series="unique_id", **ROLES)
    return model, make, request.param


def future(make, n=2, begin=24, steps=6):
    columns = table(n, 30)
    kept = np.concatenate([30 * k + np.arange(begin, begin + steps) for k in range(n)])
    return make({name: rows(columns, kept)[name] for name in ("unique_id", "ds", *ROLES["known"])})


def cells(frame):
    return {name: np.asarray(frame[name]).tolist() for name in table_of(frame).columns}


def test_a_forecast_is_a_table_of_the_same_library(fitted):
    model, make, library = fitted
    found = model.predict(known=future(make))
    assert table_of(found).library == library
    assert list(cells(found)) == ["unique_id", "ds", "y"]
    assert cells(found)["unique_id"] == ["a"] * 4 + ["b"] * 4
    assert table_of(found).columns["ds"].values.tolist() == np.tile(HOURS[24:28], 2).tolist()
    again = model.predict(make(table(2, 24)), known=future(make))
    assert cells(again) == cells(found)
    backwards = cells(model.predict(make(rows(table(2, 24), np.arange(47, -1, -1))), known=future(make)))
    assert {name: values[4:] + values[:4] for name, values in backwards.items()} == cells(found)


def test_what_is_known_of_the_future_counts_and_must_be_whole(fitted):
    model, make, _ = fitted
    with pytest.raises(DataError, match="known must be given"):
        model.predict()
    with pytest.raises(DataError, match="each of the 4 steps to come; got none for 2020-03-29T23:00 of series 'a'"):
        model.predict(known=future(make, steps=3))
    assert len(cells(model.predict(known=future(make), horizon=6))["y"]) == 12
    other = cells(future(make)) | {"price": np.full(12, 9.0)}
    assert cells(model.predict(known=make(other)))["y"] != cells(model.predict(known=future(make)))["y"]


def test_intervals_and_quantiles_are_columns(fitted):
    model, make, _ = fitted
    found = cells(model.predict_interval(level=(80, 95), known=future(make)))
    assert list(found) == ["unique_id", "ds", "y", "y-lo-80", "y-hi-80", "y-lo-95", "y-hi-95"]
    ordered = np.array([found[f"y{end}"] for end in ("-lo-95", "-lo-80", "", "-hi-80", "-hi-95")])
    assert (np.diff(ordered, axis=0) >= 0).all()
    quantiles = cells(model.predict_quantiles((0.1, 0.5), known=future(make)))
    assert list(quantiles) == ["unique_id", "ds", "y-q-0.1", "y-q-0.5"] and quantiles["y-q-0.1"] == found["y-lo-80"]


def test_a_backtest_is_long(fitted):
    model, make, library = fitted
    table_ = model.backtest(make(table(2, 30)), windows=2, step=3)
    assert table_of(table_).library == library
    found = cells(table_)
    assert list(found) == ["unique_id", "ds", "cutoff", "y", "forecast"] and len(found["y"]) == 2 * 2 * 4
    columns = table(2, 30)
    wanted = dict(zip(zip(columns["unique_id"], columns["ds"].tolist(), strict=True), columns["y"], strict=True))
    when = table_of(table_).columns["ds"].values.astype("M8[us]").tolist()
    cutoff = table_of(table_).columns["cutoff"].values.astype("M8[us]")
    assert found["y"] == [wanted[key] for key in zip(found["unique_id"], when, strict=True)]
    assert cutoff.reshape(4, 4)[:, 0].tolist() == HOURS[[22, 25, 22, 25]].tolist()
    assert (np.array(when, "M8[us]") - cutoff).tolist() == [k * HOUR for k in range(1, 5)] * 4


def test_a_stream_of_one_series_goes_on_from_its_end(fitted):
    model, make, _ = fitted
    columns, longer = table(2, 30), rows(table(2, 30), np.r_[0:26, 30:56])
    layout = model.setup_.layout
    whole = layout.to_series(columns)
    stream = model.stream("b")
    for t in (24, 25):
        stream.update(whole.y[1][t], known=whole.known[1][t], past=whole.past[1][t])
    found = cells(model.predict(make(longer), known=future(make, begin=26, steps=4)))["y"][4:]
    assert stream.forecast(known=whole.known[1][26:30]).tolist() == found


def test_a_saved_forecaster_knows_its_tables(fitted, tmp_path):
    model, make, library = fitted
    model.save(tmp_path / "it")
    for other in (Forecaster.load(tmp_path / "it"), saved.load(tmp_path / "it")):
        found = other.predict(known=future(make))
        assert table_of(found).library == library and cells(found) == cells(model.predict(known=future(make)))
        assert cells(other.predict(make(table(2, 28)), known=future(make, begin=28, steps=2), horizon=2))["ds"]
    assert Forecaster.load(tmp_path / "it").setup_.layout == model.setup_.layout


def test_several_targets_are_columns_and_months_are_texts():
    months = np.arange("2010-01", "2015-01", dtype="M8[M]").astype(str)
    frame = pd.DataFrame({"Month": months, "a": np.arange(60.0) % 12, "b": np.arange(60.0) % 6})
    model = Forecaster(3, **SMALL).fit(frame, target=["a", "b"])
    found = model.predict()
    assert list(found) == ["Month", "a", "b"] and found["Month"].tolist() == ["2015-01", "2015-02", "2015-03"]
    assert list(model.predict_interval(level=80)) == ["Month", "a", "b", "a-lo-80", "b-lo-80", "a-hi-80", "b-hi-80"]
    assert list(model.backtest(frame, windows=2)) == ["Month", "cutoff", "a", "b", "forecast-a", "forecast-b"]


def test_a_forecast_is_in_the_zone_of_the_table():
    frame = pd.DataFrame({"ds": pd.date_range("2018-10-20", periods=200, freq="h", tz="Europe/Berlin"), "y": 1.0})
    frame["y"] = frame["ds"].dt.hour
    found = Forecaster(40, **SMALL).fit(frame).predict()
    wanted = pd.date_range(frame["ds"].iloc[-1], periods=41, freq="h")[1:]
    assert found["ds"].dtype == frame["ds"].dtype and found["ds"].tolist() == wanted.tolist()


def test_a_file_is_forecast_as_a_mapping():
    found = of_file(ROAD_TRAFFIC)
    model = Forecaster(24, **SMALL | {"epochs": 1}).fit(found)
    told = model.predict()
    assert (
        told["date_time"].tolist()[:2] == ["2018-10-01 00:00", "2018-10-01 01:00"] and len(told["traffic_volume"]) == 24
    )


def test_roles_are_for_tables():
    with pytest.raises(DataError, match="target is for tables"):
        Forecaster(4, **SMALL).fit([np.arange(30.0)], target="y")


def test_gzip_is_read_as_it_is(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"t,y\n" + b"".join(b"%d,%d\n" % (k, k) for k in range(9))))
    assert of_file(tmp_path / "t.csv.gz").series.y.values.ravel().tolist() == list(range(9))


def test_the_library_is_that_of_the_table():
    frame = {
        "ds": [f"2024-01-01 {k:02}:00" for k in range(24)] * 2,
        "unique_id": ["a"] * 24 + ["b"] * 24,
        "y": [1.0, 2, 3, 4] * 12,
    }
    model = Forecaster(4, season=4, hidden_size=4, epochs=1).fit(pd.DataFrame(frame))
    assert isinstance(model.predict(), pd.DataFrame)
    assert isinstance(model.predict(pl.DataFrame(frame)), pl.DataFrame)
    assert isinstance(model.backtest(pl.DataFrame(frame), windows=1), pl.DataFrame)
    assert isinstance(model.predict(frame), dict)
    with pytest.raises(DataError, match="must be a table with the columns"):
        model.predict([np.arange(20.0)])
