"""What a folder of built models holds, found by name: what `terrace cloud init` imports.

student/000001.onnx, student/000001.card.json     the first student; its fp32 weights are student/000001.npz or student.npz
expert/000001.onnx, expert/000001.card.json       the expert, for regions
replay/000001.npz or replay.npz                   pictures of the seed set, for regions to replay
seed.npz, calibration.npz                         what the cloud's foundry teaches and calibrates on; without them the replay set

or the release of a user's own model, as `terrace model import` leaves it:

model.onnx, card.json                             the first student; it has no weights, so no round can be made with it
expert/model.onnx, expert/model.card.json         the expert, where there is one
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.errors import InputError, TrustError
from shared.release.card import Card, decode_card, sha256


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One family's files."""

    family: str
    release: int
    onnx: Path
    card_bytes: bytes
    card: Card


class Imports(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in the folder; only a user's own model may have no `expert` and has no `weights`."""

    student: Model
    expert: Model | None
    weights: Path | None
    replay: Path | None
    seed: Path | None
    calibration: Path | None

    @property
    def data(self) -> str:
        """Name of the data set the models were built from, as a card's lineage says."""
        return (self.expert or self.student).card.lineage.data.partition(":")[0]

    @property
    def models(self) -> list[Model]:
        """The families that are there."""
        return [self.student] if self.expert is None else [self.student, self.expert]


def find(folder: Path) -> Imports:
    """Look through a folder of built models.

    Raises:
        InputError: something is missing; names the file.
        TrustError: a card cannot be read, or is another file's.
    """
    if not folder.is_dir():
        raise InputError(f"there is no models folder {folder}.", "Build one with: terrace models build --out DIR.")
    if (folder / "model.onnx").is_file():
        return _own(folder)
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


def _own(folder: Path) -> Imports:
    """Return what `terrace model import` wrote."""
    expert = folder / "expert" / "model.onnx"
    return Imports(
        student=_read("student", folder / "model.onnx", folder / "card.json"),
        expert=_read("expert", expert, expert.with_suffix(".card.json")) if expert.is_file() else None,
        weights=None,
        replay=None,
        seed=None,
        calibration=None,
    )


def _optional(path: Path) -> Path | None:
    return path if path.exists() else None


def _model(folder: Path, family: str) -> Model:
    onnx = _first(folder, f"{family}/*.onnx")
    return _read(family, onnx, onnx.with_suffix(".card.json"))


def _read(family: str, onnx: Path, beside: Path) -> Model:
    if not beside.exists():
        raise InputError(f"there is no card {beside} beside the model.", "Build the models again: terrace models build --out DIR.")
    data = beside.read_bytes()
    card = decode_card(data)
    if card.onnx_sha256 and card.onnx_sha256 != sha256(onnx.read_bytes()):
        raise TrustError(f"{beside} is not the card of {onnx.name}.", "Copy both files of one release, or make the release again.")
    return Model(family=family, release=card.release, onnx=onnx, card_bytes=data, card=card)


def _first(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[-1]
    raise InputError(f"there is no {patterns[0]} in {folder}.", "Build the models again: terrace models build --out DIR.")
