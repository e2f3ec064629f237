"""The recipe of a data set's first releases: data, expert, student, INT8, cards. Each step is kept by content hash.

Rules, in order:
1. The data come from `terrace provision data`, a process of its own, because the tiers do not import one another.
2. The expert learns from labels; the student from labels and the expert's soft answers.
3. Everything that is reported is measured on the policy-test split, which neither trained, calibrated nor chose anything.
4. `out` gets `student/000001.onnx`, `.card.json`, `expert/…` the same, and `student/000001.npz`, the FP32 weights a federation
   starts from. The replay set is not kept: it is drawn or cut again from the seed split (see replay).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import calibrate, cards, measure, predictions, secondlook, training
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import Pictures, input_spec, load
from cloud.foundry.plans import Plan, plan_for
from cloud.foundry.quantise import quantise
from cloud.foundry.turns import turned
from cloud.foundry.workbench import Say, Workbench, digest
from shared.deferral.scores import SCORES
from shared.durable import write
from shared.errors import InputError
from shared.learning.samples import Frames, check
from shared.release.card import Card, InputSpec, Lineage, SecondLook, encode_card, sha256
from shared.release.modelcache import NAMED, cache, listing
from shared.vision.tasks.logits import accuracy

SPLITS = ("seed", "calibration", "policy-fit", "policy-test")
CALIBRATION_PICTURES = 256
RELEASE = 1


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What a build leaves: the folder and both cards."""

    folder: Path
    student: Card
    expert: Card


class _Files(msgspec.Struct, frozen=True, kw_only=True):
    """The finished models: the expert, the INT8 student, the same in FP32, and its weights."""

    expert: Path
    student: Path
    fp32: Path
    weights: Path


class _Split(msgspec.Struct, frozen=True, kw_only=True):
    """The data of one build, by split."""

    seed: Pictures
    calibration: Pictures
    fit: Pictures
    test: Pictures
    digest: str


def build(data: str, out: Path, *, say: Say, plan: Plan | None = None, prepared: Path | None = None) -> Built:
    """Build a data set's expert and first student.

    Args:
        data: line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.
        out: where the releases go; files of an earlier build are replaced.
        say: told the progress in lines.
        plan: how to train; None takes the data set's own.
        prepared: folder with the splits, when they are prepared already.

    Raises:
        InputError: the data set cannot be used.
        StorageError: a folder cannot be written.
    """
    bench = Workbench(cache() / "foundry", say)
    plan = plan or plan_for(data)
    split = _read(prepared or prepared_data(bench, data))
    key = split.digest.encode() + msgspec.json.encode(plan)
    expert = bench.step("expert", key + b"expert", lambda made: training.expert(made, split.seed, plan, say)) / "expert.onnx"
    student = bench.step("student", key + digest(expert), lambda made: training.student(made, split.seed, plan, expert, say))
    fp32 = student / "student.onnx"
    small = bench.step("int8", digest(fp32) + b"u8s8", lambda made: _quantise(made, split.calibration, fp32))
    say("measuring and writing the cards")
    files = _Files(expert=expert, student=small / "student.onnx", fp32=fp32, weights=student / "student.npz")
    return _release(out, split, lineage(data, split.digest, plan), files, turning=plan.turning)


def prepared_data(bench: Workbench, data: str, *, task: str = "classification") -> Path:
    """Return the folder of a data set's splits, prepared in a process of provisioning's own (rule 1).

    Raises:
        InputError: the data set cannot be used, or not for this task.
    """
    command = [sys.executable, "-m", "shared.cli", "provision", "data", "--data", data, "--task", task]
    for name in SPLITS:
        command += ["--split", name]

    def make(folder: Path) -> None:
        bench.say(f"{data}: preparing the pictures")
        done = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True)
        if done.returncode:
            message = done.stderr.strip().removeprefix("terrace: ") or f"`terrace provision data` ended with {done.returncode}."
            raise InputError(message.splitlines()[0], " ".join(line.strip() for line in message.splitlines()[1:]))

    return bench.step("data", _state_of(data) + (b"" if task == "classification" else task.encode()), make)


def task_data(bench: Workbench, data: str, task: str, prepared: Path | None) -> tuple[Path, bytes]:
    """Return the folder of a task's splits, made where it was not given, and their digest.

    Raises:
        InputError: the data set cannot be used, or not for this task.
    """
    folder = prepared or prepared_data(bench, data, task=task)
    return folder, digest(*(folder / f"{name}.npz" for name in SPLITS))


def small_student(bench: Workbench, fp32: Path, pictures: Frames, spec: InputSpec) -> Path:
    """Return the INT8 file of a network that tells places: what follows its last convolutions stays in float (see tail).

    Args:
        bench: keeps it.
        fp32: the network.
        pictures: to calibrate with, uint8 (N, H, W, 3).
        spec: what the network takes.
    """

    def make(folder: Path) -> None:
        write(folder / "student.onnx", quantise(fp32.read_bytes(), pictures, spec, float_tail=True))

    return bench.step("int8", digest(fp32) + b"u8s8-float-tail", make) / "student.onnx"


def _state_of(data: str) -> bytes:
    """Return what the prepared pictures depend on: the code that makes them and the files they are cut from."""
    made_by = Path(__file__).resolve().parents[2] / "provisioning"
    code = digest(
        *sorted([*made_by.glob("line/*.py"), *made_by.glob("sources/*.py"), *made_by.glob("datasets.py"), *made_by.glob("pictured.py")])
    )
    return code + data.encode() + (listing(Path(data)).encode() if data not in NAMED else b"")


