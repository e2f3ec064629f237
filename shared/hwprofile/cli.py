"""`terrace hw`: which hardware profiles there are, what one says, whether this machine fits it, and what this machine is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import msgspec
import typer

from shared.errors import ConfigurationError, EngineError
from shared.hwprofile import fit, look, shelf
from shared.hwprofile import probe as probing
from shared.hwprofile import profile as profiles

app = typer.Typer(no_args_is_help=True, help="Hardware profiles (engine, precision, batch, threads), and what this machine is.")
Folder = Annotated[Optional[Path], typer.Option("--profiles", help="A folder of profiles that is searched first.")]  # noqa: UP045 - typer on 3.10
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Name = Annotated[str, typer.Argument(help="The profile's name; `auto` is the one that fits this machine best.")]


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
    findings = fit.check(found, look.machine())
    if as_json:
        typer.echo(json.dumps({"profile": found.name, "findings": [msgspec.to_builtins(one) for one in findings]}))
    else:
        for one in findings:
            typer.echo(f"{'ok ' if one.ok else 'NO '} {one.what}")
    wrong = [one for one in findings if not one.ok]
    if wrong:
        raise ConfigurationError(f"this machine does not fit the hardware profile {found.name}.", wrong[0].remedy)


@app.command()
def probe(
    name: Name = "auto",
    folder: Folder = None,
    model: Annotated[Optional[Path], typer.Option("--model", help="A release's .onnx file, its card beside it.")] = None,  # noqa: UP045 - typer on 3.10
    seconds: Annotated[float, typer.Option("--seconds", min=0.0, help="How long to measure each figure; 0 measures nothing.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Tell what this machine is, which profile fits it and why, which engine will run and why, and measure it.

    Exit code 16 where no engine of the profile can run here.

    Example: terrace hw probe --json
    """
    found = probing.probe(name, folder=folder, model=model, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        typer.echo("\n".join(probing.words(found)))
    if found.reason:
        raise EngineError("the chosen model could not be measured on this machine.", found.reason)


@app.command()
def schema() -> None:
    """Print the JSON schema of a profile, for editors and checks.

    Example: terrace hw schema > hw-profile.schema.json
    """
    typer.echo(json.dumps(profiles.json_schema(), indent=1))
