"""How a frame of any size is brought into a network's input, and the way back for what was found there. Pure.

Rules, in order:
1. `stretch`: the frame's sides become the input's, whatever that does to its shape.
2. `letterbox`: the frame keeps its shape, is made as large as fits and stands in the middle; the rest is the card's padding. Sides are
   rounded half up and the odd pixel goes to the right or below, as the exporters of one-stage detectors do it.
3. `crop`: the frame keeps its shape and fills the input; what stands over on both sides is not seen.
4. A frame that has been scaled to its place already (`Place.size`) gets the same place: scaling twice is scaling once.

Example:
    >>> place_of((360, 640), InputSpec(width=64, height=64, fit="letterbox"))
    Place(left=0, top=14, width=64, height=36, input_width=64, input_height=64)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from shared.release.card import InputSpec
from shared.vision.boxes import Detections
from shared.vision.frames import Pixels

STRETCH, LETTERBOX, CROP = "stretch", "letterbox", "crop"
FITS = (STRETCH, LETTERBOX, CROP)
Size = tuple[int, int]
"""Height and width in pixels."""
Places = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the whole frame lies in the network's input, in its pixels; with `crop`, `left` or `top` may be below 0."""

    left: int
    top: int
    width: int
    height: int
    input_width: int
    input_height: int

    @property
    def size(self) -> Size:
        """Height and width to which the frame is scaled."""
        return self.height, self.width

    @property
    def is_whole(self) -> bool:
        """Whether the frame is all of the input."""
        return (self.left, self.top, self.width, self.height) == (0, 0, self.input_width, self.input_height)


def place_of(size: Size, spec: InputSpec) -> Place:
    """Return where a frame of a size lies in the input of a card.

    Args:
        size: the frame's height and width in pixels, at least 1.
        spec: the card's input.
    """
    tall, wide = size
    width, height = spec.width, spec.height
    if spec.fit != STRETCH and (wide * spec.height > tall * spec.width) == (spec.fit == LETTERBOX):
        height = max(1, _scaled(tall, spec.width, wide))
    elif spec.fit != STRETCH:
        width = max(1, _scaled(wide, spec.height, tall))
    return Place(
        left=(spec.width - width) // 2,
        top=(spec.height - height) // 2,
        width=width,
        height=height,
        input_width=spec.width,
        input_height=spec.height,
    )


def placed(scaled: Pixels, place: Place, padding: int) -> Pixels:
    """Return frames that have been scaled to their place in the input's size: padded or cut.

    Args:
        scaled: uint8, shape (N, place.height, place.width, C).
        place: theirs.
        padding: the value around them, 0 to 255.
    """
    if place.is_whole:
        return scaled
    top, left = max(0, -place.top), max(0, -place.left)
    seen = scaled[:, top : top + place.input_height, left : left + place.input_width]
    if seen.shape[1:3] == (place.input_height, place.input_width):
        return seen
    whole = np.full((len(scaled), place.input_height, place.input_width, scaled.shape[3]), padding, np.uint8)
    top, left = max(0, place.top), max(0, place.left)
    whole[:, top : top + seen.shape[1], left : left + seen.shape[2]] = seen
    return whole


def on_frame(found: Detections, place: Place) -> Detections:
    """Return detections in pixels of the input as they lie on the frame stretched to the input's size, without those beside the frame."""
    if place.is_whole:
        return found
    across, down = place.input_width / place.width, place.input_height / place.height
    moved = found.moved(right=-place.left, down=-place.top).scaled(horizontally=across, vertically=down)
    low, high = moved.boxes[:, :2], moved.boxes[:, 2:]
    return moved.take(np.asarray(((high > 0) & (low < (place.input_width, place.input_height))).all(axis=1)))


def on_input(found: Detections, place: Place) -> Detections:
    """Return detections on the frame stretched to the input's size in pixels of the input: the way back of `on_frame`."""
    across, down = place.width / place.input_width, place.height / place.input_height
    return found.scaled(horizontally=across, vertically=down).moved(right=place.left, down=place.top)


def map_on_frame(
    channels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], place: Place
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a map of probabilities as it lies on the frame, in the map's own resolution; what the network did not see is background.

    Args:
        channels: float32 (classes, rows, columns) over the whole input; the first class is the background.
        place: the frame's.
    """
    if place.is_whole:
        return channels
    rows, some_rows = _picked(channels.shape[1], place.top, place.height, place.input_height)
    columns, some_columns = _picked(channels.shape[2], place.left, place.width, place.input_width)
    found = np.zeros((len(channels), len(rows), len(columns)), np.float32)
    found[0] = 1.0
    found[:, some_rows[:, None] & some_columns[None]] = channels[:, rows[some_rows][:, None], columns[some_columns][None]].reshape(
        len(channels), -1
    )
    return found


def sizes_of(frames: Sequence[Pixels]) -> tuple[Size, ...]:
    """Return height and width of each frame (H, W, 3)."""
    return tuple((frame.shape[0], frame.shape[1]) for frame in frames)


def _scaled(length: int, to: int, of: int) -> int:
    """Return `length * to / of`, rounded half up."""
    return (2 * length * to + of) // (2 * of)


def _picked(many: int, start: int, length: int, of: int) -> tuple[Places, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return for each place along a side of the frame the place in the map it shows, and which of them the network saw."""
    count = max(1, round(length * many / of))
    places = np.floor((start + (np.arange(count) + 0.5) * length / count) * many / of).astype(np.intp)
    return places, (places >= 0) & (places < many)
