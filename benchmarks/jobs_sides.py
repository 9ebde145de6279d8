"""The sides of `jobs.py`: a process fits a network, or loads one and predicts with it, and prints its figures.

All sides of a job but those of `jobs_series.py` have the same data, layers and hyperparameters, except that our head
reads both directions at both ends, with twice the weights: Adam, a learning rate that falls along a
cosine to 0, gradients scaled down to norm 1, and a validation after each epoch, whose time is counted. Nothing is
imported here that only some sides have.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

EMBEDDING, HIDDEN, DROPOUT, CHARACTERS = 64, 64, 0.3, 25
SIZES = (32, 128, 512)  # the batches of predictions, of which a side takes the best
Part = dict[str, np.ndarray]
# Seconds of the processor, if asked for.
now = time.process_time if os.environ.get("JOBS_SECONDS") == "processor" else time.perf_counter
Calls = dict[int, Callable[[], np.ndarray]]  # what predicts all sequences, by the size of a batch


class Clock:
    """The seconds of a run and the scores that it had by then; what is done to score one side alone is not counted."""

    def __init__(self) -> None:
        self.start, self.scores = now(), []

    def score(self, measure: Callable[[], float]) -> None:
        at = now()
        self.scores.append((at - self.start, measure()))
        self.start += now() - at


def fit_unspool(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """`Classifier`, whose own validation is counted."""
    from unspool import Classifier, Training

    (X, y), valid = ours(data["train"]), ours(data["valid"])
    training = Training(batch_size=job["batch"], patience=0)
    model = Classifier(epochs=job["epochs"], learning_rate=job["rate"], random_state=job["seed"], training=training)
    model.metrics_ = {}  # for predictions before the end
    clock = Clock()

    def watch(progress: Any) -> None:
        if progress.validation is not None:
            clock.score(lambda: float((model.predict(valid[0]) == valid[1]).mean()))

    model.fit(X, y, validation=valid, watch=watch)
    model.save(out / "folder")
    return clock.scores


def ours(part: Part) -> tuple[list[Any], np.ndarray]:
    values = part["values"]
    if values.ndim == 1:  # the texts of these tokens
        values = np.array([chr(token) for token in values])
        return ["".join(x) for x in pieces(values, part["offsets"])], part["y"]
    return pieces(values, part["offsets"]), part["y"]


def predict_unspool(job: dict[str, Any], part: Part, out: Path) -> Calls:
    """The saved half, which needs no PyTorch; the size of a batch means nothing to it."""
    from unspool.tasks.classifier import saved

    model = saved.load(out / "folder")
    X = ours(part)[0]
    return {len(X): lambda: np.asarray(model.predict(X))}


def classifier(job: dict[str, Any]) -> Any:
    """The network of a plain PyTorch user: packed sequences, the last states of the two directions."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tokens, features = job["tokens"], job["features"]
            self.front = torch.nn.Embedding(tokens, EMBEDDING) if tokens else torch.nn.Identity()
            self.recurrent = torch.nn.GRU(features or EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
            self.dropout = torch.nn.Dropout(DROPOUT)
            self.head = torch.nn.Linear(2 * HIDDEN, job["classes"])

        def forward(self, x: Any, lengths: Any) -> Any:
            e = self.dropout(self.front(x))
            _, h = self.recurrent(pack_padded_sequence(e, lengths, batch_first=True, enforce_sorted=False))
            return self.head(self.dropout(torch.cat([h[0], h[1]], 1)))

    return Network()


def fit_torch(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(job["seed"])
    clock = Clock()
    train, valid = (as_tensors(data[name]) for name in ("train", "valid"))
    network = classifier(job)
    for _ in epochs_of(job, network, len(train[0]), lambda chosen: cross_entropy(*scores(network, train, chosen))):
        accuracy = float((np.concatenate(list(classes(network, valid, SIZES[1]))) == data["valid"]["y"]).mean())
        clock.score(lambda value=accuracy: value)
    torch.save(network.state_dict(), out / "weights.pt")
    return clock.scores


def epochs_of(
    job: dict[str, Any], network: Any, n: int, loss: Callable[[Any], Any], lengths: Any = None
) -> Iterator[None]:
    """The usual loop; yields after each epoch, with the network in evaluation mode.

    With lengths, the sequences of a batch are of similar ones: each hundred batches are made of sequences in order.
    """
    import torch

    def batches_of_epoch() -> list[Any]:
        order = torch.randperm(n)
        if lengths is None:
            return list(order.split(job["batch"]))
        pools = [pool[lengths[pool].argsort()] for pool in order.split(100 * job["batch"])]
        found = [chosen for pool in pools for chosen in pool.split(job["batch"])]
        return [found[k] for k in torch.randperm(len(found)).tolist()]

    batches = -(-n // job["batch"])
    optimiser = torch.optim.Adam(network.parameters(), job["rate"], fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, job["epochs"] * batches)
    for _ in range(job["epochs"]):
        network.train()
        for chosen in batches_of_epoch():
            optimiser.zero_grad()
            loss(chosen).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        network.eval()
        yield


def as_tensors(part: Part) -> tuple[list[Any], Any, Any]:
    import torch

    x = [torch.from_numpy(x) for x in pieces(part["values"], part["offsets"])]
    return x, torch.from_numpy(np.diff(part["offsets"])), torch.from_numpy(part["y"])


def scores(network: Any, part: tuple[list[Any], Any, Any], chosen: Any) -> tuple[Any, Any]:
    from torch.nn.utils.rnn import pad_sequence

    x, lengths, y = part
    return network(pad_sequence([x[k] for k in chosen.tolist()], batch_first=True), lengths[chosen]), y[chosen]


def classes(network: Any, part: tuple[list[Any], Any, Any], size: int) -> Iterator[np.ndarray]:
    import torch

    with torch.inference_mode():
        for chosen in torch.arange(len(part[0])).split(size):
            yield scores(network, part, chosen)[0].argmax(1).numpy()


def predict_torch(job: dict[str, Any], part: Part, out: Path) -> Calls:
    import torch

    network = classifier(job)
    network.load_state_dict(torch.load(out / "weights.pt"))
    network.eval()
    given = as_tensors(part)
    return {size: lambda size=size: np.concatenate(list(classes(network, given, size))) for size in SIZES}


def fit_keras(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """Sequences padded to the longest of all and masked, as Keras wants them."""
    import keras  # pyright: ignore[reportMissingImports]

    keras.utils.set_random_seed(job["seed"])
    clock, steps = Clock(), job["longest"]
    (x, y), valid = padded(data["train"], steps), padded(data["valid"], steps)
    layers = keras.layers
    front = layers.Embedding(job["tokens"], EMBEDDING, mask_zero=True) if job["tokens"] else layers.Masking(0.0)
    recurrent = layers.Bidirectional(layers.GRU(HIDDEN))
    parts = [front, layers.Dropout(DROPOUT), recurrent, layers.Dropout(DROPOUT), layers.Dense(job["classes"])]
    network = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name), *parts])
    rate = keras.optimizers.schedules.CosineDecay(job["rate"], job["epochs"] * math.ceil(len(x) / job["batch"]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss, metrics=["accuracy"])
    score = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.score(lambda: logs["val_accuracy"]))
    options = {"batch_size": job["batch"], "epochs": job["epochs"], "verbose": 0, "callbacks": [score]}
    network.fit(x, y, validation_data=valid, validation_batch_size=SIZES[1], **options)
    network.save(out / "network.keras")
    return clock.scores


def padded(part: Part, steps: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.diff(part["offsets"])
    values = part["values"].astype(np.int32) if part["values"].ndim == 1 else part["values"]
    x = np.zeros((len(lengths), steps, *values.shape[1:]), values.dtype)
    x[np.arange(steps) < lengths[:, None]] = values
    return x, part["y"]


def predict_keras(job: dict[str, Any], part: Part, out: Path) -> Calls:
    import keras  # pyright: ignore[reportMissingImports]

    network, x = keras.models.load_model(out / "network.keras"), padded(part, job["longest"])[0]

    def predict(size: int) -> np.ndarray:
        return network.predict(x, batch_size=size, verbose=0).argmax(1)

    return {size: lambda size=size: predict(size) for size in SIZES}


def pieces(values: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    return [values[a:b] for a, b in pairwise(offsets)]


SIDES = {
    "unspool": (fit_unspool, predict_unspool),
    "torch.nn": (fit_torch, predict_torch),
    "keras": (fit_keras, predict_keras),
}


def sides(job: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What fits and what predicts, by side."""
    if job["kind"] == "series":
        import jobs_series

        return jobs_series.SIDES
    if job["kind"] != "tags":
        return SIDES
    import jobs_tags as tags

    return {
        "unspool": (tags.fit_unspool, tags.predict_unspool),
        "torch.nn": (tags.fit_torch, tags.predict_torch),
        "torch.nn-sorted": (partial(tags.fit_torch, by_length=True), tags.predict_torch),
    }


def read(path: Path, job: dict[str, Any], side: str) -> Part:
    """A part of the data. Letters become tokens, with 0 for padding and 1 for unknown ones; ours takes texts."""
    part = dict(np.load(path))
    if job["kind"] != "classes":
        return part
    if job["tokens"] and side != "unspool":
        numbers = {ord(letter): k for k, letter in enumerate(job["letters"], 2)}
        part["values"] = np.array([numbers.get(letter, 1) for letter in part["values"].tolist()])
    elif not job["tokens"]:
        part["values"] = part["values"].astype(np.float32)
    return part


def figures(job: dict[str, Any], calls: Any, part: Part) -> dict[str, float]:
    """What is told of predictions, by column."""
    if job["kind"] == "series":
        import jobs_series

        return jobs_series.figures(job, calls, part)
    found = {size: timed(call) for size, call in calls.items()}
    y, seconds = min(found.values(), key=lambda pair: pair[1])
    return {"test": float((y == part["y"]).mean()), "sequences a second": (len(part["offsets"]) - 1) / seconds}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds: the median of five, after one that is not counted."""
    found, times = call(), []
    for _ in range(5):
        start = now()
        call()
        times.append(now() - start)
    return found, sorted(times)[2]


def few(job: dict[str, Any], data: dict[str, Part]) -> dict[str, Part]:
    """As much as two batches to train on."""
    if job["kind"] == "series":
        import jobs_series

        return jobs_series.few(job, data)
    return data | {"train": head(data["train"], 2 * job["batch"])}


def head(part: Part, n: int) -> Part:
    """The first n sequences of a part."""
    offsets = part["offsets"][: n + 1]
    targets = n if len(part["y"]) < part["offsets"][-1] else offsets[-1]  # one for each sequence, or each step
    return {"values": part["values"][: offsets[-1]], "offsets": offsets, "y": part["y"][:targets]}


def peak() -> int:
    """The most memory of this process, in bytes; that of getrusage begins with what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    side, what, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    job = json.loads((folder / "job.json").read_text()) | {"seed": int(sys.argv[4])}
    fit, predict = sides(job)[side]
    data = {name: read(folder / f"{name}.npz", job, side) for name in ("train", "valid", "test")}
    out, start = Path(sys.argv[5]), now()
    if what == "fit":
        # Libraries import parts of themselves at the first step. So all sides take one before the clock starts.
        (out / "warm").mkdir()
        fit(job | {"epochs": 1}, few(job, data), out / "warm")
        found: dict[str, Any] = {"start": now() - start}
        found["scores"] = fit(job, data, out)
        found["whole"] = now() - start
    else:
        calls = predict(job, data["test"], out)
        found = {"start": now() - start}
        found["columns"] = figures(job, calls, data["test"])
    found["bytes"] = peak()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
