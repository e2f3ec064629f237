"""The recipe of `terrace model import --task detection`: a user's detector becomes a release; importing's rules, with boxes for classes.

Rules, in order:
1. A picture is right when every thing on it has a told box and every told box a thing. What is on a picture is said by files beside it
   (boxfiles), else by the expert; with neither there is no calibration.
2. The score from which boxes are told is the one with the best F1, found for each model on the pictures that choose.
3. INT8 ends with the last convolutions, since boxes in pixels and probabilities share no scale. It serves when it loses at most
   judgement.LARGEST_DROP of mean average precision.
4. The normalisation is 0 to 1 unless another is said, and frames are letterboxed on grey: nearly all detectors are exported so. Boxes are
   compared on the picture stretched to the student's input, wherever either model saw it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from cloud.foundry import finding, judged, predictions, selftest
from cloud.foundry.judged import Judged
from cloud.foundry.workbench import Say, Workbench, digest
from cloud.ownmodel import album, boxfiles, judgement, latency, models, releasing, shares, smaller
from cloud.ownmodel.album import Album
from cloud.ownmodel.judgement import LARGEST_DROP
from cloud.ownmodel.models import Brought
from cloud.ownmodel.normalisation import AUTO, UNIT
from cloud.ownmodel.orders import Imported, Order
from cloud.ownmodel.shares import Indices, Shares
from shared.deferral.missed import DEFAULT, SCORES, Candidates
from shared.errors import EngineError, InputError
from shared.release.card import Card, DetectionSpec, schema_of, sha256
from shared.release.modelcache import cache
from shared.vision.boxes import Detections
from shared.vision.fit import on_frame
from shared.vision.preprocess import prepare
from shared.vision.tasks.detection import Detection
from shared.vision.tasks.precision import Truth, mean_average_precision

SELF_TEST_PICTURES = 2
USUAL_THRESHOLD = 0.25
POOR = 0.1
"""Of mean average precision: a detector below is most likely fed or labelled otherwise than it was trained."""
CHUNK = 16
SHARES_OF_PICTURE = 2.0
"""Boxes that never reach further than this many pixels are shares of the picture, not pixels."""
Found = list[Detections]
_Item = TypeVar("_Item")


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    """A detector on the user's pictures: what it finds in the student's pixels, and the score from which its boxes are told."""

    file: Path
    found: Found
    threshold: float


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures, what they are for and what is on them; `known` where files say so."""

    album: Album
    shares: Shares
    truth: list[Truth]
    known: bool


def import_detector(order: Order, say: Say) -> Imported:
    """Make a release of a user's detector; see importing.import_model."""
    if not order.names:
        raise InputError("a detector needs the names of its classes.", "Give them with --labels, one per line in the model's order.")
    bench = Workbench(cache() / "own", say)
    pictures = album.find(boxfiles.images(order.pictures), order.names)
    dealt = shares.dealt(pictures.units)
    student = models.brought(bench, order.model, order.wanted(), pictures, dealt.ranges, _normalisation(order.normalise))
    found = _found(bench, student, student.file, pictures)
    expert, seen = _expert(bench, order, pictures, dealt, student)
    known = boxfiles.truths(pictures.files, classes=len(order.names), width=student.spec.width, height=student.spec.height)
    scene = _Scene(album=pictures, shares=dealt, truth=known or _from(seen or found, USUAL_THRESHOLD), known=known is not None)
    fp32 = _told(scene, student.file, found)
    chosen, int8, reason = _precision(bench, order, scene, student, fp32)
    say("measuring latency")
    timed = np.asarray(student.frames[:4])
    times = latency.of_profiles(student.file, int8, [prepare(one[None], student.spec) for one in timed], order.profiles)
    say("writing the release")
    judges = None if expert is None or seen is None else _told(scene, expert.file, seen)
    return _written(order, scene, student, _Made(chosen=chosen, fp32=fp32, expert=expert, judges=judges, reason=reason, times=tuple(times)))


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    """The student as released and in full precision, the expert as a file and as a judge, and why this precision."""

    chosen: _Model
    fp32: _Model
    expert: Brought | None
    judges: _Model | None
    reason: str
    times: tuple[latency.Latency, ...]


