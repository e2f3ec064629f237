"""`terrace region …`: serve a region and look at it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from region import broker_cli, dictionary_cli, key_cli, label_cli, quarantine_cli, release_cli, worker_cli
from region.broker import find_program
from region.config import RegionSettings
from region.egress import search
from region.identities import identities
from region.recount import recount
from region.vault import Vault
from shared import log
from shared.account_cli import Desk, account_app
from shared.audit import AuditLog, owner
from shared.config import load
from shared.errors import ConfigurationError, LinkError
from shared.identity.denied import Entry, read_revoked, write_revoked
from shared.status import read_status
from shared.wire import topics

app = typer.Typer(no_args_is_help=True, help="Serve a region: broker, expert, vault, training, relay.")
label_cli.add_to(app)
dictionary_cli.add_to(app)
key_cli.add_to(app)
broker_cli.add_to(app)
app.add_typer(quarantine_cli.app, name="quarantine")
app.add_typer(account_app(lambda config: _desk(load(config, RegionSettings))), name="account")
app.add_typer(worker_cli.app, name="worker")
app.add_typer(release_cli.app, name="release")
Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def serve(config: Config, level: Annotated[str, typer.Option("--log", help="debug, info, warning or error.")] = "info") -> None:
    """Run the region in the foreground until SIGTERM or Ctrl-C. Logs are JSON lines on standard error (TERRACE_LOG=console for people)."""
    from region import main

    log.configure(level=level)
    main.serve(load(config, RegionSettings), config)


@app.command()
def status(config: Config, as_json: AsJson = False) -> None:
    """Ask the running region how it is: cases stored and answered, devices, expert, what was dropped and why."""
    answer = read_status(load(config, RegionSettings).status_path)
    if as_json:
        _print(answer)
        return
    for key, value in answer.items():
        if key != "devices":
            typer.echo(f"{key:>18}  {json.dumps(value)}")
    for name, device in answer["devices"].items():
        typer.echo(f"{name:>18}  {'connected' if device['connected_recently'] else 'silent'}")


@app.command()
def vault(config: Config, as_json: AsJson = False) -> None:
    """Count the vault from its file alone; the region may run or not. No key is needed and no picture is read."""
    counted = recount(load(config, RegionSettings).vault_path)
    if as_json:
        _print(msgspec.to_builtins(counted))
        return
    for key, value in msgspec.to_builtins(counted).items():
        if key != "devices":
            typer.echo(f"{key:>20}  {value}")
    for name, device in counted.devices.items():
        typer.echo(f"{name:>20}  {device.cases} cases held, {device.audit} of them audit samples, {device.answered} answered")


@app.command()
def egress(config: Config, as_json: AsJson = False) -> None:
    """Search every recorded body that was sent to the cloud for any picture of the vault (needs egress_record in the section cloud)."""
    settings = load(config, RegionSettings)
    if settings.cloud.egress_record is None:
        raise ConfigurationError("the region records nothing of what it sends.", "Set egress_record under [cloud].")
    kept = Vault(settings.vault_path, read_only=True)
    log.configure(level="warning")
    kept.start()
    try:
        found = msgspec.to_builtins(search(kept, settings.cloud.egress_record))
    finally:
        kept.stop()
    _print(found) if as_json else typer.echo("\n".join(f"{key:>15}  {value}" for key, value in found.items()))


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="The device's name, such as edge-1.region-1.")],
    config: Config,
    reason: Annotated[str, typer.Option(help="Kept beside the name.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Listen to the device again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop listening to a device at once: its topics are denied, its epochs refused, it gets no answers. Waits until the region does so.

    Its certificate stays valid elsewhere until `terrace provision pki revoke` puts it on the revocation list.
    """
    settings = load(config, RegionSettings)
    topics.parse_up(topics.up(device, "case"))
    entries = read_revoked(settings.revoked_path)
    if undo:
        entries.pop(device, None)
    else:
        entries[device] = Entry(at=time.time(), reason=reason)
    write_revoked(settings.revoked_path, entries)
    AuditLog(settings.audit_path).append(owner(), "device.believed" if undo else "device.revoked", device, {"reason": reason[:500]})
    is_active = _wait_for_revocation(settings.status_path, device, is_revoked=not undo)
    if as_json:
        _print({"device": device, "revoked": not undo, "active": is_active})
        return
    done = "is listened to again" if undo else "is revoked"
    typer.echo(f"{device} {done}{'' if is_active else ' from the next start of the region on (it does not run now)'}.")


@app.command()
def check(config: Config, as_json: AsJson = False) -> None:
    """Check configuration, identities, broker program and vault without starting anything."""
    settings = load(config, RegionSettings)
    identity, workers = identities(settings)
    lists = identity.revocations()
    found: dict[str, Any] = {
        "name": settings.name,
        "fleet": settings.fleet,
        "identity": identity.peer.common_name,
        "identity_days_left": round((identity.peer.not_after - time.time()) / 86400, 1),
        "workers": [worker.peer.common_name for worker in workers],
        "revoked_certificates": len(lists.entries),
        "revocation_list_days_left": round((lists.next_update - time.time()) / 86400, 1),
        "broker": find_program(settings.broker.program),
        "vault_cases": recount(settings.vault_path).cases_held if settings.vault_path.exists() else None,
    }
    _print(found) if as_json else typer.echo("\n".join(f"{key:>26}  {value}" for key, value in found.items()))


def _wait_for_revocation(path: Path, device: str, *, is_revoked: bool, within_s: float = 5.0) -> bool:
    """Return whether the running region has taken the list over; False when none runs."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if (device in read_status(path)["revoked"]) is is_revoked:
                return True
        except LinkError:
            return False
        if time.monotonic() > deadline:
            raise LinkError(f"the region at {path} runs but does not take {device} over.", "Look into its log.")
        time.sleep(0.1)  # between two looks at the daemon's status


def _desk(settings: RegionSettings) -> Desk:
    if not settings.people.port:
        raise ConfigurationError("this region has no page for people.", "Set port under [people].")
    return Desk(people=settings.people_path, audit=settings.audit_path, url=settings.people.address)


def _print(value: Any) -> None:
    typer.echo(json.dumps(value))
