"""Opening a key epoch: the device chooses a secret, wraps it to the region's key and signs the opening. Pure.

    body   = fields ‖ w                     fields say who, to which vault and key, which spool, epoch and suite
    w      = HPKE(region key).encrypt(s, info = "terrace/1/epoch" ‖ fields)       s: 32 random bytes, in memory only
    open   = [body, chain, signature]       signature over "terrace/1/open" ‖ SHA-256(body)
    prk    = HKDF-Extract(salt = SHA-256(body), s), from which `EpochKeys` derives the rest

The salt is the hash of what is signed, not of the whole message: the network could re-encode a signature, and a repeated
`open` must always give the same keys.

Rules of `accept_open`, in order: size; chain (tier and revocation are the caller's `verify`); signature; the topic's device,
the certificate's name and the fields' device are one; region; suite allowed; vault and key are current; the secret opens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import IdentityError, ProtocolError
from shared.wire import kem
from shared.wire.envelope import SUITES
from shared.wire.keys import EpochKeys
from shared.wire.messages import OLDEST, KeyAnnouncement, Message, Terms, decode, encode
from shared.wire.signed import Named, Sign, Signed, Verify, check_signature, sign

__all__ = ["AcceptedEpoch", "EpochKeys", "Opening", "StaleKeyError", "accept_open", "open_epoch"]

VERSION = 1
SPOOL_ID_BYTES = 16
LARGEST_OPEN_BYTES = 16 << 10
_SECRET_BYTES = 32
_SIGN_LABEL = b"terrace/1/open"
_INFO_LABEL = b"terrace/1/epoch"
Random = Callable[[int], bytes]
"""Returns that many unpredictable bytes (`os.urandom`)."""


class StaleKeyError(ProtocolError):
    """The device opened with a key or for a vault that is no longer current: answer with the hint `key`."""


class OpenFields(Message, frozen=True, kw_only=True, array_like=True):
    """What an opening says, in the order in which it is signed."""

    version: int
    region: str
    vault_id: str
    key_id: str
    kem: str
    device: str
    spool_id: bytes
    epoch_id: int
    suite: int
    terms: Terms = Terms()


class OpenBody(Message, frozen=True, kw_only=True, array_like=True):
    """The signed part: the encoded fields and the wrapped secret."""

    fields: bytes
    wrapped: bytes


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The device's side of a new epoch: `data` is what it sends (again, byte for byte, until it is heard)."""

    data: bytes
    epoch_id: int
    suite: int
    keys: EpochKeys


class AcceptedEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """The region's side: who opened it and its keys. `digest` tells a repeated `open` from another with the same id."""

    peer: Named
    spool_id: bytes
    epoch_id: int
    suite: int
    keys: EpochKeys
    prk: bytes
    digest: bytes
    terms: Terms = Terms()


def open_epoch(
    *,
    announcement: KeyAnnouncement,
    device: str,
    spool_id: bytes,
    suite: int,
    identity_chain: Sequence[bytes],
    signer: Sign,
    random: Random,
    terms: Terms = OLDEST,
) -> Opening:
    """Open a new epoch towards the region that made the (verified) announcement.

    Args:
        announcement: the region's current key.
        device: the device's common name.
        spool_id: 16 bytes, made with the spool file.
        suite: cipher suite of the epoch, a key of `envelope.SUITES`.
        identity_chain: the device's certificates, DER, leaf first.
        signer: signs with the certificate's key.
        random: source of the secret and the epoch's id.
        terms: what the device reads and wishes.

    Raises:
        ProtocolError: an unknown suite or KEM, or a public key that is none.
    """
    if suite not in SUITES:
        raise ProtocolError(f"cipher suite {suite} is unknown.")
    epoch_id = int.from_bytes(random(8), "big")
    fields = encode(
        OpenFields(
            version=VERSION,
            region=announcement.region,
            vault_id=announcement.vault_id,
            key_id=announcement.key_id,
            kem=announcement.kem,
            device=device,
            spool_id=spool_id,
            epoch_id=epoch_id,
            suite=suite,
            terms=terms,
        )
    )
    secret = random(_SECRET_BYTES)
    wrapped = kem.wrap(announcement.kem, announcement.public, secret, _INFO_LABEL + fields)
    body = encode(OpenBody(fields=fields, wrapped=wrapped))
    data = encode(sign(_SIGN_LABEL, body, signer=signer, chain=identity_chain))
    return Opening(data=data, epoch_id=epoch_id, suite=suite, keys=EpochKeys.from_prk(_extract(body, secret)))


def accept_open(
    data: bytes,
    *,
    private_keys: Mapping[str, bytes],
    region: str,
    vault_id: str,
    suites: Collection[int],
    verify: Verify,
    topic_device: str,
) -> AcceptedEpoch:
    """Verify an opening and derive the epoch's keys.

    Args:
        data: as it came.
        private_keys: the region's current keys by key id.
        region: this region's name.
        vault_id: the current vault.
        suites: which suites this region allows.
        verify: checks the chain against the edge anchor and the revocations, and returns who it is.
        topic_device: the device in the topic it came on.

    Raises:
        IdentityError: the chain, the signature or the name is not the device's.
        StaleKeyError: for another vault or an unknown key.
        ProtocolError: anything else that does not follow the protocol.
    """
    if len(data) > LARGEST_OPEN_BYTES:
        raise ProtocolError(f"an opening of {len(data)} bytes is longer than {LARGEST_OPEN_BYTES}.")
    signed = decode(Signed, data)
    peer = verify(signed.chain)
    check_signature(_SIGN_LABEL, signed)
    body = decode(OpenBody, signed.body)
    fields = decode(OpenFields, body.fields)
    _check(fields, common_name=peer.common_name, topic_device=topic_device, region=region, suites=suites)
    private = private_keys.get(fields.key_id)
    if fields.vault_id != vault_id or private is None:
        raise StaleKeyError(f"{topic_device} opened an epoch for another vault or key.", "It fetches the announcement and opens anew.")
    prk = _extract(signed.body, kem.unwrap(fields.kem, private, body.wrapped, _INFO_LABEL + body.fields))
    return AcceptedEpoch(
        peer=peer,
        spool_id=fields.spool_id,
        epoch_id=fields.epoch_id,
        suite=fields.suite,
        keys=EpochKeys.from_prk(prk),
        prk=prk,
        digest=hashlib.sha256(signed.body).digest(),
        terms=fields.terms,
    )


def _check(fields: OpenFields, *, common_name: str, topic_device: str, region: str, suites: Collection[int]) -> None:
    if fields.version != VERSION:
        raise ProtocolError(f"opening version {fields.version} is not {VERSION}.", "Update the older side.")
    if not common_name == topic_device == fields.device:
        raise IdentityError(f"an opening for {fields.device[:130]!r} by {common_name} came on the topic of {topic_device[:130]!r}.")
    if fields.region != region:
        raise ProtocolError(f"{topic_device} opened an epoch for region {fields.region[:63]!r}.")
    if fields.suite not in suites or fields.suite not in SUITES:
        raise ProtocolError(f"{topic_device} wants cipher suite {fields.suite}, which this region does not allow.")
    if len(fields.spool_id) != SPOOL_ID_BYTES or not 0 <= fields.epoch_id < 1 << 64:
        raise ProtocolError(f"{topic_device} opened an epoch with a spool or epoch id that is none.")


def _extract(body: bytes, secret: bytes) -> bytes:
    prk: bytes = HKDF.extract(hashes.SHA256(), hashlib.sha256(body).digest(), secret)
    return prk
