"""Reports of regions that were not updated yet are still read, and what was appended is bounded."""

from __future__ import annotations

import pytest

from shared.errors import ProtocolError
from shared.wire.reports import (
    MOST_AUDITED_RELEASES,
    DeviceSummary,
    DriftState,
    EvaluationReply,
    FleetReport,
    ReleaseAudit,
    decode_report,
    encode_report,
)

OLD_FLEET = (
    b'{"kind":"fleet","at":1.0,"cases_stored":9,"cases_answered":9,"cases_train":7,"cases_evaluation":2,"expert_release":2,"devices":'
    b'[{"name":"edge-1","seen_at":1.0,"release":3,"update_state":"committed","update_reason":"","frames":9,"kept":7,"deferred":1,'
    b'"audited":1,"dropped":0,"committed":[3]}]}'
)
OLD_COUNTS = b'{"cases":[1],"right":[1],"bin_cases":[1],"bin_wrong":[0],"unit_cases":[1],"unit_right":[1]}'
OLD_EVALUATION = b'{"kind":"evaluated","task":"t","edges":[],"candidate":' + OLD_COUNTS + b',"current":' + OLD_COUNTS + b"}"


def test_a_report_without_the_later_fields_is_read() -> None:
    fleet = decode_report(OLD_FLEET)
    assert isinstance(fleet, FleetReport)
    assert (fleet.drift, fleet.people_url, fleet.devices[0].audits) == (DriftState(), "", ())
    evaluation = decode_report(OLD_EVALUATION)
    assert isinstance(evaluation, EvaluationReply)
    assert evaluation.human_candidate is None


def test_the_later_fields_come_back_as_they_were_sent() -> None:
    audit = ReleaseAudit(release=3, audited=40, agreed=30, kept=30, kept_wrong=5)
    device = DeviceSummary(name="edge-1", seen_at=1.0, audits=(audit,), bytes_received=7, connected=True)
    drift = DriftState(alarm=True, since=5.0, audited=50, disagreement=0.4, reference=0.05, evidence=1e4, cases_since=12)
    report = FleetReport(
        at=1.0, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0, devices=(device,), drift=drift, cases_human=3
    )
    assert decode_report(encode_report(report)) == report


def test_what_was_appended_is_bounded() -> None:
    audit = ReleaseAudit(release=3, audited=0, agreed=0, kept=0, kept_wrong=0)
    device = DeviceSummary(name="edge-1", seen_at=1.0, audits=(audit,) * (MOST_AUDITED_RELEASES + 1))
    report = FleetReport(at=1.0, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0, devices=(device,))
    with pytest.raises(ProtocolError, match="length"):
        decode_report(encode_report(report))
    with pytest.raises(ProtocolError, match="disagreement"):
        decode_report(OLD_FLEET[:-1] + b',"drift":{"disagreement":1.5}}')
