"""The sides of the tagging job of `jobs.py`: `Tagger` beside a BiLSTM-CRF of plain torch.nn.

Both have the same features, sizes and hyperparameters: an embedding of each word, an LSTM of both directions over its
characters, an LSTM of both directions over the words, and a conditional random field, whose recursions the plain side
has as loops over the steps, all sequences of a batch at once. It packs sequences, and reads each distinct word of a
batch once, as ours does. `torch.nn` draws its batches at random, as a plain loop does; `torch.nn-sorted` makes them of
sentences of similar length, as ours does.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jobs_sides import SIZES, Calls, Clock, Part, epochs_of, pieces

EMBEDDING, LETTER, READER, SPELLED, HIDDEN, DROPOUT = 100, 32, 64, 100, 128, 0.5
RARE = 0.25  # a word that occurs n times is unknown with probability RARE / (RARE + n)
LONGEST = 32  # characters; of a longer word the first half of them, and the last


def fit_unspool(job: dict[str, Any], data: dict[str, Part], out: Path) -> list[tuple[float, float]]:
    """`Tagger`, whose own validation is the accuracy."""
    from unspool import Tagger, Training

    training = Training(batch_size=job["batch"])
    model = Tagger(epochs=job["epochs"], learning_rate=job["rate"], random_state=job["seed"], training=training)
    sizes = (model.embedding_size, model.hidden_size, model.dropout, model.cell, model.bidirectional, model.output)
    assert sizes == (EMBEDDING, HIDDEN, DROPOUT, "lstm", None, "crf")
    clock = Clock()

    def watch(progress: Any) -> None:
        if progress.validation is not None:
            clock.score(lambda: 1 - progress.validation)

    model.fit(*ours(data["train"]), validation=ours(data["valid"]), watch=watch)
    model.save(out / "folder")
    return clock.scores


def ours(part: Part) -> tuple[list[list[str]], list[list[int]]]:
    words, tags = (pieces(part[name], part["offsets"]) for name in ("values", "y"))
    return [x.tolist() for x in words], [y.tolist() for y in tags]


def predict_unspool(job: dict[str, Any], part: Part, out: Path) -> Calls:
    """The saved half, which needs no PyTorch; what it keeps of words that it has read is forgotten before each call."""
    from unspool.tasks.tagger import saved

    model, X = saved.load(out / "folder"), ours(part)[0]

    def predict() -> np.ndarray:
        model.spelled.clear()
        return np.concatenate(model.predict(X))

    return {len(X): predict}


def tagger(job: dict[str, Any]) -> Any:
    """The network of a plain PyTorch user."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nn, K = torch.nn, job["classes"]
            self.words = nn.Embedding(len(job["known"]) + 1, EMBEDDING)
            nn.init.normal_(self.words.weight, std=EMBEDDING**-0.5)
            self.letters = nn.Embedding(len(job["letters"]) + 2, LETTER)
            self.reader = nn.LSTM(LETTER, READER, batch_first=True, bidirectional=True)
            self.spelled = nn.Linear(2 * READER, SPELLED)
            self.recurrent = nn.LSTM(EMBEDDING + SPELLED, HIDDEN, batch_first=True, bidirectional=True)
            self.dropout = nn.Dropout(DROPOUT)
            self.head = nn.Linear(2 * HIDDEN, K)
            self.start, self.end = nn.Parameter(torch.zeros(K)), nn.Parameter(torch.zeros(K))
            self.transitions = nn.Parameter(torch.zeros(K, K))

        def forward(self, words: Any, spellings: Any, spelled: Any, lengths: Any) -> Any:
            """The emissions (B, T, K) of distinct words: their rows (B, T), characters (n, longest), lengths (n,)."""
            rows, which = words
            letters = pack_padded_sequence(self.letters(spellings), spelled, batch_first=True, enforce_sorted=False)
            _, (h, _) = self.reader(letters)
            read = self.spelled(torch.cat([h[0], h[1]], 1))
            e = self.dropout(torch.cat([self.words(rows), read[which]], 2))
            y, _ = self.recurrent(pack_padded_sequence(e, lengths, batch_first=True, enforce_sorted=False))
            return self.head(self.dropout(pad_packed_sequence(y, batch_first=True)[0]))

        def loss(self, e: Any, tags: Any, there: Any) -> Any:
            """The sum of log Z - s(tags)."""
            rows = torch.arange(len(e))
            last = there.sum(1) - 1
            score = self.start[tags[:, 0]] + self.end[tags[rows, last]]
            score = score + (e.gather(2, tags[:, :, None])[:, :, 0] * there).sum(1)
            score = score + (self.transitions[tags[:, :-1], tags[:, 1:]] * there[:, 1:]).sum(1)
            a = self.start + e[:, 0]
            for t in range(1, e.shape[1]):
                after = torch.logsumexp(a[:, :, None] + self.transitions, 1) + e[:, t]
                a = torch.where(there[:, t, None], after, a)
            return (torch.logsumexp(a + self.end, 1) - score).sum()

        def decode(self, e: Any, there: Any) -> Any:
            """The likeliest tags, (B, T)."""
            a, came = self.start + e[:, 0], []
            for t in range(1, e.shape[1]):
                best, from_ = (a[:, :, None] + self.transitions).max(1)
                a = torch.where(there[:, t, None], best + e[:, t], a)
                came.append(torch.where(there[:, t, None], from_, torch.arange(e.shape[2])))
            tags = [(a + self.end).argmax(1)]
            for from_ in reversed(came):
                tags.append(from_.gather(1, tags[-1][:, None])[:, 0])
            return torch.stack(tags[::-1], 1)

    return Network()


