"""Signed heads of the regions' audit logs, kept here, one tier above: what their logs are verified against.

Rules, in order:
1. A head is kept when the key of the caller's own certificate signed it, for the caller's own node.
2. Heads only go forward. One that says fewer entries than before, or another hash for as many, is a break: it is kept aside, written into
   the cloud's audit log and alarmed until an operator accepts it. What was kept before stays.
"""

from __future__ import annotations

import base64

import msgspec

from cloud.database import Database
from cloud.records import AuditBreak
from shared import log
from shared.audit import AuditLog
from shared.errors import IdentityError
from shared.wire.audithead import KeptHead, SignedHead, keep

BROKEN, UNBELIEVED = "region.audit_broken", "audit_head_not_believed"
SCHEMA = """
CREATE TABLE IF NOT EXISTS audit_heads (
  region TEXT NOT NULL, count INTEGER NOT NULL, head BLOB NOT NULL, certificate BLOB NOT NULL, received_at REAL NOT NULL,
  PRIMARY KEY (region, count)
);
CREATE TABLE IF NOT EXISTS audit_breaks (
  region TEXT NOT NULL PRIMARY KEY, at REAL NOT NULL, kept_count INTEGER NOT NULL, said_count INTEGER NOT NULL
);
"""


class AuditHeads:
    """The heads in the registry's file.

    Args:
        database: the registry's.
        audit: the cloud's own audit log.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    def take(self, region: str, head: SignedHead, certificate: bytes, *, now: float) -> None:
        """Keep what a region says of its log; what cannot be believed is logged and left.

        Args:
            region: who calls, by its certificate.
            head: what it says.
            certificate: that certificate, DER.
            now: Unix seconds.
        """
        rows = self._database.rows("SELECT head FROM audit_heads WHERE region = ? ORDER BY count DESC LIMIT 1", (region,))
        last = msgspec.json.decode(rows[0]["head"], type=SignedHead) if rows else None
        if last is not None and last.head == head.head:
            return
        try:
            keep(head, certificate)
        except IdentityError as error:
            log.get("audit").warning(UNBELIEVED, region=region, error=str(error))
            return
        if last is not None and head.count <= last.count:
            self._break(region, last, head, now=now)
            return
        with self._database.transaction() as connection:
            values = (region, head.count, msgspec.json.encode(head), certificate, now)
            connection.execute("INSERT OR IGNORE INTO audit_heads VALUES (?, ?, ?, ?, ?)", values)

    def heads(self, region: str) -> list[KeptHead]:
        """Return a region's heads, oldest first."""
        rows = self._database.rows("SELECT head, certificate FROM audit_heads WHERE region = ? ORDER BY count", (region,))
        return [
            KeptHead(
                head=msgspec.json.decode(row["head"], type=SignedHead), certificate=base64.b64encode(row["certificate"]).decode()
            )
            for row in rows
        ]  # fmt: skip

    def breaks(self) -> list[AuditBreak]:
        """Return the breaks nobody has accepted yet."""
        rows = self._database.rows("SELECT * FROM audit_breaks ORDER BY region")
        return [AuditBreak(region=row["region"], at=row["at"], kept=row["kept_count"], said=row["said_count"]) for row in rows]

    def accept(self, region: str) -> bool:
        """Begin anew with a region whose log was replaced, its old heads forgotten; returns whether there was a break."""
        with self._database.transaction() as connection:
            found = connection.execute("DELETE FROM audit_breaks WHERE region = ?", (region,)).rowcount
            if found:
                connection.execute("DELETE FROM audit_heads WHERE region = ?", (region,))
        return bool(found)

    def _break(self, region: str, kept: SignedHead, said: SignedHead, *, now: float) -> None:
        with self._database.transaction() as connection:
            values = (region, now, kept.count, said.count)
            is_new = connection.execute("INSERT OR IGNORE INTO audit_breaks VALUES (?, ?, ?, ?)", values).rowcount
        if is_new:
            self._audit.append("the cloud", BROKEN, region, {"kept": kept.count, "said": said.count}, now=now)
