"""Bytes signed by a machine's certificate key, with the chain beside them. Pure.

The signature is ECDSA P-256 with SHA-256 over `label` ‖ SHA-256(body): a label per purpose, so that a signature made for one
is worth nothing for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import IdentityError
from shared.wire.messages import Message

Sign = Callable[[bytes], bytes]
"""Signs bytes with a machine's certificate key: ECDSA P-256, SHA-256, DER."""


class Named(Protocol):
    """What a verified chain says of its holder (identity's Peer)."""

    @property
    def common_name(self) -> str:
        """`<name>.<region>`."""

    @property
    def region(self) -> str:
        """The region, as the certificate has it."""


Verify = Callable[[Sequence[bytes]], Named]
"""Verifies a certificate chain (DER, leaf first) against one tier's anchor; raises IdentityError."""


class Signed(Message, frozen=True, kw_only=True, array_like=True):
    """A body, the chain of who signed it (DER, leaf first) and the signature."""

    body: bytes
    chain: tuple[bytes, ...]
    signature: bytes


def sign(label: bytes, body: bytes, *, signer: Sign, chain: Sequence[bytes]) -> Signed:
    """Sign `body` for the purpose `label`."""
    return Signed(body=body, chain=tuple(chain), signature=signer(signed_bytes(label, body)))


def check_signature(label: bytes, signed: Signed) -> None:
    """Check the signature against the chain's leaf; whether the chain may be believed is the caller's question.

    Raises:
        IdentityError: no certificate, a key that is not P-256, or another's signature.
    """
    try:
        key = x509.load_der_x509_certificate(signed.chain[0]).public_key()
    except (ValueError, IndexError, UnsupportedAlgorithm):
        raise IdentityError("the signed message carries no certificate.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise IdentityError("the signer's certificate key is not P-256.")
    try:
        key.verify(signed.signature, signed_bytes(label, signed.body), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise IdentityError("the signature is not by the certificate's key.") from None


def signed_bytes(label: bytes, body: bytes) -> bytes:
    """Return what the certificate key signs."""
    return label + hashlib.sha256(body).digest()
