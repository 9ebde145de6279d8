"""Metrics of spans, beside seqeval and nervaluate."""

import itertools
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from unspool.tasks import metrics

LABELS = ("PER", "LOC")
BIO = ["O", *(f"{letter}-{label}" for letter in "BI" for label in LABELS)]
BIOES = [*BIO, *(f"{letter}-{label}" for letter in "ES" for label in LABELS)]


def sentences(tags):
    """Pairs of tagged sentences, most of them ill-formed."""
    pair = st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), min_size=1, max_size=9)
    return st.lists(pair, min_size=1, max_size=4).map(
        lambda found: tuple([[tags[k] for tags in one] for one in found] for k in (0, 1))
    )


@given(st.lists(st.sampled_from(BIOES), max_size=12))
def test_spans_are_those_of_seqeval(tags):
    assert [(label, a, b - 1) for a, b, label in metrics.spans(tags)] == get_entities(tags)


@given(st.sampled_from([BIO, BIOES]).flatmap(sentences))
def test_scores_are_those_of_seqeval(pair):
    right, predicted = pair
    found = metrics.span_scores(right, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where nothing is there, or predicted
        theirs = [score(right, predicted) for score in (precision_score, recall_score, f1_score)]
    assert list(found) == pytest.approx(theirs, abs=1e-15)


@given(sentences(BIO))
def test_scores_are_those_of_nervaluate(pair):
    right, predicted = pair
    found = metrics.span_scores(right, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Evaluator(right, predicted, tags=list(LABELS), loader="list").evaluate()["overall"]["strict"]
    assert list(found) == pytest.approx([theirs.precision, theirs.recall, theirs.f1], abs=1e-15)


@given(st.lists(st.sampled_from(BIOES), max_size=9))
def test_a_well_formed_sentence_has_only_tags_that_follow(tags):
    """What is written again from its spans, with the letters of the scheme, is well-formed in it."""
    for scheme, first, inner, last, single in (("BIO", "B", "I", "I", "B"), ("BIOES", "B", "I", "E", "S")):
        again = ["O"] * len(tags)
        for a, b, label in metrics.spans(tags):
            letters = single if b - a == 1 else first + inner * (b - a - 2) + last
            again[a:b] = [f"{letter}-{label}" for letter in letters]
        whole = ["O", *again, "O"]
        assert all(metrics.follows(x, y, scheme) for x, y in itertools.pairwise(whole))
        assert metrics.spans(again) == metrics.spans(tags)


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", ["O", "I-PER", "O"]),
        ("BIO", ["B-PER", "I-LOC"]),
        ("BIOES", ["B-PER", "O"]),
        ("BIOES", ["B-PER"]),
        ("BIOES", ["B-PER", "S-PER"]),
        ("BIOES", ["S-PER", "E-PER"]),
    ],
)
def test_an_ill_formed_sentence_has_tags_that_do_not_follow(scheme, tags):
    whole = ["O", *tags, "O"]
    assert not all(metrics.follows(x, y, scheme) for x, y in itertools.pairwise(whole))


def test_surface_forms_count_once():
    words = [["Ada", "met", "Bo"], ["Ada", "Li"], ["Ada"]]
    right = [["B-PER", "O", "B-PER"], ["B-PER", "I-PER"], ["B-PER"]]
    predicted = [["B-PER", "O", "O"], ["B-PER", "B-PER"], ["B-PER"]]
    found = metrics.surface_scores(words, right, predicted)  # Ada; of Ada, Li against Ada, Bo, Ada Li
    assert found == (1 / 2, 1 / 3, 2 / 5)


def test_accuracy():
    assert metrics.accuracy([["a", "b"], ["c"]], [["a", "a"], ["c"]]) == 2 / 3


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [(BIO, "BIO"), (BIOES, "BIOES"), (["O"], None), (["NOUN", "B-PER"], None), ([1, 2], None), (["B-"], None)],
)
def test_schemes(tags, scheme):
    assert metrics.scheme_of(tags) == scheme
