"""Two slots, A and B, and a pointer: which model serves, which is committed. A power cut at any moment leaves a whole model.

    a/ b/           model.onnx, card.json and, written last, slot.json with their hashes
    current         which slot is live, which is committed, how often the device has started since they differ
    quarantine.json releases this device has taken back or refused, by the hash of their model

Rules, in order:
1. A slot is written only while it is neither live nor committed; its slot.json goes first and comes last.
2. Live and committed change by replacing `current` in one step.
3. At the start the rules of edge.pointer choose; without a whole slot there is no model and the release is fetched again.
4. What is quarantined is written before the pointer goes back, so that a power cut in between ends the same way.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.pointer import Pointer, Record, decide, older
from shared import durable
from shared.errors import StorageError
from shared.release.blobs import hash_file
from shared.release.card import sha256

NAMES = ("a", "b")
ATTEMPTS = 3
LONGEST_QUARANTINE = 256


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole slot."""

    name: str
    folder: Path
    record: Record

    @property
    def onnx(self) -> Path:
        """The model file."""
        return self.folder / "model.onnx"

    @property
    def card(self) -> Path:
        """The card."""
        return self.folder / "card.json"


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What the device starts with: a slot or none, whether it is still on probation, and what was given up and why."""

    slot: Slot | None
    on_probation: bool = False
    given_up: Record | None = None
    reason: str = ""


class Slots:
    """The slots below one folder; used by one thread.

    Args:
        folder: made on first use.
        attempts: starts an uncommitted release may have before it counts as failed.
    """

    def __init__(self, folder: Path, *, attempts: int = ATTEMPTS) -> None:
        self._folder = folder
        self._attempts = attempts

    def boot(self) -> Boot:
        """Choose what to start with and count the start (rule 3).

        Raises:
            StorageError: the pointer cannot be written.
        """
        pointer = self._pointer()
        decision = decide(pointer, self._whole(), self.quarantined(), attempts=self._attempts)
        if decision.given_up is not None and decision.blamed:
            self.quarantine(decision.given_up, decision.reason)
        if decision.pointer != pointer:
            self._point(decision.pointer)
        slot = self._slot(decision.name)
        return Boot(slot=slot, on_probation=decision.on_probation, given_up=decision.given_up, reason=decision.reason)

    def live(self) -> Slot | None:
        """Return the slot in service if it is whole."""
        return self._slot(self._pointer().live)

    def committed(self) -> Slot | None:
        """Return the committed slot if it is whole."""
        return self._slot(self._pointer().committed)

    def staged(self, onnx_sha256: str, card_sha256: str) -> Slot | None:
        """Return the idle slot if it holds exactly these files already."""
        slot = self._slot(self._idle())
        if slot is None or (slot.record.onnx_sha256, slot.record.card_sha256) != (onnx_sha256, card_sha256):
            return None
        return slot

    def stage(self, onnx: bytes, card: bytes, *, release: int, role: str) -> Slot:
        """Write a release into the idle slot (rule 1).

        Raises:
            StorageError: the disk refuses; the slot is then empty, the others untouched.
        """
        name = self._idle()
        folder = self._folder / name
        self._empty(folder)
        durable.write(folder / "model.onnx", onnx, mode=0o600)
        durable.write(folder / "card.json", card, mode=0o600)
        record = Record(release=release, role=role, onnx_sha256=sha256(onnx), card_sha256=sha256(card))
        durable.write(folder / "slot.json", msgspec.json.encode(record))
        return Slot(name=name, folder=folder, record=record)

    def make_live(self, slot: Slot) -> None:
        """Point the device at a slot on probation; the first model ever is committed by the caller at once."""
        self._point(Pointer(live=slot.name, committed=self._pointer().committed))

    def commit(self) -> None:
        """Make the live slot the committed one; the other becomes idle."""
        live = self._pointer().live
        self._point(Pointer(live=live, committed=live))

    def fall_back(self, record: Record, reason: str) -> Slot | None:
        """Quarantine the live release and return to the committed slot (rule 4); None when there is none."""
        self.quarantine(record, reason)
        committed = self._pointer().committed
        self._point(Pointer(live=committed, committed=committed))
        return self._slot(committed)

    def take_back(self, record: Record, reason: str) -> Slot | None:
        """Quarantine the live and committed release and return to the one before it (rule 4); None, and no change, without one."""
        live = self.live()
        if live is None or not older(self._whole(), self.quarantined(), besides=live.name):
            return None
        self.quarantine(record, reason)
        return self.turn_to_other(live)

    def turn_to_other(self, slot: Slot) -> Slot | None:
        """Make the other slot live and committed because `slot` cannot be loaded; None, and no change, when it holds nothing usable."""
        other = older(self._whole(), self.quarantined(), besides=slot.name)
        if other:
            self._point(Pointer(live=other, committed=other))
        return self._slot(other)

    def discard(self, slot: Slot) -> None:
        """Empty a slot that is whole on disk but cannot be used; a pointer to it then finds nothing."""
        self._empty(slot.folder)

    def quarantine(self, record: Record, reason: str) -> None:
        """Remember not to try a release again.

        Raises:
            StorageError: it cannot be written.
        """
        known = {**self.quarantined(), record.onnx_sha256: reason}
        newest = dict(list(known.items())[-LONGEST_QUARANTINE:])
        durable.write(self._folder / "quarantine.json", msgspec.json.encode(newest))

    def quarantined(self) -> dict[str, str]:
        """Return why releases are not tried again, by the SHA-256 of their model; empty when the file is damaged."""
        try:
            return msgspec.json.decode((self._folder / "quarantine.json").read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _whole(self) -> dict[str, Record]:
        return {name: slot.record for name in NAMES if (slot := self._slot(name)) is not None}

    def _idle(self) -> str:
        pointer = self._pointer()
        free = [name for name in NAMES if name not in {pointer.live, pointer.committed}]
        if not free:
            raise StorageError("no slot is free while a release is on probation.", "It is committed or given up first.")
        return free[0]

    def _slot(self, name: str) -> Slot | None:
        if name not in NAMES:
            return None
        folder = self._folder / name
        try:
            record = msgspec.json.decode((folder / "slot.json").read_bytes(), type=Record)
            found = (hash_file(folder / "model.onnx"), hash_file(folder / "card.json"))
        except (OSError, msgspec.MsgspecError):
            return None
        return Slot(name=name, folder=folder, record=record) if found == (record.onnx_sha256, record.card_sha256) else None

    def _empty(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("slot.json", "model.onnx", "card.json"):
                (folder / name).unlink(missing_ok=True)
                durable.sync_folder(folder)  # slot.json is gone for good before the model is touched
            for left in folder.glob(".*"):
                left.unlink()  # halves of an earlier attempt
        except OSError as error:
            raise StorageError(f"the slot {folder} cannot be emptied: {error}.") from error

    def _pointer(self) -> Pointer:
        try:
            return msgspec.json.decode((self._folder / "current").read_bytes(), type=Pointer)
        except (OSError, msgspec.MsgspecError):
            return Pointer()

    def _point(self, pointer: Pointer) -> None:
        durable.write(self._folder / "current", msgspec.json.encode(pointer))
