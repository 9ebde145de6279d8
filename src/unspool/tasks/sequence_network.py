"""Networks that give outputs of whole sequences, for training; `readout` has the same for what is trained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..network import Network
from .readout import Readout


class SequenceNetwork(Network):
    """A network that gives the outputs of whole sequences, (B, O), of which `how` says how they are read.

    The states are read before dropout and the head, so that these have to do with a few of them instead of all.
    """

    def __init__(self, how: Readout, config: Mapping[str, Any]):
        super().__init__(config)
        self.how = how

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The outputs of each sequence, (B, O), and the last state; the arguments are those of `Network`."""
        given = {"lengths": lengths, "reset": reset}
        y, state = self._recur(x, state, {name: value for name, value in given.items() if value is not None})
        return self._out(y, None if lengths is None else self.architecture.lengths(lengths)), state

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
