"""What the link costs a device per frame while its region is away: every frame is hard, nothing can be sent.

The inference thread's share is what a frame waits for: decision, counters, provisional event, hand-over. Everything else (encoding the
picture, the spool's synced writes, an uplink that keeps trying to connect, events that become final at their deadline) runs beside
it and is given as CPU time of all threads. The model's own run is taken off both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.config import PictureSettings, PolicySettings
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import LoadedModel, open_model
from edge.newest import NewestFrames
from edge.outputs import EventFile
from edge.settling import Settler
from edge.spooling import CaseWriter
from edge.uplink import Uplink, UplinkSettings
from provisioning.pki import create_fleet
from shared import clock
from shared.engines.onnx import OnnxEngine
from shared.identity.store import Identity
from shared.link.spool import Spool
from shared.vision.frames import Frame, Pixels
from shared.wire.messages import Telemetry
from tests.bench.edge_overhead import SIZE, _write_release
from tests.bench.result import Result, conditions
from tests.brokers import free_port

FRAMES_PER_S = 50.0


class Timed:
    """An engine that notes how long its runs took."""

    def __init__(self, model: LoadedModel) -> None:
        self._engine = model.engine
        self.wall_us, self.cpu_us = 0.0, 0.0
        self._run = self._engine.run
        self._engine.run = self.run  # type: ignore[method-assign]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run and note."""
        began, cpu = time.perf_counter_ns(), time.thread_time_ns()
        try:
            return self._run(batch)
        finally:
            self.wall_us, self.cpu_us = (time.perf_counter_ns() - began) / 1e3, (time.thread_time_ns() - cpu) / 1e3


class Bench:
    """A device from its inference to an uplink whose region does not exist.

    Args:
        folder: where everything lies.
    """

    def __init__(self, folder: Path) -> None:
        _write_release(folder)
        identity = Identity.load(create_fleet(folder / "fleet", "acme").issue_device("north", "edge-1", destination=folder / "edge"))
        self.model = open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)
        self.engine = Timed(self.model)
        self.events = EventFile(folder / "events.jsonl")
        self.settler = Settler(self.events)
        self.spool = Spool(folder / "spool.db", folder / "spool.key", 256 << 20)
        self.uplink = Uplink(
            settings=UplinkSettings(host="127.0.0.1", port=free_port()), identity=identity, spool=self.spool, state=folder,
            telemetry=_telemetry, on_answer=self.settler.answer,
        )  # fmt: skip
        frames = HandOver()
        self.writer = CaseWriter(
            frames=frames, pictures=PictureSettings(quality=80), card=lambda: self.model.card, offer=self.uplink.offer_many,
            bind=self.settler.bind,
        )  # fmt: skip
        self.inference = Inference(
            policy=PolicySettings(threshold=2.0, audit_share=0.0),
            neighbours=Neighbours(
                settle=self.settler.settle, hand_over=frames.offer, audit_key=self.uplink.audit_key, dropped=NewestFrames().dropped_in_all
            ),
            streams=["a"],
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self.parts = (self.events, self.settler, self.spool, self.uplink, self.writer)

    def infer(self, number: int, pixels: Pixels) -> tuple[float, float]:
        """Put one frame through; returns what it waited for beside the model's run, in wall and CPU microseconds."""
        frame = Frame(stream="a", number=number, unit=f"u{number}", captured_at=time.time(), arrived_at=time.monotonic(), pixels=pixels)
        began, cpu = time.perf_counter_ns(), time.thread_time_ns()
        self.inference.step(self.model, [frame])
        waited, used = (time.perf_counter_ns() - began) / 1e3, (time.thread_time_ns() - cpu) / 1e3
        return waited - self.engine.wall_us, used - self.engine.cpu_us


def run(*, full: bool) -> Result:
    """Measure hard frames at a camera's pace, with the region away."""
    count = 3000 if full else 400
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 255, (16, SIZE, SIZE, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for part in bench.parts:
            part.start()
        cpu, ran = time.process_time_ns(), 0.0
        costs: list[tuple[float, float]] = []
        for number in range(count):
            due = time.monotonic() + 1 / FRAMES_PER_S
            costs.append(bench.infer(number, pictures[number % len(pictures)]))
            ran += bench.engine.cpu_us
            time.sleep(max(0.0, due - time.monotonic()))  # the camera's pace
        process_us = (time.process_time_ns() - cpu) / 1e3 - ran
        spooled, status = bench.spool.occupancy()[0], bench.uplink.status()
        for part in reversed(bench.parts):
            part.stop()
    waited = [wall for wall, _ in costs[20:]]
    figures = {
        "edge_cost_us_per_frame_region_absent": statistics.median(waited),
        "edge_cost_us_p99_region_absent": _percentile(waited, 0.99),
        "inference_thread_cpu_us_per_frame": statistics.median(used for _, used in costs[20:]),
        "all_threads_cpu_us_per_frame": process_us / count,
        "share_spooled": spooled / count,
        "connected": float(status["connected"]),
    }
    return Result(name="session", figures=figures, conditions=conditions(frames=float(count), frames_per_s=FRAMES_PER_S))


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _telemetry() -> Telemetry:
    return Telemetry(at=time.time(), floor=0, release=1, update_state="", streams=(), spool_cases=0, spool_bytes=0)
