"""Payload bytes as integers in the order of the numbers they stand for, and arithmetic on float32 without floats. Pure, integers only.

IEEE floats of one sign are ordered like their bits; negative ones are mirrored, so that a small step of the number is a small step of the
integer, also across zero, and -0.0 (which is -1) stays apart from 0.0. Little-endian, as ONNX has it.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from shared.release.delta.rans import Array

Integers = npt.NDArray[np.int32]

FLOAT32, UINT8, INT8, INT32, FLOAT16, BFLOAT16 = 1, 2, 3, 6, 10, 16
_MANTISSA = 23
_IMPLICIT = 1 << _MANTISSA
_BIAS = 127


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How elements of a data type are read: their signed or unsigned type, whether as floats, and the bits below the exponent."""

    dtype: str
    floating: bool = False
    mantissa: int = 0

    @property
    def bytes(self) -> int:
        """Bytes per element."""
        return int(self.dtype[2])

    @property
    def wide(self) -> bool:
        """Whether residuals need classes of size up to 32 bits."""
        return self.bytes > 1


BYTES = Kind(dtype="<u1")
"""What is not known better."""
KINDS = {
    FLOAT32: Kind(dtype="<i4", floating=True, mantissa=_MANTISSA),
    UINT8: BYTES,
    INT8: Kind(dtype="<i1"),
    INT32: Kind(dtype="<i4"),
    FLOAT16: Kind(dtype="<i2", floating=True, mantissa=10),
    BFLOAT16: Kind(dtype="<i2", floating=True, mantissa=7),
}


def kind_of(data_type: int, length: int) -> Kind:
    """Return how a payload of `length` bytes of an ONNX data type is read."""
    kind = KINDS.get(data_type, BYTES)
    return kind if length % kind.bytes == 0 else BYTES


def ordered(data: bytes, kind: Kind) -> Integers:
    """Return a payload's elements as ordered integers."""
    raw = np.frombuffer(data, kind.dtype).astype(np.int32)
    if kind.floating:
        np.copyto(raw, ~(raw & _magnitude(kind)), where=raw < 0)
    return raw


def packed(numbers: Integers, kind: Kind) -> bytes:
    """Return the payload of ordered integers; what exceeds the type is wrapped around."""
    if kind.floating:
        numbers = np.where(numbers < 0, ~numbers | np.int32(-1 << (8 * kind.bytes - 1)), numbers)
    return numbers.astype(kind.dtype).tobytes()


def exponents(numbers: Integers, kind: Kind) -> npt.NDArray[np.int16]:
    """Return the biased exponent of ordered floats: what one unit is worth, as a logarithm to base 2; at least 1, as subnormals have it."""
    sizes = np.where(numbers < 0, ~numbers, numbers)
    found: npt.NDArray[np.int16] = np.maximum(sizes >> kind.mantissa, 1).astype(np.int16)
    return found


def quotients(above: bytes, below: bytes) -> Array:
    """Return float32 `above` / `below` times 2^20 as integers; 2^20 where they are not both normal and within a factor of 256.

    Returns:
        int64, one per number.
    """
    (top, top_at), (bottom, bottom_at) = _parts(above), _parts(below)
    shift = top_at - bottom_at
    sane = (top > 0) & (bottom > 0) & (np.abs(shift) <= 8)
    quotient = (top << 32) // np.maximum(bottom, 1)
    found = (quotient + (1 << 11 >> np.clip(shift, 0, 11))) >> (12 - np.clip(shift, -8, 8))
    return np.where(sane, found, 1 << 20)


def products(left: bytes, right: bytes) -> bytes:
    """Return float32 `left` * `right`, rounded to even as IEEE does; `left` is one number or as many as `right`.

    Where an operand or the product is not a positive normal number, the right operand stands in: it is only a prediction.
    """
    (a, a_at), (b, b_at) = _parts(left), _parts(right)
    whole = a * b  # 47 or 48 bits
    over = (whole >> (2 * _MANTISSA + 1)).astype(np.int64)
    shift = _MANTISSA + over
    kept = whole >> shift
    rest, half = whole - (kept << shift), np.int64(1) << (shift - 1)
    kept += (rest > half) | ((rest == half) & (kept & 1 == 1))
    at = a_at + b_at - _BIAS + over + (kept >> (_MANTISSA + 1))
    kept >>= kept >> (_MANTISSA + 1)
    sane = (a > 0) & (b > 0) & (at > 0) & (at < 255)
    found = np.where(sane, (np.clip(at, 0, 254) << _MANTISSA) | (kept & (_IMPLICIT - 1)), np.frombuffer(right, "<i4"))
    return found.astype("<i4").tobytes()


def _parts(data: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return mantissas with their first bit, and biased exponents, of positive normal float32 numbers; mantissa 0 for all others."""
    bits = np.frombuffer(data, "<i4").astype(np.int64)
    at = bits >> _MANTISSA
    normal = (bits > 0) & (at > 0) & (at < 255)
    return np.where(normal, (bits & (_IMPLICIT - 1)) | _IMPLICIT, 0), np.where(normal, at, _BIAS)


def _magnitude(kind: Kind) -> np.int32:
    found: np.int32 = np.int32((1 << (8 * kind.bytes - 1)) - 1)
    return found
