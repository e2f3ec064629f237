"""Rollouts of releases to simulated fleets: how surely, how soon and with how few devices a worse one is stopped, and a good one not.

Fleets of 10,000 devices (and 20 and 200) with what tests.bench.fleets.world says: losses differ between devices by 5 points, partly by
region, grow at night, and regions have bad hours. The rules are the cloud's own. `stop_power` and `fleet_share_exposed_p99` are about a
release that is 3 points worse on average over the fleet, `false_stop_rate` about one that is as good. FULL=1 simulates four times as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.bench.fleets import staged
from tests.bench.fleets.staged import Ended, Plan
from tests.bench.fleets.world import World
from tests.bench.result import Result, conditions

ROLLOUTS, MORE_ROLLOUTS = 1000, 4000
OTHERS = 4
"""A row that no figure comes from has so many times fewer."""
LOSS = 0.03
LARGE = World()
SMALL = (World(devices=20, regions=2), World(devices=200, regions=5))
DEFAULT_TIMES = Plan(least_hours=0, most_hours=2)
"""What `rollout.least_stage_s` and `rollout.deadline_s` are where nobody sets them; the other rows have stages of a day or two."""
ENDS = ("stopped", "done", "asked")


def run(*, full: bool) -> Result:
    """Simulate rollouts of a release as good as the one before, 3 points worse, and some others."""
    count = MORE_ROLLOUTS if full else ROLLOUTS
    rows: list[dict[str, float | str]] = []
    ended: dict[float, list[Ended]] = {}
    for loss in (0.0, LOSS, 0.015, 0.06, -0.02):
        ended[loss] = simulated(LARGE, loss, count if loss in (0.0, LOSS) else count // OTHERS)
        rows.append(row(LARGE, loss, ended[loss]))
    for world in SMALL:
        rows += [row(world, loss, simulated(world, loss, count // OTHERS)) for loss in (0.0, LOSS, 0.15)]
    bad, good = ended[LOSS], ended[0.0]
    hasty = simulated(LARGE, LOSS, count // OTHERS, DEFAULT_TIMES)
    rows.append(row(LARGE, LOSS, hasty))
    figures = {
        "stop_power": share(bad, "stopped"),
        "fleet_share_exposed_p99": float(np.quantile([one.share for one in bad], 0.99)),
        "false_stop_rate": share(good, "stopped"),
        "stop_power_with_default_times": share(hasty, "stopped"),
        "good_done_without_a_person": share(good, "done"),
        "hours_to_stop_p50": float(np.median([one.hours for one in bad if one.how == "stopped"] or [float("nan")])),
    }
    return Result(name="rollout", figures=figures, rows=rows, conditions=conditions(rollouts=count))


def simulated(world: World, loss: float, count: int, plan: Plan | None = None) -> list[Ended]:
    """Return how rollouts ended, each with chance of its own."""
    return [staged.run(world, loss, plan or Plan(), seed) for seed in range(count)]


def share(ended: Sequence[Ended], how: str) -> float:
    """Return which share ended so."""
    return sum(one.how == how for one in ended) / len(ended)


def row(world: World, loss: float, ended: Sequence[Ended]) -> dict[str, float | str]:
    """Return a line of the table."""
    return {
        "devices": float(world.devices),
        "loss_points": 100 * loss,
        "rollouts": float(len(ended)),
        **{how: share(ended, how) for how in ENDS},
        "exposed_p50": float(np.median([one.share for one in ended])),
        "exposed_p99": float(np.quantile([one.share for one in ended], 0.99)),
        "hours_p50": float(np.median([one.hours for one in ended])),
    }
