"""Fail-over, told with a device, two regions and real keys: nothing is stranded, and no case has two effects."""

from __future__ import annotations

import pytest

from shared.errors import ProtocolError
from shared.link.ownership import HELD_S, Holding, Ownership, decode_record, encode_record
from shared.link.route import ROUTE, Event, State
from tests.link_world import World


def away(*, cases: int = 3) -> World:
    """A device whose home has fallen silent after its cases were sent, some receipts being lost."""
    world = World("north", "south")
    world.run(4)
    sent = [world.offer(100) for _ in range(cases)]
    world.step()
    while world.up["north"]:
        world.deliver_up("north")
    world.regions["north"].down.clear()
    world.cut.add("north")
    assert sorted(world.spool) == sent
    return world


def test_after_thirty_seconds_of_silence_new_cases_go_to_the_other_region() -> None:
    world = away()
    new = world.offer(100)
    world.run(26)
    assert (world.route.state, world.route.active) == (State.HOME, "north")
    world.run(7)
    assert (world.route.state, world.route.active) == (State.AWAY, "south")
    assert new not in world.spool, "never sent to north, stored in the south"
    assert sorted(world.spool) == [1, 2, 3], "north may have them: they wait for its word"
    assert world.route.held() == {"north": 3}
    assert set(world.effects.values()) == {1}


def test_home_again_the_held_cases_are_settled_there_and_nothing_happened_twice() -> None:
    world = away()
    world.offer(100)
    world.run(40)
    world.cut.clear()
    world.run(8)
    assert world.route.state is State.AWAY, "home must be steady"
    assert not world.spool, "but its cases are settled as soon as it is there"
    world.run(8)
    assert (world.route.state, world.route.active, world.route.switches) == (State.HOME, "north", 2)
    assert world.route.wanted() == ["north"]
    assert world.effects == {(world.spool_id, number): 1 for number in world.offered}


def test_a_region_silent_for_a_day_loses_its_cases_without_a_second_effect() -> None:
    world = away()
    world.run(40)
    assert world.route.held() == {"north": 3}
    world.now += HELD_S
    world.run(10)
    assert not world.spool, "nothing is stranded"
    assert {(world.spool_id, number) for number in (1, 2, 3)} <= world.regions["south"].vault.ever
    assert world.effects == {(world.spool_id, number): 1 for number in (1, 2, 3)}, "in the north, where they were stored first"


def test_what_was_sent_is_remembered_over_a_crash_of_the_device() -> None:
    world = away()
    new = world.offer(100)
    world.run(32)
    world.cut.add("south")
    late = world.offer(100)
    world.crash_device()
    assert (world.route.active, world.route.state) == ("south", State.AWAY)
    assert world.route.held() == {"north": 3}
    world.settle(within_s=120)
    assert world.effects == {(world.spool_id, number): 1 for number in (1, 2, 3, new, late)}


def test_after_a_crash_at_home_what_waits_may_have_been_sent_and_after_an_orderly_end_only_what_was() -> None:
    for cleanly, expected in ((False, {"north": 4}), (True, {"north": 3})):
        world = away()
        world.offer(100)
        world.run(1)
        world.crash_device(cleanly=cleanly)
        world.run(40)
        assert (world.route.active, world.route.held()) == ("south", expected)


def test_without_a_record_of_the_owners_nothing_changes_hands() -> None:
    world = away()
    world.disk_fails = True
    world.run(60)
    assert (world.route.active, world.route.state) == ("north", State.SEEKING)
    world.disk_fails = False
    world.run(2)
    assert world.route.active == "south"


def test_when_both_are_silent_the_first_that_is_heard_gets_the_cases() -> None:
    world = away(cases=0)
    world.run(40)
    assert world.route.active == "south"
    world.cut.add("south")
    world.run(40)
    assert world.route.state is State.SEEKING
    case = world.offer(100)
    world.cut.discard("north")
    world.run(10)
    assert (world.route.state, world.route.active) == (State.HOME, "north")
    assert (world.spool_id, case) in world.regions["north"].vault.ever


def test_a_case_half_of_which_was_sent_goes_to_the_other_region_whole() -> None:
    world = World("north", "south")
    world.run(4)
    case = world.offer(40_000)
    world.step(most=1)
    assert len(world.up["north"]) == 1
    world.cut.add("north")
    world.run(35)
    assert not world.spool
    assert (world.spool_id, case) in world.regions["south"].vault.ever


def test_a_device_with_one_region_writes_no_record_and_seeks_nobody() -> None:
    world = World("north")
    world.run(4)
    world.cut.add("north")
    world.offer(10)
    world.run(100)
    assert (world.record, world.route.state) == (None, State.HOME)
    world.settle(within_s=30)


def test_a_region_that_is_configured_no_more_loses_its_cases_without_effect() -> None:
    world = away()
    world.run(40)
    world.crash_device()
    assert world.route.held() == {"north": 3}
    record = decode_record(world.record)
    world.record = encode_record(
        Ownership(spool_id=record.spool_id, active="east", held=(Holding(region="west", since=0.0, ranges=((1, 2),)),))
    )
    world.crash_device()
    assert (world.route.active, world.route.held()) == ("north", {})
    assert sorted(world.conversations["north"].session.anybodys()) == [1, 2, 3]


def test_a_record_that_is_none_is_refused() -> None:
    with pytest.raises(ProtocolError, match="record of owners"):
        decode_record(b"{}")


def test_every_state_can_be_reached_and_left() -> None:
    assert set(ROUTE.values()) == {before for before, _ in ROUTE} == set(State)
    assert {event for _, event in ROUTE} == set(Event)
