"""State diagrams for the documentation, drawn from the tables in the code: `python -m tests.docs.diagrams` puts them into their pages.

In a page a diagram stands between `<!-- diagram NAME -->` and `<!-- end -->`; a test compares it with what this returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from cloud import rollout_states
from edge import swap
from shared.link import casestates, handshake, route

PAGES = tuple(Path(__file__).resolve().parents[2] / "docs" / name for name in ("architecture.md", "link.md"))


def drawn(table: Mapping[tuple[Enum, Enum], Enum], first: Enum) -> str:
    """Return a transition table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [f"    {before.name} --> {after.name}: {event.value}" for (before, event), after in table.items()]
    left = {before for before, _ in table}
    lines += [f"    {state.name} --> [*]" for state in dict.fromkeys(table.values()) if state not in left]
    return "\n".join(lines) + "\n"


DIAGRAMS = {
    "delivery": drawn(casestates.DELIVERY, casestates.Delivery.WAITING),
    "reply": drawn(casestates.REPLY, casestates.Reply.NONE),
    "answers": drawn(casestates.ANSWERS, casestates.Answers.EXPECTED),
    "epoch": drawn(handshake.HANDSHAKE, handshake.State.NO_KEY),
    "route": drawn(route.ROUTE, route.State.HOME),
    "update": swap.diagram(),
    "rollout": drawn(rollout_states.TABLE, rollout_states.State.CANARY),
}


def block(name: str) -> str:
    """Return what stands between a diagram's marks."""
    return f"<!-- diagram {name} -->\n```mermaid\n{DIAGRAMS[name]}```\n<!-- end -->"


def filled(page: str) -> str:
    """Return a page with its diagrams drawn anew."""
    return re.sub(r"<!-- diagram (\w+) -->.*?<!-- end -->", lambda found: block(found[1]), page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
