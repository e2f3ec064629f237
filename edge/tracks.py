"""Objects followed through the frames of one stream, with the expert's late answers joined to them. Pure.

Rules, in order:
1. A track's place in a frame is predicted with constant velocity; boxes are joined to predictions by overlap, the best
   pair first, if by at least `JOIN`. Velocity follows what is seen, half of the way each time.
2. A box that joins no track begins one. A track that is seen `SURE_AFTER` times is established.
3. A track unseen for `PATIENCE` frames ends. At the first frame it is missing from, an established track away from the picture's edge is
   told as vanished, with its last score: an object does not end in the middle of a picture, a detector does.
4. The expert's answer to a part of frame f is joined to where tracks were in it: a partner of any class confirms a track, with the
   expert's class; a track that had a box in f and has no partner is refuted. An object without a track begins one where it was, confirmed
   and not yet seen here; a candidate that was not told and has no partner begins one that is refuted, so that it is not asked for again.
   Answers older than `MEMORY` frames, or to frames before `clear`, are joined to nothing; no answer begins a track beyond `MOST`.

Boxes are in shares of the frame (0 to 1). Not here: locks, and what a hint is worth (deferral.missed).
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np

from shared.vision.boxes import BoxArray, Classes, Detections, overlap
from shared.vision.crops import Part, inside

JOIN = 0.3
SURE_AFTER = 3
PATIENCE = 5
MEMORY = 512
MOST = 1024
EDGE = 0.02
"""How near its edge, in shares of the frame, an object may leave the picture."""
UNANSWERED, CONFIRMED, REFUTED = "unanswered", "confirmed", "refuted"
_Box = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
_NONE: BoxArray = np.zeros((0, 4), np.float32)


class Track(msgspec.Struct, kw_only=True):
    """One object: where it was seen last and how it moves (shares per frame), and what the expert said of it."""

    number: int
    box: _Box
    velocity: _Box
    label: int
    score: float
    last: int
    seen: int = 1
    word: str = UNANSWERED
    is_told: bool = False

    def at(self, frame: int) -> _Box:
        """Return where the object should be in a frame."""
        return np.asarray(self.box + self.velocity * (frame - self.last))


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What following a frame's boxes says.

    The track of each box, the scores of tracks that vanished, and how many objects came or went away from the picture's edge.
    """

    tracks: Classes
    vanished: tuple[float, ...]
    changes: int


