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

from unspool import LanguageModel, UnspoolError
from unspool.cells import FACTS
from unspool.cli import main as cli
from unspool.onnx import graph
from unspool.onnx.export import export, initial_state
from unspool.onnx.graph import suffixes
from unspool.saved import folder, small
from unspool.saved.architecture import parse


def run(path, x, lengths, state):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x, "lengths": np.asarray(lengths, np.int32), **state})


def named(arch, state):
    """A state of `Network` by the names of the file."""
    if arch.cell == "tdnn":
        return {f"window_l{k}": s for k, s in enumerate(state) if len(s)}
    return dict(zip(FACTS[arch.cell].states, state if isinstance(state, tuple) else (state,), strict=True))


def assert_same_states(arch, weights, last, state):
    for theirs, (name, ours) in zip(last, named(arch, state).items(), strict=True):
        if name == "h" and arch.options.get("proj_size"):
            rows = [weights[f"recurrent.weight_hr{s}"] for k in range(arch.num_layers) for s in suffixes(arch, k)]
            theirs = theirs @ np.stack(rows).transpose(0, 2, 1)
        assert_allclose(theirs, ours.numpy(), rtol=1e-6, atol=1e-5)  # a 1997 cell's state grows


@pytest.mark.parametrize("front", [DENSE, ONE_HOT, EMBEDDING], ids=["dense", "one-hot", "embedding"])
@pytest.mark.parametrize(
    ("cell", "both"),
    [(cell, both) for both in (False, True) for cell, c in RECURRENT.items() if not both or c["cell"] != "tdnn"],
)
def test_batches_lengths_and_states(tmp_path, cell, both, front):
    direction = {"bidirectional": True} if both else {}
    config = saved.config(front, {"kind": "softmax", "size": 3}, **RECURRENT[cell], **direction)
    net, path = saved.saved(tmp_path / "m", config)
    assert export(path, tmp_path / "m.onnx") <= 1e-5
    arch, weights = parse(config), folder.read(path).weights
    for T, B in ((1, 1), (1, 7), (100, 1), (100, 7)):
        x = saved.inputs(front, T, B)
        lengths = np.random.default_rng(0).integers(1, T + 1, B)
        lengths[0] = T
        begin = initial_state(arch, weights, B)
        y, *last = run(tmp_path / "m.onnx", x, lengths, begin)
        with torch.no_grad():
            wanted, state = net.predict(torch.from_numpy(x), lengths=torch.from_numpy(lengths))
        assert_allclose(y, wanted.numpy(), rtol=0, atol=1e-5)
        assert_same_states(arch, weights, last, state)
        if not both:
            following, *last = run(tmp_path / "m.onnx", x, [T] * B, dict(zip(begin, last, strict=True)))
            with torch.no_grad():
                wanted, state = net.predict(torch.from_numpy(x), state)
            assert_allclose(following, wanted.numpy(), rtol=0, atol=1e-5)
            assert_same_states(arch, weights, last, state)


@pytest.mark.parametrize("family", [None, "normal", "laplace", "poisson"])
def test_heads(tmp_path, family):
    head = {"kind": "distribution", "family": family, "size": 2} if family else {"kind": "logistic", "size": 2}
    _, path = saved.saved(tmp_path / "m", saved.config(DENSE, head, cell="gru"))
    assert export(path, tmp_path / "m.onnx") <= 1e-5


def test_large_outputs_differ_by_more(tmp_path):
    config = saved.config(DENSE, cell="gru", hidden_size=64)
    net = saved.network(config)
    with torch.no_grad():
        net.head.weight *= 1000
    saved.save(tmp_path / "m", net, config)
    assert export(tmp_path / "m", tmp_path / "m.onnx") <= 1e-5


def test_a_vocabulary_that_was_altered_is_refused(tmp_path):
    LanguageModel(hidden_size=8, embedding_size=4, epochs=1).fit("the rain in spain. " * 20).save(tmp_path / "m")
    file = tmp_path / "m" / "vocabulary.json"
    file.write_text(file.read_text().replace("r", "R"))
    for call in (
        lambda: export(tmp_path / "m", tmp_path / "m.onnx"),
        lambda: small.pack(tmp_path / "m", tmp_path / "p", "int8"),
    ):
        with pytest.raises(UnspoolError, match=r"vocabulary\.json: is damaged"):
            call()


def test_nodes_are_native_and_the_rest_is_in_the_metadata(tmp_path):
    model = LanguageModel(hidden_size=8, embedding_size=4, epochs=1).fit("the rain in spain stays in the plain. " * 20)
    model.save(tmp_path / "m")
    small.pack(tmp_path / "m", tmp_path / "p", "int8")
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
    assert_allclose(metadata["initial_h"][1], net.recurrent.initial_h_l1.detach().numpy(), rtol=1e-6)


def test_nothing_is_written_that_differs(tmp_path, monkeypatch):
    _, path = saved.saved(tmp_path / "m", saved.config(cell="gru"))
    monkeypatch.setitem(graph.FACTS, "gru", graph.FACTS["gru"]._replace(onnx_gates=(0, 1, 2)))
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
