"""The recipe of a data set's segmenters: data, student, expert, INT8, cards. Steps are kept; a training goes on where it was stopped.

Rules, in order:
1. The data come from `terrace provision data --task segmentation`, a process of its own; splits share no board.
2. Both networks learn from masks, with Dice and focal loss.
3. Everything that is reported is measured on the policy-test split, which neither trained, calibrated nor chose anything.
4. `out` gets the same files as a classifier's build leaves (see build).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch

from cloud.foundry import build as releases
from cloud.foundry import cards, measure, outlines, predictions
from cloud.foundry.build import Built, lineage, put, small_student, task_data
from cloud.foundry.outlines import Outlines
from cloud.foundry.schooling import SegmenterPlan
from cloud.foundry.selftest import recorded
from cloud.foundry.teaching import teach
from cloud.foundry.workbench import Say, Workbench
from shared.durable import write
from shared.learning import maskloss, segmenter
from shared.learning.loop import tensor
from shared.learning.masked import varied
from shared.release.card import Card, Lineage, sha256
from shared.release.modelcache import cache
from shared.vision.tasks.segmentation import Segmentation

CALIBRATION_PICTURES = 128
TIMED_PAIRS = 100
SELF_TEST_PICTURES = 4


def build(data: str, out: Path, *, say: Say, plan: SegmenterPlan | None = None, prepared: Path | None = None) -> Built:
    """Build a data set's segmenters.

    Args:
        data: line.
        out: where the releases go; files of an earlier build are replaced.
        say: told the progress in lines.
        plan: how to train; None takes the usual one.
        prepared: folder with the splits, when they are prepared already.

    Raises:
        InputError: the data set cannot be used, or another process trains the same network.
        StorageError: a folder cannot be written.
    """
    bench = Workbench(cache() / "foundry", say)
    plan = plan or SegmenterPlan()
    folder, of_data = task_data(bench, data, "segmentation", prepared)
    splits = {name: outlines.load(folder / f"{name}.npz") for name in releases.SPLITS}
    student, expert = (_trained(bench, family, splits["seed"], plan, of_data) for family in ("student", "expert"))
    fp32 = student / "student.onnx"
    small = small_student(bench, fp32, splits["calibration"].evenly(CALIBRATION_PICTURES), splits["calibration"].spec)
    files = {"student_fp32": fp32, "student_int8": small, "expert": expert / "expert.onnx"}
    say("measuring and writing the cards")
    built = _release(out, splits, lineage(data, of_data.decode(), plan), files)
    write(out / "student" / f"{releases.RELEASE:06d}.npz", (student / "student.npz").read_bytes())
    return built


def _trained(bench: Workbench, family: str, seed: Outlines, plan: SegmenterPlan, of_data: bytes) -> Path:
    key = of_data + msgspec.json.encode(plan) + family.encode() + b"-segmenter"
    return bench.resumed(f"{family}-segmenter", key, lambda made: train(made, family, seed, plan, bench.say))


def train(folder: Path, family: str, pictures: Outlines, plan: SegmenterPlan, say: Say) -> None:
    """Train a segmenter, from where an earlier call was stopped; leaves `<family>.npz` and `<family>.onnx`, both FP32.

    Args:
        folder: where an earlier call's `training.pt` may lie.
        family: student or expert.
        pictures: the seed split.
        plan: how.
        say: told the progress in lines.
    """
    model = segmenter.build(family, len(pictures.names), seed=plan.seed)

    def loss_of(step: int) -> torch.Tensor:
        batch = varied(pictures.samples, count=plan.batch, turning=plan.turning, random=np.random.default_rng([plan.seed, step]))
        return maskloss.loss(model(tensor(batch.frames)), torch.from_numpy(batch.masks.astype(np.int64)))

    teach(folder, family, model, loss_of, plan, side=pictures.spec.width, say=say)


def _release(out: Path, splits: dict[str, Outlines], origin: Lineage, files: dict[str, Path]) -> Built:
    """Measure, write the cards and copy the files to where they are shipped from."""
    test = splits["policy-test"]
    reached = {f"{name}_{figure}": value for name, path in files.items() for figure, value in outlines.figures(path, test).items()}
    ratio, milliseconds = measure.speedup(files["student_fp32"], files["student_int8"], test.evenly(16), test.spec, pairs=TIMED_PAIRS)
    drop = reached["student_fp32_mean_iou"] - reached["student_int8_mean_iou"]
    origin = cards.with_figures(origin, {**reached, "int8_mean_iou_drop": drop, "int8_speedup": ratio, "int8_latency_ms": milliseconds})
    student = _card("student", files["student_int8"], splits["calibration"], origin)
    expert = _card("expert", files["expert"], splits["calibration"], origin)
    put(out, files["student_int8"], student)
    put(out, files["expert"], expert)
    return Built(folder=out, student=student, expert=expert)


def _card(family: str, onnx: Path, pictures: Outlines, origin: Lineage) -> Card:
    """Return a segmenter's card. It holds no threshold yet, so devices audit only (see the card's calibration)."""
    frames = pictures.evenly(SELF_TEST_PICTURES)
    task = Segmentation(labels=len(pictures.names))
    return Card(
        model=family,
        release=releases.RELEASE,
        labels=pictures.names,
        task="segmentation",
        input=pictures.spec,
        self_test=recorded(task.outline(predictions.logits(onnx, frames, pictures.spec)), frames),
        lineage=origin,
        onnx_sha256=sha256(onnx.read_bytes()),
    )
