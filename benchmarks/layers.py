"""How fast are the layers? Our layers beside torch.nn's, and the options beside the plain cell, in one run.

Inference is a call under no_grad; training is a call, and the gradients with respect to the input and all parameters.
Both include the input projection. The two sides must agree before they are timed. GF/s counts 2·T·B·G·H·(I+H)
floating-point operations for inference, and three times as many for training. The peak is measured in the same run.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from measure import machine, race, table
from torch import Tensor
from torch.testing import assert_close

from unspool import _native, nn

SHAPES = [
    (100, 1, 32, 64),
    (100, 32, 32, 64),
    (200, 16, 64, 32),
    (100, 32, 128, 128),
    (100, 64, 256, 256),
    (50, 64, 512, 512),
]  # T, B, I, H
PEERS = {"Elman": torch.nn.RNN, "GRU": torch.nn.GRU, "LSTM": torch.nn.LSTM}
GATES = {"Elman": 1, "GRU": 3, "LSTM": 4}
MODES = ("inference", "training")
Call = Callable[[], Any]
Shape = tuple[int, int, int, int]


def calls(layer: torch.nn.Module, x: Tensor, dy: Tensor, **options: Tensor) -> dict[str, Call]:
    """For each mode, the call to be timed; it returns y, or the gradients of x and the parameters."""
    leaf = x.clone().requires_grad_()
    inputs = [leaf, *layer.parameters()]

    def inference() -> Tensor:
        with torch.no_grad():
            return layer(x, **options)[0]

    def training() -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(leaf, **options)[0], inputs, dy)

    return {"inference": inference, "training": training}


def fma_peak(threads: int, seconds: float) -> float:
    """The GF/s of float32 fused multiply-adds, on all threads together."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(_native.fma_peak, [seconds] * threads)) / 1e9


def agree(ours: Any, theirs: Any) -> None:
    """Raise AssertionError unless the largest difference in each tensor is at most 1e-4 of its largest value."""
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))


def against_torch(cell: str, shape: Shape, seconds: float) -> list[dict]:
    """One record for each mode: our layer and torch.nn's, with the same weights."""
    T, B, I, H = shape
    x, dy = torch.randn(T, B, I), torch.randn(T, B, H)
    peer = PEERS[cell](I, H)
    layer = getattr(nn, cell)(I, H)
    layer.load_state_dict(peer.state_dict())
    ours, theirs = calls(layer, x, dy), calls(peer, x, dy)
    work = 2 * T * B * GATES[cell] * H * (I + H)
    records = []
    for mode, factor in zip(MODES, (1, 3), strict=True):
        agree(ours[mode](), theirs[mode]())
        taken = race({"ours": ours[mode], "torch": theirs[mode]}, seconds)
        gflops = factor * work / taken["ours"] / 1e9
        records.append({"cell": cell, "shape": shape, "mode": mode, "gflops": gflops} | taken)
        print(".", end="", file=sys.stderr, flush=True)
    return records


def variants(shape: Shape) -> dict[str, tuple[torch.nn.Module, torch.nn.Module, dict[str, Tensor]]]:
    """The variants by name: (plain layer, layer, options of its call)."""
    T, B, I, H = shape
    lengths = (torch.empty(B).uniform_(0.2, 1) * T).ceil().long()
    reset = torch.rand(T, B) < 0.05
    plain = {cell: getattr(nn, cell)(I, H) for cell in PEERS}
    return {
        # With H/2 outputs, its two recurrent products together are as large as the one of the plain cell.
        "Jordan, H/2 outputs": (plain["Elman"], nn.Jordan(I, H, H // 2), {}),
        "peephole": (plain["LSTM"], nn.LSTM(I, H, peephole=True), {}),
        **{f"resets, {cell}": (layer, layer, {"reset": reset}) for cell, layer in plain.items()},
        **{f"lengths, {cell}": (layer, layer, {"lengths": lengths}) for cell, layer in plain.items()},
    }


def against_plain(shape: Shape, seconds: float) -> list[dict]:
    """One record for each variant and mode: its time, and that of the plain cell over T full steps."""
    T, B, I, H = shape
    x = torch.randn(T, B, I)
    records = []
    for name, (plain, layer, options) in variants(shape).items():
        y, _ = layer(x)
        without = calls(plain, x, torch.randn(T, B, H))
        with_it = calls(layer, x, torch.randn_like(y), **options)
        for mode in MODES:
            taken = race({"variant": with_it[mode], "plain": without[mode]}, seconds)
            records.append({"name": name, "shape": shape, "mode": mode} | taken)
            print(".", end="", file=sys.stderr, flush=True)
    return records


def peer_table(records: list[dict], peak: float, markdown: bool) -> str:
    head = ["cell, T, B, I, H", "mode", "ours ms", "torch ms", "faster", "GF/s", "of peak"]
    rows = [
        [
            f"{r['cell']} {' '.join(map(str, r['shape']))}",
            r["mode"],
            f"{1e3 * r['ours']:.2f}",
            f"{1e3 * r['torch']:.2f}",
            f"×{r['torch'] / r['ours']:.2f}",
            f"{r['gflops']:.1f}",
            f"{100 * r['gflops'] / peak:.0f} %",
        ]
        for r in records
    ]
    return table(head, rows, markdown)


def summary(records: list[dict]) -> str:
    lines = []
    for mode in MODES:
        ratios = [r["torch"] / r["ours"] for r in records if r["mode"] == mode]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"{mode}: geometric mean ×{mean:.2f}, minimum ×{min(ratios):.2f} of {len(ratios)}")
    return "\n".join(lines)


def variant_table(records: list[dict], markdown: bool) -> str:
    """A row for each variant and a column for each shape; an entry is the relative time of inference / of training."""
    shapes = list(dict.fromkeys(r["shape"] for r in records))
    cost = {(r["name"], r["shape"], r["mode"]): r["variant"] / r["plain"] for r in records}
    rows = [
        [name, *(" / ".join(f"{cost[name, shape, mode]:.2f}" for mode in MODES) for shape in shapes)]
        for name in dict.fromkeys(r["name"] for r in records)
    ]
    return table(["time beside the plain cell's", *(" ".join(map(str, shape)) for shape in shapes)], rows, markdown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--shapes", nargs="+", type=int, choices=range(len(SHAPES)), default=range(len(SHAPES)))
    parser.add_argument("--seconds", type=float, default=1.0, help="the time of the calls, for each side of each entry")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    shapes = [SHAPES[k] for k in args.shapes]
    before = fma_peak(args.threads, args.seconds)
    peers = [record for cell in args.cells for shape in shapes for record in against_torch(cell, shape, args.seconds)]
    plain = [record for shape in shapes for record in against_plain(shape, args.seconds)]
    peak = max(before, fma_peak(args.threads, args.seconds))
    print(file=sys.stderr)
    print(f"{machine()}; kernels {_native.instruction_set()}; float32 FMA peak {peak:.0f} GF/s\n")
    print(peer_table(peers, peak, args.markdown), summary(peers), variant_table(plain, args.markdown), sep="\n\n")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"machine": machine(), "kernels": _native.instruction_set(), "peak": peak}
        args.json.write_text(json.dumps(about | {"peers": peers, "plain": plain}, indent=1))


if __name__ == "__main__":
    main()
