"""One student with the card it would get, and how often such a card's promise breaks. Pure.

Rules, in order:
1. Second look, score and threshold are chosen on policy-fit as the foundry chooses them; the bound is measured on policy-test.
2. What the student says of official, seen and later frames is what a device with that card would say.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.foundry import calibrate, deferral, secondlook
from cloud.foundry.ranking import Numbers
from shared.learning.samples import Logits
from shared.release.card import Calibration, SecondLook
from tests.bench.deferrals import guarantee
from tests.bench.deferrals.measured import MEASURED, Measured
from tests.bench.deferrals.worlds import Flags, World

EPSILON, DELTA = 0.02, 0.05


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A student's card and answers, both with its second look where it has one."""

    measured: Measured
    fit: calibrate.Answers
    test: calibrate.Answers
    official: calibrate.Answers
    look: SecondLook | None
    found: deferral.Preference
    card: Calibration
    system: calibrate.System
    broken: guarantee.Broken

    def scores(self, answers: calibrate.Answers) -> Numbers:
        """Return the card's score of answers, (N)."""
        return calibrate.score_of(self.found.name, self.found.model)(answers.student)

    def looked(self, first: calibrate.Answers, again: list[Logits]) -> calibrate.Answers:
        """Return what the device answers after its second look, if it takes one."""
        return first if self.look is None else secondlook.looked(first, again, self.look)

    def world(self, answers: calibrate.Answers, picked: Flags | None = None) -> World:
        """Return answers (of this device, see `looked`) as a world, or a part of them."""
        kept = np.ones(len(answers.labels), bool) if picked is None else picked
        differs = answers.student.argmax(axis=1) != answers.expert.argmax(axis=1)
        return World.of(self.scores(answers)[kept], differs[kept], np.array(answers.units)[kept].tolist())

    @property
    def passes(self) -> float:
        """How many passes of the student a frame costs beside the first, on the official list."""
        if self.look is None:
            return 0.0
        return len(self.look.turns) * float((calibrate.score_of(calibrate.SCORE)(self.measured.official.student) < self.look.below).mean())


def judge(measured: Measured, draws: int) -> Judged:
    """Make a student's card (rule 1) and break its promise `draws` times if that can be."""
    look = secondlook.chosen(measured.fit, measured.again["policy-fit"], measured.turns)
    fit, test, official = (
        one if look is None else secondlook.looked(one, measured.again[split], look)
        for one, split in zip((measured.fit, measured.test, measured.official), MEASURED, strict=True)
    )
    found = deferral.preferred(fit)
    card = calibrate.calibration(fit, test, delta=DELTA, score=found.name, ranked=found.scores, model=found.model)
    scores = np.concatenate([found.scores, calibrate.score_of(found.name, found.model)(test.student)])
    missed, units = np.concatenate([fit.missed, test.missed]), (*fit.units, *test.units)
    return Judged(
        measured=measured,
        fit=fit,
        test=test,
        official=official,
        look=look,
        found=found,
        card=card,
        system=calibrate.system(official, card.threshold, found.name, found.model),
        broken=guarantee.violations(scores, missed, units, epsilon=EPSILON, delta=DELTA, draws=draws),
    )
