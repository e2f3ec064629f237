"""`terrace demo`: the whole system once around, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from provisioning.testbed import data as data_sets
from provisioning.testbed import measure, seed
from provisioning.testbed import plan as plans
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.loop import Loop
from provisioning.testbed.report import Report, summary
from provisioning.testbed.screen import Screen
from shared import log
from shared.errors import DependencyError, StorageError, TerraceError

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    regions: Annotated[int, typer.Option(min=1, max=8, help="How many regions.")] = 1,
    edges: Annotated[int, typer.Option(min=1, max=16, help="How many devices per region.")] = 2,
    data: Annotated[
        str, typer.Option(help="auto (= line), line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.")
    ] = "auto",
    report: Annotated[Path | None, typer.Option(help="Write report.json into this folder.", metavar="DIR")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state folder (certificates, vault, spools, logs).")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, no live screen.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Once around only (what it does today anyway).")] = True,  # noqa: ARG001 - named by the issue
    short: Annotated[bool, typer.Option("--short", help="The short version, at most 90 seconds.")] = False,
) -> None:
    """Run the whole system once around on this machine, as real processes.

    A cloud, a region with its own mosquitto, and devices start on free loopback ports, with certificates issued for this
    run. Frames of a printed-circuit inspection line stream through the devices; hard cases go to the region's expert; a
    federated round makes a new signed release; the devices swap to it between two frames. Then all stops and the numbers
    are counted again from the files.

    Examples:
        terrace demo                          the built-in line, two devices

        terrace demo --data deeppcb           real boards (needs TERRACE_DATA)

        terrace demo --plain --report out     lines only, and out/report.json
    """
    log.configure(level="warning")
    base = plans.SHORT if short else plans.Plan()
    plan = msgspec.structs.replace(base, regions=regions, edges=edges)
    chosen = "line" if data == "auto" else data
    require_broker()
    with Screen(plain=plain) as screen:
        models = data_sets.models_for(chosen, screen.say)
        root = Path(tempfile.mkdtemp(prefix="terrace-demo-"))
        try:
            result = _run(plan, chosen, models, root, screen)
        except KeyboardInterrupt:
            if not keep:
                shutil.rmtree(root, ignore_errors=True)
            raise
        except TerraceError:
            screen.say(f"the logs are in {root / 'logs'}")
            raise
        except OSError as error:
            message = f"the demo's state folder {root} cannot be written: {error.strerror or error}."
            raise StorageError(message, "Free space there, or set TMPDIR to a folder on a larger disk.") from error
    _finish(result, root, report, keep=keep, data=chosen)


def require_broker() -> None:
    """Say early, before anything is drawn or started, that there is no broker.

    Raises:
        DependencyError: mosquitto is not installed.
    """
    if shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") is None:
        raise DependencyError(
            "the MQTT broker mosquitto is not installed.",
            "Install it with: sudo apt-get install -y mosquitto && sudo systemctl disable --now mosquitto",
        )


def _run(plan: plans.Plan, data: str, models: Path, root: Path, screen: Screen) -> Report:
    began = time.monotonic()
    screen.step("Preparing frames, certificates and configuration")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
        complete = beside.submit(seed.complete, models, data, root / "models")
        streams = data_sets.prepare(data, plan)
        fleet = Fleet(root, plan, root / "models", streams.tables)
        fleet.prepare()
        complete.result()
    fleet.initialise_cloud()
    loop = Loop(fleet, screen, began=began)
    result = loop.run()
    window = loop.window
    events = [fleet.events(device) for device in plan.devices]
    measure.fill(
        result,
        start=window.start,
        end=window.end,
        sent_per_frame=window.bytes_sent / max(1, window.frames),
        events=events,
        data=streams.truth,
        models=models,
    )
    measure.fill_release(result, root / "cloud", result.released_student, result.rounds)
    return result


def _finish(result: Report, root: Path, report: Path | None, *, keep: bool, data: str) -> None:
    notes = [plans.SMALL_FLEET_NOTE]
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "report.json").write_text(json.dumps(msgspec.to_builtins(result), indent=1) + "\n", encoding="utf-8")
        notes.append(f"written: {report / 'report.json'}")
    if keep:
        notes.append(f"kept: {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    typer.echo("")
    for line in summary(result, data=data, notes=notes):
        typer.echo(f"  {line}")
