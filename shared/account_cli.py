"""`terrace cloud account …` and `terrace region account …`: who may sign in on a people's listener. One command group for both tiers.

These commands work on the daemon's own files, as its owner, whether it runs or not; whoever may run them is believed. What they do stands
in the audit log under the name of the user of this machine. Not here: signing in (signin), the rules of accounts (accounts).
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from shared.accounts import AccountStore
from shared.audit import AuditLog
from shared.roles import Role

Config = Annotated[Path, typer.Option("--config", "-c", help="The daemon's configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Name = Annotated[str, typer.Argument(help="The account's name.")]
HOUR_S = 3600.0


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where a daemon keeps its people: the file of accounts, the audit log, and the listener's address as browsers reach it."""

    people: Path
    audit: Path
    url: str


Find = Callable[[Path], Desk]


def account_app(find: Find, *, default: Path | None = None) -> typer.Typer:
    """Return the command group.

    Args:
        find: reads a configuration file and says where its people are.
        default: the configuration file, where the tier's commands have a default for it.
    """
    app = typer.Typer(no_args_is_help=True, help="People's accounts: invitations, roles.")
    config: Any = default if default is not None else ...

    @app.command()
    def invite(
        config: Config = config,
        role: Annotated[str, typer.Option(help="viewer, reviewer, operator or admin.")] = "admin",
        label: Annotated[str, typer.Option(help="Whom it is for.")] = "first admin",
        hours: Annotated[float, typer.Option(help="How long it may be used.")] = 24.0,
        as_json: AsJson = False,
    ) -> None:
        """Print a one-time link with which somebody makes an account of this role; it is shown once and good once."""
        found = find(config)
        code = AccountStore(found.people).invite(Role.named(role), label, hours * HOUR_S)
        _note(found, "invitation.made", label, {"role": role})
        link = f"{found.url.rstrip('/')}/welcome#code={code}"
        if as_json:
            typer.echo(json.dumps({"link": link, "code": code, "role": role, "label": label}))
            return
        typer.echo(f"{label} becomes {role} with this link, once and within {hours:g} hours:\n\n    {link}\n")

    @app.command("list")
    def list_accounts(config: Config = config, as_json: AsJson = False) -> None:
        """List accounts and open invitations."""
        store = AccountStore(find(config).people)
        accounts = [{**msgspec.to_builtins(one), "role": one.role.name.lower()} for one in store.accounts()]
        invitations = [{**msgspec.to_builtins(one), "role": one.role.name.lower()} for one in store.invitations()]
        if as_json:
            typer.echo(json.dumps({"accounts": accounts, "invitations": invitations}))
            return
        for one in accounts:
            typer.echo(f"{one['name']:>24}  {one['role']}")
        for one in invitations:
            typer.echo(f"{one['label']:>24}  invited as {one['role']}")

    _add_changes(app, find, config)
    return app


def _add_changes(app: typer.Typer, find: Find, default: Any) -> None:
    @app.command("role")
    def set_role(
        name: Name, role: Annotated[str, typer.Argument(help="viewer, reviewer, operator or admin.")], config: Config = default
    ) -> None:
        """Change what somebody may do, at once, also where they are signed in."""
        found = find(config)
        AccountStore(found.people).set_role(name, Role.named(role))
        _note(found, "account.role_changed", name, {"role": role})
        typer.echo(f"{name} is {role} now.")

    @app.command()
    def remove(name: Name, config: Config = default) -> None:
        """Remove an account; its sessions end at once."""
        found = find(config)
        AccountStore(found.people).remove(name)
        _note(found, "account.removed", name, {})
        typer.echo(f"{name} is removed.")


def _note(found: Desk, action: str, subject: str, detail: dict[str, Any]) -> None:
    AuditLog(found.audit).append(f"{getpass.getuser()} (terminal)", action, subject, detail)