def _normalisation(asked: str) -> str:
    return UNIT if asked == AUTO else asked


def _expert(bench: Workbench, order: Order, pictures: Album, dealt: Shares, student: Brought) -> tuple[Brought | None, Found | None]:
    if order.expert is None:
        return None, None
    expert = models.brought(bench, order.expert, order.wanted_expert(), pictures, dealt.ranges, _normalisation(order.expert_normalise))
    across, down = student.spec.width / expert.spec.width, student.spec.height / expert.spec.height
    return expert, [one.scaled(horizontally=across, vertically=down) for one in _found(bench, expert, expert.file, pictures)]


def _found(bench: Workbench, model: Brought, file: Path, pictures: Album) -> Found:
    """Return what a detector finds in every picture, in pixels of the picture stretched to its input; kept by content hash."""

    def make(folder: Path) -> None:
        say = models.counting(bench.say, f"boxes of {file.stem}", len(model.frames))
        _refuse_odd(predictions.logits(file, np.asarray(model.frames[:CHUNK]), model.spec), len(pictures.names))
        parts: Found = []
        for start in range(0, len(model.frames), CHUNK):
            parts += finding.detections(file, np.asarray(model.frames[start : start + CHUNK]), model.spec, len(pictures.names))
            say(len(parts))
        np.savez(
            folder / "boxes.npz",
            counts=np.array([len(one) for one in parts]),
            boxes=np.concatenate([one.boxes for one in parts]),
            scores=np.concatenate([one.scores for one in parts]),
            classes=np.concatenate([one.classes for one in parts]),
        )

    folder = bench.step("boxes", pictures.key() + digest(file) + msgspec.json.encode(model.spec), make)
    with np.load(folder / "boxes.npz", allow_pickle=False) as kept:
        whole = Detections(boxes=kept["boxes"], scores=kept["scores"], classes=kept["classes"])
        ends = np.cumsum(kept["counts"])
    found = [whole.take(np.arange(end - count, end)) for end, count in zip(ends, np.diff(ends, prepend=0), strict=True)]
    return [on_frame(one, model.place(index)) for index, one in enumerate(found)]


def _refuse_odd(outputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]], labels: int) -> None:
    """Refuse boxes and scores in other units than devices read.

    Raises:
        EngineError: scores that are no probabilities, or boxes that are shares of the picture.
    """
    rows = outputs if outputs.shape[2] in {4 + labels, 5 + labels, 6} else outputs.transpose(0, 2, 1)
    if rows[..., 4:].min() < -1e-3 or (rows.shape[2] != 6 and rows[..., 4:].max() > 1.0 + 1e-3):
        raise EngineError("the detector's scores are no probabilities.", "Export it with its last sigmoid.")
    if rows[..., :4].max() <= SHARES_OF_PICTURE:
        raise EngineError("the detector's boxes are shares of the picture, not pixels.", "Export it with boxes in pixels of its input.")


def _from(found: Found, threshold: float) -> list[Truth]:
    told = [one.take(one.scores >= threshold) for one in found]
    return [Truth(boxes=one.boxes, classes=one.classes) for one in told]


def _told(scene: _Scene, file: Path, found: Found) -> _Model:
    """Find the score from which boxes are told (rule 2)."""
    fit = scene.shares.fit
    return _Model(file=file, found=found, threshold=finding.threshold_of(_of(found, fit), _of(scene.truth, fit)))


def _of(values: list[_Item], picked: Indices) -> list[_Item]:
    return [values[int(index)] for index in picked]


def _precision(bench: Workbench, order: Order, scene: _Scene, student: Brought, fp32: _Model) -> tuple[_Model, Path | None, str]:
    """Make INT8 and take it where it serves (rule 3); returns the model, the INT8 file and the reason."""
    file = smaller.int8(bench, order, student, scene.album, scene.shares.ranges, step="int8-detector")
    if isinstance(file, str):
        return fp32, None, file
    fit = scene.shares.fit
    small = _told(scene, file, _found(bench, student, file, scene.album))
    before, after = (mean_average_precision(_of(one.found, fit), _of(scene.truth, fit)) for one in (fp32, small))
    if before - after > LARGEST_DROP and order.precision != "int8":
        return fp32, file, f"INT8 loses {before - after:.1%} of mean average precision, {LARGEST_DROP:.1%} is allowed"
    return small, file, ""


