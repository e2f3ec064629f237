"""Frames become events at once; hard ones are sent, and nothing the region, the disk or the model does stops the answers."""

import errno
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.model import LoadedModel
from shared import log
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError
from shared.link.recount import recount
from shared.link.spool import Spool
from shared.release.card import decode_card
from shared.vision import picture
from shared.wire.messages import Answer, Prediction
from tests.unit import seeing_models
from tests.unit.edge_parts import SIZE, WEIGHTS, frame, load, write_release
from tests.unit.pipeline_parts import SURE_GREEN, SURE_RED, UNSURE, Device
from tests.waiting import until


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


def test_a_picture_that_cannot_be_encoded_costs_no_other_its_case(tmp_path: Path) -> None:
    wide = np.tile(UNSURE[:1, :1], (1, 16_400, 1))  # WebP ends at 16,383
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        device.newest.put(frame(0, wide, "a"))
        device.newest.put(frame(0, UNSURE, "b"))
        until(lambda: device.writer.spooled + device.writer.failed == 2)
    assert [case.stream for case in device.cases] == ["b"]
    assert device.writer.failed == 1


def test_frames_that_wait_for_an_answer_hold_no_pictures(tmp_path: Path) -> None:
    pictures = []
    with Device(tmp_path) as device:
        device.models.swap(load(write_release(tmp_path / "r")))
        for number in range(5):
            pixels = UNSURE.copy()
            pictures.append(weakref.ref(pixels))
            device.newest.put(msgspec.structs.replace(frame(number, pixels), whole=partial(np.array, pixels)))
            del pixels
            until(lambda n=number: device.writer.spooled == n + 1)
        until(lambda: sum(picture() is not None for picture in pictures) <= 1)  # the last may still be somebody's local variable
        assert device.settler.waiting() == 5


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


def test_a_frame_on_which_the_model_answers_nonsense_costs_no_other_stream_its_answer(tmp_path: Path) -> None:
    data = seeing_models.logarithmic()  # the logarithm of what white lacks is minus infinity
    folder = seeing_models.write(tmp_path / "r", data, task="classification", labels=("red", "green"), calibration=None)
    card = decode_card((folder / "card.json").read_bytes())
    engine = OnnxEngine(folder / "model.onnx").load()
    with pytest.raises(EngineError, match="not finite"):
        engine.run(np.ones((1, 3, SIZE, SIZE), np.float32))
    with Device(tmp_path) as device:
        for stream, picture_of in (("a", np.full_like(SURE_RED, 255)), ("b", SURE_RED)):
            device.newest.put(frame(0, picture_of, stream))
        device.models.swap(LoadedModel(engine=engine, card=card))
        until(lambda: device.output.written == 1 and device.counts("a")[3] == 1)
    (event,) = device.events()
    assert (event["stream"], event["label"], event["reason"]) == ("b", "red", "uncalibrated")
    assert (device.counts("a"), device.counts("b")) == ((0, 0, 0, 1), (1, 0, 0, 0))
    assert "not finite" in device.inference.reason
    assert (device.inference.served[3].frames, device.inference.served[3].failures) == (1, 1)


def test_a_defect_is_counted_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Odd(_Broken):
        def run(self, batch: Any) -> Any:
            raise ZeroDivisionError("a defect of ours")

    log.configure()
    with Device(tmp_path) as device:
        good = load(write_release(tmp_path / "r"))
        device.models.swap(LoadedModel(engine=Odd(), card=good.card))
        for number in range(3):
            device.newest.put(frame(number, SURE_RED))
            until(lambda n=number: device.counts()[3] == n + 1)
        device.models.swap(good)
        device.newest.put(frame(3, SURE_RED))
        until(lambda: device.output.written == 1)
    assert device.inference.reason == "ZeroDivisionError: a defect of ours"
    assert capfd.readouterr().err.count("inference_failed") == 1


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
            until(lambda n=number: device.counts()[0] >= n)
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
