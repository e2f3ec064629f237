"""A region without a broker, and two devices of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.identity.store import Identity
from tests.unit.pki_fleet import fleet, identities
from tests.unit.region_parts import Hall


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("pki")
    authority = fleet(folder / "authority")
    found = identities(folder / "identities", authority)
    return {**found, "second": Identity.load(authority.issue_device("region-1", "edge-2", destination=folder / "second"))}


@pytest.fixture
def hall(tmp_path: Path, people: dict[str, Identity]) -> Iterator[Hall]:
    hall = Hall(tmp_path, people["region"])
    yield hall
    hall.close()
