"""The anchor list: which self-signed certificate speaks for which tier, signed by the fleet's offline root (Ed25519).

A machine trusts `root.pub` alone; everything else follows from the list. There is no common certificate above the tiers, on
purpose: with one, a device certificate with the region's name would pass for the region wherever only the chain is looked at.

The signature covers a label and the list in canonical JSON (sorted keys, no spaces). The reader re-encodes what it parsed and
verifies that, so nothing that is not part of the list can ride along.
"""

from __future__ import annotations

import binascii

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.errors import IdentityError
from shared.identity.names import TIERS

LABEL = b"terrace/1/anchors\x00"
LARGEST_BYTES = 64 * 1024


class AnchorList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which certificate is the anchor of which tier.

    Attributes:
        serial: counts up with every new list.
        fleet: the fleet it is for.
        anchors: tier to the PEM of its self-signed certificate.
    """

    serial: int
    fleet: str
    anchors: dict[str, str]

    def certificate(self, tier: str) -> x509.Certificate:
        """Return the anchor of a tier.

        Raises:
            IdentityError: the list has no (readable) anchor for it.
        """
        try:
            return x509.load_pem_x509_certificate(self.anchors[tier].encode())
        except (KeyError, ValueError):
            raise IdentityError(f"the anchor list has no usable anchor for the tier {tier!r}.") from None


class _Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    signed: AnchorList
    signature: str


def sign_anchor_list(anchors: AnchorList, root: Ed25519PrivateKey) -> bytes:
    """Return the file `anchors.json`: the list and the root's signature."""
    signature = root.sign(_canonical(anchors)).hex()
    return msgspec.json.format(msgspec.json.encode(_Signed(signed=anchors, signature=signature)), indent=2) + b"\n"


def verify_anchor_list(data: bytes, root_public: bytes) -> AnchorList:
    """Return the anchor list in `data` if the root signed it.

    Args:
        data: the file `anchors.json`.
        root_public: the root's public key as PEM (the file `root.pub`).

    Raises:
        IdentityError: it is damaged, was changed, or another root signed it.
    """
    remedy = "Copy anchors.json and root.pub anew from the machine that holds the fleet's authority."
    if len(data) > LARGEST_BYTES:
        raise IdentityError(f"the anchor list is larger than {LARGEST_BYTES} bytes.", remedy)
    try:
        signed = msgspec.json.decode(data, type=_Signed)
        key = load_pem_public_key(root_public)
        signature = binascii.unhexlify(signed.signature)
    except (msgspec.DecodeError, ValueError) as error:
        raise IdentityError(f"the anchor list or the root's public key is damaged: {error}.", remedy) from error
    if not isinstance(key, Ed25519PublicKey):
        raise IdentityError("the root's public key is no Ed25519 key.", remedy)
    try:
        key.verify(signature, _canonical(signed.signed))
    except InvalidSignature:
        raise IdentityError("the anchor list was not signed by this fleet's root.", remedy) from None
    if set(signed.signed.anchors) != set(TIERS):
        raise IdentityError(f"the anchor list must name exactly the tiers {', '.join(TIERS)}.", remedy)
    return signed.signed


def _canonical(anchors: AnchorList) -> bytes:
    return LABEL + msgspec.json.encode(anchors, order="deterministic")
