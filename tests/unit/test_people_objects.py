"""What people see of a detector's case: the boxes of student and expert over the picture, also where it is a part of its frame."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from shared.doors import COOKIE
from shared.roles import Role
from shared.vision.picture import encode as encode_picture
from shared.vision.tasks.shapes import pack_boxes
from shared.wire.messages import Boxes, Crop, Prediction, encode
from tests.browser import MISSING, browser, program
from tests.unit.test_boxes import found
from tests.unit.test_people_page import PASSWORD, entered, incoming, page
from tests.waiting import until

__all__ = ["page"]
CROP = Crop(x=100, y=50, width=100, height=50, of_width=400, of_height=200)


def detected(*rows: tuple[float, float, float, float, float, int]) -> Prediction:
    return Prediction(index=rows[0][5], probabilities=(0.9, 0.2), boxes=pack_boxes(found(*rows), width=400, height=200))


def store(page: SimpleNamespace, boxes: Boxes | None = None) -> None:
    """Store a part of a frame with a box in it and one beside it, and the expert's answer."""
    pixels = np.full((50, 100, 3), 120, np.uint8)
    pixels[10:30, 20:60] = (200, 60, 40)
    one = incoming(900, picture=encode_picture(pixels, quality=100))
    prediction = detected((120, 60, 160, 80, 0.9, 0), (300, 150, 320, 160, 0.8, 1))
    if boxes is not None:
        prediction = msgspec.structs.replace(prediction, boxes=boxes)
    case = msgspec.structs.replace(one.case, prediction=prediction, crop=CROP, reason="track_vanished")
    (stored,) = page.vault.store([msgspec.structs.replace(one, case=case, payload=encode(case))])
    answer = detected((122, 61, 160, 80, 0.95, 0), (180, 85, 195, 95, 0.6, 1))
    page.vault.store_answers([(stored.id, answer)], release=1, now=6.0)


def test_objects_are_told_in_shares_of_the_picture_that_is_shown(page: SimpleNamespace) -> None:
    store(page)
    with entered(page, "ann") as ann:
        (case,) = ann.get("/v1/cases", params={"limit": 1}).json()["cases"]
    (only,) = case["student"]["objects"]
    assert (only["label"], only["score"], only["box"]) == (0, 0.9, pytest.approx([0.2, 0.2, 0.6, 0.6], abs=1e-3))
    assert len(case["expert"]["objects"]) == 2


def test_boxes_that_cannot_be_read_are_not_shown_and_hide_nothing_else(page: SimpleNamespace) -> None:
    store(page, boxes=Boxes(places=b"123", scores=b"12", classes=b"1"))
    with entered(page, "ann") as ann:
        (case,) = ann.get("/v1/cases", params={"limit": 1}).json()["cases"]
    assert case["student"]["objects"] == []


@pytest.mark.skipif(program() is None, reason=MISSING)
def test_a_person_sees_the_boxes_where_the_objects_are(page: SimpleNamespace, tmp_path: Path) -> None:
    store(page)
    account = page.accounts.redeem(page.accounts.invite(Role.REVIEWER, "bea"), "bea", PASSWORD)
    session = page.sessions.open(account)
    with browser(tmp_path / "profile") as tab:
        tab.command("Network.setCookie", name=COOKIE, value=session.token, url=page.url, secure=True, httpOnly=True, path="/")
        tab.open(page.url)
        until(lambda: tab.run("document.querySelectorAll('.stage .objects rect').length || document.querySelector('.case')?.click()") == 3)
        until(lambda: tab.run("document.querySelector('.stage img').naturalWidth") == 100, "the picture")
        assert tab.sees("had been followed was gone")
        words = tab.run("[...document.querySelectorAll('.stage .objects title')].map((node) => node.textContent.replace(/\\s+/g, ' '))")
        assert words == ["student: class 0 90 %", "expert: class 0 95 %", "expert: class 1 60 %"]
        share = tab.run(
            "(() => { const all = document.querySelector('.stage .objects').getBoundingClientRect(),"
            " one = document.querySelector('.stage .objects .student rect').getBoundingClientRect();"
            " return [(one.x + one.width / 2 - all.x) / all.width, one.width / one.height]; })()"
        )
        assert share == pytest.approx([0.4, 2.0], abs=0.06)
        assert tab.complaints == []
