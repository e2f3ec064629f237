"""What the demo measures beside the daemons: the expert and the picture codec on the very frames that were streamed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from provisioning.testbed import ledger
from provisioning.testbed.loop import Window
from provisioning.testbed.report import Report
from shared.engines.onnx import OnnxEngine
from shared.release.card import Card, decode_card
from shared.vision.picture import encode
from shared.vision.preprocess import prepare

BATCH = 32
CODEC_SAMPLE = 200


def expert_predictions(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], model: Path, card: Card) -> list[int]:
    """Return the expert's class for every frame.

    Args:
        frames: uint8 (N, H, W, 3).
        model: the expert's ONNX file.
        card: its card.
    """
    engine = OnnxEngine(model, threads=2)
    found: list[int] = []
    for start in range(0, len(frames), BATCH):
        found += engine.run(prepare(frames[start : start + BATCH], card.input)).argmax(axis=1).tolist()
    engine.close()
    return found


def bytes_per_frame(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], *, quality: int) -> float:
    """Return the mean bytes of a frame in the codec the devices use, over an even sample."""
    picked = frames[:: max(1, len(frames) // CODEC_SAMPLE)]
    return float(np.mean([len(encode(pixels, quality=quality).data) for pixels in picked]))


def fill(report: Report, window: Window, events: dict[str, Path], data: dict[str, Path], models: Path) -> None:
    """Add accuracies, shares, bytes and latencies of the steady window to the report.

    Args:
        report: is written to.
        window: the steady window.
        events: event file per device.
        data: data set (npz with frames and labels) per stream name; stream names are unique over the devices.
        models: folder with the expert.
    """
    frames = {}
    for path in events.values():
        frames.update(ledger.within(ledger.join(ledger.parse_events(path.read_bytes())), window.start, window.end))
    card = decode_card((models / "expert" / "000001.card.json").read_bytes())
    truth: dict[str, Sequence[int]] = {}
    expert: dict[str, Sequence[int]] = {}
    sizes = []
    quality = card.picture_quality[0].quality if card.picture_quality else 80
    for stream, path in data.items():
        with np.load(path, allow_pickle=False) as loaded:
            pixels, truth[stream] = loaded["frames"], loaded["labels"].tolist()
        expert[stream] = expert_predictions(pixels, models / "expert" / "000001.onnx", card)
        sizes.append(bytes_per_frame(pixels, quality=quality))
    _fill_quality(report, ledger.accuracies(frames, truth, expert), ledger.shares(frames))
    latencies = ledger.answer_latencies(frames)
    report.answer_latency_ms_p50, report.answer_latency_ms_p99 = ledger.quantile(latencies, 0.5), ledger.quantile(latencies, 0.99)
    report.uplink_bytes_per_frame = window.bytes_sent / max(1, window.frames)
    report.all_frames_same_codec_bytes_per_frame = float(np.mean(sizes))


def _fill_quality(report: Report, accuracy: ledger.Accuracies, shares: ledger.Shares) -> None:
    report.frames = accuracy.frames
    report.edge_only_accuracy, report.expert_accuracy, report.system_accuracy = accuracy.edge_only, accuracy.expert, accuracy.system
    report.system_minus_expert = accuracy.system - accuracy.expert
    report.deferred_share, report.audit_share = shares.deferred, shares.audited


def fill_release(report: Report, repository: Path, release: int) -> None:
    """Add the new student's sizes and its card's INT8 figures to the report.

    Args:
        report: is written to.
        repository: the cloud's release repository (folder with `targets/`).
        release: the student's release.
    """
    folder = repository / "targets" / "models" / "student" / "auto"
    full = sorted(folder.glob(f"*.{release:06d}.onnx"))
    deltas = sorted(folder.glob(f"*.{release:06d}.from-*.delta"))
    cards = sorted(folder.glob(f"*.{release:06d}.card.json"))
    report.release_bytes_full = full[0].stat().st_size if full else 0
    report.release_bytes_delta = min((path.stat().st_size for path in deltas), default=0)
    if cards:
        figures = decode_card(cards[0].read_bytes()).lineage.figures
        report.int8_accuracy_drop = figures.get("int8_accuracy_drop", 0.0)
        report.int8_speedup = figures.get("int8_speedup", 0.0)
