"""Key encapsulation: the key pairs of a region and HPKE (RFC 9180) to and from them. Pure apart from fresh randomness.

A KEM is a field of the key announcement: X25519 (32-byte keys), or MLKEM768_X25519, where a private key is the ML-KEM seed of
64 bytes and the X25519 key of 32, and a public key is 1,184 and 32 bytes.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from shared.errors import ProtocolError

X25519 = "x25519"
HYBRID = "mlkem768-x25519"
KEMS = (X25519, HYBRID)
_X25519_BYTES = 32
_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_SUITES = {
    X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    HYBRID: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}


def new_key(kem: str = X25519) -> tuple[bytes, bytes]:
    """Make a key pair.

    Returns:
        The private and the public key as raw bytes.

    Raises:
        ProtocolError: an unknown KEM.
    """
    _known(kem)
    classical = X25519PrivateKey.generate()
    private, public = classical.private_bytes_raw(), classical.public_key().public_bytes_raw()
    if kem == X25519:
        return private, public
    lattice = mlkem.MLKEM768PrivateKey.generate()
    return lattice.private_bytes_raw() + private, lattice.public_key().public_bytes_raw() + public


def wrap(kem: str, public: bytes, secret: bytes, info: bytes) -> bytes:
    """Encrypt `secret` to a public key; only the holder of the private key and of the same `info` can read it.

    Raises:
        ProtocolError: an unknown KEM, or no public key of it.
    """
    _known(kem)
    try:
        return _SUITES[kem].encrypt(secret, _public(kem, public), info)
    except ValueError:
        raise ProtocolError(f"not a public key for {kem}.") from None


def unwrap(kem: str, private: bytes, wrapped: bytes, info: bytes) -> bytes:
    """Decrypt what `wrap` made.

    Raises:
        ProtocolError: not made for this key with this `info`.
    """
    _known(kem)
    try:
        return _SUITES[kem].decrypt(wrapped, _private(kem, private), info)
    except (InvalidTag, ValueError):
        raise ProtocolError("the epoch's secret does not open under the region's key.") from None


def _known(kem: str) -> None:
    if kem not in KEMS:
        raise ProtocolError(f"key encapsulation {kem[:40]!r} is unknown.", f"Known are: {', '.join(KEMS)}.")


def _public(kem: str, public: bytes) -> X25519PublicKey | hpke.MLKEM768X25519PublicKey:
    if kem == X25519:
        return X25519PublicKey.from_public_bytes(public)
    lattice, classical = public[:_MLKEM_PUBLIC_BYTES], public[_MLKEM_PUBLIC_BYTES:]
    return hpke.MLKEM768X25519PublicKey(mlkem.MLKEM768PublicKey.from_public_bytes(lattice), X25519PublicKey.from_public_bytes(classical))


def _private(kem: str, private: bytes) -> X25519PrivateKey | hpke.MLKEM768X25519PrivateKey:
    if kem == X25519:
        return X25519PrivateKey.from_private_bytes(private)
    lattice, classical = private[:_SEED_BYTES], private[_SEED_BYTES:]
    return hpke.MLKEM768X25519PrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(lattice), X25519PrivateKey.from_private_bytes(classical))
