"""What a device tells Prometheus: read back by Prometheus's own parser, served by a real agent, and nothing but that."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from edge import metrics
from edge.metricsport import MetricsPort
from shared import exposition
from shared.errors import LinkError
from shared.exposition import Figure
from tests.brokers import free_port
from tests.unit.test_edge_agent import Site
from tests.waiting import until


def samples(page: str) -> dict[tuple[str, str], float]:
    """Every sample by name and label value."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@given(st.dictionaries(st.text(max_size=12), st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9), max_size=5))
def test_whatever_a_reason_is_called_prometheus_reads_it_back(dropped: dict[str, float]) -> None:
    figure = Figure(name="dropped_total", help="By reason.", path=("link", "dropped"), label="reason")
    found = samples(exposition.text("edge", [figure], {"link": {"dropped": dropped}}))
    assert {label: value for (_, label), value in found.items()} == pytest.approx(dropped)


def test_what_the_status_does_not_hold_is_left_out() -> None:
    status: dict[str, Any] = {"link": {"connected": True, "credit_left": None, "dropped": "?"}, "streams": {"a": {"frames": 7}, "b": {}}}
    assert samples(metrics.text(status)) == {("terrace_edge_link_connected", ""): 1.0, ("terrace_edge_frames_total", "a"): 7.0}
    assert samples(metrics.text({})) == {}


def test_no_name_stands_twice() -> None:
    names = [figure.name for figure in metrics.FIGURES]
    assert len(names) == len(set(names))


def test_a_port_that_is_taken_is_named() -> None:
    first = MetricsPort(0, dict)
    first.start()
    with pytest.raises(LinkError, match=r"metrics\.port"):
        MetricsPort(first.port, dict).start()
    assert fetch(first.port, "/healthz") == (200, "alive\n")
    assert fetch(first.port, "/status")[0] == 404
    first.stop()


def test_an_agent_that_is_asked_to_tells_every_figure_of_its_status(tmp_path: Path) -> None:
    site, port = Site(tmp_path), free_port()
    site.config.write_text(site.config.read_text() + f"[metrics]\nport = {port}\n")
    process = site.run()
    try:
        until(lambda: len(site.events()) > 20, within_s=20)
        found = samples(fetch(port, "/metrics")[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    finally:
        process.kill()
        process.wait()
    told = {name.removeprefix("terrace_edge_") for name, _ in found}
    later = {"link_heard_s_ago", "link_credit_left", "link_dropped_total"}  # once there was a region
    later |= {"live_epsilon", "budget_bytes_per_s", "budget_left_bytes"}  # where a threshold follows, where there is a budget
    later |= {"governor_headroom_c", "governor_lag"}  # where they can be read
    later |= {figure.name for figure in metrics.FIGURES if figure.path[0] == "outputs"}  # where there are further outputs
    assert {figure.name for figure in metrics.FIGURES} - told <= later
    assert found["terrace_edge_frames_total", "line-1"] > 20
    assert found["terrace_edge_link_connected", ""] == 0
