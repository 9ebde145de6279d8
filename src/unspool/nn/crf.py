"""The conditional random field: the last layer of a network that tags each step of a sequence."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import flag, integer, one_of
from ..chain import Chain, Paths, Span, decode, marginals, n_best, span_posterior
from ..errors import ArgumentTypeError, UnspoolError
from ..ops import chain, check
from ..ops.problem import Lengths
from .arguments import check_tensors

REDUCTIONS = {"none": lambda v: v, "sum": torch.sum, "mean": torch.mean}


class ConditionalRandomField(torch.nn.Module):
    """Linear-chain conditional random field (Lafferty, McCallum & Pereira 2001): tags that depend on each other.

        p(y) = exp(s(y)) / Z,   s(y) = start[y[0]] + Σ_t e[t, y[t]] + Σ_t A[y[t-1], y[t]] + end[y[n-1]]

    The emissions e come from a network, and Z is the sum of exp(s) over all paths y of the sequence's length n, which
    the forward recursion makes: α[t] = e[t] + log Σ_i exp(α[t-1, i] + A[i]). The parameters have the names that the
    package pytorch-crf gave them: `transitions` is A, from the row's tag to the column's, `start_transitions` and
    `end_transitions` are the others. They begin with zeros, as a softmax of each step alone.

    >>> import torch, unspool
    >>> crf = unspool.nn.ConditionalRandomField(5)
    >>> emissions, tags = torch.zeros(20, 4, 5), torch.zeros(20, 4, dtype=torch.int64)
    >>> round(crf(emissions, tags).item(), 4)  # 20 log 5
    32.1888
    >>> crf.decode(emissions, lengths=[20, 3, 1, 0])[:, 1].tolist()[:4]
    [0, 0, 0, -1]

    Args:
        num_tags: K, the number of tags.
        allowed: three masks of bools (transitions, start, end), (K, K), (K,) and (K,), or `unspool.chain.Chain`s of
            them, True where a pair of tags, a first or a last tag is allowed; each can be None. What is not allowed
            has probability 0, and its potential no gradient.
        batch_first: whether emissions and tags are (B, T, ·) instead of (T, B, ·).
        device, dtype: those of the parameters.
    Raises:
        ValueError or TypeError: an argument is wrong. The message names it, what it must be, and what came.

    All methods take the emissions, floats (T, B, K), or (B, T, K) with `batch_first`, or (T, K), and their `lengths`,
    (B,) integers 0..T, after which there can be anything. Those but `forward` and `log_partition` give results without
    gradients, computed by `unspool.chain` in float64, and raise where a sequence has no path that is allowed.
    """

    allowed_transitions: Tensor | None
    allowed_start: Tensor | None
    allowed_end: Tensor | None

    def __init__(
        self,
        num_tags: int,
        allowed: Chain | Sequence[Any] | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_tags = K = integer("num_tags", num_tags, 1)
        self.batch_first = flag("batch_first", batch_first)
        self.start_transitions = torch.nn.Parameter(torch.zeros(K, device=device, dtype=dtype))
        self.end_transitions = torch.nn.Parameter(torch.zeros(K, device=device, dtype=dtype))
        self.transitions = torch.nn.Parameter(torch.zeros(K, K, device=device, dtype=dtype))
        for name, mask in zip(Chain._fields, _masks(allowed, K), strict=True):
            value = None if mask is None else torch.from_numpy(mask).to(device)
            self.register_buffer(f"allowed_{name}", value, persistent=False)

    def potentials(self) -> Chain:
        """A, start and end, with -∞ where something is not allowed: what `unspool.chain` takes, as tensors."""
        whole = (self.transitions, self.start_transitions, self.end_transitions)
        masks = (self.allowed_transitions, self.allowed_start, self.allowed_end)
        return Chain(*(v if m is None else torch.where(m, v, -torch.inf) for v, m in zip(whole, masks, strict=True)))

    def forward(
        self, emissions: Tensor, tags: Tensor, *, lengths: Lengths | None = None, reduction: str = "mean"
    ) -> Tensor:
        """The negative log-likelihood of the tags, log Z - s(tags), which is the loss.

        Args:
            emissions, lengths: as said above.
            tags: int64 0..K-1, of the shape of emissions without K; anything in the padding.
            reduction: "none" for one number for each sequence, (B,) or (), or their "sum" or "mean".
        Raises:
            ValueError: an argument is wrong, or tags contain what is not allowed.
        """
        check_tensors(emissions=emissions, tags=tags)
        one_of("reduction", reduction, tuple(REDUCTIONS))
        axes = tuple(emissions.shape[:-1])
        if tags.shape != axes:
            raise UnspoolError(f"tags must have shape {axes}, as emissions without K; got {tuple(tags.shape)}")
        e, tags = self._time_first(emissions, lengths), self._time_first(tags, lengths)
        potentials = self._as_emissions(e)
        value = chain.negative_log_likelihood(e.to(potentials[0].dtype), *potentials, tags, lengths)
        if _has_numbers(value) and value.isposinf().any():
            self._refuse(tags, lengths, int(value.isposinf().nonzero()[0]))
        return REDUCTIONS[reduction](value if emissions.ndim == 3 else value[0])

    def log_partition(self, emissions: Tensor, *, lengths: Lengths | None = None) -> Tensor:
        """log Z of each sequence, (B,) or (); its gradient by the emissions is `marginals`, which has one, too."""
        e = self._time_first(emissions, lengths)
        potentials = self._as_emissions(e)
        value = chain.log_partition(e.to(potentials[0].dtype), *potentials, lengths)
        return value if emissions.ndim == 3 else value[0]

    def decode(self, emissions: Tensor, *, lengths: Lengths | None = None) -> Tensor:
        """The most probable path (Viterbi 1967), int64, of the shape of emissions without K; -1 in the padding.

        Of paths with the same score it is the one with the lower tag, compared from the last step to the first.
        """
        return self._like(emissions, self._run(decode, emissions, lengths=lengths))

    def n_best(self, emissions: Tensor, n: int, *, lengths: Lengths | None = None) -> Paths:
        """The n most probable paths, best first.

        Returns:
            tags, int64, of the shape of emissions, but with n instead of K, -1 in the padding and where there are fewer
            paths, and log_probability, float64, (B, n) or (n,).
        """
        tags, log = self._run(n_best, emissions, n, lengths=lengths)
        logs = torch.from_numpy(log).to(emissions.device)
        return Paths(self._like(emissions, tags), logs if emissions.ndim == 3 else logs[0])

    def marginals(self, emissions: Tensor, *, lengths: Lengths | None = None) -> Tensor:
        """p(y[t] = k), of the shape and dtype of emissions; 0 in the padding.

        They are made by the recursion and its reverse, β[t, i] = log Σ_j exp(A[i, j] + e[t+1, j] + β[t+1, j]) (Rabiner
        1989), as p(y[t]) = exp(α[t] + β[t]) / Z.
        """
        return self._like(emissions, self._run(marginals, emissions, lengths=lengths)).to(emissions.dtype)

    def span_posterior(self, emissions: Tensor, spans: Sequence[Span], *, lengths: Lengths | None = None) -> Tensor:
        """The exact probability of each `unspool.chain.Span`, float64 (S,) (Culotta & McCallum 2004).

        >>> import torch, unspool
        >>> from unspool.chain import Span
        >>> O, B, I = range(3)
        >>> crf = unspool.nn.ConditionalRandomField(3)
        >>> crf.span_posterior(torch.zeros(9, 3), [Span(0, 4, [B, I], not_after=[I])]).mul(27).round().tolist()
        [2.0]
        """
        return torch.from_numpy(self._run(span_posterior, emissions, spans, lengths=lengths)).to(emissions.device)

    def _run(self, function: Any, emissions: Tensor, *arguments: Any, lengths: Lengths | None) -> Any:
        """Call a function of `unspool.chain` with arrays."""
        e = self._time_first(emissions, lengths)
        arrays = Chain(*(_array(p) for p in self.potentials()))
        n = lengths.cpu().numpy() if isinstance(lengths, Tensor) else lengths
        return function(arrays, _array(e), *arguments, n, threads=torch.get_num_threads())

    def _time_first(self, x: Tensor, lengths: Lengths | None) -> Tensor:
        """Check emissions, or tags of a shape that is known, and lay them out as (T, B, ·)."""
        check_tensors(emissions=x)
        K, axes = self.num_tags, x.ndim - x.is_floating_point()
        if axes not in (1, 2) or (x.is_floating_point() and x.shape[-1] != K):
            layout = "(B, T, K)" if self.batch_first else "(T, B, K)"
            raise UnspoolError(
                f"emissions must be floats {layout} or (T, K) with K={K}; got {tuple(x.shape)} {x.dtype}"
            )
        if axes == 1 and lengths is not None:
            raise UnspoolError(f"lengths must be None where emissions have no batch; got {lengths}")
        return x.unsqueeze(1) if axes == 1 else x.transpose(0, 1) if self.batch_first else x

    def _like(self, emissions: Tensor, result: np.ndarray) -> Tensor:
        """A result (T, B, ·) in the layout and on the device of the emissions."""
        out = torch.from_numpy(result).to(emissions.device)
        if emissions.ndim == 2:
            return out[:, 0]
        return out.transpose(0, 1) if self.batch_first else out

    def _as_emissions(self, e: Tensor) -> Chain:
        """The potentials; torch.autocast may have given the emissions another dtype than theirs, which they keep."""
        dtype = self.transitions.dtype
        if e.dtype is not dtype and not (not e.is_meta and torch.is_autocast_enabled(e.device.type)):
            raise ArgumentTypeError(f"emissions must be {dtype}, as the parameters are; got {e.dtype}")
        return self.potentials()

    def _refuse(self, tags: Tensor, lengths: Lengths | None, b: int) -> None:
        """Say which tags of sequence b are not allowed, if there are any."""
        y = tags[: len(tags) if lengths is None else int(lengths[b]), b].tolist()
        pairs = [(self.allowed_transitions, pair, t) for t, pair in enumerate(pairwise(y))]
        for mask, k, t in ((self.allowed_start, y[:1], 0), *pairs, (self.allowed_end, y[-1:], len(y) - 1)):
            if mask is not None and not mask[tuple(k)]:
                got = ", ".join(map(str, k))
                raise UnspoolError(f"tags must be allowed; got {got} from step {t} of sequence {b} on")

    def extra_repr(self) -> str:
        return f"{self.num_tags}, batch_first={self.batch_first}"


def _masks(allowed: Any, K: int) -> list[np.ndarray | None]:
    """Check the masks; arrays of their own."""
    if allowed is None:
        return [None] * 3
    masks = []
    for name, mask, shape in zip(Chain._fields, allowed, ((K, K), (K,), (K,)), strict=True):
        value = None if mask is None else np.array(mask)
        if value is not None and (value.dtype != bool or value.shape != shape):
            raise UnspoolError(f"allowed {name} must be bools of shape {shape}; got {value.dtype} of {value.shape}")
        masks.append(value)
    return masks


def _has_numbers(t: Tensor) -> bool:
    """Whether its numbers may be looked at, which nothing that watches for operators or maps them allows."""
    watched = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or t.is_meta
    return not watched and check.transforms() is None


def _array(t: Tensor) -> np.ndarray:
    return t.detach().to("cpu", torch.float64).numpy()
