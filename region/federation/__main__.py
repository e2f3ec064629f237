"""The region's federation worker: `python -m region.federation --config region.toml`, a child of `terrace region serve`.

Composition root of this process: the vault (read only), the connection to the cloud, the inbox and the reporter. It runs at low
priority; what trains runs in a child of its own.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from region.config import RegionSettings
from region.federation.egress import recorder
from region.federation.inbox import Inbox
from region.federation.reporter import Reporter, cases_of
from region.federation.tasks import Tasks
from region.vault import Vault
from shared import clock, log
from shared.config import load
from shared.errors import TerraceError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link.https import HttpsClient
from shared.status import read_status

ENDED = "federation_worker_failed"


def run(config: Path) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        TerraceError: the configuration, identity or vault cannot be used.
    """
    settings = load(config, RegionSettings)
    os.nice(settings.training.nice)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    identity = Identity.load(settings.identity.folder)
    vault = Vault(settings.vault_path, read_only=True)
    vault.start()
    context = client_context(identity, server_tier="cloud")
    https, reports = (HttpsClient(context, settings.cloud.url, record=recorder(settings.cloud.egress_record)) for _ in range(2))
    pause = _pause(stopped)
    tasks = Tasks(settings, vault, pause=pause)
    reporter = Reporter(
        reports, counts=lambda: cases_of(vault), status=lambda: read_status(settings.status_path), clock=clock.wall, pause=pause
    )
    inbox = Inbox(https, settings.state / "federation", train=tasks.train, evaluate=tasks.evaluate, pause=pause)
    threads = [threading.Thread(target=part.run, name=type(part).__name__, daemon=True) for part in (reporter, inbox)]
    for thread in threads:
        thread.start()
    while not stopped.wait(1.0) and all(thread.is_alive() for thread in threads):
        continue
    died = not stopped.is_set()
    stopped.set()
    vault.stop()
    if died:
        raise TerraceError("a thread of the federation worker ended unexpectedly.", "See the log above; the daemon starts it again.")


def _pause(stopped: threading.Event) -> Callable[[float], bool]:
    return lambda seconds: not stopped.wait(seconds)


def main(config: Annotated[Path, typer.Option(help="The region's configuration file.")]) -> None:
    """Do the region's part in federated rounds."""
    log.configure()
    try:
        run(config)
    except TerraceError as error:
        log.get("federation").error(ENDED, error=str(error))
        raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    typer.run(main)
