"""Files of sequences and their targets: what is read of them, and the verbs fit, predict and evaluate."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest

from unspool import Classifier, Regressor, Tagger
from unspool import data as readers
from unspool.cli import main as cli
from unspool.errors import DataError
from unspool.tasks import source
from unspool.tasks.files import LabelsFile, NumbersFile, TagsFile
from unspool.tasks.source import Roles

SMALL = ["--hidden-size", "8", "--epochs", "2"]
WIDE = "a,b,c,class\n" + "".join(f"{i},{i + 1},{i + 2},{'up' if i % 2 else 'down'}\n" for i in range(20))
LONG = "id,t,a,b,label\n" + "".join(
    f"{i},{t},{i + t},{i * t},{'xy'[i % 2]}\n" for i in range(12) for t in range(2 + i % 3)
)
TEXTS = "text,label\n" + "".join(f'"{"good, fine" if i % 2 else "bad"} {i}",{i % 2}\n' for i in range(20))
TAGGED = "".join(f"the\tDET\ndog{i}\tNOUN\n\n" for i in range(9))


def run(*arguments):
    return cli.execute([str(a) for a in arguments])


def refused(capsys, *arguments):
    """The last line on standard error about a command that must be refused."""
    capsys.readouterr()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    return err.splitlines()[-1]


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def labelled(cls, path, **flags):
    notes = []
    return cls(str(path), **flags).labelled(report=notes.append), notes


def test_columns_of_numbers_are_steps(file):
    found, notes = labelled(LabelsFile, file("t.csv", WIDE))
    assert found.roles == Roles("class", ("a", "b", "c"), wide=True)
    assert found.X.tolist()[:2] == [[0, 1, 2], [1, 2, 3]] and found.y.tolist()[:2] == ["down", "up"]
    assert notes == [
        "label: column 'class'; input: 'a', 'b', 'c'; a row a sequence, its steps in 3 columns; "
        "change it by --label, --inputs or --sequence"
    ]


def test_steps_that_are_absent_at_the_end_make_unequal_lengths(file):
    found, _ = labelled(LabelsFile, file("t.csv", "a,b,c,class\n1,2,3,u\n1,2,,v\n1,,,u\n3,2,1,v\n"))
    assert [x.ravel().tolist() for x in found.X] == [[1, 2, 3], [1, 2], [1], [3, 2, 1]]


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_a_step(file, order):
    rows = LONG.splitlines()[1:][::order]
    found, notes = labelled(LabelsFile, file("t.csv", "\n".join([LONG.splitlines()[0], *rows])))
    assert found.roles == Roles("label", ("a", "b"), "id", "t")
    ids = found.sequences["id"].tolist()
    i = ids.index("5")
    assert found.X["b"][i].tolist() == [0, 5, 10, 15][: 2 + 5 % 3] and found.y[i] == "y"
    assert "a row a step, sequences by 'id'" in notes[0]


def test_a_value_a_step(file):
    rows = "".join(f"{i},{t},{t},{t + i}\n" for i in range(4) for t in range(3))
    path = file("t.csv", "id,t,x,target\n" + rows)
    found, _ = labelled(NumbersFile, path)
    assert [y.tolist() for y in found.y] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    with pytest.raises(DataError, match=r"t.csv, line 3: column 'target' must have one label for all rows.*fit tags"):
        labelled(LabelsFile, path)


def test_text_and_its_label(file):
    found, _ = labelled(LabelsFile, file("t.csv", TEXTS))
    assert found.X[:2] == ["bad 0", "good, fine 1"] and found.y.tolist()[:2] == [0, 1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.data", "t.txt"])
def test_the_delimiter_is_seen(file, name, delimiter):
    found, _ = labelled(LabelsFile, file(name, WIDE.replace(",", delimiter)))
    assert found.X.shape == (20, 3) and found.y[1] == "up"


def test_a_first_line_of_data_is_no_header(file):
    found, notes = labelled(LabelsFile, file("t.csv", "+,s1,\t\tacgtacgt\n+,s2,tttaa\n-,s3,gggtttt\n-,s4,accaacca\n"))
    assert found.roles == Roles("column 1", ("column 3",), header=False) and found.X[0] == "acgtacgt"
    assert "the first line is data" in notes[0]
    found, _ = labelled(LabelsFile, file("n.csv", "47,100,8\n0,89,2\n12,5,8\n1,1,2\n"), label="-1")
    assert found.roles.label == "column 3" and found.X.tolist()[0] == [47, 100] and found.y.tolist() == [8, 2, 8, 2]


def test_flags_choose_other_columns(file):
    path = file("t.csv", "who,a,b,u,v\n" + "".join(f"{i // 3},{i},{2 * i},p{i // 6},q{i // 3}\n" for i in range(18)))
    found, _ = labelled(LabelsFile, path, label="U", inputs="b", sequence="1")
    assert found.roles == Roles("u", ("b",), "who") and found.X["b"][1].tolist() == [6, 8, 10]
    with pytest.raises(DataError, match="there is no column 'z'; there are who, a, b, u, v"):
        labelled(LabelsFile, path, label="z")
    with pytest.raises(
        DataError, match="it is in doubt which column has the targets; say so by --label; there are who"
    ):
        labelled(LabelsFile, path)


def test_json_lines(file):
    rows = [{"x": [[i, 1.0], [2, 3]], "target": i / 2} for i in range(4)]
    found, _ = labelled(NumbersFile, file("t.jsonl", "\n".join(map(json.dumps, rows))))
    assert found.X["x"][1].tolist() == [[1, 1], [2, 3]] and found.y.tolist() == [0, 0.5, 1, 1.5]
    rows = [{"words": ["a", "b"], "tags": ["X", "Y"]}] * 3
    found, _ = labelled(TagsFile, file("w.jsonl", "\n".join(map(json.dumps, rows))))
    assert found.X == [["a", "b"]] * 3 and found.y == [["X", "Y"]] * 3


def test_parquet_and_arrays(file, tmp_path):
    polars = pytest.importorskip("polars", reason="needs polars, to write Parquet")
    pytest.importorskip("pyarrow", reason="needs pyarrow, to read Parquet")
    for name, text, roles in (
        ("w", WIDE, Roles("class", ("a", "b", "c"), wide=True)),
        ("l", LONG, Roles("label", ("a", "b"), "id", "t")),
    ):
        polars.read_csv(io.StringIO(text)).write_parquet(tmp_path / f"{name}.parquet")
        found, _ = labelled(LabelsFile, tmp_path / f"{name}.parquet")
        same, _ = labelled(LabelsFile, file(f"{name}.csv", text))
        assert found.roles == same.roles == roles and found.y.tolist() == same.y.tolist()
    np.savez(tmp_path / "a.npz", x=np.arange(24.0).reshape(4, 3, 2), y=np.array([0, 1, 0, 1]))
    found, _ = labelled(LabelsFile, tmp_path / "a.npz")
    assert found.X["x"][1].tolist() == [[6, 7], [8, 9], [10, 11]] and found.y.tolist() == [0, 1, 0, 1]


def test_tagged_sentences(file):
    for name in ("t.conll", "t.annotated"):
        found, _ = labelled(TagsFile, file(name, TAGGED))
        assert len(found.X) == 9 and found.X[1] == ["the", "dog1"] and found.y[1] == ["DET", "NOUN"]
    one, _ = labelled(TagsFile, file("u.conll", TAGGED + "\n" + TAGGED.replace("\n\n", "\n")))
    assert len(one.X[-1]) == 18, "without an empty line it is one sentence"
    with pytest.raises(DataError, match=r"at least 2 sequences.*: put an empty line after each sentence"):
        labelled(TagsFile, file("v.conll", TAGGED.replace("\n\n", "\n")))
    _, notes = labelled(TagsFile, file("w.conll", TAGGED + "\nx\tX" * 3000))
    assert notes == [
        f"{file('w.conll', TAGGED)}, line 29: a sentence of 3,000 tokens; is there no empty line after each sentence?"
    ]
    universal = "".join(f"{i}\tw{i}\tl\tNOUN\tNN\t_\t0\troot\t_\t_\n" for i in (1, 2)) + "\n"
    found, _ = labelled(TagsFile, file("t.conllu", universal * 2))
    assert found.roles == Roles("UPOS", ("FORM",)) and found.y[0] == ["NOUN", "NOUN"]
    found, _ = labelled(TagsFile, file("t.conllu", universal * 2), label="xpos")
    assert found.y[0] == ["NN", "NN"]


def test_a_folder_of_classes(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.txt").write_text(f"{name}1\n\n{name}2\n", encoding="utf-8")
    found, _ = labelled(LabelsFile, tmp_path)
    assert found.X == ["cat1", "cat2", "dog1", "dog2"] and found.y.tolist() == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("w.csv", WIDE), ("l.csv", LONG), ("t.csv", TEXTS), ("q.csv", TEXTS.replace("fine", 'f\n""ine""'))],
)
@pytest.mark.parametrize("size", [1, 7, 40, 10_000])
def test_parts_are_the_whole(file, monkeypatch, name, text, size):
    path = file(name, text)
    whole, _ = labelled(LabelsFile, path)
    monkeypatch.setattr(source, "_PART", size)
    monkeypatch.setattr("unspool.data.readers.source._BLOCK", size)
    parts = list(LabelsFile(str(path)).parts(whole.roles))
    assert len(parts) > (size < 40)
    assert [y for part in parts for y in part.y] == whole.y.tolist()
    lines = [n for part in parts for n in part.sequences.places.lines.tolist()]
    assert lines == whole.sequences.places.lines.tolist()
    if name == "l.csv":
        assert [x.tolist() for part in parts for x in part.X["b"]] == [x.tolist() for x in whole.X["b"]]
    else:
        assert [str(x) for part in parts for x in part.X] == [str(x) for x in whole.X]


def test_parts_of_sentences_and_series(file, monkeypatch):
    series = "@timeStamps false\n@classLabel true a b\n@data\n" + "".join(
        f"{i},2,3:4,5,6:{'ab'[i % 2]}\n" for i in range(9)
    )
    for cls, path in ((TagsFile, file("t.conll", TAGGED)), (LabelsFile, file("t.ts", series))):
        whole, _ = labelled(cls, path)
        monkeypatch.setattr(source, "_PART", 20)
        monkeypatch.setattr("unspool.data.readers.source._BLOCK", 20)
        parts = list(cls(str(path)).parts(whole.roles))
        assert len(parts) > 2 and [list(y) for part in parts for y in part.y] == [list(y) for y in whole.y]
        lines = [n for part in parts for n in part.sequences.places.lines.tolist()]
        assert lines == whole.sequences.places.lines.tolist()


def test_rows_of_a_sequence_that_are_apart_are_refused_in_parts(file, monkeypatch):
    path = file("t.csv", LONG + "0,9,1,1,x\n")
    whole, _ = labelled(LabelsFile, path)
    monkeypatch.setattr(source, "_PART", 40)
    monkeypatch.setattr("unspool.data.readers.source._BLOCK", 40)
    with pytest.raises(
        DataError, match=r"t.csv, line 38: the rows of sequence '0' must follow each other.*sort the file"
    ):
        list(LabelsFile(str(path)).parts(whole.roles))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A network of labels and one of numbers, and the files that they were trained on."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "l.csv").write_text(LONG, encoding="utf-8")
    (folder / "w.csv").write_text(WIDE.replace("class", "kind"), encoding="utf-8")
    (folder / "n.csv").write_text(
        "a,b,target\n" + "".join(f"{i},{i * i},{i / 3!r}\n" for i in range(20)), encoding="utf-8"
    )
    for task, name in (("labels", "l"), ("labels", "w"), ("numbers", "n")):
        assert run("fit", task, folder / f"{name}.csv", "--out", folder / name, *SMALL) == 0
    return folder


def test_predict_writes_what_python_predicts(networks, capsys):
    assert run("predict", networks / "l", networks / "l.csv", "--probabilities") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    X = labelled(LabelsFile, networks / "l.csv")[0].X
    model = Classifier.load(networks / "l")
    assert rows[0] == ["id", "prediction", "p(x)", "p(y)"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(12)]
    assert [row[1] for row in rows[1:]] == model.predict(X).tolist()
    assert [[float(v) for v in row[2:]] for row in rows[1:]] == model.predict_proba(X).tolist(), "every digit"
    assert run("predict", networks / "n", networks / "n.csv") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    X = labelled(NumbersFile, networks / "n.csv")[0].X
    assert [float(row[1]) for row in rows[1:]] == Regressor.load(networks / "n").predict(X).tolist()
    assert rows[1][0] == "2", "the line"


def test_predict_needs_no_label_and_reads_standard_input(networks, capsys, monkeypatch, tmp_path):
    assert run("predict", networks / "w", networks / "w.csv") == 0
    wanted = capsys.readouterr().out
    bare = "\n".join(line.rpartition(",")[0] for line in WIDE.splitlines())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bare.encode())))
    assert run("predict", networks / "w", "-") == 0
    assert capsys.readouterr().out == wanted
    (tmp_path / "x.csv").write_text(bare, encoding="utf-8")
    assert run("predict", networks / "w", tmp_path / "x.csv", "--out", tmp_path / "p.jsonl", "--probabilities") == 0
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [f"{row['line']},{row['prediction']}" for row in rows] == wanted.splitlines()[1:]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)
    err = refused(capsys, "predict", networks / "w", tmp_path / "x.csv", "--out", tmp_path / "p.jsonl")
    assert "p.jsonl exists; choose another file, or give --force" in err
    assert run("predict", networks / "w", tmp_path / "x.csv", "--out", tmp_path / "p.jsonl", "--force") == 0
    err = refused(capsys, "evaluate", networks / "w", tmp_path / "x.csv")
    assert "there is no column 'kind' with the targets" in err


def test_evaluate_the_own_file_and_another(networks, capsys, tmp_path):
    metrics = json.loads((networks / "l" / "metrics.json").read_bytes())
    assert run("evaluate", networks / "l", networks / "l.csv") == 0
    out = capsys.readouterr().out
    assert f"{metrics['validation']['sequences']} sequences, held out when it was trained on this file" in out
    assert f"network    {metrics['validation']['accuracy']:.4f} accuracy" in out
    (tmp_path / "other.csv").write_text(LONG + "99,0,1,1,x\n", encoding="utf-8")
    assert run("evaluate", networks / "l", tmp_path / "other.csv") == 0
    out = capsys.readouterr().out
    assert "13 sequences, the whole file" in out and "always x" in out
    assert f"when trained, held out: network {metrics['validation']['accuracy']:.4f}" in out
    found, _ = labelled(LabelsFile, tmp_path / "other.csv")
    accuracy = (Classifier.load(networks / "l").predict(found.X) == found.y).mean()
    assert f"network    {accuracy:.4f} accuracy" in out
    metrics = json.loads((networks / "n" / "metrics.json").read_bytes())
    assert run("evaluate", networks / "n", networks / "n.csv") == 0
    out = capsys.readouterr().out
    assert f"network    {metrics['validation']['rmse']:.4g} root mean squared error" in out and "mean       " in out


def test_numbers_of_steps_are_fitted_predicted_and_evaluated(capsys, tmp_path):
    rows = [(i, t, (i * t) % 3 - 1, i % 2 + t) for i in range(20) for t in range(1, 3 + i % 4)]
    (tmp_path / "n.csv").write_text("id,t,x,target\n" + "".join("{},{},{},{}\n".format(*row) for row in rows))
    path, network = tmp_path / "n.csv", tmp_path / "m"
    assert run("fit", "numbers", path, "--out", network, *SMALL, "--no-bidirectional") == 0
    assert "steps of 2 sequences held out" in capsys.readouterr().out
    metrics = json.loads((network / "metrics.json").read_bytes())
    assert run("evaluate", network, path) == 0
    out = capsys.readouterr().out
    assert "2 sequences, held out" in out and f"network    {metrics['validation']['rmse']:.4g} root mean" in out
    assert run("predict", network, path) == 0
    written = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    found, _ = labelled(NumbersFile, path)
    wanted = Regressor.load(network).predict(found.X)
    assert written[0] == ["id", "step", "prediction"] and len(written) == len(rows) + 1
    assert [float(row[2]) for row in written[1:]] == np.concatenate(list(wanted)).tolist()
    assert run("pack", network, "--weights", "bf16", "--out", tmp_path / "small", "--file", path) == 0
    assert capsys.readouterr().out.count("network    ") == 2
    # Targets that are all alike in each sequence are those of steps still.
    (tmp_path / "o.csv").write_text(
        "id,t,x,target\n" + "".join(f"{i},{t},{i},{i}\n" for i in range(4) for t in range(3))
    )
    assert run("evaluate", network, tmp_path / "o.csv") == 0
    assert run("predict", network, tmp_path / "o.csv", "--out", tmp_path / "p.jsonl") == 0
    assert [len(json.loads(line)["prediction"]) for line in (tmp_path / "p.jsonl").read_text().splitlines()] == [3] * 4


def test_several_numbers_of_a_sequence_are_no_numbers_of_steps(capsys, tmp_path):
    lines = [{"x": [i, i + 1.0], "target": [[i, 1], [1, i]][i % 2]} for i in range(12)]
    (tmp_path / "n.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Regressor(hidden_size=8, epochs=1).fit(
        [line["x"] for line in lines], np.array([line["target"] for line in lines])
    ).save(tmp_path / "m")
    assert run("predict", tmp_path / "m", tmp_path / "n.jsonl", "--inputs", "x") == 0
    assert capsys.readouterr().out.splitlines()[0] == "line,prediction 1,prediction 2"


def test_a_run_of_labels_goes_on(networks, tmp_path):
    (tmp_path / "m.run").mkdir()
    arguments = {"file": str(networks / "l.csv"), "hidden_size": 8, "epochs": 2}
    (tmp_path / "m.run" / "run.json").write_text(json.dumps({"format": 2, "arguments": arguments}), encoding="utf-8")
    assert run("fit", "labels", "--resume", tmp_path / "m") == 0
    same = [(path / "model.safetensors").read_bytes() for path in (networks / "l", tmp_path / "m")]
    assert same[0] == same[1]
    assert run("fit", "labels", networks / "l.csv", "--out", tmp_path / "n", "--minutes", 0.005, "--patience", 2) == 0


def test_labels_that_the_network_does_not_know(networks, capsys, file):
    other = WIDE.replace("class", "kind")
    err = refused(
        capsys, "evaluate", networks / "w", file("t.csv", other.replace("up", "left").replace("down", "right"))
    )
    assert "t.csv: the labels are left, right; the network knows down, up: is this its file?" in err
    assert run("evaluate", networks / "w", file("t.csv", other + "1,2,3,left\n")) == 0
    assert "1 labels are none of the network's, and count as wrong: left" in capsys.readouterr().err


def test_a_validation_file(networks, capsys, tmp_path):
    command = ["fit", "labels", networks / "l.csv", "--out", tmp_path / "m", *SMALL]
    assert run(*command, "--validation", networks / "l.csv") == 0
    assert "on 12 sequences held out, trained on 12 sequences" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "m", networks / "l.csv") == 0
    out, err = capsys.readouterr()
    assert "12 sequences, the whole file" in out and "what the network was trained on" in err
    assert "nowhere.csv: no such file" in refused(capsys, *command, "--force", "--validation", tmp_path / "nowhere.csv")
    text = tmp_path / "a.txt"
    text.write_text("the rain in spain\n" * 20, encoding="utf-8")
    assert run("fit", "text", text, "--out", tmp_path / "t", *SMALL, "--validation", text) == 0
    assert "on 359 characters held out" in capsys.readouterr().out


def test_tags_are_fitted_predicted_and_evaluated(capsys, tmp_path):
    path = tmp_path / "t.conll"
    path.write_text(TAGGED, encoding="utf-8")
    small = ["--hidden-size", 8, "--epochs", 2, "--no-characters", "--embedding-size", 4]
    assert run("fit", "tags", path, "--out", tmp_path / "m", *small) == 0
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_bytes())
    capsys.readouterr()
    assert run("evaluate", tmp_path / "m", path) == 0
    out = capsys.readouterr().out
    assert f"network    {metrics['validation']['accuracy']:.4f} accuracy" in out and "always " in out
    assert run("predict", tmp_path / "m", path, "--out", tmp_path / "p.conll") == 0
    found, _ = labelled(TagsFile, tmp_path / "p.conll")
    assert found.X == labelled(TagsFile, path)[0].X
    assert [list(tags) for tags in Tagger.load(tmp_path / "m").predict(found.X)] == found.y
    assert run("predict", tmp_path / "m", path, "--probabilities") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["line", "step", "prediction", "p(DET)", "p(NOUN)"] and len(rows) == 19
    assert rows[2][:2] == ["1", "1"] and sum(map(float, rows[2][3:])) == pytest.approx(1)
    path.write_text(TAGGED.replace("DET", "X").replace("NOUN", "Y"), encoding="utf-8")
    assert "the network knows DET, NOUN: is this its file?" in refused(capsys, "evaluate", tmp_path / "m", path)


def test_pack_measures_labels(networks, capsys, tmp_path):
    out = ["--out", tmp_path / "small"]
    assert run("pack", networks / "l", "--weights", "int8", "--file", networks / "l.csv", *out) == 0
    assert capsys.readouterr().out.count("network    ") == 2


@pytest.mark.parametrize(
    ("verb", "text", "complaint"),
    [
        ("fit labels", "", "t.csv: the file is empty"),
        ("fit labels", "a,b,class\n", "t.csv: expected at least one row that can be used; got none"),
        ("fit labels", "a,b,class\n1,2,u\n3,4,\n", "t.csv, line 3: column 'class' is empty; expected a label"),
        ("fit labels", "a,b,class\n1,2,u\n3,x,v\n5,6,u\n", "t.csv, line 3, column 2 (b): expected a number; got 'x'"),
        ("fit labels", "a,b,class\n1,2,u\n1e999,4,v\n5,6,u\n", "t.csv, line 3, column 1 (a): expected a number within"),
        ("fit labels", "a,b,class\n1,2,u\n1e60,4,v\n5,6,u\n7,8,v\n", "t.csv: X must have finite numbers; got infinity"),
        ("fit labels", "a,b,class\n1,2,u\n3,4\n", "t.csv, line 3: expected 3 fields; got 2"),
        ("fit labels", "a,b,class\n1,2,u\n", "t.csv: must have at least 2 sequences"),
        ("fit labels", "a,b,class\n1,2,u\n3,4,u\n", "y must have at least two classes; got one class, u"),
        (
            "fit labels",
            "a,b,label\n1,2,1.5\n3,4,2.5\n5,6,3\n",
            "3 different labels, each once; for numbers try 'unspool",
        ),
        (
            "fit labels",
            "a,b,label\n1,2,1.5\n3,4,2.5\n5,6,1.5\n",
            "column 'label' has fractions, no labels; try 'unspool",
        ),
        ("fit labels", "text,label\na,u\n,v\nb,u\nb,v\n", "t.csv, line 3: column 'text' is empty; expected a text"),
        (
            "fit numbers",
            "a,b,target\n1,2,u\n3,4,v\n",
            "column 'target' has texts, no numbers; try 'unspool fit labels'",
        ),
        ("fit numbers", "a,b,c\n1,2,3\n3,4,5\n", "it is in doubt which column has the targets; say so by --label"),
    ],
)
def test_bad_data_is_one_line(file, capsys, tmp_path, verb, text, complaint):
    assert complaint in refused(capsys, *verb.split(), file("t.csv", text), "--out", tmp_path / "m", *SMALL)
    assert not (tmp_path / "m").exists()


def test_a_class_that_is_seen_once_is_trained_on(file, capsys, tmp_path):
    path = file("t.csv", WIDE + "9,9,9,once\n")
    assert run("fit", "labels", path, "--out", tmp_path / "m", *SMALL) == 0
    assert Classifier.load(tmp_path / "m").classes_.tolist() == ["down", "once", "up"]


def test_bad_rows_are_skipped(file, capsys, tmp_path):
    path = file("t.csv", WIDE + "9,9,up\n")
    assert run("fit", "labels", path, "--out", tmp_path / "m", *SMALL, "--skip-bad", 1) == 0
    assert "skipped: " in capsys.readouterr().err
    assert run("predict", tmp_path / "m", path, "--skip-bad", 1) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 21 and err.count("skipped: ") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["predict", "l", "n.csv"], "n.csv: there is no column 'id'; there are a, b, target"),
        (["evaluate", "n", "w.csv"], "w.csv: there is no column 'target' with the targets"),
        (["evaluate", "n", "w.csv", "--label", "kind"], "w.csv: the targets are texts; this network predicts numbers"),
        (["evaluate", "l", "l.csv", "--column", "a"], "--column is not for a network that was trained by"),
        (["predict", "n", "n.csv", "--probabilities"], "--probabilities is for labels and tags"),
        (["predict", "n", "n.csv", "--out", "x.doc"], "--out must end in .csv, .tsv, .jsonl, .conll"),
        (["predict", "n", "n.csv", "--out", "x.conll"], "--out with .conll is for tags"),
        (["predict", "nowhere", "n.csv"], "no such folder"),
        (["predict", "n", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_predicted_is_one_line(networks, capsys, words, complaint):
    places = [networks / w if "." in w or (len(w) == 1 and i < 3) else w for i, w in enumerate(words)]
    assert complaint in refused(capsys, *places)


RATE = 8000


def write_wav(path, hertz, seed=0, rate=RATE):
    """A tone in noise of some 0.2 s."""
    draw = np.random.default_rng(seed)
    t = np.arange(draw.integers(1400, 1800)) / rate
    x = 0.4 * np.sin(2 * np.pi * hertz * t) + 0.05 * draw.standard_normal(len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes((x * 2**14).astype("<i2").tobytes())


def write_sounds(folder, names=("höher", "300"), n=6):
    for name, hertz in zip(names, (900, 300), strict=True):
        for i in range(n):
            write_wav(folder / name / f"звук {i}.wav", hertz, i)
    return folder


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A folder of folders of sounds, and a network of one direction that was trained on it."""
    folder = tmp_path_factory.mktemp("heard")
    write_sounds(folder / "sounds")
    one_way = ["--no-bidirectional", *SMALL]
    assert run("fit", "labels", folder / "sounds", "--out", folder / "m", *one_way) == 0
    return folder


