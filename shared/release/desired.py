"""Desired state: which release every device of a fleet should run. It is the TUF target `rollout/<fleet>.json`.

Here: the document and the choices a device derives from it. Not here: its freshness and signatures (trust), how a rollout
advances (the cloud).

Rules, in order:
1. A device inside the cohort wants `release`, one outside wants `previous`; without a previous release it wants nothing new.
2. The cohort is a keyed hash of the device's name under a salt made for this rollout, so nobody can choose to be first.
3. Nothing below `minimum_release` is ever wanted; going back is a newer document that names an older release.

Example:
    >>> model = DesiredModel(release=3, cohort_share=0.0, previous=2)
    >>> wanted(model, "edge-1.region-1").release
    2
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from shared.errors import TrustError
from shared.release.card import target_path

LARGEST_DESIRED_BYTES = 64 << 10
LONGEST_DELTA_LIST = 64
ROLES = ("manual", "auto")


class DesiredModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet should run of one family.

    `deltas` lists the releases a delta to `release` exists from; `previous` (0: none) is what devices outside the cohort run;
    `role` and `previous_role` say who signed them; `cohort_share` is the share of devices that may run `release`, 0 to 1.
    """

    release: int
    role: str = "manual"
    minimum_release: int = 1
    deltas: tuple[int, ...] = ()
    previous: int = 0
    previous_role: str = "manual"
    cohort_salt: str = ""
    cohort_share: float = 1.0


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """The document: `version` grows by one with every change, `models` maps a family to what is wanted of it."""

    version: int
    fleet: str
    models: dict[str, DesiredModel]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What one device should run: a release, who signed it, and the bases a delta exists from."""

    release: int
    role: str
    deltas: tuple[int, ...] = ()

    def path(self, model: str, suffix: str) -> str:
        """Return the target path of one of the release's files."""
        return target_path(model, self.role, self.release, suffix)


def rollout_path(fleet: str) -> str:
    """Return the TUF target path of a fleet's desired state."""
    return f"rollout/{fleet}.json"


def encode_desired(desired: Desired) -> bytes:
    """Return the document as JSON.

    Raises:
        TrustError: it would not be accepted by `decode_desired`.
    """
    data = msgspec.json.format(msgspec.json.encode(desired), indent=1)
    decode_desired(data)
    return data


def decode_desired(data: bytes) -> Desired:
    """Parse and check a document.

    Raises:
        TrustError: too large, not a desired state, or one that contradicts itself.
    """
    if len(data) > LARGEST_DESIRED_BYTES:
        raise TrustError(f"a desired state of {len(data)} bytes is larger than {LARGEST_DESIRED_BYTES}.")
    try:
        desired = msgspec.json.decode(data, type=Desired)
    except msgspec.MsgspecError as error:
        raise TrustError(f"this is no desired state: {error}.") from None
    if desired.version < 1:
        raise TrustError("a desired state counts its versions from 1.")
    for family, model in desired.models.items():
        _check(family, model)
    return desired


def _check(family: str, model: DesiredModel) -> None:
    if model.role not in ROLES or model.previous_role not in ROLES:
        raise TrustError(f"the desired state of {family} names a role that signs no releases.")
    if model.release < max(1, model.minimum_release) or model.previous < 0:
        raise TrustError(f"the desired state of {family} names release {model.release}, below its own minimum {model.minimum_release}.")
    if not 0.0 <= model.cohort_share <= 1.0 or len(model.deltas) > LONGEST_DELTA_LIST:
        raise TrustError(f"the desired state of {family} has a cohort share or a list of deltas out of range.")


def cohort_position(salt: str, device: str) -> float:
    """Return where a device stands in the order of a rollout, 0 inclusive to 1 exclusive; HMAC-SHA256 of its name under the salt."""
    digest = hmac.new(salt.encode(), device.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def wanted(model: DesiredModel, device: str) -> Wanted | None:
    """Return what `device` should run of a family, or None when the document asks nothing of it.

    Args:
        model: the family's entry.
        device: the device's name, `<name>.<region>`.
    """
    if cohort_position(model.cohort_salt, device) < model.cohort_share:
        return Wanted(release=model.release, role=model.role, deltas=model.deltas)
    if model.previous >= max(1, model.minimum_release):
        return Wanted(release=model.previous, role=model.previous_role)
    return None
