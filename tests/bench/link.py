"""The link against its rivals, and a thousand devices against one region. Needs root, iproute2 and a C compiler.

Two namespaces are joined by our emulator (100 Mbit/s, 10 ms each way; `full` adds 10 Mbit/s, 25 ms, 1 % loss). Over it, in turn: ours
(spool, uplink, mosquitto, intake, vault, receipt), gRPC (the same spool, one channel, the same vault) and native HTTP/2 carrying JSON
with base64 pictures, which is gRPC's core with another body. All with mutual TLS, all with the same locked congestion control, all with
the spool and the store synced to the disk before the answer; the figures that end in `_not_durable` have both in memory instead.

The rate over HTTP/2 with JSON is lower mostly because of base64, which makes a picture a third longer: the protocol is gRPC's own.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.bench.links import comparing, spooling, thousand
from tests.bench.links.comparing import Plan, Row
from tests.bench.links.shaped import Lane
from tests.bench.links.site import IN_MEMORY, ON_DISK, disk_of
from tests.bench.result import Result, conditions

FAST = Lane(rate_mbit=100, delay_ms=10)
LOSSY = Lane(rate_mbit=10, delay_ms=25, loss=0.01, queue_ms=200)
BASE64 = "most of the distance to HTTP/2 with JSON is base64: a third more bytes"


def run(*, full: bool) -> Result:
    """Measure everything; `full` takes twice as many repetitions, and the slow, lossy link too."""
    plan = Plan(repetitions=6 if full else 3, latencies=30, rate_s=6.0, control_s=10.0)
    rows: list[Row] = []
    figures = _compared(FAST, ON_DISK, plan, rows, link="100 Mbit/s, 20 ms")
    memory = _compared(FAST, IN_MEMORY, plan, rows, link="100 Mbit/s, 20 ms")
    figures |= {f"{name}_not_durable": value for name, value in memory.items()}
    if full:
        lossy = _compared(LOSSY, ON_DISK, plan, rows, link="10 Mbit/s, 50 ms, 1 % loss")
        figures |= {f"{name}_lossy_10mbit": value for name, value in lossy.items()}
    figures["spool_items_per_s_30kb"] = spooling.items_per_s(ON_DISK)
    counted, edges = thousand.measure(full=full)
    figures |= counted
    said = conditions(congestion="bbr", disk=disk_of(ON_DISK), memory=disk_of(IN_MEMORY), note=BASE64)
    return Result(name="link", figures=figures, rows=rows + edges, conditions=said)


def _compared(lane: Lane, place: Path, plan: Plan, rows: list[Row], *, link: str, congestion: str = "bbr") -> dict[str, float]:
    """Compare all ways over one link with the files in one place; returns the ratios, and appends what they are made of."""
    with comparing.field(lane, place, congestion=congestion) as (shaped, made):
        found = comparing.compare(made, plan)
        control = comparing.under_upload(made, plan)
        used = shaped.congestion_in_use()
    if used != {congestion}:
        raise AssertionError(f"the sockets use {sorted(used)}, not {congestion}: nothing can be compared.")
    for way in comparing.WAYS:
        values = {name: statistics.median(series) for name, series in (found[way] | control.get(way, {})).items() if name != "per_s"}
        values["per_s"] = statistics.median(found[way]["per_s"])
        rows.append({"what": f"{way}, {link}, {disk_of(place)}"} | {name: values[name] for name in comparing.QUANTITIES if name in values})
    return comparing.ratios(found, control)
