"""Kill -9 whatever takes part in the link while the link, the disks and the clocks misbehave, then count. Needs root and a C compiler.

Devices, broker, region and intake workers are real processes; a case counts as accepted when its device's spool has called it durable.
`plaintext_bytes_seen_by_broker` are marked bytes found in the messages at the broker, its memory, its files and all packets of the link.
Processes are killed, power is not cut: what lies in a file system's cache survives here. Conditions name the seed.
"""

from __future__ import annotations

import secrets
import statistics
import sys

from shared.wire.messages import encode
from tests.bench.links import faults
from tests.bench.links.comparing import Row
from tests.bench.links.ledger import Account
from tests.bench.links.tap import Seen
from tests.bench.links.world import World
from tests.bench.result import Result, conditions

KILLS, KILLS_FULL, EACH = 60, 320, 4


def run(*, full: bool) -> Result:
    """Break and count; `full` kills 320 processes, the usual run 60."""
    seed = secrets.randbits(31)
    with World(devices=3, workers=3, seed=seed) as world:
        outcome = faults.run(world, kills=KILLS_FULL if full else KILLS, each=EACH, told=lambda line: print(line, file=sys.stderr))
        drained = world.drain()
        account, seen = world.account()
        if not world.marked.found(encode(world.marked.case("edge-1", 0, "control"))):
            raise AssertionError("the search does not find what it looks for.")
    rows: list[Row] = [
        {"fault": name, "times": float(len(taken)), "median_s_until_cases_went_on": statistics.median(taken), "longest_s": max(taken)}
        for name, taken in outcome.recovered_s.items()
        if taken
    ]
    figures = {f"kills_{victim}": float(count) for victim, count in sorted(outcome.kills.items())}
    figures = {"kills": float(outcome.kills.total()), **figures, **counted(account, seen), "drained_s": drained}
    figures["vaults"] = float(len(world.vault_ids))
    return Result(name="link-faults", figures=figures, rows=rows, conditions=conditions(seed=float(seed), devices=3.0, workers=3.0))


def counted(account: Account, seen: Seen) -> dict[str, float]:
    """Return an account and a search as figures."""
    return {
        "lost": float(account.lost),
        "double_effects": float(account.double_effects),
        "plaintext_bytes_seen_by_broker": float(seen.plaintext_bytes),
        "cases_accepted": float(account.accepted),
        "cases_stored": float(account.stored),
        "cases_destroyed_with_their_spool": float(account.went_with_a_spool),
        "cases_destroyed_with_their_vault": float(account.went_with_a_vault),
        **{f"tapped_{place}_mb": round(size / 1e6, 3) for place, size in sorted(seen.searched.items())},
    }
