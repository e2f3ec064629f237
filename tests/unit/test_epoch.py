"""Opening an epoch and announcing the region's key: who is believed, and what each refusal is."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import IdentityError, ProtocolError, TrustError
from shared.wire import announce, epoch, kem
from shared.wire.envelope import Opener, Sealer
from shared.wire.messages import KeyAnnouncement, Kind, decode, encode
from shared.wire.signed import Signed
from tests.certificates import Signer, believe
from tests.examples import examples

DEVICE, SERVER, OTHER = Signer("edge-1.region-1"), Signer("server.region-1"), Signer("edge-2.region-1")
SPOOL = bytes(range(16))
NOW = 1_800_000_000


def announcement(public: bytes = b"", **changes: object) -> KeyAnnouncement:
    values = {
        "region": "region-1",
        "vault_id": "vault-a",
        "key_id": "k1",
        "kem": "x25519",
        "public": public,
        "not_before": NOW,
        "not_after": NOW + 86400,
        "serial": 5,
    }
    return KeyAnnouncement(**{**values, **changes})


def opened(name: str = "x25519", *, by: Signer = DEVICE, suite: int = 1, **changes: object) -> tuple[epoch.Opening, bytes]:
    private, public = kem.new_key(name)
    opening = epoch.open_epoch(
        announcement=announcement(public, kem=name, **changes),
        device="edge-1.region-1",
        spool_id=SPOOL,
        suite=suite,
        identity_chain=by.chain,
        signer=by.sign,
        random=os.urandom,
    )
    return opening, private


def accept(data: bytes, private: bytes, **changes: object) -> epoch.AcceptedEpoch:
    values = {
        "private_keys": {"k1": private},
        "region": "region-1",
        "vault_id": "vault-a",
        "suites": (1, 2, 3),
        "verify": believe(DEVICE, OTHER),
        "topic_device": "edge-1.region-1",
    }
    return epoch.accept_open(data, **{**values, **changes})


@pytest.mark.parametrize("name", kem.KEMS)
@pytest.mark.parametrize("suite", [1, 2, 3])
def test_both_sides_derive_the_same_keys(name: str, suite: int) -> None:
    opening, private = opened(name, suite=suite)
    accepted = accept(opening.data, private)
    assert accepted.keys == opening.keys
    assert (accepted.epoch_id, accepted.spool_id, accepted.suite) == (opening.epoch_id, SPOOL, suite)
    assert accepted.peer.common_name == "edge-1.region-1"
    sealed = Sealer(accepted.keys, epoch=accepted.epoch_id, suite=suite, instance=4).seal(Kind.CREDIT, b"c")
    assert Opener(opening.keys, epoch=opening.epoch_id, suite=suite, from_region=True).open(sealed).payload == b"c"


def test_an_open_is_short() -> None:
    assert len(opened("x25519")[0].data) < 1024  # with one small certificate; two of a real chain stay below 2 KB
    assert len(opened("mlkem768-x25519")[0].data) < 2200


def test_every_open_has_new_keys() -> None:
    assert opened()[0].keys != opened()[0].keys


def test_a_repeated_open_gives_the_same_keys_and_digest() -> None:
    opening, private = opened()
    assert accept(opening.data, private) == accept(opening.data, private)


def test_another_device_cannot_open_for_this_one() -> None:
    opening, private = opened(by=OTHER)
    with pytest.raises(IdentityError, match="edge-1"):
        accept(opening.data, private)
    with pytest.raises(IdentityError, match="edge-1"):
        accept(opening.data, private, topic_device="edge-2.region-1")


def test_a_stranger_cannot_open() -> None:
    opening, private = opened(by=Signer("edge-1.region-1"))
    with pytest.raises(IdentityError, match="unknown"):
        accept(opening.data, private)


def test_a_signature_by_another_key_is_refused() -> None:
    opening, private = opened()
    signed = msgspec.structs.replace(decode(Signed, opening.data), signature=OTHER.sign(b"something else"))
    with pytest.raises(IdentityError, match="signature"):
        accept(encode(signed), private)


def test_a_secret_wrapped_for_other_fields_does_not_open() -> None:
    """The wrapped secret of one opening, signed again by the device itself under other fields."""
    opening, private = opened()
    body = decode(epoch.OpenBody, decode(Signed, opening.data).body)
    fields = msgspec.structs.replace(decode(epoch.OpenFields, body.fields), suite=3)
    forged = encode(epoch.OpenBody(fields=encode(fields), wrapped=body.wrapped))
    with pytest.raises(ProtocolError, match="does not open"):
        accept(encode(epoch.sign(b"terrace/1/open", forged, signer=DEVICE.sign, chain=DEVICE.chain)), private)


@pytest.mark.parametrize("changes", [{"vault_id": "vault-b"}, {"private_keys": {}}])
def test_a_stale_vault_or_key_asks_for_the_hint(changes: dict[str, object]) -> None:
    opening, private = opened()
    with pytest.raises(epoch.StaleKeyError):
        accept(opening.data, private, **changes)


@pytest.mark.parametrize("changes", [{"region": "region-2"}, {"suites": (2, 3)}])
def test_another_region_or_a_suite_not_allowed_is_refused(changes: dict[str, object]) -> None:
    opening, private = opened()
    with pytest.raises(ProtocolError) as caught:
        accept(opening.data, private, **changes)
    assert not isinstance(caught.value, epoch.StaleKeyError)


def test_the_wrong_private_key_opens_nothing() -> None:
    opening, _ = opened()
    with pytest.raises(ProtocolError, match="does not open"):
        accept(opening.data, kem.new_key()[0])


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_open_nothing(data: bytes) -> None:
    with pytest.raises((ProtocolError, IdentityError)):
        accept(data, bytes(32))


def verified(data: bytes, **changes: object) -> KeyAnnouncement:
    values = {"verify": believe(SERVER), "region": "region-1", "now": NOW + 60.0, "lowest_serial": 5}
    return announce.verify_announcement(data, **{**values, **changes})


def signed_announcement(**changes: object) -> bytes:
    return announce.sign_announcement(announcement(b"p" * 32, **changes), SERVER.sign, SERVER.chain)


def test_the_regions_announcement_is_believed() -> None:
    assert verified(signed_announcement()) == announcement(b"p" * 32)


@pytest.mark.parametrize(
    ("changes", "asked", "error"),
    [
        ({"serial": 4}, {}, TrustError),
        ({"region": "region-2"}, {}, IdentityError),
        ({"not_after": NOW + 8 * 86400}, {}, TrustError),
        ({"not_after": NOW + 10}, {}, TrustError),
        ({"not_before": NOW + 3600}, {}, TrustError),
        ({"kem": "rot13"}, {}, TrustError),
        ({}, {"verify": believe(DEVICE)}, IdentityError),
        ({}, {"region": "region-2"}, IdentityError),
    ],
    ids=["lower serial", "region named", "too long", "expired", "not yet", "kem", "unknown signer", "another region's"],
)
def test_an_announcement_is_refused(changes: dict[str, object], asked: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        verified(signed_announcement(**changes), **asked)


def test_a_changed_announcement_is_refused() -> None:
    data = decode(Signed, signed_announcement())
    changed = msgspec.structs.replace(data, body=data.body.replace(b"k1", b"k2"))
    with pytest.raises(IdentityError, match="signature"):
        verified(encode(changed))


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_announce_nothing(data: bytes) -> None:
    with pytest.raises((ProtocolError, IdentityError, TrustError)):
        verified(data)


@pytest.mark.parametrize("public", [b"", b"short", bytes(31), bytes(32)])
def test_a_public_key_that_is_none_is_a_protocol_error(public: bytes) -> None:
    with pytest.raises(ProtocolError):
        kem.wrap("x25519", public, b"s", b"i")
