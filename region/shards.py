"""Which intake worker has which shards, and in what order they change hands. Pure.

Rules, in order:
1. Every shard belongs to one member; members have equally many, give or take one.
2. As few shards move as that allows; those of a member that is gone go to the others.
3. A shard is given to its new owner only when its old one has said that it let go, or is gone: by then all that it took is committed, so
   that the new owner reads epochs and replay windows as they are.

Were two owners ever to take the same message, the vault would keep it once (dedupe); the order spares devices a new epoch.

Example:
    >>> table = Assignment()
    >>> table.joined("intake-0")
    >>> [(order.member, len(order.shards)) for order in table.orders()]
    [('intake-0', 64)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from shared.wire.topics import SHARDS

NONE: frozenset[int] = frozenset()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a member shall serve from now on, and nothing else; `number` comes back with its word that it does."""

    member: str
    number: int
    shards: frozenset[int]


class Assignment:
    """Who serves what, and who has been told."""

    def __init__(self) -> None:
        self._target: dict[str, frozenset[int]] = {}
        self._told: dict[str, Order] = {}
        self._held: dict[str, frozenset[int]] = {}
        self._number = 0

    def joined(self, member: str) -> None:
        """Count on a member that serves nothing yet."""
        self.left(member)
        self._held[member] = NONE
        self._target = level(self._target, self._held)

    def left(self, member: str) -> None:
        """Give up a member: its process is gone, so it holds nothing."""
        for table in (self._target, self._told, self._held):
            table.pop(member, None)
        self._target = level(self._target, self._held)

    def done(self, member: str, number: int) -> None:
        """Note that a member has followed an order; an older one than its latest means nothing any more."""
        order = self._told.get(member)
        if order is not None and order.number == number:
            self._held[member] = order.shards

    def orders(self) -> list[Order]:
        """Return what members must be told now; the caller tells them."""
        return [order for member in sorted(self._held) if (order := self._order(member)) is not None]

    def served(self, member: str) -> frozenset[int]:
        """Return the shards a member was last told to serve."""
        order = self._told.get(member)
        return NONE if order is None else order.shards

    def _order(self, member: str) -> Order | None:
        others: frozenset[int] = NONE.union(*(held for name, held in self._held.items() if name != member))
        shards = self._target[member] - others
        if shards == self.served(member):
            return None
        self._number += 1
        self._told[member] = Order(member=member, number=self._number, shards=shards)
        self._held[member] |= shards  # it may serve them from the moment it is told
        return self._told[member]


def level(owned: Mapping[str, frozenset[int]], members: Iterable[str]) -> dict[str, frozenset[int]]:
    """Return who shall own what, with as few moves as it takes.

    Args:
        owned: who owned what so far; shards of those who are no members any more, and of nobody, are free.
        members: who is there now.
    """
    names = sorted(members, key=lambda name: (-len(owned.get(name, NONE)), name))
    if not names:
        return {}
    share, over = divmod(SHARDS, len(names))
    kept = {name: sorted(owned.get(name, NONE))[: share + (place < over)] for place, name in enumerate(names)}
    free = sorted(set(range(SHARDS)) - {shard for shards in kept.values() for shard in shards})
    for place, name in enumerate(names):
        lacking = share + (place < over) - len(kept[name])
        kept[name] += free[:lacking]
        free = free[lacking:]
    return {name: frozenset(shards) for name, shards in kept.items()}