def test_folders_of_sounds_are_labels(tmp_path):
    write_sounds(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.txt").write_text("of what is here", encoding="utf-8")
    (tmp_path / "300" / "._x.wav").write_text("what some systems leave", encoding="utf-8")
    found, notes = labelled(LabelsFile, tmp_path)
    assert found.roles == Roles("label", ("value",), rate=RATE)
    assert found.y.tolist() == ["300"] * 6 + ["höher"] * 6
    assert [x.tolist() for x in found.X["value"]][7] == readers.read(tmp_path / "höher" / "звук 1.wav")["value"][
        0
    ].tolist()
    assert found.sequences.place(7) == str(tmp_path / "höher" / "звук 1.wav")
    assert notes == [
        "label: the folder of each .wav file; input: sound of 8,000 samples a second, of which the network hears "
        "log-mel features (--sound-rate 8000)",
        f"skipped: {tmp_path / 'empty'}: has no .wav files",
    ]
    assert Roles.of(json.loads(json.dumps(found.roles.saved()))) == found.roles


def test_sounds_are_fitted_predicted_and_evaluated(heard, capsys):
    model = Classifier.load(heard / "m")
    assert model.sound_rate == RATE
    found, _ = labelled(LabelsFile, heard / "sounds")
    p = model.predict_proba(list(found.X["value"]))
    capsys.readouterr()
    assert run("predict", heard / "m", heard / "sounds", "--probabilities") == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["file", "prediction", "p(300)", "p(höher)"]
    assert [row[0] for row in rows[1:7]] == [str(heard / "sounds" / "300" / f"звук {i}.wav") for i in range(6)]
    assert [[float(v) for v in row[2:]] for row in rows[1:]] == p.tolist()
    for path, mine in (
        (heard / "sounds" / "höher", rows[7:]),
        (heard / "sounds" / "höher" / "звук 3.wav", rows[10:11]),
    ):
        assert run("predict", heard / "m", path, "--probabilities") == 0
        assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:] == mine
    metrics = json.loads((heard / "m" / "metrics.json").read_bytes())
    assert run("evaluate", heard / "m", heard / "sounds") == 0
    out = capsys.readouterr().out
    assert "1 sequences, held out when it was trained on this file" in out
    assert f"network    {metrics['validation']['accuracy']:.4f} accuracy" in out
    assert run("pack", heard / "m", "--weights", "int8", "--file", heard / "sounds", "--out", heard / "small") == 0
    assert capsys.readouterr().out.count("network    ") == 2


