"""Frames become events at once; hard ones are sent, and nothing the region, the disk or the model does stops the answers."""

import errno
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import events
from edge.config import PictureSettings, PolicySettings
from edge.counters import WINDOW, Latencies
from edge.events import Inferred
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import LoadedModel, ModelSlot, open_model
from edge.newest import NewestFrames
from edge.outputs import EventFile
from edge.pipeline import Pipeline
from edge.settling import Settler
from edge.spooling import CaseWriter, encoding
from edge.waiting import Waiting
from shared import clock
from shared.deferral.policy import Action, Decision
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, StorageError, TrustError
from shared.link.recount import recount
from shared.link.spool import NewCase, Spool
from shared.release.card import QualityPoint
from shared.vision import picture
from shared.wire.messages import Answer, Case, Prediction, decode
from tests.unit.edge_parts import WEIGHTS, colour, frame, load, write_release
from tests.waiting import until

SURE_RED, SURE_GREEN, UNSURE = colour(250, 0), colour(0, 250), colour(90, 88)


class Device:
    """A pipeline with everything behind it but the link: offered cases stay in a list, or in a spool."""

    def __init__(
        self,
        folder: Path,
        *,
        audit_share: float = 0.0,
        deadline_s: float = 60.0,
        threshold: float | None = None,
        spool: Spool | None = None,
    ) -> None:
        self.file = folder / "events.jsonl"
        self.cases: list[Case] = []
        self.offer_fails = False
        self.newest, self.models, self.hand_over = NewestFrames(), ModelSlot(), HandOver(8)
        self.output = EventFile(self.file)
        self.settler = Settler(self.output)
        self.spool = spool
        self.writer = CaseWriter(
            frames=self.hand_over,
            pictures=PictureSettings(),
            card=lambda: None,
            offer=self._offer,
            bind=self.settler.bind,
            tend=spool.tend if spool else None,
        )
        self.inference = Inference(
            policy=PolicySettings(audit_share=audit_share, answer_deadline_s=deadline_s, threshold=threshold),
            neighbours=Neighbours(
                settle=self.settler.settle,
                hand_over=self.hand_over.offer,
                audit_key=lambda: bytes(32),
                dropped=self.newest.dropped_in_all,
            ),
            streams=["a", "b"],
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self.pipeline = Pipeline(frames=self.newest, models=self.models, inference=self.inference)
        self.parts: list[Any] = [self.output, self.settler, self.writer, self.pipeline]

    def _offer(self, cases: Sequence[NewCase]) -> tuple[int | None, ...]:
        if self.offer_fails:
            raise StorageError("the spool is not open.")
        if self.spool is not None:
            return self.spool.append_many(cases).sequences
        first = len(self.cases) + 1
        self.cases += [decode(Case, case.payload) for case in cases]
        return tuple(range(first, len(self.cases) + 1))

    def __enter__(self) -> "Device":
        for part in self.parts:
            part.start()
        return self

    def __exit__(self, *_: object) -> None:
        for part in reversed(self.parts):
            part.stop()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_bytes().splitlines()]

    def counts(self, stream: str = "a") -> tuple[int, int, int, int]:
        found = self.inference.counters[stream]
        return found.kept, found.deferred, found.audited, found.failed


def _answer(sequence: int, index: int) -> Answer:
    prediction = Prediction(index=index, probabilities=(0.1, 0.9) if index else (0.9, 0.1))
    return Answer(spool_id=b"", sequence=sequence, prediction=prediction, expert_release=3, at=0.0)


def test_a_sure_frame_is_kept_and_answered_at_once(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(0, SURE_RED, "a"))
        device.newest.put(frame(7, SURE_GREEN, "b"))
        until(lambda: device.output.written == 2)
    red, green = sorted(device.events(), key=lambda event: event["stream"])
    assert (red["state"], red["source"], red["action"], red["label"], red["index"]) == ("final", "edge", "keep", "red", 0)
    assert (green["sequence"], green["label"], green["release"]) == (7, "green", 1)
    assert red["score"] > 1.0
    assert 0.5 < red["confidence"] <= 1.0
    assert red["deadline"] == pytest.approx(red["time"] + 60.0)
    assert 0.0 <= red["latency_ms"] < 5000
    assert device.cases == []


