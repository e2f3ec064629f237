"""`terrace cloud rollout`: look at rollouts, begin them, and the operator's acts. Mounted by cloud.cli.

Works on the state folder of this machine, as its owner, whether or not the daemon runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud.configfile import read
from cloud.fleet import Fleet
from cloud.publish import Repository
from cloud.rollout_book import RolloutBook
from cloud.rollout_record import Rollout, describe
from cloud.rollout_states import Event
from cloud.rollouts import FAMILY, Rollouts
from cloud.tables import open_registry
from shared.audit import AuditLog, owner

app = typer.Typer(no_args_is_help=True, help="Rollouts: a release reaches a few devices first, then all, or is taken back.")
Config = Annotated[Path, typer.Option("--config", help="The cloud's configuration file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Number = Annotated[int, typer.Argument(help="The rollout's number.")]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
DEFAULT = Path("cloud.toml")


@app.command("list")
def list_rollouts(config: Config = DEFAULT, as_json: Json = False) -> None:
    """List the rollouts, newest first, with the state and reason of each."""
    with _open(config) as (book, _):
        found = [describe(item, book.history(item.id)) for item in book.rollouts()]
    if as_json:
        return typer.echo(json.dumps(found))
    for item in found:
        typer.echo(_line(item))
    if not found:
        typer.echo("No rollout yet. Begin one: terrace cloud rollout start RELEASE")
    return None


@app.command()
def show(number: Number, config: Config = DEFAULT, as_json: Json = False) -> None:
    """Show one rollout: the word of every device, what the audit samples say, and every change with who made it."""
    with _open(config) as (book, _):
        item = describe(book.rollout(number), book.history(number))
    if as_json:
        return typer.echo(json.dumps(item))
    typer.echo(_line(item))
    for device, word in item["votes"].items():
        typer.echo(f"  {device:<24} {word}")
    for change in item["history"]:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change["at"]))
        typer.echo(f"  {moment}  {change['state']:<9} {change['share']:4.0%}  {change['who']}: {change['reason']}")
    return None


@app.command()
def start(
    release: Annotated[int, typer.Argument(help="A published release.", min=1)],
    model: Annotated[str, typer.Option(help="The model family.")] = FAMILY,
    reason: Why = "",
    config: Config = DEFAULT,
    as_json: Json = False,
) -> None:
    """Begin to roll a published release out: to the canary share first. An open rollout ends in its favour."""
    with _open(config) as (book, rollouts):
        begun = rollouts.begin(release, model=model, who=owner(), reason=reason)
        _say(begun, book, as_json=as_json)


@app.command()
def promote(number: Number, reason: Why = "", config: Config = DEFAULT, as_json: Json = False) -> None:
    """Widen a rollout to its next share without waiting for the vote; also the answer to one that asks."""
    _act(Event.PROMOTE, number, reason, config, as_json=as_json)


@app.command()
def pause(number: Number, reason: Why = "", config: Config = DEFAULT, as_json: Json = False) -> None:
    """Take no further step; what devices run stays, and a bad release is still taken back."""
    _act(Event.PAUSE, number, reason, config, as_json=as_json)


@app.command()
def resume(number: Number, reason: Why = "", config: Config = DEFAULT, as_json: Json = False) -> None:
    """Go on with a paused rollout at the share it has; its stage begins anew."""
    _act(Event.RESUME, number, reason, config, as_json=as_json)


@app.command()
def abort(number: Number, reason: Why = "", config: Config = DEFAULT, as_json: Json = False) -> None:
    """End a rollout and take its release back from every device."""
    _act(Event.ABORT, number, reason, config, as_json=as_json)


def _act(event: Event, number: int, reason: str, config: Path, *, as_json: bool) -> None:
    with _open(config) as (book, rollouts):
        _say(rollouts.act(number, event, who=owner(), reason=reason), book, as_json=as_json)


@contextmanager
def _open(path: Path) -> Iterator[tuple[RolloutBook, Rollouts]]:
    settings = read(path)
    database = open_registry(settings)
    database.start()
    try:
        book = RolloutBook(database)
        repository = Repository(settings.repository_folder, settings.repository.keys)
        yield book, Rollouts(settings, book=book, fleet=Fleet(database), repository=repository, audit=AuditLog(settings.audit_path))
    finally:
        database.stop()


def _say(item: Rollout, book: RolloutBook, *, as_json: bool) -> None:
    shown = describe(item, book.history(item.id))
    typer.echo(json.dumps(shown) if as_json else _line(shown))


def _line(item: dict[str, Any]) -> str:
    return f"{item['id']:>5}  {item['model']} {item['release']}  {item['state']:<9} {item['share']:4.0%}  {item['reason']}"
