"""`terrace edge`: run the device's agent, and look at it from beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edge import livewords, main
from edge.config import EdgeSettings
from edge.model import open_model
from edge.outletparts import outlets
from edge.outputs import event_files
from edge.preview.door import ask
from edge.preview.preview import SOCKET
from edge.sources.base import LIVE
from edge.sources.make import make_source
from shared.errors import InputError, TerraceError
from shared.hwprofile import fit, look, shelf
from shared.hwprofile.choice import choose
from shared.link.proxy import NO_PROXY
from shared.link.recount import recount
from shared.status import read_status

app = typer.Typer(no_args_is_help=True, help="Run the device's agent and look at its state. The configuration is one TOML file.")
Config = Annotated[Path, typer.Option("--config", help="The device's configuration, edge.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
DEFAULT = Path("edge.toml")
LONG_SILENCE_S = 30.0


@app.command()
def run(config: Config = DEFAULT) -> None:
    """Run the agent until SIGTERM or Ctrl-C: read the streams, answer every frame, send the hard ones to the region.

    Logs go to standard error as JSON lines (TERRACE_LOG=console for people), events to outputs.file.

    Example: terrace edge run --config edge.toml
    """
    main.run(config)


@app.command()
def status(config: Config = DEFAULT, as_json: Json = False) -> None:
    """Ask the running agent for its state: model, update, streams, live risk, budget, link, spool, latencies.

    Example: terrace edge status --config edge.toml --json
    """
    answer = read_status(main.load_settings(config).state / "status.sock")
    if as_json:
        typer.echo(json.dumps(answer))
        return
    link, update = answer["link"], answer["update"]
    typer.echo(f"{answer['name']}: release {answer['release']} ({answer['model']['engine'] or 'waiting for the first model'})")
    if answer["model"]["reason"]:
        typer.echo(f"model    failed on frames: {answer['model']['reason']}")
    typer.echo(f"update   {update['state']} {update['reason']}".rstrip())
    for name, stream in answer["streams"].items():
        counts = " ".join(
            f"{key} {stream[key]}" for key in ("frames", "dropped", "kept", "deferred", "audited", "failed", "corrupt", "inherited")
        )
        typer.echo(f"stream   {name}: {stream['state']} {counts} {stream['reason']}".rstrip() + _doubts(stream))
    if answer["drops"]:
        counts = " ".join(f"{reason} {count}" for reason, count in sorted(answer["drops"].items()))
        typer.echo(f"dropped  {counts}; {answer['converted_share']:.0%} of the frames are converted")
    for line in livewords.lines(answer):
        typer.echo(line)
    typer.echo(f"link     {'connected' if link.get('connected') else 'not connected'}")
    typer.echo(f"spool    {answer['spool']['cases']} cases, {answer['spool']['bytes']} bytes, {answer['spool']['evicted']} evicted")
    for name, output in answer["outputs"].items():
        counts = " ".join(f"{key} {output[key]}" for key in ("delivered", "waiting", "lost"))
        typer.echo(f"output   {name}: {output['target']} {counts} {output['failing']}".rstrip())
    if answer["spool"].get("spool_in_memory"):
        typer.echo(f"ALARM    new cases wait in memory only, a crash would lose them: {answer['spool']['alarm']}")
    if (governor := answer["governor"])["on"] or governor.get("reason"):
        typer.echo(f"governor step {governor['step']}, {governor['rate']:.0%} of the frames {governor['reason']}".rstrip())
    typer.echo("latency  " + ", ".join(f"{key} {value:.1f} ms" for key, value in answer["latency_ms"].items()))


@app.command()
def spool(config: Config = DEFAULT, as_json: Json = False) -> None:
    """Count the spool from its file, whether or not the agent runs: cases ever spooled, stored by the region, evicted, waiting.

    Example: terrace edge spool --config edge.toml --json
    """
    found = recount(main.load_settings(config).spool_path)
    if as_json:
        counted = {
            "cases_spooled": found.spooled,
            "cases_received": found.received,
            "cases_evicted": found.evicted,
            "cases_declined": found.declined,
            "cases_waiting": found.waiting_count,
            "bytes_waiting": found.waiting_bytes,
            "spool_id": found.spool_id,
            "waiting": found.waiting,
            "counters": found.counters,
        }
        typer.echo(json.dumps(counted))
        return
    typer.echo(f"{found.spooled} spooled = {found.received} stored by the region + {found.evicted} evicted + {found.waiting_count} waiting")
    for name, count in sorted(found.counters.items()):
        typer.echo(f"  {name:24} {count}")


@app.command()
def check(config: Config = DEFAULT, as_json: Json = False) -> None:
    """Check everything the agent needs before it runs: configuration, identity, hardware profile, every stream, the first model.

    Exits with the code of the first thing that is wrong, after all were looked at.

    Example: terrace edge check --config edge.toml
    """
    settings = main.load_settings(config)
    failures: list[TerraceError] = []
    lines: list[dict[str, Any]] = []
    for what, examine in _checks(settings):
        try:
            lines.append({"what": what, "ok": True, "found": examine()})
        except TerraceError as error:
            failures.append(error)
            lines.append({"what": what, "ok": False, "found": error.message, "remedy": error.remedy})
    if as_json:
        typer.echo(json.dumps(lines))
    else:
        for line in lines:
            typer.echo(f"{'ok ' if line['ok'] else 'NO '} {line['what']}: {line['found']}")
    if failures:
        raise failures[0]


@app.command()
def preview(
    config: Config = DEFAULT, close: Annotated[bool, typer.Option("--close", help="Close it.")] = False, as_json: Json = False
) -> None:
    """Open the mounting page of the running agent for 15 minutes: what every camera sees, and what the model says of it.

    It listens on 127.0.0.1 only and lets one browser in, with the code printed here; from another machine go through an SSH tunnel.
    Opening anew closes the one before. Every opening, entry and wrong code stands in `audit.db` of the state folder.

    Example: terrace edge preview --config edge.toml
    """
    answer = ask(main.load_settings(config).state / SOCKET, "close" if close else "open")
    if as_json:
        typer.echo(json.dumps(answer))
    elif close:
        typer.echo("closed" if answer["was_open"] else "it was not open")
    else:
        port = answer["port"]
        typer.echo(f"{answer['url']}   code {answer['code']}   for {answer['seconds'] / 60:.0f} minutes, one browser")
        typer.echo(f"from another machine: ssh -L {port}:127.0.0.1:{port} THIS_DEVICE, then the same address there")


@app.command()
def explain(
    stream: Annotated[str, typer.Argument(help="The stream's name.")],
    frame: Annotated[int, typer.Argument(help="The frame's number.")],
    config: Config = DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell what became of one frame and why: score, threshold rule, who answered and when.

    Example: terrace edge explain line-1 4711 --config edge.toml
    """
    path = main.load_settings(config).outputs.file
    try:
        found = [event for event in _events_of(path) if event.get("stream") == stream and event.get("sequence") == frame]
    except OSError as error:
        raise InputError(f"the event file {path} cannot be read: {error}.") from error
    if not found:
        raise InputError(f"there is no event of frame {frame} of stream {stream} in {path}.", "It was dropped, or it is not there yet.")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for event in found:
        typer.echo(
            f"{event['state']:12} {event['label']} ({event['confidence']:.3f}) by {event['source']} after {event['latency_ms']:.1f} ms; "
            f"{event['action']}: {event['reason']}, score {event['score']}, threshold {event.get('threshold')}, release {event['release']}"
            + (f", looks like frame {event['inherited_from']} and takes the answer to its case" if "inherited_from" in event else "")
        )


