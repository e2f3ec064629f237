"""The drift alarm on real agreement: how often it is raised where nothing changes, and how soon where something does. Pure.

The device's own `Steadiness` is fed the audit samples of streams (worlds): its first hundred are the reference. What it promises is at most
n * ALPHA false alarms expected in n samples, so that at most that share of undisturbed streams of n samples has one.
A delay is counted in audit samples from the change to the alarm; a stream without one has none within what was looked at.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.deferral.risk import bound
from shared.deferral.steadiness import ALPHA, Steadiness
from tests.bench.deferrals.worlds import Flags, World

WARM = 300
"""Audit samples before a change, the reference's among them."""
UNDISTURBED = 1000
"""Audit samples of a stream in which nothing changes."""
PATIENCE = 1000
"""Audit samples after a change within which an alarm is looked for."""


class Undisturbed(msgspec.Struct, frozen=True, kw_only=True):
    """Of `streams` streams of `samples` audits in which nothing changed, `alarmed` had an alarm."""

    streams: int
    samples: int
    alarmed: int

    @property
    def promised(self) -> float:
        """The largest share of streams that may have one."""
        return self.samples * ALPHA

    @property
    def most(self) -> float:
        """The exact upper bound of the share that have one, 95 % one-sided."""
        return bound(self.alarmed, self.streams, 0.05)


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Delays of the streams that had an alarm, in audit samples, of `streams` in all; `early` alarms came before the change."""

    streams: int
    early: int
    found: tuple[int, ...]

    @property
    def caught(self) -> float:
        """The share of streams with an alarm within PATIENCE audits of the change."""
        return len(self.found) / self.streams

    @property
    def median(self) -> float:
        """The median delay over all streams, infinite where fewer than half had an alarm."""
        each = sorted([float(one) for one in self.found] + [float("inf")] * (self.streams - len(self.found)))
        return each[(len(each) - 1) // 2]


def undisturbed(world: World, *, streams: int, share: float, seed: int, samples: int = UNDISTURBED) -> Undisturbed:
    """Count false alarms; `share` of all frames are drawn for audit."""
    random = np.random.default_rng(seed)
    alarms = [first_alarm(Steadiness(), world.differs[world.audits(random, samples, share)])[0] for _ in range(streams)]
    return Undisturbed(streams=streams, samples=samples, alarmed=sum(one is not None for one in alarms))


def delays(before: World, after: World, *, streams: int, share: float, seed: int) -> Delays:
    """Measure delays after a change from one world to another; `share` of all frames are drawn for audit."""
    random = np.random.default_rng(seed)
    early, found = 0, []
    for _ in range(streams):
        alarm, state = first_alarm(Steadiness(), before.differs[before.audits(random, WARM, share)])
        if alarm is not None:
            early += 1
            continue
        alarm, _ = first_alarm(state, after.differs[after.audits(random, PATIENCE, share)])
        if alarm is not None:
            found.append(alarm)
    return Delays(streams=streams, early=early, found=tuple(found))


def first_alarm(state: Steadiness, differs: Flags) -> tuple[int | None, Steadiness]:
    """Return after how many of the samples the first alarm came (None: none did), and the state after it or after all."""
    for number, one in enumerate(differs.tolist(), 1):
        state = state.add(one)
        if state.recovery is not None:
            return number, state
    return None, state
