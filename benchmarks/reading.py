"""What does reading cost, beside the usual reader of each format? Seconds of a core, and memory beyond the imports.

Files of each format are written first. Each reading is a process of its own, and the two sides take turns. The memory
is the highest that the process had, less what it had after its imports, as a multiple of the file's size. The usual
readers of JSON lines and CoNLL-U drop what they have read; all else keeps it. Needs pandas, conllu, and Linux.

    python benchmarks/reading.py [--megabytes 100] [--repeats 3] [--only csv wide]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate, count
from pathlib import Path
from statistics import median

import numpy as np
import pandas
from measure import machine, table

PROGRAM = """
import re, sys
from time import process_time
{imports}
def peak():
    return int(re.search("VmHWM:\\\\s+([0-9]+) kB", open("/proc/self/status").read())[1]) * 1024
path, before, start = sys.argv[1], peak(), process_time()
kept = {call}
print(process_time() - start, peak() - before)
"""
OURS = "from unspool.data import readers; from unspool.data.readers import tables, jsonl, conll, plain"
PANDAS = ("import pandas", "pandas.read_csv(path)")
LOADS = ("import json", "[json.loads(line) and None for line in open(path, encoding='utf-8')]")
STEPS = [f"s{i}" for i in range(500)]
SYLLABLES = ["ka", "lo", "mi", "ren", "tas", "vo", "u", "sil", "ther", "an", "é", "dor"]
LABELS = ["walking", "standing", "sitting", "lying down"]

# The file's name; our call; the imports and the call of the usual reader.
SIDES: dict[str, tuple[str, str, tuple[str, str]]] = {
    "csv": (
        "t.csv",
        "readers.read(path, sequence='sensor', time='time')",
        ("import pandas", "pandas.read_csv(path, parse_dates=['time'])"),
    ),
    "csv, plain": ("t.csv", "readers.read(path)", PANDAS),
    "csv, quoted text": ("quoted.csv", "readers.read(path, wide=True)", PANDAS),
    "csv, wide": ("wide.csv", f"readers.read(path, wide=True, steps={STEPS})", PANDAS),
    "csv, 10 columns of digits": ("digits.csv", "readers.read(path)", PANDAS),
    "csv, 1 column of digits": ("digit.csv", "readers.read(path)", PANDAS),
    "json lines, text": ("text.jsonl", "readers.read(path)", LOADS),
    "json lines, numbers": ("numbers.jsonl", "readers.read(path)", LOADS),
    "conll-u": (
        "t.conllu",
        "readers.read(path)",
        ("import conllu", "[None for _ in conllu.parse_incr(open(path, encoding='utf-8'))]"),
    ),
    "text": ("t.txt", "text.read(path)", ("", "open(path, encoding='utf-8').read()")),
    "text, its lines": ("t.txt", "readers.read(path)", ("", "open(path, encoding='utf-8').readlines()")),
}


def words(draw: random.Random) -> Callable[[int], list[str]]:
    """A function that draws words, some of which are far more frequent than others."""
    known = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(50_000)]
    often = list(accumulate(1 / (i + 1) for i in range(len(known))))
    return lambda n: draw.choices(known, cum_weights=often, k=n)


def rows(draw: random.Random) -> Iterator[str]:
    """Readings of 200 sensors, each with its own clock."""
    yield "sensor,time,temperature,pressure,flow,valve,count,activity"
    for i in count():
        time = datetime(2024, 1, 1) + timedelta(seconds=i // 200)
        x = draw.random()
        yield (
            f"sensor-{i % 200:03d},{time},{20 + 9 * x:.2f},{1000 + 20 * x:.4f},{x},{draw.randrange(2)},"
            f"{draw.randrange(10_000)},{draw.choice(LABELS)}"
        )


def quoted(draw: random.Random) -> Iterator[str]:
    drawn = words(draw)
    yield "text,label"
    while True:
        yield f'"{" ".join(drawn(12))}, ""{" ".join(drawn(2))}"" {" ".join(drawn(9))}",{draw.choice(LABELS)}'


def wide(draw: random.Random) -> Iterator[str]:
    yield ",".join(["name", *STEPS])
    for i in count():
        yield ",".join([f"n{i}", *(f"{draw.gauss(0, 30):.3f}" for _ in STEPS)])


def digits(draw: random.Random, columns: int) -> Iterator[str]:
    yield ",".join("abcdefghij"[:columns])
    while True:
        yield ",".join(draw.choices("0123456789", k=columns))


def texts(draw: random.Random) -> Iterator[str]:
    drawn = words(draw)
    while True:
        yield json.dumps({"text": " ".join(drawn(30)), "label": draw.choice(LABELS)}, ensure_ascii=False)


def series(draw: random.Random) -> Iterator[str]:
    while True:
        n = draw.randint(20, 200)
        x, k = [round(draw.gauss(0, 1), 4) for _ in range(n)], [draw.randrange(100) for _ in range(n)]
        yield json.dumps({"x": x, "k": k, "target": draw.random()})


def sentences(draw: random.Random) -> Iterator[str]:
    drawn = words(draw)
    for i in count(1):
        sentence = drawn(draw.randint(3, 30))
        yield f"# sent_id = {i}\n# text = {' '.join(sentence)}"
        for j, word in enumerate(sentence, 1):
            kind = draw.choice(["NOUN\tNN\tNumber=Sing", "VERB\tVBD\tMood=Ind|Tense=Past", "DET\tDT\t_", "ADP\tIN\t_"])
            yield f"{j}\t{word}\t{word}\t{kind}\t{max(0, j - 2)}\tdep\t{max(0, j - 2)}:dep\t_"
        yield ""


def prose(draw: random.Random) -> Iterator[str]:
    drawn = words(draw)
    while True:
        yield " ".join(drawn(draw.randint(0, 20)))


FILES: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "t.csv": rows,
    "quoted.csv": quoted,
    "wide.csv": wide,
    "digits.csv": lambda draw: digits(draw, 10),
    "digit.csv": lambda draw: digits(draw, 1),
    "text.jsonl": texts,
    "numbers.jsonl": series,
    "t.conllu": sentences,
    "t.txt": prose,
}


def write(path: Path, size: int) -> None:
    left = size
    with path.open("w", encoding="utf-8") as file:
        for line in FILES[path.name](random.Random(0)):
            left -= file.write(line + "\n")
            if left < 0 and not line.startswith("#"):
                break


def once(imports: str, call: str, path: Path) -> tuple[float, float]:
    """The seconds of one reading, and its memory as a multiple of the file's size."""
    program = PROGRAM.format(imports=imports, call=call)
    done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory / path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="the beginnings of the rows' names")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    print(f"{machine()}, numpy {np.__version__}, pandas {pandas.__version__}; files of {options.megabytes:g} MB")
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, ours, usual) in SIDES.items():
            if not name.startswith(tuple(options.only) or ""):
                continue
            path = Path(folder, file)
            if not path.exists():
                write(path, int(options.megabytes * 1e6))
            pairs = [
                (once(f"{OURS}; from unspool.data import text", ours, path), once(*usual, path))
                for _ in range(options.repeats)
            ]
            (a, b), (m, n) = ([median(turn[side][what] for turn in pairs) for side in (0, 1)] for what in (0, 1))
            lines.append([name, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}", f"{m:.1f}", f"{n:.1f}"])
            print(*lines[-1], flush=True, sep="  ", file=sys.stderr)
    head = ["file", "ours s", "usual s", "ratio", "ours × bytes", "usual × bytes"]
    print(table(head, lines, options.markdown))


if __name__ == "__main__":
    main()
