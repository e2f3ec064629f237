"""What the demo's cloud owns besides its models: a small labelled seed set, and the replay set cut from it with the expert's answers.

Both are drawn once and kept in the cache by content: the expert, the data set and the sizes name the folder.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from provisioning.datasets import prepare
from provisioning.testbed.measure import expert_logits
from shared.release.card import decode_card
from shared.release.modelcache import cache

SEED_BOARDS = 80
SEED_PICTURES = 1000
"""Of data sets whose unit is one picture."""
REPLAY_PICTURES = 480
OF_BOARDS = ("line", "deeppcb")
CODE = b"seed 3"
"""Changed when what is drawn changes."""


def complete(models: Path, data: str, folder: Path) -> Path:
    """Fill a folder with what `terrace cloud init` imports: models, seed, calibration and replay set.

    Args:
        models: the expert and the first student.
        data: the data set they are for.
        folder: is made.

    Returns:
        The folder.
    """
    shutil.copytree(models, folder)
    expert = models / "expert" / "000001.onnx"
    key = hashlib.sha256(b"\0".join([CODE, data.encode(), expert.read_bytes()])).hexdigest()[:16]
    kept = cache() / "demo" / key
    if not (kept / "replay.npz").exists():
        drawing = kept.with_name(f"{key}.{folder.parent.name}.part")
        _draw(data, models, drawing)
        if not kept.exists():
            drawing.rename(kept)
    for name in ("seed.npz", "calibration.npz", "replay.npz"):
        shutil.copy(kept / name, folder / name)
    return folder


def _draw(data: str, models: Path, folder: Path) -> None:
    made = prepare(data, folder, wanted=("seed", "calibration"), seed_boards=SEED_BOARDS if data in OF_BOARDS else SEED_PICTURES)
    with made.splits["seed"].open("rb") as file, np.load(file, allow_pickle=False) as loaded:
        seed = {name: loaded[name] for name in ("frames", "labels", "units", "names")}
    chosen = np.linspace(0, len(seed["labels"]) - 1, min(REPLAY_PICTURES, len(seed["labels"]))).astype(int)
    card = decode_card((models / "expert" / "000001.card.json").read_bytes())
    frames = seed["frames"][chosen]
    logits = expert_logits(frames, models / "expert" / "000001.onnx", card)
    np.savez(
        folder / "replay.npz",
        allow_pickle=False,
        frames=frames,
        labels=seed["labels"][chosen],
        units=seed["units"][chosen],
        names=seed["names"],
        logits=logits,
    )
