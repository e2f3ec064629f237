"""One simulated rollout, stage by stage, judged by the cloud's own rules: cloud.clusters, cloud.verdict, the shares of cloud.rollout.

Every device commits the release, so that nothing but audit samples can stop it. In fleets of more than `SMALL` devices the test on large
losses, cloud.agreement, is left out for its time: it is taken to have ruled them out. Elsewhere it is looked at every few hours.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from cloud import agreement, rollout
from cloud.agreement import Evidence, Rule
from cloud.clusters import ClusterRule, Clusters, weigh_counts
from cloud.rollout_states import Event, State
from cloud.verdict import Quorum, Vote, judge
from tests.bench.fleets.world import Fleet, World

NO_LARGE_LOSS = Evidence(sound=True)
SMALL, EVERY_HOURS = 200, 3
RULES = Rule()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout is run: the first share, the least and most hours of a stage, what is asked of the comparison, and of the cohort."""

    first: float = 0.01
    least_hours: int = 24
    most_hours: int = 48
    rule: ClusterRule = ClusterRule(false_stop=RULES.false_stop, missed=RULES.missed)
    quorum: Quorum = Quorum()


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: `stopped`, `done` or `asked`, the share of the fleet that had the release then, and after how many hours."""

    how: str
    share: float
    hours: int


def run(world: World, loss: float, plan: Plan, seed: int) -> Ended:
    """Let a release that loses so much (a mean over the fleet, 0 to 1) go through its stages."""
    fleet = Fleet(world, loss, np.random.default_rng(seed))
    share, clusters, hours, begun = _opening(world, plan), Clusters(), 0, 0
    votes = _votes(world, share)
    large = NO_LARGE_LOSS if world.devices > SMALL else Evidence()
    while True:
        fleet.hour(hours, len(votes))
        hours += 1
        seen, clusters = clusters, weigh_counts(fleet.counts[: len(votes)], plan.rule, clusters)
        if world.devices <= SMALL and hours % EVERY_HOURS == 0:
            large = _agreement(fleet, len(votes))
        age = hours - begun
        if clusters is seen and age < plan.least_hours and not large.worse:
            continue  # nothing new, and too early to go on
        judgement = judge(
            State.CANARY,
            share,
            votes,
            msgspec.structs.replace(large, clusters=clusters),
            is_young=age < plan.least_hours,
            is_over=age >= plan.most_hours,
            quorum=plan.quorum,
            excluded=RULES.excluded,
        )
        if judgement.event in ENDS:
            return Ended(how=ENDS[judgement.event], share=len(votes) / world.devices, hours=hours)
        if judgement.event is Event.WIDEN:
            share, begun = _wider(world, len(votes)), hours
            votes = _votes(world, share)


ENDS = {Event.HALT: "stopped", Event.FINISH: "done", Event.ASK: "asked"}


def _opening(world: World, plan: Plan) -> float:
    """Return the first share, by rollout's rule 2."""
    count = max(1, math.ceil(plan.first * world.devices))
    most = max(count, int(rollout.LARGEST_CANARY * world.devices))
    return min(max(count, plan.quorum.minimum_devices), most) / world.devices


def _wider(world: World, held: int) -> float:
    """Return the next share that holds more devices."""
    return next(share for share in rollout.SHARES if math.ceil(share * world.devices) > held)


def _agreement(fleet: Fleet, running: int) -> Evidence:
    """Return what cloud.agreement decides, without the ends of its interval."""
    before, agreed, compared = fleet.before[:running], fleet.agreed[:running], fleet.counts[:running, 0]
    counts = np.stack([before[:, 0], before[:, 1] - before[:, 0], agreed, compared - agreed], axis=1)[compared > 0]
    return Evidence(
        worse=agreement.evidence(counts, RULES.tolerated, worse=True) >= -math.log(RULES.false_stop),
        sound=agreement.evidence(counts, RULES.excluded, worse=False) >= -math.log(RULES.missed),
    )


def _votes(world: World, share: float) -> dict[str, Vote]:
    count = math.ceil(share * world.devices - 1e-9)
    return {f"edge-{number}.region-{number % world.regions}": Vote.COMMITTED for number in range(count)}
