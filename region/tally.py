"""Counting how a model did on the held-out cases: what an evaluation may tell the cloud. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from shared.vision.frames import Pixels
from shared.wire.reports import SliceCounts

Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Classes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """The held-out cases: frames uint8 (N, H, W, 3), their true classes (the expert's or people's), and each case's unit as a number."""

    frames: Pixels
    truth: Classes
    units: Classes


def count(predicted: Classes, scores: Values, cases: HeldOut, *, classes: int, edges: Sequence[float]) -> SliceCounts:
    """Return the counts of one model on the held-out cases; bins count one case per unit, its first, so that units are independent."""
    right = predicted == cases.truth
    bins = np.searchsorted(np.asarray(edges, np.float64), scores, side="right")
    _, drawn = np.unique(cases.units, return_index=True)
    units = int(cases.units.max()) + 1 if len(cases.units) else 0
    return SliceCounts(
        cases=_tally(cases.truth, classes),
        right=_tally(cases.truth[right], classes),
        bin_cases=_tally(bins[drawn], len(edges) + 1),
        bin_wrong=_tally(bins[drawn][~right[drawn]], len(edges) + 1),
        unit_cases=_tally(cases.units, units),
        unit_right=_tally(cases.units[right], units),
    )


def _tally(values: np.ndarray[tuple[int, ...], np.dtype[np.int64]], length: int) -> tuple[int, ...]:
    return tuple(int(number) for number in np.bincount(values, minlength=length)) if length else ()
