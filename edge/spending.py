"""What a device may send: the byte budget of hard cases, and the reserve of audit samples beside it. Pure: `now` is given in.

Rules, in order:
1. Without a budget everything the policy wants to send may be sent.
2. A hard frame the budget does not let through keeps the device's own answer (KEEP, `over_budget`); so does an audit sample that would
   have been deferred, since its answer is not waited for either.
3. Audit samples are never asked for budget. Only with a reserve of their own they may run short of it; then a sample is not sent,
   and what it would have told is missing, which the live risk says.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import msgspec

from edge.config import BudgetSettings
from shared.deferral.budget import Bucket, Budget, bucket_per_day, bucket_per_second
from shared.deferral.policy import OVER_BUDGET, Action, Decision


class SpendingMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes left in the bucket of hard cases and in the reserve of audit samples; None without one."""

    hard: float | None = None
    audit: float | None = None


class Spending:
    """The two buckets of one link. Asked by one thread; `spent` may be called by any.

    Args:
        settings: edge.toml's.
    """

    def __init__(self, settings: BudgetSettings) -> None:
        self._budget = _budget_of(settings)
        reserve = settings.audit_bytes_per_s
        self._reserve: Bucket | None = bucket_per_second(reserve) if reserve is not None else None
        self._audit_bills: deque[int] = deque()
        self.audits_refused = 0
        self.audit_bytes = 0
        self.hard_bytes = 0

    def applied(self, decision: Decision, now: float) -> Decision:
        """Return the decision that the budget leaves of the policy's.

        Args:
            decision: the policy's.
            now: monotonic seconds.
        """
        if self._budget is None or not decision.awaits_answer:
            return decision
        if decision.action is Action.AUDIT:
            has_room = self._budget.would_admit(_worth(decision), now)
            return decision if has_room else msgspec.structs.replace(decision, awaits_answer=False)
        if self._budget.admit(decision.value, now):
            return decision
        return msgspec.structs.replace(decision, action=Action.KEEP, reason=OVER_BUDGET, value=0.0, awaits_answer=False)

    def lets_audit_through(self, now: float) -> bool:
        """Tell whether the reserve has room for an audit sample."""
        if self._reserve is None:
            return True
        while self._audit_bills:
            self._reserve.take(self._audit_bills.popleft())
        has_room = self._reserve.left(now) > 0.0
        self.audits_refused += not has_room
        return has_room

    def spent(self, size: int, is_audit: bool) -> None:
        """Note what a case that was made durable weighs, in bytes."""
        if is_audit:
            self.audit_bytes += size
            if self._reserve is not None:
                self._audit_bills.append(size)
        else:
            self.hard_bytes += size
            if self._budget is not None:
                self._budget.spent(size)

    def memory(self, now: float) -> SpendingMemory:
        """Return what is left in both buckets at a monotonic time."""
        return SpendingMemory(
            hard=self._budget.state(now).left if self._budget is not None else None,
            audit=self._reserve.left(now) - sum(tuple(self._audit_bills)) if self._reserve is not None else None,
        )

    def recall(self, memory: SpendingMemory, *, away_s: float, is_clean: bool) -> None:
        """Go on with what was left; before the first frame.

        Args:
            memory: as `memory` gave it.
            away_s: seconds since then.
            is_clean: whether nothing can have been spent since then; otherwise no more is taken over than a fresh start has.
        """
        if self._budget is not None and memory.hard is not None:
            self._budget.recall(memory.hard, away_s=away_s, is_clean=is_clean)
        if self._reserve is not None and memory.audit is not None:
            self._reserve.recall(memory.audit, away_s=away_s, is_clean=is_clean)

    def status(self, now: float) -> dict[str, Any]:
        """Return where the budget stands, of things JSON can hold; `rate` is None without one."""
        spent = {"hard_bytes": self.hard_bytes, "audit_bytes": self.audit_bytes, "audits_refused": self.audits_refused}
        if self._budget is None:
            return {"rate": None, "left": None, "held_back": 0, "admitted": 0, "use": 1.0, **spent}
        state = self._budget.state(now)
        return {
            "rate": state.rate,
            "left": round(state.left),
            "held_back": state.held_back,
            "admitted": state.admitted,
            "use": round(state.use, 4),
            **spent,
        }


def _worth(decision: Decision) -> float:
    """Return the value an audit sample would have had as a hard frame."""
    return max(0.0, decision.threshold - decision.score) if not math.isnan(decision.score) else float("inf")


def _budget_of(settings: BudgetSettings) -> Budget | None:
    if settings.bytes_per_s is not None:
        return Budget(bucket_per_second(settings.bytes_per_s))
    return Budget(bucket_per_day(settings.bytes_per_day)) if settings.bytes_per_day is not None else None
