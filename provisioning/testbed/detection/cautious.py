"""A release that defers more: the running detector with a higher deferral threshold, signed by the approver like any other. Pure.

The network and the boxes it tells are the same, so that it agrees with the expert as before; only more boards count as doubtful. The
promised risk still holds, since fewer boards are kept.
"""

from __future__ import annotations

import msgspec

from shared.release.card import Card

MORE = 0.1
"""How much larger a share of the boards is deferred, at least."""


def cautious(card: Card) -> Card | None:
    """Return a card that defers at least MORE of all boards in addition, by its own curve; None where it has no curve or no room.

    Args:
        card: of the running student.
    """
    if card.calibration is None or not card.deferral_curve:
        return None
    before = card.calibration.threshold
    now = min(card.deferral_curve, key=lambda point: abs(point.threshold - before))
    higher = [point for point in card.deferral_curve if point.deferred_share >= now.deferred_share + MORE and point.threshold > before]
    if not higher:
        return None
    chosen = min(higher, key=lambda point: point.deferred_share)
    calibration = msgspec.structs.replace(card.calibration, threshold=chosen.threshold)
    lineage = msgspec.structs.replace(card.lineage, parent=card.release, recipe="another threshold")
    return msgspec.structs.replace(card, release=card.release + 1, calibration=calibration, lineage=lineage)