@pytest.mark.parametrize("size", [1, 80, 333, 10_000])
def test_sound_that_is_heard_in_parts(heard, size):
    model = Classifier.load(heard / "m")
    x = readers.read(heard / "sounds" / "300" / "звук 2.wav")["value"][0]
    x = x[: 400 if size == 1 else None]
    stream = model.stream()
    said = [stream.step(x[i : i + size]) for i in range(0, len(x), size)]
    last = [p for p in said if p is not None][-1]
    assert last.tolist() == model.predict_proba([x])[0].tolist(), "every bit"


def test_a_run_of_sounds_goes_on(heard, tmp_path):
    (tmp_path / "m.run").mkdir()
    arguments = {"file": str(heard / "sounds"), "hidden_size": 8, "epochs": 2, "bidirectional": False}
    (tmp_path / "m.run" / "run.json").write_text(json.dumps({"format": 2, "arguments": arguments}), encoding="utf-8")
    assert run("fit", "labels", "--resume", tmp_path / "m") == 0
    same = [(path / "model.safetensors").read_bytes() for path in (heard / "m", tmp_path / "m")]
    assert same[0] == same[1]


def test_a_network_of_sound_that_python_trained(heard, capsys, tmp_path):
    found, _ = labelled(LabelsFile, heard / "sounds")
    X = list(found.X["value"])
    model = Classifier(sound_rate=RATE, hidden_size=4, epochs=1).fit(X, found.y)
    model.save(tmp_path / "m")
    capsys.readouterr()
    assert run("predict", tmp_path / "m", heard / "sounds") == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [row[1] for row in rows[1:]] == model.predict(X).tolist()


