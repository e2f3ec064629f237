"""The cloud daemon's composition root: the registry, three listeners, the supervised round worker and the status socket.

The API process serves; it imports neither flwr nor torch. What learns runs in the worker, what signs in the signer.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import Request

from cloud import rollout_record
from cloud.alertboard import AlertBoard
from cloud.auditheads import AuditHeads
from cloud.blobs import Blobs
from cloud.broadcast import Broadcast
from cloud.config import Settings
from cloud.fleet import Fleet
from cloud.history import History
from cloud.machines import Machines, machines_app
from cloud.mailbox import Mailbox
from cloud.ops import Gauges, ops_app
from cloud.people import Desk, describe, people_app
from cloud.picture import Picture
from cloud.publish import Repository
from cloud.registry import Registry
from cloud.rollout_book import RolloutBook
from cloud.rollouts import Rollouts
from cloud.tables import open_registry
from shared import clock, log
from shared.access import TokenStore
from shared.accounts import FIRST_ADMIN, AccountStore
from shared.audit import AuditLog
from shared.child import Child
from shared.doors import Doors
from shared.errors import ConfigurationError, TerraceError
from shared.headsigner import HeadSigner
from shared.identity.denied import Denied
from shared.identity.names import Peer
from shared.identity.store import Identity
from shared.identity.tls import people_context, server_context
from shared.lifecycle import Part, run
from shared.roles import Role
from shared.serving import peer_from_scope, serve
from shared.sessions import SessionStore
from shared.signin import App, signin_app
from shared.site import site
from shared.statics import PAGES, Statics
from shared.status import StatusServer

PEOPLE_CERTIFICATE, FIRST_ADMIN_LINK, HEAD_UNSIGNED = "people_certificate", "first_admin_link", "audit_head_unsigned"
ANCHOR_S = 10.0
DASHBOARD = Path(__file__).resolve().parent / "dashboard"
PAGE_NAMES = dict.fromkeys(("/", "/rounds", "/releases", "/alerts", "/audit", "/people"), "index.html")


class Cloud:
    """The daemon.

    Args:
        settings: cloud.toml.
        config: the file itself; the worker reads it again.
    """

    def __init__(self, settings: Settings, config: Path) -> None:
        self._settings = settings
        self.database = open_registry(settings)
        self.blobs = Blobs(settings.state / "blobs")
        self.registry = Registry(self.database)
        self.fleet = Fleet(self.database)
        self.mailbox = Mailbox(self.database, self.blobs)
        self.worker = Child(
            "worker",
            [sys.executable, "-m", "cloud.federation", "--config", str(config)],
            log_path=settings.state / "logs" / "worker.log",
            environment={**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"},
        )
        self.accounts = AccountStore(settings.accounts_path)
        self.audit = AuditLog(settings.audit_path)
        self.heads = AuditHeads(self.database, self.audit)
        self.book = RolloutBook(self.database)
        repository = Repository(settings.repository_folder, settings.repository.keys)
        self.rollouts = Rollouts(settings, book=self.book, fleet=self.fleet, repository=repository, audit=self.audit)
        self.certificates: dict[str, float] = {}
        self.board = AlertBoard(
            registry=self.registry,
            fleet=self.fleet,
            book=self.book,
            heads=self.heads,
            certificates=self.certificates,
            clock=clock.wall,
        )
        self.picture = Picture(
            name=settings.fleet,
            database=self.database,
            registry=self.registry,
            fleet=self.fleet,
            history=History(self.database),
            audit=self.audit,
            clock=clock.wall,
            rollouts=self._described,
            alerts=self.board.alerts,
        )
        self.broadcast = Broadcast(self.picture.version, self.picture.topics)
        self.first_admin_link = ""
        self.fingerprint = ""
        self.ports: dict[str, int] = {}

    def parts(self) -> Sequence[Part]:
        """Return the daemon's parts in the order they start.

        Raises:
            ConfigurationError: `terrace cloud init` has not been run.
            IdentityError: the identity cannot be used.
        """
        settings = self._settings
        if not Repository(settings.repository_folder, settings.repository.keys).exists():
            raise ConfigurationError(
                f"there is no release repository in {settings.repository_folder}.", "Run first: terrace cloud init --models DIR --config …"
            )
        identity = Identity.load(settings.identity.folder)
        self.certificates["the cloud"] = identity.peer.not_after
        machines = Machines(
            mailbox=self.mailbox,
            heads=self.heads,
            fleet=self.fleet,
            repository=settings.repository_folder,
            peer_of=self._peer_of,
            denied=Denied(settings.revoked_path),
            longest_poll_s=settings.regions.longest_poll_s,
            clock=clock.wall,
        )
        tls = people_context(settings.state, ["localhost", "127.0.0.1", settings.people.host], now=clock.wall())
        self.fingerprint = tls.fingerprint
        log.get("cloud").info(PEOPLE_CERTIFICATE, fingerprint=tls.fingerprint, port=settings.people.port)
        servers = {
            "regions": serve(
                machines_app(machines),
                host=settings.regions.host,
                port=settings.regions.port,
                context=server_context(identity, client_tier="region"),
                key="regions.port",
            ),
            "people": serve(self._people(), host=settings.people.host, port=settings.people.port, context=tls.context, key="people.port"),
            "ops": serve(
                ops_app(problems=self.problems, gauges=self.gauges), host="127.0.0.1", port=settings.ops.port, context=None, key="ops.port"
            ),
        }
        self._servers = servers
        status = StatusServer(settings.status_path, self.status)
        return [
            self.database,
            self.blobs,
            *servers.values(),
            _Bell(machines),
            self.broadcast,
            _Welcome(self),
            self.worker,
            self.rollouts,
            _Anchor(self.audit, identity, settings.heads_path),
            status,
        ]

    def _described(self) -> list[dict[str, Any]]:
        return [rollout_record.describe(item, self.book.history(item.id)) for item in self.book.rollouts(20)]

    def _people(self) -> App:
        settings = self._settings
        sessions = SessionStore(settings.accounts_path)
        desk = Desk(
            registry=self.registry,
            fleet=self.fleet,
            history=History(self.database),
            picture=self.picture,
            broadcast=self.broadcast,
            accounts=self.accounts,
            doors=Doors(TokenStore(token_path(settings)), sessions),
            audit=self.audit,
            rollouts=self.rollouts,
            book=self.book,
            board=self.board,
            clock=clock.wall,
        )
        pages = Statics([PAGES, DASHBOARD], PAGE_NAMES).load()
        return site(people_app(desk), signin_app(self.accounts, sessions, self.audit), pages)

    def welcome(self) -> None:
        """Make and tell the first admin's one-time link, while there is no account."""
        if not self.accounts.accounts():
            port = self._servers["people"].port
            url = self._settings.people_url.rpartition(":")[0]
            self.first_admin_link = f"{url}:{port}/welcome#code={self.accounts.invite(Role.ADMIN, FIRST_ADMIN)}"
            log.get("cloud").warning(FIRST_ADMIN_LINK, link=self.first_admin_link, lasts="one day, good once")

    def _peer_of(self, request: Request) -> Peer:
        return peer_from_scope(request.scope, tier="region", fleet=self._settings.fleet)

    def problems(self) -> list[str]:
        """Return what keeps the daemon from working."""
        return [] if self.worker.pid else ["the round worker is not running"]

    def gauges(self) -> Gauges:
        """Return the figures for /metrics."""
        regions = self.fleet.regions()
        rounds = self.registry.rounds()
        return {
            "regions": len(regions),
            "regions_seen_last_minute": sum(clock.wall() - region.seen_at <= 60 for region in regions),
            "devices": len(self.fleet.devices()),
            "cases_train": sum(region.cases_train for region in regions),
            "rounds_done": sum(item.state == "done" for item in rounds),
            "rounds_failed": sum(item.state == "failed" for item in rounds),
            "rounds_refused": sum(item.state == "refused" for item in rounds),
            "worker_restarts": self.worker.restarts,
        }

    def status(self) -> dict[str, Any]:
        """Return what the status socket says."""
        return {
            "fleet": self._settings.fleet,
            "ports": {name: server.port for name, server in self._servers.items()},
            "people_fingerprint": self.fingerprint,
            "first_admin_link": "" if self.accounts.accounts() else self.first_admin_link,
            "dashboards": self.broadcast.clients,
            "worker": {"pid": self.worker.pid, "restarts": self.worker.restarts},
            "rounds": [describe(item, self.registry) for item in self.registry.rounds()[:20]],
            "rollouts": self._described(),
            **self.fleet.summary(),
        }


