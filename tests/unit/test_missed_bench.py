"""The bench of missed defects: what counts as caught, and that it says what to build first."""

from pathlib import Path

import numpy as np
import pytest

from shared.deferral.missed import SCORES
from shared.errors import InputError
from shared.vision.boxes import Detections
from shared.vision.tasks.precision import Truth
from tests.bench import missed


def test_caught_counts_boards_among_the_least_sure_up_to_what_may_be_deferred() -> None:
    lost = np.array([True, True, False, False, False, False, False, False])
    assert missed.caught(np.arange(8.0), lost) == 1
    assert missed.caught(-np.arange(8.0), lost) == 0
    assert missed.caught(np.array([0.0, 9, 1, 2, 3, 4, 5, 6]), lost) == 0.5  # three may be deferred: the first lost one is among them
    assert missed.caught(np.arange(8.0), np.zeros(8, bool)) == 1
    low, high = missed.interval(np.array([0.0, 9, 1, 2, 3, 4, 5, 6]), lost, 200)
    assert 0 <= low <= 0.5 <= high <= 1


def test_a_signal_of_what_became_no_box_catches_what_the_boxes_do_not_tell() -> None:
    box = np.array([[0, 0, 9, 9], [20, 20, 30, 30]], np.float32)
    truth = [Truth(boxes=box, classes=np.zeros(2, np.int64))] * 4
    found = [
        Detections(boxes=box, scores=np.array(scores, np.float32), classes=np.zeros(2, np.int64))
        for scores in ([0.9, 0.2], [0.6, 0.5], [0.7, 0.7], [0.9, 0.8])
    ]
    searched = missed.Searched(found=found, truth=truth, groups=("seen",) * 4, threshold=0.4)
    assert searched.lost().tolist() == [True, False, False, False]
    assert missed.caught(searched.scores(SCORES["nothing_missed"]), searched.lost()) == 1
    assert missed.caught(searched.scores(SCORES["least_sure_box"]), searched.lost()) == 0
    assert missed.caught(searched.scores(missed.mean_box), searched.lost()) == 0


def test_without_a_detector_it_says_how_to_build_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="there is no detector") as told:
        missed.run(full=False)
    assert "TASK=detection" in str(told.value)
