"""The region's key announcement: signed by its certificate key, retained on MQTT and served by the relay. Pure.

Rules of `verify_announcement`, in order: size; chain (tier region is the caller's `verify`); signature; the certificate's region
and the announced one are the wanted one; serial not below the highest seen; valid now and for at most seven days; known KEM.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import IdentityError, TrustError
from shared.wire import kem
from shared.wire.kem import new_key
from shared.wire.messages import KeyAnnouncement, decode, encode
from shared.wire.signed import Sign, Signed, Verify, check_signature, sign

__all__ = ["new_key", "sign_announcement", "verify_announcement"]

LARGEST_ANNOUNCEMENT_BYTES = 16 << 10
LONGEST_VALIDITY_S = 7 * 86400
CLOCK_TOLERANCE_S = 300
"""How far behind the region's a device's clock may be."""
_LABEL = b"terrace/1/key"


def sign_announcement(announcement: KeyAnnouncement, signer: Sign, chain: Sequence[bytes]) -> bytes:
    """Return the announcement as it travels, signed by the region's certificate key.

    Args:
        announcement: what to say.
        signer: signs with the key of the chain's leaf.
        chain: the region's certificates, DER, leaf first.
    """
    return encode(sign(_LABEL, encode(announcement), signer=signer, chain=chain))


def verify_announcement(data: bytes, *, verify: Verify, region: str, now: float, lowest_serial: int) -> KeyAnnouncement:
    """Verify an announcement.

    Args:
        data: as it came.
        verify: checks the chain against the region anchor and returns who it is.
        region: whose key is wanted.
        now: Unix seconds.
        lowest_serial: the highest serial seen so far; a lower one is refused.

    Raises:
        ProtocolError: not an announcement.
        IdentityError: the chain or the signature is not the region's.
        TrustError: of another region, replayed (a lower serial), expired or not usable.
    """
    if len(data) > LARGEST_ANNOUNCEMENT_BYTES:
        raise TrustError(f"a key announcement of {len(data)} bytes is longer than {LARGEST_ANNOUNCEMENT_BYTES}.")
    signed = decode(Signed, data)
    peer = verify(signed.chain)
    check_signature(_LABEL, signed)
    announcement = decode(KeyAnnouncement, signed.body)
    if peer.region != region or announcement.region != region:
        raise IdentityError(f"the key announcement is by region {peer.region}, not by {region}.")
    if announcement.serial < lowest_serial:
        raise TrustError(f"key announcement {announcement.serial} of {region} is older than {lowest_serial}, which was seen before.")
    _check_validity(announcement, now)
    if announcement.kem not in kem.KEMS:
        raise TrustError(f"the key announcement of {region} names an unknown key encapsulation.", "Update this device's software.")
    return announcement


def _check_validity(announcement: KeyAnnouncement, now: float) -> None:
    if announcement.not_after - announcement.not_before > LONGEST_VALIDITY_S:
        raise TrustError(f"key announcement {announcement.serial} claims to be valid for more than seven days.")
    if not announcement.not_before - CLOCK_TOLERANCE_S <= now <= announcement.not_after:
        raise TrustError(
            f"key announcement {announcement.serial} of {announcement.region} is not valid now.",
            "Compare this machine's clock with the region's.",
        )
