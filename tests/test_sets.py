"""The data sets: those that are built in, those in a folder, and those that are fetched."""

import gzip
import io
import zipfile
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest

from unspool.cli.main import execute
from unspool.data import fetch, load_set
from unspool.data.sets import SETS, moving_digits, where
from unspool.data.sets.moving import DIRECTIONS
from unspool.data.sets.table import File, Row
from unspool.errors import DataError


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No folder of data sets, and an empty cache."""
    monkeypatch.delenv("UNSPOOL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "unspool"


@pytest.fixture
def server():
    """The files of a server on this machine, by path, and its address."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = files.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield files, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def _row(monkeypatch, *files):
    monkeypatch.setattr(File, "url", property(lambda file: file.path))  # addresses that are not https
    monkeypatch.setitem(SETS, "mine", Row("try", "small", "free", "here", files))


def _counts(y):
    return dict(zip(*(of.tolist() for of in np.unique(y, return_counts=True)), strict=True))


def test_promoters(alone):
    X, y = load_set("dna-promoters").train
    assert _counts(y) == {"+": 53, "-": 53}
    assert {len(x) for x in X} == {57}
    assert set("".join(X)) == set("acgt")
    found = sha256("".join(sorted(f"{of},{x}\n" for x, of in zip(X, y, strict=True))).encode()).hexdigest()
    assert found == "63033c8d831b15e84511210d03ddf486b2f9947bea7532c4e25ce5a2702add9c"


def test_motions(alone):
    found = load_set("uea-basicmotions")
    for X, y in (found.train, found.test):
        assert X.shape == (40, 100, 6)
        assert _counts(y) == dict.fromkeys(("Badminton", "Running", "Standing", "Walking"), 10)
    assert found.train[0][0, :3, 0].tolist() == [0.08, 0.08, -0.90]
    together = np.concatenate([found.train[0], found.test[0]])
    assert (
        sha256(np.rint(100 * together).astype("<i4").tobytes()).hexdigest()
        == "b4d0dba7f37c068036c8760c90d42e88fbc904d43de10febed4ba6922af65e8b"
    )


def test_names_are_in_one_part(alone):
    found = load_set("names-by-nationality")
    parts = [found.train, found.validation, found.test]
    assert [len(X) for X, _ in parts] == [14406, 1802, 1804]
    names = [set(X) for X, _ in parts]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert {len(set(y)) for _, y in parts} == {18}
    assert len({pair for X, y in parts for pair in zip(X, y, strict=True)}) == 18_012


def test_built_in_are_the_published_ones(data_folder, alone):
    rows = [line.split(",") for line in (data_folder / "dna-promoters/promoters.data").read_text().split("\n") if line]
    X, y = load_set("dna-promoters").train
    assert sorted(zip(X, y, strict=True)) == sorted((text.strip(), of) for of, _, text in rows)
    from unspool.data import read

    motions = load_set("uea-basicmotions")
    for part, (X, y) in (("TRAIN", motions.train), ("TEST", motions.test)):
        published = read(data_folder / f"uea-basicmotions/BasicMotions_{part}.ts")
        np.testing.assert_allclose(X.reshape(-1, 6), published["value"].values, atol=0.00500001, rtol=0)
        assert y.tolist() == list(published["label"])
    names = load_set("names-by-nationality")
    pairs = {pair for X, y in (names.train, names.validation, names.test) for pair in zip(X, y, strict=True)}
    lists = (data_folder / "names-by-nationality").glob("*.txt")
    assert pairs == {
        (name.strip(), path.stem) for path in lists for name in path.read_text("utf-8").split("\n") if name
    }


def test_the_built_in_traffic_is_a_year_of_the_published(data_folder, alone):
    from unspool.data import read

    published = read(data_folder / "metro-traffic/Metro_Interstate_Traffic_Volume.csv.gz")
    columns = {name: published[name].values for name in ("date_time", "traffic_volume", "holiday")}
    volumes = dict(zip(columns["date_time"], columns["traffic_volume"].tolist(), strict=True))
    days = zip(columns["date_time"], columns["holiday"], strict=True)
    holidays = {time[:10]: name for time, name in days if name != "None"}
    ours, _ = load_set("road-traffic").train
    hours = [f"{time}:00" for time in ours["date_time"]]
    assert hours == sorted(time for time in volumes if "2017-10" <= time < "2018-10")
    assert ours["traffic_volume"].tolist() == [volumes[hour] for hour in hours]
    assert ours["holiday"].tolist() == [holidays.get(hour[:10], "none") for hour in hours]


@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("dna-splice", (3190,), 3),
        ("uea-japanesevowels", (270, 370), 9),
        ("pendigits", (7494, 3498), 10),
        ("rt-polarity", (10662,), 2),
        ("free-spoken-digits", (2250, 250), 10),
    ],
)
def test_classified_sets_of_the_folder(data_folder, name, sizes, classes):
    found = load_set(name)
    parts = [part for part in (found.train, found.validation, found.test) if part is not None]
    assert tuple(len(X) for X, _ in parts) == sizes
    assert all(len(X) == len(y) and len(set(y.tolist())) == classes for X, y in parts)
    assert found.rate == (8000 if name == "free-spoken-digits" else None)


def test_splice_repeats_and_shuffling(data_folder):
    X, y = load_set("dna-splice").train
    assert len(set(X)) == 3005
    assert len(set(y[:50])) == 3


