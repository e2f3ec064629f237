"""Small real parts of the edge for tests: models, cards, frames and sources of known content."""

import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from edge.model import LoadedModel, open_model
from edge.sources.base import Developed, Shot
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.release import card
from shared.vision.frames import Frame, Pixels
from tests.unit import models

WEIGHTS = [[6.0, 0.0], [0.0, 6.0], [0.0, 0.0]]
SIZE = 8


def write_release(
    folder: Path, *, release: int = 1, threshold: float | None = 1.0, weights: object = WEIGHTS, score: str = "margin"
) -> Path:
    """Write a model that calls red pictures class 0 and green ones class 1, with its card."""
    folder.mkdir(parents=True, exist_ok=True)
    data = models.linear(weights, size=SIZE)
    (folder / "model.onnx").write_bytes(data)
    frames = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    calibration = (
        None
        if threshold is None
        else card.Calibration(score=score, threshold=threshold, epsilon=0.01, delta=0.05, risk_bound=0.01, units=300, frames=300)
    )
    made = card.Card(
        model="student",
        release=release,
        labels=("red", "green"),
        input=card.InputSpec(width=SIZE, height=SIZE),
        self_test=card.SelfTest(shape=(1, SIZE, SIZE, 3), inputs=card.pack_inputs(frames), logits=((0.0, 0.0),), tolerance=0.1),
        lineage=card.Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
        calibration=calibration,
        onnx_sha256=card.sha256(data),
    )
    (folder / "card.json").write_bytes(card.encode_card(made))
    return folder


def load(folder: Path) -> LoadedModel:
    """Load what `write_release` wrote."""
    return open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)


def colour(red: int, green: int) -> Pixels:
    """Return a flat picture."""
    return np.full((SIZE, SIZE, 3), (red, green, 0), np.uint8)


def frame(number: int, pixels: Pixels, stream: str = "a") -> Frame:
    """Return a frame that arrived now."""
    return Frame(stream=stream, number=number, unit=f"u{number}", captured_at=time.time(), arrived_at=time.monotonic(), pixels=pixels)


def write_video(path: Path, count: int = 24, fps: int = 10, size: int = 64) -> Path:
    """Write an H.264 video whose frame n is grey of brightness 8 n + 20."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": "4", "crf": "10"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(np.full((size, size, 3), 8 * number + 20, np.uint8), format="rgb24")
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class ListSource:
    """A source of given pictures; None stands for a damaged one, and it can be told to fail when opened."""

    def __init__(self, pictures: list[Pixels | None]) -> None:
        self.pictures = pictures
        self.failures = 0
        self.closed = 0

    def open(self) -> int:
        """Fail as often as told, then report the length."""
        if self.failures:
            self.failures -= 1
            raise InputError("the camera is gone.", "Plug it in.")
        return len(self.pictures)

    def rate(self) -> float:
        """No own pace."""
        return 0.0

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield what is not damaged."""
        for index in range(first, len(self.pictures)):
            pixels = self.pictures[index]
            if pixels is not None:
                yield Shot(index=index, look=Developed(pixels))

    def close(self) -> None:
        """Count closings."""
        self.closed += 1
