"""Models run beside the fleet on the frames it streams: what a model would have answered, right or wrong, and what codecs would cost."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from provisioning.line import video
from provisioning.testbed.measure import BATCH, bytes_per_frame
from shared.engines.onnx import OnnxEngine
from shared.release.card import decode_card
from shared.vision.preprocess import prepare


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """Labels and units of a stream, by place."""

    labels: list[int]
    units: list[str]


def truth(path: Path) -> Truth:
    """Return labels and units of a labelled .npz; a data set without units has one per picture."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        labels = [int(label) for label in data["labels"]]
        units = [str(unit) for unit in data["units"]] if "units" in data else [f"{index}" for index in range(len(labels))]
    return Truth(labels=labels, units=units)


def classes(card: Path) -> int:
    """Return how many classes a card names."""
    return len(decode_card(card.read_bytes()).labels)


def right(model: Path, card: Path, path: Path) -> list[bool]:
    """Return, for each frame of a labelled .npz, whether a model answers it rightly.

    Args:
        model: the ONNX file, as devices run it.
        card: its card.
        path: the .npz with frames and labels.
    """
    expected = decode_card(card.read_bytes()).input
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        frames, labels = data["frames"], data["labels"]
    engine = OnnxEngine(model, threads=1)
    try:
        found = [engine.run(prepare(frames[start : start + BATCH], expected)).argmax(axis=1) for start in range(0, len(frames), BATCH)]
    finally:
        engine.close()
    return [bool(one) for one in np.concatenate(found) == labels]


def expert_right(models: Path, path: Path) -> list[bool]:
    """Return, for each frame of a labelled .npz, whether the expert answers it rightly."""
    return right(models / "expert" / "000001.onnx", models / "expert" / "000001.card.json", path)


def mean_bytes(models: Path, paths: Sequence[Path]) -> float:
    """Return the mean bytes of a frame in the codec and quality devices send hard cases in."""
    card = decode_card((models / "expert" / "000001.card.json").read_bytes())
    quality = card.picture_quality[0].quality if card.picture_quality else 80
    return float(np.mean([bytes_per_frame(_frames(path), quality=quality) for path in paths]))


def h264_bytes(paths: Sequence[Path], videos: Mapping[str, Path]) -> float:
    """Return the mean bytes of a frame in an H.264 stream: of the stream's own file where it is one, else of one made of its frames.

    Args:
        paths: labelled .npz by stream.
        videos: H.264 files by the name of the stream, where there are any.
    """
    return float(np.mean([_h264(path, videos.get(path.stem)) for path in paths]))


def _h264(path: Path, made: Path | None) -> float:
    frames = _frames(path)
    if made is not None:
        return made.stat().st_size / len(frames)
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        video.write(Path(folder) / "stream.mp4", even)
        return (Path(folder) / "stream.mp4").stat().st_size / len(frames)


def _frames(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return np.asarray(data["frames"])
