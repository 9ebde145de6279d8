"""Networks that give outputs of whole sequences, for training; `readout` has the same for what is trained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..network import Network
from .options import WORDS
from .readout import Readout


class SequenceNetwork(Network):
    """A network that gives the outputs of whole sequences, (B, O), of which `how` says how they are read.

    The states are read before dropout and the head, so that these have to do with a few of them instead of all. The
    embedding of a word begins with a length of about 1, as of rare ones hardly more is learnt than this; with few
    different tokens, as letters are, its numbers begin in N(0, 1).
    """

    def __init__(self, how: Readout, config: Mapping[str, Any]):
        super().__init__(config)
        self.how = how
        if isinstance(self.front, torch.nn.Embedding) and self.front.num_embeddings > WORDS:
            torch.nn.init.normal_(self.front.weight, std=self.front.embedding_dim**-0.5)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The outputs of each sequence, (B, O), and the last state; the arguments are those of `Network`."""
        given = {"lengths": lengths, "reset": reset}
        y, state = self._recur(x, state, {name: value for name, value in given.items() if value is not None})
        lengths = None if lengths is None or self._window else self.architecture.lengths(lengths)
        return self._out(y, lengths), state

    @property
    def _window(self) -> int:
        """The window of an mlp whose last state alone is read, which needs no other step; else 0."""
        windows = self.architecture.options.get("window", ())
        return windows[0] if windows and max(windows[1:], default=1) == 1 and self.how.last_alone else 0

    def _run(self, x: Tensor, state: Any, options: dict[str, Tensor]) -> tuple[Tensor, Any]:
        if not self._window:
            return super()._run(x, state, options)
        T, B, I = x.shape
        past, lengths = self._window - 1, options.get("lengths")
        seen = torch.cat([x.new_zeros(past, B, I), x])
        if lengths is None:
            seen = seen[T - 1 :]
        else:
            steps = lengths - 1 + torch.arange(self._window, device=x.device)[:, None]
            rows = steps * B + torch.arange(B, device=x.device)
            seen = seen.reshape(-1, I).index_select(0, rows.reshape(-1)).reshape(-1, B, I)
        empty = x.new_zeros(0, B, self.architecture.hidden_size)
        return self.recurrent(seen[past:], (seen[:past], *[empty] * (self.architecture.num_layers - 1)))

    def _out(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        """The outputs of states y, (T, B, F), which are 0 after the end of a sequence."""
        T, B, F = y.shape
        read = []
        if self.how.pooling != "mean":
            first = torch.arange(B, device=y.device)
            last = (T - 1 if lengths is None else lengths - 1) * B + first
            at = torch.cat([last, first]) if self.how.bidirectional else last
            # Of rows: the gradient of y[t, b] would be made element by element.
            read.append(y.reshape(T * B, F).index_select(0, at))
        if self.how.pooling != "last":
            read.append(y.sum(0) / (T if lengths is None else lengths[:, None]))
        s = self.head(self.dropout(torch.cat(read)))
        parts = s.chunk(self.how.parts, 1)
        return torch.stack([part[k * B : (k + 1) * B] for k, part in enumerate(parts)]).sum(0)
