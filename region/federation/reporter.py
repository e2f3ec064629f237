"""What a region says of itself to the cloud every few seconds: counts of its vault, its devices and their releases.

The devices come from the daemon's status socket, the counts from the vault's file; both are numbers and names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from region.summary import compose
from region.vault import Vault
from shared import log
from shared.clock import Clock
from shared.errors import LinkError, TerraceError
from shared.link.https import HttpsClient
from shared.wire.reports import encode_report

INTERVAL_S = 2.0
UNSENT = "fleet_report_unsent"


class Reporter:
    """Posts a fleet report again and again.

    Args:
        https: to the cloud.
        counts: the vault's counts by split (`cases_of`).
        status: the daemon's status, as its socket gives it; may raise LinkError.
        clock: wall time.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(
        self,
        https: HttpsClient,
        *,
        counts: Callable[[], Mapping[str, int]],
        status: Callable[[], Mapping[str, Any]],
        clock: Clock,
        pause: Callable[[float], bool],
    ) -> None:
        self._https = https
        self._counts = counts
        self._status = status
        self._clock = clock
        self._pause = pause
        self._logger = log.get("reporter")

    def run(self) -> None:
        """Report until the process is to stop; a cloud that is away is tried again at the next turn."""
        while self._pause(INTERVAL_S):
            try:
                self.once()
            except TerraceError as error:
                self._logger.warning(UNSENT, error=error.message)

    def once(self) -> None:
        """Send one report.

        Raises:
            LinkError: the cloud cannot be reached or refuses it.
        """
        try:
            status = self._status()
        except LinkError:
            status = {}  # the daemon is starting; the vault's counts are worth telling all the same
        report = compose(self._counts(), status, now=self._clock())
        response = self._https.post("/v1/reports", encode_report(report), "application/json")
        if response.status >= 400:
            raise LinkError(f"the cloud answered {response.status} to a fleet report.")


def cases_of(vault: Vault) -> dict[str, int]:
    """Return counts from the vault's file: `stored`, `answered`, and answered cases of `train` and `evaluation`."""
    rows = vault.database.rows("SELECT part, count(*), sum(answered_at IS NOT NULL) FROM cases GROUP BY part")
    counts = {"stored": sum(row[1] for row in rows), "answered": sum(row[2] for row in rows)}
    return {**counts, **{row[0]: row[2] for row in rows}}
