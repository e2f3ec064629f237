"""`terrace demo`: the whole system on this machine, as a story in five acts or once around the loop."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from provisioning.testbed.asked import Asked, Play
from provisioning.testbed.demo import recounted
from provisioning.testbed.screen import Screen, folded
from shared import log
from shared.errors import StorageError, TerraceError

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    regions: Annotated[int | None, typer.Option(min=1, max=8, help="How many regions: 2 in the story, 1 in the loop.")] = None,
    edges: Annotated[int | None, typer.Option(min=1, max=16, help="How many devices per region: 2.")] = None,
    data: Annotated[
        str, typer.Option(help="auto (= line), line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.")
    ] = "auto",
    task: Annotated[str, typer.Option(help="classification, or detection: whole DeepPCB boards (needs TERRACE_DATA).")] = "classification",
    report: Annotated[Path | None, typer.Option(help="Write report.json, plots and report.html into this folder.", metavar="DIR")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state folder (certificates, vault, spools, logs).")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, no live screen.")] = False,
    loop: Annotated[bool, typer.Option("--loop/--story", help="Once around the loop only, or the story in five acts.")] = False,
    act: Annotated[int | None, typer.Option(min=1, max=5, help="One act of the story, with what it needs before it.")] = None,
    short: Annotated[bool, typer.Option("--short", help="The short version, for tests: the loop in 90 s, the story in 4 minutes.")] = False,
    recount: Annotated[Path | None, typer.Option(help="Count a kept state folder again, and run nothing.", metavar="DIR")] = None,
    cut_link: Annotated[bool, typer.Option("--cut-link", help="Pull the cable yourself: c cut, m mend, k kill broker, q quit.")] = False,
    cut_s: Annotated[float, typer.Option(min=1, max=3600, help="With --cut-link and no keys: how long the cable is cut.")] = 15,
    video: Annotated[
        str | None, typer.Option(help="Your own stream: a video file, rtsp://host/path or /dev/video0.", metavar="FILE|URL")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="With --video: a release of `terrace model import`.", metavar="RELEASE")] = None,
    expert: Annotated[
        Path | None, typer.Option(help="With --video: the expert's release, else the model's own.", metavar="RELEASE")
    ] = None,
    credentials: Annotated[Path | None, typer.Option(help="With --video: a file with name:password of the camera.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", min=1, help="With --video: end after so many seconds.", metavar="SECONDS")] = None,
) -> None:
    """Run the whole system on this machine, as real processes.

    A cloud, regions with their own mosquitto, and devices start on free loopback ports, with certificates issued for this
    run. Frames of a printed-circuit inspection line stream through the devices. Each act of the story shows one claim
    happening, and prints the commands that count its numbers again from the files.

    Examples:
        terrace demo                          the built-in line

        terrace demo --act 2 --keep           one act; the state folder stays

        terrace demo --data deeppcb           real boards (needs TERRACE_DATA)

        terrace demo --plain --report out     lines only, and a report in out/

        terrace demo --cut-link               pull the cable yourself

        terrace demo --task detection         whole boards, objects instead of labels

        terrace demo --video cam.mp4 --model release    your own stream and model
    """
    log.configure(level="warning")
    if recount is not None:
        for line in recounted(recount, act):
            typer.echo(line)
        return
    asked = Asked(
        regions=regions, edges=edges, data=data, task=task, report=report, loop=loop, act=act, short=short, cut_link=cut_link, cut_s=cut_s,
        video=video, model=model, expert=expert, credentials=credentials, for_s=for_s,
    )  # fmt: skip
    asked.check()
    with Screen(plain=plain) as screen:
        root = Path(tempfile.mkdtemp(prefix="terrace-demo-"))
        played = asked.play(root, screen)
        _play(played, root, frozenset({act} if act else range(1, 6)), screen, keep=keep)
    typer.echo("")
    for line in played.finish(report, keep=keep):
        for part in folded(line):
            typer.echo(f"  {part}")


def _play(played: Play, root: Path, acts: frozenset[int], screen: Screen, *, keep: bool) -> None:
    """Play, and leave nothing behind but what helps to find out why it failed.

    Raises:
        TerraceError: it failed; the screen names the logs.
        StorageError: the state folder cannot be written.
    """
    try:
        played.play(acts)
    except KeyboardInterrupt:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
        raise
    except TerraceError:
        if (root / "logs").exists():
            screen.say(f"the logs are in {root / 'logs'}")
        else:
            shutil.rmtree(root, ignore_errors=True)
        raise
    except OSError as error:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)  # the daemons' logs have no room to say more
        message = f"the demo's state folder {root} cannot be written: {error.strerror or error}."
        raise StorageError(message, "Free space there, or set TMPDIR to a folder on a larger disk.") from error
