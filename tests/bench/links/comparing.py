"""Ours, gRPC and HTTP/2 with JSON over the same shaped link, in turn, again and again; what each took goes into rows.

Everything runs at once and is asked in turn: one region daemon with its broker, one gRPC server, three devices. Only one device sends at
a time; the order changes with every repetition.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from shared.errors import DependencyError, LinkError
from shared.status import read_status
from tests.bench.links.shaped import ADDRESSES, Lane, ShapedLink
from tests.bench.links.site import ON_DISK, BenchSite, disk_of
from tests.bench.links.surroundings import SmallDisk
from tests.bench.links.words import Partner
from tests.waiting import until

WAYS = ("ours", "grpc", "json")
QUANTITIES = ("latency_ms", "per_s", "announcement_ms", "receipt_ms", "small_ms")
BULK_BYTES = 300_000
ANNOUNCE_EVERY_S = 0.2
MEMORY_MB = 4096
Row = dict[str, "float | str"]
Found = dict[str, dict[str, list[float]]]
"""By way and quantity, one value per repetition."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured. Seconds of each rate and control window, cases of each latency series."""

    repetitions: int
    latencies: int
    rate_s: float
    control_s: float
    warm_s: float = 1.5


class Field:
    """All processes of a comparison.

    Args:
        link: where they run.
        site: whose certificates and folder they have.
    """

    def __init__(self, link: ShapedLink, site: BenchSite) -> None:
        self._link, self._site = link, site
        self.regions: dict[str, Partner] = {}
        self.devices: dict[str, Partner] = {}

    def start(self) -> None:
        """Start regions, then devices, and wait until each can send."""
        site = str(self._site.folder)
        self._start(self.regions, "ours", "region", "our_region", str(self._site.config))
        self._start(self.regions, "grpc", "region", "rival_region", site)
        until(lambda: self.regions["grpc"].ask("hello") == {} and self._region_answers(), "the region", within_s=60, every_s=0.1)
        self._start(self.devices, "ours", "device", "ours", site, "edge-1")
        self._start(self.devices, "grpc", "device", "rival", site, "edge-1", "binary")
        self._start(self.devices, "json", "device", "rival", site, "edge-1", "json")
        for device in self.devices.values():
            device.hear()

    def stop(self) -> None:
        """End all processes."""
        for partner in (*self.devices.values(), *self.regions.values()):
            partner.end()

    def control(self, way: str, seconds: float) -> dict[str, Any]:
        """Let one device upload at full rate while its region announces; returns the milliseconds of each kind, and the bulk rate."""
        region, device = self.regions["ours" if way == "ours" else "grpc"], self.devices[way]
        region.ask("stamps")
        device.tell("control", seconds=seconds, size=BULK_BYTES, every_s=ANNOUNCE_EVERY_S)
        said = self._announce(region, seconds)
        heard = device.hear()
        stamps = region.ask("stamps")["stamps"]
        receipts = [(at - stamps[number]) * 1e3 for number, at in heard["receipts"].items() if number in stamps]
        announcements = [(at - sent) * 1e3 for sent, at in zip(said, heard["announcements"], strict=False)]
        return {"announcement_ms": announcements, "receipt_ms": receipts, "small_ms": heard["small_ms"], "per_s": heard["per_s"]}

    def _announce(self, region: Partner, seconds: float) -> list[float]:
        process = subprocess.Popen(["sleep", "1.5"])  # the upload is at its full rate by then
        process.wait()
        said = []
        for _ in range(int((seconds - 2.5) / ANNOUNCE_EVERY_S)):
            said.append(region.ask("announce")["at"])
            subprocess.run(["sleep", str(ANNOUNCE_EVERY_S)], check=True)
        return said

    def _start(self, group: dict[str, Partner], way: str, side: Any, module: str, *words: str) -> None:
        command = [sys.executable, "-m", f"tests.bench.links.{module}", *words]
        group[way] = Partner(way, self._link.start(side, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def _region_answers(self) -> bool:
        try:
            return bool(read_status(self._site.state / "status.sock"))
        except LinkError:
            return False


@contextmanager
def field(lane: Lane, *, durable: bool, congestion: str) -> Iterator[tuple[ShapedLink, Field, str]]:
    """Yield a link, everything of a comparison running over it, and the file system its files lie on: a disk, or memory.

    Raises:
        DependencyError: there is no disk, or something else is missing.
    """
    with ExitStack() as stack:
        place = ON_DISK if durable else stack.enter_context(_memory())
        if durable == ((kind := disk_of(place)) in {"tmpfs", "ramfs"}):
            raise DependencyError(f"{place} lies on {kind}: nothing is durable there.", "Mount a disk there.")
        link = stack.enter_context(ShapedLink(lane, congestion=congestion))
        site = stack.enter_context(BenchSite(place, ADDRESSES["region"]))
        made = Field(link, site)
        made.start()
        stack.callback(made.stop)
        yield link, made, kind


@contextmanager
def _memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="terrace-bench-", dir=ON_DISK) as folder:
        disk = SmallDisk(Path(folder), MEMORY_MB)
        disk.start()
        try:
            yield disk.folder
        finally:
            disk.stop()


def compare(made: Field, plan: Plan, *, ways: tuple[str, ...] = WAYS) -> Found:
    """Return, by way and quantity, one value per repetition: `latency_ms` (a median) and `per_s`."""
    found: Found = {way: {"latency_ms": [], "per_s": []} for way in ways}
    for repetition in range(plan.repetitions):
        for way in turned(ways, repetition):
            device = made.devices[way]
            device.ask("latency", count=5, size=BULK_BYTES)  # congestion control and caches warm up
            times = device.ask("latency", count=plan.latencies, size=BULK_BYTES)["ms"]
            found[way]["latency_ms"].append(statistics.median(times))
            found[way]["per_s"].append(device.ask("rate", seconds=plan.rate_s, warm_s=plan.warm_s, size=BULK_BYTES)["per_s"])
    return found


def under_upload(made: Field, plan: Plan, *, ways: tuple[str, ...] = WAYS[:2]) -> Found:
    """Return, by way and quantity, one median per repetition of what reaches the device while it uploads, and the bulk rate."""
    found: Found = {way: {} for way in ways}
    for repetition in range(plan.repetitions):
        for way in turned(ways, repetition):
            for name, values in made.control(way, plan.control_s).items():
                value = values if isinstance(values, float) else statistics.median(values) if values else math.nan
                found[way].setdefault(name, []).append(value)
    return found


def turned(ways: tuple[str, ...], by: int) -> tuple[str, ...]:
    """Return the ways, beginning with another one each time."""
    start = by % len(ways)
    return ways[start:] + ways[:start]


def ratios(found: Found, control: Found) -> dict[str, float]:
    """Return ours over each rival.

    Control is what a device waits for while it uploads: an announcement, from the region's saying so to the device's hearing it, and
    the receipt of a small case, from before the spool to its hearing; both medians added.
    """
    control = {
        way: one | {"control": [sum(both) for both in zip(one["announcement_ms"], one["small_ms"], strict=True)]}
        for way, one in control.items()
    }
    return {
        "latency_ratio_vs_grpc_300kb": ratio(found, "latency_ms", "grpc"),
        "rate_ratio_vs_grpc_300kb": ratio(found, "per_s", "grpc"),
        "latency_ratio_vs_http2_json_300kb": ratio(found, "latency_ms", "json"),
        "rate_ratio_vs_http2_json_300kb": ratio(found, "per_s", "json"),
        "control_down_under_upload_ratio_vs_grpc": ratio(control, "control", "grpc"),
        "one_way_down_under_upload_ratio_vs_grpc": ratio(control, "announcement_ms", "grpc"),
        "receipt_way_down_under_upload_ratio_vs_grpc": ratio(control, "receipt_ms", "grpc"),
        "upload_rate_meanwhile_ratio_vs_grpc": ratio(control, "per_s", "grpc"),
    }


def ratio(found: Found, name: str, other: str) -> float:
    """Return the median over repetitions of ours over another's; neighbours in time are compared with one another."""
    pairs = zip(found["ours"][name], found[other][name], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)
