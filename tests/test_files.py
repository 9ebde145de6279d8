"""Files of sequences and their targets: what is read of them, and the verbs fit, predict and evaluate."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from unspool import Classifier, Regressor, Tagger
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
    with pytest.raises(DataError, match=r"t.csv, line 2: column 'target' must have one label for all rows.*fit tags"):
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


def test_predicting_needs_neither_torch_nor_sklearn(networks):
    program = (
        "import sys, unspool.cli.main as cli; folder = sys.argv[1]\n"
        "for n in 'ln':\n"
        "    for verb in ('predict', 'evaluate'):\n"
        "        assert cli.execute([verb, f'{folder}/{n}', f'{folder}/{n}.csv']) == 0\n"
        "sys.exit(bool({'torch', 'sklearn', 'scipy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program, networks], capture_output=True).returncode == 0


@pytest.mark.parametrize("order", [1, -1])
def test_columns_that_are_large_lie_in_a_file(file, monkeypatch, order):
    rows = [f"{i // 50},{i},{i / 2 if i > 9000 else i},{'xy'[i // 50 % 2]}" for i in range(20_000)][::order]
    path = file("t.csv", "\n".join(["id,a,b,label", *rows]))
    whole, _ = labelled(LabelsFile, path)
    stacked = whole.sequences.stack(["a", "b"])
    monkeypatch.setattr("unspool.data.opening.memory", lambda: 2**20)
    found, _ = labelled(LabelsFile, path)
    mapped = found.sequences.stack(["a", "b"])
    assert [isinstance(x.values, np.memmap) for x in (*found.X.columns.values(), mapped, stacked)] == [True] * 3 + [
        False
    ]
    assert np.array_equal(mapped.values, stacked.values) and np.array_equal(mapped.offsets, stacked.offsets)
    assert found.y.tolist() == whole.y.tolist() and mapped[7].base is not None
