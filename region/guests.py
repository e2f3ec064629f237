"""Other regions whose devices are let in while their own region is away, and the revocation lists that this depends on.

Rules, in order:
1. A region's devices are let in only where `fail_over_for` names it, and only as long as its revocation list is there, signed by its
   device authority, and not past its date. A list that cannot be read shuts that region's devices out and nobody else's.
2. The authority must be one of the fleet's: signed by the edge anchor. That it names only its own region's devices is checked with
   every chain (identity.chain).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature

from region.config import FailOverSettings
from shared import log
from shared.errors import IdentityError
from shared.identity.credentials import read_certificates
from shared.identity.crl import Revocations, read_crls
from shared.identity.names import Peer
from shared.identity.store import Identity

GUESTS_SHUT_OUT = "fail_over_list_unusable"


class GuestLists(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: revocations by region, and the lists themselves as PEM for the broker."""

    revocations: Mapping[str, Revocations] = {}
    pem: bytes = b""

    def admits(self, peer: Peer, *, now: float) -> bool:
        """Whether a device of another region is let in at this Unix time."""
        lists = self.revocations.get(peer.region)
        return lists is not None and peer.issuer in lists.issuers and not lists.covers(peer) and now < lists.next_update

    def covers(self, issuer: str, serial: int) -> bool:
        """Whether a certificate is on one of the lists."""
        return any((issuer, serial) in lists.entries for lists in self.revocations.values())


class Guests:
    """The files of the regions named in `fail_over_for`.

    Args:
        settings: which regions, and where their files are.
        identity: this region's, for the edge anchor.
    """

    def __init__(self, settings: Sequence[FailOverSettings], identity: Identity) -> None:
        self._settings = tuple(settings)
        self._identity = identity

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that are named."""
        return tuple(one.region for one in self._settings)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files to look at again when they change."""
        return tuple(path for one in self._settings for path in (one.authority, one.crl))

    def read(self) -> GuestLists:
        """Read every region's list; one that cannot be used is left out, and said so."""
        found: dict[str, Revocations] = {}
        pem = b""
        for one in self._settings:
            try:
                content = _content(one.crl)
                found[one.region] = self._lists(one, content)
            except IdentityError as error:
                log.get("revocation").warning(GUESTS_SHUT_OUT, region=one.region, error=str(error))
            else:
                pem += content
        return GuestLists(revocations=found, pem=pem)

    def _lists(self, one: FailOverSettings, pem: bytes) -> Revocations:
        anchor = self._identity.anchors.certificate("edge")
        authorities = read_certificates(_content(one.authority), str(one.authority))
        for authority in authorities:
            try:
                authority.verify_directly_issued_by(anchor)
            except (InvalidSignature, ValueError, TypeError):
                raise IdentityError(f"{one.authority} is no device authority of this fleet.") from None
        return read_crls(pem, [*authorities, anchor])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"{path} cannot be read: {error.strerror}.", "Copy devices.pem and devices.crl.pem out of that region's identity folder."
        ) from error