def _events_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of the file and of those that were put aside, oldest first."""
    for one in event_files(path) or [path]:
        with one.open("rb") as file:
            yield from _events(file)


def _events(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # torn by a kill
        if isinstance(event, dict):
            yield event


def _checks(settings: EdgeSettings) -> Iterator[tuple[str, Any]]:
    yield "identity", lambda: main.load_identity(settings).peer.common_name
    yield "hardware profile", lambda: _check_profile(settings)
    for stream in settings.streams:
        yield f"stream {stream.name}", lambda stream=stream: _check_stream(stream)
    yield "outputs", lambda: _check_outputs(settings)
    if settings.model.path is not None:
        folder = settings.model.path
        yield "first model", lambda: _check_model(settings, folder)


def _check_profile(settings: EdgeSettings) -> str:
    found = shelf.find(settings.model.profile, settings.model.profiles)
    machine = look.machine()
    wrong = [one for one in fit.identity(found, machine) if not one.ok]
    if wrong:
        raise InputError(f"this machine does not fit {found.name}: not {wrong[0].what}.", wrong[0].remedy)
    chosen = choose(found, machine)
    return f"{found.name}, {chosen.engine} {chosen.precision}"


def _doubts(stream: dict[str, Any]) -> str:
    """Return what is odd about a stream that runs, in words."""
    still = f"; the picture has not changed for {stream['frozen_s']:.0f} s" if stream["frozen_s"] else ""
    return still + (f"; nothing has come for {stream['silent_s']:.0f} s" if stream["silent_s"] > LONG_SILENCE_S else "")


def _check_stream(stream: Any) -> str:
    source = make_source(stream)
    try:
        length = source.open()
        return f"{length} frames" if length != LIVE else "it answers"
    finally:
        source.close()


def _check_outputs(settings: EdgeSettings) -> str:
    found = outlets(settings, NO_PROXY)
    for outlet in found:
        outlet.check()
    return ", ".join([str(settings.outputs.file), *(outlet.name for outlet in found)])


def _check_model(settings: EdgeSettings, folder: Path) -> str:
    make, _ = main.make_engine(settings)
    model = open_model(folder / "model.onnx", folder / "card.json", make)
    return f"{model.card.model} release {model.card.release} on {model.engine.name}"
