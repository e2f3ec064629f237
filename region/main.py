"""The region's composition root: the only file that names concrete classes. `serve` runs until it is told to stop.

Parts, in the order they start: vault → preparation (revocations, keys) → broker → expert → the daemon's own intake worker → the pool
of all intake workers → listeners → upkeep → status socket → what talks to the cloud. They stop in the opposite order.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from region import carried
from region.agreement import Agreement
from region.auditbook import AuditBook
from region.auditwatch import AuditWatch
from region.batcher import Backlog
from region.broker import Broker
from region.config import RegionSettings
from region.decoder import Decoder
from region.epochs import EpochStore
from region.experts.onnx import OnnxExpert, read_card
from region.external import AnyBroker, ExternalBroker
from region.figures import Figures
from region.firstroot import first_root
from region.fleet import Fleet
from region.gateway import machines_app
from region.guard import Guard
from region.guests import Guests
from region.identities import identities
from region.intakeparts import Intake, Surroundings, admit, kicker
from region.keys import KeyRing
from region.lexicon import Lexicon
from region.models import RegionModels
from region.ops import ops_app
from region.outlet import Outlet
from region.peopleparts import people_parts
from region.pool import IntakePool
from region.quarantine import Quarantine
from region.relay import Relay
from region.replies import Replies
from region.report import Report
from region.revocation import RevocationList
from region.upkeep import Upkeep
from region.vault import Vault
from region.watch import rules_of
from region.worker import ExpertWorker
from shared import lifecycle, log
from shared.audit import AuditLog
from shared.child import Child
from shared.errors import TerraceError
from shared.headsigner import HeadSigner
from shared.hwprofile import shelf
from shared.hwprofile.engine import engine_maker
from shared.identity.names import Peer
from shared.identity.tls import server_context
from shared.lifecycle import Part
from shared.link.https import HttpsClient
from shared.release.card import Card
from shared.release.fetch import Fetch, either, from_folder, from_https
from shared.release.trust import TrustedClient
from shared.serving import Server
from shared.serving import serve as serve_http
from shared.status import StatusServer

EXPERT, EXPERT_UNUSABLE = "expert", "expert_release_unusable"


class Region:
    """All parts of a region, put together.

    Args:
        settings: region.toml.
        config: the file itself; the federation child reads it too.
    """

    def __init__(self, settings: RegionSettings, config: Path) -> None:
        self.settings = settings
        self.config = config
        self.identity, self.worker_identities = identities(settings)
        self.vault = Vault(settings.vault_path)
        self.agreement = Agreement(self.vault.database, rules_of(settings.drift))
        self.figures, self.fleet = Figures(), Fleet()
        self.guests = Guests(settings.fail_over_for, self.identity)
        quarantine = Quarantine(settings.quarantine_path)
        audit, identity = AuditLog(settings.audit_path), self.identity
        self.revocations = RevocationList(settings.revoked_path, identity, quarantine, self.guests)
        self.guard = Guard(settings.limits, quarantine=quarantine, audit=audit, region=settings.name)
        self.audits = AuditWatch(AuditBook(self.vault.database), audit, settings.name)
        self.heads = HeadSigner(audit, node=identity.peer.common_name, certificate=identity.chain[0], sign=identity.sign)
        self.lexicon = Lexicon(settings.state, self.fleet)
        self.keys = KeyRing(
            self.vault,
            region=settings.name,
            sign=identity.sign,
            chain=identity.chain,
            kem=settings.keys.kem,
            dictionaries=lambda: self.lexicon.folder.shelf.digests,
        )
        self.epochs = EpochStore(self.vault)
        self.outlet = Outlet(lambda: self.keys.announcement)
        self.replies = Replies(self.outlet.publish, self.figures, self.lexicon.folder.shelf)
        self.broker = self._broker()
        self.backlog = Backlog(largest=settings.expert.max_batch, capacity=settings.expert.backlog_cases)
        self.expert = self._expert()
        self.intake = Intake(self.worker_identities[0], self._around(), on_state=self._connection_changed)
        self.pool = self._pool()
        self.report = self._report()
        self.models: RegionModels | None = None
        self.relay: Relay | None = None
        if settings.cloud.url:
            client, fetch = self._repository()
            self.models = self._models(client)
            self.relay = self._relay(client, fetch, self.models)

    def parts(self) -> list[Part]:
        """Return every part in the order it starts."""
        self.outlet.attach(self.intake.client)
        upkeep = self._upkeep()
        return [
            self.vault,
            Preparation(self, upkeep.once),
            *([self.models] if self.models else []),
            self.broker,
            self.expert,
            self.intake,
            self.pool,
            self._machines(),
            *people_parts(self.settings, self.vault, lambda: self.expert.release, self.report.live),
            self._ops(),
            upkeep,
            StatusServer(self.settings.status_path, self.report.status),
            *([self.relay] if self.relay else []),
            *([self._federation()] if self.settings.cloud.url and self.settings.training.enabled else []),
        ]

    def verify(self, chain: Sequence[bytes]) -> Peer:
        """Return which device a chain names, of this region or of one whose devices are let in.

        Raises:
            IdentityError: none.
        """
        return admit(chain, self.settings, self.identity, self.revocations)

    def is_revoked(self, peer: Peer) -> bool:
        """Whether a device is revoked by name or by certificate, or of another region whose list is not in order."""
        return not self.revocations.admits(peer)

    def install_local_expert(self) -> None:
        """Load the expert named in the configuration, if one is.

        Raises:
            TerraceError: it cannot be used.
        """
        path = self.settings.expert.path
        if path is not None:
            self.expert.install(self._make_expert(path, read_card(path)))

    def install_released_expert(self, family: str) -> None:
        """Load the expert a release brought; one that cannot be used leaves the one before in place, and the region goes on."""
        found = self.models.current(EXPERT) if self.models is not None and family == EXPERT else None
        if found is None:
            return
        path, card = found
        try:
            self.expert.install(self._make_expert(path, card))
        except TerraceError as error:
            log.get("models").warning(EXPERT_UNUSABLE, release=card.release, error=str(error))

    def _make_expert(self, path: Path, card: Card) -> OnnxExpert:
        """Return an expert that has run once, on the engine of the hardware profile where one is set.

        Raises:
            TerraceError: it cannot be used.
        """
        expert = self.settings.expert
        profile = shelf.find(expert.profile, kinds=("edge", "region")) if expert.profile else None
        make = engine_maker(profile, cache=self.settings.state / "engines") if profile else None
        return OnnxExpert(path, card, threads=expert.threads, make=make).load()

    def _repository(self) -> tuple[TrustedClient, Fetch]:
        """Return the view on the cloud's releases, believed from the root this region was provisioned with.

        Raises:
            IdentityError: there is no such root.
        """
        cloud = from_https(HttpsClient(self.identity, self.settings.cloud.url).get)  # GET only: no body to keep in the egress record
        fetch = either(cloud, from_folder(carried.folder_of(self.settings.state)))
        return TrustedClient(self.settings.state / "trust", bootstrap_root=first_root(self.settings), fetch=fetch), fetch

    def _models(self, client: TrustedClient) -> RegionModels:
        return RegionModels(
            self.settings.state / "models",
            client=client,
            fleet=self.settings.fleet,
            name=self.settings.name,
            on_change=self.install_released_expert,
        )

    def _relay(self, client: TrustedClient, fetch: Fetch, models: RegionModels) -> Relay:
        def announce(version: int) -> None:
            carried.forget_overtaken(self.settings.state, version)
            self.outlet.announce_refresh()

        return Relay(
            self.settings.state / "relay",
            client=client,
            fetch=fetch,
            on_change=announce,
            on_refresh=models.sync,
            interval_s=self.settings.cloud.poll_interval_s,
            capacity_bytes=self.settings.relay.capacity_mb * 1_000_000,
        )

    def _federation(self) -> Child:
        command = [sys.executable, "-m", "region.federation", "--config", str(self.config.resolve())]
        return Child("federation", command, log_path=self.settings.state / "federation.log")

    def _broker(self) -> AnyBroker:
        identity = self.identity
        if self.settings.broker.url:
            return ExternalBroker(lambda: self.intake.client.is_connected)
        return Broker(
            self.settings.broker,
            folder=self.settings.state / "broker",
            certificate=identity.certificate_path,
            key=identity.key_path,
            anchors=identity.anchors.anchors,
        )

    def _expert(self) -> ExpertWorker:
        decoder = Decoder(max_pixels=self.settings.expert.max_pixels)
        return ExpertWorker(
            vault=self.vault,
            send=self.replies.send,
            figures=self.figures,
            backlog=self.backlog,
            decoder=decoder,
            agreement=self.agreement,
        )

    def _around(self) -> Surroundings:
        return Surroundings(
            settings=self.settings,
            server=self.identity,
            revocations=self.revocations,
            vault=self.vault,
            epochs=self.epochs,
            keys=self.keys,
            replies=self.replies,
            dictionaries=self.lexicon.folder,
            fleet=self.fleet,
            figures=self.figures,
            guard=self.guard,
            audits=self.audits,
            submit=self.expert.submit,
        )

    def _pool(self) -> IntakePool:
        return IntakePool(
            self.settings,
            self.config,
            own=self.intake,
            vault=self.vault,
            epochs=self.epochs,
            replies=self.replies,
            figures=self.figures,
            fleet=self.fleet,
            submit=self.expert.submit,
        )

    def _connection_changed(self, is_connected: bool) -> None:
        if is_connected:
            self.outlet.announce_key()

    def _machines(self) -> Server:
        app = machines_app(
            fleet=self.settings.fleet,
            regions=(self.settings.name, *self.guests.regions),
            is_revoked=self.is_revoked,
            announcement=lambda: self.keys.announcement,
            relay=self.relay,
            shelf=self.lexicon.folder.shelf,
        )
        chosen = self.settings.machines
        context = server_context(self.identity, client_tier="edge")
        return serve_http(app, host=chosen.host, port=chosen.port, context=context, key="machines.port")

    def _ops(self) -> Server:
        app = ops_app(problems=self.report.problems, status=self.report.status)
        return serve_http(app, host="127.0.0.1", port=self.settings.ops.port, context=None, key="ops.port")

    def _upkeep(self) -> Upkeep:
        return Upkeep(
            vault=self.vault,
            limits=self.settings.vault,
            keys=self.keys,
            revocations=self.revocations,
            guard=self.guard,
            audits=self.audits,
            heads=self.heads,
            broker=self.broker,
            kicker=kicker(self.worker_identities[0], self.settings, self.identity),
            replies=self.replies,
            outlet=self.outlet,
            epochs=self.epochs,
            agreement=self.agreement,
            fleet=self.fleet,
            alarm_share=self.settings.drift.audit_share,
            lexicon=self.lexicon,
        )

    def _report(self) -> Report:
        return Report(
            self.settings.name,
            vault=self.vault,
            broker=self.broker,
            expert=self.expert,
            backlog=self.backlog,
            figures=self.figures,
            fleet=self.fleet,
            revocations=self.revocations,
            intake=self.pool,
            agreement=self.agreement,
            heads=self.heads,
            certificate_ends=self.identity.peer.not_after,
            people_url=self.settings.people.address,
        )


class Preparation:
    """What must be known before the first message: revocations, keys, the local expert.

    Args:
        region: what is prepared.
        upkeep: reads revocations and keys.
    """

    def __init__(self, region: Region, upkeep: Callable[[], None]) -> None:
        self._region = region
        self._upkeep = upkeep

    def start(self) -> None:
        """Prepare; raises the TerraceError of what cannot be."""
        self._upkeep()
        self._region.install_local_expert()

    def stop(self) -> None:
        """Leave everything as it is."""


def serve(settings: RegionSettings, config: Path, *, stopped: threading.Event | None = None) -> None:
    """Run a region until SIGTERM or SIGINT (or `stopped`).

    Raises:
        TerraceError: what kept it from starting.
    """
    lifecycle.run(Region(settings, config).parts(), name="region", stopped=stopped)
