"""The address of a broker as one line: `mqtts://host:port`. Pure.

TLS is not an option: a broker is found by its certificate, and it knows its clients by theirs. MQTT over WebSocket is not spoken here,
since mosquitto's WebSocket listener cannot tell clients by their certificates.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from shared.errors import ConfigurationError

MQTTS_PORT = 8883
REMEDY = "Write it as mqtts://host:port."


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a broker's address.

    Raises:
        ConfigurationError: it is something else than `mqtts://host` with or without a port.

    Example:
        >>> address_of("mqtts://broker.example")
        ('broker.example', 8883)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{url!r} is not the address of a broker.", REMEDY) from None
    if (
        parts.scheme != "mqtts"
        or not host
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or port == 0
    ):
        raise ConfigurationError(f"{url!r} is not the address of a broker.", REMEDY)
    return host, port or MQTTS_PORT
