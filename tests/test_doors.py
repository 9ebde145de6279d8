"""Public names, and what is imported for them."""

import subprocess
import sys
from importlib import import_module

import pytest

import unspool


@pytest.mark.parametrize("name", ["unspool", "unspool.data", "unspool.train"])
def test_every_public_name_is_there_and_no_other(name):
    package = import_module(name)
    for public in package.__dir__():
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = package.nothing


def test_the_readme_names_are_at_the_doors():
    assert {
        "Classifier",
        "Forecaster",
        "LanguageModel",
        "Regressor",
        "Stream",
        "Tagger",
        "Training",
        "data",
        "load",
        "nn",
        "ops",
        "train",
    } <= set(dir(unspool))
    assert {"Ragged", "Sequences", "from_frame", "read", "read_csv", "read_ts"} <= set(dir(unspool.data))
    assert {"Plan", "Progress", "fit"} <= set(dir(unspool.train))


# What each module must do without. None of what runs a saved network imports PyTorch.
WITHOUT = {
    "torch": [
        "unspool", "unspool.data", "unspool.stream", "unspool.saved.small", "unspool.saved.card", "unspool.cli.main",
        "unspool.cli.fit", "unspool.cli.predict", "unspool.tasks.files", "unspool.tasks.options",
        "unspool.tasks.language_model.saved", "unspool.train.plan",
        "unspool.tasks.classifier.saved", "unspool.tasks.regressor.saved", "unspool.data.given",
        "unspool.train.run_folder", "unspool.data.readers.tables", "unspool.chain", "unspool.tasks.tagger.saved",
        "unspool.tasks.metrics", "unspool.tasks.forecaster.saved", "unspool.tasks.forecaster.file",
        "unspool.report.forecast",
    ],
    "pandas": ["unspool.tasks.forecaster.saved", "unspool.tasks.forecaster.file", "unspool.report.forecast"],
    "matplotlib": ["unspool.tasks.forecaster.estimator", "unspool.report.forecast"],
    "sklearn": [
        "unspool.cli.main", "unspool.tasks.options", "unspool.stream", "unspool.tasks.classifier.saved",
        "unspool.tasks.regressor.saved", "unspool.cli.predict", "unspool.tasks.files",
    ],
}  # fmt: skip


@pytest.mark.parametrize("library", WITHOUT)
def test_what_is_not_needed_is_not_imported(library):
    program = f"import sys, {', '.join(WITHOUT[library])}; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
