"""A detector's and a segmenter's events on their way out: boxes go along, and a label selects what names it anywhere."""

from __future__ import annotations

import msgspec
import pytest

from edge.events import Event, Object, encode
from edge.outlets.selection import Selection
from edge.outlets.signature import body
from tests.unit.test_outlets import event

SPOT = Object(label="spot", confidence=0.9, box=(0.1, 0.2, 0.3, 0.4), track=7)
CRACK = Object(label="crack", confidence=0.5, box=(0.5, 0.5, 0.6, 0.7))
FOUND = msgspec.structs.replace(event(1, label="spot"), objects=(SPOT, CRACK))
NOTHING = msgspec.structs.replace(event(2, label=""), objects=())
MAPPED = msgspec.structs.replace(event(3, label="scratch"), areas={"none": 0.9, "scratch": 0.07, "dent": 0.03, "stain": 0.0})


@pytest.mark.parametrize(
    ("label", "wanted"), [("spot", [FOUND]), ("crack", [FOUND]), ("dent", [MAPPED]), ("stain", []), ("none", []), ("good", [])]
)
def test_a_label_selects_events_that_name_it_anywhere(label: str, wanted: list[Event]) -> None:
    selection = Selection(labels=(label,))
    events = (FOUND, NOTHING, MAPPED)
    assert [one for one in events if selection.wants(state=one.state, labels=one.names, stream=one.stream)] == wanted


def test_topics_and_webhooks_are_sent_the_boxes_with_the_event() -> None:
    boxes = [
        {"label": "spot", "confidence": 0.9, "box": [0.1, 0.2, 0.3, 0.4], "track": 7},
        {"label": "crack", "confidence": 0.5, "box": [0.5, 0.5, 0.6, 0.7], "track": -1},
    ]
    assert msgspec.json.decode(encode(FOUND))["objects"] == boxes
    assert msgspec.json.decode(body([FOUND, NOTHING], device="edge-1.north", at=0.0))["data"][0]["objects"] == boxes
