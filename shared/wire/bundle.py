"""A bundle: content-addressed objects in one file, the form in which federated messages travel.

Layout: magic `TOB1`, SHA-256 of the root object (32 bytes), number of objects (u32), then per object its length (u32) and
its bytes, all big-endian. An object's name is its SHA-256, computed again on reading, so a bundle cannot claim a name that
its bytes do not have. What the objects mean is the reader's business; nothing here is executed or unpickled.

Example:
    >>> root, objects = unpack(pack(sha256(b"b"), [b"a", b"b"]), limit_bytes=1000)
    >>> objects[root]
    b'b'
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from shared.errors import ProtocolError

MAGIC = b"TOB1"
MOST_OBJECTS = 100_000
_HEAD = struct.Struct(">4s32sI")
_LENGTH = struct.Struct(">I")


def sha256(content: bytes) -> str:
    """Return the name of an object: SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def pack(root: str, objects: Iterable[bytes]) -> bytes:
    """Return the bundle of `objects`; `root` is the hex name of the one that refers to the others."""
    parts = list(objects)
    body = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return _HEAD.pack(MAGIC, bytes.fromhex(root), len(parts)) + body


def unpack(data: bytes, *, limit_bytes: int) -> tuple[str, dict[str, bytes]]:
    """Take a bundle apart.

    Args:
        data: the bundle.
        limit_bytes: what it may weigh at most.

    Returns:
        The root's name and the objects by name.

    Raises:
        ProtocolError: too large, cut short, with trailing bytes, or its root is not in it.
    """
    if len(data) > limit_bytes:
        raise ProtocolError(f"a bundle of {len(data)} bytes is larger than the {limit_bytes} its model allows.")
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise ProtocolError("this is no bundle of federated objects.")
    _, root, count = _HEAD.unpack_from(data)
    if count > MOST_OBJECTS:
        raise ProtocolError(f"a bundle of {count} objects has more than {MOST_OBJECTS}.")
    objects = _objects(data, count)
    if root.hex() not in objects:
        raise ProtocolError("a bundle does not hold its own root.")
    return root.hex(), objects


def _objects(data: bytes, count: int) -> dict[str, bytes]:
    position, objects = _HEAD.size, {}
    for _ in range(count):
        if position + _LENGTH.size > len(data):
            raise ProtocolError("a bundle is cut short.")
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        content = data[position : position + length]
        if len(content) != length:
            raise ProtocolError("a bundle is cut short.")
        objects[sha256(content)] = content
        position += length
    if position != len(data):
        raise ProtocolError("a bundle has bytes after its last object.")
    return objects
