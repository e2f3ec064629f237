"""`terrace demo --task detection`: how boards are judged, a release that defers more, and what is said where models are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from provisioning.testbed import plan as plans
from provisioning.testbed.cli import app
from provisioning.testbed.detection import boards, told
from provisioning.testbed.detection.cautious import cautious
from provisioning.testbed.detection.told import Board, Stream, Thing
from shared.errors import InputError
from shared.release.card import Card, CurvePoint, decode_card
from shared.vision.boxes import Detections, nothing
from shared.vision.tasks.precision import Truth
from tests.unit import seeing_models

SIDE = 100
OPEN, SHORT = Thing(label="open", confidence=0.9, box=(0.1, 0.1, 0.2, 0.2)), Thing(label="short", confidence=0.6, box=(0.5, 0.5, 0.7, 0.7))
TRUE_BOXES = np.array([[10, 10, 20, 20], [50, 50, 70, 70]], np.float32)
BOTH = Truth(boxes=TRUE_BOXES, classes=np.array([0, 1]))
NONE = Truth(boxes=np.zeros((0, 4), np.float32), classes=np.zeros(0, np.int64))
STREAM = Stream(truth=[BOTH, NONE], units=["a", "b"], side=SIDE)
BEST = [Detections(boxes=TRUE_BOXES, scores=np.ones(2, np.float32), classes=np.array([0, 1])), nothing()]


def board(own: tuple[Thing, ...], final: tuple[Thing, ...], action: str) -> Board:
    return Board(own=own, final=final, action=action, source="region" if action == "defer" else "edge", latency_ms=40.0)


def judged(seen: dict[tuple[str, int], Board]) -> told.Figures:
    return told.judge(seen, {"s": STREAM}, {"s": BEST}, ("open", "short"))


def test_a_missed_defect_is_caught_when_its_board_is_sent_and_mended_by_the_answer() -> None:
    found = judged({
        ("s", 0): board((OPEN,), (OPEN, SHORT), "defer"),
        ("s", 1): board((), (), "keep"),
        ("s", 2): board((OPEN,), (OPEN,), "keep"),  # place 0 again: missed and kept
        ("s", 3): board((), (), "audit"),
    })  # fmt: skip
    assert (found.boards, found.deferred, found.audited) == (4, 0.25, 0.25)
    assert (found.caught, found.mended) == (0.5, 0.5)
    assert (found.student.missed_defects, found.system.missed_defects, found.expert.missed_defects) == (0.5, 0.25, 0.0)
    assert found.student.map_50 < found.system.map_50 < found.expert.map_50 == 1.0
    assert found.latency_ms == 40.0
    assert all(len(line) <= 110 for line in found.lines())


def event(sequence: int, state: str, time: float, objects: list[Thing], action: str = "defer") -> bytes:
    told_event: dict[str, Any] = {"stream": "s", "sequence": sequence, "time": time, "state": state, "action": action, "objects": objects}
    return msgspec.json.encode(told_event) + b"\n"


def test_boards_are_read_from_events_of_the_window_that_are_final() -> None:
    lines = [
        event(0, "provisional", 5.0, [OPEN]),
        event(0, "final", 5.0, [OPEN, SHORT]),
        event(1, "provisional", 6.0, [OPEN]),
        event(2, "final", 50.0, []),
        b'{"stream":"s","seq',
    ]
    found = told.boards(told.parse(b"".join(lines)), start=0.0, end=10.0)
    assert list(found) == [("s", 0)]
    assert (len(found["s", 0].own), len(found["s", 0].final)) == (1, 2)


def a_card(tmp_path: Path, shares: dict[float, float]) -> Card:
    card = decode_card((seeing_models.write_detector(tmp_path / "r") / "card.json").read_bytes())
    curve = tuple(CurvePoint(threshold=at, deferred_share=share, system_accuracy=0.9) for at, share in shares.items())
    return msgspec.structs.replace(card, deferral_curve=curve)


def test_a_cautious_release_defers_more_by_its_own_curve_and_nothing_else_changes(tmp_path: Path) -> None:
    card = a_card(tmp_path, {-0.9: 0.0, -0.5: 0.2, -0.4: 0.25, -0.3: 0.4, -0.1: 0.8})
    made = cautious(card)
    assert made is not None
    assert card.calibration is not None
    assert made.calibration == msgspec.structs.replace(card.calibration, threshold=-0.3)
    assert (made.release, made.onnx_sha256, made.detection) == (card.release + 1, card.onnx_sha256, card.detection)
    assert cautious(a_card(tmp_path, {-0.5: 0.95, -0.1: 1.0})) is None
    assert cautious(msgspec.structs.replace(card, calibration=None)) is None


def test_where_the_detectors_are_not_built_it_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path))
    said = CliRunner().invoke(app, ["--task", "detection"]).exception
    assert isinstance(said, InputError)
    assert "make models DATA=deeppcb TASK=detection" in said.remedy
    assert isinstance(CliRunner().invoke(app, ["--task", "depth"]).exception, InputError)
    assert "demo of its own" in str(CliRunner().invoke(app, ["--task", "detection", "--act", "1"]).exception)


def write_data(folder: Path, count: int) -> None:
    """Write boards in the form of the packed data set: a defect on every other one, all of the official test list."""
    bits = np.random.default_rng(0).integers(0, 256, (count, 640, 80), dtype=np.uint8)
    boxes = np.array([[board, 10, 10, 40, 40, 1 + board % 6] for board in range(0, count, 2)])
    names = np.array([f"group{board % 3}/{board:05d}" for board in range(count)])
    kinds = np.array(["none", "open", "short", "mousebite", "spur", "copper", "pin-hole"])
    np.savez(folder / "deeppcb_boards_1bit.npz", test=bits, boxes=boxes, split=np.ones(count, np.int64), name=names, classes=kinds)


def test_every_stream_has_boards_of_its_own_with_their_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TERRACE_DATA", str(tmp_path))
    write_data(tmp_path, 8)
    plan = msgspec.structs.replace(plans.DETECTION, frames_per_stream=4)
    tables = boards.lay_out(plan)
    assert list(tables) == plan.devices
    streams = [boards.read(Path(table["path"])) for device in tables.values() for table in device]
    assert len({unit for stream in streams for unit in stream.units}) == 8
    for stream in streams:
        assert [len(truth.classes) for truth in stream.truth] == [1 - int(unit[-1]) % 2 for unit in stream.units]
    with np.load(tables[plan.devices[0]][0]["path"]) as data:
        assert data["frames"].shape == (4, 640, 640, 3)
    with pytest.raises(InputError, match="has 8 for testing"):
        boards.lay_out(msgspec.structs.replace(plan, edges=3))
