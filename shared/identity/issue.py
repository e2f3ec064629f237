"""Making certificates and revocation lists: keys, names and times in, signed objects out. Used by the offline authority and by enrolment.

    anchor of a tier   self-signed, constrained to `.<tier>.<fleet>`, ten years
    device authority   per region, under the edge anchor, constrained to `.<region>.edge.<fleet>` and, for common names, to the DNS
                       domain `<region>` (OpenSSL lays DNS constraints on a common name too, so the broker enforces it by itself)
    machine            P-256 leaf; devices 30 days and clients only, servers and workers 90 days
    revocation list    30 days

Subject and names come from the record of what is to be issued, never from a request. Nothing here reads a clock or a file.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import IdentityError
from shared.identity import names

DAY_S = 86_400.0
ANCHOR_DAYS, DEVICE_AUTHORITY_DAYS, MACHINE_DAYS, DEVICE_DAYS, CRL_DAYS = 3650, 1825, 90, 30, 30
PEOPLE_DAYS = 398
"""Longest life of a server certificate that browsers accept."""
EARLIER_S = 3600.0
"""How far certificates are dated back, for clocks that are slow."""


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with the key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a machine that is to get a certificate.

    Attributes:
        name: its own name.
        region: its region; `cloud` for the cloud.
        tier: `edge`, `region` or `cloud`.
        fleet: the fleet's name.
        hosts: DNS names and IP addresses it serves under; none makes it a client only.
    """

    name: str
    region: str
    tier: str
    fleet: str
    hosts: tuple[str, ...] = ()


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def anchor(tier: str, fleet: str, key: ec.EllipticCurvePrivateKey, *, now: float) -> x509.Certificate:
    """Return the self-signed anchor of a tier."""
    subject = _subject(f"{tier} anchor of {names.check_label(fleet, 'fleet')}"[:64])
    builder = _builder(subject, subject, key.public_key(), key.public_key(), now=now, days=ANCHOR_DAYS)
    constraint = x509.UniformResourceIdentifier(names.host_suffix(None, tier, fleet))
    return _as_authority(builder, 1 if tier == "edge" else 0, [constraint]).sign(key, SHA256())


def device_authority(region: str, fleet: str, key: ec.EllipticCurvePublicKey, above: Authority, *, now: float) -> x509.Certificate:
    """Return the certificate of a region's device authority, signed by the edge anchor `above`."""
    subject = _subject(f"devices of {names.check_label(region, 'region')}"[:64])
    builder = _builder(subject, above.certificate.subject, key, above.key.public_key(), now=now, days=DEVICE_AUTHORITY_DAYS)
    permitted = [x509.UniformResourceIdentifier(names.host_suffix(region, "edge", fleet)), x509.DNSName(region)]
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return _as_authority(builder, 0, permitted).sign(above.key, SHA256())


def machine(record: Machine, key: ec.EllipticCurvePublicKey, above: Authority, *, now: float) -> x509.Certificate:
    """Return a machine's certificate.

    Raises:
        IdentityError: a name cannot be used, or a device is to serve hosts.
    """
    if record.tier == "edge" and record.hosts:
        raise IdentityError(f"{record.name} is a device and cannot serve {', '.join(record.hosts)}.", "Devices are clients only.")
    locator = names.uri(record.name, record.region, record.tier, record.fleet)
    subject = _subject(names.common_name(record.name, record.region))
    days = DEVICE_DAYS if record.tier == "edge" else MACHINE_DAYS
    builder = _builder(subject, above.certificate.subject, key, above.key.public_key(), now=now, days=days)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if record.hosts else [])
    alternatives = [x509.UniformResourceIdentifier(locator), *(host_name(host) for host in record.hosts)]
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(above.key, SHA256())
    )


def self_signed(hosts: Iterable[str], key: ec.EllipticCurvePrivateKey, *, now: float) -> x509.Certificate:
    """Return a certificate for people's browsers, which trust none of our anchors and compare its fingerprint.

    Raises:
        IdentityError: a host is neither a DNS name nor an IP address.
    """
    subject = _subject("terrace")
    builder = _builder(subject, subject, key.public_key(), key.public_key(), now=now, days=PEOPLE_DAYS)
    return (
        builder.add_extension(x509.SubjectAlternativeName([host_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )


def revocation_list(above: Authority, revoked: Iterable[tuple[int, float]], number: int, *, now: float) -> x509.CertificateRevocationList:
    """Return an authority's revocation list.

    Args:
        above: the authority whose certificates are revoked.
        revoked: serial number and time of each revocation.
        number: counts up with every list of this authority.
        now: seconds since the Unix epoch.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(above.certificate.subject)
        .last_update(_moment(now - EARLIER_S))
        .next_update(_moment(now + CRL_DAYS * DAY_S))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(at)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(above.key, SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey, *, now: float, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now - EARLIER_S))
        .not_valid_after(_moment(now + days * DAY_S))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder, path_length: int, permitted: list[x509.GeneralName]) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def host_name(host: str) -> x509.GeneralName:
    """Return a DNS name or IP address as it stands in a certificate.

    Raises:
        IdentityError: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise IdentityError(f"{host!r} is neither a DNS name nor an IP address.", "Write other letters than ASCII in xn-- form.") from None


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), tz=dt.timezone.utc)
