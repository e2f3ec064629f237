"""`terrace models`: build the expert and the first student of a data set, and look at what was built."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cloud.foundry import build as recipes
from cloud.foundry import detection, segmentation
from shared import log
from shared.errors import InputError, TrustError
from shared.release.card import Card, decode_card, sha256
from shared.release.modelcache import built

app = typer.Typer(help="Build models and look at them.", no_args_is_help=True)
SHIPPED = Path("models") / "line"


@app.command()
def build(
    data: Annotated[str, typer.Option(help="line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.")] = "line",
    out: Annotated[Path | None, typer.Option(help="Folder for the releases; else models/line, or the cache.", metavar="DIR")] = None,
    task: Annotated[str, typer.Option(help="classification, detection (deeppcb: whole boards) or segmentation (line).")] = "classification",
) -> None:
    """Train the expert and the student, quantise, calibrate, and write both releases with their cards.

    Steps are kept by content hash: a second build, or one that was stopped, goes on where it can. The line takes about fifteen
    minutes on two cores.

    Examples:
        terrace models build --data line --out models/line

        terrace models build --data deeppcb          (needs TERRACE_DATA)

        terrace models build --data deeppcb --task detection
    """
    log.configure(level="warning")
    folder = out or (SHIPPED if data == "line" and task == "classification" else built(data, task))
    began = time.monotonic()
    done = _builder(task)(data, folder, say=lambda line: typer.echo(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr))
    for card in (done.expert, done.student):
        _tell(card, folder)


def _builder(task: str) -> Callable[..., recipes.Built]:
    builders: dict[str, Callable[..., recipes.Built]] = {
        "classification": recipes.build,
        "detection": detection.build,
        "segmentation": segmentation.build,
    }
    if task not in builders:
        raise InputError(f"there is no recipe for the task {task}.", f"Take one of: {', '.join(builders)}.")
    return builders[task]


@app.command()
def inspect(folder: Annotated[Path, typer.Argument(help="A folder that `terrace models build` wrote.")]) -> None:
    """Check the files against their cards and say what they reach.

    Example:
        terrace models inspect models/line
    """
    for family in ("expert", "student"):
        found = sorted((folder / family).glob("*.card.json"))
        if not found:
            raise TrustError(f"there is no {family} in {folder}.", f"Build it: terrace models build --out {folder}")
        for path in found:
            card = decode_card(path.read_bytes())
            onnx = path.with_name(path.name.replace(".card.json", ".onnx"))
            if not onnx.is_file() or sha256(onnx.read_bytes()) != card.onnx_sha256:
                raise TrustError(f"{onnx} is missing or is not the file its card describes.", "Build the models again.")
            _tell(card, folder)


def _tell(card: Card, folder: Path) -> None:
    size = (folder / card.model / f"{card.release:06d}.onnx").stat().st_size
    typer.echo(f"{card.model} {card.release}: {len(card.labels)} classes, {card.input.width}x{card.input.height} px, {size / 1e3:.0f} kB")
    for name, value in card.lineage.figures.items():
        typer.echo(f"  {name:24} {value:.4f}")
    if card.calibration is not None:
        chosen = card.calibration
        typer.echo(
            f"  defers below a {chosen.score} of {chosen.threshold:.3f}; risk at most {chosen.risk_bound:.4f} "
            f"(probability {1 - chosen.delta:.0%}, {chosen.units} units)"
        )
    if card.picture_quality:
        first = card.picture_quality[0]
        typer.echo(f"  pictures travel as {first.codec} {first.quality}: {first.bytes_mean:.0f} bytes, expert {first.expert_accuracy:.4f}")
