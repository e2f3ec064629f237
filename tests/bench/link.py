"""The link against its rivals, and a thousand devices against one region. Needs root, iproute2 and a C compiler.

Two namespaces are joined by our emulator (100 Mbit/s, 10 ms each way; `full` adds 10 Mbit/s, 25 ms, 1 % loss). Over it, in turn: ours
(spool, uplink, mosquitto, intake, vault, receipt), gRPC (the same spool, one channel, the same vault) and native HTTP/2 carrying JSON
with base64 pictures, which is gRPC's core with another body. All with mutual TLS, all with the same locked congestion control, all with
the spool and the store synced to the disk before the answer; the figures that end in `_not_durable` have both in memory instead.

The rate over HTTP/2 with JSON is lower mostly because of base64, which makes a picture a third longer: the protocol is gRPC's own.
"""

from __future__ import annotations

import statistics

from tests.bench.links import comparing, spooling, thousand
from tests.bench.links.comparing import Plan, Row
from tests.bench.links.shaped import Lane
from tests.bench.links.site import ON_DISK, disk_of
from tests.bench.result import Result, conditions

FAST = Lane(rate_mbit=100, delay_ms=10)
LOSSY = Lane(rate_mbit=10, delay_ms=25, loss=0.01, queue_ms=200)
CONGESTION = "bbr"
BASE64 = "most of the distance to HTTP/2 with JSON is base64: a third more bytes"


def run(*, full: bool) -> Result:
    """Measure everything; `full` takes twice as many repetitions, and the slow, lossy link too."""
    plan = Plan(repetitions=6 if full else 3, latencies=30, rate_s=6.0, control_s=10.0)
    rows: list[Row] = []
    figures = _compared(FAST, plan, rows, link="100 Mbit/s, 20 ms")
    memory = _compared(FAST, plan, rows, link="100 Mbit/s, 20 ms", durable=False)
    figures |= {f"{name}_not_durable": value for name, value in memory.items()}
    if full:
        lossy = _compared(LOSSY, plan, rows, link="10 Mbit/s, 50 ms, 1 % loss")
        figures |= {f"{name}_lossy_10mbit": value for name, value in lossy.items()}
    figures["spool_items_per_s_30kb"] = spooling.items_per_s(ON_DISK)
    counted, edges = thousand.measure(full=full)
    figures |= counted
    said = conditions(congestion=CONGESTION, disk=disk_of(ON_DISK), note=BASE64)
    return Result(name="link", figures=figures, rows=rows + edges, conditions=said)


def _compared(lane: Lane, plan: Plan, rows: list[Row], *, link: str, durable: bool = True) -> dict[str, float]:
    """Compare all ways over one link; returns the ratios, and appends what they are made of."""
    with comparing.field(lane, durable=durable, congestion=CONGESTION) as (shaped, made, kind):
        found = comparing.compare(made, plan)
        control = comparing.under_upload(made, plan)
        used = shaped.congestion_in_use()
    if used != {CONGESTION}:
        raise AssertionError(f"the sockets use {sorted(used)}, not {CONGESTION}: nothing can be compared.")
    for way in comparing.WAYS:
        values = {name: statistics.median(series) for name, series in (control.get(way, {}) | found[way]).items()}
        rows.append({"what": f"{way}, {link}, {kind}"} | {name: values[name] for name in comparing.QUANTITIES if name in values})
    return comparing.ratios(found, control)
