"""How many bytes hard cases may cost: a token bucket per link, and a price that lets the most valuable through first. Pure.

Rules, in order:
1. The bucket fills at `rate` bytes a second up to `depth`; it begins with what `HORIZON_S` bring, so that a restart spends no day twice.
   What cases really cost is taken out of it when they are encoded; until then the mean so far is set aside for each.
2. A frame is let through when something is left, and fewer frames of the last `HORIZON_S` were worth more than can be paid for in that
   time. So a full bucket lets all through, and an empty one only as many of the most valuable as it can go on paying for.
3. A rate of 0 lets nothing through. Audit samples are not asked here: they have a bucket of their own.

Value is the distance below the threshold, in the score's unit: the less sure the student, the more the expert's answer is worth.

Example:
    >>> budget = Budget(Bucket(rate=100.0, depth=6000.0))
    >>> budget.admit(1.0, 0.0), Budget(Bucket(rate=0.0, depth=0.0)).admit(1.0, 0.0)
    (True, False)
"""

from __future__ import annotations

from collections import deque

import msgspec

HORIZON_S = 60.0
MOST_RECENT = 512
FIRST_CASE_BYTES = 4096.0
FOLLOW = 0.1
"""Weight of the newest case in the mean of what a case costs."""
LONGEST_ASIDE_S = 10.0
"""For how long bytes are set aside for a case that is never encoded."""


class Bucket:
    """Bytes that may be spent.

    Args:
        rate: bytes a second that come in, at least 0.
        depth: bytes that may gather.
    """

    def __init__(self, *, rate: float, depth: float) -> None:
        self.rate = rate
        self.depth = depth
        self.spent = 0
        self._tokens = min(depth, rate * HORIZON_S)
        self._at: float | None = None

    def left(self, now: float) -> float:
        """Return what may be spent at a monotonic time; below 0 when more was spent than there was."""
        elapsed = max(0.0, now - self._at) if self._at is not None else 0.0
        self._at = now if self._at is None else max(now, self._at)
        self._tokens = min(self.depth, self._tokens + self.rate * elapsed)
        return self._tokens

    def recall(self, tokens: float, *, away_s: float, is_clean: bool) -> None:
        """Go on with what was left, plus what has come in since; before anything is asked.

        Args:
            tokens: as `left` gave it.
            away_s: seconds since then.
            is_clean: whether nothing can have been spent since then; otherwise no more is taken over than a fresh start has.
        """
        most = self.depth if is_clean else min(self.depth, self.rate * HORIZON_S)
        self._tokens = min(most, tokens + self.rate * away_s)

    def take(self, size: int) -> None:
        """Spend bytes."""
        self.spent += size
        self._tokens -= size


def bucket_per_second(rate: float) -> Bucket:
    """Return a bucket of so many bytes a second, of which a minute's may gather."""
    return Bucket(rate=rate, depth=rate * HORIZON_S)


def bucket_per_day(size: float) -> Bucket:
    """Return a bucket of so many bytes a day, all of which may gather."""
    return Bucket(rate=size / 86400.0, depth=size)


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the budget stands: bytes a second, bytes left and spent, frames let through and held back since the start.

    `use` is the share of the last frames that asked which were let through, 1 before the first.
    """

    rate: float
    left: float
    spent: int
    admitted: int
    held_back: int
    use: float


class Budget:
    """Decides which hard frames may be sent. Asked by one thread; `spent` may be called by any.

    Args:
        bucket: the bytes.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._asked: deque[tuple[float, float, bool]] = deque(maxlen=MOST_RECENT)
        self._bills: deque[int] = deque()
        self._aside: deque[tuple[float, float]] = deque()
        self._case_bytes = FIRST_CASE_BYTES
        self._began: float | None = None
        self.admitted = 0
        self.held_back = 0

    def spent(self, size: int) -> None:
        """Note what an admitted case cost."""
        self._bills.append(size)

    def recall(self, tokens: float, *, away_s: float, is_clean: bool) -> None:
        """As `Bucket.recall`."""
        self._bucket.recall(tokens, away_s=away_s, is_clean=is_clean)

    def would_admit(self, value: float, now: float) -> bool:
        """Tell whether a frame of this value would be let through now, without asking for it."""
        self._pay(now)
        left = self._left(now)
        if left <= 0.0:
            return False
        span = min(HORIZON_S, now - (now if self._began is None else self._began))
        affordable = max(1.0, (left + self._bucket.rate * span) / self._case_bytes)
        dearer = sum(worth > value for _, worth, _ in self._asked)
        return dearer < affordable

    def admit(self, value: float, now: float) -> bool:
        """Decide on a frame; returns whether it may be sent.

        Args:
            value: what the expert's answer is worth; only the order matters.
            now: monotonic seconds.
        """
        if self._began is None:
            self._began = now
        while self._asked and now - self._asked[0][0] > HORIZON_S:
            self._asked.popleft()
        granted = self.would_admit(value, now)
        self._asked.append((now, value, granted))
        if granted:
            self._aside.append((now, self._case_bytes))
        self.admitted += granted
        self.held_back += not granted
        return granted

    def state(self, now: float) -> BudgetState:
        """Return where the budget stands; for any thread."""
        asked = tuple(self._asked)
        return BudgetState(
            rate=self._bucket.rate,
            left=self._left(now),
            spent=self._bucket.spent,
            admitted=self.admitted,
            held_back=self.held_back,
            use=sum(granted for _, _, granted in asked) / len(asked) if asked else 1.0,
        )

    def _left(self, now: float) -> float:
        return self._bucket.left(now) - sum(size for _, size in tuple(self._aside))

    def _pay(self, now: float) -> None:
        while self._bills:
            size = self._bills.popleft()
            self._bucket.take(size)
            self._case_bytes += FOLLOW * (size - self._case_bytes)
            if self._aside:
                self._aside.popleft()
        while self._aside and now - self._aside[0][0] > LONGEST_ASIDE_S:
            self._aside.popleft()
