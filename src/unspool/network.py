"""Networks: front end → recurrent layers → head, and how they are written down in a saved folder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from . import nn
from .arguments import integer, number, one_of
from .errors import UnspoolError

CELLS = {"elman": nn.Elman, "jordan": nn.Jordan, "gru": nn.GRU, "lstm": nn.LSTM}
FRONTS = ("one-hot", "embedding")
HEADS = ("linear",)


class Network(torch.nn.Module):
    """Front end → recurrent layers → head.

        e = front(x);  y, state = recurrent(e, state);  logits = head(y)

    Its configuration is a dictionary of three, which `config` keeps:

        front      {"kind": "one-hot", "size": I}                 tokens 0..I-1, straight into the first recurrent layer
                   {"kind": "embedding", "tokens": K, "size": I}  tokens 0..K-1, each a vector of I features
        recurrent  {"cell": "elman" | "jordan" | "gru" | "lstm", "hidden_size": H, "num_layers": L, "dropout": p}
        head       {"kind": "linear", "size": O}

    Dropout acts in training mode, on the embedding, between recurrent layers, and before the head, never through time
    (Zaremba, Sutskever & Vinyals 2014). Jordan's layers have as many outputs as hidden units.

    Raises:
        UnspoolError: the configuration is not of this form.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = config
        front, recurrent, head = (_section(config, name) for name in ("front", "recurrent", "head"))
        one_of("kind", front.get("kind"), FRONTS)
        one_of("cell", recurrent.get("cell"), tuple(CELLS))
        one_of("kind", head.get("kind"), HEADS)
        embedded = front["kind"] == "embedding"
        width, hidden = _size(front, "size"), _size(recurrent, "hidden_size")
        layers = integer("num_layers", recurrent.get("num_layers"), 1, 2**10)
        dropout = number("dropout", recurrent.get("dropout"), below=1)
        self.inputs = _size(front, "tokens") if embedded else width
        self.outputs = _size(head, "size")
        self.front = torch.nn.Embedding(self.inputs, width) if embedded else None
        outputs = {"output_size": hidden} if recurrent["cell"] == "jordan" else {}
        self.recurrent = CELLS[recurrent["cell"]](
            width, hidden, num_layers=layers, dropout=dropout if layers > 1 else 0.0, **outputs
        )
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(hidden, self.outputs)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Logits and the next state.

        Args:
            x: tokens, int64, (T, B).
            state: as returned, to go on; None at the beginning.
            lengths: (B,), how many steps of each sequence are not padding.
            reset: (T, B) bool, where a new sequence begins.
        Returns:
            logits, (T, B, O), and the last state.
        """
        y, state = self._recur(x, state, {"lengths": lengths, "reset": reset})
        return self.head(self.dropout(y)), state

    def _recur(self, x: Tensor, state: Any, options: dict[str, Any]) -> tuple[Tensor, Any]:
        if self.front is None:
            return self.recurrent(x, state, **options)
        dropped = self.training and self.dropout.p > 0
        if dropped or x.numel() < self.inputs:
            return self.recurrent(self.dropout(self.front(x)), state, **options)
        # Fewer tokens in the vocabulary than in x: W_ih e once for each of those, and x goes in 1-of-k.
        w_ih = (self.recurrent.weight_ih_l0 @ self.front.weight.T).to(self.front.weight.dtype)
        return functional_call(self.recurrent, {"weight_ih_l0": w_ih}, (x, state), options)


def restore(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Network:
    """The network of a configuration with these weights; nothing is allocated before all their shapes agree.

    Raises:
        UnspoolError: weights are missing, too many, of another shape, or not float32.
    """
    with torch.device("meta"):
        network = Network(config)
    wanted = {name: (tuple(value.shape), np.float32) for name, value in network.state_dict().items()}
    given = {name: (value.shape, value.dtype) for name, value in weights.items()}
    different = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if different:
        raise UnspoolError(f"weights and network do not fit together: {', '.join(different)}")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return network.eval()


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(config, Mapping) or not isinstance(config.get(name), Mapping):
        raise UnspoolError(f"network must have a section {name!r}; got {config!r:.80}")
    return config[name]


def _size(section: Mapping[str, Any], name: str) -> int:
    return integer(name, section.get(name), 1, 2**24)
