"""The demo's rows say what each daemon is about, also before it answers."""

from __future__ import annotations

from provisioning.testbed.screen import folded, row


def test_a_device_shows_its_counts_summed_over_streams() -> None:
    stream = {"frames": 10, "kept": 7, "deferred": 1, "audited": 1, "dropped": 1}
    status = {"streams": {"a": stream, "b": stream}, "update": {"release": 2}, "spool": {"cases": 3}, "link": {"connected": True}}
    assert row("edge-1.region-1", status) == ["edge-1.region-1", "2", "20", "14", "2", "2", "2", "3", "up"]


def test_a_region_shows_cases_and_the_cloud_its_last_round() -> None:
    assert "5 stored" in row("region-1", {"cases_stored": 5, "cases_answered": 4, "expert_release": 1})
    assert "round 3: done" in row("cloud", {"rounds": [{"number": 3, "state": "done"}]})
    assert "no round yet" in row("cloud", {"rounds": [], "fleet": "demo"})


def test_a_daemon_that_does_not_answer_yet_is_starting() -> None:
    assert "starting" in row("cloud", {})


def test_words_are_folded_and_links_are_not_broken() -> None:
    link = "https://localhost:35005/welcome#code=" + "x" * 60
    assert folded(f"dashboard: {link}") == ["dashboard:", link]
    assert all(len(line) <= 76 for line in folded("word " * 60))
