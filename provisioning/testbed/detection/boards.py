"""The boards that the detection demo streams: DeepPCB's official test list, dealt to the streams, with what is on each.

No detector has seen them: models are built from the other half of the data set. A stream is one .npz that devices replay (`frames`,
`units`) and that holds the truth beside them (`boxes`, `classes`, `pictures`), which devices do not read. Drawn once and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from provisioning.datasets import data_folder
from provisioning.sources import boxed, deeppcb
from provisioning.sources.boxed import Boxed
from provisioning.testbed.detection.told import Stream
from provisioning.testbed.plan import Plan
from shared.errors import InputError
from shared.release.modelcache import built, cache
from shared.vision.tasks.precision import Truth

DATA, TASK = "deeppcb", "detection"
NEEDED = ("student/000001.onnx", "student/000001.card.json", "student/000001.npz", "expert/000001.onnx", "expert/000001.card.json")


def require() -> None:
    """Say early that models or data are missing.

    Raises:
        InputError: and what to do about it.
    """
    models()
    if not (data_folder() / deeppcb.FILE).is_file():
        raise InputError(f"there is no {deeppcb.FILE} in {data_folder()}.", "Set TERRACE_DATA to the folder that holds it.")


def models() -> Path:
    """Return the folder of the detectors.

    Raises:
        InputError: they are not built; building takes hours, so nobody does it by the way.
    """
    folder = built(DATA, TASK)
    if not all((folder / name).is_file() for name in NEEDED):
        remedy = "Build them once, some hours on two cores (it goes on where it was stopped): make models DATA=deeppcb TASK=detection"
        raise InputError(f"the detectors of {DATA} are not in {folder}.", remedy)
    return folder


def lay_out(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Draw the streams and return the `[[streams]]` tables by device.

    Args:
        plan: how many devices and streams, how many boards a stream, and their pace.

    Raises:
        InputError: the data set is not there, or has too few boards.
    """
    names = [f"{device.partition('.')[0]}-{number}" for device in plan.devices for number in range(1, plan.streams + 1)]
    tables = [
        table(name, path, plan.frames_per_second) for name, path in zip(names, _files(len(names), plan.frames_per_stream), strict=True)
    ]
    return {device: tables[place * plan.streams : (place + 1) * plan.streams] for place, device in enumerate(plan.devices)}


def table(name: str, path: Path, frames_per_second: float) -> dict[str, Any]:
    """Return a stream's table of edge.toml."""
    return {"name": name, "kind": "replay", "path": str(path), "fps": frames_per_second, "loop": True}


def read(path: Path) -> Stream:
    """Return the truth of a stream's file."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        boxes, classes, pictures, units, side = data["boxes"], data["classes"], data["pictures"], data["units"], data["frames"].shape[1]
    own = [np.flatnonzero(pictures == place) for place in range(len(units))]
    truth = [Truth(boxes=boxes[one], classes=classes[one]) for one in own]
    return Stream(truth=truth, units=[str(unit) for unit in units], side=int(side))


def _files(count: int, boards: int) -> list[Path]:
    source = data_folder() / deeppcb.FILE
    state = source.stat() if source.is_file() else None
    key = hashlib.sha256(f"boards 1 {count} {boards} {state and (state.st_size, state.st_mtime_ns)}".encode()).hexdigest()[:16]
    kept = cache() / "demo" / f"boards-{key}"
    if not kept.exists():
        _draw(kept, count, boards)
    return [kept / f"{place}.npz" for place in range(count)]


def _draw(kept: Path, count: int, boards: int) -> None:
    """Draw into a folder beside and rename it when it is whole; of two demos at once one wins."""
    everything = deeppcb.whole(deeppcb.load(data_folder()), official_test=True)
    if len(everything.units) < count * boards:
        raise InputError(
            f"{count * boards} boards are wanted, the data set has {len(everything.units)} for testing.", "Take fewer devices."
        )
    order = np.random.default_rng(1).permutation(len(everything.units))
    drawing = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    drawing.mkdir(parents=True)
    for place in range(count):
        picked = np.sort(order[place * boards : (place + 1) * boards])
        boxed.save(drawing / f"{place}.npz", in_colour(everything.taken(picked)))
    try:
        drawing.rename(kept)
    except OSError:
        shutil.rmtree(drawing)


def in_colour(grey: Boxed) -> Boxed:
    """Return the same pictures with three channels: what a camera gives."""
    return msgspec.structs.replace(grey, frames=np.repeat(grey.frames, 3, axis=3))
