"""What a round that one drifted region teaches is worth: won back there, gained by a region that never drifted, forgotten.

Region A streams under the demo's drift, region B the same line of work without; what devices would send (below the threshold, or
audited) becomes cases as in a vault: WebP, the expert's soft labels, training half of the units only. A's round and B's own control
round run through the region's training, the cloud's workshop and INT8; both releases are then measured on frames of both
regions. Not here: network, vault, Flower; with one region a round's average is its update. `full` takes all data sets there are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from cloud.config import FoundrySection, RoundsSection
from cloud.federation.foundry import Current
from cloud.federation.workshop import Workshop
from cloud.foundry import predictions
from cloud.foundry.pictures import Pictures, load
from cloud.foundry.plans import plan_for
from provisioning.datasets import prepare
from provisioning.drift import demo_strength, drifted
from provisioning.testbed import seed
from provisioning.testbed.data import models_for
from provisioning.testbed.intervals import Estimate, difference
from region.config import TrainingSettings
from region.jobs import Job, Wish
from region.schema import TRAIN, part_of
from region.training_child import SMALLEST_PROBABILITY, learn, replay
from shared.deferral.scores import SCORES
from shared.learning import architectures, arrays
from shared.learning.samples import Samples
from shared.release.card import Card, decode_card
from shared.vision import picture
from shared.vision.tasks.logits import softmax
from tests.bench.result import Result, conditions

STREAMS, FRAMES, DRIFT_SEED = 4, 360, 7
AUDIT, AUDIT_ON_ALARM = 0.05, 0.25
STEPS, BATCH = 120, 32
DATA = ("line", "deeppcb", "fashion-mnist")


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A region's frames of all streams, as it sees them; its units carry the stream's name."""

    pictures: Pictures
    streams: tuple[str, ...]


class Lab:
    """Models, seed set and streams of one data set, in a folder of their own."""

    def __init__(self, data: str, folder: Path) -> None:
        self.models = seed.complete(models_for(data, print), data, folder / "models")
        (self.models / "data").write_text(data)
        made = prepare(data, folder / "streams", wanted=("streams",), streams=2 * STREAMS, frames_per_stream=FRAMES, seed=3)
        self.streams = [load(files.frames) for files in made.streams]
        self.expert = self.models / "expert" / "000001.onnx"
        self.turning = plan_for(data).turning
        onnx, card = self.models / "student" / "000001.onnx", (self.models / "student" / "000001.card.json").read_bytes()
        weights = arrays.load(self.models / "student" / "000001.npz")
        self.current = Current(release=1, role="manual", onnx=onnx, card=decode_card(card), arrays=weights)
        self.workshop = Workshop(SimpleNamespace(models=self.models, foundry=FoundrySection()))  # type: ignore[arg-type]  # all it reads
        self.folder = folder

    def site(self, first: int, strength: float) -> Site:
        """Return the region whose streams start at `first`."""
        own = self.streams[first : first + STREAMS]
        frames = [drifted(one.frames, strength=strength, seed=DRIFT_SEED) for one in own]
        names = [f"stream-{first + index}" for index, one in enumerate(own) for _ in one.labels]
        units = tuple(unit for one in own for unit in one.units)
        labels = np.concatenate([one.labels for one in own])
        return Site(pictures=Pictures(frames=np.concatenate(frames), labels=labels, units=units, names=own[0].names), streams=tuple(names))

    def logits(self, onnx: Path, site: Site) -> Any:
        """Return a model's logits on a site's frames."""
        return predictions.logits(onnx, site.pictures.frames, self.current.card.input, threads=1)

    def cases(self, site: Site, audit: float) -> Samples:
        """Return the training cases that devices would send of a site, labelled by the expert on the pictures as they travel."""
        card, drawn = self.current.card, np.random.default_rng(1).random(len(site.streams)) < audit
        assert card.calibration is not None
        sent = drawn | (SCORES[card.calibration.score](self.logits(self.current.onnx, site)) < card.calibration.threshold)
        pairs = zip(site.streams, site.pictures.units, strict=True)
        trained = np.array([part_of(stream, unit, is_audit=False) == TRAIN for stream, unit in pairs])
        frames = np.stack([_travelled(site.pictures.frames[index], card) for index in np.flatnonzero(sent & trained)])
        answers = softmax(predictions.logits(self.expert, frames, card.input, threads=1))
        logits = np.log(np.maximum(answers, SMALLEST_PROBABILITY)).astype(np.float32)
        return Samples(frames=frames, labels=logits.argmax(axis=1).astype(np.int64), logits=logits)

    def release(self, name: str, cases: Samples) -> tuple[Path, Card, float]:
        """Return the INT8 release of a round in which one region took part, its card, and the seed set's loss by its gate's measure."""
        side, rules, region = self.current.card.input.width, RoundsSection(), TrainingSettings()
        wish = Wish(
            classes=len(self.current.card.labels), side=side, steps=STEPS, batch=BATCH, seed=rules.seed, minimum_cases=1,
            replay_share=rules.replay_share, device_share=1.0, turning=self.turning,
        )  # fmt: skip
        job = Job(
            vault=Path(), replay=self.models / "replay.npz", wish=wish, learning_rate=region.learning_rate, threads=1, nice=0, last_case=0
        )
        model = architectures.student(wish.classes, side=side)
        arrays.from_arrays(model, self.current.arrays)
        learn(model, cases, replay(job), job)
        folder = self.folder / name
        folder.mkdir()
        tuned, _ = self.workshop.distil(arrays.to_arrays(model), self.current, seed=2)
        made = self.workshop.quantise(tuned, self.current, release=2, round_number=1, data=name, folder=folder)
        checks = {one.name: one for one in self.workshop.gate(made, self.current, []).checks}
        return made.onnx, made.card, checks["seed_accuracy"].value - checks["seed_accuracy"].limit


