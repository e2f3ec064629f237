"""A machine's credentials: what its identity files say together, checked without reading a file or a clock.

Loading checks everything except the time, so that a machine with a wrong clock still starts and serves: chain, anchors and key must
belong together at the moment the certificate began. `Credentials.check` adds the time.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from shared.errors import IdentityError
from shared.identity.anchors import AnchorList, verify_anchor_list
from shared.identity.chain import peer_of, verify_chain
from shared.identity.names import Peer

CERTIFICATE, KEY, ANCHORS, ROOT = FILES = ("certificate.pem", "key.pem", "anchors.json", "root.pub")


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Who this machine is, and whom it trusts.

    Attributes:
        peer: this machine, as others see it.
        chain: certificates as DER, leaf first, without the anchor.
        anchors: the verified anchor list.
        key: the private key; use `sign`.
    """

    peer: Peer
    chain: tuple[bytes, ...]
    anchors: AnchorList
    key: ec.EllipticCurvePrivateKey

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature (P-256, SHA-256, DER) over `data`."""
        return self.key.sign(data, ec.ECDSA(SHA256()))

    def check(self, now: float) -> Peer:
        """Return this machine's peer if its own certificate is valid now.

        Args:
            now: seconds since the Unix epoch.

        Raises:
            IdentityError: it is expired or not yet valid.
        """
        return verify_chain(self.chain, anchors=self.anchors, tier=self.peer.tier, now=now)


def read_credentials(files: Mapping[str, bytes], *, where: str) -> Credentials:
    """Return the credentials in the content of identity files.

    Args:
        files: the content of each of `FILES`.
        where: the folder they are from, for messages.

    Raises:
        IdentityError: one is damaged or foreign, or they do not belong together.
    """
    anchors = verify_anchor_list(files[ANCHORS], files[ROOT])
    key = _read_key(files[KEY], f"{where}/{KEY}")
    leaf, *above = read_certificates(files[CERTIFICATE], f"{where}/{CERTIFICATE}")
    chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in (leaf, *above))
    peer = verify_chain(chain, anchors=anchors, tier=peer_of(chain[0]).tier, now=leaf.not_valid_before_utc.timestamp())
    if leaf.public_key() != key.public_key():
        raise IdentityError(f"the key in {where} is not the key of its certificate.", "Issue the identity anew.")
    return Credentials(peer=peer, chain=chain, anchors=anchors, key=key)


def read_certificates(pem: bytes, where: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one.

    Raises:
        IdentityError: it is damaged or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise IdentityError(f"the certificate file {where} is damaged: {error}.", "Issue the identity anew.") from error


def _read_key(pem: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"the private key {where} is damaged: {error}.", "Issue the identity anew.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"the private key {where} is not on the curve P-256.", "Issue the identity anew.")
    return key
