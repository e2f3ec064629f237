"""Events in batches by HTTPS POST, signed (signature.py); what an answer means stands in delivery.py.

The address may hold a secret in its path, as some services want it: status, logs and errors name scheme, host and port only.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from edge.config import WebhookOutputSettings
from edge.events import Event
from edge.outlets.credentials import read_secret_file, tls_context
from edge.outlets.delivery import Attempt, judge
from edge.outlets.signature import body, read_secret, sign
from shared import clock
from shared.errors import ConfigurationError
from shared.link.https import HttpsClient
from shared.link.proxy import ProxyRule

PATIENCE_S = 10.0


class Webhook:
    """The receiver.

    Args:
        settings: of this output.
        device: the device's common name.
        proxy: which HTTP proxy leads there, if any.
    """

    kind, most, gather_s = "webhook", 100, 1.0

    def __init__(self, settings: WebhookOutputSettings, *, device: str, proxy: ProxyRule) -> None:
        self._settings = settings
        self._device = device
        self._proxy = proxy
        self.target, self._path = split(settings.url)
        self._secret = b""
        self._client: HttpsClient | None = None
        self._last: tuple[Sequence[Event], str, bytes] | None = None

    def check(self) -> None:
        """Read the secret and the certificates.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        found: Path | None = self._settings.secret_file
        self._secret = read_secret(read_secret_file(found, "outputs.webhook.secret_file")) if found else b""
        context = tls_context(self._settings.ca, self._settings.certificate, self._settings.key, "outputs.webhook")
        self._client = HttpsClient(context, self.target, proxy=self._proxy)

    def start(self) -> None:
        """Nothing: a connection is made with the first batch."""

    def stop(self) -> None:
        """Close the connection; a request under way ends."""
        if self._client is not None:
            self._client.close()

    def deliver(self, batch: Sequence[Event]) -> Attempt:
        """Post a batch; the same batch again has the same identifier and body.

        Raises:
            TerraceError: it did not come through.
        """
        if self._client is None:
            raise ConfigurationError("the webhook was not started.")
        now = clock.wall()
        if self._last is None or self._last[0] is not batch:
            self._last = (batch, f"msg_{secrets.token_hex(16)}", body(batch, device=self._device, at=now))
        _, identifier, content = self._last
        headers = sign(content, secret=self._secret, identifier=identifier, at=now)
        answer = self._client.post(self._path, content, "application/json", headers=headers, timeout_s=PATIENCE_S)
        return judge(answer.status, answer.headers.get("retry-after", ""))


def split(url: str) -> tuple[str, str]:
    """Return `https://host:port` and the path with its query.

    Raises:
        ConfigurationError: it is no https address; the message does not repeat it, it may hold a secret.
    """
    remedy = "Write outputs.webhook.url as https://host:port/path; a name or password does not belong there."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("the webhook's address cannot be read.", remedy) from None
    if parts.scheme != "https" or not host or parts.username or parts.password or any(ord(letter) <= 32 for letter in url):
        raise ConfigurationError("the webhook's address is no https address that can be used.", remedy)
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}:{port or 443}", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
