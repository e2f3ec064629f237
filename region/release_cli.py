"""`terrace region release …`: releases that are carried to a region without a way to the cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from region import carried
from region.config import RegionSettings
from region.firstroot import first_root
from shared.audit import AuditLog, owner
from shared.config import load

app = typer.Typer(no_args_is_help=True, help="Releases that are carried to a region without a way to the cloud.")
Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def _group() -> None:
    """Keep `import` a word of its own, as the only command."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The file, as `terrace cloud release export` wrote it.")],
    config: Config,
    as_json: AsJson = False,
) -> None:
    """Check a carried file of releases as strictly as a download, and serve it to this region's devices where the cloud cannot be reached.

    The running region takes it up at its next look, within `cloud.poll_interval_s`; devices update from it as always.

        terrace region release import releases.tar --config region.toml
    """
    settings = load(config, RegionSettings)
    found = carried.take(file, settings.state, root=first_root(settings), fleet=settings.fleet)
    AuditLog(settings.audit_path).append(owner(), "release.import", file.name, msgspec.to_builtins(found))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
        return
    typer.echo(f"taken: {found.targets} files, desired state {found.desired}, repository version {found.version}")
