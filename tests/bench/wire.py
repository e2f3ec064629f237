"""What the envelope costs: seal and open 30 KB in one call and in chunks, with every suite; bytes of an opening with either KEM.

Within an epoch, codec none. `seal_us_30kb` and `open_us_30kb` are AES-256-GCM, one call.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.wire import kem
from shared.wire.chunks import split
from shared.wire.envelope import SUITE_NAMES, Opener, Sealer
from shared.wire.epoch import open_epoch
from shared.wire.keys import EpochKeys
from shared.wire.messages import SCHEMA, KeyAnnouncement, Kind, Terms
from tests.bench.result import Result, conditions
from tests.unit.pki_fleet import fleet, identities

PAYLOAD = os.urandom(30 << 10)


def run(*, full: bool) -> Result:
    """Measure; `full` takes ten times as many samples."""
    times = 10 if full else 1
    figures: dict[str, float] = {}
    for suite, name in SUITE_NAMES.items():
        figures |= _envelope(suite, name.lower().replace("-", "_"), times)
    figures["envelope_overhead_bytes"] = float(len(_sealer(1).seal(Kind.CASE, PAYLOAD, sequence=1)) - len(PAYLOAD))
    figures |= {"open_bytes": _opening(kem.X25519), "open_bytes_mlkem768_x25519": _opening(kem.HYBRID)}
    return Result(name="wire", figures=figures, conditions=conditions(payload_bytes=float(len(PAYLOAD))))


def _sealer(suite: int) -> Sealer:
    return Sealer(EpochKeys.from_prk(bytes(32)), epoch=1, suite=suite)


def _envelope(suite: int, name: str, times: int) -> dict[str, float]:
    sealer, opener = _sealer(suite), Opener(EpochKeys.from_prk(bytes(32)), epoch=1, suite=suite)

    def seal_chunks() -> list[bytes]:
        parts = split(PAYLOAD)
        return [sealer.seal(Kind.CASE, part, sequence=1, index=index, count=len(parts)) for index, part in enumerate(parts)]

    sealed, chunks = sealer.seal(Kind.CASE, PAYLOAD, sequence=1), seal_chunks()
    suffix = "" if suite == 1 else f"_{name}"
    return {
        f"seal_us_30kb{suffix}": _median_us(lambda: sealer.seal(Kind.CASE, PAYLOAD, sequence=1), 500 * times),
        f"open_us_30kb{suffix}": _median_us(lambda: opener.open(sealed), 500 * times),
        f"seal_us_30kb_two_chunks{suffix}": _median_us(seal_chunks, 500 * times),
        f"open_us_30kb_two_chunks{suffix}": _median_us(lambda: [opener.open(data) for data in chunks], 500 * times),
    }


def _opening(name: str) -> float:
    """Return the bytes of an opening by a device whose chain is as the provisioning makes it: leaf and the region's device CA."""
    with tempfile.TemporaryDirectory() as folder:
        device = identities(Path(folder) / "identities", fleet(Path(folder) / "authority"))["edge"]
    announcement = KeyAnnouncement(
        region="region-1", vault_id=secrets.token_hex(16), key_id=secrets.token_hex(8), kem=name, public=kem.new_key(name)[1],
        not_before=0, not_after=1, serial=1, schema=SCHEMA,
    )  # fmt: skip
    opening = open_epoch(
        announcement=announcement, device=device.peer.common_name, spool_id=bytes(16), suite=1, identity_chain=device.chain,
        signer=device.sign, random=os.urandom, terms=Terms(schema=SCHEMA, dictionaries=(bytes(32), bytes(32))),
    )  # fmt: skip
    return float(len(opening.data))


def _median_us(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1e6, 2)
