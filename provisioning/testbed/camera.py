"""A user's own video as a stream of the demo: what `--video` may be, and the `[[streams]]` table it becomes.

Rules, in order:
1. `rtsp://…` is a network camera. Name and password stand in a file of their own (`--credentials`), never in the address.
2. A device such as /dev/video0 is a camera of this machine; any other path is a video file, played again and again at its own pace.
3. Everything else is refused in words before anything is started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.errors import InputError

NAME = "camera"
REMEDY = "Give a video file, a camera's address rtsp://host/path, or a device such as /dev/video0."


def table(video: str, credentials: Path | None = None) -> dict[str, Any]:
    """Return the stream's table of edge.toml.

    Args:
        video: what was given as `--video`.
        credentials: a file with `name:password` of a network camera.

    Raises:
        InputError: it is none of what rules 1 and 2 know.
    """
    shared: dict[str, Any] = {"name": NAME, "fps": 0.0, "loop": True}
    if "://" in video:
        return {**shared, **_network(video, credentials)}
    if credentials is not None:
        raise InputError("--credentials is for network cameras; a file or device has none.", "Leave it out.")
    path = Path(video).expanduser().resolve()
    if path.is_char_device():
        return {**shared, "kind": "camera", "path": str(path)}
    if not path.is_file():
        raise InputError(f"there is no video {path}.", REMEDY)
    return {**shared, "kind": "video", "path": str(path)}


def _network(url: str, credentials: Path | None) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "rtsp":
        raise InputError(f"{parts.scheme}:// is not spoken to a camera.", REMEDY)
    if "@" in parts.netloc:
        remedy = "Write `name:password` into a file only you may read (chmod 600) and give it as --credentials FILE."
        raise InputError("the camera's address holds a name or password.", remedy)
    secret = {} if credentials is None else {"credentials": str(credentials.expanduser().resolve())}
    return {"kind": "rtsp", "url": url, **secret}
