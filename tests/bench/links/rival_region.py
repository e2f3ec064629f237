"""The rivals' receiver, as a process: a gRPC server before the region's own vault. `python -m tests.bench.links.rival_region SITE`.

What waits is committed in one synced transaction, as in our intake; a call is answered when its case is on the disk.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from region.cases import Incoming
from region.intake import LARGEST_BATCH
from region.vault import Vault
from shared import log
from shared.identity.store import Identity
from shared.wire.messages import encode
from tests.bench.links.rival import OPTIONS, PORT, SERVICE, Put, put_from_binary, put_from_json
from tests.bench.links.shaped import ADDRESSES
from tests.bench.links.words import answer, asked

CALLS = 64


class Store:
    """Commits what waits in groups, on one thread.

    Args:
        vault: the store, the same as ours.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._waiting: queue.SimpleQueue[tuple[Incoming, Future[None]]] = queue.SimpleQueue()
        self.stamps: dict[str, float] = {}
        threading.Thread(target=self._commit, daemon=True).start()

    def put(self, put: Put, context: Any) -> bytes:
        """Store one case; returns when it is on the disk."""
        item = Incoming(
            device=context.auth_context()["x509_common_name"][0].decode(), spool=put.spool, sequence=put.sequence,
            payload=encode(put.case), case=put.case, received_at=time.time(),
        )  # fmt: skip
        done: Future[None] = Future()
        self._waiting.put((item, done))
        done.result()
        return b"stored"

    def _commit(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < LARGEST_BATCH:
                batch.append(self._waiting.get())
            self._vault.store([item for item, _ in batch])
            at = time.monotonic()
            self.stamps |= {str(item.sequence): at for item, _ in batch}
            for _, done in batch:
                done.set_result(None)


class Announcer:
    """Streams of announcements, one per device."""

    def __init__(self) -> None:
        self._streams: list[queue.SimpleQueue[bytes]] = []

    def stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Yield what is announced until the device leaves."""
        mine: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._streams.append(mine)
        while context.is_active():
            try:
                yield mine.get(timeout=1.0)
            except queue.Empty:
                continue

    def announce(self) -> None:
        """Tell every device."""
        for stream in self._streams:
            stream.put(b"refresh")


def main(site: Path) -> None:
    """Serve until standard input ends."""
    log.configure(level="warning")
    identity, vault, announcer = Identity.load(site / "server"), Vault(site / "rival-state" / "vault.db"), Announcer()
    vault.start()
    store = Store(vault)
    server = grpc.server(ThreadPoolExecutor(CALLS), options=OPTIONS)
    handlers = {name: _unary(store.put, parse) for name, parse in (("binary", put_from_binary), ("json", put_from_json))}
    handlers["announcements"] = grpc.unary_stream_rpc_method_handler(announcer.stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    pair = (identity.key_path.read_bytes(), identity.certificate_path.read_bytes())
    anchor = identity.anchors.anchors["edge"].encode()
    server.add_secure_port(f"{ADDRESSES['region']}:{PORT}", grpc.ssl_server_credentials([pair], anchor, require_client_auth=True))
    server.start()
    for words in asked():
        if words["do"] == "announce":
            at = time.monotonic()
            announcer.announce()
            answer(at=at)
        elif words["do"] == "stamps":
            stamps, store.stamps = store.stamps, {}
            answer(stamps=stamps)
        else:
            answer()
    server.stop(grace=None)


def _unary(action: Callable[[Put, Any], bytes], parse: Callable[[bytes], Put]) -> Any:
    return grpc.unary_unary_rpc_method_handler(action, request_deserializer=parse)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
