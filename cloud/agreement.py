"""Does a new release agree with the expert less often than the release before? A sequential test on counts, paired by device. Pure.

Per device there are two counts: how often the release before agreed with the expert on audit samples, and how often the new one did.
The *loss* is the fall of that share. The test may be looked at after every audit sample, for as long as one likes, and be stopped
because of what it shows; its error rates hold nevertheless.

Rules, in order:
1. For a hypothesis "the loss is at most x" the evidence against it is the likelihood of all counts under a fixed mixture of larger
   losses, divided by the largest likelihood any loss within the hypothesis can give. Each device keeps a share of its own that it had
   before; only the loss is common. Such a quotient is at most a martingale that starts at 1, so it ever reaches 1/a with
   probability at most a (Ville's inequality). Mixture: Robbins 1970; unknown shares by the largest likelihood: Wasserman, Ramdas and
   Balakrishnan, "Universal inference", 2020.
2. Worse: the evidence against "at most `tolerated`" has reached 1/`false_stop`.
3. Sound: the evidence against "at least `excluded`" has reached 1/`missed`. A release that loses that much or more is called sound
   with probability at most `missed`.
4. Neither: more audit samples are needed.
5. Samples of one unit are no news twice: where up to `together` samples may tell the same, all counts are divided by it. By Hoelder's
   inequality the error rates hold then whatever such samples do together.

Not here: which counts are compared (baseline), small losses (clusters), what is done about it (verdict).

Example:
    >>> weigh([Pair(before=200, before_agreed=186, after=60, after_agreed=36)], Rule()).worse
    True
    >>> weigh([Pair(before=200, before_agreed=186, after=90, after_agreed=84)], Rule()).sound
    True
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.clusters import Clusters

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
STEPS = np.array([0.01, 0.02, 0.035, 0.055, 0.08, 0.11, 0.15, 0.2, 0.26, 0.33, 0.41, 0.5, 0.6, 0.7, 0.8])
"""How much further than the hypothesis the losses of the mixture lie."""
SHARES = np.linspace(0.0025, 0.9975, 200)
"""The shares of agreement before, of which the mixture is made: half evenly, half as density 9 p^8, since students mostly agree."""
_WEIGHTS = np.log(0.5 + 4.5 * SHARES**8) - np.log(np.sum(0.5 + 4.5 * SHARES**8))
_EDGE = 1e-9
HALVINGS, LOSS_STEP = 40, 0.005


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One device's counts: audit samples answered and agreed under the release before, and under the new one."""

    before: int = 0
    before_agreed: int = 0
    after: int = 0
    after_agreed: int = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a release.

    `tolerated` and `excluded` are losses of the share of agreement (0 to 1); `false_stop` and `missed` the probabilities of calling
    a release worse that is within `tolerated`, and sound that loses `excluded` or more; `together` as in rule 5.
    """

    tolerated: float = 0.03
    excluded: float = 0.15
    false_stop: float = 0.01
    missed: float = 0.05
    together: int = 1


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the counts say: audit samples of the new release, the loss as observed, its interval, and the two decisions.

    The loss lies below `low` with probability at most `false_stop`, above `high` with probability at most `missed`. `clusters` is what
    devices say that ran both releases on the same samples; `weigh` does not look at it.
    """

    audits: int = 0
    loss: float = 0.0
    low: float = -1.0
    high: float = 1.0
    worse: bool = False
    sound: bool = False
    clusters: Clusters = Clusters()


def weigh(pairs: Sequence[Pair], rule: Rule) -> Evidence:
    """Return what the counts of all devices say together; devices without a sample of the new release say nothing."""
    counted = [pair for pair in pairs if pair.after]
    if not counted:
        return Evidence()
    counts = np.array(
        [[p.before_agreed, p.before - p.before_agreed, p.after_agreed, p.after - p.after_agreed] for p in counted], np.float64
    )
    counts /= max(rule.together, 1)
    stop, passed = -math.log(rule.false_stop), -math.log(rule.missed)
    return Evidence(
        audits=sum(pair.after for pair in counted),
        loss=round(_observed(counted), 4),
        low=_edge(counts, worse=True, bar=stop),
        high=_edge(counts, worse=False, bar=passed),
        worse=evidence(counts, rule.tolerated, worse=True) >= stop,
        sound=evidence(counts, rule.excluded, worse=False) >= passed,
    )


