"""TLS contexts: whom a connection may be with. TLS 1.3 only, both sides with certificates, one tier's anchor trusted on each side.

A context answers "is this a machine of that tier"; `peer_of_connection` says which one, and refuses another tier or fleet even where
the anchor matched. Revocation is asked per request or epoch (crl.py), since a connection outlives a revocation.

People's browsers have no certificate of ours: `people_context` serves them with the operator's certificate, or a self-signed one whose
fingerprint the terminal prints.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared import durable
from shared.errors import IdentityError
from shared.identity import issue, store
from shared.identity.chain import peer_of_certificate
from shared.identity.names import Peer

PEOPLE_CERTIFICATE, PEOPLE_KEY = "people.pem", "people.key.pem"


def client_context(identity: store.Identity, *, server_tier: str) -> ssl.SSLContext:
    """Return the context of a client: shows our certificate, believes servers of one tier under the name we dialled.

    Raises:
        IdentityError: the identity's files cannot be loaded.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, identity, server_tier)
    context.check_hostname = True
    return context


def server_context(identity: store.Identity, *, client_tier: str) -> ssl.SSLContext:
    """Return the context of a server: shows our certificate, demands one from every client, of one tier.

    Raises:
        IdentityError: the identity's files cannot be loaded.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, client_tier)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_of_connection(connection: ssl.SSLSocket | ssl.SSLObject, *, tier: str, fleet: str) -> Peer:
    """Return who is at the other end of an established connection.

    Args:
        connection: a connection made with one of our contexts, which has verified the chain.
        tier: the tier the peer must belong to.
        fleet: the fleet it must belong to.

    Raises:
        IdentityError: it showed no certificate, or one of another tier or fleet.
    """
    return peer_of_certificate(connection.getpeercert(binary_form=True), tier=tier, fleet=fleet)


class PeopleTls(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener for people needs.

    Attributes:
        context: for the server.
        fingerprint: SHA-256 of the certificate, hexadecimal in pairs with colons, as browsers show it.
        certificate_path: the certificate, for `curl --cacert`.
    """

    context: ssl.SSLContext
    fingerprint: str
    certificate_path: Path


def people_context(folder: Path, hosts: Sequence[str], *, now: float) -> PeopleTls:
    """Return the context of a listener for people.

    `people.pem` and `people.key.pem` in `folder` are used where both exist (put the operator's there); where they do not, or have
    expired, a self-signed certificate is made.

    Args:
        folder: the daemon's state folder.
        hosts: DNS names and IP addresses the listener is reached under.
        now: seconds since the Unix epoch.

    Raises:
        IdentityError: the files there cannot be used.
        StorageError: they cannot be written.
    """
    certificate_path, key_path = folder / PEOPLE_CERTIFICATE, folder / PEOPLE_KEY
    try:
        if not (certificate_path.exists() and key_path.exists()) or _self_signed_and_expired(certificate_path, now):
            _make_self_signed(certificate_path, key_path, hosts, now)
        digest = x509.load_pem_x509_certificate(certificate_path.read_bytes()).fingerprint(SHA256())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # browsers and proxies of companies
        context.load_cert_chain(certificate_path, key_path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise IdentityError(f"{certificate_path} and {key_path.name} cannot be used: {error}.", "Correct or remove both files.") from error
    return PeopleTls(context=context, fingerprint=digest.hex(":"), certificate_path=certificate_path)


def _context(protocol: int, identity: store.Identity, tier: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_cert_chain(identity.certificate_path, identity.key_path)
        context.load_verify_locations(cadata=identity.anchors.anchors[tier])
    except (OSError, KeyError) as error:
        raise IdentityError(f"the identity in {identity.folder} cannot be used for TLS: {error}.", "Issue it anew.") from error
    return context


def _self_signed_and_expired(path: Path, now: float) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.issuer == certificate.subject and certificate.not_valid_after_utc.timestamp() < now


def _make_self_signed(certificate_path: Path, key_path: Path, hosts: Sequence[str], now: float) -> None:
    key = issue.new_key()
    durable.write(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    durable.write(certificate_path, issue.self_signed(hosts, key, now=now).public_bytes(Encoding.PEM), mode=0o644)
