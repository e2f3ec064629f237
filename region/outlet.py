"""The way out to the broker: each device through the connection of the worker that owns its shard, the rest through the first.

The broker keeps nothing, so what is retained (the key announcement) is published again whenever the first connection comes up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.wire import topics


class Client(Protocol):
    """An MQTT connection."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish; returns False when that is not possible now."""


class Outlet:
    """Publishes for every part of the region.

    Args:
        announcement: returns the signed key announcement.
    """

    def __init__(self, announcement: Callable[[], bytes]) -> None:
        self._announcement = announcement
        self._clients: tuple[Client, ...] = ()

    def attach(self, clients: Sequence[Client]) -> None:
        """Use these connections; client i of n serves the shards that are i modulo n."""
        self._clients = tuple(clients)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish to one device's topic; returns False when that is not possible now."""
        if not self._clients:
            return False
        device = topic.split("/")[1]
        return self._clients[topics.shard_of(device) % len(self._clients)].publish(topic, payload)

    def announce_key(self) -> bool:
        """Publish the retained key announcement."""
        return bool(self._clients) and self._clients[0].publish(topics.KEY_ANNOUNCEMENT, self._announcement(), retain=True)

    def announce_refresh(self) -> bool:
        """Tell every device that there may be a new release."""
        return bool(self._clients) and self._clients[0].publish(topics.REFRESH, b"")


def shards_of(worker: int, workers: int) -> tuple[int, ...]:
    """Return the shards of one of several workers."""
    return tuple(shard for shard in range(topics.SHARDS) if shard % workers == worker)
