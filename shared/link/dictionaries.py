"""Dictionaries in a folder, one file each, named by the SHA-256 of its bytes; the newest file is the newest dictionary.

Rules, in order:
1. A file that is not what its name says, or no dictionary, is skipped and said so once; nothing stops for it.
2. At most `MOST_KEPT` stay; the oldest go.
3. Another process may add files: the folder is read again when it has changed, at most once a second.
"""

from __future__ import annotations

import threading
from pathlib import Path

from shared import clock, log
from shared.durable import write
from shared.errors import ProtocolError, StorageError
from shared.wire.dictionary import LARGEST_DICTIONARY_BYTES, Dictionary, read_dictionary
from shared.wire.messages import encode
from shared.wire.shelf import MOST_KEPT, Shelf

SKIPPED, READ = "dictionary_skipped", "dictionaries_read"
LOOKED_AGAIN_S = 1.0
SUFFIX = ".zdict"


class DictionaryFolder:
    """The dictionaries of one daemon; for any thread.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[str, ...] | None = None
        self._looked_at = float("-inf")
        self._skipped: set[str] = set()
        self.shelf = Shelf()

    def refresh(self) -> None:
        """Read the folder if files came or went, and if the last look is a second old.

        Raises:
            StorageError: the folder cannot be read.
        """
        with self._lock:
            now = clock.monotonic()
            if now - self._looked_at < LOOKED_AGAIN_S:
                return
            self._looked_at = now
            files = self._files()
            names = tuple(file.name for file in files)
            if names == self._seen:
                return
            self._seen = names
            self.shelf.replace(found for file in files[:MOST_KEPT] if (found := self._read(file)) is not None)
            log.get("dictionaries").info(READ, dictionaries=[digest.hex()[:16] for digest in self.shelf.digests])

    def find(self, number: int) -> Dictionary | None:
        """Return a dictionary by zstd's id; looks into the folder again before it says None."""
        found = self.shelf.find(number)
        if found is None:
            try:
                self.refresh()
            except StorageError:
                return None
        return found or self.shelf.find(number)

    def put(self, dictionary: Dictionary) -> Path:
        """Keep a dictionary as the newest, durably; the oldest beyond `MOST_KEPT` go.

        Raises:
            StorageError: it cannot be written.
        """
        with self._lock:
            path = self._path / f"{dictionary.digest.hex()}{SUFFIX}"
            write(path, encode(dictionary), mode=0o600)
            for old in self._files()[MOST_KEPT:]:
                old.unlink(missing_ok=True)
            self.shelf.put(dictionary)
            return path

    def _files(self) -> list[Path]:
        """Return the files, newest first; those of one instant by name, so that every process has the same order."""
        try:
            files = [(file.stat().st_mtime_ns, file.name, file) for file in self._path.glob(f"*{SUFFIX}")]
        except OSError as error:
            raise StorageError(f"the folder {self._path} cannot be read: {error}.", "Check its permissions.") from error
        return [file for _, _, file in sorted(files, reverse=True)]

    def _read(self, file: Path) -> Dictionary | None:
        try:
            with file.open("rb") as opened:
                return read_dictionary(opened.read(LARGEST_DICTIONARY_BYTES + 1), bytes.fromhex(file.stem))
        except (OSError, ValueError, ProtocolError) as error:
            if file.name not in self._skipped:
                self._skipped.add(file.name)
                log.get("dictionaries").warning(SKIPPED, file=str(file), reason=str(error))
            return None