class Tracks:
    """The objects of one stream; one thread at a time."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}
        self._past: OrderedDict[int, tuple[Classes, BoxArray, BoxArray]] = OrderedDict()
        self._next = 0
        self._frame = -1

    def __len__(self) -> int:
        return len(self._tracks)

    def get(self, number: int) -> Track | None:
        """Return a track by its number, None once it has ended."""
        return self._tracks.get(number)

    def clear(self) -> None:
        """Forget all objects: what comes next is another scene. Numbers are not used again."""
        self._tracks.clear()
        self._past.clear()
        self._frame = -1

    def follow(self, frame: int, found: Detections, untold: BoxArray = _NONE) -> Followed:
        """Join the boxes of a frame to tracks (rules 1 to 3).

        Args:
            frame: its number in the stream; skipped numbers count as time.
            found: its boxes in shares of the frame.
            untold: boxes of candidates that are too unlikely to be told; they get no track before they are answered.
        """
        if frame <= self._frame:
            self.clear()
        is_first, numbers, fresh = not self._past, self._join(frame, found), 0
        for row in np.flatnonzero(numbers < 0):
            numbers[row] = self._begin(frame, found.boxes[row], int(found.classes[row]), float(found.scores[row])).number
            fresh += not is_first and not _leaves(found.boxes[row])
        gone = self._missing(frame, set(numbers.tolist()))
        self._past[frame] = (numbers, found.boxes, untold)
        while len(self._past) > MEMORY:
            self._past.popitem(last=False)
        self._frame = frame
        return Followed(tracks=numbers, vanished=tuple(one.score for one in gone), changes=fresh + len(gone))

    def answer(self, frame: int, said: Detections, part: Part | None = None) -> None:
        """Join the expert's answer to an earlier frame (rule 4).

        Args:
            frame: which one was answered.
            said: the expert's objects, in shares of the frame.
            part: which part of the frame the expert saw; None for the whole.
        """
        if frame not in self._past:
            return
        numbers, boxes, untold = self._past[frame]
        seen, said = inside(boxes, part), said.take(inside(said.boxes, part))
        numbers, boxes, untold = numbers[seen], boxes[seen], untold[inside(untold, part)]
        partners = pairs(overlap(boxes, said.boxes), JOIN)
        for row, number in enumerate(numbers.tolist()):
            track = self._tracks.get(number)
            if track is not None:
                track.word = CONFIRMED if row in partners else REFUTED
                track.label = int(said.classes[partners[row]]) if row in partners else track.label
        room = max(0, MOST - len(self._tracks))
        for other in sorted(set(range(len(said))) - set(partners.values()))[:room]:
            self._begin(self._frame, said.boxes[other], int(said.classes[other]), float(said.scores[other])).word = CONFIRMED
        known = np.concatenate([said.boxes, boxes])
        for box in untold[(overlap(untold, known) < JOIN).all(axis=1)][: max(0, MOST - len(self._tracks))]:
            self._begin(self._frame, box, -1, 0.0).word = REFUTED

    def settled(self, frame: int, boxes: BoxArray) -> Classes:
        """Return for each box of a frame the track whose answer from the expert it inherits, -1 for none; int64 of shape (N).

        A refuted track is never told and so not followed: it lives on while something is seen there.
        """
        answered = [one for one in self._tracks.values() if one.word != UNANSWERED]
        if not answered or not len(boxes):
            return np.full(len(boxes), -1, np.int64)
        table = overlap(boxes, np.stack([one.at(frame) for one in answered]))
        best = table.argmax(axis=1)
        numbers = np.array([one.number for one in answered], np.int64)
        for row in np.flatnonzero(table.max(axis=1) >= JOIN):
            if answered[best[row]].word == REFUTED:
                _renew(answered[best[row]], frame, boxes[row])
        return np.where(table.max(axis=1) >= JOIN, numbers[best], -1).astype(np.int64)

    def _join(self, frame: int, found: Detections) -> Classes:
        numbers = np.full(len(found), -1, np.int64)
        tracks = list(self._tracks.values())
        if not tracks or not len(found):
            return numbers
        table = overlap(found.boxes, np.stack([one.at(frame) for one in tracks]))
        for row, column in pairs(table, JOIN).items():
            track, box = tracks[column], found.boxes[row]
            numbers[row] = track.number
            _renew(track, frame, box)
            track.score, track.is_told = float(found.scores[row]), False
            track.seen += 1
            if track.word == UNANSWERED:
                track.label = int(found.classes[row])
        return numbers

    def _begin(self, frame: int, box: _Box, label: int, score: float) -> Track:
        track = Track(number=self._next, box=box, velocity=np.zeros(4, np.float32), label=label, score=score, last=frame)
        self._tracks[track.number] = track
        self._next += 1
        return track

    def _missing(self, frame: int, here: set[int]) -> list[Track]:
        gone = []
        for track in [one for one in self._tracks.values() if one.number not in here]:
            if track.seen >= SURE_AFTER and not track.is_told and track.word != REFUTED and not _leaves(track.at(frame)):
                gone.append(track)
            track.is_told = True
            if frame - track.last > PATIENCE:
                del self._tracks[track.number]
        return gone


def pairs(table: BoxArray, least: float) -> dict[int, int]:
    """Return rows joined to columns of a table, the highest value first, each once and none below `least`."""
    joined: dict[int, int] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(table >= least)
    for place in np.argsort(-table[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in joined and column not in taken:
            joined[row] = column
            taken.add(column)
    return joined


def _renew(track: Track, frame: int, box: _Box) -> None:
    if track.last < frame:
        track.velocity = np.asarray(0.5 * track.velocity + 0.5 * (box - track.box) / (frame - track.last), np.float32)
    track.box, track.last = box, frame


def _leaves(box: _Box) -> bool:
    return bool((box[:2] <= EDGE).any() or (box[2:] >= 1.0 - EDGE).any())
