"""`terrace link`: look at a device's link to its region, and find out what is wrong with it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge import linkwords, main
from edge.doctor import findings
from edge.doctor.examination import Examination
from shared import log
from shared.status import read_status

app = typer.Typer(no_args_is_help=True, help="Look at a device's link to its region. The configuration is the device's edge.toml.")
Config = Annotated[Path, typer.Option("--config", help="The device's configuration, edge.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
DEFAULT = Path("edge.toml")
WATCH_S = 1.0


@app.command()
def status(
    config: Config = DEFAULT,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Say it again every second, until Ctrl-C.")] = False,
) -> None:
    """Ask the running agent about its link: connection, key epoch, round trip, rate, credit, in flight, spool, what was dropped and why.

    The agent is asked over the socket in its state folder; nothing is sent to the region. With --json --watch: one JSON object per line.

    Example: terrace link status --config edge.toml --watch
    """
    socket = main.load_settings(config).state / "status.sock"
    while True:
        said = read_status(socket)
        if as_json:
            typer.echo(json.dumps({"name": said.get("name"), "link": said.get("link"), "spool": said.get("spool")}))
        else:
            if watch:
                typer.clear()
            typer.echo("\n".join([f"{said.get('name')}", *linkwords.lines(said)]))
        if not watch:
            return
        time.sleep(WATCH_S)  # the interval that was asked for


@app.command()
def doctor(config: Config = DEFAULT, as_json: Json = False) -> None:
    """Find out what keeps this device from its region: every check in order, what is wrong and what to do.

    Looks at identity, name resolution, clock, TCP, TLS and certificates itself, and asks the running agent about the rest; where no agent
    runs, it connects itself. Ends with the exit code of the first thing that is wrong, 0 when nothing is.

    Example: terrace link doctor --config edge.toml
    """
    log.configure(level="error")
    settings = main.load_settings(config)
    examination = Examination(settings, main.load_identity, proxy=main.proxy_rule(settings))
    found = []
    for finding in examination.findings():
        found.append(finding)
        if not as_json:
            typer.echo("\n".join(findings.lines(finding)))
    code = findings.exit_code(found)
    if as_json:
        typer.echo(json.dumps({"ok": code == 0, "exit_code": code, "checks": msgspec.to_builtins(found)}))
    else:
        typer.echo(findings.summary(found))
    raise typer.Exit(code)
