"""What a device knows of the objects in its streams beyond one frame: follows them, inherits answers, and hints at what was missed. Pure.

Rules, in order:
1. Objects are followed within a unit of a stream; another unit is another scene.
2. A candidate on a track that the expert has answered inherits the answer while the track lasts: confirmed, it is told with the expert's
   class and doubted no more, so one object is not asked for in every frame; refuted, it is not told.
3. What the other candidates say is the score; hints from the frames before take away from it (deferral.missed).

Answers come from another thread; they wait in a queue of their own and are joined before the next frame of their stream.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from edge.tracks import CONFIRMED, REFUTED, Tracks
from shared.deferral import missed
from shared.deferral.missed import Candidates, Hints
from shared.deferral.reading import score_name
from shared.release.card import Card
from shared.vision.boxes import BoxArray, Classes, Detections
from shared.vision.crops import Part, uncertain_part
from shared.vision.frames import Pixels
from shared.vision.tasks.detection import Detection
from shared.wire.messages import Prediction

GRID = 24
"""Motion is looked for in so many rows and columns of sample points."""
MOVED_LEVELS = 25
MOST_ANSWERS = 256
_Points = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
_Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A frame after its objects were followed: `reason` names the hint that made it doubtful, `part` is where it is uncertain."""

    prediction: Prediction
    score: float
    reason: str = ""
    part: Part | None = None


class Objects:
    """The objects of one stream."""

    def __init__(self) -> None:
        self._tracks = Tracks()
        self._unit: str | None = None
        self._points: _Points | None = None
        self._answers: deque[tuple[int, Detections, Part | None]] = deque(maxlen=MOST_ANSWERS)

    def answered(self, frame: int, said: Detections, part: Part | None = None) -> None:
        """Take what the expert said of a frame or a part of it, in shares of the frame; from any thread."""
        self._answers.append((frame, said, part))

    def see(self, card: Card, *, frame: int, unit: str, pixels: Pixels, candidates: Detections) -> Seen:
        """Follow the objects of the next frame.

        Args:
            card: of the model that saw them.
            frame: its number.
            unit: what it is independent of others with.
            pixels: the frame, for motion.
            candidates: told and not told, in pixels of the frame stretched to the network's input.

        Returns:
            What is told of the frame and how sure it is now.
        """
        self._enter(unit)
        task = Detection.of(card)
        threshold = task.spec.score_threshold
        shares = candidates.scaled(horizontally=1 / task.input.width, vertically=1 / task.input.height)
        numbers = self._tracks.settled(frame, shares.boxes)
        kept, open_, sure = self._inherit(shares, numbers, known=task.labels)
        told = kept.take((kept.scores >= threshold) | sure)
        followed = self._tracks.follow(frame, told, open_.boxes[open_.scores < threshold])
        hints = Hints(vanished=followed.vanished, moved=self._moved(pixels, told.boxes), flicker=followed.changes)
        found = Candidates(scores=np.append(open_.scores, np.ones(int(sure.sum()))), threshold=threshold)
        plain = missed.SCORES[score_name(card)](found)
        lifted = msgspec.structs.replace(told, scores=np.maximum(told.scores, np.float32(threshold)))
        back = lifted.scaled(horizontally=task.input.width, vertically=task.input.height)
        return Seen(
            prediction=task.prediction(back, followed.tracks),
            score=missed.with_hints(plain, hints),
            reason=missed.reason_of(plain, hints),
            part=None if hints != missed.NO_HINTS else uncertain_part(open_, threshold),
        )

    def _enter(self, unit: str) -> None:
        if unit != self._unit:
            self._tracks.clear()
            self._answers.clear()
            self._unit, self._points = unit, None
        while self._answers:
            self._tracks.answer(*self._answers.popleft())

    def _inherit(self, shares: Detections, numbers: Classes, *, known: int) -> tuple[Detections, Detections, _Mask]:
        """Return what is not refuted with the expert's classes, what nobody answered, and which of the former are confirmed.

        A class that is not among the `known` first is none of the device's: its own stands.
        """
        tracks = [self._tracks.get(number) for number in numbers.tolist()]
        words = np.array([track.word if track else "" for track in tracks], dtype="<U12")
        labels = np.array([track.label if track and track.word == CONFIRMED else -1 for track in tracks], np.int64)
        classes = np.where((labels >= 0) & (labels < known), labels, shares.classes)
        stays = words != REFUTED
        kept = msgspec.structs.replace(shares, classes=classes).take(stays)
        return kept, shares.take(words == ""), (words == CONFIRMED)[stays]

    def _moved(self, pixels: Pixels, boxes: BoxArray) -> float:
        """Return the share of the sample points that changed since the frame before and lie in no box."""
        height, width = pixels.shape[:2]
        rows, columns = (np.arange(GRID) * height) // GRID, (np.arange(GRID) * width) // GRID
        points = pixels[rows[:, None], columns[None], 1].astype(np.int16)
        before, self._points = self._points, points
        if before is None:
            return 0.0
        changed = np.abs(points - before) > MOVED_LEVELS
        for left, top, right, bottom in (boxes * GRID).tolist():
            changed[max(0, int(top)) : int(np.ceil(bottom)) + 1, max(0, int(left)) : int(np.ceil(right)) + 1] = False
        return float(changed.mean())
