"""The experts and students the bench compares on, and what both answer; every model is a step kept in TERRACE_CACHE.

Rules, in order:
1. Data, plans and steps are those of `terrace models build`, so whoever has built a data set does not train its expert again.
2. One expert per data set, several students: the same plan, other seeds, quantised to INT8 as devices run them.
3. Models see `seed` and `calibration` only. Second look and learned score are chosen on `policy-fit`, bounds are measured on
   `policy-test`, and `official` is the data set's own test list, which no part of ours has touched.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import secondlook, training
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import Pictures, input_spec, load
from cloud.foundry.plans import Plan, plan_for
from cloud.foundry.predictions import logits
from cloud.foundry.quantise import quantise
from cloud.foundry.workbench import Say, Workbench, digest
from provisioning import drift
from provisioning.datasets import SPLITS, data_folder, prepare, save
from provisioning.sources import deeppcb, fashion
from shared.durable import write
from shared.learning.samples import Frames, Logits
from shared.release.modelcache import cache
from shared.vision import fields
from tests.bench.deferrals.measured import MEASURED, Measured

CALIBRATION_PICTURES = 256
LATER, DRIFT_SEED = 4, 7


class Lab:
    """A data set's splits and models.

    Args:
        data: deeppcb or fashion-mnist.
        say: told the progress in lines.
    """

    def __init__(self, data: str, say: Say) -> None:
        self.data = data
        self.plan = plan_for(data)
        self.bench = Workbench(cache() / "foundry", say)
        self.folder = self.bench.step("bench-data", _state(data), self._prepare)
        self._splits = digest(*(self.folder / f"{name}.npz" for name in SPLITS))

    def pictures(self, split: str) -> Pictures:
        """Return a split of SPLITS, or `official`."""
        return load(self.folder / f"{split}.npz")

    def groups(self) -> tuple[str, ...]:
        """Return the group of each official frame: seen, unseen, or nothing."""
        with np.load(self.folder / "official.npz", allow_pickle=False) as archive:
            return tuple(str(one) for one in archive["groups"])

    def expert(self) -> Path:
        """Return the expert's ONNX file."""
        key = self._splits + msgspec.json.encode(self.plan) + b"expert"
        made = self.bench.step("expert", key, lambda at: training.expert(at, self.pictures("seed"), self.plan, self.bench.say))
        return made / "expert.onnx"

    def student(self, seed: int) -> Path:
        """Return the folder of a student: `student.onnx` (FP32) and `int8.onnx`."""
        plan, expert = msgspec.structs.replace(self.plan, seed=seed), self.expert()
        key = self._splits + msgspec.json.encode(plan) + digest(expert)
        return self.bench.step("bench-student", key, lambda at: self._train(at, plan, expert))

    def measured(self, seed: int) -> Measured:
        """Return what a student and the expert answer; each model on each split, and each turn, is a step of its own."""
        fit, test, official = (self._answers(split, seed) for split in MEASURED)
        turns = secondlook.turns_for(turning=self.plan.turning)
        again = {split: [self._again(split, seed, turn) for turn in turns] for split in MEASURED}
        return Measured(data=self.data, seed=seed, fit=fit, test=test, official=official, turns=turns, again=again, groups=self.groups())

    def later(self, seed: int, strength: float) -> tuple[Answers, list[Logits]]:
        """Return what both say of every LATER-th unit's official frames after the optics drifted, and the student of their turns."""
        official = self.pictures("official")
        unit = np.unique(np.asarray(official.units), return_inverse=True)[1]
        own = official.taken(np.flatnonzero(unit % LATER == 0))
        frames = drift.drifted(own.frames, strength=strength, seed=DRIFT_SEED)
        code = digest(Path(drift.__file__), Path(fields.__file__))[:8].decode()
        what, student = f"official later {LATER} {strength} {code}", self.student(seed) / "int8.onnx"

        def said(model: Path, shown: Frames, name: str) -> Logits:
            return self._logits(model, msgspec.structs.replace(own, frames=shown), name)

        answers = Answers(student=said(student, frames, what), expert=said(self.expert(), frames, what), labels=own.labels, units=own.units)
        turns = secondlook.turns_for(turning=self.plan.turning)
        return answers, [said(student, secondlook.frames_turned(frames, turn), f"{what} {turn}") for turn in turns]

    def _answers(self, split: str, seed: int) -> Answers:
        pictures = self.pictures(split)
        found = [self._logits(path, pictures, split) for path in (self.student(seed) / "int8.onnx", self.expert())]
        return Answers(student=found[0], expert=found[1], labels=pictures.labels, units=pictures.units)

    def _again(self, split: str, seed: int, turn: str) -> Logits:
        """Return the student's logits on a split's turned pictures."""
        pictures = self.pictures(split)
        frames = secondlook.frames_turned(pictures.frames, turn)
        return self._logits(self.student(seed) / "int8.onnx", msgspec.structs.replace(pictures, frames=frames), f"{split} {turn}")

    def _logits(self, model: Path, pictures: Pictures, what: str) -> Logits:
        """Return a model's logits, kept: the expert's serve all students."""

        def make(folder: Path) -> None:
            self.bench.say(f"{self.data}: {model.stem} answers {what}")
            np.save(folder / "logits.npy", logits(model, pictures.frames, input_spec(pictures.side)))

        done = self.bench.step("bench-answers", digest(model) + self._splits + what.encode(), make)
        return np.asarray(np.load(done / "logits.npy", allow_pickle=False), np.float32)

    def _prepare(self, folder: Path) -> None:
        self.bench.say(f"{self.data}: preparing the pictures")
        prepare(self.data, folder, wanted=SPLITS)
        source = data_folder()
        known = self.data == "deeppcb"
        pool = deeppcb.cut(deeppcb.load(source), official_test=True, seed=2) if known else fashion.load(source, official_test=True)
        save(folder / "official.npz", pool)

    def _train(self, folder: Path, plan: Plan, expert: Path) -> None:
        training.student(folder, self.pictures("seed"), plan, expert, self.bench.say)
        shown = self.pictures("calibration").evenly(CALIBRATION_PICTURES)
        write(folder / "int8.onnx", quantise((folder / "student.onnx").read_bytes(), shown.frames, input_spec(shown.side)))


def _state(data: str) -> bytes:
    """Return what the prepared pictures depend on: the code that cuts them, and the data set's name."""
    made_by = Path(__file__).resolve().parents[3] / "provisioning"
    return digest(*sorted([*made_by.glob("sources/*.py"), made_by / "datasets.py"])) + data.encode()
