"""`terrace provision pki`: the fleet's authority on the command line."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from provisioning.pki.authority import Authority, create_fleet
from shared import durable
from shared.identity import store

app = typer.Typer(
    no_args_is_help=True,
    help="Make a fleet's authority, and issue and revoke the identities of its machines.\n\n"
    "The authority is a folder with the fleet's private keys: keep it on an offline machine or an encrypted stick. A machine gets "
    "an identity folder (certificate, key, anchors); copy it there and name it as `folder` in the section `identity` of its "
    "configuration.\n\n"
    "Start with: terrace provision pki create --authority authority --fleet acme",
)
AuthorityFolder = Annotated[Path, typer.Option("--authority", help="Folder of the fleet's authority (private keys; keep it offline).")]
Region = Annotated[str, typer.Option(help="Name of the region: a-z, 0-9 and hyphen.")]
Out = Annotated[Path, typer.Option(help="Identity folder to write; copy it to the machine.")]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", help="DNS name or IP address the machine serves under; repeat for more. None: a client only.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


@app.command()
def create(
    authority: AuthorityFolder, fleet: Annotated[str, typer.Option(help="Name of the fleet, for ever: a-z, 0-9 and hyphen.")]
) -> None:
    """Make the authority of a new fleet: offline root, one anchor per tier, signed anchor list."""
    create_fleet(authority, fleet)
    typer.echo(f"authority of {fleet} in {authority}")
    typer.echo("Back it up and keep it offline: whoever has this folder can be any machine of the fleet.")


@app.command()
def region(
    authority: AuthorityFolder,
    region: Region,
    out: Out,
    host: Hosts = None,
    name: Annotated[str, typer.Option(help="Name of the machine: server, or intake-0, intake-1 … for its workers.")] = "server",
) -> None:
    """Issue the identity of a region's server (with --host) or of one of its workers (without), valid 90 days."""
    typer.echo(Authority.open(authority).issue_region(region, name, host or [], destination=out))


@app.command()
def device(
    authority: AuthorityFolder, region: Region, name: Annotated[str, typer.Option(help="Name of the device, such as edge-1.")], out: Out
) -> None:
    """Issue a device's identity, valid 30 days."""
    typer.echo(Authority.open(authority).issue_device(region, name, destination=out))


@app.command()
def cloud(
    authority: AuthorityFolder, out: Out, host: Hosts = None, name: Annotated[str, typer.Option(help="Name of the machine.")] = "cloud"
) -> None:
    """Issue the identity of a machine of the cloud, valid 90 days."""
    typer.echo(Authority.open(authority).issue_cloud(name, host or [], destination=out))


@app.command()
def revoke(
    authority: AuthorityFolder,
    machine: Annotated[str, typer.Argument(help="Common name (edge-1.region-1) or serial number, as `list` shows them.")],
    out: Annotated[Path, typer.Option(help="Folder for the new revocation list: the region's identity folder.")] = Path(),
) -> None:
    """Revoke a machine's certificates and write its region's new revocation list (devices.crl.pem).

    Copy the file into the identity folder of the region's server and reload the region: its broker refuses the device's
    connections, its intake the device's messages.
    """
    opened = Authority.open(authority)
    for row in opened.revoke(machine):
        typer.echo(f"revoked {row.name}.{row.region} {row.serial}")
        if row.issuer == "edge" or row.issuer.startswith("devices/"):
            _write_crl(opened, row.region, out)


@app.command()
def crl(
    authority: AuthorityFolder, region: Region, out: Annotated[Path, typer.Option(help="Folder for devices.crl.pem.")] = Path()
) -> None:
    """Write a region's revocation list anew; it is good for 30 days, and an expired one makes the broker refuse every device."""
    _write_crl(Authority.open(authority), region, out)


@app.command("list")
def list_issued(authority: AuthorityFolder, as_json: AsJson = False) -> None:
    """List what the authority has issued, with expiry and revocation."""
    rows = Authority.open(authority).issued()
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(row) for row in rows]))
        return
    table = Table("machine", "tier", "expires", "state", Column("serial", overflow="fold"), box=None)
    for row in rows:
        state = f"revoked {_day(row.revoked_at)}" if row.revoked_at is not None else "good"
        table.add_row(f"{row.name}.{row.region}", row.tier, _day(row.not_after), state, row.serial)
    Console().print(table)


def _write_crl(authority: Authority, region: str, folder: Path) -> None:
    path = folder / store.DEVICES_CRL
    durable.write(path, authority.crl(region), mode=0o644)
    typer.echo(f"revocation list of {region} in {path}")


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, tz=dt.timezone.utc).date().isoformat()
