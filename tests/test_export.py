"""ONNX files: run by onnxruntime they give what our own run gives."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import saved
import torch
from numpy.testing import assert_allclose
from saved import DENSE, EMBEDDING, ONE_HOT, RECURRENT

from unspool import LanguageModel, UnspoolError, cli, folder, packing
from unspool import export as module
from unspool.architecture import parse
from unspool.export import export, initial_state

CELLS = {k: v for k, v in RECURRENT.items() if v["cell"] in ("elman", "gru", "lstm") and "proj_size" not in v}


def run(path, x, lengths, state):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x, "lengths": np.asarray(lengths, np.int32), **state})


@pytest.mark.parametrize("front", [DENSE, ONE_HOT, EMBEDDING], ids=["dense", "one-hot", "embedding"])
@pytest.mark.parametrize("both", [False, True], ids=["", "bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_batches_lengths_and_states(tmp_path, cell, both, front):
    config = saved.config(front, {"kind": "softmax", "size": 3}, **CELLS[cell], bidirectional=both)
    net, path = saved.saved(tmp_path / "m", config)
    assert export(path, tmp_path / "m.onnx") <= 1e-5
    arch, weights = parse(config), folder.read(path).weights
    for T, B in ((1, 1), (1, 7), (100, 1), (100, 7)):
        x = saved.inputs(front, T, B)
        lengths = np.random.default_rng(0).integers(1, T + 1, B)
        lengths[0] = T
        y, *last = run(tmp_path / "m.onnx", x, lengths, initial_state(arch, weights, B))
        with torch.no_grad():
            wanted, state = net.predict(torch.from_numpy(x), lengths=torch.from_numpy(lengths))
        assert_allclose(y, wanted.numpy(), rtol=0, atol=1e-5)
        state = state if arch.cell == "lstm" else (state,)
        for ours, theirs in zip(last, state, strict=True):
            assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)
        if not both:
            following, *_ = run(tmp_path / "m.onnx", x, [T] * B, dict(zip("hc", last, strict=False)))
            with torch.no_grad():
                wanted, _ = net.predict(torch.from_numpy(x), state if arch.cell == "lstm" else state[0])
            assert_allclose(following, wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [None, "normal", "laplace", "poisson"])
def test_heads(tmp_path, family):
    head = {"kind": "distribution", "family": family, "size": 2} if family else {"kind": "logistic", "size": 2}
    _, path = saved.saved(tmp_path / "m", saved.config(DENSE, head, cell="gru"))
    assert export(path, tmp_path / "m.onnx") <= 1e-5


def test_nodes_are_native_and_the_rest_is_in_the_metadata(tmp_path):
    model = LanguageModel(hidden_size=8, embedding_size=4, epochs=1).fit("the rain in spain stays in the plain. " * 20)
    model.save(tmp_path / "m")
    packing.pack(tmp_path / "m", tmp_path / "p", "int8")
    for name in ("m", "p"):
        assert cli.run(["export", str(tmp_path / name), str(tmp_path / f"{name}.onnx")]) == 0
        made = onnx.load(tmp_path / f"{name}.onnx")
        assert [n.op_type for n in made.graph.node].count("GRU") == 1
        assert not {"Loop", "Scan"} & {n.op_type for n in made.graph.node}
        metadata = {p.key: json.loads(p.value) for p in made.metadata_props}
        assert metadata["task"] == "language_model"
        assert metadata["vocabulary"]["tokens"] == list(model.vocabulary_.tokens)
    config = saved.config(cell="gru", learn_initial_state=True)
    net, path = saved.saved(tmp_path / "i", config)
    export(path, tmp_path / "i.onnx")
    metadata = {p.key: json.loads(p.value) for p in onnx.load(tmp_path / "i.onnx").metadata_props}
    assert_allclose(metadata["recurrent.initial_h_l1"], net.recurrent.initial_h_l1.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("recurrent", "complaint"),
    [
        (
            {"cell": "jordan"},
            "ONNX has nodes for elman, gru, and lstm without projection; this network is of jordan cells",
        ),
        ({"cell": "tdnn"}, "this network is of tdnn cells"),
        ({"cell": "lstm", "proj_size": 3}, "this network is a projected lstm"),
    ],
)
def test_what_onnx_cannot_say(tmp_path, recurrent, complaint):
    _, path = saved.saved(tmp_path / "m", saved.config(**recurrent))
    with pytest.raises(UnspoolError, match=complaint):
        export(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_nothing_is_written_that_differs(tmp_path, monkeypatch):
    _, path = saved.saved(tmp_path / "m", saved.config(cell="gru"))
    monkeypatch.setitem(module._ORDER, "gru", [0, 1, 2])
    with pytest.raises(UnspoolError, match=r"differs from ours by 0\.\d+; it was not written"):
        export(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    monkeypatch.undo()
    export(path, tmp_path / "m.onnx")
    with pytest.raises(UnspoolError, match="exists; choose another file, or give force"):
        export(path, tmp_path / "m.onnx")
    export(path, tmp_path / "m.onnx", force=True)
    with pytest.raises(UnspoolError, match="was not written"):
        export(path, tmp_path / "no" / "m.onnx")
