"""Which pictures serve what: ranges of INT8, choice of the threshold, measurement. Pure; drawn by unit, so that no unit serves two.

Rules, in order:
1. A unit's hash draws its share. The same unit is always in the same share, however many others there are.
2. Nothing that is reported is measured on pictures that chose anything.
3. With fewer than FEWEST_RANGES pictures for the ranges there is no INT8; with fewer than FEWEST_UNITS units to measure there is no
   calibration: the card then says that devices may only audit.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.foundry.quantise import FEWEST_CALIBRATION
from cloud.ownmodel.album import hash_of

Indices = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
RANGES, FIT = 0.2, 0.4
FEWEST_RANGES = FEWEST_CALIBRATION
FEWEST_UNITS = 30
"""An error-free sample of 30 units proves a risk of 0.095 at 95 %; fewer prove nothing of use."""


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Indices of the pictures by what they serve."""

    ranges: Indices
    fit: Indices
    test: Indices


def dealt(units: Sequence[str]) -> Shares:
    """Deal pictures by the hash of their units (rule 1).

    Args:
        units: the unit of each picture.
    """
    places = np.array([hash_of(f"share/{unit}") / 2.0**64 for unit in units], np.float64)
    return Shares(
        ranges=np.flatnonzero(places < RANGES),
        fit=np.flatnonzero((places >= RANGES) & (places < RANGES + FIT)),
        test=np.flatnonzero(places >= RANGES + FIT),
    )


def too_few(shares: Shares, units: Sequence[str]) -> str:
    """Return "" when the pictures are enough for a calibration, else what is missing (rule 3)."""
    fit, test = (len({units[int(index)] for index in share}) for share in (shares.fit, shares.test))
    if min(fit, test) < FEWEST_UNITS:
        return f"{len(set(units))} units are too few for a calibration (about {round(FEWEST_UNITS / FIT) + 5} are needed)"
    return ""
