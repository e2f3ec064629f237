"""`terrace provision line`: draw a stretch of the inspection line as a video with labels beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from provisioning.line import boards, video
from provisioning.line.optics import Conditions
from shared.errors import StorageError

app = typer.Typer(help="Draw the printed-circuit inspection line.")


@app.callback(invoke_without_command=True)
def line(
    out: Annotated[Path, typer.Option(help="Folder to write stream.mp4 and labels.npz into.", metavar="DIR")],
    frames: Annotated[int, typer.Option(min=1, help="How many windows.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same boards.")] = 1,
    fps: Annotated[int, typer.Option(min=1, max=240, help="Frames per second of the video.")] = 30,
    brightness: Annotated[float, typer.Option(help="Factor on the light.")] = 1.0,
    blur: Annotated[float, typer.Option(min=0.0, help="Blur of the lens, standard deviation in pixels.")] = 0.75,
    noise: Annotated[float, typer.Option(min=0.0, help="Noise of the sensor, in levels of 255.")] = 5.0,
) -> None:
    """Draw windows of printed circuit boards with six kinds of defects, as an H.264 stream.

    Example:
        terrace provision line --out stream --frames 600 --seed 7
    """
    conditions = Conditions(brightness=brightness, blur_px=blur, noise=noise)
    windows = boards.generate(seed=seed, boards=-(-frames // boards.WINDOWS_PER_BOARD), conditions=conditions)
    try:
        out.mkdir(parents=True, exist_ok=True)
        video.write(out / "stream.mp4", windows.frames[:frames], fps=fps)
        np.savez(
            out / "labels.npz",
            labels=windows.labels[:frames],
            units=windows.units[:frames],
            names=np.array(windows.names),
        )
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}.", "Choose another folder, or free space.") from error
    typer.echo(f"{frames} windows of {len(set(windows.units[:frames]))} boards: {out / 'stream.mp4'}, {out / 'labels.npz'}")
