"""Data sets whose truth is more than a label: boxes for detection, masks for segmentation. Splits as in datasets, by unit.

Rules, in order:
1. Detection: DeepPCB's whole boards; seed to policy-test from trainval, `streams` is the official test list.
2. Segmentation: the line's windows with a mask of each fault, of the same boards as the classifiers' splits, a part of them; `streams`
   are boards of no split.
3. Every split is one .npz, read with allow_pickle=False.

Example:
    prepare("detection", "deeppcb", Path("data"), wanted=("seed", "calibration"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provisioning import datasets
from provisioning.datasets import LINE_SPLITS, STREAM_SEED, LineSplit
from provisioning.line import video
from provisioning.line.boards import WINDOWS_PER_BOARD, generate
from provisioning.sources import boxed, deeppcb, masked
from provisioning.sources.pool import split
from shared.errors import InputError, StorageError

DATA = {"detection": "deeppcb", "segmentation": "line"}
"""Which data set has the truth that a task needs."""
STREAM_BOARDS = 100
MOST_BOARDS = 300
"""Of a split of the line: the masks of so many boards teach what there is to learn."""


def prepare(task: str, data: str, out: Path, *, wanted: Sequence[str]) -> dict[str, Path]:
    """Write splits and return the file of each.

    Args:
        task: one of DATA.
        data: the data set.
        out: folder to write into; made when missing.
        wanted: names of datasets.SPLITS, and "streams".

    Raises:
        InputError: there is no such task, or the data set has not the truth it needs, or is missing.
        StorageError: the folder cannot be written.
    """
    if task not in DATA:
        raise InputError(f"there are no data for the task {task}.", f"Take one of: classification, {', '.join(DATA)}.")
    if data != DATA[task]:
        raise InputError(f"{data} has no truth for {task}.", f"Take --data {DATA[task]}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _boards(out, wanted) if task == "detection" else _line(out, wanted)
    except OSError as error:
        raise StorageError(f"the data set cannot be written to {out}: {error}.", "Free space, or choose another folder.") from error


def _boards(out: Path, wanted: Sequence[str]) -> dict[str, Path]:
    loaded = deeppcb.load(datasets.data_folder())
    known = deeppcb.whole(loaded, official_test=False)
    picked = split(known.units, datasets.REAL_SHARES)
    files = {name: boxed.save(out / f"{name}.npz", known.taken(picked[name])) for name in datasets.SPLITS if name in wanted}
    if "streams" in wanted:
        files["streams"] = boxed.save(out / "streams.npz", deeppcb.whole(loaded, official_test=True))
    return files


def _line(out: Path, wanted: Sequence[str]) -> dict[str, Path]:
    splits = {**LINE_SPLITS, "streams": LineSplit(seed=STREAM_SEED, boards=STREAM_BOARDS, windows=WINDOWS_PER_BOARD)}
    return {name: masked.save(out / f"{name}.npz", line_split(splits[name])) for name in splits if name in wanted}


def line_split(how: LineSplit) -> masked.Masked:
    """Draw a split of the line with masks, through the camera's codec."""
    count = min(how.boards, MOST_BOARDS)
    windows = generate(seed=how.seed, boards=count, windows=how.windows, defect_share=how.defect_share)
    return masked.Masked(frames=video.through_codec(windows.frames), masks=windows.masks, units=windows.units, names=windows.names)
