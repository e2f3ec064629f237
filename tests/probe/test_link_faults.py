"""The link under faults, in short: a few kills during some faults, and the account. `make bench NAME=link-faults` is the long run."""

from __future__ import annotations

import secrets

import pytest

from shared.wire.messages import encode
from tests.bench.links import faults
from tests.bench.links.shaped import missing
from tests.bench.links.world import World

PROBLEM = missing()
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "nothing is missing")


def break_and_count(names: tuple[str, ...], kills: int) -> None:
    with World(devices=2, workers=3, seed=secrets.randbits(31)) as world:
        outcome = faults.run(world, kills=kills, each=2, names=names, told=print)
        world.drain()
        account, seen = world.account()
        assert world.marked.found(encode(world.marked.case("edge-1", 0, "control")))  # the search finds what it looks for
    assert outcome.kills.total() == kills
    assert account.accepted > 20
    assert (account.lost, account.double_effects, seen.plaintext_bytes) == (0, 0, 0), account.missing
    assert all(seen.searched[place] > 0 for place in ("messages", "memory", "files", "packets"))


def test_kills_while_the_link_is_cut_and_the_vault_is_restored_from_a_backup() -> None:
    break_and_count(("link cut", "vault restored"), kills=4)


@pytest.mark.slow
def test_kills_during_every_fault() -> None:
    break_and_count(tuple(faults.FAULTS), kills=2 * len(faults.FAULTS))
