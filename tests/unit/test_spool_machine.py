"""A spool driven through arbitrary lives: cases, receipts, floors, restarts, kills, power cuts and failing disks, in any order.

The model knows what was promised: a case that was called durable and neither confirmed nor evicted is there after anything; whatever
is there is what was written under its sequence; no sequence is given twice; nothing below a floor that was said comes back.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.link.recount import recount
from shared.link.spool import RETRY_S, NewCase, Spool
from shared.link.spoolindex import SpoolIndex
from tests.examples import LONG_RUN, examples

CAPACITY = 600_000
SIZES = st.lists(st.integers(0, 9000), min_size=1, max_size=6)


class Lives(RuleBasedStateMachine):
    """One spool, many crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="terrace-spool-"))
        self.folders = (self.root / f"{number}" for number in itertools.count())
        self.folder = next(self.folders)
        self.now = 0.0
        self.written: dict[int, bytes] = {}
        self.durable: set[int] = set()
        self.in_memory: set[int] = set()
        self.gone: set[int] = set()
        self.floor = 0
        self.is_failing = False
        self.synced = self.root / "synced"
        self._patches = [
            mock.patch.object(SpoolIndex, "commit", self._commit()),
            mock.patch("shared.link.segments.os.fdatasync", self._sync),
        ]
        for patch in self._patches:
            patch.start()
        self.spool = self._open()

    def _commit(self) -> Any:
        """Return the index's commit, which notes the file as it is after each synced one: what a power cut leaves at least."""
        own = SpoolIndex.commit

        def commit(index: SpoolIndex, change: Any, *, durable: bool = False) -> None:
            if self.is_failing:
                raise OSError(errno.EIO, "Input/output error")
            own(index, change, durable=durable)
            if durable:
                shutil.rmtree(self.synced, ignore_errors=True)
                self.synced.mkdir()
                for suffix in ("", "-wal"):
                    shutil.copy(self.folder / f"spool.db{suffix}", self.synced)

        return commit

    def _sync(self, _: int) -> None:
        if self.is_failing:
            raise OSError(errno.EIO, "Input/output error")

    def _open(self) -> Spool:
        spool = Spool(self.folder / "spool.db", self.folder / "spool.key", CAPACITY, memory_bytes=50_000)
        spool.start()
        assert spool.set_aside is None
        return spool

    def _move(self, to: Path, *, power_cut: bool = False) -> None:
        """Go on with a copy of the files as they lie; after a power cut the index is what was synced last."""
        shutil.copytree(self.folder, to)
        if power_cut:
            for suffix in ("", "-wal", "-shm"):
                (to / f"spool.db{suffix}").unlink(missing_ok=True)
            for file in self.synced.iterdir():
                shutil.copy(file, to)
        self.spool.stop()
        shutil.rmtree(self.folder)
        self.folder, self.is_failing = to, False
        self.in_memory.clear()
        self.spool = self._open()

    @rule(sizes=SIZES, worth=st.floats(0, 1), is_audit=st.booleans())
    def append(self, sizes: list[int], worth: float, is_audit: bool) -> None:
        """Cases come."""
        cases = [NewCase(payload=os.urandom(size), is_audit=is_audit, value=worth) for size in sizes]
        result = self.spool.append_many(cases)
        assert not (result.is_durable and self.is_failing)
        for case, sequence in zip(cases, result.sequences, strict=True):
            if sequence is not None:
                assert sequence not in self.written, "a sequence was used twice"
                self.written[sequence] = case.payload
                (self.durable if result.is_durable else self.in_memory).add(sequence)
        self.gone |= set(result.evicted)

    @rule(share=st.floats(0, 1), newest=st.booleans())
    def confirm(self, share: float, newest: bool) -> None:
        """Receipts come."""
        waiting = [item.sequence for item in self.spool.waiting()]
        chosen = waiting[: int(share * len(waiting))] if not newest else waiting[len(waiting) - int(share * len(waiting)) :]
        assert self.spool.remove(chosen) == len(chosen)
        self.gone |= set(chosen)

    @rule()
    def say_floor(self) -> None:
        """Telemetry goes out."""
        floor = self.spool.floor()
        assert floor >= self.floor
        self.floor = floor

    @rule()
    def restart(self) -> None:
        """The agent is stopped and started."""
        self.spool.stop()
        self.is_failing = False
        self.in_memory.clear()
        self.spool = self._open()

    @rule()
    def kill(self) -> None:
        """Kill -9: what was written is there, in the file system's memory."""
        self._move(next(self.folders))

    @rule()
    def cut_the_power(self) -> None:
        """Only what was synced is there."""
        self._move(next(self.folders), power_cut=True)

    @rule()
    def lose_the_index(self) -> None:
        """The index is damaged beyond use."""
        self.spool.stop()
        for suffix in ("", "-wal", "-shm"):
            (self.folder / f"spool.db{suffix}").unlink(missing_ok=True)
        self.is_failing = False
        self.in_memory.clear()
        self.spool = self._open()

    @rule()
    def break_the_disk(self) -> None:
        """The disk fails from now on."""
        self.is_failing = True

    @precondition(lambda self: self.spool.state().alarm)
    @rule()
    def mend_the_disk(self) -> None:
        """It can be written again, and the spool notices."""
        self.is_failing = False
        self.now += RETRY_S
        self.spool.tend(self.now)
        assert not self.spool.state().alarm, self.spool.state()
        self.durable |= self.in_memory
        self.in_memory.clear()
        waiting = {item.sequence for item in self.spool.waiting()}
        self.gone |= self.durable - waiting  # moved to a disk that had no room for all
        assert recount(self.folder / "spool.db") == self.spool.counts()

    @invariant()
    def keeps_its_promises(self) -> None:
        """All that was promised holds at any moment."""
        waiting = {item.sequence for item in self.spool.waiting()}
        assert self.durable - self.gone <= waiting
        assert all(sequence >= self.floor for sequence in waiting)
        for sequence in waiting:
            assert self.spool.read(sequence) == self.written[sequence]
        counts = self.spool.counts()
        assert counts.spooled == counts.received + counts.evicted + counts.waiting_count

    def teardown(self) -> None:
        """Leave nothing."""
        self.spool.stop()
        for patch in self._patches:
            patch.stop()
        shutil.rmtree(self.root, ignore_errors=True)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=examples(15), stateful_step_count=60 if LONG_RUN else 25, deadline=None)