class Sentences:
    """A part as tensors, a sentence in each item of the lists: distinct words by number, and their tags."""

    def __init__(self, job: dict[str, Any], part: Part) -> None:
        import torch

        words, which = np.unique(part["values"], return_inverse=True)
        known = {word: row for row, word in enumerate(job["known"], 1)}
        letters = {letter: k for k, letter in enumerate(job["letters"], 2)}
        rows = np.array([known.get(word, known.get(word.lower(), 0)) for word in words])
        texts = [w if len(w) <= LONGEST else w[: LONGEST // 2] + w[-LONGEST // 2 :] for w in words]
        spelled = np.array([len(text) for text in texts])
        spellings = np.zeros((len(words), spelled.max()), np.int64)
        spellings[np.arange(spelled.max()) < spelled[:, None]] = [letters.get(k, 1) for text in texts for k in text]
        self.rows, self.spellings, self.spelled = map(torch.from_numpy, (rows, spellings, spelled))
        self.times = torch.tensor([0, *job["times"]])[self.rows]
        self.words, self.tags = (
            [torch.from_numpy(x) for x in pieces(values, part["offsets"])] for values in (which, part["y"])
        )
        self.lengths = torch.from_numpy(np.diff(part["offsets"]))

    def batch(self, network: Any, chosen: Any) -> tuple[Any, Any, Any]:
        """The emissions, the tags, and where there are any."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        words, tags = (
            pad_sequence([of[k] for k in chosen.tolist()], batch_first=True) for of in (self.words, self.tags)
        )
        distinct, which = words.unique(return_inverse=True)
        rows = self.rows[words]
        if network.training:
            rows = rows.masked_fill(torch.rand(rows.shape) * (RARE + self.times[words]) < RARE, 0)
        lengths, spelled = self.lengths[chosen], self.spelled[distinct]
        spellings = self.spellings[distinct, : int(spelled.max())]
        there = torch.arange(words.shape[1]) < lengths[:, None]
        return network((rows, which), spellings, spelled, lengths), tags, there


def fit_torch(
    job: dict[str, Any], data: dict[str, Part], out: Path, by_length: bool = False
) -> list[tuple[float, float]]:
    import torch

    torch.manual_seed(job["seed"])
    clock = Clock()
    train, valid = (Sentences(job, data[name]) for name in ("train", "valid"))
    network = tagger(job)

    def loss(chosen: Any) -> Any:
        return network.loss(*train.batch(network, chosen)) / train.lengths[chosen].sum()

    for _ in epochs_of(job, network, len(train.words), loss, train.lengths if by_length else None):
        accuracy = float((predicted(network, valid, SIZES[1]) == data["valid"]["y"]).mean())
        clock.score(lambda value=accuracy: value)
    torch.save(network.state_dict(), out / "weights.pt")
    return clock.scores


def predicted(network: Any, part: Sentences, size: int) -> np.ndarray:
    """The tags of all sentences behind each other, which are read in batches of similar length."""
    import torch

    order = part.lengths.argsort(stable=True)
    found: list[Any] = [None] * len(order)
    with torch.inference_mode():
        for chosen in order.split(size):
            e, _, there = part.batch(network, chosen)
            for k, tags in zip(chosen.tolist(), network.decode(e, there), strict=True):
                found[k] = tags[: int(part.lengths[k])].numpy()
    return np.concatenate(found)


def predict_torch(job: dict[str, Any], part: Part, out: Path) -> Calls:
    import torch

    network = tagger(job)
    network.load_state_dict(torch.load(out / "weights.pt"))
    network.eval()
    given = Sentences(job, part)
    return {size: lambda size=size: predicted(network, given, size) for size in SIZES}
