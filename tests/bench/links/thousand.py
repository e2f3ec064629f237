"""A thousand connected devices against one region on this machine: rate, receipts, memory, and how cost grows from ten to a thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shared.errors import LinkError
from shared.status import read_status
from tests.bench.links.comparing import Row
from tests.bench.links.shaped import ADDRESSES, Lane, ShapedLink
from tests.bench.links.site import ON_DISK, BenchSite
from tests.bench.links.words import Partner
from tests.waiting import until

STEPS = (10, 100, 1000)
STEADY_PER_S = 100.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Region:
    """The region daemon and its broker as processes whose cost can be read.

    Args:
        process: the daemon.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._pid = process.pid

    def memory_bytes(self) -> dict[str, int]:
        """Return the anonymous memory of the daemon and of the broker: what no other process shares."""
        return {name: _anonymous_bytes(pid) for name, pid in self._both().items()}

    def cpu_s(self) -> float:
        """Return the seconds of CPU both have used."""
        return sum(_cpu_s(pid) for pid in self._both().values())

    def _both(self) -> dict[str, int]:
        children = Path(f"/proc/{self._pid}/task").glob("*/children")
        found = [int(word) for path in children for word in path.read_text().split()]
        broker = next(pid for pid in found if b"mosquitto" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return {"region": self._pid, "broker": broker}


def measure(*, full: bool) -> tuple[dict[str, float], list[Row]]:
    """Return the figures and one row per number of devices."""
    seconds = 20.0 if full else 10.0
    link = ShapedLink(Lane(rate_mbit=1000, delay_ms=0))  # its region's side alone is used: everything here is local to it
    with link, BenchSite(ON_DISK, ADDRESSES["region"], devices=STEPS[-1]) as site:
        daemon = _start(link, "our_region", str(site.config))
        until(lambda: _answers(site), "the region", within_s=60, every_s=0.1)
        region, swarm = Region(daemon.process), _start(link, "swarm", str(site.folder))
        idle, rows, figures = region.memory_bytes(), [], {}
        for count in STEPS:
            rows.append(_step(region, swarm, count, seconds, idle))
        flood = swarm.ask("flood", seconds=seconds, size=1000)
        large = swarm.ask("offer", per_s=STEADY_PER_S, seconds=seconds, size=30_000)
        swarm.end()
        daemon.end()
    figures["edges_1000_rate_1kb_per_s"] = flood["per_s"]
    figures["edges_1000_receipt_p50_ms_30kb_at_100_per_s"] = large["p50_ms"]
    figures["edges_1000_receipt_p99_ms_30kb_at_100_per_s"] = large["p99_ms"]
    figures["edges_1000_unconfirmed_30kb"] = large["unconfirmed"]
    figures["edges_1000_region_bytes_per_edge"] = float(rows[-1]["region_bytes_per_edge"])
    figures["edges_1000_broker_bytes_per_edge"] = float(rows[-1]["broker_bytes_per_edge"])
    figures["edges_1000_cpu_per_case_vs_10"] = float(rows[-1]["cpu_ms_per_case"]) / float(rows[0]["cpu_ms_per_case"])
    return figures, rows


def _step(region: Region, swarm: Partner, count: int, seconds: float, idle: dict[str, int]) -> Row:
    """Connect up to `count` devices, then take what a steady stream of cases costs, and what silence costs."""
    connected = swarm.ask("connect", count=count)["seconds"]
    memory = region.memory_bytes()
    before = region.cpu_s()
    steady = swarm.ask("offer", per_s=STEADY_PER_S, seconds=seconds, size=1000)
    busy = region.cpu_s() - before
    return {
        "what": f"{count} edges, {STEADY_PER_S:g} cases/s of 1 KB",
        "connect_s": connected,
        "p50_ms": steady["p50_ms"],
        "p99_ms": steady["p99_ms"],
        "cpu_ms_per_case": 1e3 * busy / (STEADY_PER_S * seconds),
        **{f"{name}_bytes_per_edge": (size - idle[name]) / count for name, size in memory.items()},
    }


def _start(link: ShapedLink, module: str, *words: str) -> Partner:
    command = [sys.executable, "-m", f"tests.bench.links.{module}", *words]
    return Partner(module, link.start("region", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))


def _answers(site: BenchSite) -> bool:
    try:
        return bool(read_status(site.state / "status.sock"))
    except LinkError:
        return False


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))
