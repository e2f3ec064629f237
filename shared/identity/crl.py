"""Revocation lists as a set to ask: which certificates must no longer be believed.

An entry is (key identifier of the authority, serial number), so that one region's authority cannot revoke another's devices.
The broker reads the same PEM file (mosquitto's `crlfile`), but only for new connections: intake and every HTTPS request ask here.
A list past its `next_update` still revokes what it names; that it is late is the caller's alarm (`next_update`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import IdentityError
from shared.identity.names import Peer

_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class Revocations(msgspec.Struct, frozen=True, kw_only=True):
    """What is revoked, from lists whose signatures were verified.

    Attributes:
        entries: (issuer's key identifier, hexadecimal; serial number).
        next_update: when the first of the lists falls due, seconds since the Unix epoch.
        issuers: key identifiers of the authorities whose lists these are.
    """

    entries: frozenset[tuple[str, int]] = frozenset()
    next_update: float = float("inf")
    issuers: frozenset[str] = frozenset()

    def covers(self, peer: Peer) -> bool:
        """Return whether the peer's certificate is revoked."""
        return (peer.issuer, peer.serial) in self.entries

    def require(self, peer: Peer) -> None:
        """Let a peer pass that is not revoked.

        Raises:
            IdentityError: it is.
        """
        if self.covers(peer):
            raise IdentityError(f"the certificate of {peer.common_name} is revoked.", "Issue it a new identity, if it is still yours.")


def read_crls(pem: bytes, authorities: Iterable[x509.Certificate]) -> Revocations:
    """Return what the lists in `pem` revoke.

    Args:
        pem: one or more PEM revocation lists (`devices.crl.pem`).
        authorities: the certificates whose lists are accepted.

    Raises:
        IdentityError: a list is damaged, no given authority signed it, or an authority's list is missing: a cut-off file must not
            look like one that revokes nothing.
    """
    known = list(authorities)
    listed: set[str] = set()
    entries: set[tuple[str, int]] = set()
    due = float("inf")
    for block in _BLOCK.findall(pem):
        try:
            revoked = x509.load_pem_x509_crl(block)
        except ValueError as error:
            raise IdentityError(f"a revocation list is damaged: {error}.", "Copy it anew from the authority.") from error
        issuer = _signer(revoked, known)
        listed.add(issuer)
        entries.update((issuer, entry.serial_number) for entry in revoked)
        if revoked.next_update_utc is not None:
            due = min(due, revoked.next_update_utc.timestamp())
    for authority in known:
        if _identifier(authority) not in listed:
            name = authority.subject.rfc4514_string()[:200]
            raise IdentityError(f"the revocation list of {name} is missing.", "Copy devices.crl.pem anew from the authority.")
    return Revocations(entries=frozenset(entries), next_update=due, issuers=frozenset(listed))


def _identifier(authority: x509.Certificate) -> str:
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def _signer(revoked: x509.CertificateRevocationList, authorities: list[x509.Certificate]) -> str:
    for authority in authorities:
        key = authority.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and revoked.issuer == authority.subject and revoked.is_signature_valid(key):
            return _identifier(authority)
    signer = revoked.issuer.rfc4514_string()[:200]
    raise IdentityError(f"nobody here signed the revocation list of {signer}.", "It belongs to another fleet.")
