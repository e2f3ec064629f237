"""Which source a stream's settings mean, and what they lack: the key is named before anything is opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from edge.config import StreamSettings
from edge.sources.address import address
from edge.sources.area import Area
from edge.sources.base import ALWAYS, Source
from edge.sources.folder import FolderSource
from edge.sources.gstreamer import GstreamerSource
from edge.sources.live import LiveSource, camera, rtsp
from edge.sources.replay import ReplaySource
from edge.sources.video import VideoSource
from shared.errors import ConfigurationError

OTHERS = 0o077
LARGEST_CREDENTIALS_BYTES = 4096


def make_source(stream: StreamSettings, turns: AbstractContextManager[None] = ALWAYS) -> Source:
    """Return the source a stream's settings name.

    Args:
        stream: the settings.
        turns: what decoders enter for each packet.

    Raises:
        ConfigurationError: a key its kind needs is missing, the address holds a password, or the credentials cannot be used.
    """
    area = _area(stream)
    if stream.kind == "rtsp":
        return LiveSource(rtsp(address(stream.url, _credentials(stream))), area=area, turns=turns)
    if stream.kind == "gstreamer":
        return GstreamerSource(stream.pipeline, area=area)
    if stream.path is None:
        raise ConfigurationError(f"the stream {stream.name} has no path.", f"A stream of kind {stream.kind} needs `path`.")
    if stream.kind == "camera":
        return LiveSource(camera(str(stream.path), fps=stream.fps), area=area, turns=turns)
    if stream.kind == "video":
        return VideoSource(stream.path, stream.units_file, area, turns=turns)
    return ReplaySource(stream.path) if stream.kind == "replay" else FolderSource(stream.path)


def _area(stream: StreamSettings) -> Area | None:
    if stream.area is None:
        return None
    x, y, width, height = stream.area
    if stream.kind in {"replay", "folder"} or not (width > 0 and height > 0 and x + width <= 1.0 and y + height <= 1.0):
        raise ConfigurationError(
            f"the area of stream {stream.name} is not inside a picture.",
            "Give left, top, width and height as shares of a camera's or a video's picture.",
        )
    return Area(x=x, y=y, width=width, height=height)


def _credentials(stream: StreamSettings) -> str:
    path = stream.credentials
    return "" if path is None else _read(stream.name, path)


def _read(name: str, path: Path) -> str:
    try:
        if path.stat().st_mode & OTHERS:
            raise ConfigurationError(f"others may read the credentials of stream {name} in {path}.", f"Run `chmod 600 {path}`.")
        with path.open(encoding="utf-8") as file:
            lines = file.read(LARGEST_CREDENTIALS_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"the credentials of stream {name} in {path} cannot be read: {reason}.") from None
    return lines[0] if lines else ":"
