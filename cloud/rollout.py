"""The documents of a rollout and its cohorts: to a new release in growing shares of the devices, and back. Pure.

Rules, in order:
1. A new release starts with a share of the devices, by keyed hash under a fresh salt; the others keep what they had.
2. The first share holds at least one device; more than the share asks for only where that makes a quorum without taking more than
   `LARGEST_CANARY` of the fleet. Every further share holds more devices than the one before; the last holds all.
3. What others keep and what is gone back to is the last release that was meant for all, never one that was still on trial.
4. Going back names the older release in a newer document, never below the minimum release.

Not here: when to go on (verdict), where a rollout stands (rollout_states), who does it (rollouts).

Example:
    >>> first = follow(None, fleet="acme", family="student", release=1, role="manual")
    >>> follow(first, fleet="acme", family="student", release=2, role="auto", salt="x", share=0.1).models["student"].previous
    1
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from shared.errors import TrustError
from shared.release.desired import Desired, DesiredModel, cohort_position

SHARES = (0.01, 0.05, 0.25, 1.0)
"""The cohorts a rollout goes through by default."""
LARGEST_CANARY = 0.25
"""Share of the devices that a first cohort may hold to make a quorum."""


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
        previous=proven(old)[0] if old else 0,
        previous_role=proven(old)[1] if old else "manual",
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


def proven(model: DesiredModel) -> tuple[int, str]:
    """Return the last release that was meant for every device, and who signed it."""
    is_on_trial = model.cohort_share < 1.0 and model.previous >= max(1, model.minimum_release)
    return (model.previous, model.previous_role) if is_on_trial else (model.release, model.role)


def cohort(devices: Sequence[str], salt: str, share: float) -> list[str]:
    """Return the devices, `<name>.<region>`, that may run the release, first come first."""
    return [device for position, device in _ordered(devices, salt) if position < share]


def opening_share(devices: Sequence[str], salt: str, share: float, *, minimum_devices: int, minimum_regions: int) -> float:
    """Return the first cohort's share, 0 to 1 (rule 2).

    Args:
        devices: of the fleet.
        salt: of this rollout.
        share: of the devices that should be first.
        minimum_devices: the quorum's devices.
        minimum_regions: the quorum's regions.
    """
    ordered = _ordered(devices, salt)
    count = max(1, math.ceil(share * len(ordered)))
    most = max(count, int(LARGEST_CANARY * len(ordered)))
    for wanted in range(max(count, minimum_devices), most + 1):
        if len({device.partition(".")[2] for _, device in ordered[:wanted]}) >= minimum_regions:
            return _share_of(ordered, wanted)
    return _share_of(ordered, count) if ordered else share


def wider_share(devices: Sequence[str], salt: str, share: float) -> float:
    """Return the share of the next cohort, which holds more devices than this one does."""
    ordered = _ordered(devices, salt)
    held = sum(position < share for position, _ in ordered)
    wanted = (math.ceil(one * len(ordered)) for one in SHARES if one > share)
    return next((_share_of(ordered, count) for count in wanted if count > held), 1.0)


def _ordered(devices: Sequence[str], salt: str) -> list[tuple[float, str]]:
    return sorted((cohort_position(salt, device), device) for device in set(devices))


def _share_of(ordered: Sequence[tuple[float, str]], count: int) -> float:
    """Return a share that holds exactly the first `count` devices."""
    return (ordered[count - 1][0] + ordered[count][0]) / 2 if count < len(ordered) else 1.0


def named(before: Desired, family: str, model: DesiredModel) -> Desired:
    """Return the desired state that says this of a family, never with a lower minimum release.

    Raises:
        TrustError: the release is below the family's minimum.
    """
    minimum = _model(before, family).minimum_release
    if model.release < max(1, minimum):
        raise TrustError(f"there is no release of {family} to go to that is not below its minimum {minimum}.")
    return _with(before, before.fleet, family, msgspec.structs.replace(model, minimum_release=minimum))


def _model(desired: Desired, family: str) -> DesiredModel:
    if family not in desired.models:
        raise TrustError(f"the fleet {desired.fleet} has no {family}.")
    return desired.models[family]


def _with(before: Desired | None, fleet: str, family: str, model: DesiredModel) -> Desired:
    models = {**(before.models if before else {}), family: model}
    return Desired(version=before.version + 1 if before else 1, fleet=fleet, models=models)
