"""The shifts a card meets after it was made: the real ones of the data, and drifting optics; and what live threshold and alarm do in them.

Rules, in order:
1. The real shift: DeepPCB's official boards of runs that training saw, then those of runs it did not; Fashion-MNIST's train list (the part
   that taught nobody), then its test list. The figures are of these.
2. Optics: from the same world before to official frames as a site of drifted lamp, lens and sensor takes them (provisioning.drift), which
   the real networks answer anew; one row per strength.
3. No shift: from policy-fit to policy-test, on whose frames alone anything about the live threshold was chosen (decision 18).
4. `epsilon` of the live threshold is the card's own, as a device has it that was told no other; rows show others beside it.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.foundry.ranking import Numbers
from tests.bench.deferrals import alarms, following
from tests.bench.deferrals.comparison import interval, over, students_drawn
from tests.bench.deferrals.following import Followed
from tests.bench.deferrals.judged import Judged
from tests.bench.deferrals.models import Lab
from tests.bench.deferrals.worlds import World

REAL, HOME = "real", "none"
STRENGTHS = (0.25, 0.5, 0.75)
EPSILONS = (0.01, 0.02, 0.05)
AUDIT_SHARE = 0.02
"""What a device draws where nobody said otherwise."""
DRAWS, STREAMS = 20, 3
UNDISTURBED_STREAMS, CHANGED_STREAMS = 100, 40


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """What one student meets: the world before and the world after, and its card's threshold and epsilon."""

    name: str
    before: World
    after: World
    start: float
    epsilon: float


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The live threshold on one shift, students together, per draw (see following)."""

    shift: str
    epsilon: float
    excess: Numbers
    forwarded: Numbers
    card_excess: Numbers
    card_forwarded: Numbers
    oracle_forwarded: Numbers

    @property
    def ratio(self) -> Numbers:
        """Forwards over the oracle's; infinite where the oracle forwards nothing."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.forwarded / self.oracle_forwarded)

    @property
    def ratio_with_audits(self) -> Numbers:
        """The same with the audit samples, which both need to know anything."""
        own, best = (AUDIT_SHARE + (1.0 - AUDIT_SHARE) * one for one in (self.forwarded, self.oracle_forwarded))
        return np.asarray(own / best)


def shifts(lab: Lab, one: Judged) -> list[Shift]:
    """Return the real shift, the optics' and none (rules 1 to 3) of one student, in this order."""
    groups = np.array(one.measured.groups)
    has_groups = bool((groups == "unseen").any())
    before = one.world(one.official, groups == "seen") if has_groups else one.world(one.test)
    pairs = {REAL: (before, one.world(one.official, groups == "unseen") if has_groups else one.world(one.official))}
    for strength in STRENGTHS:
        pairs[f"optics {strength}"] = before, one.world(one.looked(*lab.later(one.measured.seed, strength)))
    pairs[HOME] = one.world(one.fit), one.world(one.test)
    start, epsilon = one.card.threshold, one.card.epsilon
    return [Shift(name=name, before=old, after=new, start=start, epsilon=epsilon) for name, (old, new) in pairs.items()]


def live(each: list[Shift], epsilon: float | None) -> Live:
    """Follow one shift with all students; `epsilon` None takes each card's own."""
    found = [
        following.drawn(
            one.before, one.after, start=one.start, epsilon=epsilon or one.epsilon, share=AUDIT_SHARE, draws=DRAWS, streams=STREAMS
        )
        for one in each
    ]
    picked = students_drawn(len(each), DRAWS)
    columns = {name: over(np.stack([following.column(one, name) for one in found]), picked) for name in Followed.__struct_fields__}
    return Live(shift=each[0].name, epsilon=epsilon or float(np.mean([one.epsilon for one in each])), **columns)


def live_row(data: str, one: Live) -> dict[str, float | str]:
    """Return the row of one shift at one epsilon."""
    excess, excess_low, excess_high = interval(one.excess)
    ratio, ratio_low, ratio_high = interval(one.ratio)
    return {
        "data": data,
        "shift": one.shift,
        "live_epsilon": one.epsilon,
        "excess": excess,
        "excess_low": excess_low,
        "excess_high": excess_high,
        "forwarded": float(one.forwarded[0]),
        "oracle": float(one.oracle_forwarded[0]),
        "ratio": ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "ratio_with_audits": float(one.ratio_with_audits[0]),
        "card_excess": float(one.card_excess[0]),
        "card_forwarded": float(one.card_forwarded[0]),
    }


def alarm_row(data: str, each: list[Shift]) -> dict[str, float | str]:
    """Return the drift alarm's row of one shift, students together."""
    found = [alarms.delays(one.before, one.after, streams=CHANGED_STREAMS, share=AUDIT_SHARE, seed=place) for place, one in enumerate(each)]
    together = alarms.Delays(
        streams=sum(one.streams for one in found),
        early=sum(one.early for one in found),
        found=tuple(delay for one in found for delay in one.found),
    )
    return {
        "data": data,
        "shift": each[0].name,
        "disagreement_before": float(np.mean([one.before.differs.mean() for one in each])),
        "disagreement_after": float(np.mean([one.after.differs.mean() for one in each])),
        "alarmed": together.caught,
        "delay_audits_p50": together.median,
    }


def false_alarms(each: list[Shift]) -> alarms.Undisturbed:
    """Count alarms where nothing changes, in either world of the real shift, students together."""
    found = [
        alarms.undisturbed(world, streams=UNDISTURBED_STREAMS, share=AUDIT_SHARE, seed=place)
        for place, one in enumerate(each)
        for world in (one.before, one.after)
    ]
    return alarms.Undisturbed(
        streams=sum(one.streams for one in found), samples=found[0].samples, alarmed=sum(one.alarmed for one in found)
    )
