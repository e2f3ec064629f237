"""A region without a broker, and a device of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.identity.store import Identity
from tests.unit.pki_fleet import fleet, identities
from tests.unit.region_parts import Device, Hall


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("pki")
    return identities(folder / "identities", fleet(folder / "authority"))


@pytest.fixture
def hall(tmp_path: Path, people: dict[str, Identity]) -> Iterator[Hall]:
    hall = Hall(tmp_path, people["region"])
    yield hall
    hall.close()


@pytest.fixture
def device(people: dict[str, Identity]) -> Device:
    return Device(people["edge"], people["region"])
