"""What a folder of built models holds, found by name: what `terrace cloud init` imports.

student/000001.onnx, student/000001.card.json     the first student; its fp32 weights are student/000001.npz or student.npz
expert/000001.onnx, expert/000001.card.json       the expert, for regions
replay/000001.npz or replay.npz                   pictures of the seed set, for regions to replay
seed.npz, calibration.npz                         what the cloud's foundry teaches and calibrates on; without them the replay set
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.errors import InputError
from shared.release.card import Card, decode_card


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One family's files."""

    family: str
    release: int
    onnx: Path
    card_bytes: bytes
    card: Card


class Imports(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in the folder."""

    student: Model
    expert: Model
    weights: Path
    replay: Path | None
    seed: Path | None
    calibration: Path | None

    @property
    def data(self) -> str:
        """Name of the data set the expert was built from, as its card's lineage says."""
        return self.expert.card.lineage.data.partition(":")[0]


def find(folder: Path) -> Imports:
    """Look through a folder of built models.

    Raises:
        InputError: something is missing; names the file.
        TrustError: a card cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no models folder {folder}.", "Build one with: terrace models build --out DIR.")
    student, expert = _model(folder, "student"), _model(folder, "expert")
    replay = next((path for name in ("replay/000001.npz", "replay.npz") if (path := folder / name).exists()), None)
    seed = _optional(folder / "seed.npz") or replay
    return Imports(
        student=student,
        expert=expert,
        weights=_first(folder, f"student/{student.release:06d}.npz", "student.npz", "student/*.npz"),
        replay=replay,
        seed=seed,
        calibration=_optional(folder / "calibration.npz"),
    )


def _optional(path: Path) -> Path | None:
    return path if path.exists() else None


def _model(folder: Path, family: str) -> Model:
    onnx = _first(folder, f"{family}/*.onnx")
    path = onnx.with_suffix(".card.json")
    if not path.exists():
        raise InputError(f"there is no card {path} beside the model.", "Build the models again: terrace models build --out DIR.")
    data = path.read_bytes()
    card = decode_card(data)
    return Model(family=family, release=card.release, onnx=onnx, card_bytes=data, card=card)


def _first(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[-1]
    raise InputError(f"there is no {patterns[0]} in {folder}.", "Build the models again: terrace models build --out DIR.")
