"""The wire between devices and their region: a TCP relay of its own process that can be cut and mended.

    python -m provisioning.testbed.wire LISTEN:TARGET [LISTEN:TARGET ...]

Rules:
1. It passes bytes on and understands none of them: TLS goes from end to end, so that it could not read or forge anything.
2. SIGUSR1 cuts: every connection is reset and new ones are refused, as when a switch loses power. SIGUSR2 mends.
3. Loopback only; it dies with the demo.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16


class Wire:
    """Relays of ports, all cut and mended together.

    Args:
        pairs: (port to listen on, port to pass on to).
    """

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._pairs = tuple(pairs)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._wanted = asyncio.Event()
        self._is_whole = True

    async def run(self) -> None:
        """Relay until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.set_whole, False)
        loop.add_signal_handler(signal.SIGUSR2, self.set_whole, True)
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await (self._mend() if self._is_whole else self._cut())

    def set_whole(self, is_whole: bool) -> None:
        """Ask for the wire to be cut or mended."""
        self._is_whole = is_whole
        self._wanted.set()

    async def _mend(self) -> None:
        if self._servers:
            return
        for listen, target in self._pairs:
            self._servers.append(await asyncio.start_server(self._serve_to(target), HOST, listen))

    async def _cut(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for writer in tuple(self._connections):
            writer.transport.abort()

    def _serve_to(self, target: int) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                upstream, upward = await asyncio.open_connection(HOST, target)
            except OSError:
                writer.transport.abort()
                return
            self._connections |= {writer, upward}
            try:
                await asyncio.gather(self._pass(reader, upward), self._pass(upstream, writer))
            finally:
                self._connections -= {writer, upward}

        return serve

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on until either end is gone, then let the other end know."""
        try:
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def main(arguments: Sequence[str]) -> None:
    """Run the wire described by the command line until it is ended."""
    pairs = [(int(listen), int(target)) for listen, _, target in (argument.partition(":") for argument in arguments)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(Wire(pairs).run())


if __name__ == "__main__":
    main(sys.argv[1:])