def _judged(scene: _Scene, made: _Made, picked: Indices) -> Judged:
    truth, units = _of(scene.truth, picked), tuple(scene.album.units[int(index)] for index in picked)
    found, told = _of(made.chosen.found, picked), made.chosen.threshold
    always = np.ones(len(picked), bool)
    return Judged(
        scores=np.array([SCORES[DEFAULT](Candidates(scores=one.scores, threshold=told)) for one in found], np.float64),
        student_right=finding.right(found, truth, told),
        expert_right=always if made.judges is None else finding.right(_of(made.judges.found, picked), truth, made.judges.threshold),
        units=units,
    )


def _written(order: Order, scene: _Scene, student: Brought, made: _Made) -> Imported:
    missing = shares.too_few(scene.shares, scene.album.units)
    if not scene.known and made.judges is None:
        missing = "there are neither boxes nor an expert to be wrong against"
    card = _card(order, scene, student, made.chosen, "student")
    if not missing:
        at_fit, at_test = (_judged(scene, made, picked) for picked in (scene.shares.fit, scene.shares.test))
        chosen = judged.calibration(at_fit, at_test, score=DEFAULT)
        missing = judgement.promises_nothing(chosen)
        if not missing:
            card = msgspec.structs.replace(card, calibration=chosen, deferral_curve=judged.curve(at_test))
    card = msgspec.structs.replace(card, lineage=releasing.lineage(order, scene.album, _figures(scene, made)))
    expert = None
    if made.expert is not None and made.judges is not None:
        expert = _card(order, scene, made.expert, made.judges, "expert")
    warnings = [releasing.AUDIT_ONLY.format(missing=missing)] if missing else []
    reached = mean_average_precision(made.fp32.found, scene.truth)
    if scene.known and reached < POOR:
        warnings.append(f"the detector finds next to nothing (mAP {reached:.1%}): look at labels, --fit, --normalise and --bgr")
    done = Imported(
        folder=order.out,
        card=card,
        model_bytes=made.chosen.file.stat().st_size,
        given_bytes=order.model.stat().st_size,
        precision="int8" if made.chosen.file != student.file else "fp32",
        reason=made.reason,
        normalisation=student.normalisation,
        changes=student.fitted.changes,
        warnings=tuple(warnings),
        latencies=made.times,
        expert=expert,
    )
    releasing.put(order.out, done, made.chosen.file, None if made.expert is None else made.expert.file)
    return done


def _figures(scene: _Scene, made: _Made) -> dict[str, float]:
    test = scene.shares.test
    truth = _of(scene.truth, test)
    kinds = {"student": made.chosen, "student_fp32": made.fp32, "expert": made.judges if scene.known else None}
    return {
        f"{name}_{figure}": value
        for name, model in kinds.items()
        if model is not None
        for figure, value in finding.figures(_of(model.found, test), truth, model.threshold).items()
    }


def _card(order: Order, scene: _Scene, brought: Brought, model: _Model, family: str) -> Card:
    reading = DetectionSpec(score_threshold=model.threshold, doubt_threshold=finding.LOWEST_SCORE)
    task = Detection(labels=len(scene.album.names), input=brought.spec, spec=reading)
    frames = releasing.small(np.asarray(brought.frames[scene.shares.test[:SELF_TEST_PICTURES]]))
    return Card(
        model=family,
        release=order.release,
        labels=scene.album.names,
        task=order.task,
        input=brought.spec,
        self_test=selftest.recorded(task.outline(predictions.logits(model.file, frames, brought.spec)), frames),
        lineage=releasing.lineage(order, scene.album, {}),
        onnx_sha256=sha256(model.file.read_bytes()),
        detection=reading,
        schema=schema_of(brought.spec),
    )
