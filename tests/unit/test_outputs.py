"""The event file put aside at its size, and outputs as a user names them in edge.toml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.config import EdgeSettings, MqttOutputSettings, OutputSettings, WebhookOutputSettings
from edge.metrics import text
from edge.outletparts import outlets
from edge.outputs import EventFile, FanOut, event_files
from shared.errors import ConfigurationError
from shared.link.proxy import NO_PROXY
from shared.section import parse
from tests.unit.test_outlets import ALL, ListSink, Outlet, event
from tests.unit.test_spool_memory import can_mount
from tests.waiting import until

TEXT = """
name = "edge-1"
region = "north"
fleet = "acme"
state = "state"
[identity]
folder = "identity"
[link]
host = "x"
port = 1
relay_url = "https://x"
[outputs]
file = "events.jsonl"
[[streams]]
name = "line-1"
kind = "folder"
path = "."
"""


def written(path: Path) -> list[int]:
    return [json.loads(line)["sequence"] for one in event_files(path) for line in one.read_bytes().splitlines()]


def put_all(output: EventFile, numbers: range) -> None:
    for number in numbers:  # one at a time, so that every one is a write of its own
        output.put(event(number))
        until(lambda number=number: output.written + output.lost > number, output.failing)


def test_the_file_is_put_aside_at_its_size_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    output = EventFile(path, rotate_bytes=1000, keep=2)
    output.start()
    put_all(output, range(40))
    output.stop()
    found = written(path)
    assert found == list(range(found[0], 40))
    assert [one.name for one in event_files(path)] == ["events.jsonl.2", "events.jsonl.1", "events.jsonl"]
    assert all(one.stat().st_size < 1500 for one in event_files(path))
    assert output.lost == 0


def test_a_file_that_cannot_be_opened_again_costs_events_but_none_that_were_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    output = EventFile(path, rotate_bytes=1000, keep=3)
    output.start()
    put_all(output, range(4))

    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(output, "_open", fail)
    monkeypatch.setattr(output, "_size", 1000)
    put_all(output, range(4, 10))
    assert (output.lost, output.failing) == (6, "[Errno 24] Too many open files")
    monkeypatch.undo()
    put_all(output, range(10, 12))
    output.stop()
    assert output.failing == ""
    assert written(path) == [0, 1, 2, 3, 10, 11]
    assert [one.name for one in event_files(path)] == ["events.jsonl.1", "events.jsonl"]


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs root, or unshare is missing")
def test_what_a_full_disk_tears_costs_that_event_and_none_after_it(tmp_path: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.unit.output_scenes", str(tmp_path)]
    played = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert played.returncode == 0, played.stderr[-2000:]


def test_an_event_that_cannot_be_written_down_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    output = EventFile(path)
    output.start()
    output.put(msgspec.structs.replace(event(0), unit="\udcff"))
    output.put(event(1))
    until(lambda: output.written == 1)
    output.stop()
    assert (output.lost, written(path)) == (1, [1])


def test_a_dead_output_costs_the_others_nothing() -> None:
    dead, well = ListSink(), ListSink()
    dead.gate.clear()
    first, second = Outlet("dead", dead, ALL), Outlet("well", well, ALL)
    first.start(), second.start()
    fan = FanOut([first, second])
    for number in range(50):
        fan.put(event(number))
    until(lambda: len(well.got) == 50)
    until(lambda: second.status()["delivered"] == 50)
    page = text({"outputs": {"dead": first.status(), "well": second.status()}})
    assert 'terrace_edge_output_delivered_total{output="well"} 50' in page
    assert 'terrace_edge_output_waiting{output="dead"} 50' in page
    first.stop(), second.stop()


def test_outputs_stand_in_edge_toml() -> None:
    more = '[[outputs.mqtt]]\nname = "plc"\nhost = "h"\nport = 1883\ntls = false\n[[outputs.webhook]]\nname = "mes"\nurl = "https://h/x"\n'
    settings = parse(TEXT.replace("[[streams]]", f"{more}[[streams]]"), EdgeSettings, environment={})
    made = outlets(settings, NO_PROXY)
    assert [(one.name, one.status()["kind"], one.status()["target"]) for one in made] == [
        ("plc", "mqtt", "h:1883 terrace/{device}/{stream}"),
        ("mes", "webhook", "https://h:443"),
    ]
    for one in made:
        one.check()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"name": "a", "host": "h", "port": 1}, {"name": "a", "host": "h", "port": 2}], "two outputs"),
        ([{"name": "a", "host": "h", "port": 1, "streams": ("gone",)}], "gone"),
        ([{"name": "a", "url": "http://h"}], "https"),
    ],
)
def test_outputs_that_cannot_be_meant_stop_the_start(given: list[dict[str, Any]], says: str) -> None:
    settings = parse(TEXT, EdgeSettings, environment={})
    brokers = tuple(MqttOutputSettings(**one) for one in given if "host" in one)
    hooks = tuple(WebhookOutputSettings(**one) for one in given if "url" in one)
    settings = msgspec.structs.replace(settings, outputs=OutputSettings(file=Path("f"), mqtt=brokers, webhook=hooks))
    with pytest.raises(ConfigurationError, match=says):
        outlets(settings, NO_PROXY)
