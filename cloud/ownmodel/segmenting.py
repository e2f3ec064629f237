"""The recipe of `terrace model import --task segmentation`: a user's segmenter becomes a release; importing's rules, with maps for classes.

Rules, in order:
1. A picture is right when every class but the background, there or found, overlaps its truth by at least RIGHT (intersection over
   union). What is on a picture is said by masks beside it (maskfiles), else by the expert; with neither there is no calibration.
2. The normalisation is found by trying where there are masks: the one with the best mean intersection over union.
3. INT8 ends with the last convolutions. It serves when it loses at most judgement.LARGEST_DROP of mean intersection over union.
4. How sure a picture looks is the map's expected Dice (deferral.reading.SOFT_DICE); the threshold is fitted on that.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import judged, predictions, selftest
from cloud.foundry.judged import Judged
from cloud.foundry.workbench import Say, Workbench, digest
from cloud.ownmodel import album, boxfiles, judgement, latency, maskfiles, models, readings, releasing, shares, smaller
from cloud.ownmodel.album import Album
from cloud.ownmodel.models import Brought
from cloud.ownmodel.normalisation import AUTO, KNOWN, UNIT
from cloud.ownmodel.orders import Imported, Order
from cloud.ownmodel.shares import Indices, Shares
from shared.deferral.reading import SOFT_DICE, Reading
from shared.errors import InputError
from shared.release.card import Card, InputSpec, Lineage, SelfTest, schema_of, sha256
from shared.release.modelcache import cache
from shared.vision.preprocess import prepare
from shared.vision.tasks.masks import Counts, Map, dice, mean_over_union
from shared.vision.tasks.segmentation import SAME, Segmentation
from shared.vision.tasks.shapes import unpack_map
from shared.wire.messages import Prediction

MOST_PICTURES = 1000
TRIED_PICTURES = 40
SELF_TEST_PICTURES = 2
RIGHT = SAME
POOR = 0.2
"""A mean intersection over union below this is looked at: most likely labels, normalisation or masks are others."""


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    """A segmenter on the user's pictures: its file, how sure each looks, pixels by true and found class, int64 (N, C, C)."""

    file: Path
    scores: list[float]
    counts: Counts

    def mean_iou(self, picked: Indices) -> float:
        """Return the mean intersection over union on some pictures."""
        return mean_over_union(self.counts[picked].sum(axis=0))

    def right(self, picked: Indices) -> judged.Flags:
        """Return on which of some pictures it is right (rule 1)."""
        return np.array([maskfiles.agreeing(self.counts[index], least=RIGHT) for index in picked.tolist()], bool)


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures and what they are for; what is on them is in `masks`, else in `said`: the expert's answers, or the student's own."""

    album: Album
    shares: Shares
    masks: list[Path] | None
    said: list[Prediction]

    def truth(self, index: int) -> Map:
        """Return the class of each pixel of a picture."""
        if self.masks is not None:
            return maskfiles.read(self.masks[index], classes=len(self.album.names))
        return _map(self.said[index])


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    """The student as released and in full precision, the expert as a file and as a judge, and why this precision."""

    chosen: _Model
    fp32: _Model
    expert: Brought | None
    judges: _Model | None
    reason: str
    times: tuple[latency.Latency, ...]


def import_segmenter(order: Order, say: Say) -> Imported:
    """Make a release of a user's segmenter; see importing.import_model."""
    if len(order.names) < 2:
        raise InputError("a segmenter needs the names of its classes.", "Give them with --labels, one per line, the background first.")
    bench = Workbench(cache() / "own", say)
    pictures = album.find(boxfiles.images(order.pictures), order.names, most=MOST_PICTURES)
    dealt, masks = shares.dealt(pictures.units), maskfiles.beside(pictures.files)
    student, tried = _brought(bench, order, pictures, dealt, masks)
    own = _said(bench, student, student.file, pictures)
    expert, seen = _expert(bench, order, pictures, dealt, student)
    scene = _Scene(album=pictures, shares=dealt, masks=masks, said=(seen or own).predictions)
    fp32 = _judged_model(scene, student.file, own)
    chosen, int8, reason = _precision(bench, order, scene, student, fp32)
    say("measuring latency")
    timed = [prepare(np.asarray(student.frames[index : index + 1]), student.spec) for index in range(min(4, len(student.frames)))]
    times = latency.of_profiles(student.file, int8, timed, order.profiles)
    say("writing the release")
    judges = None if expert is None or seen is None else _judged_model(scene, expert.file, seen)
    made = _Made(chosen=chosen, fp32=fp32, expert=expert, judges=judges, reason=reason, times=tuple(times))
    return _written(order, scene, msgspec.structs.replace(student, tried=tried), made)