def test_an_unsure_frame_is_provisional_then_final_by_the_region(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(5, UNSURE))
        until(lambda: device.cases and device.settler.waiting() == 1)
        until(lambda: device.writer.spooled == 1)
        device.settler.answer(_answer(1, 1))
        until(lambda: device.output.written == 2)
        device.settler.answer(_answer(1, 1))
    first, last = device.events()
    assert (first["state"], first["source"], first["action"], first["index"]) == ("provisional", "edge", "defer", 0)
    assert (last["state"], last["source"], last["index"], last["label"], last["expert_release"]) == ("final", "region", 1, "green", 3)
    assert last["sequence"] == first["sequence"] == 5
    case = device.cases[0]
    assert (case.stream, case.frame, case.unit, case.is_audit, case.reason, case.threshold) == ("a", 5, "u5", False, "below_threshold", 1.0)
    assert np.abs(picture.decode(case.picture).astype(int) - UNSURE).max() < 12
    assert device.settler.unawaited() == 1
    assert device.counts() == (0, 1, 0, 0)


def test_without_an_answer_the_frame_is_final_at_its_deadline(tmp_path: Path) -> None:
    with Device(tmp_path, deadline_s=0.05) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(5, UNSURE))
        until(lambda: device.output.written == 2)
        device.settler.answer(_answer(1, 1))
    first, last = device.events()
    assert (last["state"], last["source"], last["index"]) == ("final", "expired", first["index"])
    assert last["latency_ms"] >= 50
    assert (device.settler.expired, device.settler.answered) == (1, 0)


