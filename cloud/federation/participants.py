"""Who takes part in a round. Pure: regions and times in, a choice or the reason against it out.

Participation is by need, not by schedule: a region with too few cases has nothing to teach, and plain averaging with regions that
have nothing new dilutes those that have. Waiting is worth it only shortly: once the quorum is there, the others get a grace period.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud.records import Region

RECENT_S = 60.0
"""A region that has not spoken for so long is away."""
GRACE_S = 10.0
"""How long a quorum waits for further regions."""


def eligible(regions: Sequence[Region], *, minimum_cases: int, now: float) -> list[Region]:
    """Return the regions that are here and have enough to teach, by node id."""
    here = [region for region in regions if now - region.seen_at <= RECENT_S and region.cases_train >= minimum_cases]
    return sorted(here, key=lambda region: region.node)


def choose(regions: Sequence[Region], *, minimum_regions: int, minimum_cases: int, waited_s: float, now: float) -> list[Region]:
    """Return the participants, or nothing while waiting is better.

    Args:
        regions: all the fleet knows.
        minimum_regions: the quorum.
        minimum_cases: what a region must have.
        waited_s: since the round was begun.
        now: Unix seconds.
    """
    found = eligible(regions, minimum_cases=minimum_cases, now=now)
    here = [region for region in regions if now - region.seen_at <= RECENT_S]
    if len(found) < minimum_regions:
        return []
    return found if len(found) == len(here) or waited_s >= GRACE_S else []


def shortage(regions: Sequence[Region], *, minimum_regions: int, minimum_cases: int, now: float) -> str:
    """Return why no round can begin, naming every region."""
    if not regions:
        return "no region has ever called."
    away = {region.name: f", away for {now - region.seen_at:.0f} s" for region in regions if now - region.seen_at > RECENT_S}
    words = [f"{region.name}: {region.cases_train} cases{away.get(region.name, '')}" for region in regions]
    return f"{minimum_regions} regions with {minimum_cases} training cases each are needed ({'; '.join(words)})."


def is_due(regions: Sequence[Region], *, new_cases: int, minimum_regions: int, minimum_cases: int, now: float) -> bool:
    """Say whether enough has been gathered since the last round to begin one by itself; never when `new_cases` is 0."""
    found = eligible(regions, minimum_cases=minimum_cases, now=now)
    return new_cases > 0 and len(found) >= minimum_regions and sum(region.cases_new for region in found) >= new_cases
