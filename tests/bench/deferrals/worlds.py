"""Frames as a device meets them: how sure each looks, whether student and expert differ, which unit it is of; and streams of them. Pure.

A stream is whole units drawn at random, one after another, each with its frames in order. Audit samples are drawn from it at random before
any gate, and of each unit in a row the first drawn counts, as on a device (edge's live audits). The device's draw is a keyed
function of the frame's number; here it is a random number, which is as likely for every frame.

Example:
    >>> world = World.of(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]), ("a", "a", "b", "b"))
    >>> world.risk(2.5), world.forwarded(2.5), world.oracle(0.25)
    (0.25, 0.5, 2.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.foundry.ranking import Numbers

Places = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A population, unit by unit: scores (N), where student and expert differ (N), where each unit begins and how many frames it has."""

    scores: Numbers
    differs: Flags
    starts: Places
    sizes: Places

    @classmethod
    def of(cls, scores: Numbers, differs: Flags, units: Sequence[str]) -> World:
        """Return the world of frames; `units` names each frame's."""
        _, unit = np.unique(np.asarray(units), return_inverse=True)
        order, sizes = np.argsort(unit, kind="stable"), np.bincount(unit)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(scores=np.asarray(scores, np.float64)[order], differs=np.asarray(differs, bool)[order], starts=starts, sizes=sizes)

    def resampled(self, random: np.random.Generator) -> World:
        """Return a bootstrap of it: as many whole units, drawn with replacement."""
        picked = random.integers(0, len(self.sizes), len(self.sizes))
        sizes = self.sizes[picked]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        frames = np.repeat(self.starts[picked] - starts, sizes) + np.arange(sizes.sum())
        return World(scores=self.scores[frames], differs=self.differs[frames], starts=starts, sizes=sizes)

    def risk(self, threshold: float) -> float:
        """Return P(kept and student != expert) at a threshold."""
        return float(((self.scores >= threshold) & self.differs).mean())

    def forwarded(self, threshold: float) -> float:
        """Return the share of frames below a threshold."""
        return float((self.scores < threshold).mean())

    def oracle(self, epsilon: float) -> float:
        """Return the lowest threshold whose risk is at most epsilon: what a calibration would choose that knew every frame."""
        order = np.argsort(self.scores, kind="stable")
        kept = np.cumsum(self.differs[order][::-1])[::-1]
        steps, first = np.unique(self.scores[order], return_index=True)
        fits = kept[first] <= epsilon * len(order)
        return float(steps[int(np.argmax(fits))]) if fits.any() else float(np.nextafter(steps[-1], np.inf))

    def audits(self, random: np.random.Generator, count: int, share: float) -> Places:
        """Return the frames of the first `count` audit samples of a stream.

        Args:
            random: draws the units and the samples.
            count: how many samples count (of a unit in a row the first drawn).
            share: of all frames that are drawn, above 0 and at most 1.
        """
        found: list[Places] = []
        missing = count
        while missing > 0:
            visits = random.integers(0, len(self.sizes), 64 + int(2 * missing / min(1.0, share * self.sizes.mean())))
            first = random.geometric(share, len(visits)) - 1
            drawn = first < self.sizes[visits]
            found.append((self.starts[visits[drawn]] + first[drawn])[:missing])
            missing -= len(found[-1])
        return np.concatenate(found)