def test_an_answer_that_comes_before_its_sequence_is_known_still_counts(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.settler.answer(_answer(1, 1))
        device.newest.put(frame(5, UNSURE))
        until(lambda: device.output.written == 2)
    assert [event["source"] for event in device.events()] == ["edge", "region"]
    assert device.settler.unawaited() == 0


def test_audit_samples_are_sent_and_their_local_answer_is_final(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(1, SURE_RED))
        until(lambda: len(device.cases) == 1 and device.output.written == 1)
    assert device.events()[0]["action"] == "audit"
    assert device.events()[0]["state"] == "final"
    assert device.cases[0].is_audit
    assert device.counts() == (0, 0, 1, 0)


def test_a_card_without_calibration_means_audit_only(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r", threshold=None)))
        device.newest.put(frame(1, UNSURE))
        until(lambda: device.output.written == 1)
    assert (device.events()[0]["action"], device.events()[0]["reason"]) == ("keep", "uncalibrated")


def test_a_card_calibrated_for_an_unknown_score_means_audit_only_unless_overridden(tmp_path: Path) -> None:
    for threshold, action in ((None, "keep"), (1.0, "defer")):
        folder = tmp_path / action
        with Device(folder, threshold=threshold) as device:
            device.models.swap(load(write_release(folder / "r", score="of tomorrow")))
            device.newest.put(frame(1, UNSURE))
            until(lambda device=device: device.output.written >= 1)
        assert device.events()[0]["action"] == action


def test_answers_go_on_when_cases_cannot_be_stored(tmp_path: Path) -> None:
    with Device(tmp_path, deadline_s=0.05) as device:
        device.offer_fails = True
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(1, UNSURE))
        until(lambda: device.output.written == 2)
        until(lambda: device.writer.failed == 1)
    assert [event["source"] for event in device.events()] == ["edge", "expired"]


def test_on_a_full_disk_answers_go_on_and_the_writer_brings_the_spool_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shared.link.spool.RETRY_S", 0.01)
    spool = Spool(tmp_path / "spool.db", tmp_path / "spool.key", 1 << 24)
    spool.start()
    with Device(tmp_path, deadline_s=0.05, spool=spool) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        with monkeypatch.context() as full:
            full.setattr("shared.link.segments.os.fdatasync", fail)
            for number in range(1, 4):
                device.newest.put(frame(number, UNSURE))
                until(lambda number=number: device.output.written == 2 * number)
            until(lambda: device.writer.spooled == 3)
            assert "No space" in spool.state().alarm
            assert recount(tmp_path / "spool.db").waiting_count == 0, "nothing is called durable"
        until(lambda: not spool.state().alarm)
    assert recount(tmp_path / "spool.db").waiting_count == 3
    assert [event["source"] for event in device.events()] == ["edge", "expired"] * 3
    spool.stop()


def test_frames_wait_for_the_first_model_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        for number in range(4):
            device.newest.put(frame(number, SURE_RED))
        device.models.swap(load(write_release(tmp_path / "r")))
        until(lambda: device.output.written == 1)
    assert device.events()[0]["sequence"] == 3
    assert device.newest.dropped("a") == 3


class _Broken:
    """An engine that fails."""

    name = "broken"

    def run(self, batch: Any) -> Any:
        raise EngineError("the model answered with logits that are not finite.")

    def close(self) -> None:
        """Nothing is held."""


def test_a_failing_model_is_counted_and_a_swap_back_goes_on(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        good = load(write_release(tmp_path / "r"))
        device.models.swap(good)
        device.newest.put(frame(0, SURE_RED))
        until(lambda: device.output.written == 1)
        bad = LoadedModel(engine=_Broken(), card=msgspec.structs.replace(good.card, release=2))
        assert device.models.swap(bad) is good
        device.newest.put(frame(1, SURE_RED))
        until(lambda: device.counts()[3] == 1)
        device.models.swap(good)
        device.newest.put(frame(2, SURE_RED))
        until(lambda: device.output.written == 2)
    assert [event["sequence"] for event in device.events()] == [0, 2]
    assert (device.inference.served[1].frames, device.inference.served[2].failures) == (2, 1)
    assert device.counts() == (2, 0, 0, 1)
    assert "finite" in device.inference.reason


def test_a_swap_falls_between_two_frames_and_is_recorded(tmp_path: Path) -> None:
    first, second = load(write_release(tmp_path / "1")), load(write_release(tmp_path / "2", release=2, weights=np.array(WEIGHTS)[:, ::-1]))
    with Device(tmp_path) as device:
        device.models.swap(first)
        stop = threading.Event()
        number = 0
        while number < 200:
            device.newest.put(frame(number, SURE_RED))
            number += 1
            if number == 100:
                device.models.swap(second)
            until(lambda n=number: device.output.written >= n)
        stop.set()
    found = device.events()
    assert [event["sequence"] for event in found] == list(range(200))
    assert all((event["label"] == "red") == (event["release"] == 1) for event in found)
    swap = device.inference.swaps[0]
    assert (swap.from_release, swap.to_release, swap.dropped_during, len(device.inference.swaps)) == (1, 2, 0, 1)
    assert 0 <= swap.gap_ms < 1000


def test_streams_of_different_sizes_share_a_batch(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.newest.put(frame(0, np.full((30, 40, 3), (250, 0, 0), np.uint8), "a"))
        device.newest.put(frame(0, SURE_GREEN, "b"))
        device.models.swap(load(write_release(tmp_path / "r")))
        until(lambda: device.output.written == 2)
    assert {event["stream"]: event["label"] for event in device.events()} == {"a": "red", "b": "green"}


def test_stopping_makes_every_waiting_frame_final(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(5, UNSURE))
        until(lambda: device.settler.waiting() == 1)
    assert [(event["state"], event["source"]) for event in device.events()] == [("provisional", "edge"), ("final", "expired")]


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
    with pytest.raises(EngineError, match="classes"):
        load(other)
    with pytest.raises(EngineError, match="read"):
        load(tmp_path / "nothing")


def test_pictures_are_coded_as_the_card_says_unless_the_configuration_does(tmp_path: Path) -> None:
    quality = QualityPoint(codec="webp", quality=65, bytes_mean=400.0, expert_accuracy=0.97)
    card = msgspec.structs.replace(load(write_release(tmp_path)).card, picture_quality=(quality,))
    assert encoding(PictureSettings(), card) == ("webp", 65)
    assert encoding(PictureSettings(codec="jpeg", quality=90), card) == ("jpeg", 90)
    assert encoding(PictureSettings(), None) == ("webp", 80)
