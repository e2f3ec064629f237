"""Small self-signed certificates for tests that need a signer, not a chain of trust."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.errors import IdentityError


@dataclass(frozen=True)
class Peer:
    """What a chain says of its holder."""

    common_name: str
    region: str


class Signer:
    """A key and a certificate for `<name>.<region>`."""

    def __init__(self, common_name: str) -> None:
        self.common_name = common_name
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        start = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=3650))
            .sign(self.key, hashes.SHA256())
        )
        self.chain = (certificate.public_bytes(serialization.Encoding.DER),)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def believe(*known: Signer) -> object:
    """Return a `verify` that believes exactly these signers' certificates."""

    def verify(chain: Sequence[bytes]) -> Peer:
        for signer in known:
            if tuple(chain) == signer.chain:
                return Peer(signer.common_name, signer.common_name.partition(".")[2])
        raise IdentityError("an unknown certificate.")

    return verify
