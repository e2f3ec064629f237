"""What the envelope costs: seal and open 30 KB in one call and in chunks, with every suite; bytes of an opening with either KEM.

And bytes of real detections and telemetry, with a dictionary learned from earlier ones, against compact JSON.

Within an epoch, codec none. `seal_us_30kb` and `open_us_30kb` are AES-256-GCM, one call.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.wire import kem
from shared.wire.chunks import split
from shared.wire.compression import Compressor
from shared.wire.dictionary import train
from shared.wire.envelope import OVERHEAD_BYTES, SUITE_NAMES, SUITES, Opener, Sealer
from shared.wire.epoch import open_epoch
from shared.wire.frame import Part, pack
from shared.wire.keys import EpochKeys
from shared.wire.messages import SCHEMA, Case, KeyAnnouncement, Kind, Telemetry, Terms, encode
from shared.wire.shelf import Shelf
from tests.bench.links.said import as_json, detections, telemetries
from tests.bench.result import Result, conditions
from tests.unit.pki_fleet import fleet, identities

PAYLOAD = os.urandom(30 << 10)


def run(*, full: bool) -> Result:
    """Measure; `full` takes ten times as many samples."""
    times = 10 if full else 1
    figures: dict[str, float] = {}
    for suite, name in SUITE_NAMES.items():
        figures |= _envelope(suite, name.lower().replace("-", "_"), times)
    alone = SUITES[1](bytes(32))
    figures["aes_256_gcm_alone_us_30kb"] = _median_us(lambda: alone.encrypt(bytes(12), PAYLOAD, bytes(28)), 500 * times)
    figures["envelope_overhead_bytes"] = float(len(_sealer(1).seal(Kind.CASE, PAYLOAD, sequence=1)) - len(PAYLOAD))
    figures |= {"open_bytes": _opening(kem.X25519), "open_bytes_mlkem768_x25519": _opening(kem.HYBRID)}
    for kind, messages, learned_from in ((Kind.CASE, detections(60), 360), (Kind.TELEMETRY, telemetries(1200), 800)):
        figures |= _against_json(kind, messages, learned_from)
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


def _against_json(kind: Kind, messages: Sequence[Case | Telemetry], learned_from: int) -> dict[str, float]:
    """Return bytes per message over compact JSON's: alone, and sixteen in a frame with envelope and part headers; and what it costs."""
    dictionary = train([kind, Kind.FRAME], [encode(message) for message in messages[:learned_from]])
    compressor, reads = Compressor(clock=time.perf_counter, shelf=Shelf([dictionary])), [dictionary.digest]
    said = messages[learned_from:][: 16 * ((len(messages) - learned_from) // 16)]
    json = sum(len(as_json(message)) for message in said)
    for message in said[:64]:
        compressor.compress(kind, encode(message), reads=reads)  # every way is tried once
    alone = sum(len(compressor.compress(kind, encode(message), reads=reads)[1]) for message in said)
    frames = [pack([Part(kind=kind, payload=encode(one)) for one in said[start : start + 16]]) for start in range(0, len(said), 16)]
    together = sum(OVERHEAD_BYTES + len(compressor.compress(Kind.FRAME, body, reads=reads)[1]) for body in frames)
    name = "detection" if kind is Kind.CASE else "telemetry"
    return {
        f"{name}_bytes_vs_json": round(alone / json, 4),
        f"{name}_bytes": round(alone / len(said), 1),
        f"{name}_json_bytes": round(json / len(said), 1),
        f"{name}_framed_bytes_vs_json": round(together / json, 4),
        f"{name}_compress_us": _median_us(lambda: compressor.compress(kind, encode(said[0]), reads=reads), 500),
    }


def _median_us(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1e6, 2)
