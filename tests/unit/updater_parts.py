"""A device under update: a real repository, a relay that can be cut or lie, real slots and engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud.publish import Repository
from edge.model import LoadedModel, ModelSlot, open_model
from edge.shadow import Shadow
from edge.slots import Slots
from edge.swap import Service
from edge.updater import Updater, UpdaterSettings
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, LinkError
from shared.release.card import Calibration, CurvePoint, decode_card
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient
from shared.wire.messages import UpdateReport
from tests.unit import releases

FIRST, SECOND, THIRD = releases.model(1), releases.model(1, moved=0.01), releases.model(1, moved=0.02)
FRAMES, WATCHED = 10, 500


class World:
    """A cloud's repository, a relay that can be cut or lie, and one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository.create(folder / "repository", folder / "keys")
        self.served: dict[int, Service] = {}
        self.reports: list[UpdateReport] = []
        self.fetched: list[str] = []
        self.cut = ""
        self.tampered = ""
        self.broken_engine: set[int] = set()
        self.models = ModelSlot()
        self.updater = self.restart()

    def publish(self, release: int, data: bytes, *, bases: tuple[int, ...] = (), desire: dict[str, Any] | None = None, **card: Any) -> None:
        releases.add(self.repository, self.folder, data, release, bases=bases, **card)
        releases.desire(self.repository, release, deltas=bases, **(desire or {}))

    def restart(self) -> Updater:
        """Start the device's agent anew: memory is lost, the disk is not."""
        self.models = ModelSlot()
        self.shadow = Shadow()
        self.served = {}
        device = self.folder / "device"
        self.updater = Updater(
            UpdaterSettings(
                device="edge-1.region-1",
                fleet=releases.FLEET,
                probation_frames=FRAMES,
                watch_frames=WATCHED,
                interval_s=0.05,
                at_least_s=0.0,
            ),
            trust=TrustedClient(device / "trust", bootstrap_root=self.repository.root(), fetch=self.fetch),
            slots=Slots(device / "slots"),
            models=self.models,
            load=self.load,
            service=lambda release: self.served.get(release, Service()),
            shadow=self.shadow,
            report=self.reports.append,
            downloads=device / "downloads",
        )
        self.updater.boot()
        return self.updater

    def fetch(self, path: str, offset: int) -> Iterator[bytes]:
        self.fetched.append(path)
        if self.cut and self.cut in path:
            raise LinkError("the relay is gone.")
        for chunk in from_folder(self.repository.folder)(path, offset):
            yield b"\0" * len(chunk) if self.tampered and path.endswith(self.tampered) else chunk

    def load(self, onnx: Path, card: Path) -> LoadedModel:
        release = decode_card(card.read_bytes()).release
        if release in self.broken_engine:
            raise EngineError(f"release {release} cannot be built here.")
        return open_model(onnx, card, OnnxEngine)

    def serve(self, frames: int = FRAMES, *, failures: int = 0, deferred: int = 0) -> None:
        """Let the running model answer frames, then let the updater look."""
        release = self.running()
        before = self.served.get(release, Service())
        self.served[release] = Service(
            frames=before.frames + frames, failures=before.failures + failures, deferred=before.deferred + deferred
        )
        self.updater.step()

    def running(self) -> int:
        model = self.models.current()
        return model.card.release if model else 0

    def on_disk(self) -> int:
        slot = Slots(self.folder / "device" / "slots").committed()
        return slot.record.release if slot else 0

    def last(self) -> tuple[int, str]:
        return self.reports[-1].release, self.reports[-1].state


def calibrated(promised: float) -> dict[str, Any]:
    calibration = Calibration(score="margin", threshold=1.0, epsilon=0.01, delta=0.05, risk_bound=0.01, units=9, frames=9)
    point = CurvePoint(threshold=1.0, deferred_share=promised, system_accuracy=0.9)
    return {"calibration": calibration, "deferral_curve": (point,)}
