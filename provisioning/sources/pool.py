"""A pool of labelled pictures and how it is split: by unit, never by picture. Pure.

A unit (a board, an object, a file) is what is independent; its pictures all land in one split, chosen by hash of its name, so that
the same unit lands in the same split on every machine and for every order of reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Names = np.ndarray[tuple[int, ...], np.dtype[np.str_]]
Spots = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
Picked = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled pictures of one origin.

    `frames` uint8 (N, H, W, 3) RGB; `labels` int64 (N); `units` (N); `names` of the classes; `spots` int16 (N, 2) column and row of
    what makes the label, -1 where it is nowhere in particular; `groups` (N) a name to report figures by, "" where there is none.
    """

    frames: Frames
    labels: Labels
    units: Names
    names: tuple[str, ...]
    spots: Spots
    groups: Names

    def taken(self, picked: Picked) -> Pool:
        """Return the pictures at these indices."""
        return Pool(
            frames=self.frames[picked],
            labels=self.labels[picked],
            units=self.units[picked],
            names=self.names,
            spots=self.spots[picked],
            groups=self.groups[picked],
        )


def pool(frames: Frames, labels: Labels, units: Names, names: Sequence[str], spots: Spots | None = None) -> Pool:
    """Return a pool without groups; `spots` None means nowhere in particular."""
    return Pool(
        frames=frames,
        labels=labels,
        units=units,
        names=tuple(names),
        spots=np.full((len(labels), 2), -1, np.int16) if spots is None else spots,
        groups=np.full(len(labels), ""),
    )


def part_of(unit: str, shares: Mapping[str, float], salt: str = "") -> str:
    """Return the split of a unit.

    Args:
        unit: its name.
        shares: share of the units per split; they sum to 1.
        salt: another salt, another draw.
    """
    digest = hashlib.sha256(f"terrace/1/split/{salt}/{unit}".encode()).digest()
    place, total = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for name, share in shares.items():
        total += share
        if place < total:
            return name
    return list(shares)[-1]


def split(units: Names, shares: Mapping[str, float], salt: str = "") -> dict[str, Picked]:
    """Return per split the indices of its pictures, in their order; no unit is in two splits."""
    chosen = {str(unit): part_of(str(unit), shares, salt) for unit in np.unique(units)}
    parts = np.array([chosen[str(unit)] for unit in units])
    return {name: np.flatnonzero(parts == name) for name in shares}


def in_unit_order(units: Names, seed: int) -> Picked:
    """Return all indices with the units shuffled by `seed` and each unit's pictures kept together, as a line delivers them."""
    names, first = np.unique(units, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(names))
    return np.argsort(rank[first], kind="stable")
