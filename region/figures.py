"""What a region counts while it runs, as plain numbers: cheap to raise, read by the status socket and at each scrape. Pure."""

from __future__ import annotations

from collections import Counter, deque

RECENT = 2048


class Figures:
    """Counts since the start of the process; single additions, safe enough between threads for figures."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.messages = 0
        self.cases_new = 0
        self.cases_duplicate = 0
        self.answers = 0
        self.answers_late = 0
        self.batches = 0
        self.expert_failures = 0
        self.storage_failures = 0
        self.receipts = 0
        self.epochs_opened = 0
        self.replies = 0
        self.replies_unsent = 0
        self._latency: deque[float] = deque(maxlen=RECENT)

    def drop(self, reason: str) -> None:
        """Count a message that was dropped."""
        self.dropped[reason] += 1

    def answered(self, seconds: float, *, is_late: bool) -> None:
        """Count an answer that left `seconds` after its case arrived; late ones do not count in the latency."""
        self.answers += 1
        if is_late:
            self.answers_late += 1
        else:
            self._latency.append(seconds)

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile of recent answer latencies (received to answered) in milliseconds; None before the first."""
        recent = sorted(self._latency)
        return round(1000 * recent[min(len(recent) - 1, int(quantile * len(recent)))], 3) if recent else None
