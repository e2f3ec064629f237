"""Data sets on disk: seed, calibration, policy-fit and policy-test splits and one split per stream, disjoint by unit.

Rules, in order:
1. A unit (a board, an object) is in one split only; splits are drawn by hash of its name.
2. Streams come from what models never saw: new boards of the line, the official test lists, or a share of a user's folder.
3. Every split is an .npz with `frames`, `labels`, `units`, `names` (and `spots`, `groups`), read with allow_pickle=False; a stream
   of the line is also an H.264 file, and its .npz holds the decoded frames, so that both are the same pictures.

Example:
    prepare("line", Path("data"), wanted=("seed", "streams"), streams=2)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np

from provisioning.line import video
from provisioning.line.boards import DEFECT_SHARE, WINDOWS_PER_BOARD, generate
from provisioning.line.defects import NAMES
from provisioning.line.optics import Conditions
from provisioning.sources import deeppcb, fashion, folder
from provisioning.sources.pool import Pool, in_unit_order, pool, split
from shared.errors import InputError, StorageError

KINDS = ("line", "deeppcb", "fashion-mnist")
SPLITS = ("seed", "calibration", "policy-fit", "policy-test")
DEFAULT_FOLDER = Path("..") / "shared" / "data"
REAL_SHARES = {"seed": 0.66, "calibration": 0.04, "policy-fit": 0.15, "policy-test": 0.15}
FOLDER_SHARES = {"seed": 0.56, "calibration": 0.04, "policy-fit": 0.14, "policy-test": 0.14, "streams": 0.12}


class LineSplit(msgspec.Struct, frozen=True, kw_only=True):
    """How a split of the line is drawn: a seed of its own, boards, windows per board, share of defects."""

    seed: int
    boards: int
    windows: int
    defect_share: float = DEFECT_SHARE


LINE_SPLITS: Mapping[str, LineSplit] = {
    "seed": LineSplit(seed=101, boards=1000, windows=10, defect_share=0.65),
    "calibration": LineSplit(seed=102, boards=100, windows=4),
    "policy-fit": LineSplit(seed=103, boards=1200, windows=2),
    "policy-test": LineSplit(seed=104, boards=1200, windows=2),
}
STREAM_SEED = 1000
"""Streams of the line use this plus their number and a thousand times the caller's seed: never a seed of LINE_SPLITS."""


class StreamFiles(msgspec.Struct, frozen=True, kw_only=True):
    """One stream's files: `frames` is the labelled .npz, `video` the H.264 file of the same frames, where there is one."""

    name: str
    frames: Path
    video: Path | None = None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What `prepare` wrote: file per split, and the streams."""

    splits: dict[str, Path]
    streams: tuple[StreamFiles, ...]
    names: tuple[str, ...]


def prepare(
    data: str | Path,
    out: Path,
    *,
    wanted: Sequence[str] = ("seed", "streams"),
    streams: int = 2,
    frames_per_stream: int = 1500,
    seed: int = 1,
    seed_boards: int | None = None,
    conditions: Conditions = Conditions(),  # noqa: B008 - frozen, so sharing the default is safe
) -> Prepared:
    """Write splits and streams.

    Args:
        data: one of KINDS, or a folder with one sub-folder per class.
        out: folder to write into; made when missing.
        wanted: names of SPLITS, and "streams".
        streams: how many streams, one per camera.
        frames_per_stream: frames of each; a data set with fewer pictures repeats none and gives shorter streams.
        seed: draws the streams.
        seed_boards: take the first so many boards (units) of the seed split only; None takes all.
        conditions: lamp, lens and sensor of the line's streams.

    Raises:
        InputError: the data set is missing or unusable.
        StorageError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if str(data) == "line":
            return _prepare_line(out, wanted, streams, frames_per_stream, seed, seed_boards, conditions)
        return _prepare_real(data, out, wanted, streams, frames_per_stream, seed, seed_boards)
    except OSError as error:
        raise StorageError(f"the data set cannot be written to {out}: {error}.", "Free space, or choose another folder.") from error


def data_folder() -> Path:
    """Return the folder of the real data sets: TERRACE_DATA, or the one beside a checkout."""
    return Path(os.environ.get("TERRACE_DATA") or DEFAULT_FOLDER)


def line_split(name: str, most_boards: int | None = None) -> Pool:
    """Draw a split of the line, through the camera's codec."""
    how = LINE_SPLITS[name]
    count = how.boards if most_boards is None else min(how.boards, most_boards)
    windows = generate(seed=how.seed, boards=count, windows=how.windows, defect_share=how.defect_share)
    return pool(video.through_codec(windows.frames), windows.labels, windows.units, windows.names, windows.spots)


