"""The wheel: small, and with all that running a network needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def test_wheel_is_under_two_megabytes(tmp_path):
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        [*command, Path(__file__).parents[1]], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 2_000_000
    names = zipfile.ZipFile(wheel).namelist()
    assert {"unspool/stream.py", "unspool/py.typed"} <= set(names)
    assert sum(name.startswith("unspool/_native.") and not name.endswith(".pyi") for name in names) == 1
    assert not any(name.startswith(("tests", "native", "benchmarks")) for name in names)
