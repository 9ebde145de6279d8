"""The linear-chain conditional random field on NumPy arrays: what a trained one predicts. This needs no PyTorch.

A path y of n tags has the probability p(y) = exp(s(y)) / Z (Lafferty, McCallum & Pereira 2001), with the score

    s(y) = start[y[0]] + Σ_t e[t, y[t]] + Σ_t A[y[t-1], y[t]] + end[y[n-1]]

and Z the sum of exp(s) over all paths of that length. The emissions e are what a network says of each step. The
functions below take them as (T, B, K): T steps, B sequences, K tags. Arithmetic is in float64 whatever their dtype is.
The results of a sequence are the same to the last bit in any batch, in any order, and on any number of threads. They
are exact sums over all paths, by the two recursions that native/sequences/chain.h explains.

>>> import numpy as np
>>> chain = Chain(transitions=np.array([[1.0, 0.0], [-np.inf, 1.0]]), start=np.zeros(2), end=np.zeros(2))
>>> emissions = np.array([[0.5, 0.0], [0.0, 1.0], [3.0, 0.0]])[:, None]
>>> decode(chain, emissions)[:, 0].tolist()
[0, 0, 0]
>>> marginals(chain, emissions)[:, 0].round(3).tolist()
[[0.929, 0.071], [0.885, 0.115], [0.869, 0.131]]
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _native
from .arguments import integer
from .errors import ArgumentTypeError, UnspoolError

Tags = int | Collection[int]


class Chain(NamedTuple):
    """The potentials of a chain, -∞ where something is forbidden; or bools that say what is allowed."""

    transitions: Any  # A, (K, K), from the tag of the row to the tag of the column
    start: Any  # (K,), of the first tag
    end: Any  # (K,), of the last tag


class Span(NamedTuple):
    """The event that steps `first`, `first + 1`, … of a sequence have these tags, and its neighbours have not others.

    tags: for each step of the span a tag, or a set of tags of which it has one.
    not_before: the tags that the step before the span must not have; nothing is asked if the span begins the sequence.
    not_after: the tags that the step after the span must not have; nothing is asked if the span ends the sequence.
    """

    sequence: int
    first: int
    tags: Sequence[Tags]
    not_before: Collection[int] = ()
    not_after: Collection[int] = ()


class Paths(NamedTuple):
    """The best paths of each sequence, the best one first."""

    tags: Any  # (T, B, N); -1 in the padding, and where a sequence has fewer than N paths
    log_probability: Any  # log p(y), (B, N); -∞ where there is no path


class _Problem(NamedTuple):
    """What all kernels are given."""

    emissions: np.ndarray
    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray
    lengths: np.ndarray | None
    threads: int


def log_partition(chain: Chain, emissions: Any, lengths: Any = None, *, threads: int = 1) -> np.ndarray:
    """log Z of each sequence, (B,); 0 for an empty one.

    Args:
        chain: its potentials.
        emissions: e, floats (T, B, K).
        lengths: (B,) integers 0..T, after which comes padding; T if None.
        threads: the number of threads.
    Raises:
        UnspoolError: an argument is wrong, which the message names, or a sequence has no path of a finite score.
    """
    problem = _problem(chain, emissions, lengths, threads)
    return _forward(problem, None)


def marginals(chain: Chain, emissions: Any, lengths: Any = None, *, threads: int = 1) -> np.ndarray:
    """p(y[t] = k), (T, B, K), which are 0 in the padding; the arguments and errors are those of `log_partition`."""
    problem = _problem(chain, emissions, lengths, threads)
    T, B, K = problem.emissions.shape
    alpha, out = np.empty((T, (B + 7) // 8 * 8, K)), np.empty((T, B, K))
    _forward(problem, alpha)
    one = np.ones(B)
    _native.chain_backward(**problem._asdict(), alpha=alpha, dvalue=one, demissions=out)
    return out


def decode(chain: Chain, emissions: Any, lengths: Any = None, *, threads: int = 1) -> np.ndarray:
    """The tags of the most probable path, int64 (T, B), -1 in the padding (Viterbi 1967).

    Of paths with the same score the one with the lower tag is taken, compared from the last step to the first. The
    arguments and errors are those of `log_partition`.
    """
    tags, _ = _best(_problem(chain, emissions, lengths, threads), 1)
    return tags[:, :, 0]


def n_best(chain: Chain, emissions: Any, n: int, lengths: Any = None, *, threads: int = 1) -> Paths:
    """The n most probable paths, and the logarithms of their probabilities.

    `decode` says which of equal scores comes first. Other arguments and errors are those of `log_partition`.
    """
    problem = _problem(chain, emissions, lengths, threads)
    tags, scores = _best(problem, integer("n", n, 1, (1 << 30) // problem.emissions.shape[2]))
    return Paths(tags, scores - _forward(problem, None)[:, None])


def span_posterior(
    chain: Chain, emissions: Any, spans: Sequence[Span], lengths: Any = None, *, threads: int = 1
) -> np.ndarray:
    """The probability of each span, (S,): the sum of p(y) over all paths that meet it (Culotta & McCallum 2004).

    For example, in the BIO scheme a name of the steps 3 and 4 is `Span(b, 3, [B, I], not_after=[I])`. Its probability
    is exact, not a product of marginals. Other arguments and errors are those of `log_partition`.
    """
    problem = _problem(chain, emissions, lengths, threads)
    T, B, K = problem.emissions.shape
    _forward(problem, None)
    ends = [T] * B if problem.lengths is None else problem.lengths.tolist()
    order = sorted(range(len(spans)), key=lambda s: _sequence(s, spans[s], B))
    places, sets = [], [np.empty((0, K), bool)]
    for s in order:
        first, rows = _sets(s, spans[s], ends[spans[s].sequence], K)
        places.append(first)
        sets.append(rows)
    owners = [spans[s].sequence for s in order]
    found = np.empty(len(spans))
    _native.chain_spans(
        **problem._asdict(),
        first_span=np.searchsorted(owners, np.arange(B + 1)).astype(np.int64),
        first_step=np.array(places, np.int64),
        first_set=np.cumsum([len(rows) for rows in sets], dtype=np.int64),
        sets=np.concatenate(sets).view(np.uint8),
        probability=found,
    )
    out = np.empty(len(spans))
    out[order] = found
    return out


def _problem(chain: Chain, emissions: Any, lengths: Any, threads: int) -> _Problem:
    """Check the arguments, and widen the numbers."""
    e = _floats("emissions", emissions)
    if e.ndim != 3 or e.shape[0] == 0 or e.shape[2] == 0:
        raise UnspoolError(f"emissions must be (T, B, K) with T ≥ 1 and K ≥ 1; got shape {e.shape}")
    T, B, K = e.shape
    A, start, end = chain
    return _Problem(
        emissions=e,
        transitions=_floats("transitions", A, (K, K)),
        start=_floats("start", start, (K,)),
        end=_floats("end", end, (K,)),
        lengths=_lengths(lengths, T, B),
        threads=integer("threads", threads, 1, 2**15),
    )


def _floats(name: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise ArgumentTypeError(f"{name} must be floats; got {array.dtype}")
    if shape is not None and array.shape != shape:
        raise UnspoolError(f"{name} must have shape {shape}, as emissions have K={shape[0]}; got {array.shape}")
    return np.ascontiguousarray(array, np.float64)


def _lengths(value: Any, T: int, B: int) -> np.ndarray | None:
    if value is None:
        return None
    rule = f"lengths must be integers in 0..T={T}, one per sequence (B={B})"
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and array.size:
        raise ArgumentTypeError(f"{rule}; got {array.dtype}")
    if array.shape != (B,):
        raise UnspoolError(f"{rule}; got shape {array.shape}")
    if B and (array.min() < 0 or array.max() > T):
        raise UnspoolError(f"{rule}; got values from {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def _forward(problem: _Problem, alpha: np.ndarray | None) -> np.ndarray:
    value = np.empty(problem.emissions.shape[1])
    _native.chain_forward(**problem._asdict(), value=value, alpha=alpha)
    _finite(value)
    return value


def _best(problem: _Problem, n: int) -> tuple[np.ndarray, np.ndarray]:
    T, B, _ = problem.emissions.shape
    paths, scores = np.empty((T, B, n), np.int64), np.empty((B, n))
    _native.chain_best(**problem._asdict(), paths=paths, scores=scores)
    _finite(scores[:, 0])
    return paths, scores


def _finite(values: np.ndarray) -> None:
    """Refuse sequences without a path; `values` are their log Z or their best scores."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        rule = "emissions must leave each sequence a path whose score is finite"
        why = "they are not numbers, or no path of its length is allowed"
        raise UnspoolError(f"{rule}; those of sequence {wrong[0]} leave none: {why}")


def _sequence(s: int, span: Span, B: int) -> int:
    return integer(f"sequence of span {s}", span.sequence, 0, B - 1)


def _sets(s: int, span: Span, length: int, K: int) -> tuple[int, np.ndarray]:
    """The first step and the sets of tags, (·, K) bool, of a span and of what is asked of its neighbours."""
    first, steps = integer(f"first of span {s}", span.first, 0), len(span.tags)
    if steps == 0 or first + steps > length:
        rule = f"span {s} must have a step at least, and end within its sequence of length {length}"
        raise UnspoolError(f"{rule}; got {steps} steps from {first} on")
    rows = np.zeros((steps + 2, K), bool)
    for row, tags in zip(rows, (span.not_before, *span.tags, span.not_after), strict=True):
        for tag in tags if isinstance(tags, Collection) else (tags,):
            row[integer(f"a tag of span {s}", tag, 0, K - 1)] = True
    rows[[0, -1]] ^= True
    before = first > 0 and len(span.not_before) > 0
    after = first + steps < length and len(span.not_after) > 0
    return first - before, rows[1 - before : 1 + steps + after]
