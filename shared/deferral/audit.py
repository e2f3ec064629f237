"""The audit sample: frames sent at random, drawn before any gate, so that what the device keeps can be judged.

The draw is a keyed function of stream and frame number: whoever has the key of the epoch (device and region) can tell which
frames had to be sent, so an omission shows; whoever has not cannot predict it.

`is_audit` = the first 8 bytes of HMAC-SHA256(key, "terrace/1/audit" ‖ u16 length of stream ‖ stream ‖ u64 frame), as a fraction of
2 to the 64, lies below the share.
"""

from __future__ import annotations

import hmac
from array import array
from functools import lru_cache

LABEL = b"terrace/1/audit"
AHEAD = 32
"""So many frames of a stream are drawn at once: one after another costs a tenth of one at a time between two runs of a network."""


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
    return _draws(key, stream, frame // AHEAD)[frame % AHEAD] < share * 2.0**64


@lru_cache(maxsize=1024)
def _draws(key: bytes, stream: str, block: int) -> array[int]:
    """Return the draws of `AHEAD` frames, the first 8 bytes of each HMAC as a number."""
    name = stream.encode()
    begun = hmac.new(key, LABEL + len(name).to_bytes(2, "big") + name, "sha256")
    drawn = array("Q")
    for frame in range(block * AHEAD, (block + 1) * AHEAD):
        draw = begun.copy()
        draw.update(frame.to_bytes(8, "big"))
        drawn.append(int.from_bytes(draw.digest()[:8], "big"))
    return drawn
