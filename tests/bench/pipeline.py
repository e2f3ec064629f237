"""What a frame costs, from the compressed stream to its event, and what happens at twice the load. All costs are CPU time of the process.

Paired: raw loops and the layered pipeline take turns on the same frames of the given videos, in one thread, batches of one. The raw loops
are what one would write: PyAV's own conversion, the same with a kept converter (the least PyAV can cost), OpenCV where it is installed.
Streams: threads, newest-frame places, micro-batches and events as on a device, on files at 10 frames a second and on RTSP over loopback
(the cameras are another process). Cases are not sent: their pictures cost extra.
Overload: twice as many streams as this machine carries; the age of a frame when it is answered, in periods of its stream.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from cloud.foundry.quantise import quantise
from edge.config import PolicySettings
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import LoadedModel, ModelSlot, open_model
from edge.motion import MotionGate
from edge.newest import NewestFrames
from edge.numbers import FrameNumbers
from edge.outputs import EventFile
from edge.pipeline import Pipeline
from edge.settling import Settler
from edge.sources.address import address
from edge.sources.base import Source
from edge.sources.decoded import SCALING
from edge.sources.live import LiveSource, rtsp
from edge.sources.stream import StreamThread, Wishes
from edge.sources.turns import Turns
from edge.sources.video import VideoSource
from shared import clock
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.release.card import InputSpec, decode_card
from shared.vision.frames import Frame
from tests.bench import edge_overhead
from tests.bench.result import Result, conditions
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
STUDENT = ROOT / "models" / "line" / "student"
VIDEOS = ("bottle-detection.mp4", "one-by-one-person-detection.mp4")
CHUNK, FPS, GATE_SHARE = 20, 10.0, 0.01
Loop = Iterator[int]


def run(*, full: bool) -> Result:
    """Measure all of it; `full` takes whole videos and longer spans."""
    videos = [Path(os.environ.get("TERRACE_DATA", "")) / "video" / name for name in VIDEOS]
    if not all(path.exists() for path in videos):
        raise InputError("the videos are not there.", "Set TERRACE_DATA to the folder of the real data.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _student(folder)
        rows = [_paired(path, model, folder, chunks=50 if full else 15) for path in videos]
        span_s = 20.0 if full else 8.0
        small = videos[0]
        plain = _streams(model, folder / "plain", lambda turns: VideoSource(small, turns=turns), count=8, span_s=span_s)
        gated = _streams(model, folder / "gated", lambda turns: VideoSource(small, turns=turns), count=8, span_s=span_s, gated=True)
        wire = _rtsp(model, folder / "rtsp", small, count=4, span_s=span_s)
        carried = plain["streams_per_core"] * len(os.sched_getaffinity(0))
        over = _streams(
            model, folder / "over", lambda turns: VideoSource(small, turns=turns), count=min(240, int(2 * carried)), span_s=span_s
        )
        speedup = _int8_speedup(folder)
    figures = {
        "overhead_share": statistics.mean(float(row["overhead_share"]) for row in rows),
        "overhead_share_kept_converter": statistics.mean(float(row["overhead_kept"]) for row in rows),
        **({"cpu_ratio_vs_opencv_loop": statistics.mean(float(row["ratio_opencv"]) for row in rows)} if "ratio_opencv" in rows[0] else {}),
        "streams_per_core_10fps": plain["streams_per_core"],
        "streams_per_core_10fps_gated": gated["streams_per_core"],
        "streams_per_core_10fps_rtsp": wire["streams_per_core"],
        "frame_age_p99_periods": over["age_p99_s"] * FPS,
        "overload_uncounted_frames": over["uncounted"],
        "memory_growth_mb": over["growth_mb"],
        "int8_speedup": speedup,
        "cores_for_100_cameras": 100 / plain["streams_per_core"],
    }
    spans = [{"what": what, **found} for what, found in (("files", plain), ("gated", gated), ("rtsp", wire), ("overload", over))]
    return Result(
        name="pipeline", figures=figures, rows=[*rows, *spans], conditions=conditions(videos="640x360, 768x432", network="96x96 INT8")
    )


def _student(folder: Path) -> LoadedModel:
    for kind, name in (("onnx", "model.onnx"), ("card.json", "card.json")):
        (folder / name).write_bytes((STUDENT / f"000001.{kind}").read_bytes())
    return open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)


class Site:
    """What answers frames on a device, without a region."""

    def __init__(self, folder: Path, streams: Sequence[str]) -> None:
        folder.mkdir(exist_ok=True)
        self.frames, self.models = NewestFrames(), ModelSlot()
        self.events = EventFile(folder / "events.jsonl")
        settler = Settler(self.events)
        self.inference = Inference(
            policy=PolicySettings(audit_share=0.02, threshold=-1e9),
            neighbours=Neighbours(
                settle=settler.settle, hand_over=HandOver().offer, audit_key=lambda: bytes(32), dropped=self.frames.dropped_in_all
            ),
            streams=streams,
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self.pipeline = Pipeline(frames=self.frames, models=self.models, inference=self.inference)

    def answered(self) -> int:
        """Frames with an answer."""
        return sum(one.inferred for one in self.inference.counters.values())


def _paired(path: Path, model: LoadedModel, folder: Path, *, chunks: int) -> dict[str, float | str]:
    site = Site(folder / path.stem, ["a"])
    site.events.start()
    loops = {
        "pyav": _raw(path, model, lambda frame, size: frame.to_ndarray(format="rgb24", width=size[1], height=size[0])),
        "kept": _raw(path, model, _kept()),
        "pipeline": _layered(path, model, site.inference),
    }
    with contextlib.suppress(ImportError):
        loops["opencv"] = _opencv(path, model, importlib.import_module("cv2"))
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for chunk in range(chunks + 1):
        names = list(loops)
        for name in names[chunk % len(names) :] + names[: chunk % len(names)]:
            began = time.process_time_ns()
            for _ in range(CHUNK):
                next(loops[name])
            taken[name].append((time.process_time_ns() - began) / CHUNK / 1e3)
    site.events.stop()
    taken = {name: values[1:] for name, values in taken.items()}
    row: dict[str, float | str] = {"video": path.stem, **{f"{name}_us": statistics.median(values) for name, values in taken.items()}}
    row["overhead_share"] = _ratio(taken["pipeline"], taken["pyav"]) - 1
    row["overhead_kept"] = _ratio(taken["pipeline"], taken["kept"]) - 1
    if "opencv" in taken:
        row["ratio_opencv"] = _ratio(taken["pipeline"], taken["opencv"])
    return row


def _ratio(mine: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(one / two for one, two in zip(mine, other, strict=True))


def _raw(path: Path, model: LoadedModel, convert: Callable[[Any, tuple[int, int]], Any]) -> Loop:
    spec = model.card.input
    while True:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                pixels = convert(frame, (spec.height, spec.width))
                batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
                yield int(model.engine.run(batch).argmax())


def _kept() -> Callable[[Any, tuple[int, int]], Any]:
    scaler = VideoReformatter()
    return lambda frame, size: scaler.reformat(frame, size[1], size[0], "gbrp", interpolation=SCALING, threads=1).to_ndarray()


def _opencv(path: Path, model: LoadedModel, cv2: Any) -> Loop:
    spec = model.card.input
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    cv2.setNumThreads(1)
    while True:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        while (read := capture.read())[0]:
            pixels = cv2.cvtColor(cv2.resize(read[1], (spec.width, spec.height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
            batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
            yield int(model.engine.run(batch).argmax())


def _layered(path: Path, model: LoadedModel, inference: Inference) -> Loop:
    source, number, size = VideoSource(path), 0, (model.card.input.height, model.card.input.width)
    while True:
        source.open()
        for shot in source.shots(0):
            frame = Frame(
                stream="a", number=number, unit="u", captured_at=clock.wall(), arrived_at=clock.monotonic(), pixels=shot.look.pixels(size)
            )
            inference.step(model, [frame])
            number += 1
            yield number


def _streams(
    model: LoadedModel, folder: Path, source: Callable[[Turns], Source], *, count: int, span_s: float, gated: bool = False
) -> dict[str, float]:
    """Run streams at 10 frames a second for a span and return what a frame cost."""
    names = [f"s{place}" for place in range(count)]
    site = Site(folder, names)
    numbers, turns = FrameNumbers(folder / "numbers.json"), Turns(len(os.sched_getaffinity(0)))
    threads = [
        StreamThread(
            name=name,
            source=source(turns),
            wishes=Wishes(fps=FPS),
            numbers=numbers,
            put=site.frames.put,
            allow=site.frames.allows,
            gate=MotionGate(share=GATE_SHARE, is_audit=lambda number: number % 50 == 0) if gated else None,
            size=site.models.input_size,
        )
        for name in names
    ]
    site.models.swap(model)
    parts: list[Any] = [site.events, site.pipeline, *threads]
    for part in parts:
        part.start()
    try:
        until(lambda: all(one.state.frames > 3 for one in threads), "the first frames of all streams", within_s=240, every_s=0.2)
        return _span(site, threads, span_s)
    finally:
        for thread in threads:
            thread.signal()
        for part in reversed(parts):
            part.stop()


def _span(site: Site, threads: Sequence[StreamThread], span_s: float) -> dict[str, float]:
    def counts() -> tuple[float, int, int, int, int]:
        read, still = sum(one.state.frames for one in threads), sum(one.state.still for one in threads)
        return time.process_time(), read, site.answered(), site.frames.dropped_in_all(), still

    memory, before, began = _memory_mb(), counts(), time.monotonic()
    time.sleep(span_s)  # the span is what is measured
    after, memory_after = counts(), _memory_mb()
    cpu_s, read, answered, dropped, still = (one - two for one, two in zip(after, before, strict=True))
    return {
        "streams": float(len(threads)),
        "wanted_fps": len(threads) * FPS,
        "read_fps": read / (time.monotonic() - began),
        "answered_share": answered / max(1, read - still),
        "still_share": still / max(1, read),
        "dropped": float(dropped),
        "uncounted": max(0.0, abs(read - answered - dropped - still) - len(threads) - 16),
        "us_per_frame": 1e6 * cpu_s / max(1, read),
        "streams_per_core": read / max(1e-9, cpu_s) / FPS,
        "age_p99_s": site.inference.latency.percentile_ms(0.99) / 1000,
        "growth_mb": memory_after - memory,
    }


def _rtsp(model: LoadedModel, folder: Path, video: Path, *, count: int, span_s: float) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.rtsp", str(video), str(count), str(FPS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT) as cameras:
        assert cameras.stdout is not None
        urls = iter([cameras.stdout.readline().strip() for _ in range(count)])
        try:
            return _streams(model, folder, lambda turns: LiveSource(rtsp(address(next(urls))), turns=turns), count=count, span_s=span_s)
        finally:
            cameras.terminate()


def _memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _int8_speedup(folder: Path) -> float:
    """Time a network of the student's shape in FP32 and quantised, batch 1, taking turns; the ratio of the medians."""
    folder = folder / "int8"
    folder.mkdir()
    edge_overhead._write_release(folder)
    card = decode_card((folder / "card.json").read_bytes())
    spec = InputSpec(width=card.input.width, height=card.input.height)
    frames = np.random.default_rng(0).integers(0, 256, (32, spec.height, spec.width, 3), np.uint8)
    (folder / "int8.onnx").write_bytes(quantise((folder / "model.onnx").read_bytes(), frames, spec))
    engines = [OnnxEngine(folder / name) for name in ("model.onnx", "int8.onnx")]
    batch = np.zeros((1, 3, spec.height, spec.width), np.float32)
    taken: list[list[float]] = [[], []]
    for _ in range(60):
        for place, engine in enumerate(engines):
            began = time.process_time_ns()
            for _ in range(5):
                engine.run(batch)
            taken[place].append(time.process_time_ns() - began)
    return statistics.median(taken[0][5:]) / statistics.median(taken[1][5:])
