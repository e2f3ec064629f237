"""A camera's H.264 beside the stills a device would send of it.

The given videos have no labels, and no network here knows their scenes: which frames would be deferred is not known. So what is compared
is computed, not run: the share of frames that DeepPCB's windows cost (deferred and audited), times what a whole frame of the video
costs as a case (webp 80, the device's choice without a card's table, sealed), over the mean bytes of a frame in the H.264 stream itself,
its packets alone. `gated` lets only frames that pass the motion gate be deferred; the audit draw comes before the gate.
"""

from __future__ import annotations

from pathlib import Path

import av
import msgspec
import numpy as np

from edge.motion import MotionGate
from edge.spooling import FALLBACK_QUALITY
from shared.wire.messages import Prediction
from tests.bench.deferrals.sending import Line, case_of

FILES = ("bottle-detection.mp4", "one-by-one-person-detection.mp4")
EVERY = 10
"""Every so many frames one is encoded."""
GATE_SHARE = 0.01
CLASSES = 7


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """One video: frames, bytes of its H.264 packets, mean bytes of a frame as a case, and the share of frames that pass the motion gate."""

    name: str
    frames: int
    stream_bytes: int
    case_bytes: float
    moving: float

    def ours(self, deferred: float, audited: float, *, gated: bool = False) -> float:
        """Return the bytes we would send for it at these shares of frames."""
        return self.frames * self.case_bytes * (deferred * (self.moving if gated else 1.0) + audited)

    def row(self, deferred: float, audited: float) -> dict[str, float | str]:
        """Return the video's row."""
        return {
            "video": self.name,
            "frames": float(self.frames),
            "h264_bytes_a_frame": self.stream_bytes / self.frames,
            "case_bytes": self.case_bytes,
            "moving": self.moving,
            "ratio": self.ours(deferred, audited) / self.stream_bytes,
            "ratio_gated": self.ours(deferred, audited, gated=True) / self.stream_bytes,
        }


def ratio(videos: list[Video], deferred: float, audited: float, *, gated: bool = False) -> float:
    """Return all videos' bytes of ours over their streams'."""
    return sum(one.ours(deferred, audited, gated=gated) for one in videos) / sum(one.stream_bytes for one in videos)


def looked_at(path: Path) -> Video:
    """Read a video once: packets, gate, and every EVERY-th frame as a case."""
    prediction = Prediction(index=0, probabilities=(1.0 / CLASSES,) * CLASSES)
    line, gate = Line(), MotionGate(share=GATE_SHARE, is_audit=lambda _: False)
    stream_bytes, moving, sizes, number = 0, 0, [], 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            stream_bytes += packet.size
            for frame in packet.decode():
                luma = frame.reformat(format="gray").to_ndarray()
                moving += gate.passes(number, luma, number / float(stream.average_rate))
                if number % EVERY == 0:
                    pixels = frame.to_ndarray(format="rgb24")
                    case = case_of(pixels, prediction, number=number, unit="", codec="webp", quality=FALLBACK_QUALITY)
                    sizes.append(line.bytes_of(case))
                number += 1
    return Video(name=path.stem, frames=number, stream_bytes=stream_bytes, case_bytes=float(np.mean(sizes)), moving=moving / number)
