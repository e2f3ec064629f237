"""Rules of trust that no other file of tests tries; docs/security.md lists every rule with its test."""

from __future__ import annotations

import ast
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from cloud.blobs import MOST_UPLOADS, Blobs
from region.brokerfiles import configuration
from region.config import BrokerSettings
from region.main import Region
from region.revocation import LISTS_DUE, LISTS_UNREADABLE, RevocationList
from shared.clock import wall
from shared.errors import IdentityError, ProtocolError
from shared.identity import issue
from shared.identity.chain import verify_chain
from shared.identity.denied import Entry, write_revoked
from shared.identity.store import Identity
from shared.identity.tls import client_context

from .pki_fleet import HOSTS, NOW, anchor_list, der, fleet, signer
from .test_region_main import Site

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge", "region", "cloud", "shared", "provisioning")
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def test_a_device_of_another_region_is_refused_by_intake_and_listener(tmp_path: Path) -> None:
    site = Site(tmp_path)
    guest = Identity.load(site.authority.issue_device("region-2", "edge-9", destination=tmp_path / "guest"))
    with pytest.raises(IdentityError, match="region-2"):
        Region(site.settings, site.config).verify(guest.chain)
    site.start()
    try:
        context = client_context(guest, server_tier="region")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"https://localhost:{site.ports[2]}/v1/key", timeout=5, context=context)
    finally:
        site.stop()
    assert site.failure is None


def test_a_machine_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    authority = fleet(tmp_path / "pki")
    above = signer(authority, "anchors/region")
    record = issue.Machine(name="server", region="region-1", tier="region", fleet="acme", hosts=tuple(HOSTS))
    odd = issue.machine(record, ec.generate_private_key(ec.SECP384R1()).public_key(), above, now=NOW)
    with pytest.raises(IdentityError, match="P-256"):
        verify_chain(der(odd), anchors=anchor_list(authority), tier="region", now=NOW)


def test_the_broker_is_bounded_in_every_way() -> None:
    settings = BrokerSettings(max_connections=7, max_packet_bytes=4096, memory_mb=8)
    text = configuration(settings, folder=Path("f"), has_crl=True, user="me")
    found = dict(line.split(" ", 1) for line in text.splitlines() if line)
    limits = ("max_packet_size", "memory_limit", "max_queued_messages", "max_queued_bytes", "max_inflight_messages", "max_connections")
    assert {name: int(found[name]) for name in limits} == {
        "max_packet_size": 4096, "memory_limit": 8 << 20, "max_queued_messages": 4096, "max_queued_bytes": 1 << 20,
        "max_inflight_messages": 64, "max_connections": 7,
    }  # fmt: skip
    assert (found["max_keepalive"], found["persistent_client_expiration"], found["persistence"]) == ("120", "1d", "false")
    assert (found["per_listener_settings"], found["allow_anonymous"], found["user"], found["crlfile"]) == (
        "true",
        "false",
        "me",
        "f/devices.crl.pem",
    )


def test_a_revocation_list_that_ends_soon_is_said_and_a_damaged_one_leaves_the_last_in_force(tmp_path: Path) -> None:
    authority = fleet(tmp_path / "pki", at=wall() - 24 * 86400)  # its list ends in six days
    identity = Identity.load(authority.issue_region("region-1", "server", HOSTS, destination=tmp_path / "server"))
    device = Identity.load(authority.issue_device("region-1", "edge-1", destination=tmp_path / "device"))
    authority.revoke("edge-1.region-1")
    identity.crl_path.write_bytes(authority.crl("region-1"))
    lists = RevocationList(tmp_path / "revoked.json", identity)
    with capture_logs() as said:
        assert lists.refresh()
    assert LISTS_DUE in [line["event"] for line in said]
    assert lists.covers(device.peer.issuer, str(device.peer.serial))
    identity.crl_path.write_bytes(identity.crl_path.read_bytes()[:-40])  # cut off: must not look like a list that revokes nothing
    os.utime(identity.crl_path, (wall() + 1, wall() + 1))
    with capture_logs() as said:
        assert not lists.refresh()
    assert [line["event"] for line in said] == [LISTS_UNREADABLE]
    assert lists.covers(device.peer.issuer, str(device.peer.serial))
    write_revoked(tmp_path / "revoked.json", {"edge-2.region-1": Entry(at=0.0)})
    assert lists.refresh()
    assert lists.denies("edge-2.region-1")


def test_a_region_has_few_unfinished_uploads_at_a_time(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.start()
    for number in range(MOST_UPLOADS):
        blobs.append("region-1", f"{number:064x}", start=0, total=100, data=b"x")
    with pytest.raises(ProtocolError, match="unfinished"):
        blobs.append("region-1", "f" * 64, start=0, total=100, data=b"x")
    assert blobs.append("region-2", "f" * 64, start=0, total=100, data=b"x") == 1
    assert blobs.append("region-1", f"{0:064x}", start=1, total=100, data=b"x") == 2


def test_nothing_unpickles() -> None:
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert imported & UNSAFE == set(), path
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            words = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if ast.unparse(call.func) == "np.load":
                assert words.get("allow_pickle") == "False", path
            assert ast.unparse(call.func) != "torch.load" or words.get("weights_only") == "True", path
