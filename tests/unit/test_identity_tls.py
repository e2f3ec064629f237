"""TLS as the tiers use it, over real loopback sockets: who gets in, who does not, and what each side learns of the other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from provisioning.pki import Authority
from shared import durable
from shared.errors import IdentityError
from shared.identity import issue, tls
from shared.identity.store import Identity

from .pki_fleet import HOSTS, NOW, fleet, forge, identities, signer


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, dict[str, Identity]]:
    folder = tmp_path_factory.mktemp("pki")
    authority = fleet(folder / "authority")
    return authority, identities(folder, authority)


def meet(
    client: ssl.SSLContext, server: ssl.SSLContext, *, name: str = "localhost"
) -> tuple[ssl.SSLSocket | OSError, ssl.SSLSocket | OSError]:
    """One handshake and one byte each way; returns what each side has afterwards: its connection or its error."""
    seen: list[ssl.SSLSocket | OSError] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            raw, _ = listener.accept()
            raw.settimeout(5)
            try:
                connection = server.wrap_socket(raw, server_side=True)
                connection.sendall(b"!")
                connection.recv(1)
                seen.append(connection)
            except OSError as error:
                raw.close()
                seen.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        mine: ssl.SSLSocket | OSError
        raw = socket.create_connection(listener.getsockname(), timeout=5)
        try:
            mine = client.wrap_socket(raw, server_hostname=name)
            if mine.recv(1) != b"!":  # under TLS 1.3 a refusal comes after the client's side of the handshake
                raise ConnectionResetError
            mine.sendall(b"!")
        except OSError as error:
            raw.close()
            mine = error
        thread.join(timeout=10)
    return mine, seen[0]


def close(*ends: ssl.SSLSocket | OSError) -> None:
    for end in ends:
        if isinstance(end, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                end.close()


def test_device_and_region_learn_each_other_s_names(acme: tuple[Authority, dict[str, Identity]]) -> None:
    _, machines = acme
    client = tls.client_context(machines["edge"], server_tier="region")
    server = tls.server_context(machines["region"], client_tier="edge")
    mine, theirs = meet(client, server, name="127.0.0.1")
    assert isinstance(mine, ssl.SSLSocket), mine
    assert isinstance(theirs, ssl.SSLSocket), theirs
    assert mine.version() == "TLSv1.3"
    assert tls.peer_of_connection(theirs, tier="edge", fleet="acme") == machines["edge"].peer
    assert tls.peer_of_connection(mine, tier="region", fleet="acme") == machines["region"].peer
    for tier, name in (("region", "acme"), ("edge", "other")):
        with pytest.raises(IdentityError):
            tls.peer_of_connection(theirs, tier=tier, fleet=name)
    close(mine, theirs)


@pytest.mark.parametrize(("who", "expected"), [("edge", "cloud"), ("region", "edge"), ("worker", "edge"), ("cloud", "region")])
def test_a_server_refuses_every_other_tier(acme: tuple[Authority, dict[str, Identity]], who: str, expected: str) -> None:
    _, machines = acme
    server = tls.server_context(machines["cloud"], client_tier=expected)
    mine, theirs = meet(tls.client_context(machines[who], server_tier="cloud"), server)
    assert isinstance(theirs, ssl.SSLError)
    assert isinstance(mine, OSError)


def test_a_server_refuses_whoever_shows_nothing(acme: tuple[Authority, dict[str, Identity]]) -> None:
    _, machines = acme
    naked = ssl.create_default_context(cadata=machines["edge"].anchors.anchors["cloud"])
    mine, theirs = meet(naked, tls.server_context(machines["cloud"], client_tier="region"))
    assert isinstance(theirs, ssl.SSLError)
    assert isinstance(mine, OSError)


def test_nobody_speaks_less_than_tls_1_3(acme: tuple[Authority, dict[str, Identity]]) -> None:
    _, machines = acme
    old = tls.client_context(machines["edge"], server_tier="region")
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    mine, theirs = meet(old, tls.server_context(machines["region"], client_tier="edge"))
    assert isinstance(mine, OSError)
    assert isinstance(theirs, OSError)


def test_a_client_refuses_a_server_under_another_name(acme: tuple[Authority, dict[str, Identity]]) -> None:
    _, machines = acme
    client = tls.client_context(machines["edge"], server_tier="region")
    mine, theirs = meet(client, tls.server_context(machines["region"], client_tier="edge"), name="elsewhere.example")
    assert isinstance(mine, ssl.SSLCertVerificationError)
    close(theirs)


def test_a_client_refuses_a_server_of_another_tier(acme: tuple[Authority, dict[str, Identity]]) -> None:
    _, machines = acme
    client = tls.client_context(machines["region"], server_tier="cloud")
    mine, theirs = meet(client, tls.server_context(machines["region"], client_tier="region"))
    assert isinstance(mine, ssl.SSLCertVerificationError)
    close(theirs)


def test_a_device_is_no_server_for_anybody(acme: tuple[Authority, dict[str, Identity]], tmp_path: Path) -> None:
    """Not even for a client that trusts the edge anchor, and not with a forged server purpose from a stolen device authority."""
    authority, machines = acme
    above = signer(authority, "devices/region-1")
    leaf, key = forge(above, "terrace://edge-1.region-1.edge.acme/", "edge-1.region-1")
    durable.write(tmp_path / "forged.pem", leaf.public_bytes(Encoding.PEM) + above.certificate.public_bytes(Encoding.PEM), mode=0o600)
    durable.write(tmp_path / "forged.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    for certificate, private in (
        (machines["edge"].certificate_path, machines["edge"].key_path),
        (tmp_path / "forged.pem", tmp_path / "forged.key"),
    ):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, private)
        for tier in ("edge", "region"):
            client = tls.client_context(machines["worker"], server_tier=tier)
            client.check_hostname = False
            mine, theirs = meet(client, server)
            assert isinstance(mine, ssl.SSLCertVerificationError)
            close(theirs)


def test_an_expired_device_is_refused_by_the_server(tmp_path: Path) -> None:
    old = fleet(tmp_path / "authority", at=NOW - 40 * 86_400)
    server = tls.server_context(
        Identity.load(old.issue_region("region-1", "server", HOSTS, destination=tmp_path / "r")), client_tier="edge"
    )
    expired = Identity.load(old.issue_device("region-1", "edge-1", destination=tmp_path / "expired"))
    today = Authority(old.folder, "acme", now=lambda: NOW)
    good = Identity.load(today.issue_device("region-1", "edge-2", destination=tmp_path / "good"))
    mine, theirs = meet(tls.client_context(good, server_tier="region"), server)
    assert isinstance(theirs, ssl.SSLSocket), theirs
    close(mine, theirs)
    mine, theirs = meet(tls.client_context(expired, server_tier="region"), server)
    assert isinstance(theirs, ssl.SSLError)
    assert "expired" in str(theirs)


def test_people_get_a_self_signed_certificate_that_stays(tmp_path: Path) -> None:
    first = tls.people_context(tmp_path, HOSTS, now=NOW)
    again = tls.people_context(tmp_path, HOSTS, now=NOW + 86_400)
    later = tls.people_context(tmp_path, HOSTS, now=NOW + 500 * 86_400)
    assert first.fingerprint == again.fingerprint != later.fingerprint
    assert len(first.fingerprint) == 95
    assert (tmp_path / "people.key.pem").stat().st_mode & 0o077 == 0
    mine, theirs = meet(ssl.create_default_context(cafile=str(first.certificate_path)), again.context)
    close(mine, theirs)


def test_the_operator_s_certificate_is_used_and_never_replaced(tmp_path: Path) -> None:
    key = issue.new_key()
    above = issue.Authority(certificate=issue.anchor("cloud", "acme", key, now=0), key=key)
    record = issue.Machine(name="people", region="cloud", tier="cloud", fleet="acme", hosts=("localhost",))
    theirs = issue.machine(record, key.public_key(), above, now=0).public_bytes(Encoding.PEM)
    durable.write(tmp_path / "people.pem", theirs, mode=0o600)
    durable.write(tmp_path / "people.key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    tls.people_context(tmp_path, HOSTS, now=NOW)
    assert (tmp_path / "people.pem").read_bytes() == theirs
    durable.write(tmp_path / "people.pem", b"junk", mode=0o600)
    with pytest.raises(IdentityError, match=r"people\.pem"):
        tls.people_context(tmp_path, HOSTS, now=NOW)
