"""The device's latest word on each model, kept across restarts and said again and again: soft state needs no receipt.

The region keeps the latest report per model as well, so saying one twice changes nothing and a lost one is made good.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from shared import log
from shared.wire.messages import UpdateReport

MOST_MODELS = 8


class Reports:
    """The latest report per model.

    Args:
        path: where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._latest: dict[str, UpdateReport] = {}

    def start(self) -> None:
        """Read what an earlier process left; a damaged file is as good as none, since the updater reports again."""
        try:
            reports = msgspec.msgpack.decode(self._path.read_bytes(), type=list[UpdateReport])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.get("reports").warning("reports_unreadable", file=str(self._path), error=str(error))
            return
        self._latest = {report.model: report for report in reports[:MOST_MODELS]}

    def put(self, report: UpdateReport) -> None:
        """Keep a report in place of the model's earlier one, durably where the disk allows it."""
        with self._lock:
            self._latest.pop(report.model, None)
            self._latest[report.model] = report
            while len(self._latest) > MOST_MODELS:
                del self._latest[next(iter(self._latest))]
            try:
                self._write(msgspec.msgpack.encode(list(self._latest.values())))
            except OSError as error:
                log.get("reports").warning("reports_not_kept", file=str(self._path), error=str(error))

    def all(self) -> list[UpdateReport]:
        """Return the latest report of every model."""
        with self._lock:
            return list(self._latest.values())

    def _write(self, data: bytes) -> None:
        partial = self._path.with_name(self._path.name + ".new")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
