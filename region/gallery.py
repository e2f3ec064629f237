"""The cases as a reviewer sees them: the newest first, why each was sent, what student and expert say of it, what people say.

Rules, in order:
1. Outside, a case is called by its random name; its number in the file never leaves.
2. What others said is shown only to those who have said their own, or when the case is frozen: a second word that was led by the first is
   no second word.
3. A case without a picture that can be opened is shown all the same, without.

Not here: pictures (pictures), who may see this (people), the rules of labelling (labels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from region import casefilter, labels, schema
from region.casefilter import CaseFilter
from region.cases import StoredCase
from region.facts import moment
from region.labelling import Labels, Note
from region.labels import Opinion
from region.outlines import outlines
from region.vault import Vault
from shared.errors import InputError, ProtocolError
from shared.vision.crops import on_part
from shared.vision.tasks.shapes import unpack_boxes, unpack_map
from shared.wire.messages import Boxes, Crop, Mask, Prediction

SHOWN_PROBABILITIES, SHOWN_OBJECTS = 64, 100
_PAGE = (
    "SELECT cases.id, hex(cases.name), cases.part, frozen.held_out FROM cases JOIN facts USING (id) LEFT JOIN frozen USING (id)"
    " WHERE {} ORDER BY cases.id DESC LIMIT ?"
)
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM cases JOIN facts USING (id) LEFT JOIN frozen USING (id) WHERE {} LIMIT 10000)"
"""The brackets take a condition of `casefilter.where`, which is put together of constants."""


class Gallery:
    """Reads the vault for people.

    Args:
        vault: open, best for reading only and beside the daemon's own, so that people and devices do not wait for each other.
        labels: where words are kept.
        names: returns what the classes are called, in order.
    """

    def __init__(self, vault: Vault, labels: Labels, names: Callable[[], Sequence[str]]) -> None:
        self._vault = vault
        self._names = names
        self._labels = labels

    def page(self, chosen: CaseFilter, person: str, limit: int) -> dict[str, Any]:
        """Return one page of cases, newest first, and from where to go on.

        Args:
            chosen: which cases.
            person: who looks.
            limit: at most so many, up to `casefilter.LARGEST_PAGE`.
        """
        condition, values = casefilter.where(chosen, person)
        size = max(1, min(limit, casefilter.LARGEST_PAGE))
        rows = self._vault.database.rows(_PAGE.format(condition), [*values, size])
        found = self._described(rows, person)
        return {"cases": found, "next": rows[-1][0] if len(rows) == size else None}

    def count(self, chosen: CaseFilter, person: str) -> int:
        """Return how many cases a filter leaves, up to 10,000."""
        condition, values = casefilter.where(chosen, person)
        return int(self._vault.database.rows(_COUNT.format(condition), values)[0][0])

    def one(self, name: str, person: str) -> dict[str, Any]:
        """Return one case by its name.

        Raises:
            InputError: there is none.
        """
        return self._described([self._row(name)], person)[0]

    def stored(self, name: str) -> StoredCase:
        """Return a case with its picture; raises InputError when there is none."""
        found = self._vault.named(bytes.fromhex(name)) if _is_name(name) else None
        if found is None:
            raise _gone()
        return found

    def say(self, name: str, opinion: Opinion, note: Note) -> dict[str, Any]:
        """Keep a person's word on a case and return the case as that person sees it then.

        Args:
            name: the case's.
            opinion: the word.
            note: see `Labels.say`.

        Raises:
            InputError: there is no such case or class.
            AccessError: the case is frozen.
        """
        self._labels.say(self._row(name)[0], opinion, note)
        person = opinion.person
        return self.one(name, person)

    def token(self, name: str) -> str:
        """Return what stands for a case in audit entries; raises InputError when there is none."""
        return self._labels.token(self._row(name)[0])

    def summary(self, person: str) -> dict[str, Any]:
        """Return what the page shows around the cases: names, streams, how far labelling has come."""
        streams = self._vault.database.rows(
            "SELECT device, stream, count(*) FROM cases JOIN facts USING (id) GROUP BY device, stream ORDER BY device, stream"
        )
        newest = self._vault.database.rows("SELECT coalesce(max(id), 0), max(received_at) FROM cases")[0]
        asks = {
            "mine": self.count(CaseFilter(asks="mine", held_out=True), person),
            "disagree": self.count(CaseFilter(disagree=True), person),
        }
        return {
            "classes": list(self._names()),
            "streams": [{"device": device, "stream": stream, "cases": cases} for device, stream, cases in streams],
            "newest": newest[0],
            "newest_at": newest[1],
            "cases": sum(row[2] for row in streams),
            "labels": {**self._labels.counts(), **asks},
        }

    def _row(self, name: str) -> tuple[int, str, str, int | None]:
        rows = self._vault.database.rows(_PAGE.format("cases.name = ?"), [bytes.fromhex(name), 1]) if _is_name(name) else []
        if not rows:
            raise _gone()
        found: tuple[int, str, str, int | None] = rows[0]
        return found

    def _described(self, rows: Sequence[tuple[int, str, str, int | None]], person: str) -> list[dict[str, Any]]:
        words = self._labels.of(row[0] for row in rows)
        found = []
        for case, name, part, held_out in rows:
            stored = self._vault.named(bytes.fromhex(name))
            if stored is not None:  # retention may have dropped it meanwhile
                is_held_out = bool(held_out) if held_out is not None else part not in {schema.TRAIN, schema.ELSEWHERE}
                found.append({**_facts(name.lower(), stored), "held_out": is_held_out, **spoken(words[case], person)})
        return found


def spoken(words: Sequence[Opinion], person: str) -> dict[str, Any]:
    """Return what people say of a case as one of them may see it. Pure."""
    found = labels.verdict(words)
    mine = next((word.label for word in words if word.person.casefold() == person.casefold()), None)
    is_open = mine is not None or found.state is labels.State.FROZEN
    shown = [{"person": word.person, "label": word.label, "at": word.at, "source": word.source} for word in words if is_open]
    return {
        "state": found.state.value,
        "label": found.label,
        "label_source": found.source,
        "mine": mine,
        "asks_me": labels.asks(words, person),
        "voices": len(words),
        "words": shown,
    }


def _facts(name: str, stored: StoredCase) -> dict[str, Any]:
    case = stored.case
    return {
        "case": name,
        "device": stored.device,
        "stream": case.stream,
        "frame": case.frame,
        "unit": case.unit,
        "captured_at": moment(case.captured_at),
        "received_at": stored.received_at,
        "is_audit": case.is_audit,
        "reason": case.reason,
        "score": _number(case.score),
        "threshold": _number(case.threshold),
        "release": case.release,
        "width": case.picture.width,
        "height": case.picture.height,
        "student": _said(case.prediction, case.crop),
        "expert": stored.answer and _said(stored.answer, case.crop),
    }


def _said(prediction: Prediction, crop: Crop | None) -> dict[str, Any]:
    said: dict[str, Any] = {"label": prediction.index, "probabilities": _rounded(prediction.probabilities)}
    if prediction.boxes is not None:
        said["objects"] = _objects(prediction.boxes, crop)
    if prediction.mask is not None and (areas := _areas(prediction.mask)) is not None:
        said["areas"] = areas
    return said


def _areas(mask: Mask) -> dict[str, Any] | None:
    """Return the outlines of each class's areas; None where the map cannot be read."""
    try:
        found = outlines(unpack_map(mask))
    except ProtocolError:
        return None
    paths = [{"label": label, "path": path} for label, path in found.paths.items()]
    return {"width": found.width, "height": found.height, "outlines": paths}


def _objects(boxes: Boxes, crop: Crop | None) -> list[dict[str, Any]]:
    """Return the surest objects, their boxes in shares of the picture that is shown; none where the columns cannot be read."""
    try:
        found = on_part(unpack_boxes(boxes), crop)
    except ProtocolError:
        return []
    rows = zip(found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"label": label, "score": round(score, 4), "box": [round(share, 4) for share in box]}
        for label, score, box in list(rows)[:SHOWN_OBJECTS]
    ]


def _rounded(probabilities: Sequence[float]) -> list[float]:
    return [round(value, 4) if math.isfinite(value) else 0.0 for value in probabilities[:SHOWN_PROBABILITIES]]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _is_name(name: str) -> bool:
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)


def _gone() -> InputError:
    return InputError("there is no such case in the vault.", "It may have been dropped or erased.")
