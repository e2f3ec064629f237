"""A webhook's body and the headers that say who sent it and when, as Standard Webhooks 1.0 has them. Pure.

`webhook-signature` is `v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body` under the shared secret; a secret is written as
`whsec_` and its bytes in Base64, or as it stands. A repeated delivery has the same `webhook-id`, so that the receiver can pass it over.

Example:
    >>> headers = sign(b"{}", secret=read_secret("whsec_MDEyMzQ1Njc4OWFiY2RlZg=="), identifier="msg_1", at=1700000000.5)
    >>> headers["webhook-signature"][:12]
    'v1,J0gN4K/9Q'
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timezone

import msgspec

from edge.events import Event
from shared.errors import ConfigurationError

PREFIX = "whsec_"
SHORTEST_BYTES = 16
TYPE = "terrace.events"


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted: the kind of message, when it was made (RFC 3339, UTC), from which device, and the events, oldest first."""

    type: str
    timestamp: str
    device: str
    data: Sequence[Event]


def read_secret(text: str) -> bytes:
    """Return a secret's bytes from its file's text.

    Raises:
        ConfigurationError: it is no Base64 after `whsec_`, or shorter than 16 bytes; the message does not repeat it.
    """
    text = text.strip()
    remedy = f"Write {PREFIX} and at least {SHORTEST_BYTES} random bytes in Base64."
    try:
        found = base64.b64decode(text[len(PREFIX) :], validate=True) if text.startswith(PREFIX) else text.encode()
    except (binascii.Error, ValueError):
        raise ConfigurationError("the webhook's secret is not Base64.", remedy) from None
    if len(found) < SHORTEST_BYTES:
        raise ConfigurationError(f"the webhook's secret has fewer than {SHORTEST_BYTES} bytes.", remedy)
    return found


def body(events: Sequence[Event], *, device: str, at: float) -> bytes:
    """Return a batch as JSON; `at` is Unix seconds."""
    said = datetime.fromtimestamp(at, tz=timezone.utc).isoformat(timespec="milliseconds")
    return msgspec.json.encode(Body(type=TYPE, timestamp=said, device=device, data=events))


def sign(content: bytes, *, secret: bytes, identifier: str, at: float) -> dict[str, str]:
    """Return the headers of a delivery.

    Args:
        content: the body.
        secret: shared with the receiver; empty leaves the signature out.
        identifier: the batch's own, without a dot.
        at: Unix seconds of this attempt.
    """
    stamp = str(int(at))
    headers = {"webhook-id": identifier, "webhook-timestamp": stamp}
    if secret:
        mac = hmac.digest(secret, f"{identifier}.{stamp}.".encode() + content, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(mac).decode()}"
    return headers
