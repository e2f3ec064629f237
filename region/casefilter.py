"""Which cases a gallery shows: a filter as people choose it, and the question it asks of the vault's file. Pure: values in, SQL out.

Every value travels as a parameter; the text is put together of the constants below only.

Example:
    >>> where(CaseFilter(device="edge-1.region-1"), person="ann")
    ('cases.device = ?', ['edge-1.region-1'])
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["", "hard", "audit"]
Asked = Literal["", "mine", "disputed", "frozen"]
LARGEST_PAGE = 120


class CaseFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown; an empty value leaves everything in.

    Attributes:
        device: the device's name.
        stream: the stream's name.
        label: a class: the student's, the expert's or the people's.
        kind: hard cases, or audit samples.
        disagree: only where student and expert differ.
        asks: `mine`: the case asks for this person's word; `disputed`: people differ; `frozen`: people agreed.
        held_out: only cases of units never trained on, which count at the gate.
        before: only cases older than this row.
    """

    device: str = ""
    stream: str = ""
    label: int | None = None
    kind: Kind = ""
    disagree: bool = False
    asks: Asked = ""
    held_out: bool = False
    before: int | None = None


_DISPUTED = "(SELECT id FROM labels GROUP BY id HAVING count(DISTINCT label) > 1)"
_ASKS = {
    "mine": "frozen.id IS NULL AND cases.id NOT IN (SELECT id FROM labels WHERE person = ?)",
    "disputed": f"frozen.id IS NULL AND cases.id IN {_DISPUTED}",
    "frozen": "frozen.id IS NOT NULL",
}


def where(chosen: CaseFilter, person: str) -> tuple[str, list[object]]:
    """Return the condition of a query over cases, facts and frozen (left joined), and its parameters.

    Args:
        chosen: the filter.
        person: who looks.
    """
    parts: list[tuple[str, list[object]]] = [
        ("cases.device = ?", [chosen.device] if chosen.device else []),
        ("facts.stream = ?", [chosen.stream] if chosen.stream else []),
        ("? IN (facts.student, facts.expert, frozen.label)", [] if chosen.label is None else [chosen.label]),
        ("cases.is_audit = ?", [chosen.kind == "audit"] if chosen.kind else []),
        ("cases.id < ?", [] if chosen.before is None else [chosen.before]),
    ]
    asked = [(text, values) for text, values in parts if values]
    if chosen.disagree:
        asked.append(("facts.expert IS NOT NULL AND facts.expert != facts.student", []))
    if chosen.asks:
        asked.append((_ASKS[chosen.asks], [person] if chosen.asks == "mine" else []))
    if chosen.held_out:
        asked.append(("coalesce(frozen.held_out, cases.part NOT IN ('train', 'elsewhere'))", []))
    return " AND ".join(text for text, _ in asked) or "1", [value for _, values in asked for value in values]
