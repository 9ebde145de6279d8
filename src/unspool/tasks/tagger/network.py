"""The network of a tagger, for training.

    w[t] = [words[row]; characters(word); vectors[word]]        or numbers as they are
    x[t] = [w[t]; 1-of-K of the tag before]                     the latter with feedback
    s[t] = head(y[t]),  y = recurrent(x)

The characters of a word go through a recurrent network of both directions, which gives what its head makes of the last
state of each: `characters(word) = a[n-1] + b[0]`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...network import Network
from ...nn import ConditionalRandomField
from ..readout import Readout
from ..sequence_network import SequenceNetwork

READER = Readout("last", True)  # how the reader's sums are read
_RARE = 0.25  # a word that occurs n times is unknown with probability RARE / (RARE + n) (Kiperwasser & Goldberg 2016)


class TaggerNetwork(Network):
    """The network that tags, whose names of weights have no prefix, and its parts.

    Dropout acts on what is read of words, as it does on an embedding, but not on numbers.

    Args:
        config: of the network that tags.
        parts: `characters`, the configuration of the reader; `words` and `vectors`, empty, for tables of words;
            `chain`, empty, for a conditional random field. Each can be missing.
        shapes: of the tables, (rows, columns), by name.
        feedback: K if the tag before is read; else 0.
        allowed: as for `ConditionalRandomField`.
    """

    of_rows: Tensor
    of_numbers: Tensor
    of_times: Tensor
    of_spellings: Tensor
    of_spelled: Tensor

    def __init__(
        self,
        config: Mapping[str, Any],
        parts: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, int]],
        feedback: int = 0,
        allowed: Any = None,
    ):
        super().__init__(config)
        self.parts, self.feedback = parts, feedback
        self.characters = SequenceNetwork(READER, parts["characters"]) if "characters" in parts else None
        self.words = torch.nn.Embedding(*shapes["words"]) if "words" in parts else None
        self.vectors = torch.nn.Embedding(*shapes["vectors"]) if "vectors" in parts else None
        self.chain = ConditionalRandomField(self.outputs, allowed) if "chain" in parts else None
        if self.words is not None:
            torch.nn.init.normal_(self.words.weight, std=self.words.embedding_dim**-0.5)
        if self.vectors is not None:
            self.vectors.weight.requires_grad_(False)

    def prepare(self, rows: Tensor, numbers: Tensor, times: Tensor, spellings: Tensor, lengths: Tensor) -> None:
        """Tell what each distinct word of the data is; what `forward` gets are numbers of these.

        Args:
            rows, numbers: of the word in the two tables, (n,).
            times: how often it occurs in the training part, (n,).
            spellings, lengths: its characters, (n, longest), and how many they are, (n,).
        """
        told = {"rows": rows, "numbers": numbers, "times": times, "spellings": spellings, "spelled": lengths}
        for name, value in told.items():
            self.register_buffer(f"of_{name}", value, persistent=False)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The sums s of each step, (T, B, K).

        Args:
            x: distinct words by number, (T, B), or numbers, (T, B, I); with feedback, words as (T, B, 2), each with
                the tag before it, which at the first step is -1.
        """
        if x.is_floating_point():
            return super().forward(x, state, lengths=lengths, reset=reset)
        read = self._read(x[..., 0] if self.feedback else x)
        if self.feedback:
            read.append(functional.one_hot(x[..., 1] + 1, self.feedback + 1)[..., 1:].to(self.head.weight.dtype))
        return super().forward(self.dropout(torch.cat(read, -1)), state, lengths=lengths, reset=reset)

    def _read(self, x: Tensor) -> list[Tensor]:
        """What is read of each word."""
        read = []
        if self.words is not None:
            rows = self.of_rows[x]
            if self.training:
                unknown = torch.rand(x.shape, device=x.device) * (_RARE + self.of_times[x]) < _RARE
                rows = rows.masked_fill(unknown, 0)
            read.append(self.words(rows))
        if self.characters is not None:
            distinct, inverse = x.unique(return_inverse=True)
            read.append(functional.embedding(inverse, self._spell(self.characters, distinct)))
        if self.vectors is not None:
            read.append(self.vectors(self.of_numbers[x]))
        return read

    def _spell(self, reader: Network, distinct: Tensor) -> Tensor:
        """The reader's features of these words, (n, F)."""
        lengths = self.of_spelled[distinct]
        return reader(self.of_spellings[distinct, : int(lengths.max())].T.contiguous(), lengths=lengths)[0]
