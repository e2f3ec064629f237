"""Our way of sending, as a process: the device's real spool and uplink. `python -m tests.bench.links.ours SITE NAME`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edge.uplink import Uplink, UplinkSettings
from shared import log
from shared.identity.store import Identity
from shared.link.spool import NewCase, Spool
from shared.wire.messages import Case, Telemetry, encode
from tests.bench.links.driving import Driver, Stored
from tests.bench.links.shaped import ADDRESSES
from tests.bench.links.site import PORT
from tests.waiting import until

CAPACITY_BYTES = 1 << 30


class TimedSpool(Spool):
    """A spool that tells when a receipt asks it to let cases go."""

    on_stored: Stored = staticmethod(lambda sequence, at: None)

    def remove(self, sequences: Iterable[int]) -> int:
        """Note the time, then remove."""
        asked, at = list(sequences), time.monotonic()
        for sequence in asked:
            self.on_stored(sequence, at)
        return super().remove(asked)


class OurSender:
    """Spool, uplink, broker, intake, vault, receipt.

    Args:
        folder: the device's state.
        identity: the device's.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._spool = TimedSpool(folder / "spool.db", folder / "spool.key", CAPACITY_BYTES)
        self._folder, self._identity = folder, identity
        self._uplink: Uplink | None = None

    def start(self, on_stored: Stored, on_announcement: Callable[[float], None]) -> None:
        """Open the spool and wait for the first epoch."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._spool.on_stored = on_stored
        self._spool.start()
        uplink = self._uplink = Uplink(
            settings=UplinkSettings(host=ADDRESSES["region"], port=PORT), identity=self._identity, spool=self._spool,
            state=self._folder, telemetry=telemetry, on_answer=lambda answer: None,
            on_refresh=lambda: on_announcement(time.monotonic()),
        )  # fmt: skip
        uplink.start()
        until(lambda: uplink.status()["connected"], "the first epoch", within_s=60)

    def offer(self, cases: Sequence[Case], *, is_urgent: bool = False) -> list[int]:
        """Make cases durable; the uplink sends them. An urgent one is an audit sample, which goes before hard cases."""
        assert self._uplink is not None
        group = [NewCase(payload=encode(case), is_audit=is_urgent, value=1.0) for case in cases]
        return [sequence for sequence in self._uplink.offer_many(group) if sequence is not None]

    def stop(self) -> None:
        """End uplink and spool."""
        if self._uplink is not None:
            self._uplink.stop()
        self._spool.stop()


def telemetry() -> Telemetry:
    """Return what a device without cameras says of itself."""
    return Telemetry(at=time.time(), floor=0, release=1, update_state="idle", streams=(), spool_cases=0, spool_bytes=0)


if __name__ == "__main__":
    log.configure(level="warning")
    site, name = Path(sys.argv[1]), sys.argv[2]
    Driver(OurSender(site / f"{name}.ours", Identity.load(site / name))).serve()
