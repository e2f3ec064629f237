"""Scenes of a spool on a disk of its own, each played by a process with a mount namespace of its own; nothing is left mounted.

unshare --mount python -m tests.unit.spool_scenes full_disk FOLDER
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from shared.link.recount import recount
from shared.link.spool import RETRY_S, NewCase, Spool

CASE = 30_000
clock = itertools.count(1000, int(RETRY_S) + 1)


def mount(*arguments: str) -> None:
    """Mount, in this process's namespace."""
    subprocess.run(["mount", *arguments], check=True)


def make(folder: Path, capacity: int = 64 << 20, memory_bytes: int = 1 << 20) -> Spool:
    """Return a started spool in a folder."""
    spool = Spool(folder / "spool.db", folder / "spool.key", capacity, memory_bytes=memory_bytes)
    spool.start()
    return spool


def fill(spool: Spool, count: int) -> Iterator[tuple[int, bytes]]:
    """Append cases until one is no longer durable; yields sequence and payload."""
    for _ in range(count):
        payload = os.urandom(CASE)
        result = spool.append_many([NewCase(payload=payload, value=1.0)])
        assert result.sequences[0] is not None
        yield result.sequences[0], payload
        if not result.is_durable:
            return


def full_disk(folder: Path) -> None:
    """The disk fills up; cases go on in memory, and back when there is space."""
    mount("-t", "tmpfs", "-o", "size=6m", "none", str(folder))
    (folder / "log").write_bytes(bytes(1 << 20))
    spool = make(folder)
    held = dict(fill(spool, 1000))
    state = spool.state()
    assert "No space" in state.alarm, state
    assert state.memory_cases == 1
    assert recount(folder / "spool.db").waiting_count == len(held) - 1, "what is in memory is not claimed durable"
    more = spool.append_many([NewCase(payload=os.urandom(CASE), value=number) for number in range(60)])
    assert not more.is_durable
    assert spool.state().memory_bytes <= 1 << 20, "memory is bounded"
    assert spool.counts().counters["evicted:memory:hard"] > 0
    assert all(spool.read(sequence) == payload for sequence, payload in list(held.items())[:-1])
    confirmed = sorted(held)[:3]
    assert spool.remove(confirmed) == 3
    spool.tend(next(clock))
    assert spool.state().alarm, "there is still no space"
    (folder / "log").unlink()
    spool.tend(next(clock))
    assert not spool.state().alarm
    assert spool.state().memory_cases == 0
    assert recount(folder / "spool.db") == spool.counts()
    assert not {item.sequence for item in spool.waiting()} & set(confirmed)
    reopen_and_compare(spool, folder)


def drained_while_full(folder: Path) -> None:
    """The spool itself fills the disk; receipts alone make it well again."""
    mount("-t", "tmpfs", "-o", "size=6m", "none", str(folder))
    spool = make(folder, capacity=16 << 20)
    held = dict(fill(spool, 1000))
    assert spool.state().alarm
    spool.remove(sorted(held)[:-20])
    spool.tend(next(clock))
    assert not spool.state().alarm, spool.state()
    assert len(spool.waiting()) == 20
    assert [spool.read(sequence) for sequence in sorted(held)[-20:]] == [held[sequence] for sequence in sorted(held)[-20:]]
    reopen_and_compare(spool, folder)


def read_only_at_the_start(folder: Path) -> None:
    """The disk is read-only from the start: what waits is sent, what comes stays in memory."""
    mount("-t", "tmpfs", "-o", "size=32m", "none", str(folder))
    spool = make(folder)
    held = dict(fill(spool, 10))
    identity = spool.spool_id
    spool.remove([min(held)])
    spool.stop()
    mount("-o", "remount,ro", str(folder))
    spool = make(folder)
    assert "ead-only" in spool.state().alarm, spool.state()
    assert spool.spool_id == identity
    assert [spool.read(sequence) for sequence in sorted(held)[1:]] == [held[sequence] for sequence in sorted(held)[1:]]
    floor = spool.floor()
    new = spool.append(b"new", is_audit=True, value=0.0)
    assert new is not None
    assert new > max(held) + (1 << 32)
    spool.remove(sorted(held)[1:4])
    assert spool.floor() == floor, "a floor that cannot be noted is not said"
    spool.stop()
    spool = make(folder)
    again = spool.append(b"again", is_audit=True, value=0.0)
    assert again not in {None, new}
    spool.remove(sorted(held)[1:4])
    mount("-o", "remount,rw", str(folder))
    spool.tend(next(clock))
    assert not spool.state().alarm, spool.state()
    counts = recount(folder / "spool.db")
    assert counts == spool.counts()
    assert (counts.spooled, counts.received, counts.waiting_count) == (11, 4, 7)
    reopen_and_compare(spool, folder)


def read_only_meanwhile(folder: Path) -> None:
    """The disk turns read-only while the spool runs, and writable again."""
    mount("-t", "tmpfs", "-o", "size=32m", "none", str(folder))
    spool = make(folder, capacity=1 << 20)  # segments of 64 KB: the next one cannot be made
    held = dict(fill(spool, 3))
    mount("--bind", str(folder), str(folder))
    mount("-o", "remount,bind,ro", str(folder))
    held |= dict(fill(spool, 50))
    assert "ead-only" in spool.state().alarm, spool.state()
    assert all(spool.read(sequence) == payload for sequence, payload in held.items() if sequence in {w.sequence for w in spool.waiting()})
    mount("-o", "remount,bind,rw", str(folder))
    spool.tend(next(clock))
    assert not spool.state().alarm, spool.state()
    reopen_and_compare(spool, folder)


def reopen_and_compare(spool: Spool, folder: Path) -> None:
    """Stop, open again: the same cases, the same counts."""
    waiting, counts = spool.waiting(), spool.counts()
    spool.stop()
    again = make(folder)
    assert again.waiting() == waiting
    assert again.counts() == counts
    assert all(again.read(item.sequence) is not None for item in waiting)
    assert counts.spooled == counts.received + counts.evicted + counts.waiting_count
    again.stop()


SCENES = {scene.__name__: scene for scene in (full_disk, drained_while_full, read_only_at_the_start, read_only_meanwhile)}


def main() -> None:
    """Play one scene."""
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: ends with the test
    SCENES[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
