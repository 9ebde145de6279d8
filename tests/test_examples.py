"""Every example runs, and each asserts what it claims; so do the Python and the commands in README and docs."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNS = [[path] for path in sorted((ROOT / "examples").glob("*.py"))]
RUNS.append([ROOT / "examples/binary_addition.py", "native"])
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FETCHED = {"tagging.md"}  # pages whose data sets are not built in
SHELL = f'set -e; unspool() {{ "{sys.executable}" -m unspool "$@"; }}\n'


@pytest.mark.parametrize("command", RUNS, ids=lambda command: " ".join([command[0].stem, *command[1:]]))
def test_example(command, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    runpy.run_path(str(command[0]), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, tmp_path, monkeypatch, request):
    if page.name in FETCHED:
        request.getfixturevalue("data_folder")
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, block in re.findall(r"^```(python|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(block, str(page), "exec"), names)
        else:
            commands = "\n".join(line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(["bash", "-c", SHELL + commands], env=environment, capture_output=True, text=True)
            print(done.stdout, done.stderr)
            assert done.returncode == 0, done.stderr
