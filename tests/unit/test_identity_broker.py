"""What our certificates and lists mean to a real broker, which knows nothing of URIs: it looks at the common name alone.

A stolen device authority of one region must not get another region's device names past it; that is what the DNS constraint is for.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared import durable
from shared.identity import tls
from shared.identity.store import Identity
from tests.brokers import Site, connects

from .pki_fleet import forge, signer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    made.device("edge-1", "region-2")
    revoked = made.device("edge-6")
    made.authority.revoke(revoked.peer.common_name)
    durable.write(made.region.crl_path, made.authority.crl("region-1"), mode=0o600)
    made.broker = made.new_broker()
    made.broker.start()
    yield made
    made.broker.stop()


def forged(site: Site, folder: Path, above: str, uri: str, common_name: str) -> ssl.SSLContext:
    """The context of whoever holds a stolen device authority's key."""
    thief = signer(site.authority, above)
    leaf, key = forge(thief, uri, common_name)
    durable.write(folder / "leaf.pem", leaf.public_bytes(Encoding.PEM) + thief.certificate.public_bytes(Encoding.PEM), mode=0o600)
    durable.write(folder / "leaf.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    context = tls.client_context(site.edge, server_tier="region")
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    return context


def test_a_device_of_this_region_connects(site: Site, tmp_path: Path) -> None:
    assert connects(site, tls.client_context(site.edge, server_tier="region"))
    # and the forgery below fails for its names alone
    good = forged(site, tmp_path, "devices/region-1", "terrace://edge-9.region-1.edge.acme/", "edge-9.region-1")
    assert connects(site, good)


@pytest.mark.parametrize(("uri", "common_name"), [
    ("terrace://edge-1.region-1.edge.acme/", "edge-1.region-2"),
    ("terrace://edge-1.region-1.edge.acme/", "intake-0.region-9"),
    ("terrace://edge-1.region-2.edge.acme/", "edge-1.region-1"),
    ("terrace://server.region-1.region.acme/", "server.region-1"),
])  # fmt: skip
def test_a_stolen_device_authority_gets_no_other_names_past_the_broker(site: Site, tmp_path: Path, uri: str, common_name: str) -> None:
    assert not connects(site, forged(site, tmp_path, "devices/region-1", uri, common_name))


def test_a_revoked_device_does_not_connect(site: Site) -> None:
    revoked = Identity.load(site.folder / "edge-6.region-1")
    assert not connects(site, tls.client_context(revoked, server_tier="region"))


def test_another_region_s_device_does_not_connect_where_its_list_is_not_there(site: Site) -> None:
    """Admitting it takes its region's revocation list beside ours; without one, nobody could say that it is good."""
    stranger = Identity.load(site.folder / "edge-1.region-2")
    assert not connects(site, tls.client_context(stranger, server_tier="region"))


def test_listeners_take_their_own_tier_only(site: Site) -> None:
    worker = tls.client_context(site.worker, server_tier="region")
    assert connects(site, worker, worker=True)
    assert not connects(site, worker)
    assert not connects(site, tls.client_context(site.edge, server_tier="region"), worker=True)
