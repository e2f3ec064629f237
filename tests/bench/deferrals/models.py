"""The experts and students the bench compares on, and what both answer; every model is a step kept in TERRACE_CACHE.

Rules, in order:
1. Data, plans and steps are those of `terrace models build`, so whoever has built a data set does not train its expert again.
2. One expert per data set, several students: the same plan, other seeds, quantised to INT8 as devices run them.
3. Models see `seed` and `calibration` only. `policy-fit` is what learned scores are fitted on (in all turns the class survives),
   `policy-test` what bounds are measured on, and `official` the data set's own test list, which no part of ours has touched.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import training
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import Pictures, input_spec, load
from cloud.foundry.plans import Plan, plan_for
from cloud.foundry.predictions import logits
from cloud.foundry.quantise import quantise
from cloud.foundry.turns import turned
from cloud.foundry.workbench import Say, Workbench, digest
from provisioning.datasets import SPLITS, data_folder, prepare, save
from provisioning.sources import deeppcb, fashion
from shared.durable import write
from shared.learning.samples import Logits
from shared.release.modelcache import cache

CALIBRATION_PICTURES = 256
MEASURED = ("policy-fit", "policy-test", "official")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One student beside its expert: what both say per split, on all turns of policy-fit, and each official frame's group."""

    data: str
    seed: int
    fit: Answers
    turns: tuple[Answers, ...]
    test: Answers
    official: Answers
    groups: tuple[str, ...]


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
        """Return what a student and the expert answer; every split, and every turn of policy-fit, is a step of its own."""
        fit, test, official = (self._answers(split, seed) for split in MEASURED)
        ways = len(list(turned(np.zeros((1, 2, 2, 3), np.uint8), all_eight=self.plan.turning)))
        turns = tuple(self._answers("policy-fit", seed, turn=number) for number in range(ways))
        return Measured(data=self.data, seed=seed, fit=fit, turns=turns, test=test, official=official, groups=self.groups())

    def _answers(self, split: str, seed: int, turn: int | None = None) -> Answers:
        pictures = self.pictures(split)
        if turn is not None:
            frames = next(itertools.islice(turned(pictures.frames, all_eight=self.plan.turning), turn, None))
            pictures = msgspec.structs.replace(pictures, frames=frames)
        found = [self._logits(path, pictures, f"{split} {turn}") for path in (self.student(seed) / "int8.onnx", self.expert())]
        return Answers(student=found[0], expert=found[1], labels=pictures.labels, units=pictures.units)

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
