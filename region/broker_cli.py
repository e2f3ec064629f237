"""`terrace region broker-config`: what the operator of another broker must set for this region."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from region.brokerconfig import checklist, mosquitto_files
from region.config import RegionSettings
from shared import durable
from shared.config import load
from shared.identity.denied import read_revoked
from shared.identity.store import Identity

Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("broker-config")(broker_config)


def broker_config(
    config: Config,
    out: Annotated[Path | None, typer.Option(help="Write mosquitto's files into this folder as well.")] = None,
    folder: Annotated[Path, typer.Option(help="Where the files will lie on the broker's machine.")] = Path("/etc/mosquitto/terrace"),
    user: Annotated[str, typer.Option(help="Whom mosquitto runs as there.")] = "mosquitto",
) -> None:
    """Print what a broker run by others must be told (`url` in the section broker): a table for any broker, and mosquitto's own files.

    The broker's certificate is one of the fleet; the first lines say how it is issued.
    """
    settings = load(config, RegionSettings)
    identity = Identity.load(settings.identity.folder)
    revoked = read_revoked(settings.revoked_path)
    files = mosquitto_files(
        settings.broker,
        folder=folder,
        user=user,
        anchors=identity.anchors.anchors,
        crl=identity.revocation_lists(),
        revoked=revoked,
    )
    typer.echo(checklist(settings.broker, region=settings.name, revoked=revoked))
    if out is None:
        for name, text in files.items():
            typer.echo(f"# ---- {name}\n{text}")
        return
    for name, text in files.items():
        durable.write(out / name, text.encode(), mode=0o644)
    typer.echo(f"mosquitto's files are in {out}; add certificate.pem and key.pem of its identity.")
