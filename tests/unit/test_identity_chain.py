"""Whom verify_chain believes, and every way we could think of to make it believe somebody else.

Where OpenSSL can be asked the same question (as the broker asks it), both must give the same answer.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from provisioning.pki import Authority
from shared.errors import IdentityError
from shared.identity import issue, names
from shared.identity.chain import peer_of, verify_anchor_list, verify_chain
from shared.identity.store import Identity

from .pki_fleet import NOW, anchor_list, der, fleet, forge, identities, signer

DAY = 86_400


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, dict[str, Identity]]:
    folder = tmp_path_factory.mktemp("pki")
    authority = fleet(folder / "authority")
    return authority, identities(folder, authority)


def openssl(authority: Authority, chain: list[x509.Certificate], *, tier: str = "edge", purpose: str = "sslclient", at: float = NOW) -> str:
    """What OpenSSL says of a chain: 'OK', or its complaint. Asked last: without the program the rest of a test is skipped."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    folder = authority.folder
    (folder / "leaf.pem").write_bytes(chain[0].public_bytes(Encoding.PEM))
    (folder / "above.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain[1:]))
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(at)), "-purpose", purpose, "-no-CApath", "-no-CAstore"]
    command += ["-CAfile", str(folder / "anchors" / f"{tier}.pem"), *(["-untrusted", str(folder / "above.pem")] if chain[1:] else [])]
    done = subprocess.run([*command, str(folder / "leaf.pem")], capture_output=True, text=True, timeout=20)
    return "OK" if done.returncode == 0 else done.stderr + done.stdout


def parsed(identity: Identity) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(each) for each in identity.chain]


@pytest.mark.parametrize(("who", "tier", "name"), [
    ("edge", "edge", "edge-1.region-1"), ("stranger", "edge", "edge-1.region-2"), ("region", "region", "server.region-1"),
    ("worker", "region", "intake-0.region-1"), ("cloud", "cloud", "cloud.cloud"),
])  # fmt: skip
def test_every_machine_is_believed_as_itself(acme: tuple[Authority, dict[str, Identity]], who: str, tier: str, name: str) -> None:
    authority, machines = acme
    peer = verify_chain(machines[who].chain, anchors=anchor_list(authority), tier=tier, now=NOW)
    assert (peer.common_name, peer.tier, peer.fleet) == (name, tier, "acme")
    assert openssl(authority, parsed(machines[who]), tier=tier) == "OK"


@pytest.mark.parametrize(
    ("who", "tier"), [("edge", "region"), ("edge", "cloud"), ("region", "edge"), ("worker", "cloud"), ("cloud", "region")]
)
def test_nobody_passes_in_another_tier(acme: tuple[Authority, dict[str, Identity]], who: str, tier: str) -> None:
    authority, machines = acme
    with pytest.raises(IdentityError):
        verify_chain(machines[who].chain, anchors=anchor_list(authority), tier=tier, now=NOW)
    assert openssl(authority, parsed(machines[who]), tier=tier) != "OK"


def forged_device(authority: Authority, uri: str, common_name: str, *, by: str = "devices/region-1") -> list[x509.Certificate]:
    leaf, _ = forge(signer(authority, by), uri, common_name)
    return [leaf, signer(authority, "devices/region-1").certificate]


@pytest.mark.parametrize("uri", [
    "terrace://server.region-1.region.acme/",  # a device named as the region
    "terrace://edge-1.region-2.edge.acme/",  # another region's device
    "terrace://edge-1.region-1.edge.other/",  # another fleet
    "terrace://edge-1.region-1.edge.acme.evil/",
    "http://region-1.edge.acme/",
])  # fmt: skip
def test_a_stolen_device_authority_names_only_its_own_devices(acme: tuple[Authority, dict[str, Identity]], uri: str) -> None:
    authority, _ = acme
    host = uri.split("/")[2].split(".")
    chain = forged_device(authority, uri, ".".join(host[:2]))
    with pytest.raises(IdentityError):
        verify_chain(der(*chain), anchors=anchor_list(authority), tier="edge", now=NOW)
    assert "permitted subtree violation" in openssl(authority, chain)


def test_a_stolen_device_authority_cannot_borrow_a_common_name(acme: tuple[Authority, dict[str, Identity]]) -> None:
    """The broker looks at nothing but the common name; the DNS constraint makes OpenSSL look for it."""
    authority, _ = acme
    chain = forged_device(authority, "terrace://edge-1.region-1.edge.acme/", "edge-1.region-2")
    with pytest.raises(IdentityError, match="common name"):
        verify_chain(der(*chain), anchors=anchor_list(authority), tier="edge", now=NOW)
    assert "permitted subtree violation" in openssl(authority, chain)


