"""How a rollout goes: to a new release in growing cohorts, on when devices say it is good, back when they say it is not. Pure.

Rules, in order:
1. A new release starts with a share of the devices, by keyed hash under a fresh salt; the others keep what they had.
2. One vote per device of the cohort: committed is for it, fallen back or refused against. At the deadline a missing vote is against.
3. More than `largest_failed_share` of the cohort against it: halt. Halting asks nobody.
4. All votes for it, from at least `minimum_devices` devices in `minimum_regions` regions: advance to the next share.
   A smaller fleet asks an operator.
5. Going back names the older release in a newer document, never below the minimum release.

Example:
    >>> first = follow(None, fleet="acme", family="student", release=1, role="manual")
    >>> follow(first, fleet="acme", family="student", release=2, role="auto", salt="x", share=0.1).models["student"].previous
    1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from shared.errors import TrustError
from shared.release.desired import Desired, DesiredModel, cohort_position

SHARES = (0.05, 0.25, 1.0)
"""The cohorts a rollout goes through by default."""
AGAINST = frozenset({"fallen_back", "refused"})


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """A device's last word on a release, as its region reports it: `committed`, `fallen_back` or `refused`."""

    region: str
    state: str


class Step(Enum):
    """What a rollout should do next."""

    WAIT = "wait"
    ADVANCE = "advance"
    ASK = "ask"
    HALT = "halt"
    DONE = "done"


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to advance without an operator, and what it takes to halt."""

    minimum_devices: int = 5
    minimum_regions: int = 2
    largest_failed_share: float = 0.1


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What to do and why."""

    step: Step
    reason: str


def follow(
    before: Desired | None,
    *,
    fleet: str,
    family: str,
    release: int,
    role: str,
    deltas: Sequence[int] = (),
    salt: str = "",
    share: float = 1.0,
) -> Desired:
    """Return the desired state that starts a rollout of `release`.

    Args:
        before: the current desired state, None for the first.
        fleet: the fleet.
        family: the family the release belongs to.
        release: its number.
        role: who signed it.
        deltas: releases a delta to it exists from.
        salt: fresh randomness that orders the devices.
        share: of the devices that may run it first, 0 to 1.
    """
    old = before.models.get(family) if before else None
    model = DesiredModel(
        release=release,
        role=role,
        minimum_release=old.minimum_release if old else 1,
        deltas=tuple(deltas),
        previous=old.release if old else 0,
        previous_role=old.role if old else "manual",
        cohort_salt=salt,
        cohort_share=share if old else 1.0,
    )
    return _with(before, fleet, family, model)


def widen(before: Desired, family: str, share: float) -> Desired:
    """Return the desired state that gives the release to a larger share; the cohort only grows.

    Raises:
        TrustError: the share is not larger.
    """
    model = _model(before, family)
    if not model.cohort_share < share <= 1.0:
        raise TrustError(f"the cohort has a share of {model.cohort_share:g}; {share:g} does not widen it.")
    return _with(before, before.fleet, family, msgspec.structs.replace(model, cohort_share=share))


def go_back(before: Desired, family: str, *, release: int = 0, role: str = "") -> Desired:
    """Return the desired state that takes every device back to an older release, by default the one before.

    Raises:
        TrustError: there is none, or it is below the family's minimum release.
    """
    model = _model(before, family)
    target, signer = (release, role) if release else (model.previous, model.previous_role)
    if target < max(1, model.minimum_release):
        raise TrustError(f"there is no release of {family} to go back to that is not below its minimum {model.minimum_release}.")
    back = DesiredModel(release=target, role=signer, minimum_release=model.minimum_release)
    return _with(before, before.fleet, family, back)


def raise_minimum(before: Desired, family: str, minimum: int) -> Desired:
    """Return the desired state that forbids releases below `minimum` for ever; for security only.

    Raises:
        TrustError: it is lower than now, or above the desired release.
    """
    model = _model(before, family)
    if not model.minimum_release <= minimum <= model.release:
        raise TrustError(f"the minimum release of {family} is {model.minimum_release} and goes up to {model.release} at most.")
    previous = model.previous if model.previous >= minimum else 0
    return _with(before, before.fleet, family, msgspec.structs.replace(model, minimum_release=minimum, previous=previous))


def next_share(share: float) -> float:
    """Return the share of the next cohort."""
    return next((one for one in SHARES if one > share), 1.0)


def judge(model: DesiredModel, *, devices: Sequence[str], votes: Mapping[str, Vote], is_over: bool, quorum: Quorum) -> Judgement:
    """Say what a rollout should do.

    Args:
        model: what is rolled out.
        devices: every device of the fleet, `<name>.<region>`.
        votes: by device, its last word on this release.
        is_over: whether the deadline for votes has passed.
        quorum: see Quorum.
    """
    cohort = [device for device in devices if cohort_position(model.cohort_salt, device) < model.cohort_share]
    if not cohort:
        return Judgement(step=Step.ASK if is_over else Step.WAIT, reason="no device is in the cohort")
    cast = [votes[device] for device in cohort if device in votes]
    against = sum(vote.state in AGAINST for vote in cast)
    missing = len(cohort) - len(cast)
    failed = against + (missing if is_over else 0)
    if failed > quorum.largest_failed_share * len(cohort):
        return Judgement(step=Step.HALT, reason=f"{against} of {len(cohort)} devices are against it, {missing} are silent")
    if missing and not is_over:
        return Judgement(step=Step.WAIT, reason=f"{missing} of {len(cohort)} devices have not said anything yet")
    return _advance(model, [vote.region for vote in cast if vote.state not in AGAINST], quorum)


def _advance(model: DesiredModel, regions: Sequence[str], quorum: Quorum) -> Judgement:
    if model.cohort_share >= 1.0:
        return Judgement(step=Step.DONE, reason=f"{len(regions)} devices have committed it")
    if len(regions) < quorum.minimum_devices or len(set(regions)) < quorum.minimum_regions:
        reason = f"{len(regions)} devices in {len(set(regions))} regions are too few to go on without an operator"
        return Judgement(step=Step.ASK, reason=reason)
    return Judgement(step=Step.ADVANCE, reason=f"{len(regions)} devices in {len(set(regions))} regions have committed it")


def _model(desired: Desired, family: str) -> DesiredModel:
    if family not in desired.models:
        raise TrustError(f"the fleet {desired.fleet} has no {family}.")
    return desired.models[family]


def _with(before: Desired | None, fleet: str, family: str, model: DesiredModel) -> Desired:
    models = {**(before.models if before else {}), family: model}
    return Desired(version=before.version + 1 if before else 1, fleet=fleet, models=models)
