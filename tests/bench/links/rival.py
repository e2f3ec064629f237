"""The rivals' way of sending, as a process: the same spool, then a call a case. `python -m tests.bench.links.rival SITE NAME CODING`.

CODING is `binary` (gRPC as it is meant) or `json` (native HTTP/2, which gRPC's core is, carrying JSON with base64 pictures). Both have
mutual TLS with the fleet's own certificates, one channel, and as many calls in flight as there are cases.
"""

from __future__ import annotations

import queue
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec

from shared import log
from shared.identity.store import Identity
from shared.link.spool import NewCase, Spool
from shared.wire.messages import Case, decode, encode
from tests.bench.links.driving import Driver, Stored
from tests.bench.links.shaped import ADDRESSES

CAPACITY_BYTES = 1 << 30
PORT = 50051
HEAD = struct.Struct("<16sq")
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
SERVICE = "terrace.Bench"


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """One case on its way to the store."""

    spool: bytes
    sequence: int
    case: Case


def put_to_binary(put: Put) -> bytes:
    """Return a request: spool, sequence, and the case's own bytes."""
    return HEAD.pack(put.spool, put.sequence) + encode(put.case)


def put_from_binary(data: bytes) -> Put:
    """Parse a binary request."""
    spool, sequence = HEAD.unpack_from(data)
    return Put(spool=spool, sequence=sequence, case=decode(Case, data[HEAD.size :]))


put_to_json: Callable[[Put], bytes] = msgspec.json.Encoder().encode
put_from_json: Callable[[bytes], Put] = msgspec.json.Decoder(Put).decode


class RivalSender:
    """Spool, gRPC, store, answer.

    Args:
        folder: the device's state.
        identity: the device's.
        coding: binary or json.
    """

    def __init__(self, folder: Path, identity: Identity, coding: str) -> None:
        self._folder, self._identity, self._coding = folder, identity, coding
        self._spool = Spool(folder / "spool.db", folder / "spool.key", CAPACITY_BYTES)
        self._done: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._removing = threading.Thread(target=self._remove, daemon=True)
        self._channel: Any = None
        self._put: Any = None

    def start(self, on_stored: Stored, on_announcement: Callable[[float], None]) -> None:
        """Open the spool and the channel, and listen for announcements on the same channel."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._on_stored = on_stored
        self._spool.start()
        self._removing.start()
        credentials = grpc.ssl_channel_credentials(
            self._identity.anchors.anchors["region"].encode(),
            self._identity.key_path.read_bytes(),
            self._identity.certificate_path.read_bytes(),
        )
        self._channel = grpc.secure_channel(f"{ADDRESSES['region']}:{PORT}", credentials, options=OPTIONS)
        grpc.channel_ready_future(self._channel).result(timeout=60)
        to_bytes = {"binary": put_to_binary, "json": put_to_json}[self._coding]
        self._put = self._channel.unary_unary(f"/{SERVICE}/{self._coding}", request_serializer=to_bytes)
        self._words = self._channel.unary_stream(f"/{SERVICE}/announcements")(b"")
        threading.Thread(target=self._listen, args=(on_announcement,), daemon=True).start()

    def offer(self, cases: Sequence[Case], *, is_urgent: bool = False) -> list[int]:
        """Make cases durable and call the store; gRPC has no priorities, so an urgent case is one like the others."""
        group = [NewCase(payload=encode(case), is_audit=is_urgent, value=1.0) for case in cases]
        sequences = self._spool.append_many(group).sequences
        offered = []
        for sequence, case in zip(sequences, cases, strict=True):
            assert sequence is not None
            call = self._put.future(Put(spool=self._spool.spool_id, sequence=sequence, case=case))
            call.add_done_callback(lambda done, sequence=sequence: self._answered(done, sequence))
            offered.append(sequence)
        return offered

    def stop(self) -> None:
        """Close channel and spool."""
        self._words.cancel()
        self._channel.close()
        self._done.put(None)
        self._removing.join()
        self._spool.stop()

    def _answered(self, done: Any, sequence: int) -> None:
        done.result()
        self._on_stored(sequence, time.monotonic())
        self._done.put(sequence)

    def _remove(self) -> None:
        is_open = True
        while is_open:
            group = [self._done.get()]
            while not self._done.empty():
                group.append(self._done.get())
            is_open = None not in group
            self._spool.remove([sequence for sequence in group if sequence is not None])

    def _listen(self, on_announcement: Callable[[float], None]) -> None:
        try:
            for _ in self._words:
                on_announcement(time.monotonic())
        except grpc.RpcError:
            return  # cancelled at the end


if __name__ == "__main__":
    log.configure(level="warning")
    site, name, coding = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    Driver(RivalSender(site / f"{name}.{coding}", Identity.load(site / name), coding)).serve()
