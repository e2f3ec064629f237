"""The release of an imported model: cards with calibration, curve, figures and self-test, and the files of the folder.

A figure is measured on the pictures that chose nothing. The self-test's pictures are the user's own and travel with the release to every
device; large ones are shrunk, since a card has its limit.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import calibrate, deferral, measure, predictions, secondlook, selftest
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import Pictures
from cloud.ownmodel import judgement, shares
from cloud.ownmodel.album import Album
from cloud.ownmodel.latency import Latency
from cloud.ownmodel.models import Brought
from cloud.ownmodel.orders import Imported, Order
from cloud.ownmodel.shares import Indices, Shares
from shared.clock import wall
from shared.deferral.scores import SCORES
from shared.durable import write
from shared.learning.samples import Frames, Labels, Logits
from shared.release.card import (
    Calibration,
    Card,
    CurvePoint,
    InputSpec,
    Lineage,
    QualityPoint,
    SecondLook,
    SelfTest,
    encode_card,
    schema_of,
    sha256,
)
from shared.vision.preprocess import resize
from shared.vision.tasks.logits import accuracy

QUALITY_PICTURES = 100
TURN = "mirror"
"""The one turn that is tried for a second look: nobody knows whether up and down mean something in somebody's pictures."""
LARGEST_SELF_TEST_BYTES = 1_500_000
POOR = 0.5
AUDIT_ONLY = "no calibration: {missing}; devices will answer everything themselves and send audit samples only"


class Student(msgspec.Struct, frozen=True, kw_only=True):
    """The student as it is released: its file, the INT8 file that was tried, what it and full precision answer, why this precision.

    `turned` is what it answers to the pictures in TURN, where that is known.
    """

    file: Path
    int8: Path | None
    logits: Logits
    fp32: Logits
    precision: str
    reason: str
    turned: Logits | None = None


class Expert(msgspec.Struct, frozen=True, kw_only=True):
    """The expert and its logits; None where there is none."""

    model: Brought | None
    logits: Logits | None


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures and what they are for; `truth` is int64 (N): the labels, else the expert's answers, else full precision's."""

    album: Album
    shares: Shares
    truth: Labels


class _Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the card says of certainty; empty, with the reason in `missing`, where nothing can be said."""

    calibration: Calibration | None = None
    curve: tuple[CurvePoint, ...] = ()
    figures: dict[str, float] = {}
    look: SecondLook | None = None
    missing: str = ""


def written(order: Order, scene: Scene, brought: Brought, student: Student, expert: Expert, times: tuple[Latency, ...]) -> Imported:
    """Write the release's files and return what was made.

    Args:
        order: what was asked for.
        scene: the pictures.
        brought: the student in the devices' form.
        student: the student as it is released.
        expert: the expert, where there is one.
        times: latencies by profile.

    Raises:
        StorageError: the folder cannot be written.
    """
    measured = _certainty(scene, student, expert)
    quality = _quality(scene, student, expert)
    card = Card(
        model="student",
        release=order.release,
        labels=scene.album.names,
        input=brought.spec,
        task=order.task,
        self_test=_self_test(student.file, brought.spec, brought.frames, student.logits, scene),
        lineage=lineage(order, scene.album, {**_figures(scene, student, times), **measured.figures}),
        calibration=measured.calibration,
        deferral_curve=measured.curve,
        picture_quality=quality,
        onnx_sha256=sha256(student.file.read_bytes()),
        second_look=measured.look,
        schema=schema_of(brought.spec, measured.look),
    )
    done = Imported(
        folder=order.out,
        card=card,
        model_bytes=student.file.stat().st_size,
        given_bytes=order.model.stat().st_size,
        precision=student.precision,
        reason=student.reason,
        normalisation=brought.normalisation,
        tried=brought.tried,
        changes=brought.fitted.changes,
        warnings=_warnings(scene, student, measured),
        latencies=times,
        expert=_expert(order, scene, expert, quality),
    )
    put(order.out, done, student.file, None if expert.model is None else expert.model.file)
    return done


def put(out: Path, done: Imported, student: Path, expert: Path | None) -> None:
    """Write the files of a release (importing, rule 5).

    Raises:
        StorageError: the folder cannot be written.
    """
    write(out / "model.onnx", student.read_bytes())
    write(out / "card.json", encode_card(done.card))
    if expert is not None and done.expert is not None:
        write(out / "expert" / "model.onnx", expert.read_bytes())
        write(out / "expert" / "model.card.json", encode_card(done.expert))
    write(out / "report.json", msgspec.json.format(msgspec.json.encode(done, enc_hook=str), indent=1))


