"""The lowest versions this machine still believes: what TUF forgets when its own folder is wiped.

python-tuf accepts an old repository after its metadata was lost; this file, kept outside TUF's folder, does not. Floors only rise.

Rules, in order:
1. A repository whose root, timestamp or snapshot version is below its floor is refused.
2. A desired state below its fleet's floor is refused.
3. A family's minimum release only rises.
"""

from __future__ import annotations

import msgspec

from shared.errors import TrustError


class Floors(msgspec.Struct, frozen=True, kw_only=True):
    """The highest versions seen: of root, timestamp and snapshot, of the desired state by fleet, of `minimum_release` by family."""

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    rollout: dict[str, int] = {}
    minimum: dict[str, int] = {}

    def raised(self, *, root: int, timestamp: int, snapshot: int) -> Floors:
        """Return the floors after seeing a repository.

        Raises:
            TrustError: one of its versions is below what was seen before.
        """
        seen_now = {"root": root, "timestamp": timestamp, "snapshot": snapshot}
        for name, seen in seen_now.items():
            floor = getattr(self, name)
            if seen < floor:
                raise TrustError(
                    f"the repository went back: {name} version {seen}, this machine has seen {floor}.",
                    "Somebody serves an old copy; if the repository itself was restored from a backup, publish anew above these versions.",
                )
        return msgspec.structs.replace(self, root=root, timestamp=timestamp, snapshot=snapshot)

    def raised_by_desired(self, fleet: str, version: int, minimum: dict[str, int]) -> Floors:
        """Return the floors after seeing a desired state.

        Args:
            fleet: the fleet it is for.
            version: the document's version.
            minimum: its minimum release by family.

        Raises:
            TrustError: an older document than one seen before.
        """
        floor = self.rollout.get(fleet, 0)
        if version < floor:
            raise TrustError(f"the desired state of {fleet} went back: version {version}, this machine has seen {floor}.")
        highest = {family: max(minimum.get(family, 0), self.minimum.get(family, 0)) for family in {*minimum, *self.minimum}}
        return msgspec.structs.replace(self, rollout={**self.rollout, fleet: version}, minimum=highest)


def encode_floors(floors: Floors) -> bytes:
    """Return the floors as JSON."""
    return msgspec.json.encode(floors, order="sorted")


def decode_floors(data: bytes) -> Floors:
    """Parse the floors.

    Raises:
        TrustError: damaged; updates stop until a person has looked, because starting from nothing would be the attack itself.
    """
    try:
        return msgspec.json.decode(data, type=Floors)
    except msgspec.MsgspecError as error:
        raise TrustError(f"the file of seen versions is damaged: {error}.", "Remove floors.json by hand after checking the disk.") from None
