"""How fast are whole jobs? Our estimators beside plain torch.nn loops and other libraries: the same job, in one run.

    vowels    speakers told apart by 12 numbers at each of 7 to 29 steps (JapaneseVowels): batches of 8, 60 epochs
    names     nationalities told apart by the letters of a name, 18 classes: batches of 128, 20 epochs
    tags      parts of speech of UD English ParTUT: batches of 32, 10 epochs
    m4        the next 48 hours of 414 series (M4 Hourly)
    traffic   the next 24 hours of the traffic on a motorway (Metro Interstate Traffic Volume)

The first two have one bidirectional GRU of 64, the third a BiLSTM of 128 with a reader of characters and a conditional
random field, without Keras; `jobs_sides.py` and `jobs_tags.py` have the sides. The sizes of batches are those that our
estimators take for so many sequences. In the last two each side has a network of its own; see `jobs_series.py`.

Each fit, and each prediction of all test sequences, is a process of its own, and the sides take turns, with another
seed in each turn. A fifth of the training sequences is held out for validation; of ParTUT it is the development part.
The score to be reached is the lowest of the best ones of all fits, so that every fit reaches it; beside it stands how
many times as long as ours a side would take if there were no others, to a score that both reach. The seconds begin when
a first fit of two batches is over, as libraries import parts of themselves then; its time is told apart, and so is that
of the whole process, in which ours also makes its baselines. Figures are medians of the turns.

Other libraries get environments of their own, and take part if a Python is given that has them:

    python -m venv .peers && .peers/bin/pip install keras tensorflow-cpu torch
    python -m venv .series && .series/bin/pip install neuralforecast darts torch
    python benchmarks/jobs.py --data DATA --peers .peers/bin/python .series/bin/python
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import jobs_series
import numpy as np
from measure import machine, table

import unspool
from unspool.data import load_set

HERE = Path(__file__).resolve().parent
PREDICTS_WITH = {
    "unspool": ["numpy", "safetensors"],
    "torch.nn": ["torch"],
    "torch.nn-sorted": ["torch"],
    "keras tensorflow": ["keras", "tensorflow-cpu"],
    "keras torch": ["keras", "torch"],
    "neuralforecast": ["neuralforecast"],
    "darts": ["darts", "pytorch-lightning", "torch"],
}
# The bytes of distributions and of all that they require.
CLOSURE = """
import sys
from importlib.metadata import PackageNotFoundError, distribution
from packaging.requirements import Requirement

coming, found, size = sys.argv[1:], set(), 0
while coming:
    name = coming.pop()
    try:
        one = distribution(name)
    except PackageNotFoundError:
        continue
    if (key := one.metadata["Name"].lower().replace("_", "-")) not in found:
        found.add(key)
        paths = [path.locate() for path in one.files if path.suffix != ".pyc"]
        size += sum(path.stat().st_size for path in paths if path.is_file())
        needs = [Requirement(text) for text in one.requires or ()]
        coming += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
