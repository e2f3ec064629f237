"""What the demo measures beside the daemons: the expert and the picture codec on the very frames that were streamed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from provisioning.testbed import ledger
from provisioning.testbed.report import Report
from shared.engines.base import Batch
from shared.engines.onnx import OnnxEngine
from shared.release.card import Card, decode_card
from shared.vision.picture import encode
from shared.vision.preprocess import prepare

BATCH = 32
CODEC_SAMPLE = 200
PAIRED_RUNS = 200


def expert_logits(
    frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], model: Path, card: Card
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the expert's logits, float32 (N, classes).

    Args:
        frames: uint8 (N, H, W, 3).
        model: the expert's ONNX file.
        card: its card.
    """
    engine = OnnxEngine(model, threads=2)
    found = [engine.run(prepare(frames[start : start + BATCH], card.input)) for start in range(0, len(frames), BATCH)]
    engine.close()
    return np.concatenate(found)


def bytes_per_frame(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], *, quality: int) -> float:
    """Return the mean bytes of a frame in the codec the devices use, over an even sample."""
    picked = frames[:: max(1, len(frames) // CODEC_SAMPLE)]
    return float(np.mean([len(encode(pixels, quality=quality).data) for pixels in picked]))


def fill(
    report: Report,
    *,
    start: float,
    end: float,
    sent_per_frame: float,
    events: list[Path],
    data: dict[str, Path],
    models: Path,
) -> None:
    """Add accuracies, shares, bytes and latencies of the steady window to the report.

    Args:
        report: is written to.
        start: of the steady window, Unix seconds.
        end: of the steady window.
        sent_per_frame: MQTT payload bytes of all kinds per frame in it.
        events: the devices' event files.
        data: data set (npz with frames and labels) per stream name; stream names are unique over the devices.
        models: folder with the expert.
    """
    frames = {}
    for path in events:
        frames.update(ledger.within(ledger.join(ledger.parse_events(path.read_bytes())), start, end))
    card = decode_card((models / "expert" / "000001.card.json").read_bytes())
    truth: dict[str, Sequence[int]] = {}
    expert: dict[str, Sequence[int]] = {}
    sizes = []
    quality = card.picture_quality[0].quality if card.picture_quality else 80
    for stream, path in data.items():
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            pixels, truth[stream] = loaded["frames"], loaded["labels"].tolist()
        expert[stream] = expert_logits(pixels, models / "expert" / "000001.onnx", card).argmax(axis=1).tolist()
        sizes.append(bytes_per_frame(pixels, quality=quality))
    _fill_quality(report, ledger.accuracies(frames, truth, expert), ledger.shares(frames))
    latencies = ledger.answer_latencies(frames)
    report.answer_latency_ms_p50, report.answer_latency_ms_p99 = ledger.quantile(latencies, 0.5), ledger.quantile(latencies, 0.99)
    report.uplink_bytes_per_frame = sent_per_frame
    report.all_frames_same_codec_bytes_per_frame = float(np.mean(sizes))


def _fill_quality(report: Report, accuracy: ledger.Accuracies, shares: ledger.Shares) -> None:
    report.frames = accuracy.frames
    report.edge_only_accuracy, report.expert_accuracy, report.system_accuracy = accuracy.edge_only, accuracy.expert, accuracy.system
    report.system_minus_expert = accuracy.system - accuracy.expert
    report.deferred_share, report.audit_share = shares.deferred, shares.audited


def int8_speedup(fp32: Path, int8: Path, batch: Batch) -> float:
    """Return how many times as fast INT8 is as FP32 on this machine: median of paired runs of one picture on one thread.

    Args:
        fp32: the round's student before quantisation.
        int8: the released student.
        batch: one prepared picture, float32 (1, 3, H, W).
    """
    slow, fast = OnnxEngine(fp32, threads=1), OnnxEngine(int8, threads=1)
    ratios = []
    for _ in range(PAIRED_RUNS):
        began = time.perf_counter()
        slow.run(batch)
        between = time.perf_counter()
        fast.run(batch)
        ratios.append((between - began) / (time.perf_counter() - between))
    slow.close()
    fast.close()
    return float(np.median(ratios))


def fill_release(report: Report, cloud: Path, release: int, number: int) -> None:
    """Add the new student's sizes and its INT8 figures to the report.

    Args:
        report: is written to.
        cloud: the cloud's state folder.
        release: the student's release.
        number: the round it came from.
    """
    folder = cloud / "repository" / "targets" / "models" / "student" / "auto"
    full, card = (next(folder.glob(f"*.{release:06d}.{suffix}"), None) for suffix in ("onnx", "card.json"))
    deltas = [path.stat().st_size for path in folder.glob(f"*.{release:06d}.from-*.delta")]
    if full is None or card is None:
        return
    read = decode_card(card.read_bytes())
    figures = read.lineage.figures
    report.release_bytes_full, report.release_bytes_delta = full.stat().st_size, min(deltas, default=0)
    report.int8_accuracy_drop = figures.get("seed_accuracy_fp32", 0.0) - figures.get("seed_accuracy_int8", 0.0)
    picture = prepare(read.self_test.frames()[:1], read.input)
    report.int8_speedup = int8_speedup(cloud / "rounds" / f"{number:06d}" / "candidate.fp32.onnx", full, picture)
