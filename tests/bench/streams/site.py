"""What answers frames on a device, without a region, and streams of real videos that feed it; what a span of it cost.

All costs are CPU time of the process. A frame's age is from its arrival (decoded, and due) to its answer. Cases are not sent.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.config import PolicySettings
from edge.counters import SwapRecord
from edge.events import Inferred
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import LoadedModel, ModelSlot
from edge.motion import MotionGate
from edge.newest import RELIEVED, REPLACED, STALE, NewestFrames
from edge.numbers import FrameNumbers
from edge.outputs import EventFile
from edge.pipeline import Pipeline
from edge.settling import Settler
from edge.sources.address import address
from edge.sources.base import Source
from edge.sources.live import LiveSource, rtsp
from edge.sources.stream import StreamThread, Wishes
from edge.sources.turns import Turns
from edge.sources.video import VideoSource
from shared import clock
from shared.vision.frames import Frame
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
FPS, GATE_SHARE = 10.0, 0.01
Cameras = Callable[[int, Turns], Source]
"""Gives the source of the so manieth stream."""


class Timed(Inference):
    """Notes how long each batch took, and how many frames were in it."""

    def step(self, model: LoadedModel, frames: Sequence[Frame]) -> SwapRecord | None:
        """Answer one batch; see `Inference.step`."""
        began = clock.monotonic()
        try:
            return super().step(model, frames)
        finally:
            self.batches.append((len(frames), clock.monotonic() - began))

    @functools.cached_property
    def batches(self) -> deque[tuple[int, float]]:
        """The batches since the bench emptied this."""
        return deque(maxlen=100_000)


class Site:
    """A device's parts."""

    def __init__(self, folder: Path, streams: Sequence[str]) -> None:
        folder.mkdir(exist_ok=True)
        self.frames, self.models = NewestFrames(), ModelSlot()
        self.events = EventFile(folder / "events.jsonl")
        self.ages: array[float] = array("d")
        self._settler = Settler(self.events)
        self.inference = Timed(
            policy=PolicySettings(audit_share=0.02, threshold=-1e9),
            neighbours=Neighbours(
                settle=self._settle, hand_over=HandOver().offer, audit_key=lambda: bytes(32), dropped=self.frames.dropped_in_all
            ),
            streams=streams,
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self.pipeline = Pipeline(frames=self.frames, models=self.models, inference=self.inference)

    def answered(self) -> int:
        """Frames with an answer."""
        return sum(one.inferred for one in self.inference.counters.values())

    def _settle(self, inferred: Inferred, now: float) -> None:
        self.ages.append(now - inferred.frame.arrived_at)
        self._settler.settle(inferred, now)


def files(video: Path) -> Cameras:
    """Return cameras that replay a file, each its own decoder."""
    return lambda _, turns: VideoSource(video, turns=turns)


def run(model: LoadedModel, folder: Path, cameras: Cameras, *, count: int, span_s: float, gated: bool = False) -> dict[str, float]:
    """Run streams at 10 frames a second for a span and return what a frame cost."""
    names = [f"s{place}" for place in range(count)]
    site = Site(folder, names)
    numbers, turns = FrameNumbers(folder / "numbers.json"), Turns(len(os.sched_getaffinity(0)))
    threads = [
        StreamThread(
            name=name,
            source=cameras(place, turns),
            wishes=Wishes(fps=FPS),
            numbers=numbers,
            put=site.frames.put,
            allow=site.frames.allows,
            gate=MotionGate(share=GATE_SHARE, is_audit=lambda number: number % 50 == 0) if gated else None,
            size=site.models.scaled_size,
        )
        for place, name in enumerate(names)
    ]
    site.models.swap(model)
    parts: list[Any] = [site.events, site.pipeline, *threads]
    for part in parts:
        part.start()
    try:
        until(lambda: all(one.state.frames > 3 for one in threads), "the first frames of all streams", within_s=240, every_s=0.2)
        time.sleep(2.0)  # what opening so many cost is over
        return _span(site, threads, span_s)
    finally:
        for thread in threads:
            thread.signal()
        for part in reversed(parts):
            part.stop()


def over_rtsp(model: LoadedModel, folder: Path, video: Path, *, count: int, span_s: float) -> dict[str, float]:
    """Run as `run`, with cameras that are another process and send RTSP over loopback."""
    command = [sys.executable, "-m", "tests.rtsp", str(video), str(count), str(FPS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT) as cameras:
        assert cameras.stdout is not None
        urls = [cameras.stdout.readline().strip() for _ in range(count)]
        try:
            return run(model, folder, lambda place, turns: LiveSource(rtsp(address(urls[place])), turns=turns), count=count, span_s=span_s)
        finally:
            cameras.terminate()


def carried(
    model: LoadedModel, folder: Path, cameras: Cameras, *, guess: float, span_s: float
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the try with the most streams of which 99 % of the frames that were due were read and answered, and every try.

    From the guess downwards until one is carried, then upwards by a twelfth until one is not.
    """
    tries = [run(model, folder / "0", cameras, count=max(1, int(guess)), span_s=span_s)]
    while not _is_carried(last := tries[-1]) and last["streams"] > 1:
        count = last["streams"] * min(0.85, max(0.4, last["read_share"] * last["answered_share"]))
        tries.append(run(model, folder / str(len(tries)), cameras, count=max(1, int(count)), span_s=span_s))
    most = tries[-1]
    while not any(one["streams"] <= most["streams"] * 13 // 12 for one in tries if not _is_carried(one)):
        found = run(model, folder / str(len(tries)), cameras, count=int(most["streams"] * 13 // 12), span_s=span_s)
        tries.append(found)
        most = found if _is_carried(found) else most
    return most, tries


def _is_carried(found: dict[str, float]) -> bool:
    return min(found["read_share"], found["answered_share"]) >= 0.99


def _span(site: Site, threads: Sequence[StreamThread], span_s: float) -> dict[str, float]:
    def counts() -> tuple[float, int, int, int, int]:
        read, still = sum(one.state.frames for one in threads), sum(one.state.still for one in threads)
        return time.process_time(), read, site.answered(), site.frames.dropped_in_all(), still

    memory, before, began, first, reasons = memory_mb(), counts(), time.monotonic(), len(site.ages), site.frames.reasons()
    site.inference.batches.clear()
    time.sleep(span_s)  # the span is what is measured
    batches = list(site.inference.batches) or [(1, 0.0)]
    after, memory_after, ages, took = counts(), memory_mb(), site.ages[first:] or [0.0], time.monotonic() - began
    cpu_s, read, answered, dropped, still = (one - two for one, two in zip(after, before, strict=True))
    return {
        "streams": float(len(threads)),
        "read_fps": read / took,
        "read_share": read / (took * len(threads) * FPS),
        "answered_share": answered / max(1, read - still),
        "still_share": still / max(1, read),
        "dropped": float(dropped),
        **{why: float(site.frames.reasons().get(why, 0) - reasons.get(why, 0)) for why in (REPLACED, STALE, RELIEVED)},
        "uncounted": max(0.0, abs(read - answered - dropped - still) - len(threads) - 16),
        "us_per_frame": 1e6 * cpu_s / max(1, read),
        "cores_used": cpu_s / took,
        "streams_per_core": read / max(1e-9, cpu_s) / FPS,
        "age_p50_s": float(np.quantile(ages, 0.5)),
        "age_p99_s": float(np.quantile(ages, 0.99)),
        "batch_p50_s": float(np.quantile([took_s for _, took_s in batches], 0.5)),
        "batch_p99_s": float(np.quantile([took_s for _, took_s in batches], 0.99)),
        "batch_mean_frames": float(np.mean([frames for frames, _ in batches])),
        "growth_mb": memory_after - memory,
    }


def memory_mb() -> float:
    """Return the resident memory of this process, 10^6 bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
