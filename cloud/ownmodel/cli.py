"""`terrace model`: bring a model of one's own, look at model files and releases, compare two."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cloud.ownmodel import album, anatomy, comparing, detecting, importing, modelfile, release, segmenting, words
from cloud.ownmodel.normalisation import AUTO
from cloud.ownmodel.orders import Order, Precision
from shared import log
from shared.errors import InputError
from shared.hwprofile import shelf
from shared.vision.fit import FITS

app = typer.Typer(help="Import a model of your own, look at models and compare them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
RECIPES = {"classification": importing.import_model, "detection": detecting.import_detector, "segmentation": segmenting.import_segmenter}
PRECISIONS: tuple[Precision, ...] = ("auto", "int8", "fp32")


@app.command("import")
def import_(
    model: Annotated[Path, typer.Argument(help="The ONNX file of your model.", metavar="MODEL.onnx")],
    calibrate: Annotated[Path, typer.Option(help="Pictures like those devices will see, best one sub-folder per class.", metavar="FOLDER")],
    labels: Annotated[
        Path | None, typer.Option(help="Class names, one per line in the model's order. Default: those in the file, else the sub-folders.")
    ] = None,
    expert: Annotated[Path | None, typer.Option(help="The ONNX file of a larger model for regions, with the same classes.")] = None,
    task: Annotated[str, typer.Option(help="What the model does: classification, detection or segmentation.")] = "classification",
    out: Annotated[Path, typer.Option(help="Folder for the release.", metavar="DIR")] = Path("release"),
    normalise: Annotated[str, typer.Option(help="imagenet, unit, symmetric, raw, or MEAN/STD on 0 to 1; auto finds it by trying.")] = AUTO,
    expert_normalise: Annotated[str, typer.Option(help="The same for the expert.")] = AUTO,
    bgr: Annotated[bool, typer.Option("--bgr", help="The model wants blue first.")] = False,
    expert_bgr: Annotated[bool, typer.Option("--expert-bgr", help="The expert wants blue first.")] = False,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels, where the graph leaves them free.")] = "",
    expert_size: Annotated[str, typer.Option(help="The same for the expert.")] = "",
    fit: Annotated[
        str, typer.Option(help="Frames of another shape: stretch, letterbox (grey around them) or crop; auto: letterbox for detectors.")
    ] = AUTO,
    expert_fit: Annotated[str, typer.Option(help="The same for the expert.")] = AUTO,
    output: Annotated[str, typer.Option(help="Name of the output to use, where there are several.")] = "",
    precision: Annotated[str, typer.Option(help="auto takes INT8 where it serves; int8 and fp32 insist.")] = "auto",
    profile: Annotated[str, typer.Option(help="Hardware profile of the devices (terrace hw list).")] = "auto",
    number: Annotated[int, typer.Option("--release", help="The release's number in its card.", min=1)] = 1,
    as_json: Json = False,
) -> None:
    """Make a release of your own ONNX model: checked, quantised, measured, with a threshold that knows when it does not know.

    Steps are kept by content hash: an import that was stopped goes on where it can. The folder holds model.onnx and card.json, which
    `model.path` of edge.toml and `terrace cloud release add` take, and the expert's in expert/.

    Examples:
        terrace model import classifier.onnx --labels labels.txt --calibrate pictures

        terrace model import small.onnx --labels labels.txt --calibrate pictures --expert big.onnx --out release

        terrace model import yolo.onnx --task detection --calibrate boards --out release

        terrace model import segmenter.onnx --task segmentation --labels labels.txt --calibrate boards --out release
    """
    log.configure(level="warning")
    if precision not in PRECISIONS:
        raise InputError(f"there is no precision {precision!r}.", f"Give one of {', '.join(PRECISIONS)}.")
    for asked in (fit, expert_fit):
        if asked not in (AUTO, *FITS):
            raise InputError(f"there is no fit {asked!r}.", f"Give one of {AUTO}, {', '.join(FITS)}.")
    order = Order(
        model=model,
        pictures=calibrate,
        out=out,
        profile=shelf.find(profile),
        profiles=tuple(shelf.find(name) for name in shelf.names()),
        names=album.read_labels(labels) if labels else modelfile.names(model),
        expert=expert,
        task=task,
        normalise=normalise,
        expert_normalise=expert_normalise,
        bgr=bgr,
        output=output,
        expert_bgr=expert_bgr,
        size=_size(size),
        expert_size=_size(expert_size),
        fit=fit,
        expert_fit=expert_fit,
        precision=msgspec.convert(precision, Precision),
        release=number,
    )
    began = time.monotonic()
    if task not in RECIPES:
        raise InputError(f"there is no import for {task!r}.", f"Give one of {', '.join(RECIPES)}.")
    done = RECIPES[task](order, lambda line: typer.echo(f"{time.monotonic() - began:6.0f} s  {line}", err=True))
    _print(done, words.of_import(done), as_json)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="An ONNX file, or a folder with model.onnx and card.json.")], as_json: Json = False
) -> None:
    """Say what a model file is and whether it can be imported; of a release, check that its files belong together and answer as promised.

    Examples:
        terrace model inspect classifier.onnx

        terrace model inspect release
    """
    if path.is_dir():
        found = release.read(path)
        _print(found.card, [*words.of_card(found.card), f"  {release.self_tested(found)}"], as_json)
        return
    anatomy_ = anatomy.read(modelfile.load(path))
    _print(anatomy_, words.of_file(anatomy_), as_json)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="A release: a folder with model.onnx and card.json.")],
    other: Annotated[Path, typer.Argument(help="The release it is compared with.")],
    pictures: Annotated[Path, typer.Option(help="Pictures neither was made with, and what they show, as for import.", metavar="FOLDER")],
    as_json: Json = False,
) -> None:
    """Compare two releases on the same pictures: accuracy, mAP or overlap with an interval over units, who defers how much, how fast.

    Example:
        terrace model compare release old-release --pictures fresh
    """
    log.configure(level="warning")
    found = comparing.compare(release.read(one), release.read(other), pictures)
    _print(found, comparing.in_words(found), as_json)


def _size(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 8 <= int(width) <= 4096 and 8 <= int(height) <= 4096):
        raise InputError(f"{text!r} is no size.", "Give width and height in pixels, 8 to 4096 each: --size 224x224.")
    return int(width), int(height)


def _print(value: Any, lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(value, enc_hook=str)))
        return
    for line in lines:
        typer.echo(line)
