"""The rules of belief: bytes and the time come in, a Peer or an IdentityError comes out. Nothing is read, sent or remembered.

Rules of `verify_chain`, in order:
1. The chain is the leaf and the authorities between it and the anchor, leaf first; edge: exactly one (the region's device CA),
   other tiers: none. The anchor itself comes from the signed list, never from the chain.
2. Every certificate is X.509 v3, at most 4 KB, P-256 and SHA-256, without critical extensions we do not know, valid now.
3. Each is signed by the next, the last by the tier's anchor; authorities carry the CA flag, keyCertSign and room for the path.
4. Name constraints of every authority hold for the leaf's URI and common name; a device CA without its own is refused.
5. The leaf is no authority, may sign and be a client; on the edge it is nothing but a client.
6. The leaf's one URI is `terrace://<name>.<region>.<tier>.<fleet>/`, of the expected tier and the list's fleet, and its subject is
   exactly the common name `<name>.<region>`. No common name is ever believed alone.

What is *not* here: revocation (crl.py, by the caller), whether a region admits another region's device (the caller), TLS (tls.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections.abc import Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from shared.errors import IdentityError
from shared.identity import names
from shared.identity.anchors import AnchorList, verify_anchor_list
from shared.identity.names import Peer

__all__ = ["AnchorList", "Peer", "peer_of", "peer_of_certificate", "verify_anchor_list", "verify_chain"]

LARGEST_CERTIFICATE = 4096
"""Bytes of one certificate's DER."""

_KNOWN = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_ODDITIES = (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def verify_chain(chain: Sequence[bytes], *, anchors: AnchorList, tier: str, now: float) -> Peer:
    """Return who the chain's leaf is, if everything about it may be believed.

    Args:
        chain: certificates as DER, leaf first, without the anchor.
        anchors: the verified anchor list.
        tier: the tier the peer must belong to.
        now: seconds since the Unix epoch.

    Raises:
        IdentityError: naming the first rule that does not hold.
    """
    authorities = 1 if tier == "edge" else 0
    if len(chain) != authorities + 1:
        raise IdentityError(f"a chain of the tier {tier} has {authorities + 1} certificate(s), not {len(chain)}.")
    path = [*(_load(der) for der in chain), anchors.certificate(tier)]
    for certificate in path:
        _check_certificate(certificate, now)
    for depth, (issued, issuer) in enumerate(itertools.pairwise(path)):
        _check_link(issued, issuer, depth)
    peer = peer_of(chain[0])
    if peer.tier != tier or peer.fleet != anchors.fleet:
        raise IdentityError(
            f"{peer.common_name} belongs to the tier {peer.tier} of the fleet {peer.fleet}; expected was {tier} of {anchors.fleet}."
        )
    for authority in path[1:]:
        _check_constraints(authority, peer)
    if tier == "edge" and names.host_suffix(peer.region, tier, peer.fleet) not in _permitted_hosts(path[1]):
        raise IdentityError(f"the authority that signed {peer.common_name} is not the device authority of {peer.region}.")
    _check_leaf(path[0], tier)
    return peer


def peer_of(certificate: bytes) -> Peer:
    """Return whom a certificate names; says nothing about whether it may be believed.

    Args:
        certificate: DER.

    Raises:
        IdentityError: it is no certificate, or URI and common name are missing, malformed or do not agree.
    """
    parsed = _load(certificate)
    alternative = _extension(parsed, x509.SubjectAlternativeName)
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier) if alternative is not None else []
    if len(uris) != 1:
        raise IdentityError(f"the certificate carries {len(uris)} URIs in place of one.", "It was not issued by terrace.")
    name, region, tier, fleet = names.parse_uri(uris[0])
    subject = list(parsed.subject)
    if len(subject) != 1 or subject[0].oid != NameOID.COMMON_NAME or subject[0].value != names.common_name(name, region):
        raise IdentityError(f"the subject {parsed.subject.rfc4514_string()[:200]!r} is not the common name {name}.{region}.")
    key_id = _extension(parsed, x509.AuthorityKeyIdentifier)
    if key_id is None or key_id.key_identifier is None:
        raise IdentityError(f"the certificate of {name}.{region} does not say which key signed it.")
    return Peer(
        name=name,
        region=region,
        tier=tier,
        fleet=fleet,
        fingerprint=hashlib.sha256(certificate).hexdigest(),
        serial=parsed.serial_number,
        issuer=key_id.key_identifier.hex(),
        not_after=parsed.not_valid_after_utc.timestamp(),
    )


def peer_of_certificate(certificate: bytes | None, *, tier: str, fleet: str) -> Peer:
    """Return whom a certificate names whose chain TLS has verified.

    Args:
        certificate: DER; none where the other side showed no certificate.
        tier: the tier the peer must belong to.
        fleet: the fleet it must belong to.

    Raises:
        IdentityError: there is none, or it is of another tier or fleet.
    """
    if not certificate:
        raise IdentityError("the other side showed no certificate.")
    peer = peer_of(certificate)
    if peer.tier != tier or peer.fleet != fleet:
        raise IdentityError(f"{peer.common_name} is of the tier {peer.tier} of {peer.fleet}; this is for {tier} of {fleet}.")
    return peer


