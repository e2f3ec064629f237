"""A device's pipeline with everything behind it but the link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.config import BudgetSettings, PictureSettings, PolicySettings
from edge.events import Inferred
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.inheritance import Inheritance
from edge.liveaudits import LiveAudits
from edge.model import ModelSlot
from edge.newest import NewestFrames
from edge.outputs import EventFile
from edge.pipeline import Pipeline
from edge.settling import Settler
from edge.spending import Spending
from edge.spooling import CaseWriter
from shared import clock
from shared.errors import StorageError
from shared.link.spool import NewCase, Spool
from shared.vision.boxes import Detections
from shared.vision.crops import Part
from shared.wire.messages import Answer, Case, decode
from tests.unit.edge_parts import colour

SURE_RED, SURE_GREEN, UNSURE = colour(250, 0), colour(0, 250), colour(90, 88)


class Device:
    """A pipeline with everything behind it but the link: offered cases stay in a list, or in a spool."""

    def __init__(
        self,
        folder: Path,
        *,
        audit_share: float = 0.0,
        deadline_s: float = 60.0,
        threshold: float | None = None,
        spool: Spool | None = None,
        budget: BudgetSettings | None = None,
        live_threshold: bool = False,
        inherit: bool = False,
    ) -> None:
        self.file = folder / "events.jsonl"
        self.cases: list[Case] = []
        self.offer_fails = False
        self.newest, self.models, self.hand_over = NewestFrames(), ModelSlot(), HandOver(8)
        self.output = EventFile(self.file)
        policy = PolicySettings(audit_share=audit_share, answer_deadline_s=deadline_s, threshold=threshold, inherit=inherit)
        self.spool = spool
        self.audits, self.spending = (
            LiveAudits(follows=live_threshold, epsilon=0.2 if live_threshold else None),
            Spending(budget or BudgetSettings()),
        )
        self.settler = Settler(self.output, joined=self._joined, settled=self.audits.settled)
        self.inheritance = Inheritance(policy, settled=self.settler.inherit)
        self.writer = CaseWriter(
            frames=self.hand_over,
            pictures=PictureSettings(),
            card=lambda: None,
            offer=self._offer,
            bind=self._bind,
            tend=spool.tend if spool else None,
            audited=self._audited,
            spent=self.spending.spent,
        )
        self.inference = Inference(
            policy=policy,
            neighbours=Neighbours(
                settle=self.settler.settle,
                hand_over=self.hand_over.offer,
                audit_key=lambda: bytes(32),
                dropped=self.newest.dropped_in_all,
                audits=self.audits,
                spending=self.spending,
                inheritance=self.inheritance,
            ),
            streams=["a", "b"],
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self.pipeline = Pipeline(frames=self.newest, models=self.models, inference=self.inference)
        self.parts: list[Any] = [self.output, self.settler, self.writer, self.pipeline]

    def _joined(self, stream: str, frame: int, said: Detections, part: Part | None) -> None:
        self.inference.joined(stream, frame, said, part)

    def answer(self, answer: Answer) -> None:
        """Let the region's answer come."""
        self.settler.answer(answer)
        self.audits.answer(answer)
        self.inheritance.answer(answer)

    def _bind(self, sequence: int, key: tuple[str, int]) -> None:
        self.settler.bind(sequence, key)
        self.inheritance.spooled(sequence, key)

    def _audited(self, sequence: int, inferred: Inferred) -> None:
        self.audits.spooled(sequence, inferred)
        self.inheritance.sampled(sequence, inferred)

    def _offer(self, cases: Sequence[NewCase]) -> tuple[int | None, ...]:
        if self.offer_fails:
            raise StorageError("the spool is not open.")
        if self.spool is not None:
            return self.spool.append_many(cases).sequences
        first = len(self.cases) + 1
        self.cases += [decode(Case, case.payload) for case in cases]
        return tuple(range(first, len(self.cases) + 1))

    def __enter__(self) -> Device:
        for part in self.parts:
            part.start()
        return self

    def __exit__(self, *_: object) -> None:
        for part in reversed(self.parts):
            part.stop()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_bytes().splitlines()]

    def counts(self, stream: str = "a") -> tuple[int, int, int, int]:
        found = self.inference.counters[stream]
        return found.kept, found.deferred, found.audited, found.failed
