"""A camera as a stream, read by PyAV: RTSP over TCP, V4L2, whatever else the library opens by a format's name.

Rules, in order:
1. Opening and every read have a limit, kept by the library's interrupt: a camera that says nothing is an error, not a wait.
2. Little is probed before the first frame, and the decoder holds no frame back.
3. A packet that cannot be decoded costs its own frames. When nothing could be decoded for SILENCE_S, the source fails.
4. Time stamps serve to notice delay alone (`pace.Lag`); when a frame was captured is when it arrived here.
5. Whatever goes wrong ends the pass with an InputError; its stream's thread waits and dials again. Nothing said holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import av
import msgspec

from edge.sources.address import Address
from edge.sources.area import Area
from edge.sources.base import ALWAYS, LIVE, Shot
from edge.sources.decoded import Developer
from edge.sources.pace import Lag
from shared import clock
from shared.errors import InputError

OPEN_S = 8.0
READ_S = 4.0
SILENCE_S = 10.0
RTSP_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "probesize": "32768",
    "analyzeduration": "0",
    "flags": "low_delay",
    "max_delay": "0",
}
WORDS = {
    "ExitError": "it said nothing in time",
    "HTTPUnauthorizedError": "it refuses these credentials",
    "HTTPForbiddenError": "it forbids this",
    "HTTPNotFoundError": "it has no such stream",
    "InvalidDataError": "what it says makes no sense",
}
"""The library's errors whose own text says nothing to people."""


class Dial(msgspec.Struct, frozen=True, kw_only=True):
    """What to open and how; `remedy` is said when it fails."""

    address: Address
    format: str
    options: Mapping[str, str] = {}
    remedy: str = "Check the camera and its cable."


def rtsp(address: Address) -> Dial:
    """Return how an RTSP camera is opened."""
    return Dial(
        address=address,
        format="rtsp",
        options=RTSP_OPTIONS,
        remedy="Check address, credentials and the camera, for instance with a player on this machine.",
    )


def camera(device: str, *, fps: float = 0.0) -> Dial:
    """Return how a V4L2 device such as `/dev/video0` is opened; `fps` 0 takes its own pace."""
    return Dial(
        address=Address(shown=device, dialled=device),
        format="v4l2",
        options={"framerate": f"{fps:g}"} if fps else {},
        remedy="Plug the camera in, and let this user into the group `video`.",
    )


class LiveSource:
    """Reads a camera for as long as it speaks.

    Args:
        dial: what to open.
        area: the part that is looked at; None for all.
        read_s: seconds a read may take.
        turns: entered for each packet that is decoded.
    """

    def __init__(
        self, dial: Dial, *, area: Area | None = None, read_s: float = READ_S, turns: AbstractContextManager[None] = ALWAYS
    ) -> None:
        self._dial = dial
        self._developer = Developer(area)
        self._read_s = read_s
        self._turns = turns
        self._container: Any = None
        self._stream: Any = None
        self.lag = Lag()

    def open(self) -> int:
        """Dial and look for a video stream; see `Source.open`."""
        self.close()
        dial = self._dial
        try:
            self._container = av.open(dial.address.dialled, format=dial.format, options=dict(dial.options), timeout=(OPEN_S, self._read_s))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failed("cannot be opened", error) from None
        if not self._container.streams.video:
            self.close()
            raise InputError(f"the camera {dial.address.shown} sends no video.", dial.remedy)
        self._stream = self._container.streams.video[0]
        self._stream.thread_count = 1
        self.lag = Lag()
        return LIVE

    def rate(self) -> float:
        """A camera sets its own pace; see `Source.rate`."""
        return 0.0

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield what comes until the camera is silent; see `Source.shots`."""
        index, heard = first, clock.monotonic()
        for frames in self._decoded():
            now = clock.monotonic()
            for frame in frames:
                if not frame.is_corrupt:
                    heard = now
                    yield Shot(index=index, look=self._developer.look(frame))
                index += 1
            if now - heard > SILENCE_S:
                raise InputError(f"the camera {self._dial.address.shown} sends nothing that can be decoded.", self._dial.remedy)
        raise InputError(f"the camera {self._dial.address.shown} ended its stream.", self._dial.remedy)

    def close(self) -> None:
        """Hang up; see `Source.close`."""
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            container.close()

    def _decoded(self) -> Iterator[list[Any]]:
        """Yield the frames of one packet after another; none for one that is damaged or left out to catch up."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield [] if self._is_left_out(packet) else self._decode(packet)
            except av.InvalidDataError:
                yield []
            except av.EOFError:
                return
            except (av.FFmpegError, OSError) as error:
                raise self._failed("does not answer", error) from None

    def _decode(self, packet: Any) -> list[Any]:
        with self._turns:
            return list(packet.decode())

    def _is_left_out(self, packet: Any) -> bool:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or packet.time_base is None:
            return False
        return self.lag.leaves_out(float(stamp * packet.time_base), clock.monotonic(), is_key=packet.is_keyframe)

    def _failed(self, what: str, error: Exception) -> InputError:
        address = self._dial.address
        return InputError(f"the camera {address.shown} {what}: {address.redact(_reason(error))}.", self._dial.remedy)


def _reason(error: Exception) -> str:
    """Return what the library means; its own words may hold the address."""
    known = WORDS.get(type(error).__name__)
    return known or (error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__)
