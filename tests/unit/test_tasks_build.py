"""Builds of detectors and segmenters: from splits to releases, killed on the way, with INT8 that still finds what FP32 found."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from cloud.foundry import boards, detection, detectortraining, finding, outlines, segmentation, teaching
from cloud.foundry.build import SPLITS, Built
from cloud.foundry.cli import app
from cloud.foundry.schooling import DetectorPlan, Schooling, SegmenterPlan, crops_at
from cloud.foundry.tail import after_convolutions
from cloud.foundry.workbench import Workbench
from provisioning.sources import boxed, masked
from shared.engines.admission import admit
from shared.errors import InputError
from shared.learning import course, detector, segmenter
from shared.release.card import decode_card
from shared.vision.boxes import Detections
from shared.vision.tasks.precision import Truth
from tests.plates import NAMES, plates

COUNTS = {"seed": 24, "calibration": 16, "policy-fit": 24, "policy-test": 24}
QUICK = Schooling(steps=4)


class Killed(BaseException):
    """Ends a build in the middle, as a signal would."""


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own and networks of a few thousand parameters."""
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path / "cache"))
    tiny = detector.Widths((16, 16, 32, 32, 32), 0, 0, 32)
    monkeypatch.setattr(detector, "FAMILIES", dict.fromkeys(("student", "expert"), lambda classes: detector.Detector(classes, tiny)))
    monkeypatch.setattr(segmenter, "FAMILIES", dict.fromkeys(("student", "expert"), lambda classes: segmenter.Segmenter(classes, (16, 16))))
    return tmp_path


def with_boxes(folder: Path) -> Path:
    folder.mkdir()
    for seed, (name, count) in enumerate(COUNTS.items()):
        one = plates(count, seed=seed)
        pool = boxed.Boxed(
            frames=one.frames,
            boxes=one.boxes,
            classes=one.classes,
            pictures=one.pictures,
            units=np.array([f"{name}-{index}" for index in range(count)]),
            groups=np.full(count, "seen"),
            names=NAMES,
        )
        boxed.save(folder / f"{name}.npz", pool)
    return folder


def with_masks(folder: Path) -> Path:
    folder.mkdir()
    for seed, (name, count) in enumerate(COUNTS.items()):
        one = plates(count, side=48, seed=seed, blocks=1)
        masks = (one.frames[..., 0] > 200).astype(np.uint8)
        units = np.array([f"{name}-{index}" for index in range(count)])
        pool = masked.Masked(frames=np.repeat(one.frames, 3, axis=3), masks=masks, units=units, names=("none", "bright"))
        masked.save(folder / f"{name}.npz", pool)
    return folder


def check_release(done: Built, task: str) -> None:
    for card in (done.student, done.expert):
        file = done.folder / card.model / "000001.card.json"
        assert decode_card(file.read_bytes()) == card
        assert card.task == task
        data = file.with_name("000001.onnx").read_bytes()
        admit(data)
        assert card.self_test.frames().shape == card.self_test.shape
        assert np.isfinite(card.self_test.logits).all()
    assert (done.folder / "student" / "000001.npz").is_file()


