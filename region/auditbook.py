"""What was found of devices that may leave audit samples out, beside the cases in the vault's file, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Mapping

from region.database import Database
from region.omissions import Omitted

_ADD = """
INSERT INTO omissions (device, drawn, missing, expected, unjudged) VALUES (?, ?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET
drawn = drawn + excluded.drawn, missing = missing + excluded.missing, expected = expected + excluded.expected,
unjudged = unjudged + excluded.unjudged
"""


class AuditBook:
    """The table.

    Args:
        database: the vault's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, found: Mapping[str, Omitted]) -> None:
        """Add what was found, by device.

        Raises:
            StorageError: nothing was added.
        """
        with self._database.transaction() as connection:
            connection.executemany(_ADD, [(name, one.drawn, one.missing, one.expected, one.unjudged) for name, one in found.items()])

    def read(self) -> dict[str, Omitted]:
        """Return what was found since the vault was made, by device.

        Raises:
            StorageError: the vault cannot be read.
        """
        rows = self._database.rows("SELECT device, drawn, missing, expected, unjudged FROM omissions")
        return {row[0]: Omitted(drawn=row[1], missing=row[2], expected=row[3], unjudged=row[4]) for row in rows}