def _travelled(frame: Any, card: Card) -> Any:
    quality = card.picture_quality[0]
    return picture.decode(picture.encode(frame, codec=quality.codec, quality=quality.quality))


def run(*, full: bool) -> Result:
    """Measure the line; with `full` every data set."""
    rows = [_measured(data) for data in (DATA if full else DATA[:1])]
    figures = {key: float(value) for key, value in rows[0].items() if key != "data"}
    taken = conditions(strength=demo_strength(DATA[0]), steps=STEPS)
    return Result(name="transfer", figures=figures, rows=rows if full else [], conditions=taken)


def _measured(data: str) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(data, Path(folder))
        a, b = (lab.site(first, demo_strength(data)) for first in (0, STREAMS))
        clean_a, clean_b = (lab.site(first, 0.0) for first in (0, STREAMS))
        cases, ordinary = lab.cases(a, AUDIT_ON_ALARM), lab.cases(clean_b, AUDIT)
        release, card, spare = lab.release("a", cases)
        control, _, _ = lab.release("b", ordinary)
        old = lab.current.onnx
        right = {
            (name, place): _right(lab, onnx, site)
            for name, onnx in (("old", old), ("new", release), ("control", control), ("expert", lab.expert))
            for place, site in (("a", a), ("b", b), ("clean_a", clean_a), ("clean_b", clean_b))
        }
        fresh = np.array([part_of(*pair, is_audit=False) != TRAIN for pair in zip(a.streams, a.pictures.units, strict=True)])
        logits = lab.logits(release, a)
    units = {"a": _units(a), "b": _units(b)}
    both = [np.concatenate([right[name, "clean_a"], right[name, "clean_b"]]) for name in ("old", "new")]
    drop = difference(right["old", "clean_a"], right["old", "a"], units["a"])
    expert = difference(right["expert", "clean_a"], right["expert", "a"], units["a"])
    transfer = difference(right["new", "b"], right["control", "b"], units["b"])
    threshold = card.calibration.threshold if card.calibration is not None else 0.0
    return {
        "data": data,
        "student_clean": float(both[0].mean()),
        "drift_drop_points": 100 * drop.value,
        "expert_drop_points": 100 * expert.value,
        "cases": float(len(cases)),
        "drift_recovered_share": _recovered(right, np.ones(len(fresh), bool)),
        "drift_recovered_share_of_unseen_units": _recovered(right, fresh),
        **_named("transfer_to_b", transfer),
        **_named("clean_forgetting", difference(list(both[0]), list(both[1]), [*units["a"], *units["b"]])),
        "gate_spare_points": 100 * spare,
        "deferred_under_drift": float((SCORES["margin"](logits) < threshold).mean()),
    }


def _right(lab: Lab, onnx: Path, site: Site) -> Any:
    return (lab.logits(onnx, site).argmax(axis=1) == site.pictures.labels).astype(float)


def _units(site: Site) -> list[str]:
    return [f"{stream}/{unit}" for stream, unit in zip(site.streams, site.pictures.units, strict=True)]


def _recovered(right: dict[tuple[str, str], Any], chosen: Any) -> float:
    """Return the share of the drop at A that the new release wins back."""
    clean, old, new = (right[key][chosen].mean() for key in (("old", "clean_a"), ("old", "a"), ("new", "a")))
    return float((new - old) / (clean - old)) if clean > old else 0.0


def _named(name: str, found: Estimate) -> dict[str, float]:
    return {f"{name}_points": 100 * found.value, f"{name}_low": 100 * found.low, f"{name}_high": 100 * found.high}
