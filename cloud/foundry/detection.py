"""The recipe of a data set's detectors: data, student, expert, INT8, cards. Each step is kept, and each training goes on where it was stopped.

Rules, in order:
1. The data come from `terrace provision data --task detection`, a process of its own; splits share no board.
2. Both networks learn from boxes; the student does not learn from the expert.
3. INT8 ends with the last convolutions: boxes in pixels and probabilities share no scale (see quantise).
4. Everything that is reported is measured on the policy-test split, which neither trained, calibrated nor chose anything.
5. `out` gets the same files as a classifier's build leaves (see build).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.foundry import build as releases
from cloud.foundry import cards, detectortraining, finding, measure
from cloud.foundry.boards import Boards, load
from cloud.foundry.build import Built, lineage, prepared_data, put
from cloud.foundry.detectorplans import DetectorPlan
from cloud.foundry.quantise import quantise
from cloud.foundry.selftest import recorded
from cloud.foundry.workbench import Say, Workbench, digest
from shared.durable import write
from shared.release.card import Card, Lineage, sha256
from shared.release.modelcache import cache

CALIBRATION_PICTURES = 32
TIMED_PAIRS = 40


class _Networks(msgspec.Struct, frozen=True, kw_only=True):
    """The finished models: the expert, the INT8 student, the same in FP32, and its weights."""

    expert: Path
    student: Path
    fp32: Path
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
    folder = prepared or prepared_data(bench, data, task="detection")
    splits = {name: load(folder / f"{name}.npz") for name in releases.SPLITS}
    of_data = digest(*(folder / f"{name}.npz" for name in releases.SPLITS))
    student, expert = (_trained(bench, family, splits["seed"], plan, of_data) for family in ("student", "expert"))
    fp32 = student / "student.onnx"
    small = bench.step("int8", digest(fp32) + b"u8s8-float-tail", lambda made: _quantise(made, splits["calibration"], fp32))
    files = _Networks(expert=expert / "expert.onnx", student=small / "student.onnx", fp32=fp32, weights=student / "student.npz")
    say("measuring and writing the cards")
    return _release(out, splits, lineage(data, of_data.decode(), plan), files)


def _trained(bench: Workbench, family: str, boards: Boards, plan: DetectorPlan, of_data: bytes) -> Path:
    key = of_data + msgspec.json.encode(plan) + family.encode() + b"-detector"
    return bench.resumed(f"{family}-detector", key, lambda made: detectortraining.train(made, family, boards, plan, bench.say))


def _quantise(folder: Path, calibration: Boards, fp32: Path) -> None:
    small = quantise(fp32.read_bytes(), calibration.evenly(CALIBRATION_PICTURES), calibration.spec, float_tail=True)
    write(folder / "student.onnx", small)


def _release(out: Path, splits: dict[str, Boards], origin: Lineage, files: _Networks) -> Built:
    """Measure, write the cards and copy the files to where they are shipped from."""
    origin = cards.with_figures(origin, _figures(files, splits["policy-test"]))
    student = _card("student", files.student, splits["calibration"], origin)
    expert = _card("expert", files.expert, splits["calibration"], origin)
    put(out, files.student, student)
    put(out, files.expert, expert)
    write(out / "student" / f"{releases.RELEASE:06d}.npz", files.weights.read_bytes())
    return Built(folder=out, student=student, expert=expert)


def _card(family: str, onnx: Path, boards: Boards, origin: Lineage) -> Card:
    """Return a detector's card. It holds no threshold yet, so devices audit only (see the card's calibration)."""
    return Card(
        model=family,
        release=releases.RELEASE,
        labels=boards.names,
        task="detection",
        input=boards.spec,
        self_test=recorded(onnx, boards.evenly(1), boards.spec),
        lineage=origin,
        onnx_sha256=sha256(onnx.read_bytes()),
    )


def _figures(files: _Networks, test: Boards) -> dict[str, float]:
    """Return what the three files find on the policy-test split, and INT8's gain (rule 4)."""
    spec, truth, labels = test.spec, finding.truths(test), len(test.names)
    reached = {}
    for name, path in (("student_fp32", files.fp32), ("student_int8", files.student), ("expert", files.expert)):
        found = finding.detections(path, test.scenes.frames, spec, labels)
        reached.update({f"{name}_{figure}": value for figure, value in finding.figures(found, truth).items()})
    ratio, milliseconds = measure.speedup(files.fp32, files.student, test.evenly(8), spec, pairs=TIMED_PAIRS)
    drop = reached["student_fp32_map_50"] - reached["student_int8_map_50"]
    return {**reached, "int8_map_50_drop": drop, "int8_speedup": ratio, "int8_latency_ms": milliseconds}
