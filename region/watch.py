"""Whether this region's students have drifted from their expert: what is kept between two answered audit samples. Pure.

Rules, in order:
1. One sample per unit of a stream is judged (the caller sees to that), of all devices together: a region alarms as a whole.
2. Every student release is first learned: its first samples are its reference. So a worse release is no drift (whether it may stay is
   the rollout's and the devices' affair), and for those first samples the region is blind to drift.
3. Then each further sample goes to the detector of its release (shared.deferral.drift).
4. In alarm all samples, whatever their release, go to the test for its end: it ends when the devices as a whole are back at the reference,
   mostly because a later release runs on them. That release starts with the reference of before, as it has just shown that it meets it.
"""

from __future__ import annotations

import math

import msgspec

from region.config import DriftSettings
from shared.deferral.drift import DriftDetector, RecoveryDetector, slack_of
from shared.errors import ConfigurationError
from shared.vision.tasks.task import agrees
from shared.wire.messages import Case, Prediction
from shared.wire.reports import DriftState

RECENT = 64
"""Samples of which the present disagreement is told."""
MOST_RELEASES = 8
"""Releases that are watched beside each other; the one not sampled for longest goes first."""
LARGEST_RELEASE = 2**31


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """An answered audit sample: whose, of which unit and release, whether student and expert agree, and whether it was kept."""

    device: str
    stream: str
    unit: str
    release: int
    agrees: bool
    kept: bool


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples make a reference, how much more disagreement is no drift (share), and alpha (see drift)."""

    reference_samples: int = 100
    slack: float = 0.05
    alpha: float = 1e-4


def rules_of(settings: DriftSettings) -> Rules:
    """Return the rules that region.toml sets.

    Raises:
        ConfigurationError: a value makes no test.
    """
    shares = {"slack": settings.slack, "audit_share": settings.audit_share}
    wrong = [key for key, value in shares.items() if not 0.0 <= value <= 1.0]
    wrong += ["alpha"] if not 0.0 < settings.alpha < 1.0 else []
    wrong += ["reference_samples"] if settings.reference_samples < 1 else []
    if wrong:
        raise ConfigurationError(
            f"drift.{wrong[0]} is {getattr(settings, wrong[0])}.", "Shares are 0 to 1, alpha between them, reference_samples at least 1."
        )
    return Rules(reference_samples=settings.reference_samples, slack=settings.slack, alpha=settings.alpha)


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One release: the samples it was learned on, and its detector from then on."""

    samples: int = 0
    wrong: int = 0
    detector: DriftDetector | None = None

    def add(self, wrong: bool, rules: Rules) -> Track:
        """Return the track after a sample."""
        if self.detector is not None:
            return msgspec.structs.replace(self, detector=self.detector.add(wrong))
        samples, errors = self.samples + 1, self.wrong + wrong
        detector = None
        if samples >= rules.reference_samples:
            slack = slack_of(errors, samples, slack=rules.slack)
            detector = DriftDetector.of(reference=errors / samples, slack=slack, alpha=rules.alpha)
        return Track(samples=samples, wrong=errors, detector=detector)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the region knows of drift.

    `tracks` by release, the one sampled last at the end; `recent` holds the newest samples as "1" (wrong) and "0"; `since` is in Unix
    seconds.
    """

    tracks: dict[int, Track] = {}
    recent: str = ""
    audited: int = 0
    since: float = 0.0
    reference: float = 0.0
    slack: float = 0.0
    recovery: RecoveryDetector | None = None

    @property
    def alarm(self) -> bool:
        """Whether there is an alarm."""
        return self.recovery is not None

    @property
    def disagreement(self) -> float:
        """The share of the newest samples on which student and expert disagree."""
        return self.recent.count("1") / len(self.recent) if self.recent else 0.0

    def state(self, *, cases_since: int) -> DriftState:
        """Return what the cloud is told."""
        leading = self._leading()
        return DriftState(
            alarm=self.alarm,
            since=self.since,
            audited=self.audited,
            disagreement=self.disagreement,
            reference=self.reference if self.alarm or leading is None else leading.reference,
            evidence=self.recovery.evidence if self.recovery else leading.evidence if leading else 1.0,
            cases_since=cases_since,
        )

    def _leading(self) -> DriftDetector | None:
        """Return the detector with the most evidence."""
        found = [track.detector for track in self.tracks.values() if track.detector is not None]
        return max(found, key=lambda detector: detector.evidence, default=None)


def after(watch: Watch, sample: Judged, rules: Rules, *, now: float) -> Watch:
    """Return the watch after a sample.

    Args:
        watch: before it.
        sample: an answered audit sample.
        rules: the region's.
        now: Unix seconds, for `since`.
    """
    wrong = not sample.agrees
    watch = msgspec.structs.replace(watch, audited=watch.audited + 1, recent=(watch.recent + "01"[wrong])[-RECENT:])
    if watch.recovery is not None:
        return _recovering(watch, watch.recovery.add(wrong), sample, rules)
    track = watch.tracks.get(sample.release, Track()).add(wrong, rules)
    others = [(release, other) for release, other in watch.tracks.items() if release != sample.release]
    watch = msgspec.structs.replace(watch, tracks=dict([*others, (sample.release, track)][-MOST_RELEASES:]))
    if track.detector is None or not track.detector.alarm:
        return watch
    reference, alarming = track.detector.reference, max(watch.disagreement, track.detector.limit)
    recovery = RecoveryDetector.of(reference=reference, alarming=alarming, alpha=rules.alpha)
    return msgspec.structs.replace(watch, since=now, reference=reference, slack=track.detector.slack, recovery=recovery)


def _recovering(watch: Watch, recovery: RecoveryDetector, sample: Judged, rules: Rules) -> Watch:
    if not recovery.is_back:
        return msgspec.structs.replace(watch, recovery=recovery)
    fresh = Track(detector=DriftDetector.of(reference=watch.reference, slack=watch.slack, alpha=rules.alpha))
    return msgspec.structs.replace(watch, recovery=None, tracks={sample.release: fresh})


def judge(device: str, case: Case, answer: Prediction) -> Judged:
    """Return what an answered audit sample says: kept means its score reached the threshold, or that there was none to reach."""
    return Judged(
        device=device,
        stream=case.stream,
        unit=case.unit,
        release=min(max(case.release, 0), LARGEST_RELEASE),  # what a device says fits the vault, whatever it says
        agrees=agrees(case.prediction, answer),
        kept=math.isnan(case.threshold) or case.score >= case.threshold,
    )
