"""Golden bytes of the wire: every message, sealed envelopes of every suite, the derived keys, and openings of both KEMs.

`python -m tests.golden.wire` writes tests/golden/wire.json anew; do that only when the protocol is meant to change, and say so in the
commit: devices in the field speak the old bytes. Openings carry fresh randomness: written once, they are then only read back.

wire-1.json holds the bytes of schema 1 and is never written again (tests/golden/test_evolution.py). When the schema is raised, the
current file is first kept beside it under its number.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from shared.wire import announce, epoch, frame, kem, messages
from shared.wire.compression import ZSTD_DICTIONARY, Compressor
from shared.wire.dictionary import Dictionary, train
from shared.wire.envelope import SUITES, Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import Kind, encode
from shared.wire.replay import ReplayWindow
from shared.wire.shelf import Shelf
from tests.certificates import Signer

FILE = Path(__file__).with_name("wire.json")
PREDICTION = messages.Prediction(index=3, probabilities=(0.0625, 0.125, 0.0625, 0.75))
SPOOL_ID = bytes(range(16))
KEYS = EpochKeys.from_prk(bytes(range(32)))

COUNTS = messages.StreamCounts(stream="line-1", frames=100, dropped=1, kept=90, deferred=7, audited=2, last_frame=106)
LIVE = messages.LiveWord(
    risk=0.015625,
    low=0.0078125,
    high=0.03125,
    audited=512,
    is_censored=True,
    threshold=1.5,
    epsilon=0.02,
    debt=0.0078125,
    drift="steady",
    budget_use=0.75,
    held_back=12,
    missing=3,
    pending=2,
    budget_bytes_per_s=2000.0,
)
COMPARED = messages.ComparedWord(release=7, compared=300, lost=12, won=9)
MESSAGES: tuple[msgspec.Struct, ...] = (
    PREDICTION,
    messages.Picture(codec="webp", width=96, height=96, data=b"RIFF...."),
    messages.Case(
        stream="line-1",
        frame=4711,
        unit="board-00042",
        captured_at=1_800_000_000.25,
        reason="margin",
        is_audit=False,
        score=0.125,
        threshold=0.5,
        release=7,
        prediction=PREDICTION,
        picture=messages.Picture(codec="webp", width=96, height=96, data=bytes(range(64))),
    ),
    COUNTS,
    messages.Telemetry(
        at=1_800_000_000.5,
        floor=65_540,
        release=7,
        update_state="idle",
        streams=(COUNTS,),
        spool_cases=3,
        spool_bytes=6000,
        evicted=1,
        cases_sent=9,
        latency_ms_p50=2.5,
        audit_share=0.0625,
        audits_lost=1,
        live=LIVE,
        compared=COMPARED,
    ),
    LIVE,
    COMPARED,
    messages.UpdateReport(
        at=1.5, model="student", release=8, from_release=7, state="committed", reason="", bytes_fetched=4096, by_delta=True
    ),
    messages.Receipt(vault_id="vault-a", spool_id=SPOOL_ID, ranges=((1, 4), (9, 9)), credit=128),
    messages.Answer(spool_id=SPOOL_ID, sequence=4, prediction=PREDICTION, expert_release=2, at=1.75),
    messages.Credit(limit=128),
    messages.Command(name="preview", argument="line-1"),
    messages.KeyAnnouncement(
        region="region-1",
        vault_id="vault-a",
        key_id="k1",
        kem="x25519",
        public=bytes(32),
        not_before=1,
        not_after=2,
        serial=3,
        schema=2,
        dictionaries=(bytes(range(32)),),
    ),
    messages.Boxes(places=bytes(range(16)), scores=b"\xff\xff\x00\x80", classes=bytes([1, 0, 2, 0]), tracks=bytes(range(8))),
    messages.Mask(width=4, height=2, runs=bytes([5, 0, 0, 0, 3, 0, 1, 0])),
    messages.Crop(x=16, y=32, width=64, height=48, of_width=640, of_height=480),
    messages.Terms(schema=2, is_padded=True, dictionaries=(bytes(range(32)),)),
)
TELEMETRY = encode(next(message for message in MESSAGES if isinstance(message, messages.Telemetry)))
FRAME = (
    frame.Part(kind=Kind.TELEMETRY, payload=b"telemetry"),
    frame.Part(kind=Kind.CASE, sequence=65_540, payload=b"a small case"),
    frame.Part(kind=Kind.UPDATE_REPORT, payload=b""),
)


def a_dictionary() -> Dictionary:
    """Return a dictionary learned from telemetry like the one above."""
    telemetry = next(message for message in MESSAGES if isinstance(message, messages.Telemetry))
    samples = [encode(msgspec.structs.replace(telemetry, at=1_800_000_000.5 + i, floor=65_540 + i, spool_cases=i % 17)) for i in range(100)]
    return train([Kind.TELEMETRY], samples)


def with_dictionary(dictionary: Dictionary) -> bytes:
    """Return the telemetry above, compressed with a dictionary."""
    compressor = Compressor(clock=float, shelf=Shelf([dictionary]))
    coded = [compressor.compress(Kind.TELEMETRY, TELEMETRY, reads=[dictionary.digest]) for _ in range(16)]
    return next(data for codec, data in coded if codec == ZSTD_DICTIONARY)


def fixed() -> dict[str, str]:
    """Return the goldens that follow from constants alone, hexadecimal."""
    window = ReplayWindow()
    for counter in (0, 1, 3, 1030):
        window.add(counter)
    found = {f"message {type(message).__name__}": encode(message) for message in MESSAGES}
    for suite in SUITES:
        sealer = Sealer(KEYS, epoch=0x0123456789ABCDEF, suite=suite)
        sealer.seal(Kind.TELEMETRY, b"the first counter is 0")
        found[f"envelope up, suite {suite}"] = sealer.seal(Kind.CASE, b"payload", sequence=65_540, index=1, count=3)
        below = Sealer(KEYS, epoch=0x0123456789ABCDEF, suite=suite, instance=0xFEDCBA9876543210)
        found[f"envelope down, suite {suite}"] = below.seal(Kind.RECEIPT, b"payload", codec=1)
        filled = Sealer(KEYS, epoch=0x0123456789ABCDEF, suite=suite, is_padded=True)
        found[f"envelope filled, suite {suite}"] = filled.seal(Kind.TELEMETRY, b"payload", codec=1)
    found["frame"] = frame.pack(FRAME)
    found |= {"key up": KEYS.up, "key audit": KEYS.audit, "key down 7": KEYS.down(7), "replay window": window.to_bytes()}
    compressor = Compressor(clock=float)
    found["zstd telemetry, read only"] = compressor.compress(Kind.TELEMETRY, b"telemetry " * 20)[1]
    found["dictionary, read only"] = encode(a_dictionary())
    found["zstd telemetry with the dictionary, read only"] = with_dictionary(a_dictionary())
    return {name: data.hex() for name, data in found.items()}


def openings() -> dict[str, dict[str, str]]:
    """Return one opening per KEM with what a region needs to accept it, and one signed announcement."""
    device, server = Signer("edge-1.region-1"), Signer("server.region-1")
    found = {}
    for name in kem.KEMS:
        private, public = kem.new_key(name)
        announcement = messages.KeyAnnouncement(
            region="region-1",
            vault_id="vault-a",
            key_id="k1",
            kem=name,
            public=public,
            not_before=1_800_000_000,
            not_after=1_800_086_400,
            serial=3,
        )
        opening = epoch.open_epoch(
            announcement=announcement,
            device=device.common_name,
            spool_id=SPOOL_ID,
            suite=1,
            identity_chain=device.chain,
            signer=device.sign,
            random=os.urandom,
            terms=messages.NEWEST,
        )
        found[name] = {
            "announcement": announce.sign_announcement(announcement, server.sign, server.chain).hex(),
            "open": opening.data.hex(),
            "private": private.hex(),
            "prk": opening.keys.prk.hex(),
            "epoch": f"{opening.epoch_id:016x}",
        }
    return found


def main() -> None:
    """Write the goldens anew."""
    FILE.write_text(json.dumps({"fixed": fixed(), "openings": openings()}, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
