"""Maps as outlines: they enclose exactly the pixels of a class, and never grow without bound."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from region.casefilter import CaseFilter
from region.gallery import Gallery
from region.labelling import Labels
from region.outlines import MOST_PIECES, outlines
from region.vault import Incoming, Vault
from shared.vision.picture import encode as encode_picture
from shared.vision.tasks.shapes import pack_map
from shared.wire.messages import Case, Mask, Picture, Prediction, encode

maps = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def filled(path: str, height: int, width: int) -> np.ndarray:
    """Return the pixels that path data encloses: walking along a row, every upright border changes sides (even-odd rule)."""
    crossings = np.zeros((height, width + 1), np.int64)
    for x, start, end in re.findall(r"M(\d+) (\d+)V(\d+)", path):
        crossings[int(start) : int(end), int(x)] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@given(maps)
def test_outlines_enclose_the_pixels_of_each_class_and_no_others(classes: np.ndarray) -> None:
    found = outlines(classes)
    assert (found.height, found.width) == classes.shape
    assert set(found.paths) == set(np.unique(classes).tolist()) - {0}
    for label, path in found.paths.items():
        assert np.array_equal(filled(path, *classes.shape), classes == label)
        upright, level = re.findall(r"V", path), re.findall(r"H", path)
        assert len(upright) >= 2 <= len(level)


def incoming(said: Prediction, frame: Picture) -> Incoming:
    case = Case(
        stream="line", frame=1, unit="u", captured_at=1.0, reason="no_score", is_audit=True, score=0.5, threshold=1.0, release=1,
        prediction=said, picture=frame,
    )  # fmt: skip
    return Incoming(device="edge-1.north", spool=bytes(16), sequence=1, payload=encode(case), case=case, received_at=1.0)


def test_the_page_is_told_the_areas_of_student_and_expert(tmp_path: Path) -> None:
    classes = np.array([[0, 2, 2], [0, 0, 0]])
    said = Prediction(index=2, probabilities=(0.6, 0.0, 0.4), mask=pack_map(classes))
    unreadable = Prediction(index=2, probabilities=(0.6, 0.0, 0.4), mask=Mask(width=3, height=2, runs=b"\1\0\2\0"))
    frame = encode_picture(np.zeros((2, 3, 3), np.uint8), quality=100)
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    try:
        stored = vault.store([incoming(said, frame)])
        vault.store_answers([(stored[0].id, unreadable)], release=1, now=1.0)
        (case,) = Gallery(vault, Labels(vault.database), lambda: ("none", "scratch", "dent")).page(CaseFilter(), "ann", 9)["cases"]
    finally:
        vault.stop()
    assert case["student"]["areas"] == {"width": 3, "height": 2, "outlines": [{"label": 2, "path": "M1 0H3M1 1H3M1 0V1M3 0V1"}]}
    assert "areas" not in case["expert"]


def test_a_map_of_noise_is_made_coarser_until_its_outlines_are_short() -> None:
    found = outlines(np.random.default_rng(0).integers(0, 2, (640, 640)))
    assert found.width < 640
    assert sum(path.count("M") for path in found.paths.values()) <= MOST_PIECES
