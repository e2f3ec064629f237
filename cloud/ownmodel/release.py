"""A release on disk: model.onnx with card.json, as an import writes it, or the two files of `terrace models build`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry.predictions import logits
from shared.errors import InputError, TrustError
from shared.release.card import Card, decode_card, sha256
from shared.vision.tasks.task import task_of


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The model's file and its card."""

    file: Path
    card: Card


def read(folder: Path) -> Release:
    """Read a release.

    Args:
        folder: with model.onnx and card.json, or with one NUMBER.onnx or more and their NUMBER.card.json, of which the last is taken.

    Raises:
        InputError: there is none.
        TrustError: the card cannot be read, or is another file's.
    """
    pairs = [(folder / "model.onnx", folder / "card.json")]
    pairs += [(path, path.with_suffix(".card.json")) for path in sorted(folder.glob("*.onnx"), reverse=True)]
    for file, beside in pairs:
        if file.is_file() and beside.is_file():
            card = decode_card(beside.read_bytes())
            if card.onnx_sha256 != sha256(file.read_bytes()):
                raise TrustError(f"{beside} is not the card of {file.name}.", "Copy both files of one release, or import the model again.")
            return Release(file=file, card=card)
    raise InputError(f"there is no release in {folder}.", "Give a folder that `terrace model import` wrote.")


def self_tested(found: Release) -> str:
    """Run the card's self-test and say that it passed.

    Raises:
        TrustError: the model does not say what its card promises.
    """
    promised = np.asarray(found.card.self_test.logits, np.float32)
    said = task_of(found.card).outline(logits(found.file, found.card.self_test.frames(), found.card.input))
    if promised.shape != said.shape or float(np.abs(promised - said).max()) > found.card.self_test.tolerance:
        raise TrustError(f"{found.file} does not answer as its card promises.", "Import the model again on this kind of machine.")
    return f"self-test: {len(promised)} pictures answered as the card promises"
