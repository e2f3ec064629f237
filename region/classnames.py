"""What the classes are called: as the expert's card says, the released one's or the local one's; read from the files, without a daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from region.config import RegionSettings
from shared.errors import TerraceError
from shared.release.card import decode_card

EXPERT = "expert"


class ClassNames:
    """The names as of the expert that answers; read again when another one does.

    Args:
        settings: region.toml.
        release: returns the expert's release.
    """

    def __init__(self, settings: RegionSettings, release: Callable[[], int | None]) -> None:
        self._settings = settings
        self._release = release
        self._known: tuple[int | None, tuple[str, ...]] = (None, ())

    def names(self) -> tuple[str, ...]:
        """Return the names in order of the class numbers; empty as long as there is no expert."""
        release = self._release()
        if self._known[0] != release or not self._known[1]:
            self._known = (release, class_names(self._settings))
        return self._known[1]


def class_names(settings: RegionSettings) -> tuple[str, ...]:
    """Return the names in order of the class numbers; empty as long as there is no expert."""
    for path in (_released(settings.state / "models" / EXPERT), _local(settings.expert.path)):
        try:
            if path is not None:
                return tuple(decode_card(path.read_bytes()).labels)
        except (OSError, TerraceError):
            continue
    return ()


def _released(folder: Path) -> Path | None:
    try:
        return folder / f"{int(json.loads((folder / 'current').read_bytes())['release']):06d}" / "card.json"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _local(path: Path | None) -> Path | None:
    return None if path is None else path.with_suffix(".card.json")
