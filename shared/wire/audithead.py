"""A signed head of an audit log: where a node's chain ended at a time, signed by its certificate key, to be kept one tier up. Pure.

The signature is over "terrace/1/audit-head" and SHA-256 of the fields as a msgpack array. What is kept has the certificate beside it, so
that it proves itself years later: the certificate's chain is looked at as of the moment of signing. Kept heads travel as JSON, one a line.

Example:
    >>> body_of("server.region-1", 3, "ab" * 32, 5.0) == body_of("server.region-1", 3, "ab" * 32, 6.0)
    False
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated

import msgspec

from shared.auditchain import Head
from shared.errors import IdentityError, ProtocolError
from shared.identity.anchors import AnchorList
from shared.identity.chain import peer_of, verify_chain
from shared.wire.signed import Sign, Signed, check_signature, signed_bytes

LABEL = b"terrace/1/audit-head"
LARGEST_FILE_BYTES = 64 << 20


class SignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many entries had been written at `at` (Unix seconds), the last with this hash, says `node` (a common name)."""

    node: Annotated[str, msgspec.Meta(max_length=127)]
    count: Annotated[int, msgspec.Meta(ge=0)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    at: float
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16,160}$")]

    @property
    def head(self) -> Head:
        """Where the chain ended."""
        return Head(count=self.count, hash=self.hash)


class KeptHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed head with the certificate of who signed it (DER, base64)."""

    head: SignedHead
    certificate: Annotated[str, msgspec.Meta(max_length=8192)]


def body_of(node: str, count: int, hash_: str, at: float) -> bytes:
    """Return what is signed of a head."""
    return msgspec.msgpack.encode((node, count, hash_, at))


def sign_head(head: Head, *, node: str, at: float, sign: Sign) -> SignedHead:
    """Sign where a chain ends.

    Args:
        head: the chain's.
        node: the common name in the signer's certificate.
        at: Unix seconds.
        sign: signs with the certificate's key.
    """
    signature = sign(signed_bytes(LABEL, body_of(node, head.count, head.hash, at))).hex()
    return SignedHead(node=node, count=head.count, hash=head.hash, at=at, signature=signature)


def keep(head: SignedHead, certificate: bytes) -> KeptHead:
    """Return a head to be kept, if this certificate (DER) names its node and its key signed it; who issued it is not looked at.

    Raises:
        IdentityError: it is another's head, or not signed by this key.
    """
    if peer_of(certificate).common_name != head.node:
        raise IdentityError(f"the audit head of {head.node[:80]} came with another's certificate.")
    body = body_of(head.node, head.count, head.hash, head.at)
    check_signature(LABEL, Signed(body=body, chain=(certificate,), signature=bytes.fromhex(head.signature)))
    return KeptHead(head=head, certificate=base64.b64encode(certificate).decode())


def believe(kept: KeptHead, anchors: AnchorList) -> SignedHead:
    """Return a kept head that a region or cloud of this fleet signed with a certificate that was good then.

    Raises:
        IdentityError: it did not.
    """
    try:
        certificate = base64.b64decode(kept.certificate, validate=True)
    except binascii.Error:
        raise IdentityError("a kept audit head carries no certificate.") from None
    verify_chain((certificate,), anchors=anchors, tier=peer_of(certificate).tier, now=kept.head.at)
    return keep(kept.head, certificate).head


def to_lines(heads: Iterable[KeptHead]) -> bytes:
    """Return heads as JSON, one a line."""
    return b"".join(msgspec.json.encode(head) + b"\n" for head in heads)


def from_lines(data: bytes) -> list[KeptHead]:
    """Read heads, one a line; a last line that was cut off while it was written is left out.

    Raises:
        ProtocolError: this is no file of heads.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise ProtocolError(f"a file of audit heads is longer than {LARGEST_FILE_BYTES} bytes.")
    try:
        return [msgspec.json.decode(line, type=KeptHead) for line in data.split(b"\n")[:-1]]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"this is no file of audit heads: {error}.") from None
