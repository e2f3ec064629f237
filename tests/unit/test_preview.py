"""The mounting page: who may look and for how long, what a browser is told, and that nothing is open or kept without being asked for."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge.events import Inferred, local_event
from edge.preview.door import ask
from edge.preview.listener import LARGEST_BODY_BYTES, MOST_CONNECTIONS
from edge.preview.optics import measure
from edge.preview.preview import SOCKET, Preview
from edge.preview.rules import HEADERS, is_here, is_own_page
from edge.preview.view import view
from edge.preview.visit import ALPHABET, MOST_WRONG, Visit, new_code, spoken
from shared.audit import AuditLog
from shared.deferral.policy import Action, Decision
from shared.errors import LinkError, StorageError
from shared.vision.boxes import Detections
from shared.vision.tasks.shapes import pack_boxes
from shared.wire.messages import Prediction
from tests.unit.edge_parts import frame
from tests.waiting import until

CODE = "ABCDEFGH"


def inferred(number: int, *, stream: str = "a", label: str = "réd", size: int = 40) -> Inferred:
    pixels = np.zeros((size, 2 * size, 3), np.uint8)
    pixels[:, size:] = (255, 0, 0)
    return Inferred(
        frame=frame(number, pixels, stream), prediction=Prediction(index=0, probabilities=(0.9, 0.1)),
        decision=Decision(action=Action.KEEP, reason="above_threshold", score=2.0, threshold=1.0, value=0.0), release=3,
        labels=(label, "green"), deadline_s=5.0,
    )  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["right", "wrong", "show", "other"]), st.integers(0, 40)), max_size=30))
def test_one_browser_gets_in_once_and_never_after_the_end(steps: list[tuple[str, int]]) -> None:
    visit, now, wrong, inside = Visit(code=CODE, token="t", until=100.0), 0.0, 0, False
    for step, wait in steps:
        now += wait
        is_over = now >= 100 or wrong >= MOST_WRONG
        if step in {"right", "wrong"}:
            got = visit.enter("abcd-efgh" if step == "right" else "ABCDEFGX", now)
            assert bool(got) == (step == "right" and not is_over and not inside)
            wrong += step == "wrong" and not is_over and not inside
            inside |= bool(got)
        else:
            assert visit.shows("t" if step == "show" else "u", now) == (step == "show" and inside and not is_over)
        assert visit.is_over(now) == (now >= 100 or wrong >= MOST_WRONG)


def test_a_code_is_read_aloud_without_mistakes() -> None:
    assert spoken(new_code(lambda below: below - 1)) == "ZZZZ-ZZZZ"
    assert not set("01OIL") & set(ALPHABET)
    assert len(set(ALPHABET)) == len(ALPHABET) == 31


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "localhost:9999", "[::1]:5"])
def test_this_machine_is_answered_by_its_own_names(host: str) -> None:
    assert is_here(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1", "user@evil.example:80", "10.0.0.1"]
)
def test_another_name_for_this_machine_is_refused(host: str) -> None:
    assert not is_here(host)


def test_only_our_own_page_changes_anything() -> None:
    assert is_own_page({})
    assert is_own_page({"sec-fetch-site": "same-origin", "origin": "http://localhost:5"})
    assert not is_own_page({"sec-fetch-site": "cross-site"})
    assert not is_own_page({"origin": "http://evil.example"})
    assert not is_own_page({"origin": "null"})


def test_the_optics_tell_focus_and_light() -> None:
    rng = np.random.default_rng(1)
    sharp = rng.integers(0, 255, (64, 64)).astype(np.uint8)
    soft = np.asarray(Image.fromarray(sharp).resize((8, 8)).resize((64, 64), Image.Resampling.BICUBIC))
    assert measure(sharp).sharpness > 10 * measure(soft).sharpness
    white = measure(np.full((1, 1), 255, np.uint8))
    assert (white.sharpness, round(white.brightness), white.bright, white.dark) == (0.0, 255, 1.0, 0.0)


def test_objects_are_told_surest_first_and_damaged_ones_not_at_all() -> None:
    found = Detections(
        boxes=np.array([[0, 0, 10, 10], [20, 10, 40, 30]], np.float32), scores=np.array([0.3, 0.9], np.float32),
        classes=np.array([1, 7], np.int64),
    )  # fmt: skip
    one = inferred(1)
    optics = measure(one.frame.pixels[..., 0])
    packed = pack_boxes(found, width=80, height=40)
    told = view(
        msgspec.structs.replace(one, prediction=Prediction(index=0, probabilities=(1.0,), boxes=packed)), optics, [],
        size=(80, 40), now=one.frame.arrived_at + 1,
    )  # fmt: skip
    assert [(box.label, round(box.score, 2)) for box in told.boxes] == [("7", 0.9), ("green", 0.3)]
    assert told.boxes[0].place == pytest.approx((0.25, 0.25, 0.5, 0.75), abs=1e-4)
    torn = Prediction(index=5, probabilities=(1.0,), boxes=msgspec.structs.replace(packed, places=b"x"))
    told = view(msgspec.structs.replace(one, prediction=torn), optics, [], size=(80, 40), now=0.0)
    assert (told.boxes, told.label, told.confidence) == ((), "5", 0.0)


class Site:
    """A preview with a person at its socket and a browser at its port."""

    def __init__(self, state: Path, **more: Any) -> None:
        self.state = state
        self.preview = Preview(state, ["a", "b"], **more)
        self.audit = AuditLog(state / "audit.db")
        self.opened: dict[str, Any] = {}

    def open(self) -> dict[str, Any]:
        self.opened = ask(self.state / SOCKET, "open")
        return self.opened

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> SimpleNamespace:
        connection = http.client.HTTPConnection("127.0.0.1", self.opened["port"], timeout=20)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = SimpleNamespace(status=answer.status, headers=dict(answer.getheaders()), body=answer.read())
        connection.close()
        return found

    def enter(self, code: str) -> SimpleNamespace:
        return self.request("POST", "/v1/enter", json.dumps({"code": code}))

    def token(self) -> str:
        return str(json.loads(self.enter(self.open()["code"]).body)["token"])

    def actions(self) -> list[str]:
        return [entry.action for entry in reversed(self.audit.entries())]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.preview.start()
    yield site
    site.preview.stop()


def test_a_person_with_the_code_sees_the_picture_and_its_words(site: Site) -> None:
    site.preview.window.see(inferred(1))
    assert site.preview.status() == {"open": False, "seconds_left": 0, "entered": False, "pictures": 0}
    token = site.token()
    site.preview.window.put(local_event(inferred(6), state="provisional", now=0.0))
    site.preview.window.see(inferred(7, size=800))
    answer = site.request("GET", "/v1/picture?stream=a&after=-1", authorization=f"Bearer {token}")
    picture = Image.open(io.BytesIO(answer.body))
    assert (picture.format, picture.size) == ("JPEG", (960, 480))
    words = json.loads(answer.headers["x-terrace-view"])
    assert (words["sequence"], words["label"], words["width"], words["events"][0]["state"]) == (7, "réd", 1600, "provisional")
    asked = threading.Thread(target=lambda: site.preview.window.see(inferred(8)))
    asked.start()
    answer = site.request("GET", "/v1/picture?stream=a&after=7", authorization=f"Bearer {token}")
    assert json.loads(answer.headers["x-terrace-view"])["sequence"] == 8
    assert site.preview.status()["entered"]
    assert site.request("POST", "/v1/close", authorization=f"Bearer {token}").status == 204
    until(lambda: not site.preview.status()["open"])
    assert site.preview.window._newest == {}
    until(lambda: site.actions() == ["preview.open", "preview.enter", "preview.close"], lambda: str(site.actions()))
    assert site.audit.verify()[0] == 3
    assert "on this machine" in site.audit.entries()[-1].who


def test_without_the_code_there_is_a_page_and_nothing_on_it(site: Site) -> None:
    site.open()
    site.preview.window.see(inferred(1))
    for path in ("/", "/preview.js", "/preview.css", "/base.css", "/dom.js", "/theme.js", "/icon.svg"):
        answer = site.request("GET", path)
        assert answer.status == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    for path in ("/../edge.toml", "/preview.py", "/v1/", "/etc/passwd", "/%2e%2e/x"):
        assert site.request("GET", path).status == 404
    assert site.request("GET", "/v1/picture?stream=a").status == 401
    assert site.request("GET", "/v1/picture?stream=a", authorization="Bearer ").status == 401
    assert site.request("POST", "/v1/close", authorization="Bearer x").status == 401
    assert site.request("GET", "/", host="evil.example").status == 421
    assert site.request("POST", "/v1/enter", "{}", origin="http://evil.example").status == 403
    assert site.request("POST", "/v1/enter", "x" * (LARGEST_BODY_BYTES + 1)).status == 413
    for body in ("", "[1]", '{"code": 5}', '{"code": "\\u00e9"}'):
        assert site.request("POST", "/v1/enter", body).status == 403
    refused = site.request("DELETE", "/")
    assert (refused.status, refused.headers["X-Frame-Options"]) == (501, "DENY")


def test_a_code_works_once_and_five_wrong_ones_close_it(site: Site) -> None:
    code = site.open()["code"]
    assert site.enter(code).status == 200
    assert site.enter(code).status == 403
    site.open()
    assert [site.enter("WRONG-ONE").status for _ in range(MOST_WRONG)] == [403] * MOST_WRONG
    until(lambda: not site.preview.status()["open"])
    with pytest.raises(OSError):
        site.enter(site.opened["code"])
    until(lambda: site.actions().count("preview.close") == 2)
    assert site.actions().count("preview.refuse") == MOST_WRONG + 1


def test_whoever_guesses_on_after_the_entry_fills_no_log(site: Site) -> None:
    assert site.enter(site.open()["code"]).status == 200
    assert {site.enter("WRONG-ONE").status for _ in range(3 * MOST_WRONG)} == {403}
    assert site.preview.status()["open"]
    assert site.actions().count("preview.refuse") == MOST_WRONG
    assert site.request("POST", "/v1/enter", content_length="9" * 5000).status == 413


def test_a_browser_that_does_not_wait_for_the_answer_closes_it_all_the_same(site: Site) -> None:
    token = site.token()
    with socket.create_connection(("127.0.0.1", site.opened["port"])) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
        connection.sendall(
            f"POST /v1/close HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
    until(lambda: not site.preview.status()["open"])


def test_opening_anew_ends_the_one_before_and_time_ends_all(tmp_path: Path) -> None:
    site = Site(tmp_path, lasts_s=1.0)
    site.preview.start()
    before = Site(tmp_path)
    before.opened = site.open()
    site.open()
    assert ask(tmp_path / SOCKET, "close")["was_open"]
    with pytest.raises(OSError):
        before.request("GET", "/")
    site.open()
    until(lambda: not site.preview.status()["open"], "its time was over")
    with pytest.raises(OSError):
        site.request("GET", "/")
    assert not ask(tmp_path / SOCKET, "close")["was_open"]
    with pytest.raises(LinkError, match="no such order"):
        ask(tmp_path / SOCKET, "dance")
    assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
    site.preview.stop()
    with pytest.raises(LinkError, match="no agent"):
        ask(tmp_path / SOCKET, "open")


def test_what_cannot_be_written_down_is_not_opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk is full.", "Free space.")

    monkeypatch.setattr(site.preview._audit, "append", fail)
    with pytest.raises(LinkError, match="disk is full"):
        site.open()
    assert not site.preview.status()["open"]


def test_pictures_are_few_and_connections_bounded(site: Site) -> None:
    token = site.token()
    window = site.preview.window
    window.see(inferred(1))
    assert window.next("a", -1, 5.0) is not None
    window.see(inferred(2))
    assert window.next("a", 1, 0.0) is None, "the next picture has its time"
    assert window.next("a", 1, 5.0) is not None
    assert window.next("a", 2, 0.05) is None, "and needs a new frame"
    idle = []
    for _ in range(MOST_CONNECTIONS):
        connection = http.client.HTTPConnection("127.0.0.1", site.opened["port"], timeout=20)
        connection.request("GET", "/")
        connection.getresponse().read()
        idle.append(connection)
    with pytest.raises((OSError, http.client.HTTPException)):
        site.request("GET", "/v1/picture?stream=a", authorization=f"Bearer {token}")
    for connection in idle:
        connection.close()
    until(lambda: site_is_free(site))


def site_is_free(site: Site) -> bool:
    try:
        return bool(site.request("GET", "/").status == 200)
    except (OSError, http.client.HTTPException):
        return False


def test_threads_that_make_pictures_stand_behind_inference(site: Site) -> None:
    site.open()
    niceness: list[int] = []
    real = site.preview.page

    def spy(path: str) -> tuple[str, bytes] | None:
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return real(path)

    site.preview.page = spy  # type: ignore[method-assign]
    site.request("GET", "/")
    assert niceness[0] >= min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + 1)
