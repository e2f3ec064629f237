"""Which slot a device starts with: the rules over what lies on its disk. Pure; slots reads and writes the files.

Rules, in order:
1. Live and committed are one: that slot, if it is whole; when it was being taken back (it is quarantined) the other, if that is usable.
2. They differ, so the live one is on probation: not if it is not whole, not if it is quarantined, and not after `attempts` starts,
   which is also when it is blamed. Otherwise it, with one start more.
3. Else the committed slot; else, of the whole slots that are not quarantined, the one with the older release, which has served
   before; else none.

Example:
    >>> decide(Pointer(), {}, {}, attempts=3).name
    ''
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot holds: a release, who signed it, and the hashes of its two files."""

    release: int
    role: str
    onnx_sha256: str
    card_sha256: str


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which slot serves, which is committed ("" for none), and how often the device has started since they differ."""

    live: str = ""
    committed: str = ""
    starts: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to start with ("" for nothing), the pointer to write first, and what is given up; `blamed` says to quarantine it."""

    name: str
    pointer: Pointer
    on_probation: bool = False
    given_up: Record | None = None
    reason: str = ""
    blamed: bool = False


def decide(pointer: Pointer, whole: Mapping[str, Record], quarantined: Mapping[str, str], *, attempts: int) -> Decision:
    """Apply the rules.

    Args:
        pointer: as it stands on disk.
        whole: the slots whose files are what they should be, by name.
        quarantined: reasons by the hash of a model.
        attempts: starts a release may have without being committed.
    """
    if pointer.live == pointer.committed:
        record = whole.get(pointer.committed)
        other = older(whole, quarantined, besides=pointer.committed)
        if record is not None and record.onnx_sha256 in quarantined and other:
            reason, back = quarantined[record.onnx_sha256], Pointer(live=other, committed=other)
            return Decision(name=other, pointer=back, given_up=record, reason=reason)
        return _committed(pointer, whole, quarantined)
    record = whole.get(pointer.live)
    if record is None:
        return _committed(pointer, whole, quarantined, reason="its files were damaged")
    if record.onnx_sha256 in quarantined:
        return _committed(pointer, whole, quarantined, given_up=record, reason=quarantined[record.onnx_sha256])
    if pointer.starts >= attempts:
        reason = f"it was not committed in {pointer.starts} starts"
        refused = {**quarantined, record.onnx_sha256: reason}
        return _committed(pointer, whole, refused, given_up=record, reason=reason, blamed=True)
    counted = msgspec.structs.replace(pointer, starts=pointer.starts + 1)
    return Decision(name=pointer.live, pointer=counted, on_probation=True)


def older(whole: Mapping[str, Record], quarantined: Mapping[str, str], *, besides: str = "") -> str:
    """Return the slot with the older usable release, "" for none."""
    usable = {name: record for name, record in whole.items() if name != besides and record.onnx_sha256 not in quarantined}
    return min(usable, key=lambda name: usable[name].release, default="")


def _committed(
    pointer: Pointer,
    whole: Mapping[str, Record],
    quarantined: Mapping[str, str],
    *,
    given_up: Record | None = None,
    reason: str = "",
    blamed: bool = False,
) -> Decision:
    name = pointer.committed if pointer.committed in whole else older(whole, quarantined)
    after = Pointer(live=name, committed=name) if name else pointer
    return Decision(name=name, pointer=after, given_up=given_up, reason=reason, blamed=blamed)
