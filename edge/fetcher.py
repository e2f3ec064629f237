"""Fetching beside the uplink: one slow request at a time, on a thread of its own, its result handed back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared import log
from shared.errors import TerraceError


class Fetcher:
    """Runs one fetch at a time.

    Args:
        fetch: does it; may block for seconds and raise a TerraceError.
        deliver: called with the result, on the fetch's thread.
    """

    def __init__(self, fetch: Callable[[], bytes], deliver: Callable[[bytes], None]) -> None:
        self._fetch = fetch
        self._deliver = deliver
        self._thread: threading.Thread | None = None

    def fetch(self) -> None:
        """Begin a fetch unless one is under way; returns at once."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fetch-key", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._deliver(self._fetch())
        except TerraceError as error:
            log.get("uplink").info("key_not_fetched", reason=error.message)
