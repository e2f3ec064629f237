"""What the mounting page costs inference: the time from a frame's arrival to its answer, with the page closed and with somebody looking.

Two streams of 768x432 at 15 frames a second go through the pipeline of a device, with a network of the student's shape; closed and watched
spells alternate. Who looks is a process of its own that asks for one picture after the other, as the page does.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from edge.config import PolicySettings
from edge.events import Event, Inferred
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import ModelSlot, open_model
from edge.newest import NewestFrames
from edge.outputs import FanOut
from edge.pipeline import Pipeline
from edge.preview.preview import Preview
from edge.settling import Settler
from shared import clock
from shared.deferral.policy import Action, Decision
from shared.engines.onnx import OnnxEngine
from shared.vision.frames import Frame
from shared.wire.messages import Prediction
from tests.bench.edge_overhead import _write_release
from tests.bench.result import Result, conditions

STREAMS, FPS, SHAPE = ("a", "b"), 15, (432, 768, 3)
LOOKS = """
import http.client, sys
connection, after = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])), {}
while True:
    for stream in "ab":
        connection.request("GET", f"/v1/picture?stream={stream}&after=-1", headers={"authorization": f"Bearer {sys.argv[2]}"})
        connection.getresponse().read()
"""


class _Latencies:
    def __init__(self) -> None:
        self.ms: list[float] = []

    def put(self, event: Event) -> None:
        self.ms.append(event.latency_ms)


def run(*, full: bool) -> Result:
    """Measure spells with the page closed and watched, in turn."""
    found: dict[str, list[float]] = {"closed": [], "watched": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_release(folder)
        preview, latencies, newest = Preview(folder, STREAMS), _Latencies(), NewestFrames()
        pipeline = _pipeline(folder, preview, latencies, newest)
        preview.start(), pipeline.start()
        ended = threading.Event()
        feed = threading.Thread(target=_feed, args=(newest, ended))
        feed.start()
        _spell(preview, latencies, looked_at=False, seconds=1.0)
        for _ in range(12 if full else 4):
            for kind in found:
                found[kind] += _spell(preview, latencies, looked_at=kind == "watched", seconds=5.0)
        ended.set()
        feed.join()
        pipeline.stop(), preview.stop()
    figures = {f"{kind}_{word}_ms": float(np.percentile(ms, q)) for kind, ms in found.items() for word, q in (("p50", 50), ("p99", 99))}
    figures["watched_minus_closed_p50_ms"] = figures["watched_p50_ms"] - figures["closed_p50_ms"]
    figures["frames_closed"], figures["frames_watched"] = float(len(found["closed"])), float(len(found["watched"]))
    figures["pictures_per_s"] = preview.window.pictures / (60.0 if full else 20.0)
    figures["see_closed_us"], figures["see_open_us"] = _see_us(is_open=False), _see_us(is_open=True)
    return Result(name="preview", figures=figures, conditions=conditions(streams=2.0, fps=float(FPS), picture="768x432"))


def _spell(preview: Preview, latencies: _Latencies, *, looked_at: bool, seconds: float) -> list[float]:
    browser = None
    if looked_at:
        opened = preview.open("the bench")
        connection = http.client.HTTPConnection("127.0.0.1", opened["port"])
        connection.request("POST", "/v1/enter", json.dumps({"code": opened["code"]}))
        token = json.loads(connection.getresponse().read())["token"]
        browser = subprocess.Popen([sys.executable, "-c", LOOKS, str(opened["port"]), token], stderr=subprocess.DEVNULL)
    latencies.ms.clear()
    time.sleep(seconds)  # the spell that is measured
    found = list(latencies.ms)
    if browser is not None:
        browser.kill()
        browser.wait()
        preview.close("the bench")
    return found


def _pipeline(folder: Path, preview: Preview, latencies: _Latencies, newest: NewestFrames) -> Pipeline:
    settler, models = Settler(FanOut([latencies, preview.window])), ModelSlot()
    models.swap(open_model(folder / "model.onnx", folder / "card.json", OnnxEngine))

    def settle(inferred: Inferred, now: float) -> None:
        settler.settle(inferred, now)
        preview.window.see(inferred)

    neighbours = Neighbours(settle=settle, hand_over=HandOver().offer, audit_key=lambda: bytes(32), dropped=newest.dropped_in_all)
    inference = Inference(
        policy=PolicySettings(audit_share=0.0), neighbours=neighbours, streams=STREAMS, monotonic=clock.monotonic, wall=clock.wall
    )
    return Pipeline(frames=newest, models=models, inference=inference)


def _feed(newest: NewestFrames, ended: threading.Event) -> None:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 255, (27, 48, 3)).astype(np.uint8)
    pixels = np.repeat(np.repeat(small, 16, axis=0), 16, axis=1)
    number = 0
    while not ended.wait(1.0 / FPS):
        number += 1
        for stream in STREAMS:
            newest.put(Frame(stream=stream, number=number, unit="u", captured_at=clock.wall(), arrived_at=clock.monotonic(), pixels=pixels))


def _see_us(*, is_open: bool) -> float:
    with tempfile.TemporaryDirectory() as name:
        window = Preview(Path(name), STREAMS).window
        if is_open:
            window.open()
        one = _some(Frame(stream="a", number=1, unit="", captured_at=0.0, arrived_at=0.0, pixels=np.zeros((1, 1, 3), np.uint8)))
        times = []
        for _ in range(2000):
            began = time.thread_time_ns()
            window.see(one)
            times.append((time.thread_time_ns() - began) / 1e3)
    return statistics.median(times)


def _some(frame: Frame) -> Inferred:
    decision = Decision(action=Action.KEEP, reason="", score=1.0, threshold=0.0, value=0.0)
    return Inferred(
        frame=frame, prediction=Prediction(index=0, probabilities=(1.0,)), decision=decision, release=1, labels=("x",), deadline_s=5.0
    )
