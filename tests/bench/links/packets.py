"""The little of MQTT 3.1.1 that a device needs, as bytes: for a load generator with a thousand connections in one loop. Pure.

Section numbers are those of the OASIS standard (mqtt-v3.1.1-os).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


def connect(client_id: str, *, keep_alive_s: int = 60) -> bytes:
    """Return CONNECT with a clean session (3.1)."""
    return _packet(0x10, _text("MQTT") + b"\x04\x02" + keep_alive_s.to_bytes(2, "big") + _text(client_id))


def subscribe(filters: Sequence[str], number: int) -> bytes:
    """Return SUBSCRIBE at QoS 1 (3.8)."""
    return _packet(0x82, number.to_bytes(2, "big") + b"".join(_text(one) + b"\x01" for one in filters))


def publish(topic: str, payload: bytes, number: int) -> bytes:
    """Return PUBLISH at QoS 1 (3.3)."""
    return _packet(0x32, _text(topic) + number.to_bytes(2, "big") + payload)


def acknowledge(number: int) -> bytes:
    """Return PUBACK (3.4)."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def published(flags: int, body: bytes) -> tuple[str, bytes, int]:
    """Return topic, payload and packet number (0 at QoS 0) of a PUBLISH."""
    length = int.from_bytes(body[:2], "big")
    topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
    return (topic, rest[2:], int.from_bytes(rest[:2], "big")) if flags & 0x06 else (topic, rest, 0)


class Packets:
    """Cuts a byte stream into packets."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Take bytes; yield kind, flags and body of each packet that is whole (2.2)."""
        self._held += data
        while (head := self._head()) is not None:
            start, length = head
            first, body = self._held[0], bytes(self._held[start : start + length])
            del self._held[: start + length]
            yield first >> 4, first & 0x0F, body

    def _head(self) -> tuple[int, int] | None:
        length = 0
        for place in range(1, min(5, len(self._held))):
            length |= (self._held[place] & 0x7F) << 7 * (place - 1)
            if not self._held[place] & 0x80:
                return (place + 1, length) if len(self._held) >= place + 1 + length else None
        return None


def _packet(first: int, body: bytes) -> bytes:
    length, coded = len(body), bytearray()
    while True:
        length, low = length >> 7, length & 0x7F
        coded.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(coded) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
