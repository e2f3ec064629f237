"""Starved audits: a device or a link that withholds audit answers, or the device's own word, cannot make the live risk look better."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from cloud import overview
from cloud.records import Region
from edge.liveaudits import LiveAudits
from region import liverisk, summary
from shared.deferral.live import PATIENCE_S
from shared.wire.messages import LiveWord, Telemetry
from shared.wire.reports import DeviceLive, FleetReport, decode_report, encode_report
from tests.unit.edge_parts import colour
from tests.unit.test_shadow import answer, inferred

NAME = "edge-1.region-1"


def measured(errors: list[bool], *, withheld: bool) -> DeviceLive:
    """What the region makes of a device's word after these samples; with `withheld` the answers that would show an error never come."""
    audits = LiveAudits()
    audits.adopt(2, threshold=0.5, epsilon=None)
    for number, errs in enumerate(errors, start=1):
        drawn = inferred(number, colour(250, 0), 0, unit=f"board-{number}")
        drawn = msgspec.structs.replace(drawn, decision=msgspec.structs.replace(drawn.decision, awaits_answer=False))
        audits.drawn(drawn, 0.0)
        audits.spooled(number, drawn)
        if not (errs and withheld):
            audits.answer(answer(number, int(errs)))
    state = audits.state(PATIENCE_S + 1.0)
    word = LiveWord(
        risk=state.risk, low=state.low, high=state.high, audited=state.audited, is_censored=state.is_censored, missing=state.missing
    )
    return told(word)


def told(word: LiveWord) -> DeviceLive:
    said = Telemetry(at=1.0, floor=0, release=2, update_state="", streams=(), spool_cases=0, spool_bytes=0, live=word)
    live = liverisk.of_device(said, told_at=100.0)
    assert live is not None
    return live


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_link_that_withholds_just_the_bad_answers_cannot_make_the_risk_look_better(share: float) -> None:
    errors = (np.random.default_rng(3).random(300) < share).tolist()
    honest, starved = measured(errors, withheld=False), measured(errors, withheld=True)
    assert (honest.missing, starved.missing) == (0, sum(errors))
    assert starved.wrong == 0, "all that was answered looks fine"
    assert starved.high >= honest.high - 1e-6, "and yet it is not said to be better"
    assert liverisk.is_censored(starved)
    region = liverisk.of_region({NAME: starved}, connected={NAME}, now=100.0)
    entry = {"heard_at": 100.0, "connected_recently": True, "live": msgspec.to_builtins(starved)}
    status = {"name": "region-1", "devices": {NAME: entry}, "live": msgspec.to_builtins(region)}
    report = decode_report(encode_report(summary.compose({}, status, now=100.0)))
    assert isinstance(report, FleetReport)
    shown = overview.live_of([Region(name="region-1", node=1, seen_at=100.0, report=report, cases_learned=0)], 100.0)
    assert shown["high"] >= honest.high - 1e-6
    assert shown["censored_share"] == pytest.approx(sum(errors) / 300, abs=1e-6)


def test_a_device_cannot_tell_a_narrower_interval_than_its_counts_allow() -> None:
    few = LiveWord(risk=0.0, low=0.0, high=0.0001, audited=10, is_censored=False, missing=0)
    assert told(few).high > 0.3
    starved = msgspec.structs.replace(few, audited=300, missing=100)
    assert told(starved).high > 0.25, "nor call what is censored known"
