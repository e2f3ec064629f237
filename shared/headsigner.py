"""Signs the head of a node's own audit log every five minutes, when entries were added; and at the start.

Entries written after the last signed head and cut off before the next are not noticed: five minutes' worth at most.
"""

from __future__ import annotations

import os
from pathlib import Path

from shared.audit import AuditLog
from shared.errors import StorageError
from shared.wire.audithead import SignedHead, keep, sign_head, to_lines
from shared.wire.signed import Sign

EVERY_S = 300.0


class HeadSigner:
    """Keeps the newest signed head at hand.

    Args:
        audit: the node's log.
        node: its common name.
        certificate: its certificate, DER.
        sign: signs with the certificate's key.
        path: file each new head is added to as well; None: only `newest` has it.
    """

    def __init__(self, audit: AuditLog, *, node: str, certificate: bytes, sign: Sign, path: Path | None = None) -> None:
        self._audit, self._node, self._certificate, self._sign, self._path = audit, node, certificate, sign, path
        self._signed_at = float("-inf")
        self.newest: SignedHead | None = None

    def once(self, *, at: float) -> None:
        """Sign, if it is time and there is something new.

        Args:
            at: Unix seconds.

        Raises:
            StorageError: the log cannot be read, or the file not written; it is tried again at the next call.
        """
        if self._signed_at <= at < self._signed_at + EVERY_S:
            return
        head = self._audit.head()
        if head.count and (self.newest is None or self.newest.head != head):
            fresh = sign_head(head, node=self._node, at=at, sign=self._sign)
            self._add(fresh)
            self.newest = fresh
        self._signed_at = at

    def _add(self, head: SignedHead) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
                file.seek(file.read().rfind(b"\n") + 1)  # over a line that a crash cut off
                file.truncate()
                file.write(to_lines([keep(head, self._certificate)]))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"the audit head cannot be added to {self._path}: {error}.", "Free space, or correct its path.") from error
