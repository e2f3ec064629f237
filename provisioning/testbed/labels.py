"""Labels in the place of people: what two persons would say of a device's audit samples, from the generator's own truth. Pure.

The unattended demo has nobody who looks at pictures. What is written here is recorded by the region as the generator's, and screen and
report say so. Audit samples only: what the policy picked is a biased sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from provisioning.testbed.ledger import Event

PERSONS = ("generator-1", "generator-2")
"""A case is frozen when two agree."""


def wanted(device: str, events: Iterable[Event], truth: Mapping[str, Sequence[int]], *, since: float, most: int) -> list[dict[str, Any]]:
    """Return the labels of a device's newest audit samples.

    Args:
        device: its common name.
        events: its event file.
        truth: labels per stream, by place.
        since: Unix seconds; older samples are left alone.
        most: samples to label.
    """
    audited = [event for event in events if event.action == "audit" and event.state == "final" and event.time >= since]
    return [
        {
            "device": device,
            "stream": event.stream,
            "frame": event.sequence,
            "label": int(truth[event.stream][event.sequence % len(truth[event.stream])]),
            "person": person,
        }
        for event in audited[-most:]
        for person in PERSONS
    ]
