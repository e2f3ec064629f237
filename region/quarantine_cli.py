"""`terrace region quarantine list|release`: devices that are kept out for a while, and letting one in again before its time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from region.config import RegionSettings
from region.guard import RELEASED
from region.quarantine import Quarantine
from shared.audit import AuditLog, owner
from shared.config import load
from shared.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Devices that are kept out for a while, since they sent too much.")
Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command("list")
def list_(config: Config, as_json: AsJson = False) -> None:
    """List who is kept out, until when and why. The region may run or not."""
    found = Quarantine(load(config, RegionSettings).quarantine_path).read()
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
        return
    for name, entry in found.items():
        typer.echo(f"{name:>24}  {max(0.0, entry.until - time.time()):6.0f} s more: {entry.reason}")
    if not found:
        typer.echo("Nobody is kept out.")


@app.command()
def release(
    device: Annotated[str, typer.Argument(help="The device's name, such as edge-1.region-1.")], config: Config, as_json: AsJson = False
) -> None:
    """Listen to a device again before its time is over; the running region does so within a second or two."""
    settings = load(config, RegionSettings)
    if not Quarantine(settings.quarantine_path).release(device):
        raise InputError(f"{device} is not kept out.", "See who is: terrace region quarantine list --config …")
    AuditLog(settings.audit_path).append(owner(), RELEASED, device, {"why": "an operator released it"})
    typer.echo(json.dumps({"device": device, "released": True}) if as_json else f"{device} is listened to again.")
