"""The MQTT topic tree and its access rules: one table, from which clients and the broker's ACL are both made.

    t/<device>/up/<shard>/<kind>   the device writes; kind is open, case or control; the region's workers read
    t/<device>/down/<kind>         the region writes; kind is msg (sealed) or hint (unauthenticated); the device reads
    t/<device>/up/probe            the device writes, nobody reads: `terrace link doctor` measures the way to the broker
    t/all/<kind>                   the region writes; kind is key (retained announcement) or refresh; everybody reads

A device's name is its certificate's common name, `<name>.<region>`, and its client id. Devices hash onto 64 fixed shards and
the shard stands in the topic, so that all messages of one device stay with one worker; a message on a wrong shard is dropped.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from shared.errors import ProtocolError

SHARDS = 64
KEY_ANNOUNCEMENT = "t/all/key"
REFRESH = "t/all/refresh"
UP_KINDS = ("open", "case", "control")
DOWN_KINDS = ("msg", "hint")
_DEVICE = re.compile(r"[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}")

DEVICE_RULES = ("pattern write t/%u/up/#", "pattern read t/%u/down/#", "topic read t/all/#")
"""mosquitto ACL lines of the device listener; %u is the certificate's common name."""
WORKER_RULES = ("topic read t/+/up/#", "topic write t/+/down/#", "topic write t/all/#")
"""mosquitto ACL lines of the loopback listener for the region's own workers."""


class UpTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed topic of a message from a device."""

    device: str
    shard: int
    kind: str


def shard_of(device: str) -> int:
    """Return the device's shard, 0 to 63: the first byte of SHA-256 of its name, modulo 64."""
    return hashlib.sha256(device.encode()).digest()[0] % SHARDS


def up(device: str, kind: str) -> str:
    """Return the topic a device writes `kind` to."""
    return f"t/{device}/up/{shard_of(device):02d}/{kind}"


def probe(device: str) -> str:
    """Return the topic a device may write to that nobody subscribes to."""
    return f"t/{device}/up/probe"


def down(device: str, kind: str) -> str:
    """Return the topic the region writes to one device."""
    return f"t/{device}/down/{kind}"


def down_filter(device: str) -> str:
    """Return what a device subscribes to for its own messages."""
    return f"t/{device}/down/+"


def worker_filters(shards: range | tuple[int, ...]) -> list[str]:
    """Return what an intake worker that owns `shards` subscribes to."""
    return [f"t/+/up/{shard:02d}/+" for shard in shards] if len(shards) < SHARDS else ["t/+/up/+/+"]


def is_device(name: str) -> bool:
    """Tell whether a text is a device's name, `<name>.<region>`."""
    return _DEVICE.fullmatch(name) is not None


def sender(topic: str) -> str:
    """Return whom the broker let write to a topic, for whatever stands behind the name; "" when no device may."""
    name = topic[2:].split("/", 1)[0] if topic.startswith("t/") else ""
    return name if is_device(name) else ""


def parse_up(topic: str) -> UpTopic:
    """Parse the topic of a message from a device.

    Raises:
        ProtocolError: no such topic, or the shard is not the device's.
    """
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != "t" or parts[2] != "up" or parts[4] not in UP_KINDS or not _DEVICE.fullmatch(parts[1]):
        raise ProtocolError(f"{topic[:120]!r} is not a device's topic.")
    if parts[3] != f"{shard_of(parts[1]):02d}":
        raise ProtocolError(f"{parts[1]} does not belong to shard {parts[3][:8]!r}.")
    return UpTopic(device=parts[1], shard=int(parts[3]), kind=parts[4])
