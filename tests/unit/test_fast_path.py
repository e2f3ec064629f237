"""The plain loop is the specification: threads, batches and kept converters decide the same on the same frames."""

from __future__ import annotations

from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import given
from hypothesis import strategies as st

from edge.events import Inferred
from edge.model import LoadedModel, open_model
from edge.numbers import FrameNumbers
from edge.sources.decoded import SCALING
from edge.sources.stream import StreamThread, Wishes
from edge.sources.video import VideoSource
from shared.deferral.policy import Policy
from shared.deferral.reading import reader_of
from shared.deferral.scores import SCORES
from shared.engines.onnx import OnnxEngine
from shared.release.card import Card, InputSpec, Lineage, SelfTest
from shared.vision.fit import FITS, place_of
from shared.vision.preprocess import prepare
from shared.vision.tasks.classification import decode
from tests.unit.pipeline_parts import Device
from tests.waiting import until

STUDENT = Path(__file__).resolve().parents[2] / "models" / "line" / "student"
AUDIT, FRAMES = 0.2, 30


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving scene at a size that is not the network's."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 256, (40, 60, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(FRAMES):
            seen = np.ascontiguousarray(texture[number : number + 180, 2 * number : 2 * number % 40 + 320][:, :320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.resize(seen, (180, 320, 3)), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module", params=FITS)
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> LoadedModel:
    """The shipped student, with each way to bring a frame into its input."""
    folder = tmp_path_factory.mktemp("release")
    for kind, name in (("onnx", "model.onnx"), ("card.json", "card.json")):
        (folder / name).write_bytes((STUDENT / f"000001.{kind}").read_bytes())
    opened = open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)
    spec = msgspec.structs.replace(opened.card.input, fit=request.param)
    return msgspec.structs.replace(opened, card=msgspec.structs.replace(opened.card, input=spec))


Outcome = tuple[int, str, str, float]


def _plain(video: Path, model: LoadedModel, stream: str) -> dict[int, Outcome]:
    """Decode, scale, prepare, run, decide: one frame after another."""
    spec, calibration = model.card.input, model.card.calibration
    assert calibration is not None
    policy, outcomes = Policy(threshold=calibration.threshold, audit_share=AUDIT), {}
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            place = place_of((frame.height, frame.width), spec)
            pixels = VideoReformatter().reformat(frame, place.width, place.height, "gbrp", interpolation=SCALING).to_ndarray()
            logits = model.engine.run(prepare(pixels[None], spec))
            score = float(SCORES[calibration.score](logits)[0])
            decision = policy.decide(stream=stream, frame=number, score=score, audit_key=bytes(32))
            outcomes[number] = (decode(logits)[0].index, decision.action.value, decision.reason, score)
    return outcomes


def test_the_pipeline_decides_as_the_plain_loop_does(tmp_path: Path, video: Path, model: LoadedModel) -> None:
    found: dict[str, dict[int, Outcome]] = {"a": {}, "b": {}}
    with Device(tmp_path, audit_share=AUDIT) as device:
        settle = device.settler.settle

        def noted(inferred: Inferred, now: float) -> None:
            decision = inferred.decision
            found[inferred.frame.stream][inferred.frame.number] = (
                inferred.prediction.index,
                decision.action.value,
                decision.reason,
                decision.score,
            )
            settle(inferred, now)

        device.inference._to.settle = noted
        device.models.swap(model)
        numbers = FrameNumbers(tmp_path / "numbers.json")
        streams = [
            StreamThread(
                name=name,
                source=VideoSource(video),
                wishes=Wishes(fps=50.0, loop=False),
                numbers=numbers,
                put=device.newest.put,
                size=device.models.scaled_size,
            )
            for name in found
        ]
        for stream in streams:
            stream.start()
        until(lambda: all(stream.state.state == "ended" for stream in streams), "the ends of both streams", within_s=60)
        until(lambda: sum(map(len, found.values())) + device.newest.dropped_in_all() == 2 * FRAMES, "every frame to be counted")
    for name, outcomes in found.items():
        plain = _plain(video, model, name)
        assert len(plain) == FRAMES
        assert len(outcomes) >= 5
        for number, outcome in outcomes.items():
            assert outcome[:3] == plain[number][:3]
            assert outcome[3] == pytest.approx(plain[number][3], abs=1e-5)
    assert len({outcome[1] for outcomes in found.values() for outcome in outcomes.values()}) > 1


@given(st.integers(1, 60), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_a_small_batch_is_read_as_a_large_one(frames: int, classes: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 5, (frames, classes)).astype(np.float32)
    card = Card(
        model="m",
        release=1,
        labels=tuple("abcdefghi"[:classes]),
        input=InputSpec(width=8, height=8),
        self_test=SelfTest(shape=(1,), inputs="", logits=(), tolerance=0.0),
        lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
    )
    reading = reader_of(card)(logits)
    assert reading.predictions == decode(logits)
    assert reading.scores == SCORES["margin"](logits).tolist() == [float(np.diff(np.sort(row.astype(float))[-2:])[0]) for row in logits]


def test_a_forwarded_frame_carries_the_whole_picture(tmp_path: Path, video: Path, model: LoadedModel) -> None:
    with Device(tmp_path, audit_share=1.0) as device:
        device.models.swap(model)
        stream = StreamThread(
            name="a",
            source=VideoSource(video),
            wishes=Wishes(fps=50.0, loop=False),
            numbers=FrameNumbers(tmp_path / "numbers.json"),
            put=device.newest.put,
            size=device.models.scaled_size,
        )
        stream.start()
        until(lambda: device.cases, "a case", within_s=60)
        stream.stop()
    assert (device.cases[0].picture.width, device.cases[0].picture.height) == (320, 180)