def _load(der: bytes) -> x509.Certificate:
    if len(der) > LARGEST_CERTIFICATE:
        raise IdentityError(f"a certificate is larger than {LARGEST_CERTIFICATE} bytes.")
    try:
        certificate = x509.load_der_x509_certificate(der)
        # parts are parsed on first use: now is the time to fail
        _ = certificate.extensions, certificate.subject, certificate.version, certificate.public_key()
        _ = certificate.signature_hash_algorithm, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, *_ODDITIES) as error:
        raise IdentityError(f"a certificate cannot be read: {error}.") from error
    if certificate.serial_number < 1:
        raise IdentityError("a certificate's serial number is not positive.")
    return certificate


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_certificate(certificate: x509.Certificate, now: float) -> None:
    subject = certificate.subject.rfc4514_string()[:200]
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"the key of {subject} is not on the curve P-256.")
    if not isinstance(certificate.signature_hash_algorithm, SHA256) or certificate.version is not x509.Version.v3:
        raise IdentityError(f"the certificate {subject} is not X.509 v3 with SHA-256.")
    unknown = [e.oid.dotted_string for e in certificate.extensions if e.critical and e.oid not in _KNOWN]
    if unknown:
        raise IdentityError(f"the certificate {subject} demands extensions terrace does not know: {', '.join(unknown)}.")
    if now < certificate.not_valid_before_utc.timestamp():
        start = _iso(certificate.not_valid_before_utc)
        raise IdentityError(f"the certificate {subject} is not valid before {start}.", "Check this machine's clock.")
    if now > certificate.not_valid_after_utc.timestamp():
        raise IdentityError(
            f"the certificate {subject} expired on {_iso(certificate.not_valid_after_utc)}.",
            "Issue it anew with `terrace provision pki`, and check this machine's clock.",
        )


def _check_link(issued: x509.Certificate, issuer: x509.Certificate, authorities_between: int) -> None:
    subject, signer = issued.subject.rfc4514_string()[:200], issuer.subject.rfc4514_string()[:200]
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        raise IdentityError(f"{subject} was not signed by {signer} of this fleet.", "It belongs to another fleet or tier.") from None
    basic, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    if basic is None or not basic.ca or usage is None or not usage.key_cert_sign:
        raise IdentityError(f"{signer} signed {subject} but is no certificate authority.")
    if basic.path_length is None or basic.path_length < authorities_between:
        raise IdentityError(f"{signer} may not have {authorities_between} authorities below it.")


def _check_constraints(authority: x509.Certificate, peer: Peer) -> None:
    constraints = _extension(authority, x509.NameConstraints)
    subject = authority.subject.rfc4514_string()[:200]
    if constraints is None:
        raise IdentityError(f"the authority {subject} is not constrained to any names.")
    if constraints.excluded_subtrees:
        raise IdentityError(f"the authority {subject} excludes names, which terrace does not do.")
    host = f"{peer.common_name}.{peer.tier}.{peer.fleet}"
    if not any(host.endswith(suffix) for suffix in _permitted_hosts(authority) if suffix.startswith(".")):
        raise IdentityError(f"the authority {subject} may not name {host}.")
    domains = [tree.value for tree in constraints.permitted_subtrees or () if isinstance(tree, x509.DNSName)]
    if domains and not any(peer.common_name.endswith(f".{domain}") for domain in domains):
        raise IdentityError(f"the authority {subject} may not use the common name {peer.common_name}.")


def _permitted_hosts(authority: x509.Certificate) -> list[str]:
    constraints = _extension(authority, x509.NameConstraints)
    trees = constraints.permitted_subtrees if constraints is not None else None
    return [tree.value for tree in trees or () if isinstance(tree, x509.UniformResourceIdentifier)]


def _check_leaf(leaf: x509.Certificate, tier: str) -> None:
    subject = leaf.subject.rfc4514_string()[:200]
    basic, usage = _extension(leaf, x509.BasicConstraints), _extension(leaf, x509.KeyUsage)
    if basic is None or basic.ca or usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise IdentityError(f"the certificate {subject} is not one of a machine.")
    purposes = set(_extension(leaf, x509.ExtendedKeyUsage) or ())
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH} if tier == "edge" else {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes or not purposes <= allowed:
        raise IdentityError(f"the certificate {subject} is not made for what a machine of the tier {tier} does.")
    alternative = _extension(leaf, x509.SubjectAlternativeName)
    if tier == "edge" and alternative is not None and len(list(alternative)) != 1:
        raise IdentityError(f"the device certificate {subject} carries more names than its own.")


def _iso(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
