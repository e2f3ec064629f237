"""Asking the signing process for a signature: the request, and the child that answers it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from shared.errors import TrustError

TIMEOUT_S = 120.0


class SignRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be signed: new files of one automatic release, already in `targets/`, as pairs of target path and SHA-256.

    Without files the signing process only renews its role's signature. `gates` is the evidence as JSON (see cloud.evidence).
    """

    repository: Path
    keys: Path
    files: tuple[tuple[str, str], ...] = ()
    gates: bytes = b""


def encode_request(request: SignRequest) -> bytes:
    """Return the request as JSON."""
    return msgspec.json.encode(request, enc_hook=str)


def decode_request(data: bytes) -> SignRequest:
    """Parse a request.

    Raises:
        TrustError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=SignRequest, dec_hook=lambda kind, value: kind(value))
    except msgspec.MsgspecError as error:
        raise TrustError(f"this is no request for a signature: {error}.") from None


def sign_in_process(request: SignRequest) -> bytes:
    """Have `python -m cloud.signer` check and sign a request.

    Returns:
        Signed metadata of the role `auto`, one version up.

    Raises:
        TrustError: the signing process refused, with its reason.
    """
    source = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cloud.signer"], input=encode_request(request), capture_output=True, timeout=TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrustError(f"the signing process did not answer: {error}.", "The release waits; try again.") from error
    if done.returncode != 0:
        raise TrustError(f"the signing process refused: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout
