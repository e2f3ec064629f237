"""The registry's file with everyone's tables: what the daemon, the round worker and the commands open."""

from __future__ import annotations

from cloud import auditheads, baselines, fleet, mailbox, registry, rollout_book
from cloud.config import Settings
from cloud.database import Database


def open_registry(settings: Settings) -> Database:
    """Return the cloud's database with everyone's tables, not yet started."""
    return Database(
        settings.registry_path, [registry.SCHEMA, fleet.SCHEMA, mailbox.SCHEMA, rollout_book.SCHEMA, baselines.SCHEMA, auditheads.SCHEMA]
    )
