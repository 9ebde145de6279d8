"""How fast are predictions of many sequences? A saved network over a thousand of unequal lengths, beside torch.nn.

The lengths are uniform from 20 to 200; each network has one recurrent layer with I = H and a head of one output, and
all outputs are wanted. torch.nn has the same weights, and is given the sequences sorted by length: padded in batches,
or as one packed sequence, both ready made. Ours are given in the order that they came in to `predict`, and ready made
to `Streams`, of which the sessions whose sequences go on are stepped together. The sides must agree before they are
timed, and take turns.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, race, table
from torch.nn.utils.rnn import pack_sequence, pad_sequence

from unspool import _native, load
from unspool.network import Network
from unspool.saved import folder
from unspool.stream import Stream

CELLS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
SEQUENCES, SHORTEST, LONGEST, BATCH = 1000, 20, 200, 100
Side = Callable[[], Any]


def save(cell: str, H: int, path: Path) -> Network:
    config = {
        "front": {"kind": "dense", "size": H},
        "recurrent": {"cell": cell, "hidden_size": H, "num_layers": 1},
        "head": {"kind": "linear", "size": 1},
    }
    net = Network(config).eval()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    folder.write(path, {"task": "benchmark", "network": config}, weights, {})
    return net


def torch_sides(cell: str, net: Network, sequences: list[np.ndarray]) -> dict[str, Side]:
    """Padded in batches of one length or nearly so, and packed."""
    H = sequences[0].shape[1]
    layer, head = CELLS[cell](H, H), net.head
    layer.load_state_dict(net.recurrent.state_dict())
    tensors = sorted((torch.from_numpy(xs) for xs in sequences), key=len, reverse=True)
    batches = [pad_sequence(tensors[k : k + BATCH]) for k in range(0, len(tensors), BATCH)]
    packed = pack_sequence(tensors)

    @torch.inference_mode()
    def padded() -> Any:
        return [head(layer(batch)[0]) for batch in batches]

    @torch.inference_mode()
    def packed_together() -> Any:
        return head(layer(packed)[0].data)

    return {f"torch padded, {BATCH}": padded, "torch packed": packed_together}


def streams_side(stream: Stream, sequences: list[np.ndarray], threads: int) -> Side:
    """All sessions that have not ended, a step at a time."""
    order = sorted(range(len(sequences)), key=lambda k: -len(sequences[k]))
    lengths = np.array([len(sequences[k]) for k in order])
    rows = [np.stack([sequences[k][t] for k in order[: (lengths > t).sum()]]) for t in range(lengths[0])]
    sessions = stream.streams(len(sequences), threads)
    chosen = np.arange(len(sequences))

    def step() -> list[np.ndarray]:
        sessions.reset()
        return [sessions.step(x, chosen[: len(x)]) for x in rows]

    return step


def agree(stream: Stream, sides: dict[str, Side], sequences: list[np.ndarray]) -> None:
    """The sums of all outputs; `predict` to the bit."""
    alone = [Stream(stream.network).run(xs) for xs in sequences]
    for ours, xs in zip(sides["predict"](), alone, strict=True):
        np.testing.assert_array_equal(ours, xs)
    wanted = sum(float(y.sum()) for y in alone)
    steps = sum(len(xs) for xs in sequences)
    packed = float(sides["torch packed"]().sum())
    streams = sum(float(y.sum()) for y in sides["Streams"]())
    np.testing.assert_allclose([packed, streams], wanted, rtol=0, atol=1e-5 * steps)


def speeds(cell: str, H: int, seconds: float) -> dict[str, float]:
    """Sequences a second of each side."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, SEQUENCES)
    sequences = [rng.standard_normal((T, H), np.float32) for T in lengths]
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        net = save(cell, H, Path(name))
        stream = load(name)
    sides: dict[str, Side] = {
        "predict": lambda: list(stream.predict(sequences, threads=threads)),
        "predict, 1 thread": lambda: list(stream.predict(sequences)),
        "alone, 1 thread": lambda: [Stream(stream.network).run(xs) for xs in sequences],
        "Streams": streams_side(stream, sequences, threads),
        **torch_sides(cell, net, sequences),
    }
    agree(stream, sides, sequences)
    return {side: SEQUENCES / taken for side, taken in race(sides, seconds).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=(64, 128))
    parser.add_argument("--seconds", type=float, default=2, help="the time of the calls, for each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    args = parser.parse_args()
    torch.manual_seed(0)
    records = {f"{cell} {H}": speeds(cell, H, args.seconds) for cell in CELLS for H in args.sizes}
    head = ["sequences a second", *next(iter(records.values()))]
    rows = [[name, *(f"{speed:,.0f}" for speed in found.values())] for name, found in records.items()]
    print(f"{machine()}; kernels {_native.instruction_set()}\n\n{table(head, rows, args.markdown)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine(), "speeds": records}, indent=1))


if __name__ == "__main__":
    main()