def _brought(bench: Workbench, order: Order, pictures: Album, dealt: Shares, masks: list[Path] | None) -> tuple[Brought, dict[str, float]]:
    """Bring the student, with the normalisation that is said or fits best (rule 2)."""
    if order.normalise != AUTO:
        return models.brought(bench, order.model, order.wanted(), pictures, dealt.ranges, order.normalise), {}
    if masks is None:
        raise InputError(
            "which normalisation the model wants cannot be found without masks.", f"Say it: --normalise {'|'.join(KNOWN)}, or paint masks."
        )
    model = models.brought(bench, order.model, order.wanted(), pictures, dealt.ranges, UNIT)
    some = dealt.ranges[:TRIED_PICTURES]
    if not len(some):
        raise InputError(f"{len(pictures.files)} pictures are too few to try a model on.", "Give at least 100, better 1000.")
    tried = {}
    for name in KNOWN:
        spec = models.spec_of(model.fitted, name, model.spec.fit)
        batches = readings.cut(model.frames[some], [model.size(index) for index in some.tolist()])
        reading = readings.of(model.file, _plain_card(pictures, spec), batches)
        pairs = zip(some.tolist(), reading.predictions, strict=True)
        tried[name] = mean_over_union(np.sum([_counts(pictures, masks, index, one) for index, one in pairs], axis=0))
    best = max(tried, key=lambda name: tried[name])
    return msgspec.structs.replace(model, normalisation=best, spec=models.spec_of(model.fitted, best, model.spec.fit)), tried


def _expert(bench: Workbench, order: Order, pictures: Album, dealt: Shares, student: Brought) -> tuple[Brought | None, Reading | None]:
    if order.expert is None:
        return None, None
    asked = student.normalisation if order.expert_normalise == AUTO else order.expert_normalise
    expert = models.brought(bench, order.expert, order.wanted_expert(), pictures, dealt.ranges, asked)
    return expert, _said(bench, expert, expert.file, pictures)


def _said(bench: Workbench, model: Brought, file: Path, pictures: Album) -> Reading:
    """Return what a segmenter says of every picture, kept by content hash."""

    def make(folder: Path) -> None:
        say = models.counting(bench.say, f"maps of {file.stem}", len(model.frames))
        sizes = [model.size(index) for index in range(len(model.frames))]
        reading = readings.of(file, _plain_card(pictures, model.spec), readings.cut(model.frames, sizes), say=say)
        (folder / "reading.msgpack").write_bytes(msgspec.msgpack.encode(reading))

    folder = bench.step("maps", pictures.key() + digest(file) + msgspec.json.encode(model.spec), make)
    return msgspec.msgpack.decode((folder / "reading.msgpack").read_bytes(), type=Reading)


def _plain_card(pictures: Album, spec: InputSpec) -> Card:
    """Return a card with no more in it than reading a network's maps needs."""
    return Card(
        model="student",
        release=1,
        labels=pictures.names,
        task="segmentation",
        input=spec,
        self_test=SelfTest(shape=(1, 1, 1, 3), inputs="", logits=(), tolerance=0.0),
        lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
    )


def _map(said: Prediction) -> Map:
    if said.mask is None:
        raise InputError("the model's answer has no map.", "Export a network whose output is (N, classes, rows, columns).")
    return unpack_map(said.mask)


def _counts(pictures: Album, masks: list[Path], index: int, said: Prediction) -> Counts:
    truth = maskfiles.read(masks[index], classes=len(pictures.names))
    return maskfiles.compared(_map(said), truth, classes=len(pictures.names))


def _judged_model(scene: _Scene, file: Path, reading: Reading) -> _Model:
    classes = len(scene.album.names)
    found = [maskfiles.compared(_map(one), scene.truth(index), classes=classes) for index, one in enumerate(reading.predictions)]
    return _Model(file=file, scores=reading.scores, counts=np.stack(found))


