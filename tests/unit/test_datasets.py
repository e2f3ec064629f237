"""Data sets: splits share no unit, streams are what models never saw, and what cannot be used says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from provisioning import datasets
from provisioning.line import video
from provisioning.sources import deeppcb
from provisioning.sources.cli import app
from provisioning.sources.pool import in_unit_order, part_of, split
from shared.errors import InputError


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def a_folder(path: Path, classes: int = 3, pictures: int = 40) -> Path:
    random = np.random.default_rng(0)
    for label in range(classes):
        (path / f"class-{label}").mkdir(parents=True)
        for index in range(pictures):
            pixels = random.integers(0, 255, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(path / f"class-{label}" / f"board{index // 2}__{index}.png")
    return path


def tiny_deeppcb(path: Path, boards: int = 40) -> Path:
    random, boxes = np.random.default_rng(0), []
    bits = np.kron(random.integers(0, 2, (boards, 20, 20), np.uint8), np.ones((1, 32, 32), np.uint8))
    for board in range(boards):
        for kind in range(1, 7):
            x, y = (int(value) for value in random.integers(0, 600, 2))
            boxes.append([board, x, y, x + 35, y + 30, kind])
    split_of = np.array([0] * (boards - 12) + [1] * 12, np.uint8)
    names = [f"group{20085 if board < boards - 6 else 12000}/x/{board:08d}" for board in range(boards)]
    classes = np.array(["normal", "open", "short", "mousebite", "spur", "copper", "pinhole"])
    packed = np.packbits(bits, axis=2)
    boxes_array = np.array(boxes, np.int16)
    np.savez(path / deeppcb.FILE, test=packed, template=packed, boxes=boxes_array, name=np.array(names), split=split_of, classes=classes)
    return path


@given(st.text(min_size=1), st.sampled_from(["", "again"]))
def test_a_unit_lands_in_one_split_for_ever(unit: str, salt: str) -> None:
    shares = {"a": 0.5, "b": 0.5}
    assert part_of(unit, shares, salt) == part_of(unit, shares, salt)
    assert part_of(unit, {"all": 1.0}, salt) == "all"


def test_splits_share_no_unit_and_keep_their_shares() -> None:
    units = np.array([f"u{index // 3}" for index in range(3000)])
    parts = split(units, {"seed": 0.7, "test": 0.3})
    assert not set(units[parts["seed"]]) & set(units[parts["test"]])
    assert sum(len(part) for part in parts.values()) == 3000
    assert len(parts["seed"]) / 3000 == pytest.approx(0.7, abs=0.05)
    order = in_unit_order(units, 1)
    assert sorted(order.tolist()) == list(range(3000))
    assert (np.diff(units[order].astype("U").view(np.ndarray) == units[order][0]) != 0).sum() <= 2, "a unit's pictures stay together"


def test_the_line_writes_disjoint_splits_and_a_video_of_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets,
        "LINE_SPLITS",
        {name: datasets.LineSplit(seed=how.seed, boards=4, windows=2) for name, how in datasets.LINE_SPLITS.items()},
    )
    prepared = datasets.prepare("line", tmp_path, wanted=(*datasets.SPLITS, "streams"), streams=2, frames_per_stream=30, seed_boards=3)
    contents = [load(path) for path in [*prepared.splits.values(), *(stream.frames for stream in prepared.streams)]]
    units = [set(content["units"].tolist()) for content in contents]
    assert len(set.union(*units)) == sum(len(one) for one in units), "no unit twice"
    assert len(contents[0]["labels"]) == 6
    for stream in prepared.streams:
        content = load(stream.frames)
        assert len(content["labels"]) == len(content["units"]) == 30
        assert stream.video is not None
        assert np.array_equal(video.read(stream.video), content["frames"])
    assert prepared.names == tuple(contents[0]["names"])


def test_deeppcb_streams_come_from_the_official_test_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_DATA", str(tiny_deeppcb(tmp_path)))
    prepared = datasets.prepare("deeppcb", tmp_path / "out", wanted=(*datasets.SPLITS, "streams"), streams=2, frames_per_stream=50)
    streams = [load(stream.frames) for stream in prepared.streams]
    assert {group for stream in streams for group in stream["groups"].tolist()} == {"seen", "unseen"}
    known = {unit for path in prepared.splits.values() for unit in load(path)["units"].tolist()}
    assert not known & {unit for stream in streams for unit in stream["units"].tolist()}
    seed = load(prepared.splits["seed"])
    assert seed["frames"].shape[1:] == (96, 96, 3)
    assert set(np.unique(seed["frames"]).tolist()) <= {0, 255}
    assert (seed["spots"][seed["labels"] > 0] >= 0).all()
    assert (seed["spots"][seed["labels"] == 0] == -1).all()


def test_fashion_mnist_streams_come_from_the_test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    arrays = {f"{part}_image": random.integers(0, 255, (200, 28, 28), np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "fashion_mnist_28.npz", train_label=np.arange(200) % 10, test_label=np.arange(200) % 10, **arrays)
    monkeypatch.setenv("TERRACE_DATA", str(tmp_path))
    prepared = datasets.prepare("fashion-mnist", tmp_path / "out", wanted=("seed", "streams"), streams=1, frames_per_stream=80)
    stream = load(prepared.streams[0].frames)
    assert stream["frames"].shape == (80, 28, 28, 3)
    assert all(unit.startswith("test-") for unit in stream["units"].tolist())


def test_a_folder_with_one_sub_folder_per_class(tmp_path: Path) -> None:
    prepared = datasets.prepare(a_folder(tmp_path / "mine"), tmp_path / "out", wanted=(*datasets.SPLITS, "streams"), streams=1)
    assert prepared.names == ("class-0", "class-1", "class-2")
    parts = [load(path) for path in [*prepared.splits.values(), prepared.streams[0].frames]]
    assert sum(len(part["labels"]) for part in parts) == 120
    units = [set(part["units"].tolist()) for part in parts]
    assert len(set.union(*units)) == sum(len(one) for one in units) == 20, "the part before __ names the unit"
    assert parts[0]["frames"].shape[1:] == (96, 96, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda path: path / "absent", "there is no folder"),
        (lambda path: a_folder(path / "one", classes=1), "has 1 sub-folders"),
        (lambda path: a_folder(path / "few", pictures=3), "holds 3 pictures"),
        (lambda path: spoiled(a_folder(path / "bad")), "cannot be read"),
    ],
)
def test_an_unusable_folder_says_why(tmp_path: Path, build: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        datasets.prepare(build(tmp_path), tmp_path / "out")
    assert caught.value.remedy


def spoiled(folder: Path) -> Path:
    (folder / "class-1" / "zzz.png").write_bytes(b"\x89PNG no picture")
    return folder


@pytest.mark.parametrize("data", ["deeppcb", "fashion-mnist"])
def test_a_missing_data_set_names_the_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.setenv("TERRACE_DATA", str(tmp_path))
    with pytest.raises(InputError, match="cannot be read") as caught:
        datasets.prepare(data, tmp_path / "out")
    assert "TERRACE_DATA" in caught.value.remedy


def test_the_command_writes_what_is_asked_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    mine = a_folder(tmp_path / "mine")
    wanted = ["--data", str(mine), "--out", str(tmp_path / "out"), "--split", "policy-test"]
    result = CliRunner().invoke(app, wanted)
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["policy-test.npz"]
    refused = CliRunner().invoke(app, [*wanted, "--split", "everything"])
    assert isinstance(refused.exception, InputError)
    assert "policy-fit" in refused.exception.remedy
