"""Live agreement in the vault: each answered audit sample counts once, whatever is answered again or restarted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from region.agreement import Agreement
from region.config import DriftSettings
from region.orders import AGAIN_S, Orders
from region.summary import compose
from region.vault import Incoming, Vault
from region.watch import Rules, judge, rules_of
from shared.errors import ConfigurationError
from shared.wire.messages import Case, Prediction, encode
from shared.wire.reports import ReleaseAudit, decode_report, encode_report

from .region_parts import a_case

SURE, OTHER = Prediction(index=0, probabilities=(0.9, 0.1)), Prediction(index=1, probabilities=(0.2, 0.8))


def opened(folder: Path) -> Vault:
    vault = Vault(folder / "vault.db")
    vault.start()
    return vault


def put(vault: Vault, number: int, *, score: float = 0.9, unit: str = "", release: int = 3) -> tuple[int, Case]:
    case = msgspec.structs.replace(a_case(number, is_audit=True), score=score, release=release)
    case = msgspec.structs.replace(case, unit=unit or case.unit)
    item = Incoming(device="edge-1", spool=b"s" * 16, sequence=number, payload=encode(case), case=case, received_at=100.0 + number)
    return vault.store([item])[0].id, case


def answer(vault: Vault, agreement: Agreement, case: tuple[int, Case], word: Prediction) -> None:
    judged = {case[0]: judge("edge-1", case[1], word)}

    def note(connection: object, fresh: object) -> None:
        agreement.note(connection, [judged[one] for one in fresh], now=150.0)  # type: ignore[arg-type,attr-defined]

    vault.store_answers([(case[0], word)], release=1, now=150.0, note=note)


def test_each_answered_sample_counts_once_and_survives_a_restart(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    agreement = Agreement(vault.database)
    kept_wrong, deferred_wrong, right = put(vault, 1), put(vault, 2, score=0.1), put(vault, 3)
    for case, word in ((kept_wrong, OTHER), (deferred_wrong, OTHER), (right, SURE), (right, OTHER), (kept_wrong, OTHER)):
        answer(vault, agreement, case, word)
    counted = ReleaseAudit(release=3, audited=3, agreed=1, kept=2, kept_wrong=1)
    assert agreement.audits() == {"edge-1": (counted,)}
    assert agreement.drift().audited == 3
    vault.stop()
    vault = opened(tmp_path)
    assert Agreement(vault.database).audits() == {"edge-1": (counted,)}
    vault.stop()


def test_an_alarm_outlives_a_restart_and_counts_what_can_be_learned_from(tmp_path: Path) -> None:
    rules = Rules(reference_samples=20, alpha=0.01)
    vault = opened(tmp_path)
    agreement = Agreement(vault.database, rules)
    for number in range(60):
        answer(vault, agreement, put(vault, number), SURE if number < 30 else OTHER)
    assert agreement.watch().alarm
    vault.stop()
    vault = opened(tmp_path)
    state = Agreement(vault.database, rules).drift()
    assert (state.alarm, state.since) == (True, 150.0)
    for number in range(60, 80):  # received at 160 and later
        answer(vault, agreement := Agreement(vault.database, rules), put(vault, number), OTHER)
    trained = vault.database.rows("SELECT count(*) FROM cases WHERE part = 'train' AND received_at >= 150")[0][0]
    assert agreement.drift().cases_since == trained > 0
    vault.stop()


def test_the_frames_of_one_unit_are_one_sample_for_drift(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    agreement = Agreement(vault.database)
    for number in range(5):
        answer(vault, agreement, put(vault, number, unit="board-1"), OTHER)
    assert (agreement.audits()["edge-1"][0].audited, agreement.drift().audited) == (5, 1)
    vault.stop()


def test_what_a_device_claims_fits_the_vault(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    agreement = Agreement(vault.database)
    for number in range(40):
        answer(vault, agreement, put(vault, number, release=2**63 + number if number % 2 else number), SURE)
    assert len(agreement.audits()["edge-1"]) == 16
    vault.stop()


def test_the_cloud_takes_the_report_whatever_a_device_says() -> None:
    telemetry = {"release": -4, "latency_ms_p50": float("nan"), "spool_cases": -1, "evicted": 2**70, "streams": []}
    audits = [{"release": n, "audited": 2, "agreed": 1, "kept": 1, "kept_wrong": 0} for n in range(16)]
    entry = {"heard_at": 5.0, "bytes_received": 900, "connected_recently": True, "telemetry": telemetry, "audits": audits}
    status = {"devices": {"edge-1": entry}, "drift": {"alarm": True, "since": 3.0, "evidence": 2e4}, "answer_ms_p99": None}
    report = decode_report(encode_report(compose({}, status, now=1.0)))
    device = report.devices[0]  # type: ignore[union-attr]
    assert (device.connected, device.bytes_received, len(device.audits), device.spool_cases) == (True, 900, 16, 0)
    assert report.drift.alarm  # type: ignore[union-attr]


def test_orders_are_said_again_and_ended_once() -> None:
    orders = Orders()
    assert orders.due({"edge-1": 10.0}, "", now=10.0) == []
    orders.told("edge-1", "0.25", now=10.0)
    assert orders.due({"edge-1": 10.0 + AGAIN_S}, "0.25", now=10.0 + AGAIN_S) == ["edge-1"]
    assert orders.due({"edge-1": 10.0}, "0.25", now=60.0) == []  # silent
    assert orders.due({"edge-1": 61.0}, "0.25", now=61.0) == ["edge-1"]  # and back
    orders.told("edge-1", "0.25", now=61.0)
    assert orders.due({"edge-1": 62.0}, "", now=62.0) == ["edge-1"]
    orders.told("edge-1", "", now=62.0)
    assert orders.due({"edge-1": 63.0}, "", now=63.0) == []


@pytest.mark.parametrize(("key", "value"), [("alpha", 0.0), ("slack", 1.5), ("audit_share", -0.1), ("reference_samples", 0)])
def test_a_rule_that_makes_no_test_is_named(key: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"drift.{key}"):
        rules_of(msgspec.structs.replace(DriftSettings(), **{key: value}))
