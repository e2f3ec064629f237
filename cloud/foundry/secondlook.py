"""Whether a student's card should ask for a second look, and below what margin. Pure numpy: answers in, the card's part out.

Rules, in order:
1. The doubtful frames are the DOUBTFUL share with the smallest margin on the policy-fit split: with two turns, half a pass more a frame.
2. The turns are those the class survives: two for data without up and down, else the mirror alone.
3. It is taken when the system's mean gain over deferred shares up to MOST_DEFERRED, both measured from the student's first answers,
   grows, the one-sided 95 % bootstrap over units included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloud.foundry.calibrate import MOST_DEFERRED, Answers
from cloud.foundry.ranking import Numbers, Ranking, draws
from shared.deferral import second
from shared.deferral.scores import margin
from shared.learning.samples import Frames, Logits
from shared.release.card import SecondLook

DOUBTFUL = 0.25
DRAWS = 500


def turns_for(*, turning: bool) -> tuple[str, ...]:
    """Return the turns of rule 2; `turning` says that up and down mean nothing."""
    return ("mirror", "upside_down") if turning else ("mirror",)


def frames_turned(frames: Frames, turn: str) -> Frames:
    """Return frames uint8 (N, H, W, 3) turned as a device turns a batch of them."""
    return np.ascontiguousarray(np.flip(frames, tuple(axis - 1 for axis in second.TURNS[turn])))


def chosen(fit: Answers, again: Sequence[Logits], turns: Sequence[str]) -> SecondLook | None:
    """Return the second look for a card, None where it does not pay (rule 3).

    Args:
        fit: both models on the policy-fit split.
        again: the student's logits on each turn of its pictures, (N, C) each.
        turns: the names of these turns.
    """
    look = SecondLook(below=float(np.quantile(margin(fit.student), DOUBTFUL)), turns=tuple(turns))
    weights = draws(fit.units, DRAWS)
    once, twice = (mean_gain(one, fit, weights) for one in (fit, looked(fit, again, look)))
    return look if float(np.quantile(twice - once, 0.05)) > 0.0 else None


def looked(answers: Answers, again: Sequence[Logits], look: SecondLook) -> Answers:
    """Return the answers as a device gives them that looks twice; `again` as for `chosen`, in the order of `look.turns`."""
    doubtful = np.flatnonzero(margin(answers.student) < look.below)
    student = np.array(answers.student)
    if len(doubtful):
        student[doubtful] = second.averaged([student[doubtful], *(one[doubtful] for one in again)])
    return Answers(student=student, expert=answers.expert, labels=answers.labels, units=answers.units)


def mean_gain(answers: Answers, first: Answers, weights: Numbers) -> Numbers:
    """Return the system's mean gain over the student's `first` answers, per weighting (D, N), ranked by margin."""
    own, before = (one.student.argmax(axis=1) == one.labels for one in (answers, first))
    alone = (weights * (own.astype(np.float64) - before)).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(Ranking.of(margin(answers.student), answers.gains, weights).area(MOST_DEFERRED) + alone)
