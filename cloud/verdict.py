"""What a rollout should do next, given what its devices and their audit samples say. Pure.

Rules, in order:
1. One vote per device of the cohort: committed is for the release, fallen back or refused against it; until its deadline a stage
   waits for the others, afterwards a missing vote is against. Devices that were away before the rollout began have no vote.
2. Halt when the audit samples say that the release is worse (see agreement, clusters), or when more than `largest_failed_share` of the
   cohort are against it. Halting asks nobody, needs no quorum, and happens to a paused or asking rollout too.
3. All votes in, and fewer than `minimum_devices` committed it in `minimum_regions` regions: ask an operator. The last stage, when all
   devices have it, has nothing left to ask for.
4. All votes in, the stage no longer young, and the audit samples rule a large loss out: widen, or finish. From `SMALL_SHARE` of the fleet
   on they must rule a small one out too, where devices compare releases at all.
5. At the deadline without that: ask; the last stage finishes, since nothing speaks against the release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from cloud.agreement import Evidence
from cloud.clusters import Clusters
from cloud.rollout_states import Event, State
from shared.wire.reports import DeviceSummary


class Vote(Enum):
    """A device's last word on a release."""

    WAITING = "waiting"
    PROBATION = "probation"
    COMMITTED = "committed"
    FALLEN_BACK = "fallen_back"
    REFUSED = "refused"


AGAINST = frozenset({Vote.FALLEN_BACK, Vote.REFUSED})
SMALL_SHARE = 0.05
"""A release that may still be a little worse goes to fewer devices than this, and no further."""


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to widen without an operator, and what it takes to halt."""

    minimum_devices: int = 5
    minimum_regions: int = 2
    largest_failed_share: float = 0.1
    ask_when_small: bool = True


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen, None for nothing yet, and why."""

    event: Event | None
    reason: str


def vote_of(device: DeviceSummary, release: int) -> Vote:
    """Return a device's last word on a release."""
    if device.update_release == release and device.update_word in {vote.value for vote in AGAINST}:
        return Vote(device.update_word)
    if device.committed[-1:] == (release,):
        return Vote.COMMITTED
    return Vote.PROBATION if device.release == release else Vote.WAITING


def judge(
    state: State,
    share: float,
    votes: Mapping[str, Vote],
    evidence: Evidence,
    *,
    is_young: bool = False,
    is_over: bool,
    quorum: Quorum,
    excluded: float,
) -> Judgement:
    """Say what a rollout should do.

    Args:
        state: where it stands; one that is open.
        share: of the devices that may run the release, 0 to 1.
        votes: by device of the cohort, `<name>.<region>`.
        evidence: what the audit samples say, also where devices ran both releases on them.
        is_young: whether the stage has not lasted as long as a stage shall.
        is_over: whether the stage's deadline has passed.
        quorum: see Quorum.
        excluded: the loss that must be ruled out, for the reason.
    """
    against = sum(vote in AGAINST for vote in votes.values())
    missing = sum(vote in (Vote.WAITING, Vote.PROBATION) for vote in votes.values())
    if evidence.worse or evidence.clusters.worse:
        return Judgement(event=Event.HALT, reason=_loss(evidence) if evidence.worse else _mean_loss(evidence.clusters))
    if against + (missing if is_over else 0) > quorum.largest_failed_share * len(votes):
        silent = f", {missing} have not committed it in time" if is_over and missing else ""
        return Judgement(event=Event.HALT, reason=f"{against} of {len(votes)} devices took it back or refused it{silent}")
    if state in (State.ASKING, State.PAUSED) or ((missing or not votes) and not is_over):
        return Judgement(event=None, reason=f"{missing} of {len(votes)} devices have not committed it yet")
    is_sound, weighed = _soundness(share, evidence, excluded)
    if is_young:
        return Judgement(event=None, reason=f"{_committed(votes)}; {weighed}; the stage has not lasted its time yet")
    return _all_voted(share, votes, is_sound, weighed, is_over=is_over, quorum=quorum)


def _soundness(share: float, evidence: Evidence, excluded: float) -> tuple[bool, str]:
    """Return whether the samples rule out what they must at this share (rule 4), and what they say."""
    clusters = evidence.clusters
    if not evidence.sound:
        return False, f"{evidence.audits} audit samples do not rule out a loss of {excluded * 100:.0f} points"
    if share < SMALL_SHARE or not clusters.devices or clusters.sound:
        return True, _mean_loss(clusters) if clusters.devices else _loss(evidence)
    return False, f"{_mean_loss(clusters)}: too few devices to rule out a small loss"


def _all_voted(share: float, votes: Mapping[str, Vote], is_sound: bool, weighed: str, *, is_over: bool, quorum: Quorum) -> Judgement:
    committed = [device for device, vote in votes.items() if vote is Vote.COMMITTED]
    regions = {device.partition(".")[2] for device in committed}
    words = _committed(votes)
    is_last = share >= 1.0
    is_small = len(committed) < quorum.minimum_devices or len(regions) < quorum.minimum_regions
    if is_small and not is_last and (quorum.ask_when_small or not votes):
        least = f"{quorum.minimum_devices} in {_regions(range(quorum.minimum_regions))}"
        return Judgement(event=Event.ASK, reason=f"{words}; going on without an operator takes {least}")
    onward = Event.FINISH if is_last else Event.WIDEN
    if is_sound:
        return Judgement(event=onward, reason=f"{words}; {weighed}")
    if not is_over:
        return Judgement(event=None, reason=f"{words}; {weighed}")
    if is_last or not quorum.ask_when_small:
        return Judgement(event=onward, reason=f"{words}; nothing speaks against it, though {weighed}")
    return Judgement(event=Event.ASK, reason=f"{words}; {weighed}")


def _committed(votes: Mapping[str, Vote]) -> str:
    committed = [device for device, vote in votes.items() if vote is Vote.COMMITTED]
    regions = {device.partition(".")[2] for device in committed}
    return f"{len(committed)} of {len(votes)} devices in {_regions(regions)} have committed it"


def _loss(evidence: Evidence) -> str:
    points = f"{abs(evidence.loss) * 100:.1f} points {'less' if evidence.loss >= 0 else 'more'} often"
    interval = f"loss between {evidence.low * 100:.1f} and {evidence.high * 100:.1f} points"
    return f"it agrees with the expert {points} than the release before on {evidence.audits} audit samples ({interval})"


def _mean_loss(clusters: Clusters) -> str:
    points = f"{abs(clusters.loss) * 100:.1f} points {'less' if clusters.loss >= 0 else 'more'} often"
    interval = f"loss between {clusters.low * 100:.1f} and {clusters.high * 100:.1f} points"
    return f"{clusters.devices} devices that run both find it to agree {points} with the expert on the same samples ({interval})"


def _regions(names: Sequence[int] | set[str]) -> str:
    return f"{len(names)} region{'s' * (len(names) != 1)}"
