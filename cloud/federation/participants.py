"""Who takes part in a round, and when one begins by itself. Pure: regions and times in, a choice or the reason against it out.

Rules, in order:
1. Regions that the round names are asked, and no others.
2. By need: while any region has a drift alarm, only regions in need are asked. Plain averaging with regions that have nothing new
   dilutes what those in need have learned.
3. Otherwise every region that has enough to teach.
4. A region must be here and have enough cases: since its alarm when it is in need, else in all.
5. Waiting is worth it only shortly: once the quorum is there, the others get a grace period. Where fewer regions are asked than the
   quorum, all of them are the quorum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cloud.records import Region, Round

RECENT_S = 60.0
"""A region that has not spoken for so long is away."""
GRACE_S = 10.0
"""How long a quorum waits for further regions."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The quorum, the cases a region must have, and what this round wants: named regions, regions in need."""

    minimum_regions: int
    minimum_cases: int
    named: tuple[str, ...] = ()
    by_need: bool = False
    only_need: bool = False


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The participants by node id, why these, and how many of their updates the round needs."""

    regions: tuple[Region, ...]
    reason: str
    quorum: int


def is_here(region: Region, now: float) -> bool:
    """Say whether a region has spoken lately."""
    return now - region.seen_at <= RECENT_S


def asked(regions: Sequence[Region], rules: Rules, *, now: float) -> tuple[list[Region], str]:
    """Return whom the round is for, whether they are here or not, and why."""
    if rules.named:
        return [region for region in regions if region.name in rules.named], f"asked for by name: {', '.join(rules.named)}"
    in_need = [region for region in regions if region.is_in_need and is_here(region, now)]
    if rules.only_need or (rules.by_need and in_need):
        return in_need, f"in need since a drift alarm: {', '.join(region.name for region in in_need) or 'none'}"
    return list(regions), "every region with enough cases"


def choose(regions: Sequence[Region], rules: Rules, *, waited_s: float, now: float) -> Choice | None:
    """Return the participants, or None while waiting is better.

    Args:
        regions: all the fleet knows.
        rules: of the round.
        waited_s: since the round was begun.
        now: Unix seconds.
    """
    scope, reason = asked(regions, rules, now=now)
    here = [region for region in scope if is_here(region, now)]
    found = _able(here, rules)
    quorum = quorum_of(scope, rules)
    if not found or len(found) < quorum or (len(found) < len(here) and waited_s < GRACE_S):
        return None
    return Choice(regions=tuple(found), reason=reason, quorum=quorum)


def quorum_of(scope: Sequence[Region], rules: Rules) -> int:
    """Return how many updates a round needs: `minimum_regions`, or all of the asked where those are fewer by its own wish."""
    is_narrow = bool(rules.named) or rules.only_need or (rules.by_need and any(region.is_in_need for region in scope))
    return max(1, min(rules.minimum_regions, len(scope))) if is_narrow else rules.minimum_regions


def shortage(regions: Sequence[Region], rules: Rules, *, now: float) -> str:
    """Return why no round can begin, naming every region that was asked."""
    scope, reason = asked(regions, rules, now=now)
    if not regions:
        return "no region has ever called."
    away = {region.name: f", away for {now - region.seen_at:.0f} s" for region in scope if not is_here(region, now)}
    since = {region.name: " since its alarm" for region in scope if region.is_in_need}
    words = [f"{region.name}: {region.cases_useful} cases{since.get(region.name, '')}{away.get(region.name, '')}" for region in scope]
    wanted = f"{quorum_of(scope, rules)} regions with {rules.minimum_cases} training cases each are needed"
    return f"{wanted} ({reason}; {'; '.join(words) or 'no region'})."


def is_due(regions: Sequence[Region], *, new_cases: int, minimum_regions: int, minimum_cases: int, now: float) -> bool:
    """Say whether enough has been gathered since the last round to begin one by itself; never when `new_cases` is 0."""
    here = [region for region in regions if is_here(region, now) and region.cases_train >= minimum_cases]
    return new_cases > 0 and len(here) >= minimum_regions and sum(region.cases_new for region in here) >= new_cases


def in_need(
    regions: Sequence[Region], *, needed_cases: int, pause_s: float, taught: Callable[[str, float], Sequence[Round]], now: float
) -> list[str]:
    """Return the regions for whose sake a round is to begin by itself.

    A region in need with enough cases since its alarm. Once a round was begun for an alarm, the next one waits: `pause_s` after the
    first has ended, twice that after the second, and so on; devices need time to take the release up, and a release that did not
    help is not followed by the same again at once.

    Args:
        regions: all the fleet knows.
        needed_cases: training cases since the alarm.
        pause_s: seconds.
        taught: the rounds a region was asked to train in since a time (Unix seconds), newest first.
        now: Unix seconds.
    """
    found = []
    for region in regions:
        if region.report is None or not region.is_in_need or not is_here(region, now) or region.cases_useful < needed_cases:
            continue
        before = taught(region.name, region.report.drift.since)
        if not before or now - (before[0].finished_at or now) >= pause_s * 2.0 ** (len(before) - 1):
            found.append(region.name)
    return found


def _able(here: Sequence[Region], rules: Rules) -> list[Region]:
    return sorted((region for region in here if region.cases_useful >= rules.minimum_cases), key=lambda region: region.node)