def test_folders_of_sounds_may_be_numbers(capsys, tmp_path):
    write_sounds(tmp_path / "s", ("2.5", "-1e1"), 3)
    found, _ = labelled(NumbersFile, tmp_path / "s")
    assert found.y.tolist() == [-10] * 3 + [2.5] * 3
    validation = ["--validation", tmp_path / "s"]
    assert run("fit", "numbers", tmp_path / "s", "--out", tmp_path / "m", *SMALL, *validation) == 0
    assert run("evaluate", tmp_path / "m", tmp_path / "s") == 0
    assert "6 sequences, the whole file" in capsys.readouterr().out
    with pytest.raises(DataError, match="column 'label' has texts, no numbers; try 'unspool fit labels'"):
        labelled(NumbersFile, write_sounds(tmp_path / "t", n=1))


def test_bad_files_of_sound_are_skipped(capsys, tmp_path):
    write_sounds(tmp_path / "s", n=3)
    (tmp_path / "s" / "300" / "b.wav").write_bytes(b"RIFF")
    write_wav(tmp_path / "s" / "300" / "я.wav", 300, rate=16_000)
    (tmp_path / "s" / "none").mkdir()
    notes = []
    found = LabelsFile(str(tmp_path / "s"), skip_bad=2).labelled(report=notes.append)
    assert found.y.tolist() == ["300"] * 3 + ["höher"] * 3
    # The first file says what the rate is.
    assert [note.partition(": ")[2].removeprefix(str(tmp_path / "s")) for note in notes[1:]] == [
        "/none: has no .wav files",
        "/300/b.wav: expected a .wav file, which begins with RIFF and WAVE; got b'RIFF'",
        f"/300/я.wav: has 16,000 samples a second, but {found.sequences.place(0)} has 8,000; resample one of them",
    ]
    with pytest.raises(DataError, match=r"я\.wav: has 16,000 samples a second"):
        LabelsFile(str(tmp_path / "s"), skip_bad=1).labelled(report=notes.append)


