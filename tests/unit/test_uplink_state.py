"""What the uplink keeps beside the spool: the announcement's serial, the latest reports, and the fetch beside its thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge.fetcher import Fetcher
from edge.reports import MOST_MODELS, Reports
from shared.errors import LinkError, StorageError
from shared.link.serial import SerialFile
from shared.wire.messages import UpdateReport
from tests.waiting import until


def report(model: str, release: int) -> UpdateReport:
    return UpdateReport(at=1.0, model=model, release=release, from_release=1, state="committed", reason="")


def test_the_serial_only_rises_and_survives(tmp_path: Path) -> None:
    serial = SerialFile(tmp_path / "serial")
    assert serial.read() == 0
    serial.write(7)
    serial.write(3)
    again = SerialFile(tmp_path / "serial")
    assert again.read() == 7
    again.write(5)
    assert SerialFile(tmp_path / "serial").read() == 7


def test_a_damaged_serial_stops_the_start_and_is_named(tmp_path: Path) -> None:
    """Going on with 0 would let an old announcement in: a person decides."""
    (tmp_path / "serial").write_text("seven")
    with pytest.raises(StorageError, match="serial"):
        SerialFile(tmp_path / "serial").read()


def test_the_latest_report_of_each_model_is_kept(tmp_path: Path) -> None:
    reports = Reports(tmp_path / "reports")
    reports.start()
    for found in (report("student", 2), report("other", 1), report("student", 3)):
        reports.put(found)
    again = Reports(tmp_path / "reports")
    again.start()
    assert again.all() == [report("other", 1), report("student", 3)]


def test_reports_are_bounded_and_a_damaged_file_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "reports").write_bytes(b"\xff\xff")
    reports = Reports(tmp_path / "reports")
    reports.start()
    assert reports.all() == []
    for number in range(20):
        reports.put(report(f"model-{number}", 1))
    assert [found.model for found in reports.all()] == [f"model-{number}" for number in range(20 - MOST_MODELS, 20)]


def test_reports_that_cannot_be_written_are_still_said(tmp_path: Path) -> None:
    reports = Reports(tmp_path / "missing" / "reports")
    reports.put(report("student", 2))
    assert reports.all() == [report("student", 2)]


def test_one_fetch_runs_at_a_time_and_a_failed_one_is_no_harm() -> None:
    gate, started, got = threading.Event(), [], []

    def fetch() -> bytes:
        started.append(1)
        assert gate.wait(10)
        if len(started) == 1:
            raise LinkError("the relay is away.")
        return b"key"

    fetcher = Fetcher(fetch, got.append)
    fetcher.fetch()
    fetcher.fetch()
    until(lambda: started, "it began")
    gate.set()
    until(lambda: fetcher.fetch() or got, "a later one succeeds")
    assert got[0] == b"key"
