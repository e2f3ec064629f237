"""An intake worker process's line to the daemon: news go out at once, orders come in, and the process ends when the line does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from region.newsdesk import NewsDesk
from region.workernews import Done, Hello, News, Reader, Told, encode
from shared import log
from shared.errors import LinkError, ProtocolError, TerraceError
from shared.localsocket import short_address

EVERY_S = 1.0
LINE_LOST, DUTY_FAILED = "daemon_line_lost", "worker_duty_failed"


class DaemonLine:
    """The line.

    Args:
        path: the daemon's socket.
        name: the worker's.
        desk: wakes the sender when there is news.
        news: returns what there is to tell.
        own: serves shards and no others; returns when it does.
        every_second: what else is due every second.
        lost: called when the line is lost: without the daemon there is nobody to serve for.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        desk: NewsDesk,
        news: Callable[[], News],
        own: Callable[[frozenset[int]], None],
        every_second: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._path, self._name, self._desk, self._news, self._own = path, name, desk, news, own
        self._every_second, self._lost = every_second, lost
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sending = threading.Lock()
        self._stopping = threading.Event()
        self._logger = log.get(name)
        self._threads = [threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._tell, self._listen)]

    def start(self) -> None:
        """Do what is due, say who we are and begin to listen.

        Raises:
            LinkError: the daemon does not run.
        """
        self._every_second()
        try:
            with short_address(self._path) as address:
                self._socket.connect(address)
            self._send(Hello(name=self._name))
        except OSError as error:
            raise LinkError(f"the region's daemon does not answer at {self._path}: {error}.", "It starts its workers itself.") from error
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell the last news and hang up."""
        self._stopping.set()
        self._desk.waiting.set()
        self._threads[0].join(5)
        with contextlib.suppress(OSError):  # the daemon may be gone
            self._send(self._news())
        self._socket.close()

    def _tell(self) -> None:
        try:
            while not self._stopping.is_set():
                self._desk.waiting.wait(EVERY_S)
                self._duties()
                self._send(self._news())
        except OSError as error:
            self._hang_up(str(error))

    def _duties(self) -> None:
        try:
            self._every_second()
        except TerraceError as error:
            self._logger.warning(DUTY_FAILED, error=str(error))

    def _listen(self) -> None:
        reader = Reader(Told)
        try:
            while data := self._socket.recv(1 << 16):
                for word in reader.feed(data):
                    if isinstance(word, Told):
                        self._own(frozenset(word.shards))
                        self._send(Done(number=word.number))
            self._hang_up("the daemon hung up")
        except (OSError, ProtocolError) as error:
            self._hang_up(str(error))

    def _send(self, word: Hello | Done | News) -> None:
        with self._sending:
            self._socket.sendall(encode(word))

    def _hang_up(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._logger.warning(LINE_LOST, reason=reason)
            self._lost()
