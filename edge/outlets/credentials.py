"""What a server outside the fleet is shown and believed by: secrets from files and TLS contexts, read once, at the start.

No secret stands in the configuration, in a log or in the status.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from shared.errors import ConfigurationError

LONGEST_BYTES = 4096


def read_secret_file(path: Path, key: str) -> str:
    """Return the file's text without white space around it.

    Args:
        path: of the file.
        key: of the configuration, for the message.

    Raises:
        ConfigurationError: it cannot be read, is empty, too long, or open to other users.
    """
    try:
        is_open = path.stat().st_mode & 0o007
        with path.open("rb") as file:
            found = file.read(LONGEST_BYTES + 1).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file {path} ({key}) cannot be read: {error}.", "Give a text file this user may read.") from error
    if is_open:
        raise ConfigurationError(f"the file {path} ({key}) is open to every user of this machine.", f"Run: chmod o= {path}")
    if not found or len(found) > LONGEST_BYTES:
        raise ConfigurationError(f"the file {path} ({key}) is empty or longer than {LONGEST_BYTES} bytes.", "Write the secret into it.")
    return found


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None, section: str) -> ssl.SSLContext:
    """Return TLS 1.2 or later towards a server outside the fleet.

    Args:
        ca: PEM of whom to believe; None for what this machine's system believes.
        certificate: our certificate for it, if it wants one, PEM.
        key: its key; None where it stands in the certificate's file.
        section: names the keys in messages.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        message = f"the certificates of {section} cannot be used: {error}."
        raise ConfigurationError(message, f"Correct ca, certificate and key of {section}: PEM files this user may read.") from error
    return context
