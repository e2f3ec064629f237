"""A device under faults, as a process: `python -m tests.bench.links.sending IDENTITY STATE JOURNAL SEED PER_S`.

The device's real spool and uplink. Every case the spool has called durable is written to the journal, after the fact; a kill in between
leaves a durable case unwritten, never one written that is not durable. PER_S 0 sends what waits and makes nothing new.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge.uplink import Uplink, UplinkSettings
from shared import log
from shared.errors import StorageError
from shared.identity.store import Identity
from shared.link.spool import Appended, NewCase, Spool
from shared.wire.messages import Case, decode, encode
from tests.bench.links.marks import Marked
from tests.bench.links.ours import telemetry
from tests.bench.links.shaped import ADDRESSES
from tests.bench.links.site import PORT

CAPACITY_BYTES = 48 << 20


class JournalledSpool(Spool):
    """A spool whose durable cases are written down.

    Args:
        folder: for spool and key.
        journal: what is appended to; it lies on another disk.
    """

    def __init__(self, folder: Path, journal: Path) -> None:
        super().__init__(folder / "spool.db", folder / "spool.key", CAPACITY_BYTES)
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append_many(self, cases: Sequence[NewCase]) -> Appended:
        """Append, then write down what is durable."""
        appended = super().append_many(cases)
        if getattr(appended, "is_durable", True):
            for case, sequence in zip(cases, appended.sequences, strict=True):
                if sequence is not None:
                    unit = decode(Case, case.payload).unit
                    os.write(self._journal, f"{self.spool_id.hex()} {sequence} {unit}\n".encode())
        return appended


def main(identity: Identity, state: Path, journal: Path, seed: int, per_s: float) -> None:
    """Send until killed."""
    marked, name, chance = Marked(seed), identity.peer.common_name, random.Random()
    state.mkdir(parents=True, exist_ok=True)
    (state / "spool").mkdir(exist_ok=True)
    spool = JournalledSpool(state / "spool", journal)
    spool.start()
    uplink = Uplink(
        settings=UplinkSettings(host=ADDRESSES["region"], port=PORT), identity=identity, spool=spool, state=state,
        telemetry=telemetry, on_answer=lambda answer: None,
    )  # fmt: skip
    uplink.start()
    number = 0
    while True:
        time.sleep(1 / per_s if per_s else 1.0)  # the load's pace, until killed
        if per_s:
            case = marked.case(name, number, secrets.token_hex(8))
            number += 1
            try:
                uplink.offer(encode(case), is_audit=case.is_audit, value=chance.random())
            except StorageError:
                continue  # refused, so not accepted


if __name__ == "__main__":
    log.configure(level="info")
    main(Identity.load(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