print(size)
"""
Sequences = list[tuple[Any, str]]


def vowels(data: Path) -> tuple[Sequences, Sequences]:
    """Sequences (T, 12), and who speaks."""
    parts: list[Sequences] = []
    for name in ("TRAIN", "TEST"):
        text = (data / f"uea-japanesevowels/JapaneseVowels_{name}.ts").read_text()
        lines = [line.split(":") for line in text.lower().partition("@data\n")[2].splitlines() if line]
        parts.append([(np.array([c.split(",") for c in channels], np.float32).T, y) for *channels, y in lines])
    return parts[0], parts[1]


def names(data: Path) -> tuple[Sequences, Sequences]:
    """Names, each once in a nationality; every fifth is for the test."""
    files = sorted((data / "names-by-nationality").glob("*.txt"))
    lines = [(line, path.stem) for path in files for line in dict.fromkeys(path.read_text("utf-8").split("\n")) if line]
    order = np.random.default_rng(0).permutation(len(lines))
    return [lines[k] for k in order if k % 5], [lines[k] for k in order if k % 5 == 0]


def tags(folder: Path) -> dict[str, Any]:
    """Write the three parts of UD English ParTUT; return what is known of the words and characters to train on."""
    found = load_set("ud-english-partut")
    pairs: dict[str, Any] = {"train": found.train, "valid": found.validation, "test": found.test}
    classes = sorted({tag for y in found.train[1] for tag in y})
    for part, (X, y) in pairs.items():
        values = np.array([word for words in X for word in words])
        codes = [classes.index(tag) for some in y for tag in some]
        np.savez(folder / f"{part}.npz", values=values, offsets=np.cumsum([0, *map(len, X)]), y=codes)
    counts = Counter(word for words in found.train[0] for word in words)
    letters = "".join(sorted({letter for word in counts for letter in word}))
    return {"classes": len(classes), "known": [*counts], "times": [*counts.values()], "letters": letters}


JOBS = {
    "vowels": {"kind": "classes", "batch": 8, "epochs": 60, "rate": 4e-3},
    "names": {"kind": "classes", "batch": 128, "epochs": 20, "rate": 4e-3},
    "tags": {"kind": "tags", "batch": 32, "epochs": 10, "rate": 3e-3},
    **{name: {"kind": "series", "epochs": None} for name in jobs_series.JOBS},
}
SIDES = {
    "classes": ["unspool", "torch.nn", "keras tensorflow", "keras torch"],
    "tags": ["unspool", "torch.nn", "torch.nn-sorted"],
    "series": ["unspool", "neuralforecast", "darts"],
}


def prepare(name: str, data: Path, folder: Path, epochs: int | None = None) -> None:
    """Write the job and its three parts: values of all sequences behind each other, where each begins, what to tell."""
    if name in jobs_series.JOBS:
        known = jobs_series.JOBS[name](data, folder)
    else:
        known = tags(folder) if name == "tags" else of_classes(*(vowels if name == "vowels" else names)(data), folder)
    (folder / "job.json").write_text(json.dumps(JOBS[name] | known | ({} if epochs is None else {"epochs": epochs})))


def of_classes(train: Sequences, test: Sequences, folder: Path) -> dict[str, Any]:
    """Write the parts of sequences with a class each; return what is known of them."""
    order = np.random.default_rng(0).permutation(len(train))
    held = len(train) // 5
    parts = {"train": [train[k] for k in order[held:]], "valid": [train[k] for k in order[:held]], "test": test}
    classes = sorted({y for _, y in train})
    letters = isinstance(train[0][0], str)
    flat = np.concatenate([x for x, _ in parts["train"]]) if not letters else None
    for part, items in parts.items():
        if flat is None:
            values = np.array([ord(letter) for x, _ in items for letter in x])
        else:
            values = (np.concatenate([x for x, _ in items]) - flat.mean(0)) / flat.std(0)
        offsets = np.cumsum([0, *(len(x) for x, _ in items)])
        np.savez(folder / f"{part}.npz", values=values, offsets=offsets, y=[classes.index(y) for _, y in items])
    longest = max(len(x) for items in parts.values() for x, _ in items)
    known = sorted({letter for x, _ in parts["train"] for letter in x}) if letters else []
    sizes = {"classes": len(classes), "longest": longest, "features": 0 if flat is None else flat.shape[1]}
    return sizes | {"letters": "".join(known), "tokens": len(known) + 2 if letters else 0}


def run(side: str, what: str, folder: Path, seed: int, out: Path, python: str, threads: int) -> dict[str, Any]:
    """The figures of one process."""
    name, _, backend = side.partition(" ")
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    if python != sys.executable:
        environment |= {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("PYTHONPATH", None)
    command = [python, str(HERE / "jobs_sides.py"), name, what, str(folder), str(seed), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} could not {what}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def python_of(side: str, peers: list[str]) -> str | None:
    """The Python that has the library of a side: this one for ours and for torch; None if no peer has it."""
    library = side.partition(" ")[0]
    if library in ("unspool", "torch.nn", "torch.nn-sorted"):
        return sys.executable
    has = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return next((python for python in peers if not subprocess.run([python, "-c", has, library]).returncode), None)


def installed(side: str, python: str) -> int:
    """The bytes of all that a prediction needs to have installed, besides Python."""
    found = subprocess.run([python, "-c", CLOSURE, *PREDICTS_WITH[side]], capture_output=True, text=True, check=True)
    own = Path(unspool.__file__).parent.rglob("*") if side == "unspool" else ()
    ours = [path for path in own if "__pycache__" not in path.parts and path.is_file()]
    return int(found.stdout) + sum(path.stat().st_size for path in ours)


def first(scores: list[list[float]], wanted: float) -> float:
    """When a score was reached."""
    return next(seconds for seconds, score in scores if score >= wanted)


def reached_by(fits: dict[str, list[list[list[float]]]]) -> tuple[float, dict[str, float]]:
    """The best score that all fits reach, and when each side does: the median of its fits."""
    wanted = min(max(score for _, score in scores) for runs in fits.values() for scores in runs)
    return wanted, {side: median(first(scores, wanted) for scores in runs) for side, runs in fits.items()}


def by(scores: list[list[float]], seconds: float) -> float:
    """The best score until then; before the first 0, or of errors, whose scores are negative, infinite."""
    worst = -math.inf if scores[0][1] < 0 else 0.0
    return max((score for at, score in scores if at <= seconds), default=worst)


def race(name: str, data: Path, sides: dict[str, str], turns: int, threads: int, epochs: int | None) -> dict[str, Any]:
    """The figures of all processes of a job, by side."""
    found: dict[str, Any] = {side: {"fits": [], "predictions": []} for side in sides}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(name, data, folder, epochs)
        for seed in range(turns):
            for side, python in sides.items():
                out = folder / f"{side} {seed}"
                out.mkdir()
                found[side]["fits"].append(run(side, "fit", folder, seed, out, python, threads))
                found[side]["predictions"].append(run(side, "predict", folder, seed, out, python, threads))
    return found


def summary(found: dict[str, Any], sides: dict[str, str]) -> tuple[str, list[str], list[list[str]]]:
    """The score to be reached, the head of the table, and a row for each side."""
    fits = {side: [fit["scores"] for fit in of["fits"]] for side, of in found.items()}
    wanted, reached = reached_by(fits)
    soon, ours = min(reached.values()), reached["unspool"]
    pairs = {side: reached_by({side: runs, "unspool": fits["unspool"]})[1] for side, runs in fits.items()}
    columns = found["unspool"]["predictions"][0]["columns"]
    rows = []
    for side, of in found.items():
        fit, predicted = ({key: median(p[key] for p in of[of_what]) for key in ("start", "bytes")} for of_what in of)
        row = [
            f"{reached[side]:.2f}",
            f"×{reached[side] / ours:.2f}",
            f"×{pairs[side][side] / pairs[side]['unspool']:.2f}",
        ]
        row += [f"{median(scores[-1][0] for scores in fits[side]):.1f}"]
        row += [f"{abs(median(by(scores, soon) for scores in fits[side])):.4g}"]
        row += [f"{abs(median(by(scores, math.inf) for scores in fits[side])):.4g}"]
        row += [shown(median(p["columns"][name] for p in of["predictions"])) for name in columns]
        row += [f"{v['bytes'] / 1e6:,.0f}" for v in (fit, predicted)]
        row += [f"{installed(side, sides[side]) / 1e6:,.0f}", f"{fit['start']:.2f}", f"{predicted['start']:.2f}"]
        row += [f"{median(fit['whole'] for fit in of['fits']):.1f}"]
        rows.append([side, *row])
    told = f"{abs(wanted):.4g} is reached in all fits; the fastest needs {soon:.2f} s"
    return told, [*HEAD, *columns, *COSTS], rows


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


HEAD = ["s to the same score", "of ours", "of ours if alone", "s of all epochs", "score by then", "best score"]
COSTS = ["MB to fit", "MB to predict", "MB installed", "s to start fit", "to start predict", "s of the whole fit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS)}; all without any")
    parser.add_argument("--data", type=Path, default=os.environ.get("UNSPOOL_DATA"), help="the folder of data sets")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of those of the jobs, for a short look")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--processor", action="store_true", help="count its seconds, on a machine that others use, too")
    parser.add_argument("--peers", nargs="+", default=[], metavar="PYTHON", help="of environments with other libraries")
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "torch"], help="of Keras")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    args = parser.parse_args()
    print(f"{machine()}; processes of {args.threads} threads, {args.turns} turns with seeds from 0 on")
    os.environ |= {"UNSPOOL_DATA": str(args.data), "JOBS_SECONDS": "processor" if args.processor else "wall"}
    records = {}
    for name in args.jobs or JOBS:
        left_out = {"keras tensorflow", "keras torch"} - {f"keras {backend}" for backend in args.backends}
        candidates = {side: python_of(side, args.peers) for side in SIDES[JOBS[name]["kind"]] if side not in left_out}
        sides = {side: python for side, python in candidates.items() if python is not None}
        records[name] = race(name, Path(args.data), sides, args.turns, args.threads, args.epochs)
        told, head, rows = summary(records[name], sides)
        of = "error" if JOBS[name]["kind"] == "series" else "accuracy"
        print(f"\n{name}: validation {of} {told}\n\n{table([name, *head], rows, args.markdown)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(records))


if __name__ == "__main__":
    main()
