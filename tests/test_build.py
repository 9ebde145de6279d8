"""What is built: for other processors it compiles, and the wheel is small and has all that is needed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "source",
    [
        *("sequences/float32", "sequences/float64", "sequences/kernels", "sequences/chain"),
        *("steps/network", "steps/architecture", "sets", "c/folder", "tables/table"),
    ],
)
def test_neon_compiles(source):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("needs aarch64-linux-gnu-g++")
    command = [compiler, "-std=c++20", "-O0", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    sets = ["-DUNSPOOL_ISA=neon", "-DUNSPOOL_SETS(set)=set(neon)"]
    subprocess.run([*command, *sets, Path(__file__).parents[1] / "native" / f"{source}.cpp"], check=True)


def test_wheel_is_under_two_megabytes(tmp_path):
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed")
    # Of all sets, whatever the last build in this folder was for.
    options = ["-C", "cmake.define.UNSPOOL_SETS=all", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    command = [sys.executable, "-m", "pip", "wheel", "-q", *options]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        [*command, Path(__file__).parents[1]], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 2_000_000
    names = zipfile.ZipFile(wheel).namelist()
    sets = {f"unspool/data/sets/built_in/{name}" for name in ("README.md", "promoters.csv.xz", "names.txt.xz")}
    assert {"unspool/stream.py", "unspool/py.typed", *sets} <= set(names)
    assert sum(name.startswith("unspool/_native.") and not name.endswith(".pyi") for name in names) == 1
    assert not any(name.startswith(("tests", "native", "benchmarks")) for name in names)
