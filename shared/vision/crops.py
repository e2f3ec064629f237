"""The uncertain part of a frame: which part is sent instead of the whole, and what an answer to a part says of the whole. Pure.

Rules, in order:
1. The uncertain part holds the candidates that make up `ENOUGH` of a frame's doubt: a told box doubts by how unlikely it is an object, a
   candidate that is not told by how likely it is one.
2. It gets a margin of `MARGIN` of its longer side, at least `LEAST_MARGIN` of the frame, and is cut off at the frame's edges. A part of
   more than `LARGEST` of the frame is not worth it, and without a candidate there is none: then the whole frame is sent.
3. The expert sees the part at its place and in its scale, on grey (`paste`): it was trained on whole frames.
4. An answer speaks for objects whose centre lies in the part; of all others the device's own word stands.

Not here: encoding (picture). Audit samples are always whole frames: the caller sees to that.
"""

from __future__ import annotations

import numpy as np

from shared.errors import InputError
from shared.vision.boxes import BoxArray, Detections, joined
from shared.vision.frames import Pixels
from shared.wire.messages import Crop

ENOUGH, MARGIN, LEAST_MARGIN, LARGEST = 0.8, 0.25, 0.03, 0.5
GREY = 114
Part = tuple[float, float, float, float]
"""x0, y0, x1, y1 in shares of the frame."""


def uncertain_part(candidates: Detections, threshold: float) -> Part | None:
    """Return the uncertain part of a frame (rules 1 and 2), None for the whole.

    Args:
        candidates: told and not told, in shares of the frame.
        threshold: from which score they are told.
    """
    right = np.where(candidates.scores >= threshold, candidates.scores, 1.0 - candidates.scores)
    doubt = -np.log(np.clip(right, 1e-3, 1.0))
    if doubt.sum() <= 0.0:
        return None
    order = np.argsort(-doubt, kind="stable")
    many = int(np.searchsorted(np.cumsum(doubt[order]), ENOUGH * doubt.sum() * (1 - 1e-9))) + 1
    boxes = candidates.boxes[order[:many]]
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = max(LEAST_MARGIN, MARGIN * float((high - low).max()))
    left, top = np.clip(low - margin, 0.0, 1.0).tolist()
    end, bottom = np.clip(high + margin, 0.0, 1.0).tolist()
    if end <= left or bottom <= top or (end - left) * (bottom - top) > LARGEST:
        return None
    return left, top, end, bottom


def cut(pixels: Pixels, part: Part) -> tuple[Pixels, Crop]:
    """Return a part of a picture, whole pixels, and where it lies in it."""
    height, width = pixels.shape[:2]
    x, y = min(int(part[0] * width), width - 1), min(int(part[1] * height), height - 1)
    end, bottom = max(x + 1, min(width, int(np.ceil(part[2] * width)))), max(y + 1, min(height, int(np.ceil(part[3] * height))))
    crop = Crop(x=x, y=y, width=end - x, height=bottom - y, of_width=width, of_height=height)
    return pixels[y:bottom, x:end], crop


def paste(pixels: Pixels, crop: Crop, *, max_pixels: int) -> Pixels:
    """Return a frame of the original size with the part at its place, the rest grey.

    Raises:
        InputError: the picture is not of the size its message says, does not lie in its frame, or the frame has more than `max_pixels`.
    """
    if pixels.shape[:2] != (crop.height, crop.width):
        raise InputError(f"a part of {pixels.shape[1]}x{pixels.shape[0]} pixels says it is {crop.width}x{crop.height}.")
    if min(crop.x, crop.y) < 0 or crop.x + crop.width > crop.of_width or crop.y + crop.height > crop.of_height:
        raise InputError(f"a part at {crop.x},{crop.y} does not lie in its frame of {crop.of_width}x{crop.of_height}.")
    if crop.of_width * crop.of_height > max_pixels:
        raise InputError(f"a frame of {crop.of_width}x{crop.of_height} is larger than {max_pixels} pixels.")
    whole = np.full((crop.of_height, crop.of_width, 3), GREY, np.uint8)
    whole[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] = pixels
    return whole


def on_part(found: Detections, crop: Crop | None) -> Detections:
    """Return detections given in shares of the frame in shares of the part, those that lie in it at all; None stands for the whole."""
    if crop is None:
        return found
    scaled = found.scaled(horizontally=crop.of_width / max(1, crop.width), vertically=crop.of_height / max(1, crop.height))
    there = scaled.moved(right=-crop.x / max(1, crop.width), down=-crop.y / max(1, crop.height))
    return there.take(np.asarray(((there.boxes[:, :2] < 1.0) & (there.boxes[:, 2:] > 0.0)).all(axis=1)))


def merged(own: Detections, answer: Detections, part: Part | None) -> Detections:
    """Return what a frame shows after the answer to a part of it (rule 4); all in shares of the frame, None stands for the whole."""
    if part is None:
        return answer
    return joined(own.take(~inside(own.boxes, part)), answer.take(inside(answer.boxes, part)))


def covers(whole: Part | None, part: Part | None) -> bool:
    """Tell whether a part lies within another; None stands for the whole frame, which only the whole covers."""
    if whole is None or part is None:
        return whole is None
    return whole[0] <= part[0] and whole[1] <= part[1] and whole[2] >= part[2] and whole[3] >= part[3]


def inside(boxes: BoxArray, part: Part | None) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which boxes have their centre in a part, bool of shape (N); all of them in the whole."""
    if part is None:
        return np.ones(len(boxes), bool)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((centres >= part[:2]) & (centres <= part[2:])).all(axis=1))
