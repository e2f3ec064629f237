"""How devices did lately: the newest audit samples of each release, which a newer release is compared with.

Reports count from the beginning, and what a camera saw last winter says nothing of today: a release that was good before the drift and
poor since would look better than it is. So marks of the counts are kept on the way, and the difference to a mark is what is recent.

Rules, in order:
1. A mark is written when a device has answered `STEP` samples on a release since the last one.
2. Recent is what came after the newest mark that lies at least `most` samples back; everything where there is none.
3. Marks further back than that are deleted; so are those of counts that have started anew.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloud.database import Database
from shared.wire.reports import ReleaseAudit

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit_marks (
  device TEXT NOT NULL, release INTEGER NOT NULL, audited INTEGER NOT NULL, agreed INTEGER NOT NULL,
  PRIMARY KEY (device, release, audited)
) WITHOUT ROWID;
"""
STEP = 50


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Audit samples answered, and those where student and expert said the same."""

    audited: int = 0
    agreed: int = 0


class Baselines:
    """The marks in the cloud's file.

    Args:
        database: the file; must have `SCHEMA`.
        most: how many samples are recent.
    """

    def __init__(self, database: Database, *, most: int) -> None:
        self._database = database
        self._most = most
        self._marked: dict[tuple[str, int], int] = {}

    def note(self, device: str, audits: Iterable[ReleaseAudit]) -> None:
        """Write the marks that are due for a device.

        Args:
            device: its full name.
            audits: its counts by release, as last reported.
        """
        for audit in audits:
            known = self._marked.get((device, audit.release))
            if known is not None and known <= audit.audited < known + STEP:
                continue
            marks = self._marks(device, audit.release)
            if marks and marks[-1].audited > audit.audited:
                self._forget(device, audit.release)
                marks = []
            is_due = not marks or audit.audited >= marks[-1].audited + STEP
            if is_due:
                self._write(device, audit)
            self._marked[device, audit.release] = audit.audited if is_due else marks[-1].audited

    def recent(self, device: str, audit: ReleaseAudit | None) -> Counts:
        """Return a device's newest counts on a release; nothing where it has none."""
        if audit is None:
            return Counts()
        far = [mark for mark in self._marks(device, audit.release) if mark.audited <= audit.audited - self._most]
        start = far[-1] if far else Counts()
        return Counts(audited=audit.audited - start.audited, agreed=max(audit.agreed - start.agreed, 0))

    def _marks(self, device: str, release: int) -> list[Counts]:
        rows = self._database.rows(
            "SELECT audited, agreed FROM audit_marks WHERE device = ? AND release = ? ORDER BY audited", (device, release)
        )
        return [Counts(audited=row["audited"], agreed=row["agreed"]) for row in rows]

    def _write(self, device: str, audit: ReleaseAudit) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO audit_marks VALUES (?, ?, ?, ?)", (device, audit.release, audit.audited, audit.agreed)
            )
            connection.execute(
                """DELETE FROM audit_marks WHERE device = ? AND release = ? AND audited <
                     (SELECT MAX(audited) FROM audit_marks WHERE device = ? AND release = ? AND audited <= ?)""",
                (device, audit.release, device, audit.release, audit.audited - self._most),
            )

    def _forget(self, device: str, release: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM audit_marks WHERE device = ? AND release = ?", (device, release))
