"""The live threshold across a shift: the device's own `Follower` is fed audit samples of before, then of after. Pure.

Rules, in order:
1. The threshold begins at the card's. `WARM` audits of the world before come first, then the world changes at once.
2. After as many audits as its window has (10 / epsilon) the threshold is judged at `MOMENTS` moments, `EVERY` audits apart, on all frames
   of the world after: excess is how far P(kept and student != expert) lies above epsilon there, 0 where it does not.
3. The oracle is the lowest threshold that holds epsilon on these very frames; forwards are what lies below a threshold, not audits.
4. A draw is a bootstrap of both worlds by whole units, with its own streams and its own oracle; the first is the data as they are.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.foundry.ranking import Numbers
from shared.deferral.adaptive import Follower, window_of
from tests.bench.deferrals.worlds import Places, World

WARM = 300
MOMENTS, EVERY = 10, 25
SEED = 11
WHOLE = 10
"""How many times more streams the data as they are get."""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """Means over the moments of one or more streams: excess and forwards of the live threshold, of the card's alone, and the oracle's."""

    excess: float
    forwarded: float
    card_excess: float
    card_forwarded: float
    oracle_forwarded: float


def followed(before: World, after: World, *, start: float, epsilon: float, share: float, random: np.random.Generator) -> Followed:
    """Return what one stream's threshold reaches after the shift.

    Args:
        before: the world the stream begins in.
        after: the world it changes to.
        start: the card's threshold.
        epsilon: the live risk that is allowed.
        share: audit share of frames.
        random: draws the stream.
    """
    follower = Follower.of(start=start, epsilon=epsilon)
    follower.add_many(_samples(before, before.audits(random, WARM, share)))
    window = window_of(epsilon)
    audits = after.audits(random, window + MOMENTS * EVERY, share)
    follower.add_many(_samples(after, audits[:window]))
    thresholds = [follower.add_many(_samples(after, audits[window + at * EVERY :][:EVERY])) for at in range(MOMENTS)]
    return Followed(
        excess=float(np.mean([max(0.0, after.risk(one) - epsilon) for one in thresholds])),
        forwarded=float(np.mean([after.forwarded(one) for one in thresholds])),
        card_excess=max(0.0, after.risk(start) - epsilon),
        card_forwarded=after.forwarded(start),
        oracle_forwarded=after.forwarded(after.oracle(epsilon)),
    )


def drawn(before: World, after: World, *, start: float, epsilon: float, share: float, draws: int, streams: int) -> list[Followed]:
    """Return means over streams per draw: ten times `streams` of the worlds as they are, then `streams` of each bootstrap (rule 4)."""
    found = []
    for number in range(1 + draws):
        random = np.random.default_rng([SEED, number])
        own = [one if number == 0 else one.resampled(random) for one in (before, after)]
        count = streams if number else WHOLE * streams
        each = [followed(own[0], own[1], start=start, epsilon=epsilon, share=share, random=random) for _ in range(count)]
        found.append(_mean(each))
    return found


def column(found: list[Followed], name: str) -> Numbers:
    """Return one of the figures per draw."""
    return np.array([getattr(one, name) for one in found], np.float64)


def _mean(each: list[Followed]) -> Followed:
    return Followed(**{name: float(column(each, name).mean()) for name in Followed.__struct_fields__})


def _samples(world: World, frames: Places) -> list[tuple[float, bool]]:
    return list(zip(world.scores[frames].tolist(), world.differs[frames].tolist(), strict=True))
