"""Whether a device's student has drifted from the expert: what is kept between two answered audit samples of one release. Pure.

States: learning (the first `REFERENCE` samples are the reference), steady, alarm. Rules, in order:
1. Before the reference is full there is no alarm; the device is blind to drift for so long.
2. Steady: shared.deferral.drift's detector, at most n * `ALPHA` false alarms expected in n samples.
3. Alarm: its recovery test; when that is done the detector begins anew with the reference of before.

The region's watch (all its devices together, across restarts) is another; the device's own acts at once, on its own audit share.
"""

from __future__ import annotations

import msgspec

from shared.deferral.drift import DriftDetector, RecoveryDetector, slack_of

REFERENCE = 100
SLACK = 0.05
ALPHA = 1e-4
RECENT = 64
LEARNING, STEADY, ALARM = "learning", "steady", "alarm"


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one release: `recent` holds the newest samples as "1" (they differ) and "0"."""

    samples: int = 0
    differing: int = 0
    recent: str = ""
    detector: DriftDetector | None = None
    recovery: RecoveryDetector | None = None

    @property
    def state(self) -> str:
        """Learning, steady or alarm."""
        if self.recovery is not None:
            return ALARM
        return LEARNING if self.detector is None else STEADY

    @property
    def reference(self) -> float:
        """The disagreement of the first samples, a share; 0 while they are learned."""
        return self.detector.reference if self.detector else 0.0

    @property
    def disagreement(self) -> float:
        """The disagreement of the newest samples, a share."""
        return self.recent.count("1") / len(self.recent) if self.recent else 0.0

    @property
    def evidence(self) -> float:
        """How much speaks for a change of state, as a factor; 1 says nothing."""
        test = self.recovery or self.detector
        return test.evidence if test else 1.0

    def add(self, differs: bool) -> Steadiness:
        """Return what is known after a sample on which student and expert differ or agree."""
        seen = msgspec.structs.replace(self, recent=(self.recent + "01"[differs])[-RECENT:], samples=self.samples + 1)
        if seen.detector is None:
            return _learned(seen, differs)
        if seen.recovery is not None:
            return _recovering(seen, seen.detector, seen.recovery.add(differs))
        detector = seen.detector.add(differs)
        if not detector.alarm:
            return msgspec.structs.replace(seen, detector=detector)
        alarming = max(seen.disagreement, detector.limit)
        recovery = RecoveryDetector.of(reference=detector.reference, alarming=alarming, alpha=ALPHA)
        return msgspec.structs.replace(seen, detector=detector, recovery=recovery)


def _learned(seen: Steadiness, differs: bool) -> Steadiness:
    wrong = seen.differing + differs
    if seen.samples < REFERENCE:
        return msgspec.structs.replace(seen, differing=wrong)
    slack = slack_of(wrong, seen.samples, slack=SLACK)
    detector = DriftDetector.of(reference=wrong / seen.samples, slack=slack, alpha=ALPHA)
    return msgspec.structs.replace(seen, differing=wrong, detector=detector)


def _recovering(seen: Steadiness, before: DriftDetector, recovery: RecoveryDetector) -> Steadiness:
    if not recovery.is_back:
        return msgspec.structs.replace(seen, recovery=recovery)
    fresh = DriftDetector.of(reference=before.reference, slack=before.slack, alpha=ALPHA)
    return msgspec.structs.replace(seen, detector=fresh, recovery=None)
