"""One intake worker put together, with its connection to the broker: the same in the daemon and in a worker process of its own.

Not here: who serves which shards (shards, pool), what happens to a message (reception, intake).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from region.config import RegionSettings
from region.intake import IntakeWorker
from region.kicker import Kicker
from region.reception import Reception
from region.revocation import RevocationList
from shared import clock
from shared.errors import IdentityError
from shared.identity.chain import verify_chain
from shared.identity.names import Peer
from shared.identity.store import Identity
from shared.identity.tls import client_context, peer_of_connection
from shared.link.dictionaries import DictionaryFolder
from shared.link.mqtt import MqttClient
from shared.wire import topics

WORKER_ID = "region:"
"""Before a worker's client id, so that no device, whatever its certificate is called, has the same and takes its connection over."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every intake worker of a region has in common with the others of its process.

    Attributes:
        settings: region.toml.
        server: the region's own identity.
        revocations: who is not listened to.
        vault: where cases go.
        epochs: where epochs are kept.
        keys: the region's key pairs.
        replies: says things to devices.
        dictionaries: what messages may be compressed with.
        fleet: remembers what devices say of themselves, or passes it on.
        figures: counts.
        guard: knows each device's limits.
        audits: watches for audit samples that are left out.
        submit: hands new cases to the expert, or passes them on.
    """

    settings: RegionSettings
    server: Identity
    revocations: RevocationList
    vault: Any
    epochs: Any
    keys: Any
    replies: Any
    dictionaries: DictionaryFolder
    fleet: Any
    figures: Any
    guard: Any
    audits: Any
    submit: Any


class Intake:
    """An intake worker and its connection.

    Args:
        identity: the worker's own.
        around: see `Surroundings`.
        on_state: called with True after the broker accepted the connection, with False after it was lost.
    """

    def __init__(self, identity: Identity, around: Surroundings, *, on_state: Callable[[bool], None] | None = None) -> None:
        self.name = identity.peer.name
        self.worker = _worker(self.name, around)
        self.client = _client(identity, around, self.worker.deliver, on_state)
        self._filters: list[str] = []

    def start(self) -> None:
        """Start to connect and to work; nothing is served before `own`."""
        self.worker.start()
        self.client.start()

    def stop(self) -> None:
        """Disconnect and end; what was not stored is sent again by its device."""
        self.client.stop()
        self.worker.stop()

    def own(self, shards: frozenset[int]) -> None:
        """Serve these shards and no others; returns when what came for the others is stored."""
        filters = topics.worker_filters(tuple(sorted(shards)))
        self.client.unsubscribe([one for one in self._filters if one not in filters])
        self.worker.own(shards)
        self.client.subscribe([one for one in filters if one not in self._filters])
        self._filters = filters


def admit(chain: Sequence[bytes], settings: RegionSettings, server: Identity, revocations: RevocationList) -> Peer:
    """Return which device a chain names, of this region or of one whose devices are let in.

    Raises:
        IdentityError: none.
    """
    peer = verify_chain(chain, anchors=server.anchors, tier="edge", now=clock.wall())
    if peer.region != settings.name and not revocations.admits(peer):
        raise IdentityError(f"{peer.common_name} is a device of {peer.region}, whose devices are not let in here.")
    return peer


def kicker(identity: Identity, settings: RegionSettings, server: Identity) -> Kicker:
    """Return what closes devices' connections at the broker, with a worker's certificate."""
    host, port = settings.broker.workers_at
    own = server.peer.common_name
    context = client_context(identity, server_tier="region")
    return Kicker(host=host, port=port, context=context, expect_peer=lambda connection: _expect_broker(connection, settings, own))


def _worker(name: str, around: Surroundings) -> IntakeWorker:
    reception = Reception(
        region=around.settings.name,
        vault_id=lambda: str(around.vault.vault_id),
        private_keys=lambda: around.keys.private_keys,
        verify=lambda chain: admit(chain, around.settings, around.server, around.revocations),
        known_open=around.epochs.digest,
        revoked=around.revocations,
        find_dictionary=around.dictionaries.find,
    )
    return IntakeWorker(
        name,
        reception=reception,
        vault=around.vault,
        epochs=around.epochs,
        replies=around.replies,
        fleet=around.fleet,
        figures=around.figures,
        guard=around.guard,
        audits=around.audits,
        submit=around.submit,
        deadline_s=around.settings.expert.deadline_s,
    )


def _client(
    identity: Identity, around: Surroundings, deliver: Callable[[str, bytes], None], on_state: Callable[[bool], None] | None
) -> MqttClient:
    host, port = around.settings.broker.workers_at
    return MqttClient(
        host=host,
        port=port,
        context=client_context(identity, server_tier="region"),
        client_id=WORKER_ID + identity.peer.common_name,
        expect_peer=lambda connection: _expect_broker(connection, around.settings, around.server.peer.common_name),
        on_message=deliver,
        on_state=on_state,
    )


def _expect_broker(connection: ssl.SSLSocket | ssl.SSLObject, settings: RegionSettings, own: str) -> None:
    peer = peer_of_connection(connection, tier="region", fleet=settings.fleet)
    if settings.broker.url:
        if peer.region != settings.name:
            raise IdentityError(f"the broker of broker.url is {peer.common_name}, of another region.")
    elif peer.common_name != own:
        raise IdentityError(f"the broker at worker_port is {peer.common_name}, not {own}.")
