"""The n-gram baseline."""

import os
from pathlib import Path

import numpy as np
import pytest

from unspool.data import vocabulary
from unspool.tasks.ngram import NGram


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
    # Bigrams ab ab ba: c(ab) = 2, c(ba) = 1; one n-gram seen once, one twice, none more often.
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
    # The next token is the one four before: nothing shorter knows.
    rng = np.random.default_rng(1)
    tokens = list(rng.integers(0, 4, 4))
    for _ in range(8000):
        tokens.append(tokens[-4] if rng.random() < 0.95 else rng.integers(0, 4))
    tokens = np.array(tokens)
    bits = [NGram(tokens[:7000], 4, order).bits(tokens[7000:]) for order in (1, 4, 5)]
    assert bits[0] > 1.9 and bits[1] > 1.9 and bits[2] < 0.6


def test_order_fits_into_63_bits():
    assert NGram(np.arange(100) % 9, 6000).order == 5
    assert NGram(np.arange(100) % 9, 10_001).order == 4


def test_texts_shorter_than_the_order():
    model = NGram(np.array([1, 1]), 3)
    assert model.bits(np.array([1, 1])) < model.bits(np.array([1, 2]))
    assert np.isfinite(model.bits(np.array([2, 0, 0])))


def test_published_anchors_on_tiny_shakespeare():
    """The interpolated 1…5-grams of the published protocol, in nats a character: ours are as good or better."""
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