def _another_rate(folder):
    write_wav(folder / "s" / "300" / "я.wav", 300, rate=16_000)


def _deep(folder):
    write_wav(folder / "s" / "300" / "day 1" / "a.wav", 300)


def _beside(folder):
    write_wav(folder / "s" / "a.wav", 300)


def _flat(folder):
    for path in (folder / "s" / "höher").iterdir():
        path.rename(folder / "s" / path.name)
    shutil.rmtree(folder / "s" / "300")


def _pipe(folder):
    os.mkfifo(folder / "s" / "300" / "a.wav")


def _one(folder):
    shutil.rmtree(folder / "s" / "300")


def _neither(folder):
    _one(folder)
    shutil.rmtree(folder / "s" / "höher")


def _bytes(folder):
    write_wav(folder / "s" / "300" / os.fsdecode(b"a\xff.wav"), 300)


@pytest.mark.parametrize(
    ("change", "words", "complaint"),
    [
        (_another_rate, ["labels"], "я.wav: has 16,000 samples a second, but"),
        (_deep, ["labels"], "300/day 1/a.wav: lies too deep; expected folders of .wav files in"),
        (_beside, ["labels"], "s/a.wav: lies beside the folders of the labels; put it into one of them"),
        (_flat, ["labels"], "s: its sounds have no labels; put the .wav files of each label into a folder of its name"),
        (_flat, ["numbers"], "s: its sounds have no labels; put"),
        (_pipe, ["labels"], "a.wav: is not an ordinary file"),
        (_one, ["labels"], "y must have at least two classes; got one class, höher"),
        (_neither, ["labels"], "or for each a folder of .wav files; got 0 .txt files"),
        (_bytes, ["labels"], "a\\udcff.wav: has a name that is not UTF-8; rename it"),
        (None, ["tags"], "s: is sound, which has no words or rows to tag; try 'unspool fit labels'"),
        (None, ["labels", "--sound-rate", "16000"], "has sound of 8,000 samples a second; got --sound-rate 16000"),
        (None, ["labels", "--inputs", "value"], "s: is sound, which has no columns; leave out --inputs"),
    ],
)
def test_sounds_that_are_refused(capsys, tmp_path, change, words, complaint):
    if change is _pipe and not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    write_sounds(tmp_path / "s", n=2)
    if change is not None:
        change(tmp_path)
    task, *flags = words
    assert complaint in refused(capsys, "fit", task, tmp_path / "s", "--out", tmp_path / "m", *flags)


