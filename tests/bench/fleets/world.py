"""A simulated fleet: devices that compare two releases on audit samples, hour by hour. No rule of a rollout is in here.

How much a release loses differs from device to device, partly by region, and over the day; regions have good and bad hours in common.
Everything beyond the fleet's mean loss is drawn anew for each simulated rollout.
"""

from __future__ import annotations

import msgspec
import numpy as np

Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
HOURS = 24
BASELINE = 400
"""Audit samples that the cloud keeps of the release before."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet is like; shares of samples, 0 to 1.

    `agreement` is how often the release before agrees with the expert, `spread` the standard deviation of that between devices, and of
    a release's loss; of the loss's variance devices of a region have the share `regional` in common. `shock` is the standard deviation
    of a region's loss in an hour; `night` by how much of itself a loss grows at night and shrinks by day; `churn` the share of samples
    on which each of two equally good releases alone is right; `samples` the median of audit samples a device compares in an hour, which
    differs between devices by a factor of two either way (one standard deviation).
    """

    devices: int = 10_000
    regions: int = 50
    agreement: float = 0.93
    spread: float = 0.05
    regional: float = 0.2
    shock: float = 0.02
    night: float = 0.5
    churn: float = 0.03
    samples: float = 10.0


class Fleet:
    """The devices of one simulated rollout, in the order in which they get the release.

    Args:
        world: what they are like.
        loss: the fleet's mean loss, 0 to 1.
        random: where all chance comes from.
    """

    def __init__(self, world: World, loss: float, random: np.random.Generator) -> None:
        self._world, self._random = world, random
        self._region = random.integers(0, world.regions, world.devices)
        common = random.normal(0, world.spread * np.sqrt(world.regional), world.regions)
        own = random.normal(0, world.spread * np.sqrt(1 - world.regional), world.devices)
        losses = common[self._region] + own
        self._losses = losses - losses.mean() + loss
        self._rates = world.samples * np.exp(random.normal(0, np.log(2), world.devices))
        self._phase = random.uniform(0, 2 * np.pi)
        self._levels = np.clip(random.normal(world.agreement, world.spread, world.devices), 0.5, 0.99)
        self.counts = np.zeros((world.devices, 3))
        self.before = np.stack([random.binomial(BASELINE, self._levels), np.full(world.devices, BASELINE)], axis=1).astype(np.float64)
        self.agreed = np.zeros(world.devices)

    def hour(self, number: int, running: int) -> None:
        """Let an hour pass in which the first `running` devices run the release.

        `counts` (compared, lost, won) has what they compared, `agreed` how often the new release agreed, `before` (agreed, samples) the one
        before.
        """
        world, random = self._world, self._random
        over_the_day = 1 + world.night * np.sin(2 * np.pi * number / HOURS + self._phase)
        shocks = random.normal(0, world.shock, world.regions)[self._region[:running]]
        losses = self._losses[:running] * over_the_day + shocks
        compared = random.poisson(self._rates[:running])
        only_before = np.clip(world.churn + np.maximum(losses, 0), 0, 1)
        only_new = np.minimum(world.churn + np.maximum(-losses, 0), 1 - only_before)
        both = np.clip(self._levels[:running] - only_before, 0, 1 - only_before - only_new)
        lost = random.binomial(compared, only_before)
        won = random.binomial(compared - lost, _share(only_new, only_before))
        together = random.binomial(compared - lost - won, _share(both, only_before + only_new))
        self.counts[:running] += np.stack([compared, lost, won], axis=1)
        self.agreed[:running] += won + together


def _share(probability: Values, taken: Values) -> Values:
    """Return a probability among what is left when others are taken."""
    return np.clip(probability / np.maximum(1 - taken, 1e-9), 0, 1)
