"""`terrace cloud …`: serve the cloud, set it up, ask for rounds, look at the fleet and its releases.

Commands that look or ask work on the state folder of this machine, as its owner; people elsewhere use the REST API with a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cloud import audit_cli, release_cli, rollout_cli
from cloud.config import Settings
from cloud.configfile import read
from cloud.fleet import Fleet
from cloud.main import serve_cloud, token_path
from cloud.people import describe
from cloud.registry import Registry
from cloud.setup import initialise
from cloud.tables import open_registry
from shared import log
from shared.access import TokenStore
from shared.account_cli import Desk, account_app
from shared.audit import AuditLog, owner
from shared.clock import wall
from shared.identity.denied import Entry, read_revoked, write_revoked
from shared.identity.names import check_label
from shared.roles import Role

app = typer.Typer(no_args_is_help=True, help="Serve the cloud: federated rounds, foundry, releases, fleet.")
rounds = typer.Typer(no_args_is_help=True, help="Federated rounds: regions train, the cloud adds up, gates, signs and rolls out.")
tokens = typer.Typer(no_args_is_help=True, help="Tokens for the REST API.")
app.add_typer(rounds, name="round")
app.add_typer(tokens, name="token")
app.add_typer(release_cli.app, name="release")
app.add_typer(account_app(lambda config: _people(read(config)), default=Path("cloud.toml")), name="account")
app.add_typer(rollout_cli.app, name="rollout")
app.add_typer(audit_cli.app, name="audit")

Config = Annotated[Path, typer.Option(help="The cloud's configuration file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DEFAULT = Path("cloud.toml")


@app.command()
def serve(config: Config = DEFAULT) -> None:
    """Run the cloud daemon: listeners for regions and people, the round worker, health and metrics.

    Regions need a certificate under the region anchor (terrace provision pki region); people need a token (terrace cloud token create).
    The line `people_certificate` of the log names the fingerprint that browsers show for the people listener.
    """
    log.configure()
    settings = read(config)
    serve_cloud(settings, config.resolve())


@app.command()
def init(
    models: Annotated[Path, typer.Option(help="Folder of `terrace models build`, or of `terrace model import`.")],
    config: Config = DEFAULT,
    data: Annotated[str, typer.Option(help="The data set they were built from, where their card does not say (a folder).")] = "",
    as_json: Json = False,
) -> None:
    """Set the cloud up: signing keys, release repository, first releases, desired state, one admin token.

    Afterwards take the folder `offline` of the keys away from this machine: it signs the next root and nothing of every day. Safe to
    repeat: what is there stays.
    """
    done = initialise(read(config), models, data=data)
    if as_json:
        return _print(msgspec.to_builtins(done))
    typer.echo(f"The fleet {done.fleet} starts with " + ", ".join(f"{family} {number}" for family, number in done.releases.items()) + ".")
    typer.echo(f"Release repository: {done.repository}")
    if done.token:
        typer.echo(f"Admin token, shown this once: {done.token}")
    return None


@rounds.command("start")
def start_round(
    region: Annotated[list[str] | None, typer.Option(help="Only this region trains; may be given several times.")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Run through the gate, publish nothing; the candidate stays on disk.")] = False,
    need: Annotated[bool, typer.Option("--need", help="Only regions with a drift alarm train.")] = False,
    config: Config = DEFAULT,
    as_json: Json = False,
) -> None:
    """Ask for a federated round. The running daemon begins it within a second; one may be open at a time.

    Without --region, and while any region has a drift alarm, only regions in need train (rounds.by_need); else every region with enough
    cases. The train step of `round show` says who was chosen and why. A trial ends in the state trial and leaves candidate.onnx and
    candidate.card.json in STATE/rounds/NUMBER/.

    Watch it with `terrace cloud round show NUMBER`. A round ends as done (published and rolled out), refused (the
    gates said no) or failed (with its reason); in the last two nothing of it is published.
    """
    with _open(read(config)) as (registry, found):
        found.require(region or [])
        item = registry.request_round("the owner of this machine", now=wall(), regions=region or [], publish=not trial, need=need)
        _note(read(config), "round.requested", f"round {item.number}", {"publish": not trial, "need": need})
        if as_json:
            return _print(describe(item, registry))
    typer.echo(f"Round {item.number} is asked for. Watch it: terrace cloud round show {item.number}")
    return None


@rounds.command("list")
def list_rounds(config: Config = DEFAULT, as_json: Json = False) -> None:
    """List all rounds, newest first, with the step each is at."""
    with _open(read(config)) as (registry, _):
        found = [describe(item, registry) for item in registry.rounds()]
    if as_json:
        return _print(found)
    for item in found:
        typer.echo(f"{item['number']:>5}  {item['state']:<9} {item['step']:<10} {item['reason']}")
    if not found:
        typer.echo("No round yet. Ask for one: terrace cloud round start")
    return None


@rounds.command("show")
def show_round(number: Annotated[int, typer.Argument(help="The round's number.")], config: Config = DEFAULT, as_json: Json = False) -> None:
    """Show one round: its steps, who contributed how much, what the gates measured."""
    with _open(read(config)) as (registry, _):
        item = describe(registry.round(number), registry)
        steps = [msgspec.to_builtins(step) for step in registry.steps(number)]
    if as_json:
        return _print({**item, "steps": steps})
    typer.echo(f"Round {number}: {item['state']} {item['reason']}".rstrip())
    for step in steps:
        typer.echo(f"  {step['name']:<10} {step['state']:<8} {_seconds(step)}  {_gist(step['result'])}")
    return None


@app.command()
def fleet(config: Config = DEFAULT, as_json: Json = False) -> None:
    """Show regions and devices as their regions last reported them."""
    with _open(read(config)) as (_, found):
        summary = found.summary()
    if as_json:
        return _print(summary)
    for region in summary["regions"]:
        report = region["report"] or {}
        typer.echo(f"{region['name']:<20} {report.get('cases_answered', 0)} cases answered, {report.get('cases_train', 0)} to train on")
    for device in summary["devices"]:
        typer.echo(f"  {device['name']:<18} student {device['release']}  {device['frames']} frames, {device['deferred']} deferred")
    if not summary["regions"]:
        typer.echo("No region has called yet.")
    return None


@app.command()
def revoke(
    region: Annotated[str, typer.Argument(help="The region's name, such as region-1.")],
    config: Config = DEFAULT,
    reason: Annotated[str, typer.Option(help="Kept beside the name.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Listen to the region again.")] = False,
    as_json: Json = False,
) -> None:
    """Stop listening to a region at once: no tasks, no reports, no updates taken, no releases given.

    Its devices keep their model and their own region. Its certificate stays valid elsewhere until it ends.
    """
    settings = read(config)
    check_label(region, "region")
    entries = read_revoked(settings.revoked_path)
    if undo:
        entries.pop(region, None)
    else:
        entries[region] = Entry(at=wall(), reason=reason)
    write_revoked(settings.revoked_path, entries)
    _note(settings, "region.believed" if undo else "region.revoked", region, {"reason": reason[:500]})
    if as_json:
        return _print({"region": region, "revoked": not undo})
    typer.echo(f"{region} {'is listened to again' if undo else 'is revoked; its next request is refused'}.")
    return None


@tokens.command("create")
def create_token(
    role: Annotated[str, typer.Option(help="viewer, reviewer, operator or admin; each may do what those before it may.")] = "viewer",
    label: Annotated[str, typer.Option(help="Whom or what it is for; stands in rounds it asks for.")] = "unnamed",
    days: Annotated[float, typer.Option(help="Days until it expires.", min=0.01)] = 30.0,
    config: Config = DEFAULT,
    as_json: Json = False,
) -> None:
    """Create a token for the REST API and print it once; only its hash is kept.

    Use it as: curl --cacert people.pem -H "Authorization: Bearer TOKEN" https://…/v1/rounds
    """
    settings = read(config)
    token = TokenStore(token_path(settings)).create(Role.named(role), label, lifetime_s=days * 86400.0)
    _note(settings, "token.made", label, {"role": role, "days": days})
    if as_json:
        return _print({"token": token, "role": role, "label": label})
    typer.echo(token)
    return None


def _note(settings: Settings, action: str, subject: str, detail: dict[str, Any]) -> None:
    AuditLog(settings.audit_path).append(owner(), action, subject, detail)


def _people(settings: Settings) -> Desk:
    return Desk(people=settings.accounts_path, audit=settings.audit_path, url=settings.people_url)


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[Registry, Fleet]]:
    database = open_registry(settings)
    database.start()
    try:
        yield Registry(database), Fleet(database)
    finally:
        database.stop()


def _print(value: Any) -> None:
    typer.echo(json.dumps(value))


def _seconds(step: dict[str, Any]) -> str:
    if step["finished_at"] is None or step["started_at"] is None:
        return "        "
    return f"{step['finished_at'] - step['started_at']:6.1f} s"


def _gist(result: dict[str, Any]) -> str:
    if "refused" in result:
        return f"refused: {result['refused']}" if result["refused"] else "passed"
    hidden = {"sha256", "onnx", "deadline"}
    plain = {key: value for key, value in result.items() if isinstance(value, str | int | float) and value != "" and key not in hidden}
    return ", ".join(f"{key} {value}" for key, value in plain.items())