def test_sounds_that_a_network_cannot_hear(heard, networks, capsys, tmp_path):
    write_wav(tmp_path / "a.wav", 300, rate=16_000)
    said = "a.wav: has sound of 16,000 samples a second; the network was trained on sound of 8,000"
    assert said in refused(capsys, "predict", heard / "m", tmp_path / "a.wav")
    said = "has sound of 8,000 samples a second; the network was trained on no sound in .wav files"
    assert said in refused(capsys, "predict", networks / "l", heard / "sounds")
    assert "l.csv: there is no column 'value'" in refused(capsys, "predict", heard / "m", networks / "l.csv")
    said = "its sounds have no labels; put the .wav files of each label into a folder of its name"
    assert said in refused(capsys, "evaluate", heard / "m", heard / "sounds" / "300")
    said = "nowhere.wav: no such file"
    assert said in refused(capsys, "predict", heard / "m", tmp_path / "nowhere.wav")


@pytest.mark.parametrize("channels", [(), (3,)])
def test_films_are_fitted_predicted_and_evaluated(capsys, tmp_path, channels):
    draw = np.random.default_rng(0)
    X, y = draw.random((20, 4, 6, 5, *channels)), np.array(["a", "b"] * 10)
    X[::2] += np.linspace(0, 1, 6)[:, None][(..., *[None] * len(channels))]
    np.savez(tmp_path / "f.npz", X=X, y=y)
    np.savez(tmp_path / "bare.npz", X=X)
    np.savez(tmp_path / "other.npz", X=X[:, :, :5], y=y)
    assert run("fit", "labels", tmp_path / "f.npz", "--out", tmp_path / "m", *SMALL) == 0
    out, err = capsys.readouterr()
    assert "frames: 4, each 6 × 5" in out and "label: column 'y'; input: 'X'; a row a sequence" in err
    model = Classifier.load(tmp_path / "m")
    assert run("predict", tmp_path / "m", tmp_path / "bare.npz", "--probabilities") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["sequence", "prediction", "p(a)", "p(b)"]
    assert [[float(v) for v in row[2:]] for row in rows[1:]] == model.predict_proba(X).tolist()
    assert run("evaluate", tmp_path / "m", tmp_path / "f.npz") == 0
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_bytes())
    assert f"network    {metrics['validation']['accuracy']:.4f} accuracy" in capsys.readouterr().out
    shown = f"X must have frames of 6 × 5{' × 3' if channels else ''}, as what the network was trained on; got"
    assert shown in refused(capsys, "predict", tmp_path / "m", tmp_path / "other.npz")
    np.savez(tmp_path / "n.npz", X=X, target=np.arange(20.0))
    assert run("fit", "numbers", tmp_path / "n.npz", "--out", tmp_path / "n", *SMALL) == 0
    capsys.readouterr()
    assert run("predict", tmp_path / "n", tmp_path / "n.npz") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert [float(row[1]) for row in rows[1:]] == Regressor.load(tmp_path / "n").predict(X).tolist()


