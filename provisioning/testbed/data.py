"""The demo's input: models for a data set (shipped, cached or built now) and the streams of every device."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from provisioning.datasets import StreamFiles
from provisioning.datasets import prepare as prepare_data
from provisioning.sources import folder
from provisioning.testbed.plan import Plan
from provisioning.testbed.processes import run_streaming
from shared.release.modelcache import NAMED, built, cache, listing

SHIPPED = ("models", "line")
DONE = "streams.txt"
NEEDED = ("student/000001.onnx", "student/000001.card.json", "expert/000001.onnx", "expert/000001.card.json")


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """What devices stream: `[[streams]]` tables per device, and the labelled data set (npz) per stream name.

    `held_out` are data sets no device streams, `videos` the H.264 files by stream name, where there are any.
    """

    tables: dict[str, list[dict[str, Any]]]
    truth: dict[str, Path]
    held_out: tuple[Path, ...] = ()
    videos: dict[str, Path] = {}


def models_for(data: str, say: Callable[[str], None]) -> Path:
    """Return the folder of a data set's expert, first student and replay set.

    The line's models are shipped. Others are built once into the cache, with progress, by `terrace models build`.

    Args:
        data: line, deeppcb, fashion-mnist or a folder.
        say: where progress goes.

    Raises:
        DaemonFailedError: the build failed, with its last words.
    """
    if data == "line":
        for shipped in (Path(__file__).parents[2].joinpath(*SHIPPED), Path(__file__).parents[1].joinpath(*SHIPPED)):
            if is_whole(shipped):
                return shipped
    kept = built(data)
    if not is_whole(kept):
        say(f"building the models of {data} once, into {kept} (some minutes)")
        run_streaming(["models", "build", "--data", data, "--out", str(kept)], say)
    return kept


def require(data: str) -> None:
    """Say early that a folder is none, or has another layout, before anything is built from it.

    Raises:
        InputError: with the layout that is wanted.
    """
    if data not in NAMED:
        folder.classes(Path(data))


def is_whole(models: Path) -> bool:
    """Return whether a models folder has all that is needed."""
    return all((models / name).is_file() for name in NEEDED)


def prepare(data: str, plan: Plan) -> Streams:
    """Return every device's streams: new boards nobody was trained on, a different stretch per stream.

    They are drawn once and kept in the cache, under a name made of the generator's code and the plan's sizes.

    Raises:
        InputError: the data set is missing or too small.
    """
    streamed = len(plan.devices) * plan.streams
    count = streamed + plan.held_out
    kept = cache() / "demo" / f"streams-{_key(data, count, plan.frames_per_stream)}"
    if not (kept / DONE).exists():
        _draw(data, kept, count, plan.frames_per_stream)
    made = [_files(kept, name) for name in (kept / DONE).read_text().split()]
    tables: dict[str, list[dict[str, Any]]] = {}
    for index, device in enumerate(plan.devices):
        own = made[index * plan.streams : (index + 1) * plan.streams]
        tables[device] = [table(files.name, files.frames, files.video, plan.frames_per_second) for files in own]
    return Streams(
        tables=tables,
        truth={files.name: files.frames for files in made[:streamed]},
        held_out=tuple(files.frames for files in made[streamed:]),
        videos={files.name: files.video for files in made if files.video},
    )


def _draw(data: str, kept: Path, count: int, frames: int) -> None:
    """Draw into a folder beside and rename it when it is whole; of two demos at once one wins."""
    drawing = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    made = prepare_data(data, drawing, wanted=("streams",), streams=count, frames_per_stream=frames).streams
    (drawing / DONE).write_text("\n".join(files.name for files in made))
    try:
        drawing.rename(kept)
    except OSError:
        shutil.rmtree(drawing)


def _files(kept: Path, name: str) -> StreamFiles:
    video = kept / f"{name}.mp4"
    return StreamFiles(name=name, frames=kept / f"{name}.npz", video=video if video.exists() else None)


def _key(data: str, count: int, frames: int) -> str:
    code = Path(__file__).parents[1]
    digest = hashlib.sha256(f"{data} {count} {frames}".encode())
    for path in sorted([*code.glob("line/*.py"), *code.glob("sources/*.py"), code / "datasets.py"]):
        digest.update(path.read_bytes())
    if data not in NAMED:
        digest.update(listing(Path(data)).encode())
    return digest.hexdigest()[:16]


def table(name: str, frames: Path, video: Path | None, frames_per_second: float) -> dict[str, Any]:
    """Return one `[[streams]]` table: the H.264 file where there is one, else the data set itself."""
    shared = {"name": name, "fps": frames_per_second, "loop": True}
    if video is None:
        return {**shared, "kind": "replay", "path": str(frames)}
    return {**shared, "kind": "video", "path": str(video), "units_file": str(frames)}
