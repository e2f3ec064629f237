"""The recipe of `terrace model import`: a user's file becomes a release that devices run, with a card that says what it can.

Rules, in order:
1. Student and expert get the devices' form; a normalisation that is not said is found by trying, on pictures that measure nothing.
2. INT8 in Q/DQ form, signed and symmetric for TensorRT, is made where the devices' profile asks for it; ranges as wide as they come, then
   averaged, then full precision: the first that serves is taken (judgement), and the reason said.
3. Threshold, curve and risk bound as in every release (foundry.calibrate): against the expert; without one against the labels, as if
   people answered; without labels the expert's answers are the labels; with neither there is no calibration, and devices only audit.
   A second look at mirrored frames and a learned score are taken where they pay on units that did not fit them (secondlook, deferral).
4. What is reported was measured on pictures that chose nothing.
5. `out` gets model.onnx and card.json, expert/ the same with its card beside it, and report.json. Other files there stay.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry.quantise import quantise
from cloud.foundry.workbench import Say, Workbench, digest
from cloud.ownmodel import album, judgement, latency, models, releasing, shares
from cloud.ownmodel.album import Album
from cloud.ownmodel.models import Brought
from cloud.ownmodel.normalisation import AUTO
from cloud.ownmodel.orders import Imported, Order
from cloud.ownmodel.releasing import Expert, Scene, Student
from cloud.ownmodel.shares import Indices
from shared.durable import write
from shared.learning.samples import Frames, Labels, Logits
from shared.release.card import sha256
from shared.release.modelcache import cache
from shared.vision.preprocess import prepare

RANGE_PICTURES = 256
TIMED_PICTURES = 8


def import_model(order: Order, say: Say) -> Imported:
    """Make a release of a user's model.

    Args:
        order: what is asked for.
        say: told the progress in lines.

    Raises:
        InputError: a file, the pictures or the labels cannot be used.
        EngineError: a graph is of a kind that devices cannot run.
        StorageError: a folder cannot be written.
    """
    bench = Workbench(cache() / "own", say)
    pictures = album.find(order.pictures, order.names)
    dealt = shares.dealt(pictures.units)
    student = models.brought(bench, order.model, order.wanted(), pictures, dealt.ranges, order.normalise)
    key = pictures.key()
    fp32 = models.answers(bench, student.file, student.spec, student.frames, key)
    expert = _expert(bench, order, pictures, dealt.ranges, student)
    seen = None if expert is None else models.answers(bench, expert.file, expert.spec, expert.frames, key)
    scene = Scene(album=pictures, shares=dealt, truth=_truth(pictures, seen, fp32))
    chosen = _precision(bench, order, scene, student, fp32)
    say("measuring latency")
    times = latency.of_profiles(student.file, chosen.int8, _timed(student), order.profiles)
    chosen = _not_slower(order, chosen, fp32, times, student.file)
    if not releasing.missing(scene, Expert(model=expert, logits=seen)):
        turned = models.answers(bench, chosen.file, student.spec, student.frames, key, turn=releasing.TURN)
        chosen = msgspec.structs.replace(chosen, turned=turned)
    say("writing the release")
    return releasing.written(order, scene, student, chosen, Expert(model=expert, logits=seen), tuple(times))


def _expert(bench: Workbench, order: Order, pictures: Album, ranges: Indices, student: Brought) -> Brought | None:
    if order.expert is None:
        return None
    normalise = order.expert_normalise
    if normalise == AUTO and not pictures.labelled:
        normalise = student.normalisation
    return models.brought(bench, order.expert, order.wanted_expert(), pictures, ranges, normalise)


def _truth(pictures: Album, expert: Logits | None, fp32: Logits) -> Labels:
    if pictures.labelled:
        return pictures.label_array()
    return np.asarray((fp32 if expert is None else expert).argmax(axis=1).astype(np.int64))


def _precision(bench: Workbench, order: Order, scene: Scene, student: Brought, fp32: Logits) -> Student:
    """Make INT8 and take it where it serves (rule 2)."""
    full = Student(file=student.file, int8=None, logits=fp32, fp32=fp32, precision="fp32", reason="")
    if student.fitted.quantised:
        return msgspec.structs.replace(full, precision="int8", reason="the model was quantised before it came here")
    if asked := judgement.full_asked(order.precision, order.profile):
        return msgspec.structs.replace(full, reason=asked)
    ranges = scene.shares.ranges[:RANGE_PICTURES]
    if len(ranges) < shares.FEWEST_RANGES:
        return msgspec.structs.replace(full, reason=f"{len(ranges)} pictures for the ranges of INT8 are fewer than {shares.FEWEST_RANGES}")
    fit, refused = scene.shares.fit, ""
    for averaged in (False, True):
        file = _quantised(bench, order, student, ranges, averaged=averaged)
        logits = models.answers(bench, file, student.spec, student.frames, scene.album.key())
        refused = judgement.int8_refused(fp32[fit], logits[fit], scene.truth[fit])
        if not refused or (order.precision == "int8" and averaged):
            return Student(file=file, int8=file, logits=logits, fp32=fp32, precision="int8", reason=refused)
    return msgspec.structs.replace(full, reason=refused)


def _quantised(bench: Workbench, order: Order, student: Brought, ranges: Indices, *, averaged: bool) -> Path:
    symmetric = order.profile.engine.name == "tensorrt"
    kind = f"{averaged}{symmetric}{ranges.tolist()}".encode() + msgspec.json.encode(student.spec)

    def make(folder: Path) -> None:
        bench.say("quantising" + (" with averaged ranges" if averaged else ""))
        small = quantise(
            student.file.read_bytes(), np.asarray(student.frames[ranges]), student.spec, averaged=averaged, symmetric=symmetric
        )
        write(folder / "int8.onnx", small)

    return bench.step("int8", digest(student.file) + kind + _pixels_key(student.frames, ranges), make) / "int8.onnx"


def _pixels_key(frames: Frames, picked: Indices) -> bytes:
    return sha256(np.ascontiguousarray(frames[picked]).tobytes()).encode()


def _timed(student: Brought) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return [
        prepare(np.asarray(student.frames[index : index + 1]), student.spec) for index in range(min(TIMED_PICTURES, len(student.frames)))
    ]


def _not_slower(order: Order, chosen: Student, fp32: Logits, times: list[latency.Latency], full: Path) -> Student:
    """Take full precision after all where INT8 was measured to be slower on the devices' profile."""
    own = next((one for one in times if one.profile == order.profile.name and one.speedup), None)
    if order.precision != "auto" or own is None or own.speedup >= 1.0:
        return chosen
    reason = f"INT8 takes {1 / own.speedup:.2f} times as long as full precision here"
    return msgspec.structs.replace(chosen, file=full, logits=fp32, precision="fp32", reason=reason)
