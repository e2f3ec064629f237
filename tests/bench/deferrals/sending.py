"""What a frame costs on the way up, and what the expert says of the picture that arrives: the product's own codec, case and envelope.

Rules, in order:
1. Codec and quality are what the card of the first student would name: the fewest bytes at which the expert keeps its accuracy on the
   hardest frames of policy-fit (cloud.foundry.measure). The expert then answers every official frame as it arrives.
2. A frame's bytes are its case's, made as the device makes it, compressed as the link compresses it, cut and sealed. MQTT's and TLS's own
   bytes, and what several small cases save in one envelope, are left out: they are the same for whoever sends all frames.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import calibrate, measure
from cloud.foundry.pictures import Pictures, input_spec
from cloud.foundry.predictions import logits
from cloud.foundry.workbench import digest
from edge.events import Inferred
from edge.spooling import make_case
from shared.deferral.policy import Policy
from shared.deferral.scores import SCORES
from shared.learning.samples import Labels, Logits
from shared.vision import picture
from shared.vision.frames import Frame, Pixels
from shared.vision.tasks.classification import decode
from shared.wire.chunks import split
from shared.wire.compression import Compressor
from shared.wire.envelope import Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import Case, Kind, Prediction, encode
from tests.bench.deferrals.measured import Measured
from tests.bench.deferrals.models import Lab

BEGAN = 1_800_000_000.0
FRAMES_PER_S = 10.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's official frames as they travel: codec and quality, each frame's bytes (N), and the expert's logits (N, C) on that."""

    codec: str
    quality: int
    sizes: Labels
    expert: Logits


class Line:
    """One device's way up: cases into envelopes, counted."""

    def __init__(self) -> None:
        self._compressor = Compressor(clock=time.perf_counter)
        self._sealer = Sealer(EpochKeys.from_prk(bytes(32)), epoch=1, suite=1)

    def bytes_of(self, case: Case) -> int:
        """Return what a case costs: coded, cut into chunks, each of them sealed."""
        codec, coded = self._compressor.compress(Kind.CASE, encode(case))
        parts = split(coded)
        sealed = [self._sealer.seal(Kind.CASE, one, sequence=1, index=at, count=len(parts), codec=codec) for at, one in enumerate(parts)]
        return sum(len(one) for one in sealed)


def sent(lab: Lab, measured: Measured) -> Sent:
    """Return how the official frames travel; a step kept in TERRACE_CACHE."""
    key = digest(lab.expert(), lab.student(measured.seed) / "int8.onnx", lab.folder / "official.npz")
    folder = lab.bench.step("bench-sent", key, lambda at: _make(at, lab, measured))
    codec, quality = msgspec.json.decode((folder / "point.json").read_bytes(), type=tuple[str, int])
    return Sent(codec=codec, quality=quality, sizes=np.load(folder / "sizes.npy"), expert=np.load(folder / "logits.npy"))


def case_of(pixels: Pixels, prediction: Prediction, *, number: int, unit: str, codec: str, quality: int) -> Case:
    """Return the case a device makes of a frame that it defers."""
    frame = Frame(
        stream="camera-1", number=number, unit=unit, captured_at=BEGAN + number / FRAMES_PER_S, arrived_at=0.0, pixels=pixels
    )  # fmt: skip
    decision = Policy(threshold=2.0, audit_share=0.0).without_draw(1.0 + number / 1e6)
    inferred = Inferred(frame=frame, prediction=prediction, decision=decision, release=1, labels=(), deadline_s=5.0)
    return make_case(inferred, codec=codec, quality=quality)


def _make(folder: Path, lab: Lab, measured: Measured) -> None:
    fit, official, spec = lab.pictures("policy-fit"), lab.pictures("official"), input_spec(lab.pictures("policy-fit").side)
    hardest = np.argsort(SCORES[calibrate.SCORE](measured.fit.student), kind="stable")[: int(calibrate.MOST_DEFERRED * len(fit.labels))]
    lab.bench.say(f"{lab.data}: which codec and quality the expert bears")
    point = measure.picture_quality(lab.expert(), fit.taken(hardest), spec)[0]
    lab.bench.say(f"{lab.data}: every official frame as {point.codec} {point.quality}, and the expert's answer to that")
    cases = _cases(official, measured.official.student, point.codec, point.quality)
    line = Line()
    np.save(folder / "sizes.npy", np.array([line.bytes_of(one) for one in cases], np.int64))
    received = np.stack([picture.decode(one.picture) for one in cases])
    np.save(folder / "logits.npy", logits(lab.expert(), received, spec))
    (folder / "point.json").write_bytes(msgspec.json.encode((point.codec, point.quality)))


def _cases(official: Pictures, student: Logits, codec: str, quality: int) -> list[Case]:
    predictions = decode(student)
    return [
        case_of(official.frames[number], predictions[number], number=number, unit=unit, codec=codec, quality=quality)
        for number, unit in enumerate(official.units)
    ]
