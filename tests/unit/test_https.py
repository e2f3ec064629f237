"""HTTPS over real TLS on loopback: what arrives, what is resumed, what is refused, and in which words."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigurationError, IdentityError, InputError, LinkError, ProtocolError, StorageError, TrustError
from shared.identity import tls
from shared.identity.store import Identity
from shared.link import exchange, ranges, transfer
from shared.link.https import HttpsClient
from shared.link.transfer import Pace
from shared.serving import Server, serve
from tests.waiting import until

from .https_parts import BLOB, SHA, Answering, Cloud, Raw
from .pki_fleet import fleet, identities


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("pki")
    return identities(folder, fleet(folder / "authority"))


@pytest.fixture
def cloud(machines: dict[str, Identity]) -> Iterator[tuple[Cloud, Server]]:
    made = Cloud()
    server = serve(made.app, host="127.0.0.1", port=0, context=tls.server_context(machines["cloud"], client_tier="region"))
    server.start()
    yield made, server
    server.stop()


@pytest.fixture
def client(machines: dict[str, Identity], cloud: tuple[Cloud, Server]) -> Iterator[HttpsClient]:
    made = HttpsClient(machines["region"], f"https://localhost:{cloud[1].port}")
    yield made
    made.close()


def test_requests_and_answers(client: HttpsClient, cloud: tuple[Cloud, Server]) -> None:
    for number in range(5):
        answer = client.post("/echo", b"abc%d" % number, "text/plain", headers={"X-Mine": "yes"})
        assert (answer.status, answer.body, answer.headers["x-seen"]) == (200, b"%dcba" % number, "yes")
    assert client.get("/nothing").status == 404
    assert len(cloud[0].connections) == 1  # one connection, kept


def test_many_threads_share_a_client(client: HttpsClient) -> None:
    wrong: list[object] = []

    def work(name: bytes) -> None:
        for _ in range(5):
            answer = client.post("/echo", name)
            if answer.body != name[::-1]:
                wrong.append(answer)

    threads = [threading.Thread(target=work, args=(b"thread-%d" % number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert wrong == []


def test_every_body_is_shown_to_the_recorder_before_it_leaves(
    machines: dict[str, Identity], cloud: tuple[Cloud, Server], tmp_path: Path
) -> None:
    seen: list[tuple[str, str, bytes]] = []
    client = HttpsClient(machines["region"], f"https://127.0.0.1:{cloud[1].port}", record=lambda *request: seen.append(request))
    (tmp_path / "x").write_bytes(BLOB)
    client.post("/echo", b"picture?")
    client.get("/echo")
    client.upload("/files/x", tmp_path / "x")
    client.download("/blob", tmp_path / "y", size=len(BLOB), sha256=SHA)
    client.close()
    assert seen == [
        ("POST", "/echo", b"picture?"), ("GET", "/echo", b""), ("HEAD", "/files/x", b""), ("PUT", "/files/x", BLOB), ("GET", "/blob", b""),
    ]  # fmt: skip


def test_an_answer_larger_than_allowed_is_refused(client: HttpsClient) -> None:
    assert len(client.get("/blob", limit_bytes=len(BLOB)).body) == len(BLOB)
    with pytest.raises(ProtocolError, match="larger"):
        client.get("/blob", limit_bytes=len(BLOB) - 1)
    assert client.post("/echo", b"ab").body == b"ba"  # and the client goes on


def test_a_connection_the_server_has_closed_is_noticed(machines: dict[str, Identity]) -> None:
    context = tls.server_context(machines["cloud"], client_tier="region")
    answer = [(0.0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
    with Raw(context, answer, answer) as server:
        client = HttpsClient(machines["region"], server.url)
        assert client.post("/", b"1").body == b"ok"
        until(client._exchanges._idle[0].is_stale, "the server's farewell")
        assert client.post("/", b"2").body == b"ok"  # POST is not sent twice, so it must not be tried on the dead one
        assert len(server.asked) == 2
        client.close()


def test_a_server_that_refuses_our_certificate_is_named(machines: dict[str, Identity], cloud: tuple[Cloud, Server]) -> None:
    context = tls.client_context(machines["edge"], server_tier="cloud")  # a device, where regions are expected
    client = HttpsClient(context, f"https://localhost:{cloud[1].port}")
    with pytest.raises(LinkError, match="refused our certificate") as caught:
        client.get("/blob")
    assert "expired" in caught.value.remedy


def test_an_alert_that_refuses_our_certificate_is_named_too(machines: dict[str, Identity]) -> None:
    context = tls.server_context(machines["cloud"], client_tier="edge")
    with Raw(context, [], []) as server, pytest.raises(LinkError, match="refused our certificate"):
        HttpsClient(machines["region"], server.url).get("/")


def test_a_server_of_another_tier_or_name_is_not_trusted(machines: dict[str, Identity], cloud: tuple[Cloud, Server]) -> None:
    context = tls.client_context(machines["region"], server_tier="region")
    with pytest.raises(IdentityError, match="not one we trust"):
        HttpsClient(context, f"https://localhost:{cloud[1].port}").get("/blob")
    with pytest.raises(IdentityError, match="not one we trust"):
        HttpsClient(machines["region"], f"https://127.0.0.2:{cloud[1].port}".replace("127.0.0.2", "0.0.0.0")).get("/blob")  # noqa: S104


def test_nobody_there_and_no_address(machines: dict[str, Identity]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkError, match="nobody listens") as caught:
        HttpsClient(machines["region"], f"https://127.0.0.1:{port}").get("/")
    assert caught.value.exit_code == 14
    for url in ("http://localhost:1", "localhost:1", ""):
        with pytest.raises(ConfigurationError):
            HttpsClient(machines["region"], url).get("/")
    with pytest.raises(IdentityError):
        HttpsClient(machines["cloud"], "https://localhost:1")


@pytest.mark.parametrize("answer", [
    [(9.0, b"")],
    [(0.0, b"HTTP/1.1 200 OK\r\n"), *[(0.05, b"X: y\r\n")] * 60],
    [(0.0, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"), *[(0.05, b"x")] * 60],
])  # fmt: skip
def test_a_slow_server_is_given_up_at_the_deadline_however_it_drips(
    machines: dict[str, Identity], answer: list[tuple[float, bytes]]
) -> None:
    with Raw(tls.server_context(machines["cloud"], client_tier="region"), answer) as server:
        began = time.monotonic()
        with pytest.raises(LinkError, match="too long"):
            HttpsClient(machines["region"], server.url).get("/", timeout_s=0.5)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(("answer", "error"), [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nxx", LinkError),
    (b"SSH-2.0-OpenSSH\r\n", ProtocolError),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", ProtocolError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", LinkError),
])  # fmt: skip
def test_an_answer_that_breaks_off_or_is_no_http(machines: dict[str, Identity], answer: bytes, error: type[Exception]) -> None:
    with Raw(tls.server_context(machines["cloud"], client_tier="region"), [(0.0, answer)]) as server, pytest.raises(error):
        HttpsClient(machines["region"], server.url).get("/")


def test_closing_ends_a_long_poll(machines: dict[str, Identity]) -> None:
    with Raw(tls.server_context(machines["cloud"], client_tier="region"), [(9.0, b"")]) as server:
        client = HttpsClient(machines["region"], server.url)
        errors: list[LinkError] = []

        def poll() -> None:
            try:
                client.get("/", timeout_s=30)
            except LinkError as error:
                errors.append(error)

        thread = threading.Thread(target=poll)
        thread.start()
        until(lambda: server.asked, "the poll to arrive")
        client.close()
        thread.join(timeout=5)
        assert not thread.is_alive()
        assert "closed by us" in str(errors[0])
        with pytest.raises(LinkError, match="closed by us"):
            client.get("/")


# --- downloads


def test_a_download_is_whole_or_not_there(client: HttpsClient, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    client.download("/blob", tmp_path / "new" / "x", size=len(BLOB), sha256=SHA.upper(), progress=lambda *at: told.append(at))
    assert (tmp_path / "new" / "x").read_bytes() == BLOB
    assert told[-1] == (len(BLOB), len(BLOB))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_a_part_of_an_earlier_process_is_resumed(client: HttpsClient, cloud: tuple[Cloud, Server], tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(BLOB[:100_000])
    client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    assert cloud[0].requests == [("GET", "bytes=100000-")]
    assert (tmp_path / "x").read_bytes() == BLOB


def test_a_part_of_something_else_is_started_anew(client: HttpsClient, cloud: tuple[Cloud, Server], tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"?" * 100_000)
    client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    assert cloud[0].requests == [("GET", "bytes=100000-"), ("GET", None)]
    assert (tmp_path / "x").read_bytes() == BLOB


def test_a_broken_connection_is_followed_by_another_from_there(machines: dict[str, Identity], tmp_path: Path) -> None:
    half = len(BLOB) // 2
    first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BLOB) + BLOB[:half]
    arrived = half // transfer.PIECE_BYTES * transfer.PIECE_BYTES  # what is not a whole piece may come in one or more reads
    context = tls.server_context(machines["cloud"], client_tier="region")

    def rest(asked: bytes) -> bytes:
        start = int(asked.split(b"bytes=")[1].split(b"-")[0])
        assert start >= arrived
        piece = ranges.Piece(start=start, stop=len(BLOB), size=len(BLOB))
        head = f"HTTP/1.1 206 Partial\r\nContent-Length: {len(BLOB) - start}\r\nContent-Range: {ranges.content_range(piece)}\r\n\r\n"
        return head.encode() + BLOB[start:]

    with Answering(context, lambda _: first, rest) as server:
        HttpsClient(machines["region"], server.url).download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    assert (tmp_path / "x").read_bytes() == BLOB


def test_a_download_that_breaks_off_keeps_its_part_for_the_next_attempt(
    machines: dict[str, Identity], client: HttpsClient, tmp_path: Path
) -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BLOB) + BLOB[:150_000]
    context = tls.server_context(machines["cloud"], client_tier="region")
    with Answering(context, lambda _: broken, lambda _: b"") as server, pytest.raises(LinkError):
        HttpsClient(machines["region"], server.url).download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "x.part").stat().st_size == 150_000
    client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)  # from another source
    assert (tmp_path / "x").read_bytes() == BLOB


@pytest.mark.parametrize(("size", "sha256", "words"), [
    (len(BLOB), "00" * 32, "hash"),
    (len(BLOB) - 1, SHA, "larger"),
    (len(BLOB) + 1, SHA, "another size|sent only"),
])  # fmt: skip
@pytest.mark.parametrize("resumed", [False, True])
def test_what_is_not_as_announced_is_not_kept(
    client: HttpsClient, tmp_path: Path, size: int, sha256: str, words: str, resumed: bool
) -> None:
    if resumed:
        (tmp_path / "x.part").write_bytes(BLOB[:1000])
    with pytest.raises((TrustError, LinkError)) as caught:
        client.download("/blob", tmp_path / "x", size=size, sha256=sha256)
    assert not (tmp_path / "x").exists()
    assert isinstance(caught.value, TrustError)


def test_a_source_below_the_minimum_rate_is_given_up(machines: dict[str, Identity], tmp_path: Path) -> None:
    drip = [(0.0, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BLOB)), *[(0.02, b"x" * 10)] * 500]
    with Raw(tls.server_context(machines["cloud"], client_tier="region"), drip) as server:
        client = HttpsClient(machines["region"], server.url, pace=Pace(patience_s=0.2, minimum_rate=200_000))
        began = time.monotonic()
        with pytest.raises(LinkError, match="too long"):
            client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
        assert time.monotonic() - began < 3


def test_a_missing_file_and_a_folder_that_cannot_be_written(client: HttpsClient, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="404"):
        client.download("/gone", tmp_path / "x", size=10, sha256=SHA)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        client.download("/blob", tmp_path / "file" / "x", size=len(BLOB), sha256=SHA)


def test_a_full_disk_is_a_storage_error(client: HttpsClient, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    client.download("/blob", tmp_path / "x", size=len(BLOB), sha256=SHA)
    assert (tmp_path / "x").read_bytes() == BLOB


# --- uploads


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "UPLOAD_BYTES", 100_000)


@pytest.mark.parametrize("content", [BLOB, b"", b"x"])
def test_an_upload_arrives(client: HttpsClient, cloud: tuple[Cloud, Server], tmp_path: Path, small_pieces: None, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    client.upload("/files/x", tmp_path / "x")
    assert bytes(cloud[0].stored["x"]) == content
    sent = len(cloud[0].requests)
    client.upload("/files/x", tmp_path / "x")  # the server holds it: nothing is sent
    assert len(cloud[0].requests) == sent


def test_an_upload_goes_on_where_the_server_stands(
    client: HttpsClient, cloud: tuple[Cloud, Server], tmp_path: Path, small_pieces: None
) -> None:
    (tmp_path / "x").write_bytes(BLOB)
    cloud[0].stored["x"] = bytearray(BLOB[:170_000])
    cloud[0].forget_after_store = 1
    client.upload("/files/x", tmp_path / "x")
    assert bytes(cloud[0].stored["x"]) == BLOB
    assert cloud[0].requests[0] == ("PUT", "bytes 170000-269999/307200")
    assert cloud[0].requests[1] == ("PUT", "bytes 269900-307199/307200")


def test_a_server_that_does_not_want_the_file_is_believed(client: HttpsClient, cloud: tuple[Cloud, Server], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(BLOB)
    cloud[0].refuse = 413
    with pytest.raises(LinkError, match="413 too big"):
        client.upload("/files/x", tmp_path / "x")
    assert len(cloud[0].requests) == 1
    with pytest.raises(InputError):
        client.upload("/files/x", tmp_path / "missing")


def test_an_upload_survives_a_lost_answer(
    machines: dict[str, Identity], cloud: tuple[Cloud, Server], tmp_path: Path, small_pieces: None
) -> None:
    """The piece was stored but the answer did not come: the server is asked, not sent the piece again."""
    (tmp_path / "x").write_bytes(BLOB)
    client = HttpsClient(machines["region"], f"https://localhost:{cloud[1].port}")
    real, lost = exchange.Exchanges._send, []

    def loses_one(self: exchange.Exchanges, connection: exchange.Connection, method: str, *rest: Any) -> Any:
        response = real(self, connection, method, *rest)
        if method == "PUT" and not lost:
            lost.append(method)
            raise ConnectionResetError
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange.Exchanges, "_send", loses_one)
        client.upload("/files/x", tmp_path / "x")
    client.close()
    assert bytes(cloud[0].stored["x"]) == BLOB
    assert [piece for _, piece in cloud[0].requests] == ["bytes 0-99999/307200", "bytes 100000-199999/307200", "bytes 200000-299999/307200",
                                                        "bytes 300000-307199/307200"]  # fmt: skip
