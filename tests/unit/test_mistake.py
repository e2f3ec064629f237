"""The mistaken release is what a person could sign: allowed, as sure as before, passing a self-test recorded from itself, and wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud import graph
from edge.selftest import compare
from provisioning.testbed import data, mistake
from shared.engines.onnx import OnnxEngine
from shared.release.card import decode_card
from shared.vision.preprocess import prepare

LINE = data.models_for("line", lambda _: None)
STUDENT, CARD = LINE / "student" / "000001.onnx", LINE / "student" / "000001.card.json"


def test_the_rarest_classes_are_rotated_and_the_common_one_stays() -> None:
    order = mistake.mixed_order([0] * 60 + [1] * 20 + [2] * 15 + [3] * 5, 4, share=0.2)
    assert order == [0, 1, 3, 2]
    assert sorted(mistake.mixed_order([0, 1], 2, share=0.9)) == [0, 1]


def test_answers_change_places_and_nothing_else(tmp_path: Path) -> None:
    card = decode_card(CARD.read_bytes())
    order = list(reversed(range(len(card.labels))))
    made, written = mistake.export(STUDENT, CARD, order, tmp_path, release=2, now=1.0)
    graph.check(made.read_bytes())
    batch = prepare(card.self_test.frames(), card.input)
    before, after = OnnxEngine(STUDENT, threads=1).run(batch), OnnxEngine(made, threads=1).run(batch)
    np.testing.assert_array_equal(after, before[:, order])
    new = decode_card(written.read_bytes())
    assert (new.release, new.lineage.parent, new.labels) == (2, card.release, card.labels)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(after, before)


def test_its_own_self_test_passes_on_a_device(tmp_path: Path) -> None:
    made, written = mistake.export(STUDENT, CARD, [1, 0, 2, 3, 4, 5, 6], tmp_path, release=2, now=1.0)
    card = decode_card(written.read_bytes())
    logits = OnnxEngine(made, threads=1).run(prepare(card.self_test.frames(), card.input))
    assert compare(card.self_test, logits) == ""
    before = OnnxEngine(STUDENT, threads=1).run(prepare(card.self_test.frames(), card.input))
    assert compare(card.self_test, before) != ""
