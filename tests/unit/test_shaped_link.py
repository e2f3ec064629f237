"""The shaped link of the benchmarks: what it promises its users, over real namespaces. Skipped where these cannot be made."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.links import packets
from tests.bench.links.shaped import Lane, ShapedLink, missing
from tests.waiting import until

PROBLEM = missing()
ECHO = """
import socket
server = socket.create_server(("10.0.0.2", 7000))
print("ready", flush=True)
while True:
    talk, _ = server.accept()
    try:
        while data := talk.recv(65536):
            if data.endswith(b"x"):
                talk.sendall(b"x")
    except OSError:
        continue
"""
ASK = """
import socket, sys, time
talk = socket.create_connection(("10.0.0.2", 7000))
size, times = int(sys.argv[1]), []
for _ in range(5):
    began = time.monotonic()
    talk.sendall(bytes(size - 1) + b"x")
    talk.settimeout(20)
    talk.recv(1)
    times.append(time.monotonic() - began)
print(sorted(times)[2])
"""


@pytest.fixture(scope="module")
def link() -> Iterator[ShapedLink]:
    if PROBLEM:
        pytest.skip(PROBLEM)
    with ShapedLink(Lane(rate_mbit=100, delay_ms=20), congestion="cubic") as made:
        echo = made.start("region", [sys.executable, "-c", ECHO], stdout=-1)
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        yield made
        echo.kill()
        echo.stdout.close()


def asked(link: ShapedLink, size: int = 1) -> float:
    process = link.start("device", [sys.executable, "-c", ASK, str(size)], stdout=-1)
    said = process.communicate(timeout=30)[0]
    return float(said)


def test_a_round_trip_takes_twice_the_delay(link: ShapedLink) -> None:
    assert 0.040 <= asked(link) < 0.080


def test_a_cut_link_carries_nothing_and_a_mended_one_goes_on(link: ShapedLink) -> None:
    link.cut(True)
    process = link.start("device", [sys.executable, "-c", ASK, "1"], stdout=-1)
    lost = link.stats()["up_lost"]
    until(lambda: link.stats()["up_lost"] > lost, "a lost packet")
    assert process.poll() is None
    link.cut(False)
    assert process.communicate(timeout=30)[0]


def test_congestion_control_is_locked_and_read_back_from_live_sockets(link: ShapedLink) -> None:
    choose = "import socket, time; t = socket.create_connection(('10.0.0.2', 7000)); t.send(b'x'); t.recv(1); time.sleep(30)"
    process = link.start("device", [sys.executable, "-c", choose])
    until(link.congestion_in_use, "a connection")
    assert link.congestion_in_use() == {"cubic"}
    process.kill()


def test_loss_and_reordering_are_counted(link: ShapedLink) -> None:
    before = link.stats()
    link.shape(Lane(rate_mbit=100, delay_ms=2, loss=0.05, reorder=0.1, reorder_ms=3))
    until(lambda: asked(link, 200_000) and link.stats()["up_lost"] > before["up_lost"] and link.stats()["up_late"] > before["up_late"])
    link.shape(Lane(rate_mbit=100, delay_ms=20))


def test_a_link_takes_its_rate(link: ShapedLink) -> None:
    link.shape(Lane(rate_mbit=20, delay_ms=1))
    began = time.monotonic()
    assert asked(link, 250_000) >= 0.08  # 100 ms at 20 Mbit/s, less what the first burst saves
    assert time.monotonic() - began < 25
    link.shape(Lane(rate_mbit=100, delay_ms=20))


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_packets_come_out_as_they_went_in(payloads: list[bytes], step: int) -> None:
    stream = b"".join(packets.publish(f"t/{number}", payload, number + 1) for number, payload in enumerate(payloads))
    reader, found = packets.Packets(), []
    for start in range(0, len(stream), step):
        found += [packets.published(flags, body) for _, flags, body in reader.feed(stream[start : start + step])]
    assert found == [(f"t/{number}", payload, number + 1) for number, payload in enumerate(payloads)]
