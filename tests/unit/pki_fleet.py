"""A small fleet for tests: an authority, and certificates that are wrong in one chosen way."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from provisioning.pki import Authority, create_fleet
from shared.identity import issue
from shared.identity.anchors import AnchorList, verify_anchor_list
from shared.identity.store import Identity

NOW = time.time()
HOSTS = ["127.0.0.1", "localhost"]


def fleet(folder: Path, name: str = "acme", *, at: float = NOW) -> Authority:
    return create_fleet(folder, name, now=lambda: at)


def anchor_list(authority: Authority) -> AnchorList:
    return verify_anchor_list((authority.folder / "anchors.json").read_bytes(), (authority.folder / "root.pub").read_bytes())


def signer(authority: Authority, name: str) -> issue.Authority:
    """The certificate and key of `anchors/edge`, `devices/region-1` and the like: what a thief of that folder holds."""
    pem = (authority.folder / f"{name}.pem").read_bytes()
    key = load_pem_private_key((authority.folder / f"{name}.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return issue.Authority(certificate=x509.load_pem_x509_certificate(pem), key=key)


def forge(
    above: issue.Authority,
    uri: str,
    common_name: str,
    *,
    at: float = NOW,
    like: issue.Machine | None = None,
    replace: tuple[x509.ExtensionType, bool] | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A leaf whose names nobody checked, signed by `above`; `replace` takes the place of the extension of its kind."""
    key = issue.new_key()
    record = like or issue.Machine(name="x", region="x", tier="edge", fleet="acme")
    model = issue.machine(record, key.public_key(), above, now=at)
    names = [x509.UniformResourceIdentifier(uri)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
    )
    for extension in model.extensions:
        value, critical = extension.value, extension.critical
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName(names)
        if replace is not None and isinstance(replace[0], type(value)):
            value, critical = replace
        builder = builder.add_extension(value, critical)
    if replace is not None and not any(isinstance(replace[0], type(e.value)) for e in model.extensions):
        builder = builder.add_extension(*replace)
    return builder.sign(above.key, SHA256()), key


def der(*certificates: x509.Certificate) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def identities(folder: Path, authority: Authority) -> dict[str, Identity]:
    """Identities of a small fleet: server and worker of region-1, cloud, and one device in each of two regions."""
    made = {
        "region": authority.issue_region("region-1", "server", HOSTS, destination=folder / "region"),
        "worker": authority.issue_region("region-1", "intake-0", [], destination=folder / "worker"),
        "cloud": authority.issue_cloud("cloud", HOSTS, destination=folder / "cloud"),
        "edge": authority.issue_device("region-1", "edge-1", destination=folder / "edge"),
        "stranger": authority.issue_device("region-2", "edge-1", destination=folder / "stranger"),
    }
    return {name: Identity.load(path) for name, path in made.items()}