class _Welcome:
    """A part that tells the first admin's link once the people's listener has its port."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def start(self) -> None:
        """Tell it."""
        self._cloud.welcome()

    def stop(self) -> None:
        """Nothing to end."""


class _Anchor:
    """A part that signs where the cloud's own audit log ends, into a file that may lie on another machine."""

    def __init__(self, audit: AuditLog, identity: Identity, path: Path) -> None:
        self._heads = HeadSigner(audit, node=identity.peer.common_name, certificate=identity.chain[0], sign=identity.sign, path=path)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anchor", daemon=True)

    def start(self) -> None:
        """Sign from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._heads.once(at=clock.wall())
            except TerraceError as error:
                log.get("audit").warning(HEAD_UNSIGNED, error=str(error))
            if self._stopped.wait(ANCHOR_S):
                return


class _Bell:
    """A part that tells the long polls when the daemon stops, so that stopping does not wait for them."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def start(self) -> None:
        """Nothing rings yet."""

    def stop(self) -> None:
        """End the long polls."""
        self._machines.is_stopping.set()


def token_path(settings: Settings) -> Path:
    """Return where the tokens of people are stored, hashed."""
    return settings.state / "tokens.db"


def serve_cloud(settings: Settings, config: Path) -> None:
    """Run the daemon until it is told to stop.

    Raises:
        TerraceError: a part could not start.
    """
    run(Cloud(settings, config).parts(), name="cloud")
