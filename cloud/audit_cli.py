"""`terrace cloud audit`: the heads of regions' audit logs that are kept here. Mounted by cloud.cli."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloud.auditheads import AuditHeads
from cloud.configfile import read
from cloud.tables import open_registry
from shared import durable
from shared.audit import AuditLog, owner
from shared.errors import InputError
from shared.wire.audithead import to_lines

app = typer.Typer(no_args_is_help=True, help="Heads of the regions' audit logs, kept here to verify them against.")
ACCEPTED = "region.audit_accepted"
Config = Annotated[Path, typer.Option(help="The cloud's configuration file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Region = Annotated[str, typer.Argument(help="The region's name, such as region-1.")]
DEFAULT = Path("cloud.toml")


@app.command()
def heads(
    region: Region,
    config: Config = DEFAULT,
    out: Annotated[Path | None, typer.Option(help="Write them into this file.")] = None,
) -> None:
    """Print the signed heads of a region's audit log, one JSON object a line: the file for --heads of `terrace audit verify`."""
    with _opened(config) as kept:
        found = kept.heads(region)
    if not found:
        raise InputError(f"no head of {region}'s audit log has arrived yet.", "A region sends one every five minutes in which it wrote.")
    if out is None:
        typer.echo(to_lines(found).decode(), nl=False)
    else:
        durable.write(out, to_lines(found))
        typer.echo(f"{len(found)} heads of {region} are in {out}.")


@app.command()
def breaks(config: Config = DEFAULT, as_json: Json = False) -> None:
    """List regions whose audit log no longer goes through what is kept here."""
    with _opened(config) as kept:
        found = kept.breaks()
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
        return
    for item in found:
        typer.echo(f"{item.region:<20} {item.kept} entries were kept here, it said {item.said}")
    if not found:
        typer.echo("No region's audit log was changed, as far as their heads tell.")


@app.command()
def accept(region: Region, config: Config = DEFAULT, as_json: Json = False) -> None:
    """Begin anew with a region whose audit log was replaced, by a restore for instance; its old heads are forgotten, this act is not."""
    with _opened(config) as kept:
        if not kept.accept(region):
            raise InputError(f"nothing is wrong with the heads of {region}.", "See: terrace cloud audit breaks")
    AuditLog(read(config).audit_path).append(owner(), ACCEPTED, region)
    typer.echo(json.dumps({"region": region, "accepted": True}) if as_json else f"The audit log of {region} begins anew here.")


@contextmanager
def _opened(config: Path) -> Iterator[AuditHeads]:
    settings = read(config)
    database = open_registry(settings)
    database.start()
    try:
        yield AuditHeads(database, AuditLog(settings.audit_path))
    finally:
        database.stop()