REAL = [
    (LabelsFile, "uea-basicmotions/BasicMotions_TRAIN.ts", {}, 40, 4),
    (LabelsFile, "uea-japanesevowels/JapaneseVowels_TRAIN.ts", {}, 270, 9),
    (LabelsFile, "dna-splice/splice.csv", {}, 3190, 3),
    (LabelsFile, "dna-promoters/promoters.data", {}, 106, 2),
    (LabelsFile, "pendigits/pendigits.tra", {"label": "-1"}, 7494, 10),
    (LabelsFile, "names-by-nationality", {}, 20050, 18),
    (TagsFile, "wnut17-ner/wnut17train.conll", {}, 3394, 13),
    (TagsFile, "wnut17-ner/emerging.test.annotated", {}, 1287, 13),
    (TagsFile, "ud-english-partut/en_partut-ud-train.conllu.gz", {}, 1781, 17),
    (TagsFile, "ud-english-ewt/en_ewt-ud-dev.conllu", {"label": "xpos"}, 2001, 49),
]


@pytest.mark.parametrize(("cls", "name", "flags", "count", "classes"), REAL, ids=[row[1] for row in REAL])
def test_real_files_need_no_flag_but_those_that_name_columns(data_folder, cls, name, flags, count, classes):
    found, _ = labelled(cls, data_folder / name, **flags)
    labels = {tag for tags in found.y for tag in tags} if cls is TagsFile else set(found.y.tolist())
    assert (len(found.sequences), len(labels)) == (count, classes)


