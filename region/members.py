"""The intake workers as the pool sees them: the daemon's own, and processes at the other end of a socket.

A member is told an order and says when it has followed it. The daemon's own follows on a thread of its own, since letting go of shards
takes as long as storing what came for them.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from region.intakeparts import Intake
from region.shards import Order
from region.workernews import Done, Hello, News, Reader, Told, encode, told
from shared import clock, log
from shared.errors import LinkError, ProtocolError
from shared.localsocket import short_address

SEND_TIMEOUT_S = 5.0
LINE_BROKEN = "intake_line_broken"
OnWord: TypeAlias = "Callable[[Line, Hello | Done | News], None]"
OnEnd: TypeAlias = "Callable[[Line], None]"


class OwnMember:
    """The daemon's own intake worker.

    Args:
        intake: it.
        done: called with its name and an order's number when that has been followed.
    """

    def __init__(self, intake: Intake, done: Callable[[str, int], None]) -> None:
        self.name = intake.name
        self._intake = intake
        self._done = done
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="own-shards", daemon=True)

    @property
    def is_storing(self) -> bool:
        """Whether its last commit succeeded."""
        return self._intake.worker.is_storing

    def start(self) -> None:
        """Start to follow orders."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._orders.put(None)
        self._thread.join()

    def tell(self, order: Order) -> None:
        """Have an order followed."""
        self._orders.put(order)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._intake.own(order.shards)
            self._done(order.member, order.number)


class Line:
    """One worker process at the other end of the socket.

    Args:
        connection: accepted.
        on_word: called with this line and every word of the worker, from the line's thread.
        on_end: called with this line when it has ended.
    """

    def __init__(
        self, connection: socket.socket, on_word: Callable[[Line, Hello | Done | News], None], on_end: Callable[[Line], None]
    ) -> None:
        self.name = ""
        self.heard_at = clock.monotonic()
        self.is_storing = True
        self.is_open = True
        self._connection = connection
        self._on_word, self._on_end = on_word, on_end
        self._thread = threading.Thread(target=self._run, name="intake-line", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def tell(self, order: Order) -> None:
        """Send an order; a worker that cannot be told loses its line, and with it its shards."""
        try:
            self._connection.sendall(encode(told(order)))
        except OSError:
            self.end()

    def end(self) -> None:
        """Hang up; the worker ends itself."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def _run(self) -> None:
        reader = Reader(Hello | Done | News)
        try:
            while data := self._connection.recv(1 << 18):
                self.heard_at = clock.monotonic()
                for word in reader.feed(data):
                    if not isinstance(word, Told):  # which the reader does not take
                        self._on_word(self, word)
        except (OSError, ProtocolError) as error:
            log.get("intake-pool").warning(LINE_BROKEN, worker=self.name, reason=str(error))
        self.is_open = False
        self._connection.close()
        self._on_end(self)


class Door:
    """The socket that worker processes connect to.

    Args:
        path: where.
        on_word: see `Line`.
        on_end: see `Line`.
    """

    def __init__(self, path: Path, on_word: OnWord, on_end: OnEnd) -> None:
        self._path = path
        self._on_word, self._on_end = on_word, on_end
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lines: list[Line] = []
        self._thread = threading.Thread(target=self._accept, name="intake-door", daemon=True)

    def start(self) -> None:
        """Open it.

        Raises:
            LinkError: the socket cannot be made.
        """
        self._path.unlink(missing_ok=True)
        try:
            with short_address(self._path) as address:
                self._server.bind(address)
        except OSError as error:
            raise LinkError(f"the socket {self._path} cannot be made: {error}.") from error
        self._path.chmod(0o600)
        self._server.listen(64)
        self._thread.start()

    def stop(self) -> None:
        """Close it and every line."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(2)
        for line in self._lines:
            line.end()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(SEND_TIMEOUT_S))
            line = Line(connection, self._on_word, self._on_end)
            self._lines = [*(one for one in self._lines if one.is_open), line]
            line.start()


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), 0)
