"""A device that leaves audit samples out to look better than it is: real epochs and keys, the real draw, the region's own recount."""

from __future__ import annotations

import time
from pathlib import Path

from region.auditwatch import LEFT_OUT
from region.omissions import left_out
from shared.deferral.audit import is_audit
from shared.identity.store import Identity
from shared.wire.messages import Kind, StreamCounts, Telemetry
from tests.unit.edge_parts import frame, load, write_release
from tests.unit.pipeline_parts import SURE_RED
from tests.unit.pipeline_parts import Device as Pipeline
from tests.unit.region_parts import Device, Hall, a_case, deliver, opened, receipted
from tests.waiting import until

SHARE = 0.1


def tells(device: Device, frames: int) -> tuple[str, bytes]:
    counts = StreamCounts(stream="line", frames=frames, dropped=0, kept=frames, deferred=0, audited=0, last_frame=frames - 1)
    message = Telemetry(
        at=time.time(), floor=0, release=1, update_state="idle", streams=(counts,), spool_cases=0, spool_bytes=0, audit_share=SHARE
    )
    return device.tell(Kind.TELEMETRY, message)


def test_a_device_that_leaves_audit_samples_out(hall: Hall, people: dict[str, Identity]) -> None:
    honest, cheat = Device(people["edge"], people["region"]), Device(people["second"], people["region"])
    for device in (honest, cheat):
        opened(hall, device)
        deliver(hall, tells(device, 1))
        drawn = [number for number in range(1, 400) if is_audit(device.opening.keys.audit, "line", number, SHARE)]
        sent = drawn if device is honest else drawn[::3]  # only those its model is sure of, say
        for number in sent:
            deliver(hall, *device.case(number, a_case(number, is_audit=True)))
        until(lambda d=device, s=sent: receipted(d, hall) == set(s))
        deliver(hall, *[tells(device, 400) for _ in range(3)])
    until(lambda: hall.audits._found.keys() == {honest.name, cheat.name})
    hall.audits.once(now=time.monotonic(), at=time.time())
    found = hall.audits._book.read()
    assert {name for name, one in found.items() if left_out(missing=one.missing, expected=one.expected)} == {cheat.name}
    assert (found[honest.name].missing, found[honest.name].unjudged) == (0, 0)
    assert [(entry.action, entry.subject) for entry in hall.audit.entries()] == [(LEFT_OUT, cheat.name)]


def test_the_agent_itself_sends_what_the_region_computes(tmp_path: Path) -> None:
    """The real pipeline, which replaces frames it has no time for: every drawn frame it inferred is handed over, and no other."""
    with Pipeline(tmp_path, audit_share=0.3) as device:
        device.hand_over._capacity = 1000
        device.models.swap(load(write_release(tmp_path / "r")))
        for number in range(400):
            device.newest.put(frame(number, SURE_RED, "a"))
        until(lambda: device.inference.counters["a"].last == 399)
        counters = device.inference.counters["a"]
        until(lambda: len(device.cases) == counters.audited)
    drawn = {number for number in range(400) if is_audit(bytes(32), "a", number, 0.3)}
    sent = {case.frame for case in device.cases}
    assert sent <= drawn
    dropped = 1 - counters.inferred / 400
    assert not left_out(missing=len(drawn - sent), expected=len(drawn) * dropped)
    assert all(case.is_audit for case in device.cases)
