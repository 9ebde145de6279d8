"""What the version before has saved: `before/` has a folder of format 2, and a run that it did not finish."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import unspool
from unspool import FolderError, LanguageModel
from unspool.cli import main as cli
from unspool.tasks.language_model import saved
from unspool.tasks.options import flat
from unspool.train import checkpoint

BEFORE = Path(__file__).parent / "before"
WRITTEN = "the.sralipr \nsir\nipayt\n\nlyhai\nailaaale\nsmn."  # by it, as the numbers below are


def test_a_saved_folder_is_read_as_it_was():
    model = LanguageModel.load(BEFORE / "model")
    assert flat(model) | {"random_state": 3, "tbptt": 16, "batch_size": 4, "hidden_size": 4} == flat(model)
    for reader in (model, saved.load(BEFORE / "model")):
        assert reader.generate("the", length=40, random_state=1) == WRITTEN
        text = "the rain in spain stays mainly in the plain.\n" * 3
        assert reader.score(text) == pytest.approx(-3.8517686057203875, abs=1e-6)
    y = unspool.load(BEFORE / "model").run(np.arange(5)).sum(0)
    expected = [-2.753528118133545, -1.8629295825958252, 1.9368215799331665, 1.0838083028793335]
    np.testing.assert_allclose(y[:4], expected, rtol=0, atol=1e-5)


def test_an_unfinished_run_is_refused_by_name_and_left_alone(tmp_path, capsys):
    shutil.copytree(BEFORE / "unfinished.run", tmp_path / "unfinished.run")
    assert cli.execute(["fit", "text", "--resume", str(tmp_path / "unfinished")]) == 2
    said = capsys.readouterr().err
    assert "run.json: was begun by another version of unspool" in said
    assert "finish it with that version, or begin it anew" in said
    with pytest.raises(FolderError, match="is a checkpoint of format 1, and this unspool reads 2; finish the run with"):
        checkpoint.read(tmp_path / "unfinished.run" / "last.checkpoint")
    assert sorted(os.listdir(tmp_path / "unfinished.run")) == ["history.jsonl", "last.checkpoint", "run.json"]
