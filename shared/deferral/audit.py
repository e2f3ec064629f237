"""The audit sample: frames sent at random, drawn before any gate, so that what the device keeps can be judged.

The draw is a keyed function of stream and frame number: whoever has the key of the epoch (device and region) can tell which
frames had to be sent, so an omission shows; whoever has not cannot predict it.

`is_audit` = the first 8 bytes of HMAC-SHA256(key, "terrace/1/audit" ‖ u16 length of stream ‖ stream ‖ u64 frame), as a fraction of
2 to the 64, lies below the share.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

LABEL = b"terrace/1/audit"


def is_audit(key: bytes, stream: str, frame: int, share: float) -> bool:
    """Tell whether a frame is an audit sample.

    Args:
        key: the audit key of the epoch, 32 bytes.
        stream: the stream's name.
        frame: the frame's number, counting every frame of the stream.
        share: the share of frames to draw, 0 to 1.

    Returns:
        True for about `share` of all frames; a larger share keeps every frame that a smaller one drew.
    """
    draw = _begun(key, stream).copy()
    draw.update(frame.to_bytes(8, "big"))
    return int.from_bytes(draw.digest()[:8], "big") < share * 2.0**64


@lru_cache(maxsize=256)
def _begun(key: bytes, stream: str) -> hmac.HMAC:
    """Return the HMAC with everything but the frame number in it: keying it anew per frame would cost twice as much."""
    name = stream.encode()
    return hmac.new(key, LABEL + len(name).to_bytes(2, "big") + name, "sha256")
