"""From pixels to what a network takes: one code for device, region and cloud, so that training and serving cannot differ.

Rules, in order:
1. Frames are scaled to their place in the card's input (vision.fit) with a triangle filter, widened when shrinking so that nothing
   aliases, then padded or cut to its size. The weights are integers (11 bits a pass) and the sums exact in 32 bits: every machine gets
   the same pixels, bit for bit.
2. uint8 becomes float32 as `value * (1 / 255 / std) - mean / std`, each constant rounded once to float32.
3. NHWC becomes contiguous NCHW.

Not here: parts of a frame, colour conversion, decoding of files.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from shared.errors import InputError
from shared.release.card import InputSpec
from shared.vision.fit import place_of, placed
from shared.vision.frames import Pixels

Prepared = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
WEIGHT_BITS = 11
"""Two passes of 11 bits over 8-bit values stay below 2 to the 31."""
_Table = np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def prepare(frames: Pixels, spec: InputSpec) -> Prepared:
    """Make a batch for the network.

    Args:
        frames: uint8 RGB, shape (N, H, W, 3).
        spec: the card's input.

    Returns:
        float32, contiguous, shape (N, channels, height, width).

    Raises:
        InputError: the frames are not uint8 of that shape.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[3] != spec.channels:
        raise InputError(f"frames of shape {frames.shape} and type {frames.dtype} are not (N, H, W, {spec.channels}) uint8.")
    frames = fitted(frames, spec)
    scale, offset = _constants(spec.mean, spec.std)
    batch = np.empty((len(frames), spec.channels, spec.height, spec.width), np.float32)
    if len(set(scale)) == 1 and not any(offset):
        np.multiply(frames.transpose(0, 3, 1, 2), scale[0], out=batch)
        return batch
    for channel in range(spec.channels):
        np.multiply(frames[..., channel], scale[channel], out=batch[:, channel])
        if offset[channel]:
            batch[:, channel] -= offset[channel]
    return batch


def fitted(frames: Pixels, spec: InputSpec) -> Pixels:
    """Return frames as they lie in a card's input (rule 1); done twice it changes nothing more.

    Args:
        frames: uint8, shape (N, H, W, C).
        spec: the card's input.

    Returns:
        uint8, shape (N, height, width, C).

    Raises:
        InputError: a side is empty.
    """
    if min(frames.shape[1:3]) < 1:
        raise InputError(f"a frame of shape {frames.shape[1:]} cannot be resized to {spec.width}x{spec.height}.")
    place = place_of((frames.shape[1], frames.shape[2]), spec)
    if frames.shape[1:3] != place.size:
        frames = resize(frames, height=place.height, width=place.width)
    return placed(frames, place, spec.padding)


def resize(frames: Pixels, *, height: int, width: int) -> Pixels:
    """Resize frames exactly (rule 1).

    Args:
        frames: uint8, shape (N, H, W, C).
        height: rows wanted, pixels.
        width: columns wanted, pixels.

    Returns:
        uint8, shape (N, height, width, C).

    Raises:
        InputError: a side is empty.
    """
    if min(height, width, *frames.shape[1:3]) < 1:
        raise InputError(f"a frame of shape {frames.shape[1:]} cannot be resized to {width}x{height}.")
    wide = _filtered(frames.astype(np.int32), width, axis=2)
    tall = _filtered(wide, height, axis=1)
    tall += 1 << (2 * WEIGHT_BITS - 1)
    return (tall >> (2 * WEIGHT_BITS)).astype(np.uint8)


def _filtered(values: _Table, size: int, *, axis: int) -> _Table:
    places, weights = _taps(values.shape[axis], size)
    shape = [1] * values.ndim
    shape[axis] = size
    total = np.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), np.int32)
    for tap in range(places.shape[1]):
        total += values.take(places[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return total


@lru_cache(maxsize=64)
def _taps(source: int, size: int) -> tuple[_Table, _Table]:
    """Return which source pixels each output pixel sums, and with which integer weights: two int32 tables (size, taps)."""
    ratio = source / size
    support = max(ratio, 1.0)
    centres = (np.arange(size) + 0.5) * ratio
    first = np.floor(centres - support).astype(np.int32)
    places = first[:, None] + np.arange(int(np.ceil(2 * support)) + 1, dtype=np.int32)[None]
    weights = np.maximum(0.0, 1.0 - np.abs((places + 0.5 - centres[:, None]) / support))
    weights[(places < 0) | (places >= source)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    whole = np.rint(weights * (1 << WEIGHT_BITS)).astype(np.int32)
    whole[np.arange(size), whole.argmax(axis=1)] += (1 << WEIGHT_BITS) - whole.sum(axis=1)  # a flat picture stays flat
    return places.clip(0, source - 1), whole


@lru_cache(maxsize=64)
def _constants(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[list[np.float32], list[np.float32]]:
    scale = [np.float32(1 / 255 / one) for one in std]
    offset = [np.float32(centre / one) for centre, one in zip(mean, std, strict=True)]
    return scale, offset
