"""Zip bombs and length fields of 10 GB, from a device with a good certificate: refused before memory is taken, others unaffected."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard

from region.guard import REFUSED
from shared.errors import ProtocolError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.wire import topics
from shared.wire.compression import ZSTD, ZSTD_DICTIONARY, decompress
from shared.wire.envelope import parse_header
from shared.wire.frame import unpack
from shared.wire.messages import Case, Kind, Telemetry, decode, encode
from shared.wire.reports import decode_report
from tests.brokers import Site as BrokerSite
from tests.unit.region_parts import Device, Hall, a_case, deliver, opened, receipted
from tests.waiting import until

GB = 10**9
MOST_MEMORY = 8 << 20


def bomb(size: int = 1 << 30) -> bytes:
    """A GB of zeros as a zstd frame that says truly how long it is: 32 KB."""
    compressor = zstandard.ZstdCompressor(level=19).compressobj(size=size)
    return b"".join([*(compressor.compress(bytes(1 << 24)) for _ in range(size >> 24)), compressor.flush()])


def lying(says: int) -> bytes:
    """A frame that says `says` bytes and holds 16 MB of zeros: magic, descriptor (8-byte size, one segment), size, blocks."""
    whole = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16 << 20))
    blocks = whole[6:]  # behind magic, descriptor and window
    return whole[:4] + bytes([0b1110_0000]) + struct.pack("<Q", says) + blocks


def undetermined() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16 << 20))


LYING = lying(10 * GB)
BOMBS: dict[str, Callable[[], bytes]] = {
    "a GB of zeros": bomb,
    "says 10 GB": lambda: LYING,
    "says 10 bytes, holds 16 MB": lambda: lying(10),
    "says 2^64 - 1 bytes": lambda: lying(2**64 - 1),
    "says nothing, holds 16 MB": undetermined,
}


@pytest.mark.parametrize("name", BOMBS)
def test_zip_bomb(hall: Hall, people: dict[str, Identity], name: str) -> None:
    frame = BOMBS[name]()
    insider, other = Device(people["edge"], people["region"]), Device(people["second"], people["region"])
    opened(hall, insider)
    opened(hall, other)
    for kind, topic in ((Kind.CASE, "case"), (Kind.TELEMETRY, "control")):
        parts = [frame[start : start + 16384] for start in range(0, len(frame), 16384)]
        for index, part in enumerate(parts):
            envelope = insider._sealer.seal(kind, part, sequence=1, index=index, count=len(parts), codec=ZSTD)
            deliver(hall, (topics.up(insider.name, topic), envelope))
    tracemalloc.start()
    until(lambda: hall.figures.dropped["payload"] == 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY
    deliver(hall, *insider.case(2), *other.case(1))
    until(lambda: (receipted(insider, hall), receipted(other, hall)) == ({2}, {1}))
    hall.guard.once(now=1e9, at=1e9)
    assert [(one.action, one.subject, one.detail["reason"]) for one in hall.audit.entries()] == [(REFUSED, insider.name, "payload")]


def msgpack_of(header: bytes) -> bytes:
    """A case whose first text says, in its own length field, to be as long as `header` says."""
    return encode(a_case(1)).replace(b"\xa4line", header + b"line", 1)


LENGTHS = {
    "a text of 4 GB": msgpack_of(b"\xdb\xff\xff\xff\xff"),
    "bytes of 4 GB": msgpack_of(b"\xc6\xff\xff\xff\xff"),
    "an array of 4 G items": b"\xdd\xff\xff\xff\xff",
    "a map of 4 G items": b"\xdf\xff\xff\xff\xff",
    "arrays within arrays": b"\xdd\xff\xff\xff\xff" * 2000,
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_field_of_10_gb(hall: Hall, people: dict[str, Identity], name: str) -> None:
    """msgpack's lengths end at 4 GB; zstd's are tried above."""
    insider = Device(people["edge"], people["region"])
    opened(hall, insider)
    envelope = insider._sealer.seal(Kind.CASE, LENGTHS[name], sequence=1)
    tracemalloc.start()
    deliver(hall, (topics.up(insider.name, "case"), envelope), (topics.up(insider.name, "open"), LENGTHS[name]))
    until(lambda: sum(hall.figures.dropped.values()) == 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY
    deliver(hall, *insider.case(2))
    until(lambda: receipted(insider, hall) == {2})


@pytest.mark.parametrize("take", [
    lambda: decode(Telemetry, bytes(2 << 20)),
    lambda: decompress(ZSTD_DICTIONARY, LYING),
    lambda: parse_header(bytes(1 << 20)),
    lambda: unpack(struct.pack(">BQH", Kind.CASE, 1, 65535) + b"x"),
    lambda: decode_report(b"[" * 100_000),
    lambda: decode_report(b'{"kind":"fleet","at":' + b"9" * 5000 + b"}"),
])  # fmt: skip
def test_limits_are_taken_before_memory_is(take: Callable[[], object]) -> None:
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY


def test_chunks_that_never_end(hall: Hall, people: dict[str, Identity]) -> None:
    """Thousands of cases of which one chunk each comes: at most eight are kept, and the device's next whole case is stored."""
    insider = Device(people["edge"], people["region"])
    opened(hall, insider)
    for sequence in range(1000):
        deliver(hall, (topics.up(insider.name, "case"), insider._sealer.seal(Kind.CASE, bytes(16384), sequence=sequence, count=64)))
    deliver(hall, *insider.case(5000))
    until(lambda: receipted(insider, hall) == {5000})
    assert len(hall.reception._devices[insider.name].reassembly) <= 8
    assert hall.reception._devices[insider.name].reassembly.size_bytes <= 8 * 16384


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSite]:
    made = BrokerSite(tmp_path_factory.mktemp("site"))
    made.broker.start()
    yield made
    made.broker.stop()


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def test_an_mqtt_packet_that_says_256_mb(broker: BrokerSite) -> None:
    """The longest an MQTT packet can say: the broker closes the connection and takes no memory for it."""
    pid = broker.broker.pid
    assert pid is not None
    before = resident_kb(pid)
    identity = b"x"
    connect = b"\x10" + bytes([12 + len(identity)]) + b"\x00\x04MQTT\x04\x02\x00<" + struct.pack(">H", len(identity)) + identity
    context = client_context(broker.edge, server_tier="region")
    for _ in range(5):
        with (
            socket.create_connection(("127.0.0.1", broker.settings.port), 5) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
        ):
            tls.sendall(connect)
            assert tls.recv(4)[:1] == b"\x20"
            tls.sendall(b"\x30\xff\xff\xff\x7f" + b"\x00\x10t/edge-1.region-")
            try:
                assert tls.recv(10) == b""
            except (ConnectionError, OSError):
                pass  # closed without a word
    assert resident_kb(pid) - before < 8 << 10
    assert broker.broker.restarts == 0


def test_a_packet_above_the_broker_s_limit_costs_its_sender_the_connection(broker: BrokerSite) -> None:
    got: list[bytes] = []
    worker = broker.client(broker.worker, lambda _, payload: got.append(payload), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    worker.start()
    sender = broker.client(broker.edge, lambda *_: None)
    sender.start()
    until(lambda: worker.is_connected and sender.is_connected)
    sender.publish(topics.up(broker.edge.peer.common_name, "case"), bytes(broker.settings.max_packet_bytes + 1))
    until(lambda: sender.connections == 2)
    until(lambda: sender.publish(topics.up(broker.edge.peer.common_name, "case"), b"small"))
    until(lambda: got == [b"small"])
    sender.stop()
    worker.stop()


def test_what_is_decoded_holds_no_more_than_it_says() -> None:
    case = msgspec.structs.replace(a_case(1), stream="x" * 500_000)
    assert decode(Case, encode(case)).stream == case.stream
    with pytest.raises(ProtocolError):
        decode(Case, encode(msgspec.structs.replace(case, stream="x" * 2_000_000)))
