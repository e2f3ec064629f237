"""What a round asks of the foundry: three verbs between the aggregated weights and the release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cloud.evidence import Check
from shared.release.card import Card
from shared.wire.reports import EvaluationReply

Arrays = dict[str, Any]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may become a release: its files, its card, the bins its scores are counted in (ascending edges)."""

    onnx: Path
    card: Card
    edges: tuple[float, ...]


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The student that runs now: release number, who signed it, model file, card, its fp32 weights."""

    release: int
    role: str
    onnx: Path
    card: Card
    arrays: Arrays


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates say. `notes` are for people; `card` is the candidate's, with threshold and curve from the counts."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    card: Card

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


class Foundry(Protocol):
    """Distils, quantises, gates."""

    def distil(self, aggregated: Arrays, current: Current, *, seed: int) -> tuple[Arrays, dict[str, float]]:
        """Teach the aggregated student on the seed set; returns its weights and the figures measured."""

    def quantise(self, arrays: Arrays, current: Current, *, release: int, round_number: int, data: str, folder: Path) -> Candidate:
        """Make the candidate; `data` says which contributions it rests on, `folder` takes its files."""

    def gate(self, candidate: Candidate, current: Current, replies: Sequence[EvaluationReply]) -> Verdict:
        """Judge the candidate on the regions' counts and the seed set; says so when no region had a held-out case."""

    def judge(self, current: Current, update: Arrays) -> str:
        """Look alone at one update that is unlike the others: why it must not count, or an empty string."""
