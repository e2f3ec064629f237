"""A broker run by others, in the place of the supervised mosquitto: nothing is started, and what it must know is its operator's to set.

`terrace region broker-config` prints what that is. A revoked device is silenced here at intake all the same; the broker refuses it once
its operator has taken over the revocation list or the deny lines printed there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from region.broker import Broker
from shared import log

DENY_THERE = "external_broker_must_deny"


class ExternalBroker:
    """Stands where the supervised broker would stand.

    Args:
        is_connected: whether the region's own connection to it is up.
    """

    restarts = 0
    pid = None

    def __init__(self, is_connected: Callable[[], bool]) -> None:
        self._is_connected = is_connected
        self._revoked: frozenset[str] = frozenset()

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted our connection."""
        return self._is_connected()

    def start(self) -> None:
        """Nothing is ours to start."""

    def stop(self) -> None:
        """Nothing is ours to stop."""

    def revoke(self, revoked: Iterable[str], *, crl: bytes | None = None) -> None:
        """Say in the log which devices its operator must deny; intake drops what they send."""
        del crl
        before, self._revoked = self._revoked, frozenset(revoked)
        if fresh := sorted(self._revoked - before):
            log.get("broker").warning(DENY_THERE, devices=fresh)

    def renew(self) -> bool:
        """Its certificate is its operator's."""
        return False


AnyBroker: TypeAlias = Broker | ExternalBroker
