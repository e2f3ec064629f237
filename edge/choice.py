"""Which release a device should bring into service next, if any. Pure: everything it depends on is given.

Rules, in order:
1. What the desired state wants of this device (cohort, previous release) and nothing else.
2. Nothing while the wanted release is the running one.
3. Never below the family's minimum release; that is an error, since the document contradicts what this device has seen.
4. Not one whose very file this device has refused or taken back before.

Example:
    >>> choose(DesiredModel(release=2), device="edge-1.region-1", running=1, minimum=1).wanted.release
    2
    >>> choose(DesiredModel(release=2), device="edge-1.region-1", running=2, minimum=1).wanted is None
    True
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shared.errors import TrustError
from shared.release.desired import DesiredModel, Wanted, wanted


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What to bring into service, or None and, where there is something to say, why not."""

    wanted: Wanted | None = None
    reason: str = ""


def choose(model: DesiredModel | None, *, device: str, running: int, minimum: int) -> Choice:
    """Return what a device should bring into service.

    Args:
        model: the desired state of its family, None where the document has none.
        device: its name, `<name>.<region>`.
        running: the release in service, 0 for none.
        minimum: the highest minimum release this device has ever seen.

    Raises:
        TrustError: the wanted release is below the minimum.
    """
    choice = wanted(model, device) if model else None
    if choice is None or choice.release == running:
        return Choice()
    if choice.release < minimum:
        raise TrustError(f"release {choice.release} is below {minimum}, the lowest this device may run.")
    return Choice(wanted=choice)


def unless_quarantined(choice: Choice, *, onnx_sha256: str, quarantined: Mapping[str, str]) -> Choice:
    """Return the choice, or none where the release's file is quarantined.

    Args:
        choice: what was chosen.
        onnx_sha256: the signed hash of its model.
        quarantined: reasons by the hash of a model.
    """
    if choice.wanted is None or onnx_sha256 not in quarantined:
        return choice
    return Choice(reason=f"release {choice.wanted.release} is quarantined: {quarantined[onnx_sha256]}")


def delta_base(choice: Wanted, *, running: int, delta_bytes: int | None, full_bytes: int) -> int:
    """Return the release a delta is to be applied to, 0 when the full file is to be fetched.

    Args:
        choice: what is to be brought into service.
        running: the release in service.
        delta_bytes: the signed length of the delta from it, None where there is none.
        full_bytes: the signed length of the model.
    """
    useful = running in choice.deltas and delta_bytes is not None and delta_bytes < full_bytes
    return running if useful else 0
