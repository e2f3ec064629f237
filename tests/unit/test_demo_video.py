"""`terrace demo --video`: what is refused before anything starts, what becomes the fleet's first release, what a stream came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from provisioning.testbed import brought, camera
from provisioning.testbed.cli import app
from provisioning.testbed.watched import Watched, watched
from shared.errors import InputError, TerraceError, TrustError
from shared.release.card import decode_card, encode_card
from tests.unit import seeing_models
from tests.unit.edge_parts import write_release


def refused(*words: str) -> TerraceError:
    found = CliRunner().invoke(app, list(words)).exception
    assert isinstance(found, TerraceError), found
    assert found.remedy
    return found


def test_a_stream_is_a_file_a_camera_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert camera.table(str(tmp_path / "a.mp4"))["kind"] == "video"
    assert camera.table("/dev/null") == {"name": "camera", "fps": 0.0, "loop": True, "kind": "camera", "path": "/dev/null"}
    there = camera.table("rtsp://10.0.0.7/live", tmp_path / "secret")
    assert (there["kind"], there["url"], there["credentials"]) == ("rtsp", "rtsp://10.0.0.7/live", str(tmp_path / "secret"))


@pytest.mark.parametrize(
    ("video", "credentials", "words"),
    [
        ("/nowhere/a.mp4", None, "there is no video"),
        ("http://host/stream", None, "http:// is not spoken"),
        ("rtsp://ann:secret@host/live", None, "holds a name or password"),
        ("/dev/null", Path("x"), "for network cameras"),
    ],
)
def test_what_is_no_stream_is_refused_and_no_password_repeated(video: str, credentials: Path | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        camera.table(video, credentials)
    assert "secret@" not in str(refusal.value)


def test_options_that_do_not_go_together_are_refused_before_anything_starts(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")
    assert "needs --model" in str(refused("--video", str(video)))
    assert "go with --video" in str(refused("--model", str(tmp_path)))
    assert "demo of its own" in str(refused("--video", str(video), "--model", str(tmp_path), "--act", "2"))
    assert "no release in" in str(refused("--video", str(video), "--model", str(tmp_path)))


def test_the_expert_is_the_one_given_else_the_releases_own_else_there_is_none(tmp_path: Path) -> None:
    own = seeing_models.with_expert(seeing_models.write_detector(tmp_path / "own"))
    alone = seeing_models.write_detector(tmp_path / "alone")
    assert brought.lay_out(own, None, tmp_path / "a").expert is not None
    assert brought.lay_out(alone, None, tmp_path / "b").expert is None
    given = brought.lay_out(alone, own, tmp_path / "c")
    assert given.expert is not None
    assert given.expert.model == decode_card((given.folder / "expert" / "model.card.json").read_bytes()).model == "expert"
    assert (given.folder / "card.json").read_bytes() == (alone / "card.json").read_bytes()


def test_an_expert_of_other_things_and_a_card_of_another_file_are_refused(tmp_path: Path) -> None:
    detector = seeing_models.write_detector(tmp_path / "a")
    with pytest.raises(InputError, match="the expert is for classification of red, green"):
        brought.check(detector, write_release(tmp_path / "b"))
    card = msgspec.structs.replace(decode_card((detector / "card.json").read_bytes()), onnx_sha256="00")
    (detector / "card.json").write_bytes(encode_card(card))
    with pytest.raises(TrustError, match="is not the card of"):
        brought.check(detector, None)


def event(sequence: int, state: str, action: str, source: str, labels: list[str] | None = None) -> bytes:
    told: dict[str, Any] = {"stream": "camera", "sequence": sequence, "state": state, "label": "cup", "action": action, "source": source}
    more = {} if labels is None else {"objects": [{"label": label, "confidence": 1.0} for label in labels]}
    return msgspec.json.encode({**told, "latency_ms": 10.0, **more}) + b"\n"


def test_what_the_expert_said_otherwise_is_counted_once_a_frame() -> None:
    lines = [
        event(0, "final", "keep", "edge", ["cup"]),
        event(1, "provisional", "defer", "edge", ["cup", "bottle"]),
        event(1, "final", "defer", "region", ["bottle", "cup"]),
        event(2, "provisional", "audit", "edge", []),
        event(2, "final", "audit", "region", ["cup"]),
        event(3, "provisional", "defer", "edge"),
        event(3, "final", "defer", "expired"),
        b'{"stream":"camera","sequ',
    ]
    found = watched(b"".join(lines))
    assert found == Watched(frames=4, kept=1, deferred=2, audited=1, answered=2, otherwise=1, expired=1, latency_ms=10.0)
    assert "said otherwise on 1" in " ".join(found.lines())
