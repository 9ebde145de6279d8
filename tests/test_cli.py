"""The command line."""

import contextlib
import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from unspool import LanguageModel, Training
from unspool.cli import main as cli
from unspool.cli.flags import Parser
from unspool.tasks.language_model.saved import TextModel
from unspool.tasks.options import flat

RHYME = "the rain in spain stays mainly in the plain.\n" * 30
SMALL = "--hidden-size 16 --embedding-size 8 --tbptt 16 --batch-size 4 --learning-rate 0.02 --epochs 2".split()
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-m", "unspool"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "rain.txt"
    file.write_text(RHYME, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def network(text):
    path = text.with_name("network")
    assert cli.execute(["fit", "text", str(text), "--out", str(path), *SMALL]) == 0
    return path


def run(*arguments):
    return cli.execute([str(a) for a in arguments])


def refused(capsys, *arguments):
    """The one line on standard error about a command that must be refused."""
    capsys.readouterr()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("unspool: ")
    return err


def flags(verb):
    """The flags of a verb, by the names of the keywords that they become."""
    parser = Parser(verb, "")
    cli.VERBS[verb].add_arguments(parser)
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def test_flags_are_the_keywords_with_their_defaults():
    keywords = inspect.signature(LanguageModel).parameters
    named = flags("fit text")
    of_run = {
        "file",
        "out",
        "force",
        "resume",
        "column",
        "delimiter",
        "skip_bad",
        "devices",
        "nodes",
        "precision",
        "tensorboard",
    }
    of_fit = {"validation", "minutes"}
    of_training = inspect.signature(Training).parameters.keys() - {"warm_start"}
    assert named.keys() - of_run - of_fit == (keywords.keys() - {"training"}) | of_training
    assert of_fit <= inspect.signature(LanguageModel.fit).parameters.keys()
    for name, value in flat(LanguageModel()).items():
        assert value is None or f"({value})" in named[name].help, "help shows the default that Python has"
    assert named["random_state"].option_strings == ["--random-state", "--seed"]
    options = dict(list(inspect.signature(TextModel.pieces).parameters.items())[1:])
    parser = Parser("generate", "")
    cli.VERBS["generate"].add_arguments(parser)
    assert {"network": "DIR"} | {n: p.default for n, p in options.items()} == vars(parser.parse_args(["DIR"]))


def test_help_has_groups_and_needs_no_torch(capsys):
    assert run("fit", "text", "--help") == 0
    out = capsys.readouterr().out
    places = [out.index(f"\n{group}:\n") for group in ("data", "network", "training", "run")]
    assert places == sorted(places)
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines if line.startswith("  ")] == [*cli.VERBS]
    assert run("fit", "--help") == 0
    assert "fit text" in capsys.readouterr().out
    assert run("--version") == 0
    assert re.fullmatch(r"unspool \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_fit_saves_and_compares(text, network, capsys, tmp_path):
    assert run("fit", "text", text, "--out", tmp_path / "m", *SMALL) == 0
    out, err = capsys.readouterr()
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_bytes())
    assert f"network    {metrics['validation']['bits']:.4f} bits/character on 134 characters held out" in out
    assert f"baseline   {metrics['baseline']['bits']:.4f} bits/character, interpolated 5-gram" in out
    assert str(tmp_path / "m") in out
    assert err.count("validation") == 10 and "characters/s" in err
    files = sorted(p.name for p in network.iterdir())
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == files
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (network / "model.safetensors").read_bytes()


def test_a_terminal_gets_no_escape_sequence_of_a_text(capsys, tmp_path, monkeypatch):
    LanguageModel(hidden_size=4, epochs=1, training=Training(batch_size=2)).fit("\x1b[31m\n\t" * 99).save(
        tmp_path / "m"
    )
    command = "generate", tmp_path / "m", "--length", 60, "--random-state", 1
    assert run(*command) == 0
    as_it_is = capsys.readouterr().out
    assert "\x1b" in as_it_is
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(*command) == 0
    assert capsys.readouterr().out == as_it_is.replace("\x1b", "\\x1b")


