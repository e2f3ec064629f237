"""What a frame costs, from the compressed stream to its event, and what happens at twice the load. All costs are CPU time of the process.

Paired: raw loops and the layered pipeline take turns on the same frames of the given videos, in one thread, batches of one. The raw loops
are what one would write: PyAV's own conversion, the same with a kept converter (the least PyAV can cost), OpenCV where it is installed.
Streams: threads, newest-frame places, micro-batches and events as on a device, on files at 10 frames a second and on RTSP over loopback
(the cameras are another process). Carried: the most streams of which 99 % of the frames are read and answered. Overload: twice as many;
the age of a frame when it is answered, in periods of its stream. Steady: half as many, and what memory grows by.
Costs: the parts of a frame's cost and, computed from them, what 100 cameras need on each hardware profile.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import onnxruntime
from av.video.reformatter import VideoReformatter

from cloud.foundry.quantise import quantise
from edge.inference import Inference
from edge.model import LoadedModel, open_model
from edge.sources.decoded import SCALING
from edge.sources.video import VideoSource
from shared import clock
from shared.engines.base import Batch
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.hwprofile import shelf
from shared.release.card import InputSpec, decode_card
from shared.vision.frames import Frame
from shared.vision.preprocess import prepare
from tests.bench import edge_overhead
from tests.bench.result import Result, conditions
from tests.bench.streams import site
from tests.bench.streams.costs import FrameCost, row
from tests.bench.streams.site import FPS, ROOT

STUDENT = ROOT / "models" / "line" / "student"
VIDEOS = ("bottle-detection.mp4", "one-by-one-person-detection.mp4")
CHUNK, MOST = 20, 160
Loop = Iterator[int]
Row = dict[str, float | str]


def run(*, full: bool) -> Result:
    """Measure all of it; `full` takes whole videos and longer spans."""
    videos = [Path(os.environ.get("TERRACE_DATA", "")) / "video" / name for name in VIDEOS]
    if not all(path.exists() for path in videos):
        raise InputError("the videos are not there.", "Set TERRACE_DATA to the folder of the real data.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, span_s = _student(folder), 20.0 if full else 8.0
        pairs = [_paired(path, model, folder, chunks=50 if full else 15) for path in videos]
        cost = _cost(videos[0], model, folder, chunks=30 if full else 10)
        spans, figures = _spans(model, folder, videos[0], span_s=span_s, steady_s=120.0 if full else 20.0)
        figures["int8_speedup"], figures["io_binding_ratio"] = _int8_speedup(folder), _io_binding(model)
    profiles = shelf.every()
    mine = shelf.find("auto").name
    table = [row(one, cost, fps=FPS, is_this_machine=one.name == mine) for one in profiles if one.kind == "edge"]
    return Result(
        name="pipeline",
        figures={**_overheads(pairs), **figures},
        rows=[*pairs, msgspec.structs.asdict(cost), *spans, *table],
        conditions=conditions(videos="640x360, 768x432", network="96x96 INT8"),
    )


def _overheads(pairs: Sequence[Row]) -> dict[str, float]:
    names = {
        "overhead_share": "overhead_share",
        "overhead_share_kept_converter": "overhead_kept",
        "cpu_ratio_vs_opencv_loop": "ratio_opencv",
    }
    return {name: statistics.mean(float(one[key]) for one in pairs) for name, key in names.items() if key in pairs[0]}


def _spans(model: LoadedModel, folder: Path, video: Path, *, span_s: float, steady_s: float) -> tuple[list[Row], dict[str, float]]:
    """Run the spans with streams; returns what each was and the figures drawn from them."""
    cameras = site.files(video)
    plain = site.run(model, folder / "plain", cameras, count=8, span_s=span_s)
    gated = site.run(model, folder / "gated", cameras, count=8, span_s=span_s, gated=True)
    wire = site.over_rtsp(model, folder / "rtsp", video, count=4, span_s=span_s)
    (folder / "carried").mkdir()
    guess = plain["streams_per_core"] * len(os.sched_getaffinity(0))
    most, tries = site.carried(model, folder / "carried", cameras, guess=min(MOST, 0.95 * guess), span_s=span_s)
    count = int(most["streams"])
    over = site.run(model, folder / "over", cameras, count=min(2 * MOST, 2 * count), span_s=span_s)
    steady = site.run(model, folder / "steady", cameras, count=max(1, count // 2), span_s=steady_s)
    named = [
        ("files", plain),
        ("gated", gated),
        ("rtsp", wire),
        *[("carried?", one) for one in tries],
        ("overload", over),
        ("steady", steady),
    ]
    figures = {
        "streams_per_core_10fps": most["streams_per_core"],
        "streams_per_core_10fps_of_8": plain["streams_per_core"],
        "streams_per_core_10fps_gated": gated["streams_per_core"],
        "streams_per_core_10fps_rtsp": wire["streams_per_core"],
        "answered_share_10fps": most["answered_share"],
        "streams_carried_10fps": most["streams"],
        "cores_used_carrying_them": most["cores_used"],
        "frame_age_p99_periods": over["age_p99_s"] * FPS,
        "frame_age_p50_periods": over["age_p50_s"] * FPS,
        "overload_answered_share": over["answered_share"],
        "overload_uncounted_frames": over["uncounted"],
        "memory_growth_mb": steady["growth_mb"],
        "memory_growth_after_s": steady_s,
    }
    return [{"what": what, **found} for what, found in named], figures


def _student(folder: Path) -> LoadedModel:
    for kind, name in (("onnx", "model.onnx"), ("card.json", "card.json")):
        (folder / name).write_bytes((STUDENT / f"000001.{kind}").read_bytes())
    return open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)


def _paired(path: Path, model: LoadedModel, folder: Path, *, chunks: int) -> Row:
    here = site.Site(folder / path.stem, ["a"])
    here.events.start()
    loops = {
        "pyav": _raw(path, model, lambda frame, size: frame.to_ndarray(format="rgb24", width=size[1], height=size[0])),
        "kept": _raw(path, model, _kept()),
        "pipeline": _layered(path, model, here.inference),
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
    here.events.stop()
    taken = {name: values[1:] for name, values in taken.items()}
    found: Row = {"video": path.stem, **{f"{name}_us": statistics.median(values) for name, values in taken.items()}}
    found["overhead_share"] = _ratio(taken["pipeline"], taken["pyav"]) - 1
    found["overhead_kept"] = _ratio(taken["pipeline"], taken["kept"]) - 1
    if "opencv" in taken:
        found["ratio_opencv"] = _ratio(taken["pipeline"], taken["opencv"])
    return found


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


class _Known:
    """An engine that has the answer already, so that a step with it costs all but the run."""

    name = "known"

    def __init__(self, answer: Batch) -> None:
        self._answer = answer

    def run(self, batch: Batch) -> Batch:
        return self._answer

    def close(self) -> None:
        """Nothing is held."""


def _cost(path: Path, model: LoadedModel, folder: Path, *, chunks: int) -> FrameCost:
    """Measure the parts of a frame's cost in one thread, one frame after another, as a device walks through them; medians."""
    here, spec = site.Site(folder / "cost", ["a"]), model.card.input
    here.events.start()
    known = LoadedModel(engine=_Known(model.engine.run(np.zeros((1, 3, spec.height, spec.width), np.float32))), card=model.card)
    taken: list[tuple[int, ...]] = []
    source = VideoSource(path)
    source.open()
    while len(taken) < chunks * CHUNK:
        shots, before = source.shots(0), time.process_time_ns()
        for number, shot in enumerate(shots):
            marks = [before, time.process_time_ns()]
            pixels = shot.look.pixels((spec.height, spec.width))
            marks.append(time.process_time_ns())
            batch = prepare(pixels[None], spec)
            marks.append(time.process_time_ns())
            model.engine.run(batch)
            marks.append(time.process_time_ns())
            frame = Frame(stream="a", number=number, unit="u", captured_at=clock.wall(), arrived_at=clock.monotonic(), pixels=pixels)
            here.inference.step(known, [frame])
            marks.append(time.process_time_ns())
            taken.append(tuple(one - two for one, two in itertools.pairwise(marks[::-1]))[::-1])
            before = time.process_time_ns()
    here.events.stop()
    decode, look, prepared, ran, stepped = (statistics.median(column) / 1e3 for column in zip(*taken[CHUNK:], strict=True))
    decide = stepped - prepared  # a step prepares as well
    return FrameCost(decode_us=decode, look_us=look, prepare_us=prepared, run_us=ran, decide_us=decide)


def _io_binding(model: LoadedModel) -> float:
    """Time runs into a reused output buffer against plain ones, taking turns; the median of the ratios."""
    session, spec = onnxruntime.InferenceSession(str(STUDENT / "000001.onnx"), providers=["CPUExecutionProvider"]), model.card.input
    batch = np.random.default_rng(0).random((1, 3, spec.height, spec.width), np.float32)
    entry, leave = session.get_inputs()[0].name, session.get_outputs()[0].name
    answer = session.run(None, {entry: batch})[0]
    bound = session.io_binding()
    bound.bind_output(leave, "cpu", 0, np.float32, list(answer.shape), answer.ctypes.data)

    def reused() -> None:
        bound.bind_cpu_input(entry, batch)
        session.run_with_iobinding(bound)

    ways: tuple[Callable[[], object], ...] = (lambda: session.run(None, {entry: batch}), reused)
    taken: list[list[float]] = [[], []]
    for turn in range(60):
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.process_time_ns()
            for _ in range(10):
                ways[place]()
            taken[place].append(time.process_time_ns() - began)
    return _ratio(taken[1], taken[0])


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
