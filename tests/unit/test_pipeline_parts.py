"""The pipeline's parts alone: what is handed over, what waits, what is written, and what a model and its card say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import events
from edge.config import PictureSettings
from edge.counters import WINDOW, Latencies
from edge.events import Inferred
from edge.handover import HandOver
from edge.model import open_model
from edge.outputs import EventFile
from edge.spooling import encoding
from edge.waiting import Waiting
from shared.deferral.policy import Action, Decision
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, StorageError, TrustError
from shared.release.card import QualityPoint, decode_card, encode_card
from shared.wire.messages import Prediction
from tests.unit.edge_parts import frame, load, write_release
from tests.unit.pipeline_parts import SURE_RED
from tests.waiting import until


def _inferred(number: int, value: float, action: Action = Action.DEFER) -> Inferred:
    decision = Decision(action=action, reason="", score=1.0 - value, threshold=1.0, value=value)
    return Inferred(
        frame=frame(number, SURE_RED),
        prediction=Prediction(index=0, probabilities=(1.0,)),
        decision=decision,
        release=1,
        labels=("red",),
        deadline_s=5.0,
    )


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=40), st.integers(1, 8))
def test_the_hand_over_keeps_the_most_valuable_and_counts_the_rest(offers: list[tuple[float, bool]], capacity: int) -> None:
    place = HandOver(capacity)
    for number, (value, audit) in enumerate(offers):
        place.offer(_inferred(number, value, Action.AUDIT if audit else Action.DEFER))
    taken = []
    while some := place.take(3, 0.0):
        taken += some
    assert len(taken) == min(capacity, len(offers))
    assert len(taken) + place.dropped_hard + place.dropped_audit == len(offers)
    audits = sum(audit for _, audit in offers)
    assert sum(one.decision.action is Action.AUDIT for one in taken) == min(audits, capacity)
    hard = [one.decision.value for one in taken if one.decision.action is Action.DEFER]
    assert hard == sorted(hard, reverse=True)
    if not audits:
        assert hard == sorted((value for value, _ in offers), reverse=True)[:capacity]


@given(st.lists(st.tuples(st.sampled_from(["add", "bind", "answer", "expire"]), st.integers(0, 6)), max_size=60))
def test_a_waiting_frame_leaves_exactly_once(steps: list[tuple[str, int]]) -> None:
    waiting: Waiting[int, str] = Waiting()
    added: set[int] = set()
    left: list[int] = []
    bound: set[int] = set()
    for now, (step, one) in enumerate(steps):
        key = ("s", one)
        if step == "add" and one not in added:
            added.add(one)
            waiting.add(key, one, deadline=now + 5.0)
        elif step == "bind" and one in added and one not in bound:
            bound.add(one)
            found = waiting.bind(one, key)
            left += [found[0]] if found else []
        elif step == "answer":
            item = waiting.answer(one, "word")
            left += [item] if item is not None else []
        else:
            left += waiting.expired(float(now))
    left += waiting.expired(1e9)
    assert sorted(left) == sorted(added)
    assert len(waiting) == 0
    assert waiting.next_deadline() is None


def test_a_torn_last_line_is_ended_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a": 1}\n{"torn": ')
    output = EventFile(path)
    output.start()
    output.put(events.local_event(_inferred(3, 0.5), state="final", now=0.0))
    output.stop()
    lines = path.read_bytes().splitlines()
    assert lines[1] == b'{"torn": '
    assert json.loads(lines[2])["sequence"] == 3


def test_events_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    path = Path("/dev/full")
    output = EventFile(path)
    output.start()
    output.put(events.local_event(_inferred(3, 0.5), state="final", now=0.0))
    until(lambda: output.lost == 1)
    assert "space" in output.failing.lower()
    output.stop()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        EventFile(tmp_path / "file" / "events").start()
    assert caught.value.remedy


def test_numbers_that_are_not_finite_become_null_in_json() -> None:
    inferred = _inferred(1, 0.0)
    inferred = msgspec.structs.replace(inferred, decision=msgspec.structs.replace(inferred.decision, score=float("nan")))
    assert json.loads(events.encode(events.local_event(inferred, state="final", now=0.0)))["score"] is None


def test_latencies_forget_the_oldest() -> None:
    latencies = Latencies()
    assert latencies.percentile_ms(0.5) == 0.0
    for value in range(WINDOW + 100):
        latencies.add(value / 1000)
    assert latencies.percentile_ms(0.0) == pytest.approx(100)
    assert latencies.percentile_ms(1.0) == pytest.approx(WINDOW + 99)
    assert latencies.percentile_ms(0.5) == pytest.approx(100 + WINDOW / 2)


def test_a_model_that_is_not_its_cards_is_refused(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r")
    other = write_release(tmp_path / "o", weights=[[1.0, 0.0, 0.0]] * 3)
    with pytest.raises(TrustError, match="describes"):
        open_model(other / "model.onnx", folder / "card.json", OnnxEngine)
    with pytest.raises(EngineError, match="labels"):
        load(other)
    with pytest.raises(EngineError, match="read"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "change", [{"std": (1.0, 0.0, 1.0)}, {"width": 0}, {"height": 1 << 30}, {"mean": (0.0,)}, {"channels": 4}, {"std": ()}]
)
def test_a_card_whose_input_cannot_be_is_refused_before_anything_is_made_of_it(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_release(tmp_path / "r")
    card = decode_card((folder / "card.json").read_bytes())
    (folder / "card.json").write_bytes(encode_card(msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, **change))))
    with pytest.raises(TrustError, match="input that cannot be"):
        load(folder)


def test_pictures_are_coded_as_the_card_says_unless_the_configuration_does(tmp_path: Path) -> None:
    quality = QualityPoint(codec="webp", quality=65, bytes_mean=400.0, expert_accuracy=0.97)
    card = msgspec.structs.replace(load(write_release(tmp_path)).card, picture_quality=(quality,))
    assert encoding(PictureSettings(), card) == ("webp", 65)
    assert encoding(PictureSettings(codec="jpeg", quality=90), card) == ("jpeg", 90)
    assert encoding(PictureSettings(), None) == ("webp", 80)