def _prepare_line(
    out: Path, wanted: Sequence[str], streams: int, frames: int, seed: int, seed_boards: int | None, conditions: Conditions
) -> Prepared:
    splits = {}
    for name in (one for one in SPLITS if one in wanted):
        splits[name] = save(out / f"{name}.npz", line_split(name, seed_boards if name == "seed" else None))
    files = _line_streams(out, streams, frames, seed, conditions) if "streams" in wanted else ()
    return Prepared(splits=splits, streams=files, names=NAMES)


def _line_streams(out: Path, streams: int, frames: int, seed: int, conditions: Conditions) -> tuple[StreamFiles, ...]:
    """Draw the streams side by side, one process per core: drawing is arithmetic in Python."""
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as workers:
        first = 1000 * seed + STREAM_SEED
        drawn = [workers.submit(line_stream, out, f"line-{index + 1}", frames, first + index, conditions) for index in range(streams)]
        return tuple(one.result() for one in drawn)


def line_stream(out: Path, name: str, frames: int, seed: int, conditions: Conditions = Conditions()) -> StreamFiles:  # noqa: B008 - frozen
    """Write one stream of the line as `<name>.mp4` and `<name>.npz` (the decoded frames and their labels)."""
    windows = generate(seed=seed, boards=-(-frames // WINDOWS_PER_BOARD), conditions=conditions)
    path = out / f"{name}.mp4"
    video.write(path, windows.frames[:frames])
    decoded = pool(video.read(path), windows.labels[:frames], windows.units[:frames], windows.names, windows.spots[:frames])
    return StreamFiles(name=name, frames=save(out / f"{name}.npz", decoded), video=path)


def _prepare_real(
    data: str | Path, out: Path, wanted: Sequence[str], streams: int, frames: int, seed: int, seed_boards: int | None
) -> Prepared:
    known, fresh, shares = _pools(data)
    picked = split(known.units, shares)
    splits = {}
    for name in (one for one in SPLITS if one in wanted):
        chosen = known.taken(picked[name])
        if name == "seed" and seed_boards is not None:
            chosen = chosen.taken(np.flatnonzero(np.isin(chosen.units, np.unique(chosen.units)[:seed_boards])))
        splits[name] = save(out / f"{name}.npz", chosen)
    if fresh is None:
        fresh = known.taken(picked["streams"])
    files = _streams(fresh, out, streams, frames, seed) if "streams" in wanted else ()
    return Prepared(splits=splits, streams=files, names=known.names)


def _pools(data: str | Path) -> tuple[Pool, Pool | None, Mapping[str, float]]:
    """Return what models may be built from, what streams are drawn from (None: a share of the former), and the splits."""
    if str(data) == "deeppcb":
        loaded = deeppcb.load(data_folder())
        return deeppcb.cut(loaded, official_test=False, seed=1), deeppcb.cut(loaded, official_test=True, seed=2), REAL_SHARES
    if str(data) == "fashion-mnist":
        return fashion.load(data_folder(), official_test=False), fashion.load(data_folder(), official_test=True), REAL_SHARES
    return folder.load(Path(data)), None, FOLDER_SHARES


def _streams(fresh: Pool, out: Path, streams: int, frames: int, seed: int) -> tuple[StreamFiles, ...]:
    """Deal whole units to the streams in a shuffled order, then cut each stream to its length."""
    ordered = fresh.taken(in_unit_order(fresh.units, seed))
    units, first = np.unique(ordered.units, return_index=True)
    dealt = {str(unit): index % streams for index, unit in enumerate(units[np.argsort(first)])}
    owner = np.array([dealt[str(unit)] for unit in ordered.units])
    files = []
    for index in range(streams):
        own = ordered.taken(np.flatnonzero(owner == index)[:frames])
        if not len(own.labels):
            raise InputError(f"there are too few units for {streams} streams.", "Give more pictures or start fewer devices.")
        files.append(StreamFiles(name=f"stream-{index + 1}", frames=save(out / f"stream-{index + 1}.npz", own)))
    return tuple(files)


def save(path: Path, content: Pool) -> Path:
    """Write a pool as .npz (frames, labels, units, names, spots, groups) and return the path."""
    np.savez(
        path,
        frames=content.frames,
        labels=content.labels,
        units=content.units.astype(np.str_),
        names=np.array(content.names),
        spots=content.spots,
        groups=content.groups.astype(np.str_),
    )
    return path
