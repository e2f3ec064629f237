"""The file that says which region each waiting case belongs to, beside the spool; what it means is shared.link.ownership's."""

from __future__ import annotations

from pathlib import Path

from shared import durable, log
from shared.errors import ProtocolError, StorageError
from shared.link.ownership import Ownership, decode_record, encode_record

OWNERS_UNREADABLE = "owners_unreadable"


class OwnersFile:
    """The record in a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Ownership | None:
        """Return what was kept, None where there is nothing.

        Raises:
            StorageError: the file is there and cannot be read: a person decides, since guessing could give a case two effects.
        """
        try:
            return decode_record(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ProtocolError) as error:
            log.get("uplink").error(OWNERS_UNREADABLE, file=str(self._path), reason=str(error))
            remedy = "Restore it, or remove it if no other region than this device's own has its cases."
            raise StorageError(f"cannot read {self._path}: {error}", remedy) from error

    def keep(self, record: Ownership) -> None:
        """Keep a record, durably before this returns.

        Raises:
            StorageError: it cannot be written; the one before is still there.
        """
        durable.write(self._path, encode_record(record), mode=0o600)