def test_predicting_needs_neither_torch_nor_sklearn(networks, heard):
    program = (
        "import sys, unspool.cli.main as cli; folder = sys.argv[1]\n"
        "for n in 'ln':\n"
        "    for verb in ('predict', 'evaluate'):\n"
        "        assert cli.execute([verb, f'{folder}/{n}', f'{folder}/{n}.csv']) == 0\n"
        "for verb in ('predict', 'evaluate'):\n"
        "    assert cli.execute([verb, f'{sys.argv[2]}/m', f'{sys.argv[2]}/sounds']) == 0\n"
        "sys.exit(bool({'torch', 'sklearn', 'scipy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program, networks, heard], capture_output=True).returncode == 0


@pytest.mark.parametrize("order", [1, -1])
def test_columns_that_are_large_lie_in_a_file(file, monkeypatch, order):
    rows = [f"{i // 50},{i},{i / 2 if i > 9000 else i},{'xy'[i // 50 % 2]}" for i in range(20_000)][::order]
    path = file("t.csv", "\n".join(["id,a,b,label", *rows]))
    whole, _ = labelled(LabelsFile, path)
    stacked = whole.sequences.stack(["a", "b"])
    monkeypatch.setattr("unspool.data.opening.IN_MEMORY", 2**15)
    found, _ = labelled(LabelsFile, path)
    mapped = found.sequences.stack(["a", "b"])
    assert [isinstance(x.values, np.memmap) for x in (*found.X.columns.values(), mapped, stacked)] == [True] * 3 + [
        False
    ]
    assert np.array_equal(mapped.values, stacked.values) and np.array_equal(mapped.offsets, stacked.offsets)
    assert found.y.tolist() == whole.y.tolist() and mapped[7].base is not None
