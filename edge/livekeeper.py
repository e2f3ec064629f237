"""Keeps the device's live state over restarts: reads it before the first model, writes it at intervals and at the end.

Rules, in order:
1. The state is written when something changed, every `EVERY_S` at most, and when the agent ends: flash wears out.
2. How many samples were drawn is written in place before each leaves (8 bytes, not synced: a kill -9 keeps it; a power cut may take
   what the system has not written back yet, some seconds). It is synced before every state, so that it is never behind one.
3. What cannot be read is told, moved nowhere and begun anew; the next writing replaces it. What cannot be written is told and tried
   again; frames and answers go on.

What the bytes mean and when they may be used is livefile's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.liveaudits import LiveAudits
from edge.livefile import Drawn, LiveFile, Recollection, decode, drawn_bytes, drawn_from, encode, recollect
from edge.spending import Spending
from shared import clock, durable, log
from shared.clock import Clock
from shared.errors import StorageError

EVERY_S = 30.0
BEGUN_ANEW, NOT_KEPT, GOES_ON = "live_state_begun_anew", "live_state_not_kept", "live_state_goes_on"


class LiveKeeper:
    """The two files, and the thread that writes them.

    Args:
        folder: the state folder.
        audits: the live risk.
        spending: the byte budget.
        spool_id: returns the id of the open spool.
        monotonic: tells durations.
        wall: tells Unix seconds.
        every_s: seconds between two writings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        audits: LiveAudits,
        spending: Spending,
        spool_id: Callable[[], bytes],
        monotonic: Clock = clock.monotonic,
        wall: Clock = clock.wall,
        every_s: float = EVERY_S,
    ) -> None:
        self._path, self._drawn_path = folder / "live.state", folder / "live.drawn"
        self._audits, self._spending, self._spool_id = audits, spending, spool_id
        self._monotonic, self._wall, self._every_s = monotonic, wall, every_s
        self._logger = log.get("live")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-keeper", daemon=True)
        self._handle = -1
        self._written: tuple[int, int] | None = None
        self.reason = ""
        self.failing = ""

    def start(self) -> None:
        """Read what was kept, hand it over, and begin to keep.

        Raises:
            StorageError: the state folder cannot be written.
        """
        for left in self._path.parent.glob(f".{self._path.name}.*"):
            left.unlink(missing_ok=True)  # a kill in the middle of writing
        found = self._read()
        if found is not None:
            self._spending.recall(found.file.spending, away_s=found.away_s, is_clean=found.file.is_clean)
            self._logger.info(GOES_ON, drawn=found.drawn, missing=found.drawn - found.file.audits.live.drawn, away_s=round(found.away_s, 1))
        try:
            self._handle = os.open(self._drawn_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self._drawn_path} cannot be written: {error}.", "Free space, or correct the folder's permissions."
            ) from error
        if found is not None and found.file.is_clean:
            self._put(msgspec.structs.replace(found.file, is_clean=False))  # from now on bytes may be spent that no state knows of
        self._audits.keep(self._count, remembered=found, spool_id=self._spool_id())
        self._thread.start()

    def stop(self) -> None:
        """Write the last state."""
        self._stopping.set()
        self._thread.join(10)
        self._write(is_clean=True)
        handle, self._handle = self._handle, -1
        os.close(handle)

    def status(self) -> dict[str, Any]:
        """Return what became of the state that was kept, and whether it is kept now."""
        return {"begun_anew": self.reason or self._audits.began, "failing": self.failing}

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._write(is_clean=False)

    def _read(self) -> Recollection | None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._anew(str(error))
            return None
        try:
            with contextlib.suppress(OSError):
                return recollect(decode(data), drawn_from(self._drawn_path.read_bytes()), wall=self._wall())
            return recollect(decode(data), None, wall=self._wall())
        except StorageError as error:
            self._anew(error.message)
            return None

    def _anew(self, reason: str) -> None:
        self.reason = f"{self._path.name}: {reason}"
        self._logger.warning(BEGUN_ANEW, file=str(self._path), reason=reason)

    def _count(self, drawn: Drawn) -> None:
        try:
            os.pwrite(self._handle, drawn_bytes(drawn), 0)
        except OSError as error:
            self._fail(error)

    def _write(self, *, is_clean: bool) -> None:
        mark = (self._audits.changes, self._spending.hard_bytes + self._spending.audit_bytes)
        life, audits = self._audits.memory(self._monotonic())
        if audits.release == 0 or (mark == self._written and not is_clean):
            return  # before the first model what was kept stays as it is
        if self._audits.began and not self.reason:
            self._anew(self._audits.began)
        spending = self._spending.memory(self._monotonic())
        if self._put(LiveFile(life=life, written_at=self._wall(), is_clean=is_clean, audits=audits, spending=spending)):
            self._written = mark

    def _put(self, state: LiveFile) -> bool:
        try:
            os.fsync(self._handle)
            durable.write(self._path, encode(state), mode=0o600)
        except (OSError, StorageError) as error:
            self._fail(error)
            return False
        self.failing = ""
        return True

    def _fail(self, error: Exception) -> None:
        if not self.failing:
            self._logger.warning(NOT_KEPT, file=str(self._path), reason=str(error))  # once per outage
        self.failing = str(error)