def test_every_flag_of_fit_reaches_the_network(text, tmp_path):
    flags = {
        "level": "word", "cell": "tdnn", "window": 2, "hidden_size": 5, "num_layers": 2, "embedding_size": 3,
        "dropout": 0.125, "tbptt": [7, 9], "batch_size": 3, "learning_rate": 0.0625, "clip_norm": 0.5,
        "clip_value": 0.25, "optimiser": "rmsprop", "schedule": "linear", "epochs": 2, "patience": 7,
        "vocabulary_size": 4, "random_state": 9,
    }  # fmt: skip
    given = flags | {"tbptt": "7,9"}
    words = [w for name, value in given.items() for w in (f"--{name.replace('_', '-')}", value)]
    assert run("fit", "text", text, "--out", tmp_path / "m", "--validation", 0.25, *words) == 0
    model = LanguageModel.load(tmp_path / "m")
    assert flat(model) == flags
    assert model.source_["validation"] == 0.25
    assert run("fit", "text", text, "--out", tmp_path / "m", "--force", *SMALL, "--minutes", 0.01) == 0
    assert LanguageModel.load(tmp_path / "m").metrics_["training"]["seconds"] >= 0.6


def test_generate_writes_what_python_does(network, capsys):
    model = LanguageModel.load(network)
    options = {"length": 30, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "random_state": 3}
    words = [w for name, value in options.items() for w in (f"--{name.replace('_', '-')}", value)]
    assert run("generate", network, "--prompt", "the rain", *words) == 0
    assert capsys.readouterr().out == model.generate("the rain", **options) + "\n"
    assert run("generate", network, "--length", 10, "--prompt", "THE") == 0
    assert "3 of the prompt's tokens are unknown" in capsys.readouterr().err


def test_evaluate_the_own_text_and_another(text, network, capsys, tmp_path):
    metrics = json.loads((network / "metrics.json").read_bytes())
    assert run("evaluate", network, text) == 0
    out = capsys.readouterr().out
    assert "134 characters, held out when it was trained on this text; 0 of them unknown" in out
    assert f"network    {metrics['validation']['bits']:.4f} bits/character, perplexity" in out
    assert f"baseline   {metrics['baseline']['bits']:.4f} bits/character, perplexity" in out
    other = tmp_path / "other.txt"
    other.write_text("the rain in SPAIN", encoding="utf-8")
    assert run("evaluate", network, other) == 0
    out = capsys.readouterr().out
    assert "16 characters, the whole text; 5 of them unknown, scored as the unknown token" in out
    assert f"when trained, held out: network {metrics['validation']['bits']:.4f}, interpolated 5-gram" in out


def test_texts_of_a_table(capsys, tmp_path):
    rows = [f'{{"id": {i}, "words": "the rain in spain {i % 3}"}}' for i in range(40)]
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join([*rows[:7], '{"id": 7}', *rows[8:]]), encoding="utf-8")
    of_table = ["--column", "words"]
    assert f"{file}, line 8: expected the fields words; got id" in refused(
        capsys, "fit", "text", file, "--out", tmp_path / "m", *of_table, *SMALL
    )
    of_table += ["--skip-bad", 1]
    assert run("fit", "text", file, "--out", tmp_path / "m", *of_table, *SMALL) == 0
    out, err = capsys.readouterr()
    assert f"unspool: skipped: {file}, line 8: expected the fields words; got id" in err
    assert "on 79 characters held out" in out, "the last four rows, 20 characters each"
    assert run("evaluate", tmp_path / "m", file, *of_table) == 0
    out, err = capsys.readouterr()
    assert "79 characters, held out" in out and "skipped" in err
    assert run("pack", tmp_path / "m", "--weights", "int8", "--file", file, *of_table) == 0
    assert "packed " in capsys.readouterr().out


def test_texts_of_a_table_with_semicolons(capsys, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("id;words\n" + "".join(f"{i};the rain, in spain {i % 3}\n" for i in range(40)), encoding="utf-8")
    of_table = ["--column", "words"]
    complaint = refused(capsys, "fit", "text", file, "--out", tmp_path / "m", *of_table, *SMALL)
    assert "expected the names of the columns; got 'id;words', but there are 2 fields with delimiter=';'" in complaint
    assert run("fit", "text", file, "--out", tmp_path / "m", *of_table, "--delimiter", ";", *SMALL) == 0
    assert "on 83 characters held out" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "m", file, *of_table, "--delimiter", ";") == 0
    assert "83 characters, held out" in capsys.readouterr().out


