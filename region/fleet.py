"""What the region last heard of each of its devices. Pure: messages and times come in, a summary goes out."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from region import liverisk
from shared.wire.messages import Telemetry, UpdateReport
from shared.wire.reports import DeviceLive

RECENTLY_S = 15.0
REPORTS_KEPT = 8
COMMITTED_KEPT = 64
TELEMETRY_KEPT = 1000


class _Device:
    """One device: when it was last heard, its latest telemetry and its latest reports by model."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.bytes_received = 0
        self.telemetry: Telemetry | None = None
        self.told_at = 0.0
        self.reports: dict[str, UpdateReport] = {}
        self.committed: list[int] = []


class Fleet:
    """The devices that have been heard since the start; `recent` are the last telemetries of them all."""

    def __init__(self) -> None:
        self.recent: deque[Telemetry] = deque(maxlen=TELEMETRY_KEPT)
        self._devices: dict[str, _Device] = {}

    def heard(self, device: str, *, now: float, size: int = 0) -> None:
        """Note that an authentic message of a device arrived, and of how many bytes."""
        entry = self._device(device)
        entry.heard_at = now
        entry.bytes_received += size

    def heard_at(self) -> dict[str, float]:
        """Return when each device was last heard, Unix seconds."""
        return {name: device.heard_at for name, device in dict(self._devices).items()}

    def telemetry(self, device: str, message: Telemetry) -> None:
        """Keep a device's telemetry unless a later one is known; it was heard just now (`heard`)."""
        self.recent.append(message)
        entry = self._device(device)
        if entry.telemetry is None or message.at >= entry.telemetry.at:
            entry.telemetry, entry.told_at = message, entry.heard_at

    def report(self, device: str, message: UpdateReport) -> None:
        """Keep a device's word on a release: the latest per model, for a few models, and the releases it has committed."""
        entry = self._device(device)
        reports = entry.reports
        if message.state == "committed" and entry.committed[-1:] != [message.release]:
            entry.committed = [*entry.committed, message.release][-COMMITTED_KEPT:]
        known = reports.get(message.model)
        if (known is None and len(reports) < REPORTS_KEPT) or (known is not None and message.at >= known.at):
            reports[message.model] = message

    def lives(self) -> dict[str, DeviceLive | None]:
        """Return what each device tells of its live risk."""
        return {name: liverisk.of_device(device.telemetry, told_at=device.told_at) for name, device in dict(self._devices).items()}

    def summary(self, *, now: float) -> dict[str, dict[str, Any]]:
        """Return, by device: whether it was heard recently, its telemetry and its reports, as plain JSON values."""
        return {
            name: {
                "connected_recently": now - device.heard_at <= RECENTLY_S,
                "heard_at": device.heard_at,
                "bytes_received": device.bytes_received,
                "telemetry": None if device.telemetry is None else _fields(device.telemetry),
                "committed": device.committed,
                "reports": {model: _fields(report) for model, report in sorted(device.reports.items())},
            }
            for name, device in sorted(dict(self._devices).items())
        }

    def _device(self, name: str) -> _Device:
        return self._devices.setdefault(name, _Device())


def _fields(message: Telemetry | UpdateReport) -> dict[str, Any]:
    fields = msgspec.structs.asdict(message)
    if isinstance(message, Telemetry):
        fields["streams"] = [msgspec.structs.asdict(stream) for stream in message.streams]
        for name, word in (("live", message.live), ("compared", message.compared)):
            fields[name] = None if word is None else msgspec.structs.asdict(word)
    return fields
