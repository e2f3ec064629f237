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
from shared.identity.anchors import verify_anchor_list
from shared.identity.credentials import ANCHORS, ROOT
from shared.wire.audithead import SignedHead, believe, from_lines

app = typer.Typer(no_args_is_help=True, help="Check audit logs.")


@app.callback()
def audit() -> None:
    """Check the audit logs that region and cloud keep in their state folders (audit.db)."""


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The log: audit.db of a state folder.")],
    anchor: Annotated[str, typer.Option(help="A head noted elsewhere, COUNT:HASH as printed earlier.")] = "",
    heads: Annotated[Path | None, typer.Option(help="Signed heads kept one tier up: `terrace cloud audit heads REGION`.")] = None,
    identity: Annotated[Path | None, typer.Option(help="An identity folder of the fleet, for whom to believe about --heads.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Recount an audit log's hash chain; ends with code 18 and names the first entry that is not what was written.

    With --heads the chain must go through every head that was signed and kept elsewhere, so that nothing before the newest of them can have
    been changed, left out or cut off; --identity names whose signatures count. Without anything from outside the file the answer says
    `unanchored`: who can rewrite the whole file could have rewritten its end.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.", "Give the audit.db of a state folder.")
    signed = _signed(heads, identity)
    noted = [*([_head(anchor)] if anchor else []), *(one.head for one in signed)]
    count, head = AuditLog(path).verify(*noted)
    newest = max((one.count for one in noted), default=None)
    if as_json:
        said = {"entries": count, "head": head, "anchored": newest is not None, "anchored_at": newest, "heads": len(signed)}
        typer.echo(json.dumps(said))
    else:
        state = "unanchored" if newest is None else f"anchored at {newest}"
        typer.echo(f"{count} entries, whole, {state}. Head: {count}:{head}")


def _signed(heads: Path | None, identity: Path | None) -> list[SignedHead]:
    """Return the heads of a file, each signed by one and the same node of this fleet."""
    if heads is None:
        return []
    if identity is None:
        raise InputError("--heads needs --identity: without it anybody could have written them.", "Give an identity folder of the fleet.")
    try:
        data, anchors = heads.read_bytes(), verify_anchor_list((identity / ANCHORS).read_bytes(), (identity / ROOT).read_bytes())
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.", "Give a file of heads, and an identity folder.") from None
    found = [believe(kept, anchors) for kept in from_lines(data)]
    nodes = {one.node for one in found}
    if len(nodes) != 1:
        raise InputError(f"{heads} holds heads of {', '.join(sorted(nodes)) or 'nobody'}.", "Give one node's heads.")
    return found


def _head(text: str) -> Head:
    found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
    if found is None:
        raise InputError(f"{text[:80]!r} is no head.", "Give COUNT:HASH as `terrace audit verify` printed it.")
    return Head(count=int(found[1]), hash=found[2])
