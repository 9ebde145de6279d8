"""Tiny-Shakespeare by a published protocol: do our layers learn what torch.nn's do, and how much faster?

The characters are split 80/10/10, contiguously; the vocabulary is 65. Training and validation use windows of 128 with a
stride of 64, and a zero state at the beginning of each; batches of 64, shuffled; an embedding of 256, two layers, no
dropout; Adam at 3e-4; 20 epochs. The published best validation figures, in nats per character, are 1.488 for a tanh RNN
of 512, 1.469 for a GRU of 256 and 1.509 for an LSTM of 256.

    python benchmarks/tiny_shakespeare.py --cell LSTM --log lstm.jsonl     # twenty epochs
    python benchmarks/tiny_shakespeare.py --cell LSTM --race 50            # how fast, beside torch.nn

UNSPOOL_DATA names the folder that has tiny-shakespeare/input.txt.

Each epoch appends a line to the log and replaces the checkpoint beside it, from which --resume continues.
"""

import argparse
import json
import os
import time
from itertools import cycle
from pathlib import Path

import torch
from measure import machine, race
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspool import nn

WINDOW, STRIDE, BATCH, EMBEDDING, LAYERS, RATE = 128, 64, 64, 256, 2, 3e-4
HIDDEN = {"Elman": 512, "GRU": 256, "LSTM": 256}
PUBLISHED = {"Elman": 1.488, "GRU": 1.469, "LSTM": 1.509}
PEERS = {"Elman": torch.nn.RNN, "GRU": torch.nn.GRU, "LSTM": torch.nn.LSTM}


class Network(torch.nn.Module):
    """An embedding, two recurrent layers and a linear head: from tokens, (T, B), to scores, (T, B, vocabulary)."""

    def __init__(self, cell: str, vocabulary: int, peer: bool) -> None:
        super().__init__()
        layer = PEERS[cell] if peer else getattr(nn, cell)
        self.embedding = torch.nn.Embedding(vocabulary, EMBEDDING)
        self.rnn = layer(EMBEDDING, HIDDEN[cell], LAYERS)
        self.head = torch.nn.Linear(HIDDEN[cell], vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0])


def windows(tokens: Tensor) -> Tensor:
    """Windows, (windows, WINDOW + 1); the first WINDOW tokens of each are the input, the last WINDOW the target."""
    return tokens.unfold(0, WINDOW + 1, STRIDE)


def read(path: Path) -> tuple[Tensor, Tensor, int]:
    """The training and validation windows, and the size of the vocabulary; the last tenth is left for a test."""
    text = path.read_text()
    vocabulary = sorted(set(text))
    tokens = torch.tensor([vocabulary.index(character) for character in text])
    tenth = len(tokens) // 10
    return windows(tokens[: 8 * tenth]), windows(tokens[8 * tenth : 9 * tenth]), len(vocabulary)


def loss_of(network: Network, batch: Tensor) -> Tensor:
    """The mean nats per character of a batch of windows."""
    tokens = batch.T
    return cross_entropy(network(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())


def update(network: Network, optimiser: torch.optim.Optimizer, batch: Tensor) -> float:
    loss = loss_of(network, batch)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def train(network: Network, optimiser: torch.optim.Optimizer, data: Tensor, seed: int) -> float:
    """Train for one epoch, and return the mean loss. The order of the windows depends on the seed alone."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    losses = [update(network, optimiser, data[chosen]) for chosen in order.split(BATCH)]
    return sum(losses) / len(losses)


@torch.no_grad()
def evaluate(network: Network, data: Tensor) -> float:
    """The mean nats per character over all windows."""
    return sum(loss_of(network, batch).item() * len(batch) for batch in data.split(BATCH)) / len(data)


def save(path: Path, network: Network, optimiser: torch.optim.Optimizer, progress: dict) -> None:
    """Save the weights and Adam's averages; the file is complete or absent."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for k, averages in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{k}.{name}": tensor for name, tensor in averages.items()}
    beside = path.with_suffix(".part")
    save_file(tensors, beside, {"progress": json.dumps(progress)})
    os.replace(beside, path)


def resume(path: Path, network: Network, optimiser: torch.optim.Optimizer) -> dict:
    """Restore the weights and Adam's averages, and return the progress that was saved."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        progress = json.loads(file.metadata()["progress"])
    network.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("network.")})
    state = optimiser.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, k, average = name.split(".")
            state["state"].setdefault(int(k), {})[average] = tensor
    optimiser.load_state_dict(state)
    return progress


def create(cell: str, vocabulary: int, peer: bool, seed: int) -> tuple[Network, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = Network(cell, vocabulary, peer)
    return network, torch.optim.Adam(network.parameters(), RATE)


def learn(args: argparse.Namespace) -> None:
    """Train for all epochs, and write a line of the log for each."""
    training, validation, vocabulary = read(args.text)
    network, optimiser = create(args.cell, vocabulary, args.peer, args.seed)
    log = args.log or Path(f"build/tiny_shakespeare_{args.cell}{'_torch' if args.peer else ''}_{args.seed}.jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = log.with_suffix(".safetensors")
    progress = {"epoch": 0, "best": float("inf"), "seconds": 0.0}
    if args.resume and checkpoint.exists():
        progress = resume(checkpoint, network, optimiser)
    print(f"{machine()}\n{args.cell}, {'torch.nn' if args.peer else 'ours'}, log {log}", flush=True)
    for epoch in range(progress["epoch"] + 1, args.epochs + 1):
        start = time.perf_counter()
        loss = train(network, optimiser, training, 1000 * args.seed + epoch)
        seconds = progress["seconds"] + time.perf_counter() - start
        nats = evaluate(network, validation)
        progress = {"epoch": epoch, "best": min(progress["best"], nats), "seconds": seconds}
        save(checkpoint, network, optimiser, progress)
        record = {"cell": args.cell, "peer": args.peer, "seed": args.seed, "train": loss, "validation": nats} | progress
        with log.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"epoch {epoch:2}  train {loss:.4f}  validation {nats:.4f}  {seconds:.0f} s of training", flush=True)
    print(f"best validation {progress['best']:.3f} nats per character; published {PUBLISHED[args.cell]:.3f}")


def compare_speed(args: argparse.Namespace) -> None:
    """Time training batches with our layers and with torch.nn's, which take turns."""
    training, _, vocabulary = read(args.text)
    batches = cycle(training[torch.randperm(len(training))].split(BATCH)[:-1])
    sides = {}
    for name, peer in {"ours": False, "torch": True}.items():
        network, optimiser = create(args.cell, vocabulary, peer, args.seed)
        sides[name] = lambda network=network, optimiser=optimiser: update(network, optimiser, next(batches))
    taken = race(sides, calls=args.race)
    epoch = len(training) / BATCH / 60
    print(machine())
    for name, seconds in taken.items():
        print(f"{args.cell} {name:5}  {1e3 * seconds:.1f} ms per batch, {epoch * seconds:.2f} min per epoch")
    print(f"ours is {taken['torch'] / taken['ours']:.2f} times as fast")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("UNSPOOL_DATA", "data"))
    parser.add_argument("--text", type=Path, default=folder / "tiny-shakespeare" / "input.txt")
    parser.add_argument("--cell", choices=HIDDEN, default="LSTM")
    parser.add_argument("--peer", action="store_true", help="torch.nn's layers instead of ours")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint beside the log")
    parser.add_argument("--race", type=int, metavar="N", help="only time N training batches, with ours and torch.nn's")
    return parser.parse_args()


if __name__ == "__main__":
    args = arguments()
    compare_speed(args) if args.race else learn(args)
