"""Logits become predictions and figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.deferral.scores import SCORES
from shared.errors import EngineError
from shared.vision.tasks import classification
from shared.vision.tasks.logits import Logits

LOGITS = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 9)), elements=st.floats(-80, 80, width=32))


@given(LOGITS)
def test_a_prediction_names_the_highest_logit_and_its_probabilities_sum_to_one(logits: Logits) -> None:
    for row, prediction in zip(logits, classification.decode(logits), strict=True):
        assert prediction.index == int(row.argmax())
        assert sum(prediction.probabilities) == pytest.approx(1.0)
        assert max(prediction.probabilities) == prediction.probabilities[prediction.index]


def test_huge_logits_do_not_overflow() -> None:
    assert classification.softmax(np.array([[1e4, -1e4]], np.float32)).tolist() == [[1.0, 0.0]]


def test_accuracy_confusion_and_recall_count() -> None:
    logits = np.array([[2, 1, 0], [0, 3, 1], [0, 3, 1], [5, 0, 0]], np.float32)
    labels = np.array([0, 1, 0, 0])
    counts = classification.confusion(classification.predicted(logits), labels, 3)
    assert classification.accuracy(logits, labels) == 0.75
    assert classification.accuracy(logits[:0], labels[:0]) == 0.0
    assert counts.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert classification.class_recall(counts)[:2].tolist() == [pytest.approx(2 / 3), 1.0]


@given(LOGITS, st.sampled_from(sorted(SCORES)))
def test_scores_are_finite_one_per_row_and_blind_to_the_order_of_classes(logits: Logits, name: str) -> None:
    scores = SCORES[name](logits)
    assert scores.shape == (len(logits),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(SCORES[name](logits[:, ::-1]), scores, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_clear_winner_looks_surer_than_a_tie(name: str) -> None:
    sure, tie = SCORES[name](np.array([[9, 0, 0], [1, 1, 1]], np.float32))
    assert sure > tie


def test_small_and_large_batches_score_to_the_same_bit() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (500, 7)).astype(np.float32)
    for score in SCORES.values():
        assert np.array_equal(score(logits), np.concatenate([score(row[None]) for row in logits]))


def test_one_class_has_no_margin() -> None:
    with pytest.raises(EngineError, match="two classes"):
        SCORES["margin"](np.zeros((2, 1), np.float32))
