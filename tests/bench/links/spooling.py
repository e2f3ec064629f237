"""How many 30 KB cases a second the spool makes durable, in the groups in which the device writes them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from edge.spooling import GROUP
from shared.link.spool import NewCase, Spool

CASES, BYTES = 1600, 30 << 10


def items_per_s(place: Path) -> float:
    """Append cases to a spool in `place`; a group is on the disk when the next one begins."""
    payloads = [os.urandom(BYTES) for _ in range(GROUP)]
    with tempfile.TemporaryDirectory(prefix="terrace-bench-", dir=place) as folder:
        spool = Spool(Path(folder) / "spool.db", Path(folder) / "spool.key", 1 << 30)
        spool.start()
        began = time.perf_counter()
        for _ in range(CASES // GROUP):
            spool.append_many([NewCase(payload=payload) for payload in payloads])
        taken = time.perf_counter() - began
        spool.stop()
    return CASES / taken
