"""Which worker has which shards: all are served, by one at a time, and few of them move. Members come, die and answer in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from region.shards import NONE, Assignment, Order, level
from shared.wire.topics import SHARDS

NAMES = ("intake-0", "intake-1", "intake-2", "intake-3", "intake-4")
ALL = frozenset(range(SHARDS))


@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=8))
def test_all_shards_are_shared_evenly_and_as_few_move_as_can(crowds: list[set[str]]) -> None:
    owned: dict[str, frozenset[int]] = {}
    for crowd in crowds:
        fresh = level(owned, crowd)
        assert sorted(shard for shards in fresh.values() for shard in shards) == sorted(ALL)
        sizes = [len(shards) for shards in fresh.values()]
        assert max(sizes) - min(sizes) <= 1
        kept = sum(len(fresh[name] & owned.get(name, NONE)) for name in crowd)
        assert kept == sum(sorted(min(len(owned.get(name, NONE)), len(fresh[name])) for name in crowd))
        owned = fresh


def test_nobody_there_serves_nothing() -> None:
    assert level({"intake-0": ALL}, ()) == {}
    assert Assignment().orders() == []


def test_a_shard_waits_until_its_old_owner_lets_go() -> None:
    table = Assignment()
    table.joined("intake-0")
    (all_of_them,) = table.orders()
    assert (all_of_them.shards, table.orders()) == (ALL, [])
    table.done("intake-0", all_of_them.number)
    table.joined("intake-1")
    (fewer,) = table.orders()
    assert (fewer.member, len(fewer.shards), table.served("intake-1")) == ("intake-0", 32, NONE)
    table.done("intake-0", all_of_them.number)  # an old word changes nothing
    assert table.orders() == []
    table.done("intake-0", fewer.number)
    (gained,) = table.orders()
    assert (gained.member, gained.shards) == ("intake-1", ALL - fewer.shards)
    table.left("intake-1")
    (back,) = table.orders()
    assert back.shards == ALL


class Crowd(RuleBasedStateMachine):
    """Workers that obey late, die and come back; what each really serves is kept here."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Assignment()
        self.serving: dict[str, frozenset[int]] = {}
        self.mail: dict[str, list[Order]] = {}

    def tell(self) -> None:
        for order in self.table.orders():
            self.mail[order.member].append(order)

    @rule(name=st.sampled_from(NAMES))
    def come(self, name: str) -> None:
        self.serving[name], self.mail[name] = NONE, []
        self.table.joined(name)
        self.tell()

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.serving)))
        del self.serving[name], self.mail[name]
        self.table.left(name)
        self.tell()

    @precondition(lambda self: any(self.mail.values()))
    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, orders in self.mail.items() if orders)))
        order = self.mail[name].pop(0)
        self.serving[name] = order.shards
        self.table.done(name, order.number)
        self.tell()

    @invariant()
    def no_shard_is_served_twice(self) -> None:
        served = [shard for shards in self.serving.values() for shard in shards]
        assert len(served) == len(set(served))

    @invariant()
    def when_all_is_quiet_all_are_served(self) -> None:
        if self.serving and not any(self.mail.values()):
            assert NONE.union(*self.serving.values()) == ALL


TestCrowd = Crowd.TestCase
