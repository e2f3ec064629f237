"""Server-sent events: everybody who looks at the dashboard gets what changed, within a second, from one place that looks.

Rules, in order:
1. One task looks at the files every `LOOK_S`, composes the picture when something changed (and every `RECOMPOSE_S`, since silence is
   a state too), and encodes the difference once for all clients. Nobody looking, nothing is read.
2. A client first gets the whole picture (`snapshot`), then differences (`change`), and a comment when nothing happened for `BEAT_S`.
3. At most `MOST_CLIENTS` in all and `MOST_PER_PERSON` of one person; one more is refused with 503.
4. Who does not take what is sent within `SEND_S`, or has `MOST_WAITING` differences waiting, is dropped; its browser connects anew and gets
   the whole picture.
5. A stream ends with `bye` when the daemon stops or the session is over, which is looked at every `CHECK_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from cloud.overview import Topics, change
from shared import log
from shared.errors import AccessError, TerraceError

LOOK_S = 0.25
RECOMPOSE_S = 5.0
BEAT_S = 15.0
SEND_S = 10.0
CHECK_S = 2.0
MOST_CLIENTS, MOST_PER_PERSON, MOST_WAITING = 64, 8, 64
LOOK_FAILED = "dashboard_look_failed"
HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
_BYE = "bye"


class Broadcast:
    """A part: the one place that looks; `stream` is a response for one client.

    Args:
        version: another value whenever something changed.
        topics: the whole picture.
    """

    def __init__(self, version: Callable[[], object], topics: Callable[[], Topics]) -> None:
        self._version = version
        self._compose = topics
        self._clients: set[_Client] = set()
        self._topics: Topics | None = None
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    def start(self) -> None:
        """Nothing runs before somebody looks."""

    def stop(self) -> None:
        """End every stream."""
        self._stopped = True
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the server's loop ended in between
                self._loop.call_soon_threadsafe(self._end_all, "the server stops")

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def stream(self, person: str, check: Callable[[], object]) -> Response:
        """Return the response for one client.

        Args:
            person: who it is, for the bound per person.
            check: raises AccessError when the session or token is over.
        """
        mine = sum(client.person == person for client in self._clients)
        if self._stopped or len(self._clients) >= MOST_CLIENTS or mine >= MOST_PER_PERSON:
            words = {"error": "too many dashboards are open.", "remedy": "Close some of them, or wait a moment."}
            return JSONResponse(words, status_code=503, headers={"retry-after": "10"})
        return _Stream(self, _Client(person, check))

    async def join(self, client: _Client) -> None:
        """Add a client; its first event is the whole picture.

        Raises:
            StorageError: the picture cannot be composed.
        """
        self._loop = asyncio.get_running_loop()
        if self._looking is None or self._looking.done():
            self._topics = await asyncio.to_thread(self._compose)
            if self._looking is None or self._looking.done():  # nobody else came meanwhile
                self._looking = self._loop.create_task(self._look())
        client.put(_event("snapshot", self._topics or {}))
        self._clients.add(client)

    def leave(self, client: _Client) -> None:
        """Remove a client."""
        self._clients.discard(client)
        if not self._clients and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        version, idle_s, checked_s = None, 0.0, 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            idle_s, checked_s = idle_s + LOOK_S, checked_s + LOOK_S
            try:
                found = await asyncio.to_thread(self._version)
                if found != version or idle_s >= RECOMPOSE_S:
                    version, idle_s = found, 0.0
                    await self._tell()
                if checked_s >= CHECK_S:
                    checked_s = 0.0
                    await self._check()
            except TerraceError as error:
                log.get("dashboard").warning(LOOK_FAILED, error=str(error))

    async def _tell(self) -> None:
        topics = await asyncio.to_thread(self._compose)
        events = [_event("change", item) for item in change(self._topics or {}, topics)]
        self._topics = topics
        for client in list(self._clients):
            for event in events:
                client.put(event)

    async def _check(self) -> None:
        for client in list(self._clients):
            try:
                await asyncio.to_thread(client.check)
            except AccessError:
                client.end("signed out")

    def _end_all(self, reason: str) -> None:
        for client in list(self._clients):
            client.end(reason)


class _Client:
    """One connected page."""

    def __init__(self, person: str, check: Callable[[], object]) -> None:
        self.person = person
        self.check = check
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._last = b""
        self._ended = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Queue an event; a full queue ends the client."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._ended.set()

    def end(self, reason: str) -> None:
        """Let it go with a word."""
        self._last = _event(_BYE, {"reason": reason})
        self._ended.set()

    async def next(self) -> bytes | None:
        """Return what to send next, a heartbeat when there is nothing; None at the end, after the last word."""
        if self._ended.is_set():
            last, self._last = self._last, b""
            return last or None
        getting, ending = asyncio.ensure_future(self._waiting.get()), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({getting, ending}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
            return await self.next() if ending.done() else b": still here\n\n"
        finally:
            getting.cancel()
            ending.cancel()


class _Stream(Response):
    """The answer to GET /v1/events."""

    def __init__(self, broadcast: Broadcast, client: _Client) -> None:
        super().__init__()
        self._broadcast = broadcast
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await self._broadcast.join(self._client)
        sending, leaving = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._broadcast.leave(self._client)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
        while (event := await self._client.next()) is not None:
            await asyncio.wait_for(send({"type": "http.response.body", "body": event, "more_body": True}), SEND_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"