def _precision(bench: Workbench, order: Order, scene: _Scene, student: Brought, fp32: _Model) -> tuple[_Model, Path | None, str]:
    """Make INT8 and take it where it serves (rule 3); returns the model, the INT8 file and the reason."""
    file = smaller.int8(bench, order, student, scene.album, scene.shares.ranges, step="int8-segmenter")
    if isinstance(file, str):
        return fp32, None, file
    fit = scene.shares.fit
    small = _judged_model(scene, file, _said(bench, student, file, scene.album))
    drop = fp32.mean_iou(fit) - small.mean_iou(fit)
    if drop > judgement.LARGEST_DROP and order.precision != "int8":
        return fp32, file, f"INT8 loses {drop:.1%} of mean intersection over union, {judgement.LARGEST_DROP:.1%} is allowed"
    return small, file, ""


def _judged(scene: _Scene, made: _Made, picked: Indices) -> Judged:
    return Judged(
        scores=np.array(made.chosen.scores, np.float64)[picked],
        student_right=made.chosen.right(picked),
        expert_right=np.ones(len(picked), bool) if made.judges is None else made.judges.right(picked),
        units=tuple(scene.album.units[int(index)] for index in picked),
    )


def _written(order: Order, scene: _Scene, student: Brought, made: _Made) -> Imported:
    missing = shares.too_few(scene.shares, scene.album.units)
    if scene.masks is None and made.judges is None:
        missing = "there are neither masks nor an expert to be wrong against"
    card = _card(order, scene, student, made.chosen, "student")
    if not missing:
        at_fit, at_test = (_judged(scene, made, picked) for picked in (scene.shares.fit, scene.shares.test))
        chosen = judged.calibration(at_fit, at_test, score=SOFT_DICE)
        missing = judgement.promises_nothing(chosen)
        if not missing:
            card = msgspec.structs.replace(card, calibration=chosen, deferral_curve=judged.curve(at_test))
    card = msgspec.structs.replace(card, lineage=releasing.lineage(order, scene.album, _figures(scene, made)))
    expert = None
    if made.expert is not None and made.judges is not None:
        expert = _card(order, scene, made.expert, made.judges, "expert")
    is_small = made.chosen.file != student.file
    done = Imported(
        folder=order.out,
        card=card,
        model_bytes=made.chosen.file.stat().st_size,
        given_bytes=order.model.stat().st_size,
        precision="int8" if is_small else "fp32",
        reason=made.reason,
        normalisation=student.normalisation,
        tried=student.tried,
        changes=student.fitted.changes,
        warnings=tuple(_warnings(scene, made, missing)),
        latencies=made.times,
        expert=expert,
    )
    releasing.put(order.out, done, made.chosen.file, None if made.expert is None else made.expert.file)
    return done


def _warnings(scene: _Scene, made: _Made, missing: str) -> list[str]:
    found = [releasing.AUDIT_ONLY.format(missing=missing)] if missing else []
    reached = made.fp32.mean_iou(np.arange(len(scene.album.files)))
    if scene.masks is not None and reached < POOR:
        found.append(f"the maps overlap the masks by {reached:.0%} only: look at labels, masks, normalisation (--normalise) and --bgr")
    return found


def _figures(scene: _Scene, made: _Made) -> dict[str, float]:
    test = scene.shares.test
    kinds = {"student": made.chosen, "student_fp32": made.fp32, "expert": made.judges if scene.masks is not None else None}
    found = {}
    for name, model in kinds.items():
        if model is not None:
            overlaps = dice(model.counts[test].sum(axis=0))[1:]
            found[f"{name}_mean_iou"] = model.mean_iou(test)
            found[f"{name}_dice"] = float(np.nanmean(overlaps)) if np.isfinite(overlaps).any() else 0.0
            found[f"{name}_right"] = float(model.right(test).mean()) if len(test) else 0.0
    if made.chosen.file != made.fp32.file:
        found["int8_mean_iou_drop"] = found["student_fp32_mean_iou"] - found["student_mean_iou"]
    return found


def _card(order: Order, scene: _Scene, brought: Brought, model: _Model, family: str) -> Card:
    frames = releasing.small(np.asarray(brought.frames[scene.shares.test[:SELF_TEST_PICTURES]]))
    outline = Segmentation(labels=len(scene.album.names)).outline(predictions.logits(model.file, frames, brought.spec))
    return msgspec.structs.replace(
        _plain_card(scene.album, brought.spec),
        model=family,
        release=order.release,
        self_test=selftest.recorded(outline, frames),
        lineage=releasing.lineage(order, scene.album, {}),
        onnx_sha256=sha256(model.file.read_bytes()),
        schema=schema_of(brought.spec),
    )
