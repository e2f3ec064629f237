"""The inspection line: what is drawn is what its label says, again and again, and survives the camera's codec."""

from pathlib import Path

import numpy as np
import pytest

from provisioning.line import video
from provisioning.line.boards import generate
from provisioning.line.cli import app
from provisioning.line.defects import NAMES, NOWHERE, plant
from provisioning.line.geometry import capsule, disc, grid, ray, smooth_noise
from provisioning.line.layout import draw
from provisioning.line.optics import Conditions
from shared.errors import InputError


def parts(copper: np.ndarray) -> int:
    """Count connected areas (8 neighbours) by flooding."""
    left, count = {(int(row), int(column)) for row, column in np.argwhere(copper)}, 0
    while left:
        todo, count = [left.pop()], count + 1
        while todo:
            row, column = todo.pop()
            for near in [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    todo.append(near)
    return count


def planted(kind: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    random = np.random.default_rng(seed)
    while True:
        layout = draw(random, 96)
        before = layout.copper.copy()
        fault = plant(kind, layout, random, smooth_noise(random, 96, 5), 1.3)
        if fault is not None:
            assert np.array_equal(fault.pixels, (before < 0) != (layout.copper < 0))
            return before < 0, layout.copper < 0, fault.middle


def test_shapes_know_their_distance() -> None:
    where = grid(9)
    assert disc(where, (0, 0), 2.0)[4, 4] == -2.0
    assert disc(where, (0, 0), 2.0)[4, 8] == 2.0
    assert capsule(where, (-2, 0), (2, 0), 1.0)[4, 7] == pytest.approx(0.0)
    assert ray(disc(where, (0, 0), 2.5), (4, 4), (1.0, 0.0), 4) == 3
    assert ray(disc(where, (0, 0), 2.5), (4, 4), (1.0, 0.0), 9) == 9, "a ray that leaves the window finds nothing"


def test_the_same_seed_draws_the_same_boards_however_many_follow() -> None:
    few, many = generate(seed=3, boards=2, windows=3), generate(seed=3, boards=4, windows=3)
    assert np.array_equal(few.frames, many.frames[:6])
    assert np.array_equal(generate(seed=3, boards=2, windows=3, first_board=2).frames, many.frames[6:])
    assert not np.array_equal(few.frames, generate(seed=4, boards=2, windows=3).frames)
    assert few.units.tolist() == ["board-3-00000"] * 3 + ["board-3-00001"] * 3
    assert few.frames.shape == (6, 96, 96, 3)
    assert few.frames.dtype == np.uint8


def test_windows_carry_the_wanted_share_of_defects_and_their_place() -> None:
    windows = generate(seed=5, boards=40, windows=6, defect_share=0.5)
    assert 0.38 < (windows.labels > 0).mean() < 0.62
    assert set(windows.labels.tolist()) == set(range(len(NAMES)))
    assert (windows.spots[windows.labels == 0] == NOWHERE).all()
    faulty = windows.spots[windows.labels > 0]
    assert faulty.min() >= 12
    assert faulty.max() < 84
    for label, mask in zip(windows.labels, windows.masks, strict=True):
        assert set(np.unique(mask).tolist()) == {0, int(label)}
    assert generate(seed=5, boards=2, defect_share=0.0).labels.sum() == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", range(1, 7))
def test_a_defect_does_to_the_copper_what_its_name_says(kind: int, seed: int) -> None:
    before, after, spot = planted(kind, 100 * kind + seed)
    grown, etched = after & ~before, before & ~after
    assert not (grown.any() and etched.any())
    rows, columns = np.nonzero(grown | etched)
    assert np.hypot(rows - spot[1], columns - spot[0]).min() < 6
    change = parts(after) - parts(before)
    closed = parts(~after) - parts(~before)
    name = NAMES[kind]
    assert grown.any() == (name in {"short", "spur", "copper"})
    if name == "copper":
        assert change == 1
    if name == "open":
        assert change >= 1 or closed < 0, "cutting a trace parts it, or joins the free areas beside it"
    if name == "short":
        assert change <= -1 or closed > 0
    if name in {"mousebite", "spur"}:
        assert change == 0
        assert closed == 0
    if name == "pinhole":
        assert closed == 1
        assert change == 0


def test_light_blur_and_noise_are_knobs() -> None:
    def sharpness(frames: np.ndarray) -> float:
        return float(np.abs(np.diff(frames[..., 1].astype(float), axis=2) ** 2).mean())

    quiet = Conditions(noise=0.0)
    plain = generate(seed=6, boards=3, windows=4, conditions=quiet)
    dark = generate(seed=6, boards=3, windows=4, conditions=Conditions(noise=0.0, brightness=0.6))
    soft = generate(seed=6, boards=3, windows=4, conditions=Conditions(noise=0.0, blur_px=2.0))
    grainy = generate(seed=6, boards=3, windows=4, conditions=Conditions(noise=20.0))
    assert dark.frames.mean() == pytest.approx(0.6 * plain.frames.mean(), rel=0.05)
    assert sharpness(soft.frames) < 0.75 * sharpness(plain.frames)
    assert sharpness(grainy.frames) > 2 * sharpness(plain.frames)
    assert np.array_equal(plain.labels, dark.labels)


def test_the_video_shows_every_window_once_and_nearly_unchanged(tmp_path: Path) -> None:
    windows = generate(seed=7, boards=3)
    video.write(tmp_path / "stream.mp4", windows.frames)
    decoded = video.read(tmp_path / "stream.mp4")
    assert decoded.shape == windows.frames.shape
    error = np.abs(decoded.astype(int) - windows.frames)
    own = error.mean(axis=(1, 2, 3))
    other = np.abs(np.roll(decoded, 1, axis=0).astype(int) - windows.frames).mean(axis=(1, 2, 3))
    assert own.max() < 8.0, "levels of 255, sensor noise included"
    assert (own < other).all()
    assert np.array_equal(video.through_codec(windows.frames), decoded)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stream.mp4").write_bytes(b"no video" * 100)
    for path in (tmp_path / "stream.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(InputError, match="cannot be read"):
            video.read(path)
    with pytest.raises(InputError, match="cannot be written"):
        video.write(tmp_path / "absent" / "stream.mp4", np.zeros((1, 96, 96, 3), np.uint8))


def test_the_command_writes_a_video_and_its_labels(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["--out", str(tmp_path / "new"), "--frames", "30", "--seed", "9"])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "new" / "labels.npz", allow_pickle=False) as labels:
        assert labels["labels"].shape == labels["units"].shape == (30,)
        assert tuple(labels["names"]) == NAMES
    assert len(video.read(tmp_path / "new" / "stream.mp4")) == 30
