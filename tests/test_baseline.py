"""The n-gram baseline."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unspool.data import vocabulary
from unspool.tasks.language_model.baseline import NGram, _discounts


def test_probabilities_of_all_tokens_add_up_to_one():
    rng = np.random.default_rng(0)
    size = 7
    model = NGram(rng.integers(1, size, 200) // 2, size)
    for n in range(1, 8):
        context = rng.integers(0, size, n)
        p = [model.probabilities(np.append(context, w))[-1] for w in range(size)]
        np.testing.assert_allclose(sum(p), 1, rtol=1e-12)
        assert min(p) > 0


def test_a_worked_example():
    # The bigrams are ab ab ba: c(ab) = 2, c(ba) = 1. One n-gram is seen once, one twice, and none more often.
    model = NGram(np.array([0, 1, 0, 1]), 2, order=2)
    # y = 1 / (1 + 2·1); d(1) = 1 - 2·y·1/1, d(2) = 2 - 3·y·1/1 with absent counts of counts taken as 1.
    d1, d2 = 1 - 2 / 3, 2 - 3 / 3
    # The unigrams count what they follow: both a and b follow one token.
    unigram = 0.5
    np.testing.assert_allclose(
        model.probabilities(np.array([0, 1, 0])), [(2 - d2 + d2 * unigram) / 2, 1 - d1 + d1 * unigram]
    )


def test_what_repeats_is_predicted_and_what_does_not_is_not():
    rng = np.random.default_rng(0)
    period, noise = np.tile(np.arange(6), 50), rng.integers(0, 6, 5000)
    assert NGram(period, 6).bits(period) < 0.05
    assert NGram(noise[:4000], 6).bits(noise[4000:]) == pytest.approx(np.log2(6), abs=0.12)


def test_longer_contexts_are_used():
    # The next token is that of four before; shorter n-grams do not know it.
    rng = np.random.default_rng(1)
    tokens = list(rng.integers(0, 4, 4))
    for _ in range(8000):
        tokens.append(tokens[-4] if rng.random() < 0.95 else rng.integers(0, 4))
    tokens = np.array(tokens)
    bits = [NGram(tokens[:7000], 4, order).bits(tokens[7000:]) for order in (1, 4, 5)]
    assert bits[0] > 1.9 and bits[1] > 1.9 and bits[2] < 0.6


def by_definition(tokens, size, order, text):
    """The probabilities by the formulas of the docstring, with dictionaries."""
    tables = []
    for n in range(1, order + 1):
        seen = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        longer = {tuple(tokens[i : i + n + 1]) for i in range(len(tokens) - n)}
        tables.append(Counter(seen) if n == order else Counter(gram[1:] for gram in longer))
    p = np.full(len(text), 1 / size)
    for n, c in enumerate(tables, start=1):
        d = _discounts(np.array(list(c.values())))
        for i in range(n - 1, len(text)):
            *u, w = text[i - n + 1 : i + 1]
            following = [count for gram, count in c.items() if gram[:-1] == tuple(u)]
            count = c[(*u, w)]
            if following:
                p[i] = (count - d[min(count, 3)] + sum(d[min(k, 3)] for k in following) * p[i]) / sum(following)
    return p[1:]


def test_probabilities_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(100):
        size, order = rng.integers(1, 9), int(rng.integers(1, 7))
        tokens, text = (rng.integers(0, size, rng.integers(2, 50)) for _ in range(2))
        actual = NGram(tokens, size, order).probabilities(text)
        expected = by_definition(tokens.tolist(), size, min(order, len(tokens)), text.tolist())
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_large_vocabulary_is_as_good_as_a_small_one():
    tokens = np.random.default_rng(0).integers(0, 9, 500)
    small, large = NGram(tokens, 9), NGram(tokens * 10_000_000, 90_000_000)
    assert small.order == large.order == 5
    known = np.array([0, 1, 2, 3, 4] * 3)
    assert small.bits(known) == pytest.approx(large.bits(known * 10_000_000), rel=0.2)


def test_texts_shorter_than_the_order():
    model = NGram(np.array([1, 1]), 3)
    assert model.bits(np.array([1, 1])) < model.bits(np.array([1, 2]))
    assert np.isfinite(model.bits(np.array([2, 0, 0])))


def test_published_anchors_on_tiny_shakespeare():
    """The interpolated 1…5-grams of the published protocol, in nats per character: ours are as good or better."""
    folder = os.environ.get("UNSPOOL_DATA")
    if folder is None:
        pytest.skip("UNSPOOL_DATA is not set")
    text = Path(folder, "tiny-shakespeare", "input.txt").read_text(encoding="utf-8")
    N = len(text)
    train, valid = text[: N * 8 // 10], text[N * 8 // 10 : N * 9 // 10]
    v = vocabulary.from_text(train, "char")
    nats = [NGram(v.encode(train), len(v), n).bits(v.encode(valid)) * np.log(2) for n in range(1, 6)]
    np.testing.assert_allclose(nats[:2], [3.307, 2.495], atol=6e-4)
    assert (np.array(nats) <= np.array([3.3075, 2.4955, 2.024, 1.715, 1.615])).all()
    np.testing.assert_allclose(nats[4], 1.5239, atol=1e-4)
