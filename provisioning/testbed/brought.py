"""A user's releases as what the demo's cloud starts from: the student's, and beside it the expert's.

Rules, in order:
1. A release is a folder with model.onnx and card.json, as `terrace model import` writes it.
2. The expert is the one of `--expert`, else the release's own (its folder `expert`), else there is none: cases are kept and nobody answers.
3. Student and expert name the same things in the same order.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from shared.errors import InputError, TrustError
from shared.release.card import Card, decode_card, encode_card, sha256

MODEL, CARD = "model.onnx", "card.json"
OWN_EXPERT, OWN_EXPERT_CARD = Path("expert") / "model.onnx", Path("expert") / "model.card.json"
REMEDY = "Make one: terrace model import MODEL.onnx --labels LABELS --calibrate FOLDER [--expert BIG.onnx]."


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What was laid out: the folder for `terrace cloud init --models`, the student's card, and the expert's where there is one."""

    folder: Path
    student: Card
    expert: Card | None


def check(model: Path, expert: Path | None) -> None:
    """Say early that a release is none, or that the expert speaks of other things.

    Raises:
        InputError: a folder is no release, or the labels differ.
        TrustError: a card cannot be read, or is another file's.
    """
    _both(model, expert)


def lay_out(model: Path, expert: Path | None, folder: Path) -> Brought:
    """Copy the releases to where the cloud is made from.

    Args:
        model: the student's release.
        expert: the expert's release; None takes the one beside the student, where there is one.
        folder: is made.

    Raises:
        InputError: a folder is no release, or the labels differ.
        TrustError: a card cannot be read, or is another file's.
    """
    student, found = _both(model, expert)
    folder.mkdir(parents=True)
    shutil.copy(model / MODEL, folder / MODEL)
    shutil.copy(model / CARD, folder / CARD)
    if found is None:
        return Brought(folder=folder, student=student, expert=None)
    file, card = found
    (folder / OWN_EXPERT).parent.mkdir()
    shutil.copy(file, folder / OWN_EXPERT)
    (folder / OWN_EXPERT_CARD).write_bytes(encode_card(card))
    return Brought(folder=folder, student=student, expert=card)


def _both(model: Path, expert: Path | None) -> tuple[Card, tuple[Path, Card] | None]:
    student = _card(model / MODEL, model / CARD)
    if expert is not None:
        found = expert / MODEL, _card(expert / MODEL, expert / CARD)
    elif (model / OWN_EXPERT).is_file():
        found = model / OWN_EXPERT, _card(model / OWN_EXPERT, model / OWN_EXPERT_CARD)
    else:
        return student, None
    file, card = found
    if (card.task, card.labels) != (student.task, student.labels):
        told = f"the expert is for {card.task} of {', '.join(card.labels)}; the model for {student.task} of {', '.join(student.labels)}."
        raise InputError(told[:500], "Both must name the same things in the same order.")
    return student, (file, msgspec.structs.replace(card, model="expert"))


def _card(file: Path, beside: Path) -> Card:
    try:
        card, digest = decode_card(beside.read_bytes()), sha256(file.read_bytes())
    except OSError as error:
        raise InputError(f"there is no release in {file.parent}: {error.strerror}: {error.filename}.", REMEDY) from None
    if card.onnx_sha256 != digest:
        raise TrustError(f"{beside} is not the card of {file.name}.", "Copy both files of one release, or import the model again.")
    return card
