"""The gates' evidence: what the signing process reads before it signs an automatic release.

Example:
    >>> one = Check(name="accuracy", value=0.93, limit=0.90, passed=True)
    >>> evidence = Evidence(model="student", release=2, onnx_sha256="ab", passed=True, checks=(one,))
    >>> decode_evidence(encode_evidence(evidence)) == evidence
    True
"""

from __future__ import annotations

import msgspec

from shared.errors import TrustError

LARGEST_EVIDENCE_BYTES = 1 << 20


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One gate: what was measured, what was asked for, and the gate's word."""

    name: str
    value: float
    limit: float
    passed: bool


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All gates of one candidate, named by its model file's SHA-256 in hex."""

    model: str
    release: int
    onnx_sha256: str
    passed: bool
    checks: tuple[Check, ...]


def encode_evidence(evidence: Evidence) -> bytes:
    """Return the evidence as JSON."""
    return msgspec.json.encode(evidence)


def decode_evidence(data: bytes) -> Evidence:
    """Parse evidence.

    Raises:
        TrustError: too large, or no evidence.
    """
    if len(data) > LARGEST_EVIDENCE_BYTES:
        raise TrustError(f"evidence of {len(data)} bytes is larger than {LARGEST_EVIDENCE_BYTES}.")
    try:
        return msgspec.json.decode(data, type=Evidence)
    except msgspec.MsgspecError as error:
        raise TrustError(f"this is no evidence of gates: {error}.", "An automatic release needs its gates' row.") from None


def judge(evidence: Evidence, *, model: str, release: int, onnx_sha256: str) -> None:
    """Check that evidence is about this candidate and that every gate passed.

    Raises:
        TrustError: it is about another, has no checks, or one did not pass.
    """
    if (evidence.model, evidence.release, evidence.onnx_sha256) != (model, release, onnx_sha256):
        raise TrustError(f"the evidence is about {evidence.model} {evidence.release}, not about this {model} {release}.")
    failed = [check.name for check in evidence.checks if not check.passed]
    if not evidence.checks or failed or not evidence.passed:
        raise TrustError(f"the gates of {model} {release} did not pass: {', '.join(failed) or 'no checks'}.")
