"""What a device sends beside one that sends every frame in the same codec, and what its answers lose on the expert's. Pure.

Rules, in order:
1. Sent are the frames below the card's threshold and the audit draw, the keyed one of the device; each costs its own case's bytes.
2. The system answers a deferred frame with the expert's word on the picture that arrived, any other with the student's: an audit sample's
   answer comes too late to count. The expert is what answers every frame as it arrives: the same codec, all frames.
3. Intervals draw whole units and students, the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.foundry.calibrate import Answers
from cloud.foundry.ranking import Numbers, draws
from shared.deferral.audit import is_audit
from shared.learning.samples import Labels, Logits
from tests.bench.deferrals.comparison import DRAWS, over, students_drawn

AUDIT_KEY = bytes(range(32))
STREAM = "camera-1"
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """Per draw, the first being the whole list: bytes over those of all frames, system less expert (a share of frames), and shares."""

    ratio: Numbers
    minus_expert: Numbers
    deferred: Numbers
    audited: Numbers


def audit_draw(count: int, share: float) -> Flags:
    """Return which of a stream's first `count` frames the device draws."""
    return np.array([is_audit(AUDIT_KEY, STREAM, number, share) for number in range(count)])


def uplink(answered: Sequence[Answers], deferred: Sequence[Flags], *, arrived: Logits, sizes: Labels, audit_share: float) -> Uplink:
    """Return what the mean of several students reaches.

    Args:
        answered: what each student and the expert say, all on the same frames.
        deferred: which frames each student defers, (N) each.
        arrived: the expert's logits on the pictures as they arrive, (N, C).
        sizes: bytes of each frame's case, (N).
        audit_share: share of frames drawn for audit.
    """
    first = answered[0]
    weights = np.concatenate([np.ones((1, len(first.units))), draws(first.units, DRAWS)])
    picked, audited = students_drawn(len(answered)), audit_draw(len(first.units), audit_share)
    expert = arrived.argmax(axis=1) == first.labels

    def mean(flags: Numbers) -> Numbers:
        return (weights * flags).sum(axis=1) / weights.sum(axis=1)

    columns: dict[str, list[Numbers]] = {name: [] for name in Uplink.__struct_fields__}
    for answers, given in zip(answered, deferred, strict=True):
        own = answers.student.argmax(axis=1) == answers.labels
        columns["ratio"].append((weights * sizes * (given | audited)).sum(axis=1) / (weights * sizes).sum(axis=1))
        columns["minus_expert"].append(mean(np.where(given, expert, own).astype(np.float64) - expert))
        columns["deferred"].append(mean(given.astype(np.float64)))
        columns["audited"].append(mean((audited & ~given).astype(np.float64)))
    return Uplink(**{name: over(np.stack(each), picked) for name, each in columns.items()})
