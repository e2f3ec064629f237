"""The device's dictionaries: kept in a folder, fetched from the region's relay when its announcement names one that is missing.

What comes is checked against the announced digest, so that neither the relay nor the network can slip in another. A fetch that fails is
tried again with the next announcement or half a minute later; until then messages travel without the dictionary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from shared import clock, log
from shared.errors import TerraceError
from shared.link.dictionaries import DictionaryFolder
from shared.wire.dictionary import read_dictionary
from shared.wire.shelf import MOST_KEPT

TRY_AGAIN_S = 30.0
FETCHED, NOT_FETCHED = "dictionary_fetched", "dictionary_not_fetched"


class DictionaryFetcher:
    """Fetches missing dictionaries, one after the other, on a thread of its own.

    Args:
        folder: where they are kept.
        fetch: returns a dictionary's file by its digest in hex; may block for seconds and raise a TerraceError.
    """

    def __init__(self, folder: DictionaryFolder, fetch: Callable[[str], bytes] | None) -> None:
        self.folder = folder
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._tried_at = float("-inf")

    def want(self, missing: Sequence[bytes]) -> None:
        """Begin to fetch what is missing, unless that is under way or has just failed; returns at once."""
        now = clock.monotonic()
        if not missing or self._fetch is None or now - self._tried_at < TRY_AGAIN_S:
            return
        if self._thread is None or not self._thread.is_alive():
            self._tried_at = now
            self._thread = threading.Thread(target=self._run, args=(tuple(missing[:MOST_KEPT]),), name="fetch-dictionary", daemon=True)
            self._thread.start()

    def _run(self, missing: tuple[bytes, ...]) -> None:
        for digest in reversed(missing):  # the newest last, as it is the one put in front
            try:
                if self._fetch is not None:
                    self.folder.put(read_dictionary(self._fetch(digest.hex()), digest))
                    log.get("dictionaries").info(FETCHED, digest=digest.hex())
            except TerraceError as error:
                log.get("dictionaries").info(NOT_FETCHED, digest=digest.hex(), reason=error.message)
