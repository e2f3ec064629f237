"""Deltas and desired states that are in the field go on to mean what they meant."""

from __future__ import annotations

import json

import pytest

from shared.release import delta
from shared.release.desired import cohort_position, decode_desired, encode_desired
from tests.golden import releases

GOLDEN = json.loads(releases.FILE.read_text(encoding="ascii"))


@pytest.mark.parametrize("name", releases.PAIRS)
def test_a_committed_delta_still_rebuilds(name: str) -> None:
    old, new = releases.PAIRS[name]
    container = bytes.fromhex(GOLDEN["deltas"][name])
    assert delta.NAMES[delta.read_header(container).codec] == name
    assert delta.apply(old, container, expect_sha256=delta.digest(new).hex(), limit_bytes=len(new)) == new


def test_a_desired_state_is_written_and_read_as_committed() -> None:
    assert encode_desired(releases.DESIRED).decode() == GOLDEN["desired"]
    assert decode_desired(GOLDEN["desired"].encode()) == releases.DESIRED


def test_a_device_stands_where_it_stood() -> None:
    assert cohort_position("s", "edge-1.region-1") == pytest.approx(GOLDEN["position"], abs=0)
