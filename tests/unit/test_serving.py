"""The server: who called stands in the scope, a taken port is explained, and stopping is prompt."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi import FastAPI, Request

from provisioning.pki import Authority
from shared import serving
from shared.errors import IdentityError, LinkError
from shared.identity import tls
from shared.identity.crl import read_crls
from shared.identity.store import Identity
from shared.serving import Server, peer_from_scope, serve
from tests.waiting import until

from .pki_fleet import fleet, identities, signer

Protocol = Literal["httptools", "h11"]


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, dict[str, Identity]]:
    folder = tmp_path_factory.mktemp("pki")
    authority = fleet(folder / "authority")
    return authority, identities(folder, authority)


def application(**more: Any) -> FastAPI:
    app = FastAPI(**more)

    @app.get("/who")
    def who(request: Request) -> dict[str, str]:
        return {"peer": peer_from_scope(request.scope, tier="edge", fleet="acme").common_name}

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(60)
        return "late"

    return app


def ask(server: Server, context: ssl.SSLContext | None, *paths: str, **headers: str) -> list[tuple[int, Any]]:
    host = ("localhost", server.port)
    connection = (
        http.client.HTTPSConnection(*host, context=context, timeout=10) if context else http.client.HTTPConnection(*host, timeout=10)
    )
    answers = []
    try:
        for path in paths:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            answers.append((response.status, json.loads(response.read())))
    finally:
        connection.close()
    return answers


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_the_application_learns_who_called(acme: tuple[Authority, dict[str, Identity]], protocol: Protocol) -> None:
    _, machines = acme
    context = tls.server_context(machines["region"], client_tier="edge")
    server = serve(application(), host="127.0.0.1", port=0, context=context, protocol=protocol)
    server.start()
    try:
        for who in ("edge", "stranger"):
            client = tls.client_context(machines[who], server_tier="region")
            answers = ask(server, client, "/who", "/who", **{"X-Forwarded-For": "1.2.3.4", "X-Client-Cert": "server.region-1"})
            assert answers == [(200, {"peer": machines[who].peer.common_name})] * 2
    finally:
        server.stop()


def test_without_tls_nobody_is_anybody() -> None:
    app = application()
    seen: list[Exception] = []

    @app.exception_handler(IdentityError)
    def refuse(_: Request, error: IdentityError) -> Any:
        seen.append(error)
        from fastapi.responses import JSONResponse

        return JSONResponse({"error": error.message}, status_code=403)

    server = serve(app, host="127.0.0.1", port=0, context=None)
    server.start()
    try:
        assert ask(server, None, "/who")[0][0] == 403
    finally:
        server.stop()
    assert "no certificate" in str(seen[0])


def test_a_scope_of_the_wrong_tier_fleet_or_of_a_revoked_device_is_refused(acme: tuple[Authority, dict[str, Identity]]) -> None:
    authority, machines = acme
    scope = {"extensions": {"tls": {"peer_certificate": machines["stranger"].chain[0]}}}
    assert peer_from_scope(scope, tier="edge", fleet="acme").region == "region-2"
    for tier, name in (("region", "acme"), ("edge", "other")):
        with pytest.raises(IdentityError):
            peer_from_scope(scope, tier=tier, fleet=name)
    authority.revoke("edge-1.region-2")
    revoked = read_crls(authority.crl("region-2"), [signer(authority, name).certificate for name in ("devices/region-2", "anchors/edge")])
    with pytest.raises(IdentityError, match="revoked"):
        peer_from_scope(scope, tier="edge", fleet="acme", revoked=revoked)
    for nothing in ({}, {"extensions": None}, {"extensions": {"tls": {}}}, {"headers": [(b"x-client-cert", b"edge-1")]}):
        with pytest.raises(IdentityError, match="no certificate"):
            peer_from_scope(nothing, tier="edge", fleet="acme")


def test_an_answer_does_not_wait_for_an_acknowledgement(acme: tuple[Authority, dict[str, Identity]]) -> None:
    """Head and body are two writes: with Nagle's delay every request on a kept connection takes 40 ms or more."""
    _, machines = acme
    server = serve(application(), host="127.0.0.1", port=0, context=tls.server_context(machines["region"], client_tier="edge"))
    server.start()
    try:
        connection = http.client.HTTPSConnection(
            "localhost", server.port, context=tls.client_context(machines["edge"], server_tier="region"), timeout=10
        )
        times = []
        for _ in range(20):
            began = time.perf_counter()
            connection.request("GET", "/who")
            connection.getresponse().read()
            times.append(time.perf_counter() - began)
        connection.close()
    finally:
        server.stop()
    assert min(times[5:]) < 0.03


def test_a_taken_port_is_named_with_its_key() -> None:
    first = serve(application(), host="127.0.0.1", port=0, context=None)
    first.start()
    try:
        second = serve(application(), host="127.0.0.1", port=first.port, context=None, key="machines.port")
        with pytest.raises(LinkError, match=f"port {first.port}") as caught:
            second.start()
        assert "machines.port" in caught.value.remedy
        assert caught.value.exit_code == 14
    finally:
        first.stop()


def test_an_address_that_is_not_ours_is_explained() -> None:
    with pytest.raises(LinkError, match=r"192\.0\.2\.1"):
        serve(application(), host="192.0.2.1", port=0, context=None).start()


def test_an_application_that_does_not_start_is_a_link_error_and_frees_the_port() -> None:
    def broken() -> None:
        raise RuntimeError("no vault")

    server = serve(application(on_startup=[broken]), host="127.0.0.1", port=0, context=None)
    with pytest.raises(LinkError, match="did not start"):
        server.start()
    assert not server._thread.is_alive()


def test_stopping_cuts_a_long_poll_and_frees_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "GRACE_S", 1)
    server = serve(application(), host="127.0.0.1", port=0, context=None)
    server.start()
    port = server.port
    ends: list[BaseException] = []

    def poll() -> None:
        try:
            ask(server, None, "/slow")
        except (http.client.HTTPException, OSError, ValueError) as error:
            ends.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    until(lambda: server._server.server_state.tasks, "the request to begin")
    began = time.monotonic()
    server.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert time.monotonic() - began < 4
    again = serve(application(), host="127.0.0.1", port=port, context=None)
    again.start()
    again.stop()


def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "FIRST_REQUEST_S", 0.1)
    server = serve(application(), host="127.0.0.1", port=0, context=None)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as silent:
            silent.sendall(b"GET /who HT")
            assert silent.recv(1) == b""
    finally:
        server.stop()


def test_one_client_s_refused_handshake_does_not_disturb_the_others(acme: tuple[Authority, dict[str, Identity]], tmp_path: Path) -> None:
    _, machines = acme
    server = serve(application(), host="127.0.0.1", port=0, context=tls.server_context(machines["region"], client_tier="edge"))
    server.start()
    try:
        foreign = fleet(tmp_path / "other")
        stranger = Identity.load(foreign.issue_device("region-1", "edge-1", destination=tmp_path / "edge"))
        context = tls.client_context(stranger, server_tier="region")
        context.load_verify_locations(cadata=machines["edge"].anchors.anchors["region"])
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(server, context, "/who")
        assert ask(server, tls.client_context(machines["edge"], server_tier="region"), "/who")[0][0] == 200
    finally:
        server.stop()