def test_spoken_digits_keep_five_recordings_apart(data_folder):
    X, y = load_set("free-spoken-digits").test
    assert _counts(y) == dict.fromkeys(range(10), 25)
    assert all(x.dtype == np.float32 and np.abs(x).max() <= 1 for x in X)


@pytest.mark.parametrize(
    ("name", "sizes", "words", "tags"),
    [
        ("ud-english-ewt", (12544, 2001, 2077), 204_577, 17),
        ("ud-english-partut", (1781, 156, 153), None, 17),
        ("wnut17-ner", (3394, 1009, 1287), 62_730, 13),
    ],
)
def test_tagged_sets_of_the_folder(data_folder, name, sizes, words, tags):
    found = load_set(name)
    assert tuple(len(X) for X, _ in (found.train, found.validation, found.test)) == sizes
    X, y = found.train
    assert [len(x) for x in X] == [len(of) for of in y]
    assert words in (None, sum(map(len, X)))
    assert len({tag for of in y for tag in of}) == tags


@pytest.mark.parametrize("name", [name for name, row in SETS.items() if row.load is None])
def test_other_sets_have_their_files(data_folder, name):
    assert [path.name.removesuffix(".gz") for path in fetch(name).values()] == [file.name for file in SETS[name].files]
    with pytest.raises(DataError, match=rf"{name} cannot be loaded; unspool.data.fetch\('{name}'\) gives its files"):
        load_set(name)


def test_moving_digits():
    X, y = moving_digits(300, 1)
    assert X.shape == (300, 20, 16, 16)
    assert X.dtype == np.float32
    assert X.min() == 0 and X.max() == 1
    again, _ = moving_digits(300, 1)
    assert (again == X).all()
    for film, label in zip(X, y, strict=True):
        step = DIRECTIONS[label.split()[1]]
        for t in range(19):
            assert (np.roll(film[t], step, (0, 1)) == film[t + 1]).all()


def test_moving_digits_of_parts_share_no_image():
    def images(part):
        X, _ = moving_digits(2000, part=part)
        return {min(np.roll(f, (i, j), (0, 1)).tobytes() for i in range(16) for j in range(16)) for f in X[:150, 0]}

    assert not images("train") & images("test")


def test_what_is_fetched_is_kept(alone, monkeypatch, server):
    files, at = server
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as new:
        new.writestr("inside/one.txt", "one\n")
    files |= {"/a.zip": packed.getvalue(), "/b.gz": gzip.compress(b"two\n"), "/c": b"header\nthree\n"}
    _row(
        monkeypatch,
        File("one.txt", sha256(b"one\n").hexdigest(), f"{at}/a.zip", "one.txt"),
        File("two.txt", sha256(b"two\n").hexdigest(), f"{at}/b.gz"),
        File("three.txt", sha256(b"three\n").hexdigest(), f"{at}/c", header=1),
    )
    assert where.place("mine") == "to fetch"
    paths = fetch("mine")
    assert [path.read_text() for path in paths.values()] == ["one\n", "two\n", "three\n"]
    assert where.place("mine") == "here"
    files.clear()
    assert fetch("mine") == paths
    paths["two.txt"].write_text("changed")
    with pytest.raises(DataError, match=r"expected two\.txt with SHA-256"):
        fetch("mine")


def test_what_cannot_be_fetched_is_one_line(alone, monkeypatch, server, capsys):
    files, at = server
    files["/bad"] = b"other"
    _row(monkeypatch, File("x", sha256(b"x").hexdigest(), f"{at}/bad"))
    with pytest.raises(DataError, match=f"{at}/bad: expected x with SHA-256 .*; got .*, damaged data"):
        fetch("mine")
    assert not list(alone.rglob("x"))
    _row(monkeypatch, File("x", "0", f"{at}/missing"))
    with pytest.raises(DataError, match=f"{at}/missing cannot be fetched: 404 .* UNSPOOL_DATA"):
        fetch("mine")
    _row(monkeypatch, File("x", "0", "http://127.0.0.1:9/x"))
    assert execute(["data", "get", "mine"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    _row(monkeypatch, File("x", "0", None))
    with pytest.raises(DataError, match=r"x of mine cannot be fetched: set UNSPOOL_DATA to a folder that has mine/"):
        fetch("mine")


def test_a_damaged_file_of_the_folder_is_refused(alone, monkeypatch, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_bytes(b"y")
    monkeypatch.setenv("UNSPOOL_DATA", str(tmp_path))
    _row(monkeypatch, File("x", sha256(b"x").hexdigest(), None))
    with pytest.raises(DataError, match=r"mine.x: expected x with SHA-256"):
        fetch("mine")


def test_the_list_and_unknown_names(alone, capsys):
    assert execute(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SETS) + 1
    assert sum(line.endswith("built in") for line in lines) == 5
    assert execute(["data", "get", "dna-promoters"]) == 0
    assert "built in" in capsys.readouterr().out
    assert execute(["data", "get", "cats"]) == 2
    assert capsys.readouterr().err.startswith("unspool: name must be one of dna-promoters, ")


def test_every_source_is_pinned():
    for row in SETS.values():
        assert row.task and row.size and row.licence and row.source
        for file in row.files:
            assert len(file.sha256) == 64
            assert file.url is None or any(len(part.removesuffix(".zip")) == 40 for part in file.url.split("/"))
