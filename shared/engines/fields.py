"""The wire format of protocol buffers, as far as an ONNX file needs it: walking the fields of a message, and writing them. Pure.

Source: Protocol Buffers encoding (varints, fixed 32 and 64 bits, length-delimited). So that a device needs no ONNX package.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import EngineError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
LARGEST_KEY = (1 << 32) - 1
"""Readers in C++ cut a longer key down to 32 bits, and would see another field than is seen here."""
Field = tuple[int, "int | memoryview"]


def fields(data: memoryview) -> Iterator[Field]:
    """Walk the fields of one message: numbers as int, everything else as the bytes it spans.

    Raises:
        EngineError: the bytes are no message.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key > LARGEST_KEY:
            raise EngineError("the file is no ONNX model: a field has a number that is none.", "Export it again.")
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(data, place)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, place = _varint(data, place)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, len(data) + 1)
        if place + size > len(data):
            raise EngineError("the file is no ONNX model, or it is cut short.", "Check that it was copied completely.")
        yield key >> 3, data[place : place + size]
        place += size


def message(value: int | memoryview) -> memoryview:
    """Return the bytes of a field that must have bytes.

    Raises:
        EngineError: it is a number.
    """
    if isinstance(value, int):
        raise EngineError("the file is no ONNX model.", "Check that it was copied completely.")
    return value


def integers(packed: memoryview) -> list[int]:
    """Return packed varints as signed 64-bit integers.

    Raises:
        EngineError: the bytes are no varints.
    """
    found, place = [], 0
    while place < len(packed):
        value, place = _varint(packed, place)
        value &= (1 << 64) - 1
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def field(number: int, value: int | bytes | memoryview) -> bytes:
    """Return one field as it is written: a varint for an int, else length and bytes."""
    if isinstance(value, int):
        return _write_varint(number << 3 | _VARINT) + _write_varint(value)
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + bytes(value)


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise EngineError("the file is no ONNX model, or it is cut short.", "Check that it was copied completely.")


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
