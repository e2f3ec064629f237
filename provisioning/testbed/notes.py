"""What a story writes down so that its acts can be counted again later: spans of time, files, the question of act 3. Pure."""

from __future__ import annotations

import msgspec

from provisioning.testbed.learned import Question


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A span of steady streaming: Unix seconds, and payload bytes and frames of all devices in it."""

    start: float
    end: float
    bytes_sent: int
    frames: int


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to count an act again: files as paths, labelled streams and H.264 files by stream, the spans that were measured."""

    models: str
    clean: dict[str, str]
    videos: dict[str, str] = {}
    events: tuple[str, ...] = ()
    windows: dict[str, Window] = {}
    question: Question | None = None


def encode(notes: Notes) -> bytes:
    """Return the notes as JSON."""
    return msgspec.json.format(msgspec.json.encode(notes), indent=1)


def decode(data: bytes) -> Notes:
    """Read notes.

    Raises:
        msgspec.MsgspecError: they are none.
    """
    return msgspec.json.decode(data, type=Notes)
