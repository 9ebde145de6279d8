"""The compiled core as such: what its binding refuses, and how its sources are layered."""

import os
import re
import subprocess
import sys
from pathlib import Path

import laws
import pytest
import torch

from unspool import UnspoolError, _native
from unspool.cells import FACTS, HIDDEN, OUTPUT, kernel_of
from unspool.ops import native
from unspool.saved.architecture import parse

NATIVE = Path(__file__).parents[1] / "native"
SOURCES = sorted(path for path in NATIVE.rglob("*") if path.suffix in (".h", ".cpp"))
# Which sources may include which: those of a lower number, or of their own folder.
LEVELS = {"words.h": 0, "json.h": 1, "memory.h": 1, "simd.h": 1, "threads.h": 1, "cells.h": 2}
FOLDERS = {"tables": 0, "sequences": 3, "steps": 3, "bind": 4, "c": 4, "": 4}


def problem(changes):
    """A problem that would run if its arrays were there; None takes a field away."""
    fields = {"cell": "gru", "activation": "tanh", "output_activation": "identity", "steps": 3, "batch": 2}
    fields |= {"inputs": 4, "hidden": 5, "state": 5, "reverse": False, "threads": 1} | changes
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize("function", [_native.forward, _native.backward])
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cell": "transformer"}, "cell must be one of elman, jordan, gru, gru_reset_before, .*; got 'transformer'"),
        ({"activation": "swish"}, "activation must be one of identity, tanh, relu, sigmoid; got 'swish'"),
        ({"output_activation": "it's"}, 'output_activation must be one of identity, .*; got "it\'s"'),
        ({"cell": 2}, "cell must be a word; got 2"),
        ({"cell": "\ud800"}, r"cell must be a word; got '\\ud800'"),
        ({"cell": None}, "cell must be given; got none"),
        ({"activation": None}, "activation must be given; got none"),
        ({"w_xh": 0}, "a problem has no 'w_xh'"),
        ({7: 0}, "a field of a problem must be a word; got 7"),
        ({"steps": "3"}, "steps must be an integer; got '3'"),
        ({"steps": 2**70}, "steps must be an integer; got 1180591620717411303424"),
        ({"steps": None}, "steps must be given for gru; got none"),
        ({"threads": 0}, "threads must be given for gru"),
        ({}, "w_ih must be given for gru"),
    ],
)
def test_a_problem_that_is_none_is_refused_by_name(function, changes, complaint):
    for float64 in (False, True):
        with pytest.raises(ValueError, match=complaint):
            function(float64, problem(changes))


@pytest.mark.parametrize("case", laws.CASES, ids=str)
def test_the_facts_of_both_languages_agree(case):
    name, *activations = kernel_of(case.cell)
    assert _native.CELLS[name]["gates"] == case.cell.gates
    assert _native.CELLS[name]["states"] == len(laws.make(case).problem.state)
    assert set(activations) <= {"identity", "tanh", "sigmoid", "relu"}


@pytest.mark.parametrize("name", FACTS)
def test_the_options_of_both_languages_agree(name):
    """The reader's options and defaults of a cell are those of its row of facts, and its words those of the cell."""
    recurrent = {"cell": name, "hidden_size": 5, "num_layers": 2}
    config = {"front": {"kind": "dense", "size": 3}, "recurrent": recurrent, "head": {"kind": "linear", "size": 1}}
    options = parse(config).options
    common = {"bias": True} | ({} if name == "tdnn" else {"bidirectional": False, "learn_initial_state": False})
    own = {"window": (3, 3), "dilation": (1, 1)} if name == "tdnn" else {"output_size": 5}
    assert options == common | {key: own.get(key, default) for key, default in FACTS[name].options.items()}
    hidden = OUTPUT if name == "tdnn" else HIDDEN
    for option, words in (("nonlinearity", hidden), ("output_nonlinearity", OUTPUT)):
        for word in words if option in options else ():
            assert parse(config | {"recurrent": recurrent | {option: word}}).options[option] == word


def test_a_cell_without_kernel_is_unsupported_by_name(monkeypatch):
    case = laws.CASES[0]
    problem = laws.make(case).problem
    assert native.unsupported(problem) is None
    monkeypatch.setattr(_native, "CELLS", {})
    assert native.unsupported(problem) == f"native has no kernel of {case.cell}"
    with pytest.raises(
        ValueError, match=re.escape(f"backend='native' cannot run this: native has no kernel of {case.cell}")
    ):
        laws.make(case).run("native")


def test_the_operator_takes_words():
    schema = str(torch.ops.unspool.recurrence.default._schema)
    assert "str cell, str activation, str output_activation, bool reverse" in schema
    tensors = [torch.zeros(1, 1, 1)] * 10
    with pytest.raises(ValueError, match=r"kernel must be one of .*; got 'lstmm'"):
        native._forward(*tensors, None, None, None, None, None, "lstmm", "tanh", "identity", False, False)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (object(), "network must have a section 'front'; got '<object object"),
        ({(1, 2): 3}, "network must be what JSON can have; got dict"),
        ({"front": {"kind": torch}}, "network must have a section 'recurrent'; got {'front': {'kind': '<module"),
    ],
)
def test_a_configuration_that_json_cannot_have(config, complaint):
    with pytest.raises(UnspoolError, match=re.escape(complaint)):
        parse(config)


def level(path):
    relative = path.relative_to(NATIVE)
    return LEVELS.get(str(relative), FOLDERS["" if len(relative.parts) == 1 else relative.parts[0]])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(NATIVE)))
def test_no_source_includes_upwards(path):
    for name in re.findall(r'^#include "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        other = (path.parent / name).resolve()
        assert other.is_file(), f"{name} is found from another folder than the one of {path.name}"
        assert other.parent == path.parent != NATIVE or level(other) < level(path), f"{name} lies above {path.name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(NATIVE)))
def test_no_intrinsics_outside_simd_and_no_switch_with_a_default(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "simd.h":
        assert not re.search(r"immintrin|arm_neon|\b_mm\d*_|\b__m\d|\bv\w+q_[sfu]\d|int16x8", text)
    assert not re.search(r"\bdefault:", text), "a switch with a default hides the values that it does not know"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_runs_on_two_threads() -> None:
    """OpenMP's workers, which PyTorch brings, do not live on in it."""
    text = """
import os, signal, torch
from unspool import nn
layer, x = nn.LSTM(64, 128), torch.randn(20, 32, 64)
torch.set_num_threads(2)
with torch.no_grad():
    before = layer(x)[0].numpy().tobytes()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(layer(x)[0].numpy().tobytes() != before)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", text], check=True)
