"""Who copies a device's disk while it runs: there is no key of its epochs on it, and no picture in the clear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.wire.keys import EpochKeys
from tests.brokers import Site
from tests.regions import SmallRegion
from tests.unit.test_uplink import Device, case
from tests.waiting import until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    site.broker.start()
    yield site
    site.broker.stop()


def test_the_device_s_epoch_keys_never_touch_its_disk(site: Site, tmp_path: Path) -> None:
    region = SmallRegion(site).start()
    until(lambda: region.client.is_connected)
    region.announce()
    region.receipts_on = False  # cases stay in the spool
    folder = tmp_path / "device"
    device = Device(site, folder).start()
    payloads = [case(number) for number in range(20)]
    for payload in payloads:
        device.uplink.offer(payload, False, 0.5)
    device.wait(lambda: len(set(region.received)) == 20, "sent")
    secrets = [key for accepted, *_ in region.epochs.values() for key in _keys(accepted.keys)]
    device.stop()
    region.stop()
    held = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    assert len(held) > sum(len(payload) for payload in payloads)
    assert len(secrets) >= 3
    for secret in secrets:
        assert all(form not in held for form in (secret, secret.hex().encode(), secret[:16], secret[16:]))
    for payload in payloads:
        assert payload[-64:] not in held


def _keys(keys: EpochKeys) -> list[bytes]:
    return [keys.prk, keys.up, keys.audit]
