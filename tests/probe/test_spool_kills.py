"""Kill -9 a real writer that appends, confirms, evicts and says floors, again and again: nothing durable is lost or numbered twice."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.link.recount import recount
from shared.link.spool import Spool

CAPACITY = 2 << 20
WRITER = """
import hashlib, os, random, sys
from pathlib import Path
from shared.link.spool import NewCase, Spool
folder, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
spool = Spool(folder / "spool.db", folder / "spool.key", int(sys.argv[3]))
spool.start()
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
while True:
    group = [NewCase(payload=os.urandom(chance.randrange(100, 20000)), is_audit=chance.random() < 0.2, value=chance.random())
             for _ in range(chance.randrange(1, 17))]
    done = spool.append_many(group)
    assert done.is_durable
    for sequence, case in zip(done.sequences, group):
        if sequence is not None:
            say("stored", sequence, hashlib.sha256(case.payload).hexdigest())
    for sequence in done.evicted:
        say("evicted", sequence)
    waiting = [item.sequence for item in spool.waiting()]
    gone = waiting[: chance.randrange(0, 12)] if chance.random() < 0.7 else chance.sample(waiting, len(waiting) // 2)
    for sequence in gone:
        say("leaving", sequence)
    spool.remove(gone)
    for sequence in gone:
        say("left", sequence)
    if chance.random() < 0.3:
        say("floor", spool.floor())
"""


def live(folder: Path, seed: int, lines: int) -> list[list[str]]:
    """Let a writer live until it has said so many lines, kill it, and return all it said."""
    command = [sys.executable, "-c", WRITER, str(folder), str(seed), str(CAPACITY)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(lines)]
    writer.send_signal(signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    return [line.decode().split() for line in said if line.endswith(b"\n")]


@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    stored: dict[int, str] = {}
    left: set[int] = set()
    evicted = floor = 0
    for seed in range(kills):
        leaving: set[int] = set()
        for word, number, *digest in live(tmp_path, seed, chance.randrange(1, 600)):
            if word == "stored":
                assert int(number) not in stored, "a sequence was used twice"
                stored[int(number)] = digest[0]
            elif word == "floor":
                floor = int(number)
            else:
                evicted += word == "evicted"
                (left if word in {"left", "evicted"} else leaving).add(int(number))
        counted = recount(tmp_path / "spool.db")
        spool = Spool(tmp_path / "spool.db", tmp_path / "spool.key", CAPACITY)
        spool.start()
        waiting = {item.sequence for item in spool.waiting()}
        missing = set(stored) - left - leaving - waiting  # displaced by the last group, and the writer died before saying so
        assert len(missing) <= spool.evicted() - evicted
        evicted = spool.evicted()
        assert not waiting & left, "what has left, and was noted, does not come back after a kill"
        assert all(sequence >= floor for sequence in waiting)
        for sequence in waiting & set(stored):
            payload = spool.read(sequence)
            assert payload is not None
            assert hashlib.sha256(payload).hexdigest() == stored[sequence]
        counts = spool.counts()
        assert counts.spooled == counts.received + counts.evicted + counts.waiting_count
        assert counted == counts, "the files alone tell the same before the agent starts again"
        assert spool.set_aside is None
        left |= set(stored) - waiting
        spool.stop()
