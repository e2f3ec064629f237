"""A video file as a stream, decoded by PyAV.

Rules, in order:
1. A frame's place comes from its time stamp and the video's rate, so that a frame the decoder lost leaves a gap, not a shift.
2. A packet that cannot be decoded and a frame marked corrupt are left out.
3. Starting in the middle decodes from the front without converting: exact in every codec.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import av
import numpy as np

from edge.sources.area import Area
from edge.sources.base import ALWAYS, Shot
from edge.sources.decoded import Developer
from shared.errors import InputError

REMEDY = "Check the file with a player; H.264 in an .mp4 works."


class VideoSource:
    """Decodes a file; one decoder thread, since streams already have one thread each.

    Args:
        path: the video file.
        units_file: an `.npz` with `units`, the unit of each frame by place; None when units are unknown.
        area: the part that is looked at; None for all.
        turns: entered for each packet that is decoded.
    """

    def __init__(
        self, path: Path, units_file: Path | None = None, area: Area | None = None, *, turns: AbstractContextManager[None] = ALWAYS
    ) -> None:
        self._path = path
        self._turns = turns
        self._developer = Developer(area)
        self._units_file = units_file
        self._units: list[str] = []
        self._length = 0
        self._rate = 0.0

    def open(self) -> int:
        """Look at the file and read the units; see `Source.open`."""
        self._units = _units(self._units_file) if self._units_file else []
        container, stream = self._container()
        with container:
            self._rate = float(stream.average_rate or 0.0)
            try:
                self._length = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            except av.FFmpegError as error:
                raise InputError(f"the video {self._path} cannot be read: {error}.", REMEDY) from error
        if self._length < 1:
            raise InputError(f"the video {self._path} has no frames.", REMEDY)
        return self._length

    def rate(self) -> float:
        """Return the video's own pace; see `Source.rate`."""
        return self._rate

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield one pass; see `Source.shots`."""
        container, stream = self._container()
        last, start = -1, stream.start_time or 0
        places_per_tick = float(stream.time_base * stream.average_rate) if self._rate and stream.time_base else 0.0
        with container:
            for frame in _decoded(container, stream, self._turns):
                last = _place(frame.pts, last, start=start, places_per_tick=places_per_tick)
                if frame.is_corrupt or not first <= last < self._length:
                    continue
                yield Shot(index=last, look=self._developer.look(frame), unit=self._units[last] if last < len(self._units) else "")

    def close(self) -> None:
        """Each pass closes its own container; see `Source.close`."""

    def _container(self) -> tuple[Any, Any]:
        try:
            container = av.open(str(self._path))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"the video {self._path} cannot be opened: {error}.", REMEDY) from error
        if not container.streams.video:
            container.close()
            raise InputError(f"the file {self._path} has no video in it.", REMEDY)
        stream = container.streams.video[0]
        stream.thread_count = 1
        return container, stream


def _place(pts: int | None, last: int, *, start: int, places_per_tick: float) -> int:
    """Return a frame's place: by its time stamp where that leads on, else the next one."""
    if pts is None or not places_per_tick:
        return last + 1
    return max(last + 1, round((pts - start) * places_per_tick))


def _decoded(container: Any, stream: Any, turns: AbstractContextManager[None]) -> Iterator[Any]:
    """Decode packet by packet, so that one that fails costs its own frames only."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            with turns:
                frames = packet.decode()
        except av.InvalidDataError:
            continue
        except av.EOFError:
            return
        yield from frames


def _units(path: Path) -> list[str]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return [str(unit) for unit in data["units"]]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InputError(f"the units file {path} cannot be read: {error!r}.", "Give an .npz with an array `units`.") from error
