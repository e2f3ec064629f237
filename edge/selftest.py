"""The self-test's comparison: does a model that was just built say what its card says? Pure.

Rules, in order:
1. Every logit is finite and within the card's tolerance.
2. The label is the card's, except where the card's own two highest logits are closer than twice the tolerance.
3. The latency is sane: not above `FACTOR` times the model in use plus `ALLOWANCE_MS`; without one, below `LIMIT_MS`.
"""

from __future__ import annotations

import numpy as np

from shared.release.card import SelfTest

FACTOR = 4.0
ALLOWANCE_MS = 20.0
LIMIT_MS = 2000.0
Logits = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def compare(expected: SelfTest, logits: Logits) -> str:
    """Return "" when `logits` are what the card promises, else the reason.

    Args:
        expected: the card's self-test.
        logits: what the model said, float32 (N, classes).
    """
    promised = np.asarray(expected.logits, np.float32)
    if promised.ndim != 2 or len(promised) < 1:
        return "its card has no self-test"
    if promised.shape != logits.shape:
        return f"its logits have shape {logits.shape}, the card says {promised.shape}"
    if not np.isfinite(logits).all():
        return "its logits are not finite"
    worst = float(np.abs(logits - promised).max())
    if worst > expected.tolerance:
        return f"its logits differ by {worst:.4g} from the card's, {expected.tolerance:.4g} is allowed"
    ordered = np.sort(promised, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * expected.tolerance if promised.shape[1] > 1 else np.ones(len(promised), bool)
    if (clear & (logits.argmax(axis=1) != promised.argmax(axis=1))).any():
        return "its labels differ from the card's"
    return ""


def judge_latency(candidate_ms: float, current_ms: float | None) -> str:
    """Return "" when a run of the new model takes a sane time, else the reason.

    Args:
        candidate_ms: best of some runs of the new model on one input.
        current_ms: the same of the model in use, None when there is none.
    """
    limit = LIMIT_MS if current_ms is None else FACTOR * current_ms + ALLOWANCE_MS
    return "" if candidate_ms <= limit else f"one answer takes {candidate_ms:.0f} ms, {limit:.0f} ms is allowed"