def test_a_text_from_standard_input(capsys, tmp_path, monkeypatch):
    for args in (["fit", "text", "-", "--out", tmp_path / "m", *SMALL], ["evaluate", tmp_path / "m", "-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(RHYME.encode())))
        assert run(*args) == 0
    assert "held out when it was trained on this text" in capsys.readouterr().out


def test_bad_lines_of_a_text_are_skipped(capsys, tmp_path):
    file, same = tmp_path / "t.txt", tmp_path / "same.txt"
    same.write_bytes(RHYME.encode())
    file.write_bytes(b"\xef\xbb\xbf\xff\n" + RHYME.encode().replace(b"plain.\n", b"plain.\nno \0 text\n", 1))
    assert "line 1, column 4: byte 0xff" in refused(capsys, "fit", "text", file, "--out", tmp_path / "m", *SMALL)
    assert "line 3, column 4: a NUL byte is not text" in refused(
        capsys, "fit", "text", file, "--out", tmp_path / "m", *SMALL, "--skip-bad", 1
    )
    assert run("fit", "text", file, "--out", tmp_path / "m", *SMALL, "--skip-bad", 2) == 0
    assert capsys.readouterr().err.count("skipped") == 2
    assert run("evaluate", tmp_path / "m", same) == 0
    assert "held out when it was trained on this text" in capsys.readouterr().out


def test_nothing_is_replaced_unless_forced(text, network, capsys, tmp_path):
    before = (network / "model.safetensors").read_bytes()
    err = refused(capsys, "fit", "text", text, "--out", network, *SMALL, "--seed", 5)
    assert f"{network} exists; choose another folder, or give force to replace it" in err
    err = refused(capsys, "fit", "text", text, "--out", text.parent, "--force", *SMALL)
    assert "is not a saved network" in err
    assert (network / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ([], "A verb is missing. Try 'unspool --help'"),
        (["dance"], "There is no verb 'dance'. Try 'unspool --help'"),
        (["fit"], "A verb is missing. Try 'unspool fit --help'"),
        (["fit", "dance"], "There is no 'fit dance'. Try 'unspool fit --help'"),
        (["fit", "text"], "FILE and --out are needed"),
        (["fit", "text", "FILE"], "FILE and --out are needed"),
        (["fit", "text", "--resume", "OUT"], "there is no run to go on with"),
        (["fit", "text", "--resume", "OUT", "--epochs", "3"], "own arguments; leave out epochs"),
        (["fit", "text", "FILE", "--out", "OUT", "--tbptt", "a"], "Argument --tbptt: expected an integer, or two with"),
        (["fit", "text", "FILE", "--out", "OUT", "--tbptt", "8,4"], "k2 of tbptt must be an integer of at least 8"),
        (["fit", "text", "FILE", "--out", "OUT", "--optimiser", "x"], "Argument --optimiser: invalid choice: 'x'"),
        (["fit", "text", "FILE", "--out", "OUT", "--colour", "red"], "Unrecognized arguments: --colour red"),
        (["fit", "text", "FILE", "--out", "OUT", "--level", "line"], "Argument --level: invalid choice: 'line'"),
        (["fit", "text", "FILE", "--out", "OUT", "--cell", "x"], "Argument --cell: invalid choice: 'x'"),
        (["fit", "text", "FILE", "--out", "OUT", "--hidden-size", "0"], "hidden_size must be an integer of at least 1"),
        (["fit", "text", "FILE", "--out", "OUT", "--epochs", "many"], "Argument --epochs: invalid int value: 'many'"),
        (
            ["fit", "text", "FILE", "--out", "OUT", "--dropout", "1"],
            "dropout must be a number of at least 0 and less than 1",
        ),
        (
            ["fit", "text", "FILE", "--out", "OUT", "--learning-rate", "nan"],
            "learning_rate must be a number more than 0",
        ),
        (["fit", "text", "FILE", "--out", "OUT", "--minutes", "0"], "minutes must be a number more than 0"),
        (["fit", "text", "FILE", "--out", "OUT", "--validation", "1"], "validation must be a number more than 0"),
        (
            ["fit", "text", "missing.txt", "--out", "OUT"],
            "missing.txt: no such file; give a text file, or python-stdlib",
        ),
        (["fit", "text", "FILE", "--out", "FILE/x"], "x cannot be made"),
        (["generate", "missing"], "missing: no such folder; give the folder of a saved network"),
        (["generate", "NETWORK", "--top-p", "2"], "top_p must be a number more than 0"),
        (["generate", "NETWORK", "--temperature", "inf"], "temperature must be a number"),
        (["generate", "NETWORK", "--top-k", "0"], "Argument --top-k: 0 is less than 1. Try 'unspool generate --help'"),
        (["evaluate", "missing", "FILE"], "missing: no such folder"),
        (["evaluate", "NETWORK", "FILE", "--column", "words"], "rain.txt: a column was named, so the name must end in"),
        (["evaluate", "NETWORK", "FILE", "--skip-bad", "-1"], "skip_bad must be an integer of at least 0; got -1"),
        (["evaluate", "NETWORK", "missing.txt"], "missing.txt: no such file"),
        (["evaluate", "NETWORK", "NETWORK"], "network: cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line(text, network, capsys, tmp_path, flags, complaint):
    places = {"FILE": str(text), "OUT": str(tmp_path / "m"), "NETWORK": str(network), "FILE/x": str(text / "x")}
    assert complaint in refused(capsys, *(places.get(f, f) for f in flags)).replace("\\", "")
    assert not os.listdir(tmp_path)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "t.txt: the file is empty"),
        (b"x", "t.txt: text must have at least 4 characters, 2 to train on and 2 to validate on; got 0 and 1"),
        (b"a\nb\xff", "t.txt, line 2, column 2: byte 0xff is not UTF-8"),
        (b"\x89PNG\r\n\0\0", "t.txt, line 1, column 1: byte 0x89 is not UTF-8"),
        (b"text\0text", "t.txt, line 1, column 5: a NUL byte is not text"),
    ],
)
def test_a_file_that_cannot_be_learnt_is_one_line(network, capsys, tmp_path, data, complaint):
    (tmp_path / "t.txt").write_bytes(data)
    assert complaint in refused(capsys, "fit", "text", tmp_path / "t.txt", "--out", tmp_path / "m", *SMALL)
    assert not (tmp_path / "m").exists()
    if data != b"x":
        assert complaint in refused(capsys, "evaluate", network, tmp_path / "t.txt")
    else:
        wanted = "t.txt: text must have at least 2 characters to be scored; got 1"
        assert wanted in refused(capsys, "evaluate", network, tmp_path / "t.txt")


def test_damaged_weights_are_one_line(network, capsys, tmp_path):
    path = tmp_path / "m"
    path.mkdir()
    for file in network.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((path / "model.safetensors").read_bytes())
    weights[-4:] = b"\0\0\xc0\x7f"  # NaN
    (path / "model.safetensors").write_bytes(weights)
    assert "model.safetensors: is damaged" in refused(capsys, "generate", path)
    config = json.loads((path / "config.json").read_bytes()) | {"sha256": {}}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "'recurrent.weight_ih_l0' has values that are not finite; train" in refused(capsys, "generate", path)


def test_full_disk_is_one_line_and_leaves_nothing(text, capsys, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("fit", "text", text, "--out", tmp_path / "m", *SMALL) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "m.run: cannot be written (No space left on device); choose another folder" in err
    assert os.listdir(tmp_path) == []


def test_a_run_that_diverges_keeps_the_best_weights(text, capsys, tmp_path, monkeypatch):
    from unspool.tasks.language_model import estimator

    calls, original = 0, estimator.cross_entropy

    def loss(logits, targets):
        nonlocal calls
        calls += torch.is_grad_enabled()
        return original(logits, targets) * (float("inf") if calls == 20 and torch.is_grad_enabled() else 1)

    monkeypatch.setattr(estimator, "cross_entropy", loss)
    assert run("fit", "text", text, "--out", tmp_path / "m", *SMALL) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "training stopped at step 20: the loss is not finite" in err
    assert err.endswith(f"the best weights so far are saved in {tmp_path / 'm'}")
    assert LanguageModel.load(tmp_path / "m").metrics_["training"]["stopped"] == "diverged"


def test_torch_waits_until_it_is_needed():
    program = (
        "import sys, unspool.cli.main as cli; cli.execute(['--help']); cli.execute(['fit', 'text', '--help']); "
        "sys.exit(bool({'torch', 'sklearn'} & sys.modules.keys()) or cli.execute(['generate', 'nowhere']) - 2)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_output_is_one_line(network):
    with open("/dev/full", "w") as full:
        result = subprocess.run([*PROGRAM, "generate", network], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert result.returncode == 2
    assert result.stderr == b"unspool: standard output: No space left on device; make room, or write to another place\n"


def test_a_reader_who_has_enough_is_no_error(network):
    command = f'"{sys.executable}" -m unspool generate "{network}" --length 3000 | head -c 10'
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, env=ENVIRONMENT)
    assert (result.returncode, len(result.stdout), result.stderr) == (1, 10, b"")


def test_ctrl_c_saves_the_best_weights(text, tmp_path):
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--minutes", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert b"validation" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted; the best weights so far are saved, and nothing is lost" in err and b"Traceback" not in err
    assert b"saved in" in out
    assert LanguageModel.load(tmp_path / "m").metrics_["training"]["stopped"] == "interrupted"


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(text, network, tmp_path):
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert b"validation" in process.stderr.readline()
        process.kill()
        process.communicate(timeout=30)
    assert not (tmp_path / "m").exists()
    assert run("fit", "text", "--resume", tmp_path / "m", "--tensorboard", tmp_path / "events") == 0
    same = [(path / "model.safetensors").read_bytes() for path in (tmp_path / "m", network)]
    assert same[0] == same[1] and sorted(p.name for p in tmp_path.iterdir()) == ["events", "m"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_has_a_bar_with_loss_speed_and_time_left(text, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--minutes", "0.05"]
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=ENVIRONMENT | {"TERM": "xterm"}) as p:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # at the end, on Linux
            while some := os.read(ours, 4096):
                shown += some
        os.close(ours)
        assert p.wait(timeout=30) == 0
    assert re.search(rb"\d+ %.* \d\.\d{3} bits/character  [\d,]+ characters/s.*\d:\d\d:\d\d.*left", shown)


def test_text_is_written_as_it_comes(network):
    command = [*PROGRAM, "generate", network, "--length", "30000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None and len(process.stdout.read(10)) == 10
        assert process.poll() is None, "it is still writing"
        process.kill()


def test_a_network_larger_than_memory_is_one_line(text, capsys, tmp_path):
    command = ["fit", "text", text, "--out", tmp_path / "m", *SMALL, "--hidden-size", 3_000_000]
    assert "there is not enough memory for this; make the network, its batches or the text smaller" in refused(
        capsys, *command
    )
    assert not (tmp_path / "m").exists()


def test_two_processes(text, tmp_path):
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--devices", "2"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("saved in") == 1 and LanguageModel.load(tmp_path / "m")
    again = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert again.returncode == 2 and again.stderr.count("exists; choose another folder") == 1
    assert "Traceback" not in again.stderr


# Every verb with a folder in which one file is a pipe that nobody writes to.
PIPES = """
import os, shutil, sys
from unspool.cli import main as cli
network, text, place = sys.argv[1:]
for name in ("config.json", "model.safetensors", "vocabulary.json", "metrics.json", "history.jsonl", "README.md"):
    shutil.copytree(network, place)
    os.remove(os.path.join(place, name))
    os.mkfifo(os.path.join(place, name))
    for verb in (["generate", place, "--length", "3"], ["evaluate", place, text], ["pack", place, "--weights", "int8"],
                 ["export", place, place + ".onnx", "--force"], ["fit", "text", text, "--out", place]):
        print(name, verb[0], cli.execute(verb), flush=True)
        shutil.rmtree(place + "-int8", ignore_errors=True)
    shutil.rmtree(place)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_no_verb_waits_for_a_pipe_in_a_folder(text, network, tmp_path):
    command = [sys.executable, "-c", PIPES, network, text, tmp_path / "m"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=100)
    assert result.returncode == 0, result.stderr
    of_file = {"config.json", "model.safetensors"}
    of_text = of_file | {"vocabulary.json", "metrics.json"}
    needed = {"generate": of_text, "evaluate": of_text, "pack": of_file, "export": of_file}
    for verb, files in needed.items():
        for name in files:
            assert f"{name} {verb} 2\n" in result.stdout
    assert result.stdout.count(" fit 2\n") == 6
    assert "Traceback" not in result.stderr


BAD_NAMES = ["\x1b]0;owned\x07\x1b[31m", "\x9b31m", "a\nb", "\u202egnp", "half \ud800", "\udc80"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_a_folder_says_cannot_drive_a_terminal(text, network, tmp_path, name):
    """Escape sequences, and what no terminal can print, come out as their codes, or are refused in one line."""
    for file, change in {
        "metrics.json": lambda found: found["baseline"].update(name=name),
        "config.json": lambda found: found.update(task=name),
        "config.json ": lambda found: found["network"]["front"].update({name: 1}),
        "config.json  ": lambda found: found["parameters"].update({name: name}),
        "vocabulary.json": lambda found: found["tokens"].append(name),
    }.items():
        path = tmp_path / "m"
        shutil.copytree(network, path)
        found = json.loads((path / file.strip()).read_bytes())
        change(found)
        (path / file.strip()).write_text(json.dumps(found))
        config = json.loads((path / "config.json").read_bytes()) | {"sha256": {}}
        (path / "config.json").write_text(json.dumps(config))
        for verb in (["evaluate", path, text], ["pack", path, "--weights", "bf16"], ["export", path, tmp_path / "o"]):
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = run(*verb)
            assert status in (0, 2) and err.getvalue().count("\n") == (status == 2)
            assert all(line.isprintable() for line in (out.getvalue() + err.getvalue()).splitlines())
            (out.getvalue() + err.getvalue()).encode()
        card = tmp_path / "m-bf16" / "README.md"
        if card.exists() and name != "a\nb":
            assert name not in card.read_text(encoding="utf-8")
        shutil.rmtree(path), shutil.rmtree(card.parent, ignore_errors=True), (tmp_path / "o").unlink(missing_ok=True)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_export_replaces_nothing_but_a_file(network, capsys, tmp_path):
    (tmp_path / "file").write_text("another's")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        before = os.lstat(tmp_path / name)
        assert "no ordinary file" in refused(capsys, "export", network, tmp_path / name, "--force")
        assert os.lstat(tmp_path / name) == before
    assert "no ordinary file" in refused(capsys, "export", network, os.devnull, "--force")
    assert run("export", network, tmp_path / "file", "--force") == 0


def test_a_run_of_another_version_is_no_traceback(text, capsys, tmp_path):
    out = tmp_path / "m"
    (tmp_path / "m.run").mkdir()
    file = tmp_path / "m.run" / "run.json"
    good = {"file": str(text), "hidden_size": 4, "embedding_size": 2, "epochs": 1, "batch_size": 2, "tbptt": 8}
    for arguments, said in (
        ({"hidden_size": 4}, "must have 'file', the name of the data"),
        (good | {"file": 5}, "must have 'file', the name of the data"),
        (good | {"colour": 1}, "'colour' is not an option; there are"),
        (good | {"cell": 5}, "cell must be one of"),
        (good | {"column": 5}, "column must be a str"),
        (good | {"skip_bad": "x"}, "skip_bad must be an integer"),
        (good | {"validation": "nowhere.txt"}, "nowhere.txt: no such file"),
        (good | {"validation": []}, "validation must be a number"),
        (good | {"minutes": []}, "minutes must be a number"),
        (good | {"tbptt": {}}, "tbptt must be"),
        (good | {"epochs": None}, "epochs must be an integer"),
        (good | {"level": ["char"]}, "level must be"),
    ):
        file.write_text(json.dumps({"format": 2, "arguments": arguments}))
        assert said in refused(capsys, "fit", "text", "--resume", out)
    whole = json.dumps({"format": 2, "arguments": good})
    for torn in range(0, len(whole), 9):
        file.write_text(whole[:torn])
        assert "run.json: is not JSON" in refused(capsys, "fit", "text", "--resume", out)
    file.write_text(whole)
    assert run("fit", "text", "--resume", out) == 0  # what is absent has its default


def test_a_live_run_is_not_replaced(text, capsys, tmp_path):
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--minutes", "5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert b"validation" in process.stderr.readline()
        before = (tmp_path / "m.run" / "run.json").read_bytes()
        for more in (["--force"], []):
            err = refused(capsys, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--seed", 5, *more)
            assert f"m.run: is in use by process {process.pid} of" in err or "has an unfinished run" in err
        err = refused(capsys, "fit", "text", "--resume", tmp_path / "m")
        assert f"m.run: is in use by process {process.pid} of" in err
        assert (tmp_path / "m.run" / "run.json").read_bytes() == before
        process.kill()


def test_no_more_processes_than_the_machine_has_room_for(text, capsys, tmp_path):
    err = refused(capsys, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--devices", 1_000_000)
    assert re.search(r"devices must be at most \d+, the processors that this machine has for them; got 1000000", err)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_run_whose_other_process_is_killed_says_how_to_go_on(text, tmp_path):
    command = [*PROGRAM, "fit", "text", text, "--out", tmp_path / "m", *SMALL, "--devices", "2", "--minutes", "5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        while not (tmp_path / "m.run" / "last.checkpoint").exists() and process.poll() is None:
            time.sleep(0.05)
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        err = process.communicate(timeout=60)[1]
    said = [line for line in err.splitlines() if line.startswith("unspool:")]
    assert process.returncode == 2 and "Traceback" not in err and len(said) == 1
    assert "another process of this run has ended" in said[0] and "--resume" in said[0]
    assert (tmp_path / "m.run" / "last.checkpoint").exists()
