"""Data sets whose truth is more than a label: boxes for detection, masks for segmentation. Splits as in datasets, by unit.

Rules, in order:
1. Detection: DeepPCB's whole boards; seed to policy-test from trainval, `streams` is the official test list.
2. Segmentation: the line's windows with a mask of each fault (datasets draws the splits' seeds); `streams` are boards of no split.
3. Every split is one .npz, read with allow_pickle=False.

Example:
    prepare("detection", "deeppcb", Path("data"), wanted=("seed", "calibration"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provisioning import datasets
from provisioning.sources import boxed, deeppcb
from provisioning.sources.pool import split
from shared.errors import InputError, StorageError

DATA = {"detection": "deeppcb"}
"""Which data set has the truth that a task needs."""


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
        return _boards(out, wanted)
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