@pytest.mark.parametrize(("uri", "common_name"), [
    ("terrace://Edge-1.region-1.edge.acme/", "Edge-1.region-1"),
    ("terrace://a/b.region-1.edge.acme/", "a/b.region-1"),
    ("terrace://+.region-1.edge.acme/", "+.region-1"),
    ("terrace://#.region-1.edge.acme/", "#.region-1"),
    ("terrace://-a.region-1.edge.acme/", "-a.region-1"),
    ("terrace://a.b.region-1.edge.acme/", "a.b.region-1"),
    ("terrace://.region-1.edge.acme/", ".region-1"),
    ("terrace://edge-1.region-1.edge.acme/x", "edge-1.region-1"),
    ("terrace://edge-1.region-1.edge.acme:1/", "edge-1.region-1"),
    ("terrace://u@edge-1.region-1.edge.acme/", "edge-1.region-1"),
    ("terrace://edge-1.region-1.edge.acme/\n", "edge-1.region-1"),
    ("terrace://" + "a" * 64 + ".region-1.edge.acme/", "a"),
    ("terrace://edge-1.region-1.edge.acme/", "server.region-1"),
])  # fmt: skip
def test_names_that_are_no_names_are_refused(acme: tuple[Authority, dict[str, Identity]], uri: str, common_name: str) -> None:
    authority, _ = acme
    chain = forged_device(authority, uri, common_name)
    with pytest.raises(IdentityError):
        verify_chain(der(*chain), anchors=anchor_list(authority), tier="edge", now=NOW)


@pytest.mark.parametrize("name", ["a/b", "+", "#", "Edge", "a.b", "", "-a", "a-", "a" * 64, "é", "a\n"])
def test_the_authority_issues_no_such_names(acme: tuple[Authority, dict[str, Identity]], tmp_path: Path, name: str) -> None:
    authority, _ = acme
    with pytest.raises(IdentityError):
        authority.issue_device("region-1", name, destination=tmp_path / "x")
    with pytest.raises(IdentityError):
        authority.issue_region(name, "server", [], destination=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("days", [-1, 31])
def test_before_and_after_its_time_a_certificate_is_refused(acme: tuple[Authority, dict[str, Identity]], days: int) -> None:
    authority, machines = acme
    with pytest.raises(IdentityError, match=r"expired|not valid before"):
        verify_chain(machines["edge"].chain, anchors=anchor_list(authority), tier="edge", now=NOW + days * DAY)
    assert openssl(authority, parsed(machines["edge"]), at=NOW + days * DAY) != "OK"


def test_a_foreign_fleet_of_the_same_name_is_refused(acme: tuple[Authority, dict[str, Identity]], tmp_path: Path) -> None:
    authority, _ = acme
    twin = fleet(tmp_path / "twin")
    stranger = Identity.load(twin.issue_device("region-1", "edge-1", destination=tmp_path / "edge"))
    with pytest.raises(IdentityError, match="not signed by"):
        verify_chain(stranger.chain, anchors=anchor_list(authority), tier="edge", now=NOW)
    # and the own leaf under a foreign authority's certificate
    mixed = [acme[1]["edge"].chain[0], stranger.chain[1]]
    with pytest.raises(IdentityError, match="not signed by"):
        verify_chain(mixed, anchors=anchor_list(authority), tier="edge", now=NOW)


def test_a_device_is_no_authority(acme: tuple[Authority, dict[str, Identity]]) -> None:
    authority, machines = acme
    device = issue.Authority(certificate=parsed(machines["edge"])[0], key=machines["edge"].key)
    leaf, _ = forge(device, "terrace://edge-9.region-1.edge.acme/", "edge-9.region-1")
    anchors = anchor_list(authority)
    for chain in ([leaf, device.certificate], [leaf, *parsed(machines["edge"])]):
        with pytest.raises(IdentityError):
            verify_chain(der(*chain), anchors=anchors, tier="edge", now=NOW)
    assert openssl(authority, [leaf, *parsed(machines["edge"])]) != "OK"


@pytest.mark.parametrize("flaw", ["no CA flag", "no constraint", "foreign constraint", "no keyCertSign", "path length"])
def test_a_malformed_device_authority_is_refused(acme: tuple[Authority, dict[str, Identity]], flaw: str) -> None:
    """Even signed by the edge anchor itself: a slip in the ceremony must not widen what a region may do."""
    authority, _ = acme
    key, above = issue.new_key(), signer(authority, "anchors/edge")
    good = issue.device_authority("region-1", "acme", key.public_key(), above, now=NOW)
    changes: dict[str, tuple[type, x509.ExtensionType | None]] = {
        "no CA flag": (x509.BasicConstraints, x509.BasicConstraints(ca=False, path_length=None)),
        "no constraint": (x509.NameConstraints, None),
        "foreign constraint": (x509.NameConstraints, x509.NameConstraints([x509.UniformResourceIdentifier(".edge.acme")], None)),
        "no keyCertSign": (x509.KeyUsage, x509.KeyUsage(True, False, False, False, False, False, True, False, False)),
        "path length": (x509.BasicConstraints, x509.BasicConstraints(ca=True, path_length=None)),
    }
    kind, value = changes[flaw]
    builder = x509.CertificateBuilder(good.issuer, good.subject, key.public_key(), good.serial_number,
                                      good.not_valid_before_utc, good.not_valid_after_utc)  # fmt: skip
    for extension in good.extensions:
        changed = value if isinstance(extension.value, kind) else extension.value
        if changed is not None:
            builder = builder.add_extension(changed, extension.critical)
    authority_certificate = builder.sign(above.key, SHA256())
    leaf, _ = forge(issue.Authority(certificate=authority_certificate, key=key), "terrace://edge-1.region-1.edge.acme/", "edge-1.region-1")
    with pytest.raises(IdentityError):
        verify_chain(der(leaf, authority_certificate), anchors=anchor_list(authority), tier="edge", now=NOW)


@pytest.mark.parametrize("extension", [
    (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH]), False),
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
])  # fmt: skip
def test_a_device_that_would_be_more_is_refused(
    acme: tuple[Authority, dict[str, Identity]], extension: tuple[x509.ExtensionType, bool]
) -> None:
    authority, _ = acme
    above = signer(authority, "devices/region-1")
    leaf, _ = forge(above, "terrace://edge-1.region-1.edge.acme/", "edge-1.region-1", replace=extension)
    with pytest.raises(IdentityError):
        verify_chain(der(leaf, above.certificate), anchors=anchor_list(authority), tier="edge", now=NOW)


