"""Boxes and maps as they travel: compact columns of 16-bit numbers, and back. Pure.

A box costs 12 bytes and loses at most half a 65535th of the frame: less than a hundredth of a pixel at 1,000 pixels. Bytes from another
machine are checked: columns that do not fit each other, or a map that does not fill its size, are a ProtocolError.

Example:
    >>> unpack_map(pack_map(np.array([[0, 0, 2], [2, 2, 0]]))).tolist()
    [[0, 0, 2], [2, 2, 0]]
"""

from __future__ import annotations

import numpy as np

from shared.errors import ProtocolError
from shared.vision.boxes import Classes, Detections
from shared.vision.tasks.masks import Map
from shared.wire.messages import Boxes, Mask

FULL = 65535
MOST_BOXES = 4096
MOST_PIXELS = 1 << 22
_U16, _U32 = np.dtype("<u2"), np.dtype("<u4")


def pack_boxes(found: Detections, *, width: float, height: float, tracks: Classes | None = None) -> Boxes:
    """Return detections as they travel.

    Args:
        found: in pixels of a picture; what lies outside it is cut off.
        width: of that picture, pixels.
        height: of that picture, pixels.
        tracks: the number of each object in its stream, if it has one.
    """
    shares = np.asarray(found.boxes / np.array([width, height, width, height], np.float32), np.float32)
    return Boxes(
        places=_column(shares * FULL).tobytes(),
        scores=_column(found.scores * FULL).tobytes(),
        classes=_column(found.classes).tobytes(),
        tracks=b"" if tracks is None else tracks.astype(_U32).tobytes(),
    )


def unpack_boxes(boxes: Boxes, *, width: float = 1.0, height: float = 1.0) -> Detections:
    """Return what travelled as detections in pixels of a picture of that size (of shares of it by default).

    Raises:
        ProtocolError: the columns do not fit each other, or there are more than MOST_BOXES.
    """
    many = len(boxes.scores) // 2
    if many > MOST_BOXES or [len(boxes.places), len(boxes.scores), len(boxes.classes)] != [8 * many, 2 * many, 2 * many]:
        raise ProtocolError(f"the columns of {many} boxes do not fit each other.")
    shares = np.frombuffer(boxes.places, _U16).reshape(many, 4).astype(np.float32) / FULL
    return Detections(
        boxes=(shares * np.array([width, height, width, height], np.float32)).astype(np.float32),
        scores=np.frombuffer(boxes.scores, _U16).astype(np.float32) / np.float32(FULL),
        classes=np.frombuffer(boxes.classes, _U16).astype(np.int64),
    )


def tracks_of(boxes: Boxes) -> Classes:
    """Return the track of each box, int64; -1 for all where none is told.

    Raises:
        ProtocolError: not as many tracks as boxes.
    """
    many = len(boxes.scores) // 2
    if not boxes.tracks:
        return np.full(many, -1, np.int64)
    if len(boxes.tracks) != 4 * many:
        raise ProtocolError(f"{len(boxes.tracks)} bytes are no tracks of {many} boxes.")
    return np.frombuffer(boxes.tracks, _U32).astype(np.int64)


def pack_map(classes: Map) -> Mask:
    """Return a map, integers of shape (height, width), as it travels."""
    height, width = classes.shape
    flat = classes.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1]).astype(np.int64) if flat.size else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, flat.size))
    parts = -(-lengths // FULL)  # a run longer than 16 bits hold is several
    last = np.repeat(np.cumsum(parts) - 1, parts) == np.arange(int(parts.sum()))
    pieces = np.where(last, np.repeat(lengths - (parts - 1) * FULL, parts), FULL)
    runs = np.stack([pieces, np.repeat(flat[starts], parts)], axis=1).astype(_U16)
    return Mask(width=width, height=height, runs=runs.tobytes())


def unpack_map(mask: Mask) -> Map:
    """Return the class of each pixel, int64 of shape (height, width).

    Raises:
        ProtocolError: empty, larger than MOST_PIXELS, or runs that do not fill it.
    """
    pixels = mask.width * mask.height
    if min(mask.width, mask.height) < 1 or pixels > MOST_PIXELS or len(mask.runs) % 4:
        raise ProtocolError(f"a map of {mask.width}x{mask.height} cannot be read.")
    runs = np.frombuffer(mask.runs, _U16).reshape(-1, 2).astype(np.int64)
    if int(runs[:, 0].sum()) != pixels:
        raise ProtocolError(f"the runs of a map fill {int(runs[:, 0].sum())} of {pixels} pixels.")
    return np.repeat(runs[:, 1], runs[:, 0]).reshape(mask.height, mask.width)


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]] | Classes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.rint(values).clip(0, FULL).astype(_U16)
