"""Small weights: bfloat16 and int8."""

import numpy as np
import pytest
import saved
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from saved import DENSE, EMBEDDING, ONE_HOT, RECURRENT

from unspool import FolderError, LanguageModel, Training, UnspoolError, _native, load
from unspool.cli import main as cli
from unspool.network import restore
from unspool.saved import folder, small
from unspool.stream import Loaded, Stream
from unspool.tasks.language_model import saved as language_model

RHYME = "the rain in spain stays mainly in the plain.\n" * 60


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_bf16_is_the_nearest(values):
    w = np.array([values], np.float32)
    ours = small.to_bf16(w)
    theirs = torch.from_numpy(w).bfloat16()
    finite = theirs.isfinite().numpy()
    assert_array_equal(ours[finite], theirs.view(torch.uint16).numpy()[finite])
    assert ((ours[~finite] & 0x7FFF) == 0x7F7F).all()


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_int8_errs_by_half_a_step(values):
    w = np.array([values, np.zeros(len(values))], np.float32)
    q, scale = small.to_int8(w)
    assert np.abs(q.astype(int)).max() <= 127 and scale.shape == (2,)
    again = q * scale[:, None].astype(np.float64)
    step = max(scale[0], np.finfo(np.float32).tiny)
    assert_allclose(again[0], w[0].astype(np.float64), rtol=0, atol=0.51 * step)
    assert_array_equal(again[1], 0)


@pytest.mark.parametrize("kind", small.KINDS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", RECURRENT)
def test_a_packed_network_is_the_one_with_its_rounded_weights(tmp_path, cell, both, kind):
    """They agree to 1e-5 for bfloat16, whose arithmetic is float32; int8 also rounds the vectors, to 16 bits."""
    recurrent = RECURRENT[cell]
    if both and recurrent["cell"] == "tdnn":
        both = False
    front = (DENSE, EMBEDDING, ONE_HOT)[len(cell) % 3]
    config = saved.config(front, **recurrent, **({"bidirectional": True} if both else {}))
    net, path = saved.saved(tmp_path / "m", config)
    small.pack(path, tmp_path / "p", kind)
    kept = folder.read(tmp_path / "p")
    assert kept.config["weights"] == kind and kept.config["task"] == "test"
    matrices = [name for name in kept.weights if kept.weights[name].dtype != np.float32]
    assert all(name == "head.weight" or name.startswith("recurrent.weight") or "layers" in name for name in matrices)
    assert "head.weight" in matrices and len(matrices) >= 3
    rounded = restore(config, kept.weights)
    xs = saved.inputs(front, 300)
    with torch.no_grad():
        wanted = rounded.predict(torch.from_numpy(xs)[:, None])[0][:, 0].numpy()
        before = net.predict(torch.from_numpy(xs)[:, None])[0][:, 0].numpy()
    assert np.abs(wanted - before).max() > 1e-5  # it was rounded
    for name in _native.instruction_sets():
        ours = Stream(Loaded(kept, path, name)).run(xs)
        assert_allclose(ours, wanted, rtol=0, atol=1e-5 if kind == "bf16" else 3e-4)


@pytest.mark.parametrize("kind", small.KINDS)
def test_sessions_of_a_packed_network(tmp_path, kind):
    _, path = saved.saved(tmp_path / "m", saved.config(cell="gru", hidden_size=40))
    small.pack(path, tmp_path / "p", kind)
    stream = load(tmp_path / "p")
    xs = saved.inputs(DENSE, 6, 20)
    ours = stream.streams(20).run(xs)
    for s in (0, 7, 19):
        stream.reset()
        assert_array_equal(ours[:, s], stream.run(np.ascontiguousarray(xs[:, s])))


@pytest.mark.parametrize("kind", small.KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e30])
def test_inputs_of_any_size(tmp_path, kind, scale):
    config = saved.config(cell="elman", num_layers=1)
    _, path = saved.saved(tmp_path / "m", config)
    small.pack(path, tmp_path / "p", kind)
    xs = saved.inputs(DENSE, 20) * np.float32(scale)
    with torch.no_grad():
        rounded = restore(config, folder.read(tmp_path / "p").weights)
        wanted = rounded.predict(torch.from_numpy(xs)[:, None])[0][:, 0].numpy()
    assert_allclose(load(tmp_path / "p").run(xs), wanted, rtol=0, atol=3e-4)


def test_the_verb_reports_what_is_lost(tmp_path, capsys):
    options = {"hidden_size": 32, "embedding_size": 8, "epochs": 3, "learning_rate": 0.02}
    model = LanguageModel(**options, training=Training(batch_size=4)).fit(RHYME)
    model.save(tmp_path / "m")
    (tmp_path / "t.txt").write_text(RHYME, encoding="utf-8")
    for kind, smaller in (("bf16", 1.3), ("int8", 1.6)):
        arguments = ["pack", str(tmp_path / "m"), "--weights", kind, "--file", str(tmp_path / "t.txt")]
        assert cli.execute(arguments) == 0
        saved_in, before, after = capsys.readouterr().out.splitlines()
        assert saved_in.startswith(f"saved in   {tmp_path}/m-{kind}, weights ")
        sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("m", f"m-{kind}")]
        assert (
            saved_in.endswith(f"weights {sizes[1]:,} bytes instead of {sizes[0]:,}") and sizes[0] > smaller * sizes[1]
        )
        packed = language_model.load(tmp_path / f"m-{kind}")
        bits = [m.evaluate(RHYME).network.bits for m in (model, packed)]
        assert bits[1] == pytest.approx(bits[0], abs=0.02) and bits[0] != bits[1]
        assert f"{bits[0]:.4f} bits/character" in before and f"{bits[1] - bits[0]:+.4f}" in after
        assert LanguageModel.load(tmp_path / f"m-{kind}").score(RHYME) == pytest.approx(packed.score(RHYME), abs=1e-4)
    with pytest.raises(FolderError, match="has small weights already"):
        small.pack(tmp_path / "m-int8", tmp_path / "again", "bf16")
    with pytest.raises(FolderError, match="exists; choose another folder, or give force"):
        small.pack(tmp_path / "m", tmp_path / "m-int8", "int8")
    with pytest.raises(UnspoolError, match="weights must be one of bf16, int8; got 'int4'"):
        small.pack(tmp_path / "m", tmp_path / "again", "int4")
    assert cli.execute(["pack", str(tmp_path / "m"), "--weights", "fp8"]) == 2
