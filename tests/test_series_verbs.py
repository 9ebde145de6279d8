"""`unspool fit series`, `predict`, `evaluate` and its picture, on files."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unspool.cli.main import execute

QUICK = ["--hidden-size", "8", "--epochs", "2"]


def table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def hours(n, first=0):
    days = [f"2024-03-{1 + (first + k) // 24:02} {(first + k) % 24:02}:00" for k in range(n)]
    return [
        [day, f"{10 + (first + k) % 24 + k % 3}", "yes" if (first + k) // 24 % 7 == 0 else "no"]
        for k, day in enumerate(days)
    ]


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "readings.csv", [["when", "load", "off"], *hours(480)])


@pytest.fixture(scope="module")
def network(readings, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("nets") / "net")
    assert execute(["fit", "series", readings, "--known", "off", "--horizon", "12", "--out", out, *QUICK]) == 0
    return out


def written(capsys):
    return list(csv.reader(capsys.readouterr().out.splitlines()))


def test_what_was_assumed_is_said(readings, tmp_path, capsys):
    assert execute(["fit", "series", readings, "--out", str(tmp_path / "net"), *QUICK]) == 0
    said = capsys.readouterr()
    assert "target: 'load'; time: 'when', every hour; one series; not used: 'off'; change it by --target" in said.err
    assert "seasonal naive" in said.out
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["preprocessing"]["horizon"] == 24


def test_a_forecast_needs_no_file(network, tmp_path, capsys):
    future = table(tmp_path / "future.csv", [["when", "off"], *[[r[0], r[2]] for r in hours(12, 480)]])
    assert execute(["predict", network, "--future", future]) == 0
    rows = written(capsys)
    assert rows[0] == ["when", "load", "load-lo-80", "load-hi-80", "load-lo-95", "load-hi-95"]
    assert [row[0] for row in rows[1:]] == [r[0] for r in hours(12, 480)]
    assert all(float(r[4]) <= float(r[2]) <= float(r[1]) <= float(r[3]) <= float(r[5]) for r in rows[1:])


def test_of_the_same_file_it_is_the_same(network, readings, tmp_path, capsys):
    future = table(tmp_path / "future.csv", [["when", "off"], *[[r[0], r[2]] for r in hours(30, 480)]])
    assert execute(["predict", network, "--future", future, "--horizon", "30"]) == 0
    alone = capsys.readouterr().out
    assert execute(["predict", network, readings, "--future", future, "--horizon", "30"]) == 0
    assert capsys.readouterr().out == alone
    for name in ("out.csv", "out.jsonl", "out.tsv"):
        out = tmp_path / name
        assert execute(["predict", network, "--future", future, "--out", str(out)]) == 0
        assert len(out.read_text().splitlines()) == 12 + (name != "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["when"] == "2024-03-21 00:00"
    capsys.readouterr()


def test_evaluate_measures_what_was_held_out(network, readings, capsys):
    assert execute(["evaluate", network, readings]) == 0
    out = capsys.readouterr().out
    assert "4 times 12 steps, held out when it was trained on this file" in out
    metrics = json.loads(Path(network, "metrics.json").read_text())
    assert f"{metrics['validation']['mae']:.4g} mean absolute error" in out
    assert f"{metrics['baselines']['naive']['mae']:.4g} mean absolute error" in out


def test_evaluate_of_another_file_takes_the_last_horizon(network, tmp_path, capsys):
    other = table(tmp_path / "other.csv", [["when", "load", "off"], *hours(100)])
    assert execute(["evaluate", network, other]) == 0
    assert "1 times 12 steps, the end of each series" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_drawn(network, readings, tmp_path, capsys, kind):
    picture = tmp_path / f"forecast.{kind}"
    assert execute(["evaluate", network, readings, "--picture", str(picture)]) == 0
    assert f"picture in {picture}" in capsys.readouterr().out
    assert picture.read_bytes()[:4] == {"png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF"}[kind]


def test_many_series_a_row_each(tmp_path, capsys):
    rows = [["id", *(f"V{k}" for k in range(2, 102))]]
    rows += [[f"H{k}", *(f"{5 + (k + t) % 6}" for t in range(60 + 20 * k)), *[""] * (40 - 20 * k)] for k in range(3)]
    file = table(tmp_path / "wide.csv", rows)
    out = str(tmp_path / "net")
    assert execute(["fit", "series", file, "--season", "6", "--horizon", "6", "--out", out, *QUICK]) == 0
    assert "a row a series, named by 'id'" in capsys.readouterr().err
    assert execute(["predict", out]) == 0
    rows = written(capsys)
    assert rows[0][:3] == ["id", "step", "y"]
    assert [row[0] for row in rows[1:]] == ["H0"] * 6 + ["H1"] * 6 + ["H2"] * 6
    assert [row[1] for row in rows[1:7]] == [str(60 + k) for k in range(6)]


COMPLAINTS = {
    "no future": (["predict", "NET"], "known must be given (--future)"),
    "a future too short": (["predict", "NET", "--future", "FILE"], "a row for each of the 12 steps"),
    "probabilities": (["predict", "NET", "--probabilities"], "--probabilities is for labels"),
    "tags": (["predict", "NET", "--out", "x.conll"], ".conll is for tags"),
    "a picture of another kind": (["evaluate", "NET", "FILE", "--picture", "x.bmp"], ".png, .svg, .pdf"),
    "a flag of labels": (["predict", "NET", "FILE", "--label", "x"], "--label is not for"),
    "a file that is not there": (["predict", "NET", "none.csv"], "none.csv"),
    "validation by a file": (["fit", "series", "FILE", "--out", "OUT", "--validation", "FILE"], "part"),
    "no such column": (["fit", "series", "FILE", "--out", "OUT", "--target", "volume"], "readings.csv: target: there"),
    "the target is a text": (["fit", "series", "FILE", "--out", "OUT", "--target", "off"], "off"),
    "a wrong output": (["fit", "series", "FILE", "--out", "OUT", "--output", "gauss"], "output must be one of"),
}


@pytest.mark.parametrize("name", COMPLAINTS)
def test_one_line_is_said_of_what_is_wrong(network, readings, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = COMPLAINTS[name]
    places = {"NET": network, "FILE": readings, "OUT": str(tmp_path / "out")}
    assert execute([places.get(word, word) for word in arguments]) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not (tmp_path / "out").exists()


def test_flags_of_series_are_refused_elsewhere(tmp_path, capsys):
    rows = [["text", "label"], *([["good day", "a"], ["bad night", "b"]] * 10)]
    file = table(tmp_path / "labels.csv", rows)
    out = str(tmp_path / "net")
    assert execute(["fit", "labels", file, "--out", out, *QUICK]) == 0
    for flags, message in (
        (["predict", out], "FILE is needed"),
        (["predict", out, file, "--horizon", "3"], "--horizon is for networks"),
        (["evaluate", out, file, "--picture", "x.png"], "--picture is for networks"),
    ):
        assert execute(flags) != 0
        assert message in capsys.readouterr().err


def test_forecasts_need_no_torch(network, readings, tmp_path):
    future = table(tmp_path / "future.csv", [["when", "off"], *[[r[0], r[2]] for r in hours(12, 480)]])
    code = (
        "import sys; from unspool.cli.main import execute\n"
        f"assert execute(['predict', {network!r}, '--future', {future!r}]) == 0\n"
        f"assert execute(['evaluate', {network!r}, {readings!r}]) == 0\n"
        "assert not {'torch', 'sklearn', 'pandas', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_goes_on_where_it_was_stopped(readings, tmp_path, capsys):
    out = tmp_path / "net"
    whole = ["fit", "series", readings, "--out", str(out), *QUICK]
    assert execute(whole) == 0
    assert execute(["fit", "series", "--resume", str(tmp_path / "none")]) != 0
    weights = np.frombuffer((out / "model.safetensors").read_bytes(), np.uint8)
    assert execute([*whole, "--force"]) == 0
    np.testing.assert_array_equal(weights, np.frombuffer((out / "model.safetensors").read_bytes(), np.uint8))
    capsys.readouterr()


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_small_weights_forecast_nearly_the_same(network, readings, tmp_path, capsys, weights):
    out = str(tmp_path / "small")
    assert execute(["pack", network, "--weights", weights, "--out", out, "--file", readings]) == 0
    said = capsys.readouterr().out
    assert said.count("network    ") == 2
    future = table(tmp_path / "future.csv", [["when", "off"], *[[r[0], r[2]] for r in hours(12, 480)]])
    found = []
    for where in (network, out):
        assert execute(["predict", where, "--future", future]) == 0
        found.append([float(row[1]) for row in written(capsys)[1:]])
    np.testing.assert_allclose(found[1], found[0], rtol=0.1)


def test_a_graph_of_the_network_is_written(network, tmp_path, capsys):
    assert execute(["export", network, str(tmp_path / "net.onnx")]) == 0
    assert "differs from ours" in capsys.readouterr().out
