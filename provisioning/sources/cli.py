"""`terrace provision data`: write a data set's splits and streams as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioning import datasets, pictured
from shared.errors import InputError

app = typer.Typer(help="Prepare data sets.")


@app.callback(invoke_without_command=True)
def data(
    out: Annotated[Path, typer.Option(help="Folder to write the .npz files into.", metavar="DIR")],
    data: Annotated[str, typer.Option(help="line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.")] = "line",
    task: Annotated[
        str, typer.Option(help="classification, detection (deeppcb: boards with boxes) or segmentation (line: masks).")
    ] = "classification",
    split: Annotated[list[str] | None, typer.Option(help="seed, calibration, policy-fit, policy-test or streams; repeat it.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=64, help="How many streams.")] = 2,
    frames: Annotated[int, typer.Option(min=1, help="Frames per stream.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Draws the streams.")] = 1,
    seed_boards: Annotated[int | None, typer.Option(min=1, help="Only the first so many boards (units) of the seed split.")] = None,
) -> None:
    """Write splits that share no unit: what models are built from, what thresholds are set on, what is streamed.

    Examples:
        terrace provision data --data line --out data --split policy-test --split streams

        terrace provision data --data deeppcb --task detection --out boards     (needs TERRACE_DATA)
    """
    wanted = split or [*datasets.SPLITS, "streams"]
    odd = sorted(set(wanted) - {*datasets.SPLITS, "streams"})
    if odd:
        raise InputError(f"there is no split {odd[0]}.", f"Take of: {', '.join(datasets.SPLITS)}, streams.")
    if task != "classification":
        for path in pictured.prepare(task, data, out, wanted=wanted).values():
            typer.echo(str(path))
        return
    prepared = datasets.prepare(data, out, wanted=wanted, streams=streams, frames_per_stream=frames, seed=seed, seed_boards=seed_boards)
    for path in [*prepared.splits.values(), *(stream.frames for stream in prepared.streams)]:
        typer.echo(str(path))