def test_a_device_certificate_is_no_server_certificate_for_openssl_either(acme: tuple[Authority, dict[str, Identity]]) -> None:
    authority, machines = acme
    assert "purpose" in openssl(authority, parsed(machines["edge"]), purpose="sslserver")
    above = signer(authority, "devices/region-1")
    both = (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)
    leaf, _ = forge(above, "terrace://edge-1.region-1.edge.acme/", "edge-1.region-1", replace=both)
    assert "purpose" in openssl(authority, [leaf, above.certificate], purpose="sslserver")


def test_a_second_common_name_is_refused(acme: tuple[Authority, dict[str, Identity]]) -> None:
    authority, _ = acme
    above = signer(authority, "devices/region-1")
    good, key = forge(above, "terrace://edge-1.region-1.edge.acme/", "edge-1.region-1")
    double = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("edge-1.region-1", "server.region-1")])
    builder = x509.CertificateBuilder(
        above.certificate.subject, double, key.public_key(), 7, good.not_valid_before_utc, good.not_valid_after_utc
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    with pytest.raises(IdentityError, match="common name"):
        peer_of(builder.sign(above.key, SHA256()).public_bytes(Encoding.DER))


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_chain_of_the_wrong_length_is_refused(acme: tuple[Authority, dict[str, Identity]], length: int) -> None:
    authority, machines = acme
    chain = (*machines["edge"].chain, *der(signer(authority, "anchors/edge").certificate))[:length]
    with pytest.raises(IdentityError):
        verify_chain(chain, anchors=anchor_list(authority), tier="edge", now=NOW)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.binary(max_size=300), st.integers(min_value=0, max_value=2000))
def test_bytes_that_are_no_certificate_only_raise_identity_errors(
    acme: tuple[Authority, dict[str, Identity]], junk: bytes, at: int
) -> None:
    authority, machines = acme
    leaf, above = machines["edge"].chain
    damaged = leaf[: at % len(leaf)] + junk + leaf[at % len(leaf) + len(junk) :]
    if damaged == leaf:
        return
    for chain in ([junk, above], [damaged, above]):
        with pytest.raises(IdentityError):
            verify_chain(chain, anchors=anchor_list(authority), tier="edge", now=NOW)


def test_a_changed_anchor_list_is_refused(acme: tuple[Authority, dict[str, Identity]], tmp_path: Path) -> None:
    authority, _ = acme
    data, root = ((authority.folder / name).read_bytes() for name in ("anchors.json", "root.pub"))
    other = fleet(tmp_path / "other")
    assert verify_anchor_list(data, root).fleet == "acme"
    for changed in (
        data.replace(b'"serial": 1', b'"serial": 2'),
        data.replace(b'"edge":', b'"cloud":', 1),
        data.replace(b'"signed": {', b'"signed": {"extra": 1,'),
        data[:-40],
        b"",
        (other.folder / "anchors.json").read_bytes(),
        b" " * 70_000 + data,
    ):
        with pytest.raises(IdentityError):
            verify_anchor_list(changed, root)


@given(*[st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)] * 3, st.sampled_from(names.TIERS))
def test_every_name_survives_its_uri(name: str, region: str, fleet_name: str, tier: str) -> None:
    assert names.parse_uri(names.uri(name, region, tier, fleet_name)) == (name, region, tier, fleet_name)