def small(frames: Frames) -> Frames:
    """Return pictures for a self-test, shrunk until a card can hold them; devices enlarge them again."""
    while frames.nbytes > LARGEST_SELF_TEST_BYTES:
        frames = resize(frames, height=frames.shape[1] // 2, width=frames.shape[2] // 2)
    return frames


def missing(scene: Scene, expert: Expert) -> str:
    """Return "" when a calibration can be tried, else what is missing for it."""
    if expert.logits is None and not scene.album.labelled:
        return "there are neither labels nor an expert to be wrong against"
    return shares.too_few(scene.shares, scene.album.units)


def _certainty(scene: Scene, student: Student, expert: Expert) -> _Measured:
    """Threshold, curve and bound, where the pictures allow them."""
    if lacking := missing(scene, expert):
        return _Measured(missing=lacking)
    fit, test, look = _looked(scene, student, expert)
    better = deferral.preferred(fit)
    chosen = calibrate.calibration(fit, test, score=better.name, ranked=better.scores, model=better.model)
    if useless := judgement.promises_nothing(chosen):
        return _Measured(missing=useless)
    reached = calibrate.system(test, chosen.threshold, chosen.score, chosen.learned)
    figures = {"deferred_share": reached.deferred_share, "system_accuracy": reached.system_accuracy}
    if better.model is not None:
        figures["learned_score_gain"] = better.gain
    if expert.logits is not None and scene.album.labelled:
        figures |= {"expert_accuracy": reached.expert_accuracy, "system_minus_expert": reached.minus_expert}
    return _Measured(calibration=chosen, curve=calibrate.curve(test, chosen.score, chosen.learned), figures=figures, look=look)


def _looked(scene: Scene, student: Student, expert: Expert) -> tuple[Answers, Answers, SecondLook | None]:
    """Return the answers on the pictures that choose and on those that measure, with a second look where it pays on the former."""
    picked = (scene.shares.fit, scene.shares.test)
    fit, test = (_answers(scene, student, expert, one) for one in picked)
    if student.turned is None:
        return fit, test, None
    again = [[student.turned[one]] for one in picked]
    look = secondlook.chosen(fit, again[0], (TURN,))
    if look is None:
        return fit, test, None
    return secondlook.looked(fit, again[0], look), secondlook.looked(test, again[1], look), look


def _answers(scene: Scene, student: Student, expert: Expert, picked: Indices) -> Answers:
    right = judgement.one_hot(scene.truth, len(scene.album.names)) if expert.logits is None else expert.logits
    return Answers(
        student=student.logits[picked],
        expert=right[picked],
        labels=scene.truth[picked],
        units=tuple(scene.album.units[int(index)] for index in picked),
    )


def _figures(scene: Scene, student: Student, times: tuple[Latency, ...]) -> dict[str, float]:
    test = scene.shares.test
    truth = scene.truth[test]
    kind = "accuracy" if scene.album.labelled else "agreement"
    fp32, own = accuracy(student.fp32[test], truth), accuracy(student.logits[test], truth)
    figures = {f"student_fp32_{kind}": fp32, f"student_{student.precision}_{kind}": own}
    if student.precision == "int8":
        figures[f"int8_{kind}_drop"] = fp32 - own
    for one in times:
        if not one.why_not:
            figures[f"latency_p50_ms_{one.profile}"] = one.int8_p50_ms if student.precision == "int8" and one.speedup else one.fp32_p50_ms
        if one.speedup:
            figures[f"int8_speedup_{one.profile}"] = one.speedup
    return figures


def _quality(scene: Scene, student: Student, expert: Expert) -> tuple[QualityPoint, ...]:
    """What picture codecs cost the expert on the frames a device would send, from the pictures that choose."""
    fit = scene.shares.fit
    if expert.model is None or not len(fit):
        return ()
    hardest = fit[np.argsort(SCORES[calibrate.SCORE](student.logits[fit]), kind="stable")[:QUALITY_PICTURES]]
    pictures = Pictures(
        frames=np.asarray(expert.model.frames[hardest]),
        labels=scene.truth[hardest],
        units=tuple(scene.album.units[int(index)] for index in hardest),
        names=scene.album.names,
    )
    return measure.picture_quality(expert.model.file, pictures, expert.model.spec)


def _self_test(file: Path, spec: InputSpec, frames: Frames, logits: Logits, scene: Scene) -> SelfTest:
    picked = selftest.chosen(scene.truth, logits)
    inputs = small(np.asarray(frames[picked]))
    return selftest.packed(inputs, predictions.logits(file, inputs, spec))


def _expert(order: Order, scene: Scene, expert: Expert, quality: tuple[QualityPoint, ...]) -> Card | None:
    """Return the expert's card."""
    if expert.model is None or expert.logits is None:
        return None
    test = scene.shares.test
    figures = {"expert_accuracy": accuracy(expert.logits[test], scene.truth[test])} if scene.album.labelled else {}
    return Card(
        model="expert",
        release=order.release,
        labels=scene.album.names,
        input=expert.model.spec,
        task=order.task,
        self_test=_self_test(expert.model.file, expert.model.spec, expert.model.frames, expert.logits, scene),
        lineage=lineage(order, scene.album, figures),
        picture_quality=quality,
        onnx_sha256=sha256(expert.model.file.read_bytes()),
        schema=schema_of(expert.model.spec),
    )


def lineage(order: Order, pictures: Album, figures: dict[str, float]) -> Lineage:
    """Return where the release comes from: order, pictures and code, with what was measured."""
    asked = msgspec.structs.replace(order, out=Path(), profiles=())
    return Lineage(
        parent=0,
        round=0,
        recipe=sha256(msgspec.json.encode(asked, enc_hook=str))[:16],
        data=f"{order.pictures.resolve().name}:{pictures.key().decode()[:16]}",
        code=metadata.version("terrace"),
        created_at=float(int(wall())),
        figures=figures,
    )


def _warnings(scene: Scene, student: Student, measured: _Measured) -> tuple[str, ...]:
    found = []
    if measured.missing:
        found.append(AUDIT_ONLY.format(missing=measured.missing))
    if scene.album.unseen:
        found.append(f"no pictures of {', '.join(scene.album.unseen[:8])}: what the card promises says nothing about them")
    if scene.album.labelled:
        order = judgement.other_order(student.fp32, scene.truth, scene.album.names)
        right = accuracy(student.fp32, scene.truth)
        if order:
            found.append(order)
        elif right < POOR:
            found.append(f"the model is right on {right:.0%} of the pictures: look at labels, normalisation (--normalise) and --bgr")
    return tuple(found)
