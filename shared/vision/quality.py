"""At which codec and quality a picture is sent: along the card's table of bytes and expert accuracy, as the link carries. Pure.

Rules, in order:
1. The card's first point is its choice: the fewest bytes at which its expert answers as well as on undamaged pictures. It is taken while
   the link's rate is unknown, and while what waits and this picture leave within `PATIENCE_S`: more bytes would gain nothing.
2. When more waits than the link carries in that time, the expert may lose up to `LARGEST_LOSS` more: the point with which the queue
   moves fastest is taken (encoding and sending overlap, the slower of the two counts). The card's choice comes back as the queue drains.
3. A codec that has not been timed here counts as free, so that it is tried once.

Example:
    >>> points = [QualityPoint(codec="webp", quality=80, bytes_mean=4000, expert_accuracy=0.96),
    ...           QualityPoint(codec="webp", quality=50, bytes_mean=2500, expert_accuracy=0.955)]
    >>> [choose(points, LinkLoad(rate_bytes_per_s=1e5, backlog_bytes=waiting)).quality for waiting in (0, 10**6)]
    [80, 50]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shared.errors import InputError
from shared.release.card import QualityPoint

PATIENCE_S = 1.0
LARGEST_LOSS = 0.01
"""Share of frames the expert may answer worse than at the card's choice while the link is behind."""
_GAIN = 0.125
_NO_TIMES: dict[str, float] = {}


class LinkLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How fast the link has been, 0.0 where that is unknown, and how much waits for it."""

    rate_bytes_per_s: float = 0.0
    backlog_bytes: int = 0


class EncodeTimes:
    """Seconds that encoding one picture takes, by codec; a time far above the others is mostly another program's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def note(self, codec: str, seconds: float) -> None:
        """Take one measurement."""
        known = self.seconds.get(codec)
        self.seconds[codec] = seconds if known is None else known + _GAIN * (min(seconds, 4 * known) - known)


def choose(points: Sequence[QualityPoint], load: LinkLoad, seconds: Mapping[str, float] = _NO_TIMES) -> QualityPoint:
    """Return the point to encode with.

    Args:
        points: the card's table, its choice first.
        load: of the link.
        seconds: what encoding one picture takes here, by codec.

    Raises:
        InputError: the table is empty.
    """
    if not points:
        raise InputError("the card names no picture quality.")
    first, rate = points[0], load.rate_bytes_per_s
    if rate <= 0.0 or load.backlog_bytes + first.bytes_mean <= PATIENCE_S * rate:
        return first
    good = [one for one in points if one.expert_accuracy >= first.expert_accuracy - LARGEST_LOSS]
    return min(good, key=lambda one: (max(seconds.get(one.codec, 0.0), one.bytes_mean / rate), one.bytes_mean))
