"""`terrace region worker …`: intake worker processes beside the daemon, added and removed while it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from region.config import RegionSettings
from region.identities import identities
from region.workerlist import read_workers, write_workers
from shared.config import load
from shared.errors import ConfigurationError, IdentityError, LinkError
from shared.status import read_status

TAKEN_UP_S = 30.0
app = typer.Typer(
    no_args_is_help=True,
    help="Intake workers: processes that take messages off the broker beside the daemon, each with a certificate and devices of its own.",
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
Name = Annotated[str, typer.Argument(help="The worker's name, such as intake-1: that of its identity folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command("list")
def list_workers(config: Config, as_json: AsJson = False) -> None:
    """Show the intake workers of the running region: state, process, shards, how often each was started again."""
    workers = read_status(load(config, RegionSettings).status_path)["workers"]
    if as_json:
        typer.echo(json.dumps(workers))
        return
    for one in workers:
        process = "in the daemon" if one["process"] is None and one["state"] == "serving" else f"process {one['process']}"
        typer.echo(f"{one['name']:>18}  {one['state']:<9} {len(one['shards']):>2} of 64 shards, {process}, restarts {one['restarts']}")
        if said := one.get("said"):
            typer.echo(f"{'':>18}  {said}")


@app.command()
def add(name: Name, config: Config) -> None:
    """Let a worker take its share of the devices. Its identity lies in the folder `workers`; waits until it serves.

    Issue it with: terrace provision pki region --name intake-1
    """
    settings = load(config, RegionSettings)
    _, known = identities(settings)
    if name not in {worker.peer.name for worker in known}:
        remedy = f"Issue one with: terrace provision pki region --region {settings.name} --name {name}"
        raise IdentityError(f"there is no identity of {name} in {settings.identity.workers}.", remedy)
    if name == known[0].peer.name:
        raise ConfigurationError(f"{name} is the daemon's own worker and always runs.", "Add another one.")
    write_workers(settings.workers_path, {*read_workers(settings.workers_path), name})
    serves = _wait(settings, lambda workers: any(one["name"] == name and one["state"] == "serving" for one in workers), name)
    typer.echo(f"{name} serves{'' if serves else ' from the next start of the region on (it does not run now)'}.")


@app.command()
def remove(name: Name, config: Config) -> None:
    """Let a worker finish what it has and end; the others take its devices over. Its identity stays where it is."""
    settings = load(config, RegionSettings)
    listed = read_workers(settings.workers_path)
    if name not in listed:
        raise ConfigurationError(f"{name} is not among the workers beside the daemon: {', '.join(listed) or 'there are none'}.")
    write_workers(settings.workers_path, set(listed) - {name})
    _wait(settings, lambda workers: all(one["name"] != name for one in workers), name)
    typer.echo(f"{name} is removed.")


def _wait(settings: RegionSettings, is_so: Any, name: str) -> bool:
    """Return whether the running region has followed the list; False when none runs."""
    deadline = time.monotonic() + TAKEN_UP_S
    while True:
        try:
            workers = read_status(settings.status_path)["workers"]
        except LinkError:
            return False
        if is_so(workers):
            return True
        if time.monotonic() > deadline:
            raise LinkError(f"the region does not take the change of {name} over.", f"Look into {settings.state / f'{name}.log'}.")
        time.sleep(0.1)  # between two looks at the daemon's status