def test_a_detectors_build_that_was_killed_goes_on_and_leaves_releases(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = with_boxes(small / "data")
    plan = DetectorPlan(student=Schooling(steps=80, rate=1e-2), expert=QUICK, crop_px=64, batch=8, threads=1)
    once = course.run

    def killed(*given: object, **named: object) -> None:
        raise Killed

    monkeypatch.setattr(course, "run", killed)
    with pytest.raises(Killed):
        detection.build("deeppcb", small / "out", say=quiet, plan=plan, prepared=prepared)
    assert not (small / "out").exists()
    monkeypatch.setattr(course, "run", once)
    told: list[str] = []
    done = detection.build("deeppcb", small / "out", say=told.append, plan=plan, prepared=prepared)
    check_release(done, "detection")
    reached = done.student.lineage.figures
    assert reached["student_fp32_map_50"] > 0.3
    assert abs(reached["int8_map_50_drop"]) < 0.15
    assert done.student.calibration is not None
    assert done.student.detection is not None
    again: list[str] = []
    assert detection.build("deeppcb", small / "out", say=again.append, plan=plan, prepared=prepared).student.labels == NAMES
    assert sum("kept from an earlier build" in line for line in again) == 3


def test_a_student_is_there_to_be_measured_before_its_expert_is_trained(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = with_boxes(small / "data")
    plan = DetectorPlan(student=QUICK, expert=QUICK, crop_px=64, batch=8, threads=1)
    with pytest.raises(InputError, match="there is no detector"):
        detection.finished_student("deeppcb", say=quiet, plan=plan, prepared=prepared)
    once = detectortraining.train

    def killed_at_the_expert(folder: Path, family: str, *given: Any) -> None:
        if family == "expert":
            raise Killed
        once(folder, family, *given)

    monkeypatch.setattr(detectortraining, "train", killed_at_the_expert)
    with pytest.raises(Killed):
        detection.build("deeppcb", small / "out", say=quiet, plan=plan, prepared=prepared)
    onnx, folder = detection.finished_student("deeppcb", say=quiet, plan=plan, prepared=prepared)
    assert onnx.is_file()
    assert folder == prepared


def test_a_segmenters_build_leaves_releases(small: Path) -> None:
    plan = SegmenterPlan(student=Schooling(steps=30, rate=1e-2), expert=QUICK, batch=8, threads=1)
    done = segmentation.build("line", small / "out", say=quiet, plan=plan, prepared=with_masks(small / "data"))
    check_release(done, "segmentation")
    assert done.student.lineage.figures["student_fp32_mean_iou"] > 0.6
    assert abs(done.student.lineage.figures["int8_mean_iou_drop"]) < 0.1


def test_two_builds_do_not_train_the_same_network_at_once(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, quiet)

    def make(folder: Path) -> None:
        with pytest.raises(InputError, match="another process is making"):
            Workbench(tmp_path, quiet).resumed("network", b"key", lambda made: None)
        (folder / "kept").touch()
        raise Killed

    with pytest.raises(Killed):
        bench.resumed("network", b"key", make)
    done = bench.resumed("network", b"key", lambda folder: (folder / "made").touch())
    assert sorted(path.name for path in done.iterdir()) == ["kept", "made"]


def test_int8_ends_with_the_last_convolutions(small: Path) -> None:
    plan = DetectorPlan(student=QUICK, expert=QUICK, crop_px=32, batch=4, threads=1)
    data = boards.load(with_boxes(small / "data") / "seed.npz")
    detectortraining.train(small, "student", data, plan, quiet)
    graph = onnx.load(small / "student.onnx")
    left = set(after_convolutions(graph))
    kinds = {node.op_type for node in graph.graph.node if node.name in left}
    assert {"Sigmoid", "Exp", "Concat"} <= kinds
    assert not kinds & {"Conv", "Relu", "Resize"}
    assert not (small / teaching.STATE).exists()


def test_the_last_steps_see_large_crops() -> None:
    plan = DetectorPlan(student=Schooling(steps=100))
    assert crops_at(0, plan, "student") == (192, 16)
    assert crops_at(84, plan, "student") == (192, 16)
    assert crops_at(85, plan, "student") == (384, 4)


def test_figures_of_a_perfect_and_of_a_blind_detector() -> None:
    truth = [Truth(boxes=np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), classes=np.array([0, 1]))]
    perfect = [Detections(boxes=truth[0].boxes, scores=np.array([0.9, 0.42], np.float32), classes=truth[0].classes)]
    blind = [one.take(np.zeros(0, np.int64)) for one in perfect]
    assert finding.figures(perfect, truth, 0.4) == {"map_50": 1, "map_50_95": 1, "f1": 1, "missed_things": 0, "missed_pictures": 0}
    assert finding.figures(perfect, truth, 0.5)["missed_things"] == 0.5
    assert finding.figures(blind, truth, 0.5) == {"map_50": 0, "map_50_95": 0, "f1": 0, "missed_things": 1, "missed_pictures": 1}
    assert finding.threshold_of(perfect, truth) == pytest.approx(0.05)
    assert finding.right(perfect, truth, 0.4).tolist() == [True]
    assert finding.right(perfect, truth, 0.5).tolist() == [False]


@pytest.mark.parametrize("load", [boards.load, outlines.load])
def test_what_is_no_split_is_refused(load: object, tmp_path: Path) -> None:
    assert callable(load)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "missing.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "torn.npz")


def test_unknown_tasks_and_data_without_the_truth_are_refused(small: Path) -> None:
    assert set(COUNTS) == set(SPLITS)
    runner = CliRunner()
    odd = runner.invoke(app, ["build", "--task", "smelling"])
    assert isinstance(odd.exception, InputError)
    assert "no recipe for the task smelling" in str(odd.exception)
    boxless = runner.invoke(app, ["build", "--task", "detection", "--data", "line"])
    assert isinstance(boxless.exception, InputError)
    assert "line has no truth for detection" in str(boxless.exception)
