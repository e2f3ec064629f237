"""The egress record: every body this process sends to the cloud is kept as it was before TLS, one file per request.

For proof that no picture leaves the region (`terrace region egress` searches the files). Off unless `[cloud] egress_record` is set.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

Record = Callable[[str, str, bytes], None]


def recorder(folder: Path | None) -> Record | None:
    """Return the hook for HttpsClient, or None when nothing is to be kept."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    numbers = itertools.count()

    def record(method: str, path: str, body: bytes) -> None:
        name = f"{time.time_ns()}-{os.getpid()}-{next(numbers)}-{method}-{path.strip('/').replace('/', '_')[:80]}"
        (folder / name).write_bytes(body)

    return record
