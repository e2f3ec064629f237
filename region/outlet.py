"""The daemon's way out to the broker: everything through the connection of its own intake worker.

The broker keeps nothing, so what is retained (the key announcement) is published again whenever that connection comes up. Worker
processes beside the daemon answer their devices through connections of their own.
"""

from __future__ import annotations

from collections.abc import Callable
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
        self._client: Client | None = None

    def attach(self, client: Client) -> None:
        """Use this connection."""
        self._client = client

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish to one device's topic; returns False when that is not possible now."""
        return self._client is not None and self._client.publish(topic, payload)

    def announce_key(self) -> bool:
        """Publish the retained key announcement."""
        return self._client is not None and self._client.publish(topics.KEY_ANNOUNCEMENT, self._announcement(), retain=True)

    def announce_refresh(self) -> bool:
        """Tell every device that there may be a new release."""
        return self._client is not None and self._client.publish(topics.REFRESH, b"")
