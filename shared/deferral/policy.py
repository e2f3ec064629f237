"""Keep a frame or send it: the audit draw first, then the score against the card's threshold. Pure; every decision has its reason.

Rules, in order:
1. A frame of the audit sample is sent (AUDIT). Whether its local answer stands is decided by the rules below, as if it had not been
   drawn, so that the draw never costs an answer; it is counted as audit, not as deferred.
2. Without a threshold (a card without calibration) nothing else is sent (KEEP, `uncalibrated`): the device may not claim to know
   what it does not know.
3. A score that is no number is sent (DEFER, `no_score`).
4. A score below the threshold is sent and waits for the region's answer (DEFER); any other is kept (KEEP).

5. One that would be sent and looks like a frame that was sent lately inherits that one's answer (`inheriting`; which: dedupe): it is
   kept (KEEP, `inherited`). An audit sample is sent all the same, and judged by the answer it would have inherited.

Not here: the byte budget (shared.deferral.budget; KEEP, `over_budget`), which comes after.
"""

from __future__ import annotations

import math
from enum import Enum

import msgspec

from shared.deferral.audit import is_audit

AUDIT_SAMPLE, BELOW_THRESHOLD, REACHES_THRESHOLD, UNCALIBRATED, NO_SCORE, OVER_BUDGET, INHERITED = (
    "audit_sample",
    "below_threshold",
    "reaches_threshold",
    "uncalibrated",
    "no_score",
    "over_budget",
    "inherited",
)


class Action(str, Enum):
    """What becomes of a frame."""

    KEEP = "keep"
    DEFER = "defer"
    AUDIT = "audit"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy decided on one frame, and why.

    `threshold` is what `score` was compared with, NaN when there is none; `value` ranks deferred frames against each other
    (higher is harder): the distance below the threshold. `awaits_answer` says that the local answer is provisional: always so for
    DEFER, and for an AUDIT frame that would have been deferred.
    """

    action: Action
    reason: str
    score: float
    threshold: float
    value: float = 0.0
    awaits_answer: bool = False


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules with their figures: `threshold` of the card (or an operator's), None without calibration; `audit_share` 0 to 1."""

    threshold: float | None
    audit_share: float

    def decide(self, *, stream: str, frame: int, score: float, audit_key: bytes) -> Decision:
        """Decide on one frame.

        Args:
            stream: the stream's name.
            frame: the frame's number in its stream.
            score: how sure the prediction looks, in the unit of the threshold.
            audit_key: key of the audit draw.

        Returns:
            The decision with its reason.
        """
        decision = self.without_draw(score)
        if is_audit(audit_key, stream, frame, self.audit_share):
            return msgspec.structs.replace(decision, action=Action.AUDIT, reason=AUDIT_SAMPLE, value=0.0)
        return decision

    def without_draw(self, score: float) -> Decision:
        """Return the decision on a frame that is no audit sample (rules 2 to 4)."""
        limit = math.nan if self.threshold is None else self.threshold
        if self.threshold is None:
            return Decision(action=Action.KEEP, reason=UNCALIBRATED, score=score, threshold=limit)
        if math.isnan(score):
            return _deferred(NO_SCORE, score, limit, value=math.inf)
        if score < self.threshold:
            return _deferred(BELOW_THRESHOLD, score, limit, value=limit - score)
        return Decision(action=Action.KEEP, reason=REACHES_THRESHOLD, score=score, threshold=limit)


def inheriting(decision: Decision) -> Decision:
    """Return the decision on a frame that would have been sent and inherits an answer (rule 5)."""
    if decision.action is Action.AUDIT:
        return msgspec.structs.replace(decision, awaits_answer=False)
    return msgspec.structs.replace(decision, action=Action.KEEP, reason=INHERITED, value=0.0, awaits_answer=False)


def _deferred(reason: str, score: float, threshold: float, *, value: float) -> Decision:
    return Decision(action=Action.DEFER, reason=reason, score=score, threshold=threshold, value=value, awaits_answer=True)