def evidence(counts: Array, loss: float, *, worse: bool) -> float:
    """Return the logarithm of the evidence against a hypothesis.

    Args:
        counts: by device: agreed and not before, agreed and not after, shape (devices, 4).
        loss: the hypothesis' edge, -1 to 1.
        worse: against "the loss is at most `loss`", otherwise against "at least".
    """
    shifted = SHARES - loss - STEPS[:, None] if worse else SHARES - loss + STEPS[:, None]
    after = np.clip(shifted, 1e-4, 1 - 1e-4)
    known = counts[:, :1] * np.log(SHARES) + counts[:, 1:2] * np.log1p(-SHARES) + _WEIGHTS
    found = np.zeros(len(STEPS))
    for row, prior in zip(counts, known, strict=True):
        found += _log_sum(prior + row[2] * np.log(after) + row[3] * np.log1p(-after))
    return float(_log_sum(found[None, :])[0] - np.log(len(STEPS)) - np.sum(_largest(counts, loss, worse=worse)))


def _largest(counts: Array, loss: float, *, worse: bool) -> Array:
    """Return each device's largest log-likelihood under the hypothesis: its own shares where they fit, else the best at the edge."""
    before, after = _share(counts[:, 0], counts[:, 1]), _share(counts[:, 2], counts[:, 3])
    free = _likelihood(counts, before, after)
    low, high = np.full(len(counts), max(0.0, loss) + _EDGE), np.full(len(counts), min(1.0, 1.0 + loss) - _EDGE)
    for _ in range(HALVINGS):  # the likelihood along the edge is concave: its slope changes sign once
        middle = 0.5 * (low + high)
        other = middle - loss
        slope = counts[:, 0] / middle - counts[:, 1] / (1 - middle) + counts[:, 2] / other - counts[:, 3] / (1 - other)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    edge = _likelihood(counts, 0.5 * (low + high), 0.5 * (low + high) - loss)
    untried = (counts[:, 0] + counts[:, 1] == 0) & (after + loss <= 1)  # with nothing from before any share may have been
    fits = before - after <= loss if worse else (before - after >= loss) | untried
    return np.where(fits, free, np.minimum(edge, free))


def _likelihood(counts: Array, before: Array, after: Array) -> Array:
    shares = (before, 1 - before, after, 1 - after)
    terms: Array = np.array([counts[:, index] * np.log(np.maximum(share, _EDGE)) for index, share in enumerate(shares)])
    return np.asarray(terms.sum(axis=0), np.float64)


def _share(agreed: Array, wrong: Array) -> Array:
    share: Array = agreed / np.maximum(agreed + wrong, _EDGE)
    return share


def _log_sum(rows: Array) -> Array:
    top = rows.max(axis=-1)
    summed: Array = top + np.log(np.exp(rows - top[..., None]).sum(axis=-1))
    return summed


def _edge(counts: Array, *, worse: bool, bar: float) -> float:
    """Return the largest loss that is refuted as an upper edge, or the smallest that is refuted as a lower one, in steps of LOSS_STEP."""
    low, high = -round(1 / LOSS_STEP), round(1 / LOSS_STEP)
    while high - low > 1:  # what refutes "at most x" refutes every smaller x
        middle = (low + high) // 2
        is_refuted = evidence(counts, middle * LOSS_STEP, worse=worse) >= bar
        low, high = (middle, high) if is_refuted == worse else (low, middle)
    return round((low if worse else high) * LOSS_STEP, 4)


def _observed(pairs: Sequence[Pair]) -> float:
    """Return the mean loss over the samples of the new release whose device has counts from before; 0 where none has."""
    known = [pair for pair in pairs if pair.before]
    losses = [pair.after * pair.before_agreed / pair.before - pair.after_agreed for pair in known]
    return sum(losses) / sum(pair.after for pair in known) if known else 0.0
