"""All intake workers of a region: the daemon's own and the processes beside it, added and removed while it runs.

Rules, in order:
1. The list (`workers.json`) says which processes shall run; it is looked at every second. A process that ends by itself is started
   again, with growing pauses (child).
2. Shards are shared among those that are here (shards). Whose process is gone or has hung up holds nothing: the others take over, and it
   gets its share again when it is back. One that says nothing for `SILENT_S` is killed.
3. A process that is taken off the list stores what it has, says so and ends; then its shards move.
4. What processes say (figures, telemetry, opened epochs, cases for the expert) is added to the daemon's own.

There is one expert, in the daemon, for all workers: one model in memory, batches over all devices, one count of agreement. A worker
that dies with cases it has stored but not announced costs nothing: the expert finds them in the vault.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from region.batcher import Job
from region.config import RegionSettings
from region.epochs import EpochStore
from region.figures import Figures
from region.fleet import Fleet
from region.intakeparts import Intake
from region.members import Door, Line, OwnMember
from region.replies import Replies
from region.shards import Assignment
from region.vault import Vault
from region.workerlist import read_workers
from region.workernews import Done, Hello, News, note
from shared import clock, log
from shared.child import Child
from shared.errors import StorageError

EVERY_S, SILENT_S = 1.0, 15.0
WORKER_JOINED, WORKER_LEFT, WORKER_SILENT = "intake_worker_joined", "intake_worker_left", "intake_worker_silent"
NEWS_LOST, LIST_UNREADABLE = "intake_news_lost", "intake_list_unreadable"


class IntakePool:
    """The intake workers.

    Args:
        settings: region.toml.
        config: the file itself; worker processes read it too.
        own: the daemon's own intake worker.
        vault: its size grows with what processes store.
        epochs: those that processes have added.
        replies: speak under them.
        figures: the daemon's.
        fleet: the daemon's.
        submit: hands cases to the expert.
    """

    def __init__(
        self,
        settings: RegionSettings,
        config: Path,
        *,
        own: Intake,
        vault: Vault,
        epochs: EpochStore,
        replies: Replies,
        figures: Figures,
        fleet: Fleet,
        submit: Callable[[Iterable[Job]], None],
    ) -> None:
        self._settings, self._config = settings, config
        self._own = OwnMember(own, self._done)
        self._vault, self._epochs, self._replies = vault, epochs, replies
        self._figures, self._fleet, self._submit = figures, fleet, submit
        self._table = Assignment()
        self._members: dict[str, OwnMember | Line] = {}
        self._children: dict[str, Child] = {}
        self._door = Door(settings.intake_path, self._word, self._ended)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._logger = log.get("intake-pool")
        self._thread = threading.Thread(target=self._run, name="intake-pool", daemon=True)

    @property
    def is_storing(self) -> bool:
        """Whether every worker's last commit succeeded."""
        return all(member.is_storing for member in list(self._members.values()))

    def start(self) -> None:
        """Give all shards to the daemon's own worker, open the door, start the listed processes.

        Raises:
            LinkError: the socket cannot be made.
        """
        self._own.start()
        self._join(self._own)
        self._door.start()
        self._thread.start()

    def stop(self) -> None:
        """End the processes, then what serves here."""
        self._stopping.set()
        self._thread.join()
        for child in self._children.values():
            child.stop()
        self._door.stop()
        self._own.stop()

    def status(self) -> list[dict[str, Any]]:
        """Return each worker: name, state, process, shards, starts over, last words when it is down."""
        with self._lock:
            names = sorted({self._own.name, *self._children, *self._members})
            return [self._state(name) for name in names]

    def _state(self, name: str) -> dict[str, Any]:
        member, child = self._members.get(name), self._children.get(name)
        process = None if child is None else child.pid
        found = {
            "name": name,
            "state": "serving" if self._table.served(name) else "starting" if process or member else "down",
            "process": process,
            "shards": sorted(self._table.served(name)),
            "restarts": 0 if child is None else child.restarts,
            "is_storing": member is None or member.is_storing,
        }
        if child is not None and found["state"] == "down":
            found["said"] = child.last_words(limit_bytes=300)
        return found

    def _run(self) -> None:
        listed: tuple[str, ...] = ()
        while not self._stopping.is_set():
            try:
                listed = read_workers(self._settings.workers_path)
            except StorageError as error:
                self._logger.warning(LIST_UNREADABLE, error=str(error))
            self._follow(set(listed) - {self._own.name})
            self._kill_silent()
            self._stopping.wait(EVERY_S)

    def _follow(self, listed: set[str]) -> None:
        for name in sorted(self._children.keys() - listed):
            self._children[name].stop()
            with self._lock:
                del self._children[name]
        for name in sorted(listed - self._children.keys()):
            command = [sys.executable, "-m", "region.worker_main", "--config", str(self._config.resolve()), "--worker", name]
            child = Child(name, command, log_path=self._settings.state / f"{name}.log")
            with self._lock:
                self._children[name] = child
            child.start()

    def _kill_silent(self) -> None:
        now = clock.monotonic()
        for name, member in list(self._members.items()):
            if isinstance(member, Line) and now - member.heard_at > SILENT_S:
                self._logger.warning(WORKER_SILENT, worker=name)
                if (child := self._children.get(name)) is not None:
                    child.signal(signal.SIGKILL)
                member.end()

    def _word(self, line: Line, word: Hello | Done | News) -> None:
        if isinstance(word, Hello):
            line.name = word.name
            self._join(line)
        elif isinstance(word, Done):
            if self._members.get(line.name) is line:
                self._done(line.name, word.number)
        else:
            self._take(line, word)

    def _join(self, member: OwnMember | Line) -> None:
        with self._lock:
            if isinstance(member, Line) and member.name not in self._children:
                member.end()  # taken off the list meanwhile
                return
            self._members[member.name] = member
            self._table.joined(member.name)
            self._give_orders()
        self._logger.info(WORKER_JOINED, worker=member.name)

    def _done(self, name: str, number: int) -> None:
        with self._lock:
            self._table.done(name, number)
            self._give_orders()

    def _ended(self, line: Line) -> None:
        with self._lock:
            if self._members.get(line.name) is not line:
                return
            del self._members[line.name]
            self._table.left(line.name)
            self._give_orders()
        self._logger.info(WORKER_LEFT, worker=line.name)

    def _give_orders(self) -> None:
        for order in self._table.orders():
            self._members[order.member].tell(order)

    def _take(self, line: Line, news: News) -> None:
        line.is_storing = news.is_storing
        note(news, self._figures, self._fleet)
        self._vault.held_bytes += news.stored_bytes
        try:
            for device in {device for device, _ in news.epochs}:
                for epoch in self._epochs.load(now=clock.wall(), device=device)[-1:]:
                    self._replies.restore(epoch)
        except StorageError as error:
            self._logger.warning(NEWS_LOST, worker=line.name, error=str(error))
        self._submit(news.jobs)
