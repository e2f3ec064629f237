"""`terrace region rotate-key`: a new key for devices to open epochs with, now."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from region.config import RegionSettings
from region.keys import KeyRing
from region.vault import Vault
from shared import log
from shared.audit import AuditLog, owner
from shared.config import load
from shared.errors import ConfigurationError
from shared.identity.store import Identity


def add_to(app: typer.Typer) -> None:
    """Add the command to the region's."""
    app.command("rotate-key")(rotate_key)


def rotate_key(
    config: Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")],
    destroy_old: Annotated[
        bool, typer.Option("--destroy-old", help="Destroy the older keys at once: they may be known to others.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Make the region's next key before its time; a running region announces it within seconds, and devices open new epochs.

    Without --destroy-old the former key goes on opening epochs until its own end.
    """
    settings = load(config, RegionSettings)
    log.configure(level="warning")
    if not settings.vault_path.exists():
        raise ConfigurationError(f"there is no vault in {settings.state} yet.", "Start the region once: it makes its first key.")
    identity = Identity.load(settings.identity.folder)
    vault = Vault(settings.vault_path, joins=True)
    vault.start()
    try:
        keys = KeyRing(vault, region=settings.name, sign=identity.sign, chain=identity.chain, kem=settings.keys.kem)
        serial = keys.rotate(time.time(), destroy_old=destroy_old)
    finally:
        vault.stop()
    AuditLog(settings.audit_path).append(owner(), "region_key.rotated", str(serial), {"old_destroyed": destroy_old})
    typer.echo(json.dumps({"serial": serial}) if as_json else f"The new key has serial {serial}.")
