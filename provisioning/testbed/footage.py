"""What the story streams and measures on, in the state folder: streams that can be replaced while they run, and held-out pictures.

Rules:
1. A stream is a labelled .npz of its own in `<state>/streams`; `clean` keeps the pictures as they were.
2. Replacing is one rename: a device sees the old pictures or the new ones, never a half. Labels and numbers stay.
3. `held-out-*` streams are never streamed: no region can have learnt from them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from provisioning.testbed.data import Streams
from provisioning.testbed.learned import Question
from provisioning.testbed.notes import Notes, Window, decode, encode
from shared.errors import InputError

NOTES = "story.json"


def read_notes(root: Path) -> Notes:
    """Return what a story wrote down in its state folder.

    Raises:
        InputError: there is nothing of a story.
    """
    try:
        return decode((root / NOTES).read_bytes())
    except (OSError, msgspec.MsgspecError):
        raise InputError(f"{root} is no state folder of a story.", "Give the folder that `terrace demo --keep` named.") from None


class Footage:
    """The story's pictures.

    Args:
        root: the state folder.
        streams: what was drawn.
        models: folder with the expert and the first student.
        drift: strength of the drift to come, 0 to 1.
    """

    def __init__(self, root: Path, streams: Streams, models: Path, *, drift: float) -> None:
        self.root = root
        self.models = models
        self.drift = drift
        self.clean = dict(streams.truth)
        self.held_out = list(streams.held_out)
        self.videos = dict(streams.videos)
        self.tables = {device: [self._live_table(table) for table in tables] for device, tables in streams.tables.items()}
        self._windows: dict[str, Window] = {}
        self._question: Question | None = None

    def lay_out(self) -> None:
        """Copy every stream to where its device reads it."""
        (self.root / "streams").mkdir(parents=True, exist_ok=True)
        for name, path in self.clean.items():
            shutil.copy(path, self.live(name))
        self._write()

    def live(self, name: str) -> Path:
        """Return the file a device reads this stream from."""
        return self.root / "streams" / f"{name}.npz"

    def names(self, devices: Sequence[str]) -> list[str]:
        """Return the streams of these devices."""
        return [str(table["name"]) for device in devices for table in self.tables[device]]

    def everything(self) -> dict[str, str]:
        """Return all labelled pictures by name: what is streamed and what is held out."""
        return {path.stem: str(path) for path in (*self.clean.values(), *self.held_out)}

    def replace(self, name: str, made: str) -> None:
        """Put another file of the same labels in a stream's place, in one step."""
        beside = self.live(name).with_suffix(".part")
        shutil.copy(made, beside)
        beside.replace(self.live(name))

    def remember(self, what: str, window: Window) -> Notes:
        """Write down which span of time an act measured, for who counts again from the files, and return all notes."""
        self._windows[what] = window
        return self._write()

    def remember_question(self, question: Question) -> None:
        """Write down which models act 3 compares on which pictures."""
        self._question = question
        self._write()

    def _write(self) -> Notes:
        notes = Notes(
            models=str(self.models),
            clean={name: str(path) for name, path in self.clean.items()},
            videos={name: str(path) for name, path in self.videos.items()},
            events=tuple(str(self.root / device / "events.jsonl") for device in self.tables),
            windows=self._windows,
            question=self._question,
        )
        (self.root / NOTES).write_bytes(encode(notes))
        return notes

    def _live_table(self, table: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in table.items() if key not in ("kind", "path", "units_file")}
        return {**kept, "kind": "replay", "path": str(self.live(str(table["name"])))}
