"""The region's dictionaries: what is kept to learn them from, and learning them. Pictures are never among it.

Rules, in order:
1. Telemetry that came lately is written to `telemetry.recent` once a minute; cases and answers lie in the vault.
2. One dictionary for telemetry, one for what was detected: cases without their pictures, and answers.
3. What is learned lies in `dictionaries`; the running region announces it within seconds, its devices fetch it by its digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from region.cases import StoredCase
from region.fleet import Fleet
from region.vault import Vault
from shared import clock
from shared.durable import write
from shared.errors import StorageError
from shared.link.dictionaries import DictionaryFolder
from shared.wire.dictionary import Dictionary, bare, train
from shared.wire.messages import Answer, Kind, encode

SAVED_EVERY_S = 60.0
MOST_SAMPLES = 2000
SPLITS: Final[tuple[Literal["train", "evaluation", "unused"], ...]] = ("train", "evaluation", "unused")
TELEMETRY_KINDS: Final = (Kind.TELEMETRY,)
DETECTION_KINDS: Final = (Kind.CASE, Kind.HELD_CASE, Kind.FRAME, Kind.ANSWER)


class Lexicon:
    """The dictionaries of a running region, and the record to learn from.

    Args:
        state: the region's state folder.
        fleet: what was heard.
    """

    def __init__(self, state: Path, fleet: Fleet) -> None:
        self.folder = DictionaryFolder(state / "dictionaries")
        self._path = recent_path(state)
        self._fleet = fleet
        self._saved_at = clock.monotonic()

    def tick(self) -> None:
        """Take over new dictionaries, and save what was heard when a minute has gone by.

        Raises:
            StorageError: the state folder cannot be read or written.
        """
        self.folder.refresh()
        if clock.monotonic() - self._saved_at >= SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the latest telemetry down.

        Raises:
            StorageError: it cannot be written.
        """
        self._saved_at = clock.monotonic()
        recent = [encode(message) for message in list(self._fleet.recent)]
        if recent:
            write(self._path, msgspec.msgpack.encode(recent), mode=0o600)


def recent_path(state: Path) -> Path:
    """Return where the latest telemetry is kept."""
    return state / "telemetry.recent"


def learn_telemetry(state: Path) -> Dictionary:
    """Learn a dictionary from the telemetry that came lately.

    Raises:
        InputError: too little of it.
        StorageError: it cannot be read.
    """
    try:
        saved = recent_path(state).read_bytes()
        samples = msgspec.msgpack.decode(saved, type=list[bytes])
    except FileNotFoundError:
        samples = []
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"{recent_path(state)} cannot be read: {error}.", "Remove it; the region writes it anew.") from error
    return train(TELEMETRY_KINDS, samples)


def learn_detections(vault: Vault) -> Dictionary:
    """Learn a dictionary from the vault's newest cases without their pictures, and their answers.

    Raises:
        InputError: too few of them.
        StorageError: the vault cannot be read.
    """
    samples: list[bytes] = []
    for case in _newest(vault):
        samples.append(bare(case.case))
        if case.answer is not None:
            answer = Answer(spool_id=case.spool, sequence=case.sequence, prediction=case.answer, expert_release=0, at=case.received_at)
            samples.append(encode(answer))
    return train(DETECTION_KINDS, samples)


def _newest(vault: Vault) -> Iterator[StoredCase]:
    for split in SPLITS:
        yield from vault.cases(split=split, answered=False, limit=MOST_SAMPLES)
