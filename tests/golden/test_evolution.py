"""The rule of evolution, tried on the bytes of schema 1: new code reads old bytes, and old code reads new bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from shared.wire import announce, epoch, messages
from shared.wire.compression import ZSTD, decompress
from shared.wire.envelope import SUITES, Opener
from shared.wire.messages import Kind
from tests.certificates import Peer
from tests.golden import wire

BEFORE = json.loads(Path(__file__).with_name("wire-1.json").read_text(encoding="ascii"))
NOW = {type(message).__name__: message for message in wire.MESSAGES}
OLD = [name.removeprefix("message ") for name in BEFORE["fixed"] if name.startswith("message ")]


def old_bytes(name: str) -> bytes:
    return bytes.fromhex(BEFORE["fixed"][f"message {name}"])


def is_kept(old: object, new: object) -> bool:
    """Whether every value stands where it stood, in messages within messages too; what was appended stands behind."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) <= len(new) and all(is_kept(*pair) for pair in zip(old, new, strict=False))
    return old == new


@pytest.mark.parametrize("name", OLD)
def test_old_bytes_decode_to_the_same_with_defaults_for_what_is_new(name: str) -> None:
    kind = type(NOW[name])
    decoded = messages.decode(kind, old_bytes(name))
    fields = len(msgspec.msgpack.decode(old_bytes(name)))
    assert is_kept(msgspec.msgpack.decode(old_bytes(name)), msgspec.msgpack.decode(messages.encode(decoded)))
    defaults = dict(zip(kind.__struct_fields__[::-1], kind.__struct_defaults__[::-1], strict=False))
    for field in kind.__struct_fields__[fields:]:
        assert getattr(decoded, field) == defaults[field], f"{name}.{field} was added and has no default"


@pytest.mark.parametrize("name", OLD)
def test_old_code_reads_new_bytes(name: str) -> None:
    """Schema 1's struct is today's, cut off after as many fields as its golden has."""
    kind = type(NOW[name])
    fields = len(msgspec.msgpack.decode(old_bytes(name)))
    old = msgspec.defstruct(name, [(field.name, field.type) for field in msgspec.structs.fields(kind)[:fields]], array_like=True)
    decoded = msgspec.msgpack.decode(messages.encode(NOW[name]), type=old)
    for field in old.__struct_fields__:
        assert getattr(decoded, field) == getattr(NOW[name], field)


def test_no_kind_number_has_changed_its_meaning() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "OPEN": 1, "CASE": 2, "TELEMETRY": 3, "UPDATE_REPORT": 4, "FRAME": 5, "HELD_CASE": 6,
        "RECEIPT": 16, "ANSWER": 17, "CREDIT": 18, "COMMAND": 19,
    }  # fmt: skip


@pytest.mark.parametrize("suite", SUITES)
def test_old_envelopes_open(suite: int) -> None:
    opener = Opener(wire.KEYS, epoch=0x0123456789ABCDEF, suite=suite)
    assert opener.open(bytes.fromhex(BEFORE["fixed"][f"envelope up, suite {suite}"])).payload == b"payload"


def test_old_compression_is_read() -> None:
    assert decompress(ZSTD, bytes.fromhex(BEFORE["fixed"]["zstd telemetry, read only"])) == b"telemetry " * 20


@pytest.mark.parametrize("name", BEFORE["openings"])
def test_an_old_device_opens_an_epoch_and_is_spoken_to_in_its_own_schema(name: str) -> None:
    golden = {key: bytes.fromhex(value) for key, value in BEFORE["openings"][name].items()}

    def verify(chain: Sequence[bytes]) -> Peer:
        return Peer("edge-1.region-1", "region-1")

    accepted = epoch.accept_open(
        golden["open"],
        private_keys={"k1": golden["private"]},
        region="region-1",
        vault_id="vault-a",
        suites=(1,),
        verify=verify,
        topic_device="edge-1.region-1",
    )
    assert (accepted.prk, accepted.terms) == (golden["prk"], messages.OLDEST)
    found = announce.verify_announcement(golden["announcement"], verify=verify, region="region-1", now=1_800_000_100.0, lowest_serial=3)
    assert (found.schema, found.dictionaries) == (1, ())
