"""The conditional random field: every result against the sum over all paths, and the laws that it keeps."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import F32, F64, FLOOR, TOLERANCE, assert_same, law_option_matters

from unspool import UnspoolError, _native, chain, nn
from unspool.chain import Chain, Span
from unspool.ops import chain as op

EXACT = 1e-12  # of probabilities, and of logarithms beside their largest
SIZES = [(1, 1, 1), (2, 3, 2), (7, 9, 5), (40, 17, 9), (13, 8, 33), (5, 2, 70)]  # T, B, K


class Drawn(NamedTuple):
    """A chain, emissions (T, B, K) with NaN in their padding, and the lengths."""

    chain: Chain
    emissions: np.ndarray
    lengths: np.ndarray

    def alone(self, b: int) -> np.ndarray:
        return self.emissions[: self.lengths[b], b : b + 1]


def draw(T: int, B: int, K: int, seed: int = 0, forbidden: float = 0.0, scale: float = 1.0) -> Drawn:
    """With transitions, first and last tags forbidden at random; a path that never changes its tag 0 is not."""
    random = np.random.default_rng(seed)
    parts = [scale * random.normal(size=shape) for shape in ((K, K), K, K)]
    for part in parts:
        part[random.random(part.shape) < forbidden] = -np.inf
        part.flat[0] = 0.0
    lengths = random.integers(0, T, B, endpoint=True)
    lengths[random.integers(B)] = T
    emissions = scale * random.normal(size=(T, B, K))
    emissions[np.arange(T)[:, None] >= lengths] = np.nan
    return Drawn(Chain(*parts), emissions, lengths)


drawn = st.builds(
    draw,
    T=st.integers(1, 5),
    B=st.integers(1, 3),
    K=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    forbidden=st.sampled_from([0.0, 0.4]),
    scale=st.sampled_from([1.0, 30.0]),
)


def paths(d: Drawn, b: int) -> dict[tuple[int, ...], float]:
    """The score of each path of sequence b, which is not empty."""
    (A, start, end), e = d.chain, d.alone(b)[:, 0]
    return {
        y: start[y[0]]
        + sum(e[t, k] for t, k in enumerate(y))
        + sum(A[i, j] for i, j in itertools.pairwise(y))
        + end[y[-1]]
        for y in itertools.product(range(e.shape[1]), repeat=len(e))
    }


def log_sum(scores: Any) -> float:
    scores = list(scores)
    most = max(scores, default=-math.inf)
    return most if most == -math.inf else most + math.log(math.fsum(math.exp(s - most) for s in scores))


def close(actual: Any, expected: Any, tolerance: float = EXACT) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=_native.instruction_sets())
def each_set(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _native.instruction_set()
    _native.use(request.param)
    yield
    _native.use(before)


# Against the sum over all paths


@given(drawn)
def test_log_z_marginals_and_gradients(d: Drawn) -> None:
    K = d.emissions.shape[2]
    log_z = chain.log_partition(d.chain, d.emissions, d.lengths)
    unary = chain.marginals(d.chain, d.emissions, d.lengths)
    pairs, first, last = np.zeros((K, K)), np.zeros(K), np.zeros(K)
    for b, n in enumerate(d.lengths):
        assert not unary[n:, b].any()
        if n == 0:
            assert log_z[b] == 0
            continue
        scores = paths(d, b)
        close(log_z[b], log_sum(scores.values()))
        expected = np.zeros((n, K))
        for y, s in scores.items():
            p = math.exp(s - log_z[b])
            expected[np.arange(n), y] += p
            np.add.at(pairs, (y[:-1], y[1:]), p)
            first[y[0]] += p
            last[y[-1]] += p
        close(unary[:n, b], expected)
    gradients = torch_gradients(d)
    close(gradients["emissions"], unary)
    for name, value in (("transitions", pairs), ("start", first), ("end", last)):
        close(gradients[name], value)


def tensors(d: Drawn, dtype: torch.dtype = F64) -> dict[str, torch.Tensor]:
    named = {"emissions": d.emissions} | d.chain._asdict()
    return {name: torch.tensor(v, dtype=dtype, requires_grad=True) for name, v in named.items()}


def torch_gradients(d: Drawn, above: Any = None, tags: Any = None) -> dict[str, torch.Tensor]:
    """The value and its gradients, by the operator."""
    leaves = tensors(d)
    lengths = torch.from_numpy(d.lengths)
    if tags is None:
        value = op.log_partition(*leaves.values(), lengths)
    else:
        value = op.negative_log_likelihood(*leaves.values(), tags, lengths)
    above = torch.ones_like(value) if above is None else above
    found = torch.autograd.grad(value, list(leaves.values()), above)
    return {"value": value.detach()} | dict(zip(leaves, found, strict=True))


@given(drawn, st.integers(1, 20))
def test_decode_and_n_best(d: Drawn, n: int) -> None:
    best = chain.n_best(d.chain, d.emissions, n, d.lengths)
    decoded = chain.decode(d.chain, d.emissions, d.lengths)
    np.testing.assert_array_equal(decoded, best.tags[:, :, 0])
    for b, length in enumerate(d.lengths):
        assert (best.tags[length:, b] == -1).all()
        scores = paths(d, b) if length else {(): 0.0}
        log_z = log_sum(scores.values())
        possible = {y: s for y, s in scores.items() if s > -math.inf}
        expected = sorted((s - log_z for s in possible.values()), reverse=True)[:n]
        found = [tuple(best.tags[:length, b, k].tolist()) for k in range(len(expected))]
        assert len(set(found)) == len(found)
        close(best.log_probability[b, : len(expected)], expected, 1e-10)
        close([possible[y] - log_z for y in found], expected, 1e-10)
        assert (best.log_probability[b, len(expected) :] == -np.inf).all()
        assert (best.tags[:, b, len(expected) :] == -1).all()


def test_ties_go_to_the_lower_tag() -> None:
    flat = Chain(np.zeros((3, 3)), np.zeros(3), np.zeros(3))
    assert not chain.decode(flat, np.zeros((4, 2, 3))).any()
    best = chain.n_best(flat, np.zeros((2, 1, 3)), 9)
    # The last tag counts first, the one before it next.
    assert best.tags[::-1, 0].T.tolist() == [list(y) for y in itertools.product(range(3), repeat=2)]


@given(drawn, st.data())
def test_span_posterior(d: Drawn, data: st.DataObject) -> None:
    K = d.emissions.shape[2]
    sets = st.sets(st.integers(0, K - 1))
    spans = []
    for _ in range(data.draw(st.integers(0, 4))):
        b = data.draw(st.sampled_from(np.flatnonzero(d.lengths).tolist()))
        first = data.draw(st.integers(0, int(d.lengths[b]) - 1))
        steps = data.draw(st.integers(1, int(d.lengths[b]) - first))
        tags = [data.draw(st.one_of(st.integers(0, K - 1), sets)) for _ in range(steps)]
        spans.append(Span(b, first, tags, data.draw(sets), data.draw(sets)))
    found = chain.span_posterior(d.chain, d.emissions, spans, d.lengths)
    assert found.shape == (len(spans),)
    for p, span in zip(found, spans, strict=True):
        scores = paths(d, span.sequence)
        inside = [s for y, s in scores.items() if meets(y, span)]
        close(p, math.exp(log_sum(inside) - log_sum(scores.values())))


def meets(y: tuple[int, ...], span: Span) -> bool:
    end = span.first + len(span.tags)
    within = all(k in (t if isinstance(t, set) else {t}) for k, t in zip(y[span.first :], span.tags, strict=False))
    before = span.first == 0 or y[span.first - 1] not in span.not_before
    return within and before and (end == len(y) or y[end] not in span.not_after)


# The operator


@pytest.mark.usefixtures("unwritten_is_nan", "each_set")
@pytest.mark.parametrize("forbidden", [0.0, 0.3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_loop(size: tuple[int, int, int], forbidden: float) -> None:
    d = draw(*size, forbidden=forbidden)
    tags = torch.randint(size[2], size[:2])
    tags[:, :] = torch.where(torch.from_numpy(~np.isnan(d.emissions[:, :, 0])), tags if not forbidden else 0, -5)
    above = torch.randn(size[1], dtype=F64)
    actual = torch_gradients(d, above, tags)
    leaves = tensors(d)
    value = op.loop(op.Call(*leaves.values(), tags, torch.from_numpy(d.lengths)))
    expected = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()), above), strict=True))
    assert_same(actual, {"value": value.detach()} | expected, TOLERANCE[F64])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own jvp
@pytest.mark.parametrize("labelled", [False, True])
def test_derivatives(labelled: bool) -> None:
    d = draw(4, 3, 3)
    d.emissions[np.isnan(d.emissions)] = 7.0
    tags = torch.randint(3, (4, 3)) if labelled else None

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        return op.value(op.Call(*inputs, tags, torch.from_numpy(d.lengths)))

    inputs = tuple(tensors(d).values())
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)
    rows = torch.autograd.grad(value(*inputs), inputs[0], torch.eye(3, dtype=F64), is_grads_batched=True)[0]
    for b, row in enumerate(rows):
        close(row, torch.autograd.grad(value(*inputs)[b], inputs[0])[0])
    tangents = tuple(torch.randn_like(v) for v in inputs)
    _, forward = torch.func.jvp(value, tuple(v.detach() for v in inputs), tangents)
    backward = torch.autograd.grad(value(*inputs), inputs, torch.ones(3, dtype=F64))
    close(forward.sum(), sum((g * t).sum() for g, t in zip(backward, tangents, strict=True)).detach())


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("labelled", [False, True])
def test_the_operator_is_registered_rightly(labelled: bool, dtype: torch.dtype) -> None:
    d = draw(4, 9, 3)
    d.emissions[np.isnan(d.emissions)] = 7.0
    tags = torch.randint(3, (4, 9)) if labelled else None
    for lengths in (None, torch.from_numpy(d.lengths)):
        arguments = (*tensors(d, dtype).values(), tags, lengths)
        torch.library.opcheck(torch.ops.unspool.chain.default, (*arguments, True))
        plain = tuple(a.detach() if a is not None else None for a in arguments)
        value, alpha = torch.ops.unspool.chain(*plain, True)
        torch.library.opcheck(torch.ops.unspool.chain_backward.default, (*plain, alpha, value))
    with pytest.raises(ValueError, match="save=True"):
        torch.ops.unspool.chain_backward(*plain, torch.ops.unspool.chain(*plain, False)[1], value)
    with pytest.raises(ValueError, match=r"alpha must be .* of shape"):
        torch.ops.unspool.chain_backward(*plain, alpha[1:], value)


def test_float32_is_as_exact_as_it_can_be() -> None:
    """Law 3: at most twice the error of plain torch, plus the floor."""
    d = draw(50, 8, 9, scale=3.0)
    tags = torch.zeros(50, 8, dtype=torch.int64)
    lengths = torch.from_numpy(d.lengths)
    results = {}
    for name, run, dtype in (("ours", op.value, F32), ("torch", op.loop, F32), ("exact", op.loop, F64)):
        leaves = tensors(Drawn(Chain(*(v.astype("f4") for v in d.chain)), d.emissions.astype("f4"), d.lengths), dtype)
        value = run(op.Call(*leaves.values(), tags, lengths))
        results[name] = [value.detach(), *torch.autograd.grad(value.sum(), list(leaves.values()))]
    for ours, theirs, exact in zip(*results.values(), strict=True):
        size = max(1.0, float(exact.norm()))
        assert float((ours - exact).norm()) / size <= 2 * float((theirs - exact).norm()) / size + FLOOR[F32]


def test_compiled_and_traced_it_is_one_operator() -> None:
    d = draw(6, 5, 4)
    crf = nn.ConditionalRandomField(4, dtype=F64)
    e, tags = torch.tensor(np.nan_to_num(d.emissions)), torch.randint(4, (6, 5))
    lengths = torch.from_numpy(d.lengths)
    compiled = torch.compile(crf, fullgraph=True, backend="aot_eager")
    close(compiled(e, tags, lengths=lengths).detach(), crf(e, tags, lengths=lengths).detach())
    compiled(e, tags, lengths=lengths).backward()
    assert crf.transitions.grad is not None
    mapped = torch.func.vmap(lambda e, tags: crf(e, tags))(e.unsqueeze(2).transpose(0, 1), tags.T.unsqueeze(2))
    close(mapped.detach(), crf(e, tags, reduction="none").detach())


# Each sequence alone


@pytest.mark.usefixtures("each_set")
@pytest.mark.parametrize("forbidden", [0.0, 0.3])
def test_a_sequence_has_the_same_bits_in_any_batch_and_on_any_threads(forbidden: float) -> None:
    d = draw(30, 21, 6, seed=3, forbidden=forbidden, scale=20.0)
    spans = [Span(b, int(n) // 2, [{0, 1}, 0][: int(n) - int(n) // 2], [2], [3]) for b, n in enumerate(d.lengths) if n]
    order = np.random.default_rng(0).permutation(21)

    def everything(e: np.ndarray, lengths: np.ndarray, spans: list[Span], threads: int) -> list[np.ndarray]:
        arguments = {"lengths": lengths, "threads": threads}
        tags, log = chain.n_best(d.chain, e, 3, **arguments)
        unary = chain.marginals(d.chain, e, **arguments)
        posterior = chain.span_posterior(d.chain, e, spans, **arguments)
        return [chain.log_partition(d.chain, e, **arguments), log, posterior, tags, unary]

    whole = everything(d.emissions, d.lengths, spans, 1)
    same = lambda a, b: [np.testing.assert_array_equal(x, y) for x, y in zip(a, b, strict=True)]  # noqa: E731
    same(everything(d.emissions, d.lengths, spans, 2), whole)
    places = {b: k for k, b in enumerate(order.tolist())}
    moved = [s._replace(sequence=places[s.sequence]) for s in spans]
    log_z, log, posterior, tags, unary = whole
    other = everything(d.emissions[:, order], d.lengths[order], moved, 1)
    same(other, [log_z[order], log[order], posterior, tags[:, order], unary[:, order]])
    for b, n in enumerate(d.lengths):
        if n == 0:
            continue
        own = [k for k, s in enumerate(spans) if s.sequence == b]
        alone = everything(d.alone(b), d.lengths[b : b + 1], [spans[k]._replace(sequence=0) for k in own], 1)
        same(alone, [log_z[[b]], log[[b]], posterior[own], tags[:n, [b]], unary[:n, [b]]])


def test_gradients_have_the_same_bits_on_any_number_of_threads() -> None:
    d, tags = draw(40, 37, 9), torch.zeros(40, 37, dtype=torch.int64)
    one = torch_gradients(d, tags=tags)
    torch.set_num_threads(2)
    try:
        two = torch_gradients(d, tags=tags)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one[name], two[name]) for name in one)


# Potentials of any size


@pytest.mark.usefixtures("each_set")
@pytest.mark.parametrize("seed", range(4))
def test_large_potentials_and_forced_paths(seed: int) -> None:
    """Of ±10⁴, in which tags that nothing favours become the only ones that are left."""
    d = draw(12, 11, 5, seed, forbidden=0.3, scale=1e4)
    actual = torch_gradients(d)
    leaves = tensors(d)
    value = op.loop(op.Call(*leaves.values(), None, torch.from_numpy(d.lengths)))
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()))
    close(actual["value"], value.detach())
    for name, g in zip(leaves, gradients, strict=True):
        close(actual[name], g, 1e-8)  # 10⁵ has 1e-11
    best = chain.n_best(d.chain, d.emissions, 1, d.lengths)
    close(best.log_probability[:, 0], 0, 1e-7)


def test_a_path_that_is_unlikely_until_its_end() -> None:
    """A forward recursion of exponentials alone loses the tag that the end asks for."""
    forced = Chain(np.array([[0.0, -np.inf], [-np.inf, 0.0]]), np.zeros(2), np.array([-np.inf, 0.0]))
    emissions = np.zeros((1000, 2, 2))
    emissions[:, :, 0] = 3.0
    assert chain.log_partition(forced, emissions).tolist() == [0.0, 0.0]
    close(chain.marginals(forced, emissions), np.broadcast_to([0.0, 1.0], emissions.shape))
    assert (chain.decode(forced, emissions) == 1).all()
    close(chain.span_posterior(forced, emissions, [Span(0, 10, [1] * 500), Span(1, 3, [0])]), [1.0, 0.0])


def test_long_sequences() -> None:
    T, K = 20_000, 4
    still = Chain(np.zeros((K, K)), np.zeros(K), np.zeros(K))
    emissions = np.random.default_rng(0).normal(size=(T, 1, K)) + 100.0
    expected = np.log(np.exp(emissions - 100.0).sum(2)).sum() + 100.0 * T
    close(chain.log_partition(still, emissions), [expected])
    softmax = np.exp(emissions) / np.exp(emissions).sum(2, keepdims=True)
    close(chain.marginals(still, emissions), softmax)


def test_what_is_not_a_number_reaches_the_loss_and_the_gradients() -> None:
    for wrong in (np.nan, np.inf):
        d = draw(4, 3, 3)
        d.emissions[0, d.lengths.argmax()] = wrong
        found = torch_gradients(d)
        b = int(d.lengths.argmax())
        assert found["value"][b].isnan()
        assert found["emissions"][:, b].isnan().any() and found["transitions"].isnan().any()
        with pytest.raises(UnspoolError, match=f"those of sequence {b} leave none"):
            chain.decode(d.chain, d.emissions, d.lengths)


# The layer

BIO = Chain(  # O, B, I
    np.array([[True, True, False], [True, True, True], [True, True, True]]),
    np.array([True, True, False]),
    None,
)


def layer(seed: int = 0, **arguments: Any) -> nn.ConditionalRandomField:
    torch.manual_seed(seed)
    crf = nn.ConditionalRandomField(3, **arguments)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def test_what_is_not_allowed_never_happens() -> None:
    crf = layer(allowed=BIO, dtype=F64)
    emissions = torch.zeros(6, 4, 3, dtype=F64)
    emissions[:, :, 2] = 50.0
    tags = torch.tensor([1, 2, 2, 0, 0, 1])[:, None].expand(6, 4)
    crf(emissions, tags).backward()
    assert crf.transitions.grad is not None and crf.start_transitions.grad is not None
    assert crf.transitions.grad[0, 2] == 0 == crf.start_transitions.grad[2]
    assert crf.decode(emissions)[:, 0].tolist() == [1, 2, 2, 2, 2, 2]
    assert (crf.marginals(emissions)[0, :, 2] == 0).all()
    law_option_matters((crf.marginals(emissions),), (layer(dtype=F64).marginals(emissions),))
    with pytest.raises(UnspoolError, match=r"tags must be allowed; got 0, 2 from step 3 of sequence 1 on"):
        crf(emissions, torch.tensor([[0] * 6, [1, 1, 2, 0, 2, 2], [0] * 6, [0] * 6]).T)
    with pytest.raises(UnspoolError, match=r"tags must be allowed; got 2 from step 0 of sequence 0 on"):
        crf(emissions, torch.full((6, 4), 2))


def test_no_path_is_left() -> None:
    never = (None, np.array([True, False, False]), np.array([False, True, True]))
    crf = layer(allowed=never)
    emissions = torch.zeros(3, 2, 3)
    assert crf.decode(emissions, lengths=[3, 2])[0].tolist() == [0, 0]
    for method in (crf.decode, crf.marginals, lambda e, lengths: crf.n_best(e, 2, lengths=lengths)):
        with pytest.raises(UnspoolError, match=r"those of sequence 1 leave none: .* no path of its length"):
            method(emissions, lengths=[3, 1])


@pytest.mark.parametrize("batch_first", [False, True])
def test_layouts(batch_first: bool) -> None:
    crf = layer(batch_first=batch_first)
    plain = layer()
    e, tags, lengths = torch.randn(7, 4, 3), torch.randint(3, (7, 4)), torch.tensor([7, 1, 0, 4])
    turn = (lambda v: v.transpose(0, 1)) if batch_first else (lambda v: v)
    assert torch.equal(
        crf(turn(e), turn(tags), lengths=lengths, reduction="none"), plain(e, tags, lengths=lengths, reduction="none")
    )
    assert torch.equal(turn(crf.decode(turn(e), lengths=lengths)), plain.decode(e, lengths=lengths))
    assert torch.equal(turn(crf.marginals(turn(e), lengths=lengths)), plain.marginals(e, lengths=lengths))
    theirs = plain.n_best(e, 2, lengths=lengths)
    ours = crf.n_best(turn(e), 2, lengths=lengths)
    assert torch.equal(turn(ours.tags), theirs.tags) and torch.equal(ours.log_probability, theirs.log_probability)
    alone = crf(e[:, 0], tags[:, 0])
    assert alone.shape == () and torch.equal(alone, plain(e[:, :1], tags[:, :1]))
    assert torch.equal(crf.decode(e[:, 0]), plain.decode(e)[:, 0])
    assert torch.equal(crf.n_best(e[:, 0], 2).tags, plain.n_best(e, 2).tags[:, 0])
    assert torch.equal(crf.log_partition(e[:, 0]), plain.log_partition(e)[0])
    assert torch.equal(crf.span_posterior(e[:, 0], [Span(0, 2, [1])]), plain.span_posterior(e, [Span(0, 2, [1])]))


def test_reductions_and_their_sense() -> None:
    crf, e, tags = layer(), torch.randn(5, 3, 3), torch.randint(3, (5, 3))
    each = crf(e, tags, reduction="none")
    torch.testing.assert_close(crf(e, tags, reduction="sum"), each.sum())
    torch.testing.assert_close(crf(e, tags), each.mean())
    assert (each > 0).all()
    best = crf.n_best(e, 1)
    torch.testing.assert_close(
        -crf(e, best.tags[:, :, 0], reduction="none").double(), best.log_probability[:, 0], atol=1e-5, rtol=0
    )


def test_a_chain_is_learnt() -> None:
    """Tags that alternate, and emissions that say nothing: only the transitions can."""
    crf = nn.ConditionalRandomField(2)
    optimiser = torch.optim.Adam(crf.parameters(), 0.3)
    e, tags = torch.zeros(20, 2, 2), torch.tensor([[0, 1]] * 10).flatten()[:, None].expand(20, 2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = crf(e, tags)
        loss.backward()
        optimiser.step()
    assert loss < 0.1 and torch.equal(crf.decode(e), tags)


def test_marginals_can_be_differentiated() -> None:
    crf, e = layer(dtype=F64), torch.randn(4, 2, 3, dtype=F64, requires_grad=True)
    (unary,) = torch.autograd.grad(crf.log_partition(e).sum(), e, create_graph=True)
    torch.testing.assert_close(unary.detach(), crf.marginals(e))
    entropy = -(unary * unary.log()).sum()
    assert torch.autograd.grad(entropy, crf.transitions)[0].abs().sum() > 0


def test_other_dtypes_devices_and_autocast() -> None:
    crf, e, tags = layer(), torch.randn(5, 3, 3), torch.randint(3, (5, 3))
    half = layer(dtype=torch.bfloat16)
    assert abs(half(e.bfloat16(), tags) - crf(e, tags)) < 0.2
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(crf(e.bfloat16(), tags), crf(e.bfloat16().float(), tags))
    assert crf.marginals(e).dtype is F32 and crf.n_best(e, 1).log_probability.dtype is F64
    meta = nn.ConditionalRandomField(3, device="meta")
    assert meta(e.to("meta"), tags.to("meta"), reduction="none").shape == (3,)


def test_state_dicts_have_the_names_of_pytorch_crf() -> None:
    crf = layer(allowed=BIO)
    assert set(crf.state_dict()) == {"transitions", "start_transitions", "end_transitions"}
    assert repr(crf) == "ConditionalRandomField(3, batch_first=False)"


E, TAGS = torch.zeros(5, 2, 3), torch.zeros(5, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda c: nn.ConditionalRandomField(0), "num_tags must be an integer of at least 1; got 0"),
        (lambda c: nn.ConditionalRandomField(2, (None, None, [1, 1])), "allowed end must be bools of shape (2,)"),
        (lambda c: nn.ConditionalRandomField(2, batch_first=1), "batch_first must be a bool; got 1"),
        (lambda c: c(E[:, :, :2], TAGS), "emissions must be floats (T, B, K) or (T, K) with K=3; got (5, 2, 2)"),
        (lambda c: c(E.double(), TAGS), "emissions must be torch.float32, as the parameters are; got torch.float64"),
        (lambda c: c(E, TAGS[1:]), "tags must have shape (5, 2), as emissions without K; got (4, 2)"),
        (lambda c: c(E, TAGS.int()), "tags must be int64; got int32 of shape (5, 2)"),
        (lambda c: c(E, TAGS + 3), "tags must be in 0..K-1=2 within the lengths; got 3 at step 0 of sequence 0"),
        (lambda c: c(E, TAGS, lengths=[5, 6]), "lengths must be integers in 0..T=5, one per sequence (B=2)"),
        (lambda c: c(E, TAGS, reduction="all"), "reduction must be one of none, sum, mean; got 'all'"),
        (lambda c: c(E.tolist(), TAGS), "emissions must be a tensor; got list"),
        (lambda c: c.decode(E[:, 0], lengths=[3]), "lengths must be None where emissions have no batch; got [3]"),
        (lambda c: c.decode(E, lengths=[5, -1]), "lengths must be integers in 0..T=5, one per sequence (B=2); got"),
        (lambda c: c.n_best(E, 0), "n must be an integer from 1 to"),
        (lambda c: c.span_posterior(E, [Span(2, 0, [0])]), "sequence of span 0 must be an integer from 0 to 1; got 2"),
        (lambda c: c.span_posterior(E, [Span(0, 4, [0, 0])]), "span 0 must have a step at least, and end within its"),
        (lambda c: c.span_posterior(E, [Span(0, 4, [3])]), "a tag of span 0 must be an integer from 0 to 2; got 3"),
        (lambda c: op.log_partition(E, *[torch.zeros(3)] * 3), "transitions must have shape (K, K) = (3, 3); got (3,)"),
        (lambda c: chain.decode(Chain(*[np.zeros(3)] * 3), E.numpy()), "transitions must have shape (3, 3)"),
        (lambda c: chain.decode(c.potentials(), [[1]]), "emissions must be floats; got int64"),
    ],
)  # fmt: skip
def test_one_clear_complaint(call: Any, complaint: str) -> None:
    with pytest.raises((UnspoolError, ValueError, TypeError), match=re.escape(complaint)):
        call(nn.ConditionalRandomField(3))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"transitions": np.zeros((3, 2))}, "transitions must have shape (3, 3); got (3, 2)"),
        ({"lengths": np.array([1, 9])}, "lengths must be in 0..T"),
        ({"tags": np.array([[0, 0], [0, 3]])}, "got 3 at step 1 of sequence 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"alpha": np.zeros((2, 2, 3))}, "alpha must have shape (2, 8, 3); got (2, 2, 3)"),
        ({"emissions": np.zeros((2, 2, 3), int)}, "emissions must be of 64 or 32 bits"),
    ],
)
def test_the_binding_checks_what_the_kernels_follow(changes: dict[str, Any], complaint: str) -> None:
    given: dict[str, Any] = {"emissions": np.zeros((2, 2, 3)), "transitions": np.zeros((3, 3)), "start": np.zeros(3)}
    given |= {"end": np.zeros(3), "threads": 1, "value": np.zeros(2)} | changes
    with pytest.raises(ValueError, match=re.escape(complaint)):
        _native.chain_forward(**given)
