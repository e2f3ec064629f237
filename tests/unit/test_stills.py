"""Picture files as people have them: what is one is read right, what is none is refused by name, and reading one touches nothing else."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.ownmodel import album
from edge.sources.folder import FolderSource
from edge.sources.replay import ReplaySource
from shared.errors import InputError
from shared.release.card import InputSpec
from shared.vision import stills

RAMP = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
EIGHT = (RAMP >> 8).astype(np.uint8)


def save(folder: Path, kind: str) -> Path:
    """Write a picture of the ramp in one of the forms people have."""
    file = folder / "a.png"
    if kind == "cmyk":
        Image.fromarray(EIGHT).convert("RGB").convert("CMYK").save(file, "JPEG", quality=95)
    elif kind == "sixteen bits":
        Image.fromarray(RAMP).save(file)
    elif kind == "animated":
        later = Image.new("L", (64, 48), 255)
        Image.fromarray(EIGHT).save(file, "WEBP", save_all=True, append_images=[later], lossless=True)
    elif kind == "palette":
        Image.fromarray(EIGHT).convert("P").save(file)
    elif kind == "transparent":
        Image.merge("RGBA", [Image.fromarray(EIGHT)] * 3 + [Image.new("L", (64, 48), 128)]).save(file)
    return file


@pytest.mark.parametrize("kind", ["cmyk", "sixteen bits", "animated", "palette", "transparent"])
def test_every_form_of_a_picture_shows_the_same(tmp_path: Path, kind: str) -> None:
    found = stills.read(save(tmp_path, kind))
    assert (found.shape, found.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(found.astype(int) - EIGHT[..., None]).max() <= 6


@pytest.mark.parametrize("damage", ["empty", "cut", "words", "another format", "a hundred megapixels"])
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    file = save(tmp_path, "palette")
    if damage == "another format":
        Image.fromarray(EIGHT).save(file, "TIFF")
    elif damage == "a hundred megapixels":
        Image.new("1", (10_000, 10_000)).save(file)
    else:
        file.write_bytes({"empty": b"", "cut": file.read_bytes()[:600], "words": b"<html>not found</html>"}[damage])
    with pytest.raises(InputError, match=r"a\.png") as caught:
        stills.read(file)
    assert caught.value.remedy
    with pytest.raises(InputError, match=r"a\.png"):
        album.picture(file, InputSpec(width=8, height=8))


def test_reading_a_picture_changes_nothing_for_other_threads(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (2000, 2000, 3), np.uint8)).save(tmp_path / "c" / "large.png")
    source = FolderSource(tmp_path)
    source.open()
    reader = threading.Thread(target=lambda: list(source.shots(0)))
    before = list(warnings.filters)
    reader.start()
    changed = 0
    while reader.is_alive():
        changed += list(warnings.filters) != before
    assert changed == 0


def test_a_file_name_that_is_no_text_names_its_unit_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    file = save(tmp_path, "palette")
    file.rename(os.fsdecode(os.fsencode(tmp_path / "c") + b"/bad\xff.png"))
    source = FolderSource(tmp_path)
    source.open()
    assert [shot.unit for shot in source.shots(0)] == ["c/bad\\udcff.png"]


def test_a_data_set_of_empty_pictures_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", frames=np.zeros((5, 0, 4, 3), np.uint8))
    with pytest.raises(InputError, match="does not hold"):
        ReplaySource(tmp_path / "d.npz").open()
