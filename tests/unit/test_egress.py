"""A picture that left its region is found, whichever way it was packed; what has no picture in it is not accused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard

from region.egress import search
from region.vault import Incoming, Vault
from shared.vision.picture import decode
from shared.vision.picture import encode as encode_picture
from shared.wire.messages import Case, Prediction, encode

PIXELS = np.random.default_rng(7).integers(0, 255, (48, 48, 3), dtype=np.uint8)
PICTURE = encode_picture(PIXELS, quality=80)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    prediction = Prediction(index=0, probabilities=(1.0,))
    case = Case(
        stream="line", frame=1, unit="board-1", captured_at=1.0, reason="margin", is_audit=False, score=0.1, threshold=1.0, release=1,
        prediction=prediction, picture=PICTURE,
    )  # fmt: skip
    vault.store([Incoming(device="edge-1.region-1", spool=bytes(16), sequence=1, payload=encode(case), case=case, received_at=1.0)])
    yield vault
    vault.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"weights" + PICTURE.data + b"more",
        zstandard.compress(b"weights" + PICTURE.data),
        b"header" + decode(PICTURE).tobytes(),
        PICTURE.data[len(PICTURE.data) // 3 :],
    ],
    ids=["inside", "inside zstd", "raw pixels", "the last two thirds"],
)
def test_a_picture_in_a_body_is_found(vault: Vault, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "egress").mkdir()
    (tmp_path / "egress" / "1.body").write_bytes(body)
    assert search(vault, tmp_path / "egress").pictures_found == 1


def test_weights_and_counts_are_not_accused(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "egress").mkdir()
    (tmp_path / "egress" / "1.body").write_bytes(np.random.default_rng(1).normal(size=50_000).astype(np.float32).tobytes())
    found = search(vault, tmp_path / "egress")
    assert (found.pictures, found.pictures_found, found.bodies) == (1, 0, 1)


def test_no_record_means_no_bodies(vault: Vault, tmp_path: Path) -> None:
    assert search(vault, tmp_path / "nothing").bodies == 0
