"""`terrace audit …`: check that an audit log is what was written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from shared.audit import AuditLog
from shared.auditchain import Head
from shared.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Check audit logs.")


@app.callback()
def audit() -> None:
    """Check the audit logs that region and cloud keep in their state folders (audit.db)."""


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The log: audit.db of a state folder.")],
    anchor: Annotated[str, typer.Option(help="A head noted elsewhere, COUNT:HASH as printed earlier.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Recount an audit log's hash chain; ends with code 18 and names the first entry that is not what was written.

    Without --anchor nothing from outside the file is compared, and the answer says `unanchored`: who can rewrite the whole file could have
    rewritten its end. Note the printed head in another place to check against it later.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.", "Give the audit.db of a state folder.")
    noted = _head(anchor) if anchor else None
    count, head = AuditLog(path).verify(noted)
    state = "unanchored" if noted is None else f"anchored at {noted.count}"
    if as_json:
        typer.echo(json.dumps({"entries": count, "head": head, "anchored": noted is not None}))
    else:
        typer.echo(f"{count} entries, whole, {state}. Head: {count}:{head}")


def _head(text: str) -> Head:
    found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
    if found is None:
        raise InputError(f"{text[:80]!r} is no head.", "Give COUNT:HASH as `terrace audit verify` printed it.")
    return Head(count=int(found[1]), hash=found[2])