def _read(folder: Path) -> _Split:
    paths = [folder / f"{name}.npz" for name in SPLITS]
    seed, calibration, fit, test = (load(path) for path in paths)
    check(seed.samples, len(seed.names))
    return _Split(seed=seed, calibration=calibration, fit=fit, test=test, digest=digest(*paths).decode())


def _quantise(folder: Path, calibration: Pictures, fp32: Path) -> None:
    pictures = calibration.evenly(CALIBRATION_PICTURES)
    small = quantise(fp32.read_bytes(), pictures.frames, input_spec(pictures.side))
    write(folder / "student.onnx", small)


def _release(out: Path, split: _Split, origin: Lineage, files: _Files, *, turning: bool) -> Built:
    """Measure, write the cards and copy the files to where they are shipped from."""
    spec, pictures = input_spec(split.seed.side), split.calibration
    fit, test = (_answers(files, one) for one in (split.fit, split.test))
    quality = measure.picture_quality(files.expert, _hardest(split.fit, fit), spec)
    origin = cards.with_figures(origin, _figures(files, test, split.test))
    fit, look = _second_look(files, split.fit, fit, turning=turning)
    turns = [] if look else [_answers(files, one) for one in _turned(split.fit, turning=turning)]
    test = _answers(files, split.test, look) if look else test
    student = cards.student_card(
        release=RELEASE,
        onnx=files.student.read_bytes(),
        pictures=pictures,
        logits=predictions.logits(files.student, pictures.frames, spec),
        fit=fit,
        test=test,
        quality=quality,
        lineage=origin,
        turns=turns,
        look=look,
    )
    expert = cards.expert_card(
        release=RELEASE,
        onnx=files.expert.read_bytes(),
        pictures=pictures,
        logits=predictions.logits(files.expert, pictures.frames, spec),
        quality=quality,
        lineage=origin,
    )
    put(out, files.student, student)
    put(out, files.expert, expert)
    write(out / "student" / f"{RELEASE:06d}.npz", files.weights.read_bytes())
    return Built(folder=out, student=student, expert=expert)


def _second_look(files: _Files, pictures: Pictures, fit: Answers, *, turning: bool) -> tuple[Answers, SecondLook | None]:
    """Return the policy-fit answers with the second look that pays, or as they are and None."""
    names, spec = secondlook.turns_for(turning=turning), input_spec(pictures.side)
    again = [predictions.logits(files.student, secondlook.frames_turned(pictures.frames, name), spec) for name in names]
    look = secondlook.chosen(fit, again, names)
    return (secondlook.looked(fit, again, look) if look else fit), look


def _turned(pictures: Pictures, *, turning: bool) -> Iterator[Pictures]:
    """Yield the pictures in the turns their classes survive: more to fit a learned score on."""
    for frames in turned(pictures.frames, all_eight=turning):
        yield msgspec.structs.replace(pictures, frames=frames)


def _hardest(pictures: Pictures, answers: Answers) -> Pictures:
    """Return the pictures a device would defer: what a codec costs the expert matters on those, and it costs more there."""
    scores = SCORES[calibrate.SCORE](answers.student)
    return pictures.taken(np.argsort(scores, kind="stable")[: max(1, int(calibrate.MOST_DEFERRED * len(scores)))])


def _figures(files: _Files, test: Answers, pictures: Pictures) -> dict[str, float]:
    """Return accuracies and INT8's gain on the policy-test split (rule 3)."""
    spec = input_spec(pictures.side)
    fp32 = accuracy(predictions.logits(files.fp32, pictures.frames, spec), pictures.labels)
    int8 = accuracy(test.student, pictures.labels)
    ratio, milliseconds = measure.speedup(files.fp32, files.student, pictures.frames, spec)
    return {
        "student_fp32_accuracy": fp32,
        "student_int8_accuracy": int8,
        "expert_accuracy": accuracy(test.expert, pictures.labels),
        "int8_accuracy_drop": fp32 - int8,
        "int8_speedup": ratio,
        "int8_latency_ms": milliseconds,
    }


def _answers(files: _Files, pictures: Pictures, look: SecondLook | None = None) -> Answers:
    spec = input_spec(pictures.side)
    return Answers(
        student=predictions.logits(files.student, pictures.frames, spec, look=look),
        expert=predictions.logits(files.expert, pictures.frames, spec),
        labels=pictures.labels,
        units=pictures.units,
    )


def lineage(data: str, digest_of_data: str, plan: msgspec.Struct) -> Lineage:
    """Return where a first release comes from, without figures."""
    return Lineage(
        parent=0,
        round=0,
        recipe=sha256(msgspec.json.encode(plan))[:16],
        data=f"{data if data in NAMED else Path(data).name}:{digest_of_data[:16]}",
        code=metadata.version("terrace"),
        created_at=float(int(time.time())),
    )


def put(out: Path, onnx: Path, card: Card) -> None:
    """Write a release's two files to where they are shipped from.

    Raises:
        StorageError: the folder cannot be written.
    """
    write(out / card.model / f"{card.release:06d}.onnx", onnx.read_bytes())
    write(out / card.model / f"{card.release:06d}.card.json", encode_card(card))
