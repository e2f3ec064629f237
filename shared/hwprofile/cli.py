"""`terrace hw`: which hardware profiles there are, what one says, and whether this machine fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import msgspec
import typer

from shared.errors import ConfigurationError
from shared.hwprofile import profile as profiles
from shared.hwprofile import shelf

app = typer.Typer(no_args_is_help=True, help="List, show and check hardware profiles: engine, precision, batch and threads of a machine.")
Folder = Annotated[Optional[Path], typer.Option("--profiles", help="A folder of profiles that is searched first.")]  # noqa: UP045 - typer on 3.10
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Name = Annotated[str, typer.Argument(help="The profile's name; `auto` is the generic one of this processor.")]


@app.command("list")
def list_(folder: Folder = None, as_json: Json = False) -> None:
    """List the profiles that can be named in `model.profile` of edge.toml.

    Example: terrace hw list
    """
    found = [shelf.find(name, folder) for name in shelf.names(folder)]
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(one) for one in found]))
        return
    for one in found:
        typer.echo(f"{one.name:24} {one.engine.name} {one.engine.precision:5} {one.summary}")


@app.command()
def show(name: Name = "auto", folder: Folder = None, as_json: Json = False) -> None:
    """Show one profile: its file, once it is found valid.

    Example: terrace hw show generic-arm64
    """
    found = shelf.find(name, folder)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        typer.echo(shelf.names(folder)[found.name].read_text(encoding="utf-8").rstrip())


@app.command()
def check(name: Name = "auto", folder: Folder = None, as_json: Json = False) -> None:
    """Check that this machine fits a profile; exit code 10 and a remedy where it does not.

    Example: terrace hw check auto
    """
    found = shelf.find(name, folder)
    findings = profiles.check(found, shelf.this_machine())
    if as_json:
        typer.echo(json.dumps({"profile": found.name, "findings": [msgspec.to_builtins(one) for one in findings]}))
    else:
        for one in findings:
            typer.echo(f"{'ok ' if one.ok else 'NO '} {one.what}")
    wrong = [one for one in findings if not one.ok]
    if wrong:
        raise ConfigurationError(f"this machine does not fit the hardware profile {found.name}.", wrong[0].remedy)


@app.command()
def schema() -> None:
    """Print the JSON schema of a profile, for editors and checks.

    Example: terrace hw schema > hw-profile.schema.json
    """
    typer.echo(json.dumps(profiles.json_schema(), indent=1))
