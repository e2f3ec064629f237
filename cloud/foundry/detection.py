"""The recipe of a data set's detectors: data, student, expert, INT8, cards. Steps are kept; a training goes on where it was stopped.

Rules, in order:
1. The data come from `terrace provision data --task detection`, a process of its own; splits share no board.
2. Both networks learn from boxes; the student does not learn from the expert.
3. INT8 ends with the last convolutions: boxes in pixels and probabilities share no scale (see quantise).
4. The score from which boxes are told and the deferral threshold are chosen on the policy-fit split. A picture is right when every thing
   on it has a box and every box a thing.
5. Everything that is reported is measured on the policy-test split, which neither trained, calibrated nor chose anything.
6. `out` gets the same files as a classifier's build leaves (see build).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import build as releases
from cloud.foundry import cards, detectortraining, finding, judged, measure, predictions
from cloud.foundry.boards import Boards, load
from cloud.foundry.build import Built, lineage, put, small_student, task_data
from cloud.foundry.judged import Judged
from cloud.foundry.schooling import DetectorPlan
from cloud.foundry.selftest import recorded
from cloud.foundry.workbench import Say, Workbench
from shared.deferral.missed import DEFAULT, SCORES, Candidates
from shared.durable import write
from shared.errors import InputError
from shared.release.card import Card, DetectionSpec, Lineage, sha256
from shared.release.modelcache import cache
from shared.vision.boxes import Detections
from shared.vision.tasks.detection import Detection
from shared.vision.tasks.heads import CLASSES

CALIBRATION_PICTURES = 32
TIMED_PAIRS = 40
SELF_TEST_PICTURES = 2
Found = dict[str, list[Detections]]


class _Networks(msgspec.Struct, frozen=True, kw_only=True):
    """The finished models: the expert, the INT8 student, the same in FP32, and its weights."""

    expert: Path
    student_int8: Path
    student_fp32: Path
    weights: Path


def build(data: str, out: Path, *, say: Say, plan: DetectorPlan | None = None, prepared: Path | None = None) -> Built:
    """Build a data set's detectors.

    Args:
        data: deeppcb.
        out: where the releases go; files of an earlier build are replaced.
        say: told the progress in lines.
        plan: how to train; None takes the usual one.
        prepared: folder with the splits, when they are prepared already.

    Raises:
        InputError: the data set cannot be used, or another process trains the same network.
        StorageError: a folder cannot be written.
    """
    bench = Workbench(cache() / "foundry", say)
    plan = plan or DetectorPlan()
    folder, of_data = task_data(bench, data, "detection", prepared)
    splits = {name: load(folder / f"{name}.npz") for name in releases.SPLITS}
    student, expert = (_trained(bench, family, splits["seed"], plan, of_data) for family in ("student", "expert"))
    fp32 = student / "student.onnx"
    small = _int8(bench, splits["calibration"], fp32)
    files = _Networks(expert=expert / "expert.onnx", student_int8=small, student_fp32=fp32, weights=student / "student.npz")
    say("measuring and writing the cards")
    return _release(out, splits, lineage(data, of_data.decode(), plan), files)


def finished_student(data: str, *, say: Say, plan: DetectorPlan | None = None, prepared: Path | None = None) -> tuple[Path, Path]:
    """Return the INT8 file of a student whose training is finished, its expert's or not, and the folder of the data set's splits.

    Args:
        data: deeppcb.
        say: told the progress in lines.
        plan: how it was trained; None takes the usual one.
        prepared: folder with the splits, when they are prepared already.

    Raises:
        InputError: no such student is finished, or the data set cannot be used.
    """
    bench = Workbench(cache() / "foundry", say)
    missing = InputError(
        f"there is no detector of {data}.", f"Build it: make models DATA={data} TASK=detection (it goes on where it stopped)."
    )
    if not any(bench.folder.glob(f"{_step('student')}-*")):
        raise missing
    folder, of_data = task_data(bench, data, "detection", prepared)
    student = bench.kept(_step("student"), _key(of_data, plan or DetectorPlan(), "student"))
    if student is None:
        raise missing
    return _int8(bench, load(folder / "calibration.npz"), student / "student.onnx"), folder


def _trained(bench: Workbench, family: str, boards: Boards, plan: DetectorPlan, of_data: bytes) -> Path:
    key = _key(of_data, plan, family)
    return bench.resumed(_step(family), key, lambda made: detectortraining.train(made, family, boards, plan, bench.say))


def _step(family: str) -> str:
    return f"{family}-detector"


def _key(of_data: bytes, plan: DetectorPlan, family: str) -> bytes:
    return of_data + msgspec.json.encode(plan) + family.encode() + b"-detector"


def _int8(bench: Workbench, calibration: Boards, fp32: Path) -> Path:
    return small_student(bench, fp32, calibration.evenly(CALIBRATION_PICTURES), calibration.spec)


def _release(out: Path, splits: dict[str, Boards], origin: Lineage, files: _Networks) -> Built:
    """Measure, write the cards and copy the files to where they are shipped from."""
    fit, test = splits["policy-fit"], splits["policy-test"]
    fitted, tested = (_found(files, one) for one in (fit, test))
    thresholds = {name: finding.threshold_of(fitted[name], finding.truths(fit)) for name in fitted}
    at_fit, at_test = _judged(fitted, fit, thresholds), _judged(tested, test, thresholds)
    origin = cards.with_figures(origin, _figures(files, tested, test, thresholds))
    student = msgspec.structs.replace(
        _card("student", files.student_int8, splits["calibration"], origin, thresholds["student_int8"]),
        calibration=judged.calibration(at_fit, at_test, score=DEFAULT),
        deferral_curve=judged.curve(at_test),
    )
    expert = _card("expert", files.expert, splits["calibration"], origin, thresholds["expert"])
    put(out, files.student_int8, student)
    put(out, files.expert, expert)
    write(out / "student" / f"{releases.RELEASE:06d}.npz", files.weights.read_bytes())
    return Built(folder=out, student=student, expert=expert)


def _found(files: _Networks, boards: Boards) -> Found:
    paths = {"student_fp32": files.student_fp32, "student_int8": files.student_int8, "expert": files.expert}
    return {name: finding.detections(path, boards.scenes.frames, boards.spec, len(boards.names)) for name, path in paths.items()}


def _judged(found: Found, boards: Boards, thresholds: Mapping[str, float]) -> Judged:
    """Return how sure the INT8 student looks on each board, and whether it and the expert are right (rule 4)."""
    truth, told = finding.truths(boards), thresholds["student_int8"]
    sure = [SCORES[DEFAULT](Candidates(scores=one.scores, threshold=told)) for one in found["student_int8"]]
    return Judged(
        scores=np.array(sure, np.float64),
        student_right=finding.right(found["student_int8"], truth, told),
        expert_right=finding.right(found["expert"], truth, thresholds["expert"]),
        units=boards.units,
    )


def _card(family: str, onnx: Path, boards: Boards, origin: Lineage, threshold: float) -> Card:
    frames = boards.evenly(SELF_TEST_PICTURES)
    reading = DetectionSpec(head=CLASSES, score_threshold=threshold, doubt_threshold=finding.LOWEST_SCORE)
    task = Detection(labels=len(boards.names), input=boards.spec, spec=reading)
    return Card(
        model=family,
        release=releases.RELEASE,
        labels=boards.names,
        task="detection",
        input=boards.spec,
        self_test=recorded(task.outline(predictions.logits(onnx, frames, boards.spec)), frames),
        lineage=origin,
        onnx_sha256=sha256(onnx.read_bytes()),
        detection=reading,
    )


def _figures(files: _Networks, found: Found, test: Boards, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Return how good the three files are on the policy-test split, and INT8's gain (rule 5)."""
    truth = finding.truths(test)
    reached = {
        f"{name}_{figure}": value
        for name, boxes in found.items()
        for figure, value in finding.figures(boxes, truth, thresholds[name]).items()
    }
    ratio, milliseconds = measure.speedup(files.student_fp32, files.student_int8, test.evenly(8), test.spec, pairs=TIMED_PAIRS)
    drop = reached["student_fp32_map_50"] - reached["student_int8_map_50"]
    return {**reached, "int8_map_50_drop": drop, "int8_speedup": ratio, "int8_latency_ms": milliseconds}
