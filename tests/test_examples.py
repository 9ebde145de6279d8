"""Every example runs, and each asserts what it claims; so does the Python in README and docs."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNS = [[path] for path in sorted((ROOT / "examples").glob("*.py"))]
RUNS.append([ROOT / "examples/binary_addition.py", "native"])
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("command", RUNS, ids=lambda command: " ".join([command[0].stem, *command[1:]]))
def test_example(command, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    runpy.run_path(str(command[0]), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
