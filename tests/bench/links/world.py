"""A small world to break: devices, a link, a region with its broker and intake workers, each a real process that can be killed.

Nothing here decides what breaks when (faults does). Every process that is dead is started again by `tend`, as an init system would.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

from region.vault import Vault
from region.workerlist import write_workers
from shared.errors import StorageError
from shared.link import recount
from tests.bench.links.ledger import Account, Key, parse_journal, settle
from tests.bench.links.marks import Marked
from tests.bench.links.shaped import ADDRESSES, Lane, ShapedLink
from tests.bench.links.site import ON_DISK, REGION, BenchSite
from tests.bench.links.surroundings import SmallDisk, SteppedClock
from tests.bench.links.tap import Seen, Tap
from tests.waiting import until

CLEAR = Lane(rate_mbit=50, delay_ms=5)
DEVICE_MB, REGION_MB = 96, 1536
CASES_PER_S = 4.0


class World:
    """Everything of one run; use it as a context.

    Args:
        devices: how many.
        workers: intake workers of the region.
        seed: of the marked pictures and of chance.
    """

    def __init__(self, *, devices: int, workers: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.marked = Marked(seed)
        self.tap = Tap(self.marked)
        self.site = BenchSite(ON_DISK, ADDRESSES["region"], devices=devices, workers=workers)
        self.folder = self.site.folder
        self.link = ShapedLink(CLEAR, capture=self.folder / "packets.pcap")
        self.disks = {"region": SmallDisk(self.site.state, REGION_MB), "device": SmallDisk(self.folder / "devices", DEVICE_MB)}
        self.clocks = {side: SteppedClock(self.folder / f"clock-{side}") for side in ("region", "device")}
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._per_s = CASES_PER_S
        self._destroyed: set[Key] = set()
        self._replaced: list[Path] = []
        self.vault_ids: set[str] = set()

    def __enter__(self) -> World:
        """Make and start everything.

        Raises:
            DependencyError: something is missing on this machine.
        """
        with ExitStack() as stack:
            stack.enter_context(self.site)
            stack.enter_context(self.link)
            for part in (*self.disks.values(), *self.clocks.values()):
                part.start()
            for disk in self.disks.values():
                stack.callback(disk.stop)
            stack.callback(self._end)
            self.set_workers(self.site.workers[1:])
            self.tend()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything and remove it."""
        self._stack.__exit__(kind, error, trace)

    @property
    def vault(self) -> Path:
        """The vault's file."""
        return self.site.state / "vault.db"

    def tend(self) -> None:
        """Start what is dead."""
        for name in ("region", "tap", *self.site.names):
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                self._processes[name] = self._start(name)

    def kill(self, victim: str) -> bool:
        """Kill -9 one process; False when there is none now. Whoever is killed starts again at the next `tend`."""
        if victim == "edge":
            return self._kill(self._processes[self.chance.choice(self.site.names)])
        if victim == "region":
            return self._kill(self._processes["region"])
        words = {"broker": b"mosquitto", "worker": b"worker_main"}[victim]
        pid = self.chance.choice(self._children(words) or [0])
        if victim == "broker" and pid:
            self.tap.memory(pid)
        return _killed(pid)

    def set_workers(self, names: Sequence[str]) -> None:
        """Say which intake workers run as processes beside the daemon, which has one of its own; it follows within a second or so."""
        try:
            write_workers(self.site.state / "workers.json", names)
        except StorageError:
            return  # the region's disk may be full

    def stored(self) -> Counter[str]:
        """Return how many cases of each device lie in the vault now; nothing while it cannot be read."""
        try:
            with closing(sqlite3.connect(f"file:{self.vault}?mode=ro", uri=True, timeout=5)) as db:
                return Counter(dict(db.execute("SELECT device, count(*) FROM cases GROUP BY device")))
        except sqlite3.Error:
            return Counter()

    def progress(self, cases: int, *, what: str, within_s: float = 90.0) -> float:
        """Wait until so many more cases of every device are stored; returns how long it took.

        Raises:
            AssertionError: the link has stalled.
        """
        began, before = time.monotonic(), self.stored()

        def is_there() -> bool:
            self.tend()
            now = self.stored()
            return all(now[name] >= before[name] + cases for name in (f"{name}.{REGION}" for name in self.site.names))

        until(is_there, lambda: f"{cases} more cases of each device {what}: {before} -> {self.stored()}", within_s=within_s, every_s=0.1)
        for pid in self._children(b"mosquitto"):
            self.tap.memory(pid)
        return time.monotonic() - began

    def destroy_spool(self) -> None:
        """Kill a device, remove its spool with its key, and let it make another."""
        name = self.chance.choice(self.site.names)
        self._kill(self._processes[name])
        spool = self.folder / "devices" / name / "spool"
        self._destroyed |= _waiting(spool / "spool.db")
        shutil.rmtree(spool)

    def back_up(self, target: Path) -> None:
        """Copy the vault while it is in use, as an operator does."""
        with closing(sqlite3.connect(f"file:{self.vault}?mode=ro", uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)

    def restore(self, backup: Path) -> None:
        """Kill the region and put an older vault in the place of the present one, which is kept aside for the account."""
        self._kill(self._processes["region"])
        until(lambda: not self._open_vault(), lambda: f"{self._open_vault()} to let go of the vault")
        aside = self.folder / f"replaced-{len(self._replaced)}"
        aside.mkdir()
        for path in self.site.state.glob("vault.db*"):
            shutil.move(path, aside / path.name)
        self._replaced.append(aside / "vault.db")
        shutil.copy(backup, self.vault)

    def drain(self, *, within_s: float = 180.0) -> float:
        """Let devices make nothing new and send what waits; returns how long it took.

        Raises:
            AssertionError: something still waits at the deadline.
        """
        self._per_s = 0.0
        for name in self.site.names:
            self._kill(self._processes[name])
        began = time.monotonic()

        def is_empty() -> bool:
            self.tend()
            return not self._all_waiting()

        until(is_empty, lambda: f"{len(self._all_waiting())} cases to leave the spools", within_s=within_s, every_s=0.3)
        return time.monotonic() - began

    def account(self) -> tuple[Account, Seen]:
        """Stop everything, count, and search what the broker left."""
        for pid in self._children(b"mosquitto"):
            self.tap.memory(pid)
        self._end()
        accepted: dict[Key, str] = {}
        for name in self.site.names:
            accepted |= parse_journal((self.folder / f"{name}.journal").read_text())
        self._note_vault_id()
        replaced = {key for path in self._replaced for key in _rows(path)}
        outcome = settle(
            accepted, stored=self._units(), waiting=self._all_waiting(), destroyed=self._destroyed, replaced=replaced
        )  # fmt: skip
        self.tap.file("messages", self.folder / "tapped")
        self.tap.file("packets", self.folder / "packets.pcap")
        for path in (self.site.state / "broker").rglob("*"):
            if path.is_file():
                self.tap.file("files", path)
        return outcome, self.tap.seen

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{name}.log"
        python = [sys.executable, "-m"]
        if name == "region":
            self._note_vault_id()
            command = [*python, "shared.cli", "region", "serve", "--config", str(self.site.config)]
            return self.link.start("region", command, log=log, env=self.clocks["region"].environment())
        if name == "tap":
            return self.link.start("region", [*python, "tests.bench.links.tap", str(self.folder), str(self.folder / "tapped")], log=log)
        words = (self.folder / name, self.folder / "devices" / name, self.folder / f"{name}.journal", self.marked.seed, self._per_s)
        command = [*python, "tests.bench.links.sending", *map(str, words)]
        return self.link.start("device", command, log=log, env=self.clocks["device"].environment())

    def _kill(self, process: subprocess.Popen[bytes]) -> bool:
        is_killed = process.poll() is None
        process.kill()
        process.wait()
        return is_killed

    def _end(self) -> None:
        for process in self._processes.values():
            self._kill(process)
        self._processes.clear()

    def _children(self, words: bytes) -> list[int]:
        process = self._processes.get("region")
        found = []
        for path in Path(f"/proc/{process.pid}/task").glob("*/children") if process is not None else ():
            for pid in _read(path).split():
                if words in _read(Path(f"/proc/{int(pid)}/cmdline")):
                    found.append(int(pid))
        return found

    def _open_vault(self) -> list[int]:
        """Return the processes that have the vault open; one that was killed lets go a moment later."""
        holders = []
        for path in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if path.readlink() == self.vault:
                    holders.append(int(path.parts[2]))
            except OSError:
                continue
        return holders

    def _note_vault_id(self) -> None:
        if self.vault.exists():
            with closing(sqlite3.connect(f"file:{self.vault}?mode=ro", uri=True)) as db:
                self.vault_ids |= {row[0].decode() for row in db.execute("SELECT value FROM meta WHERE name = 'vault_id'")}

    def _all_waiting(self) -> set[Key]:
        return {key for name in self.site.names for key in _waiting(self.folder / "devices" / name / "spool" / "spool.db")}

    def _units(self) -> list[tuple[Key, str]]:
        vault: Any = Vault(self.vault, read_only=True)
        vault.start()
        parts = ("train", "evaluation", "unused")
        cases = [case for part in parts for case in vault.cases(split=part, answered=False)]
        vault.stop()
        return [((case.spool.hex(), case.sequence), case.case.unit) for case in cases]


def _waiting(spool: Path) -> set[Key]:
    try:
        counts = recount.recount(spool)
    except StorageError:
        return set()
    return {(counts.spool_id, number) for first, last in counts.waiting for number in range(first, last + 1)}


def _rows(vault: Path) -> list[Key]:
    with closing(sqlite3.connect(f"file:{vault}?mode=ro", uri=True, timeout=5)) as db:
        return [(spool.hex(), sequence) for spool, sequence in db.execute("SELECT spool, sequence FROM cases")]


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL) if pid else None
    except ProcessLookupError:
        return False
    return bool(pid)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
