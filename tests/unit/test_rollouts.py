"""Rollouts over a real repository and registry, with a fleet that reports: good releases reach everyone, bad ones only canaries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from cloud.baselines import Baselines, Counts
from cloud.cli import app as commands
from cloud.config import RolloutSection
from cloud.people import people_app
from cloud.rollout_states import Event, State
from shared.access import TokenStore
from shared.errors import FederationError, InputError
from shared.release.desired import wanted
from shared.roles import Role
from shared.wire.reports import ReleaseAudit
from tests.unit import releases
from tests.unit.rollout_parts import DEVICES, SMALL, World
from tests.unit.test_people_api import desk_of
from tests.waiting import until


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def build(**rules: Any) -> World:
        world = World(tmp_path, **rules)
        world.publish()
        world.live()
        made.append(world)
        return world

    yield build
    for world in made:
        world.database.stop()


def test_a_good_release_goes_from_one_device_to_all(make: Callable[..., World]) -> None:
    world = make()
    begun = world.rollouts.begin(2, who="anna", reason="a try")
    model = world.desired()
    assert (model.release, model.previous, model.deltas) == (2, 1, (1,))
    world.live()
    assert len(world.ran[2]) == 1
    done = world.until(State.DONE)
    assert world.ran[2] == set(DEVICES)
    assert (done.share, world.desired().cohort_share) == (1.0, 1.0)
    assert set(done.votes.values()) == {"committed"}
    assert done.evidence.high < 0.3
    states = [change.state for change in world.book.history(begun.id)]
    assert states == ["canary", "widening", "done"]
    assert [entry.who for entry in reversed(world.audit.entries())] == ["anna", "terrace", "terrace"]


def test_a_worse_release_is_halted_while_only_a_canary_had_it(make: Callable[..., World]) -> None:
    world = make()
    world.share[2] = 0.63
    world.rollouts.begin(2, who="anna")
    halted = world.until(State.HALTED)
    assert len(world.ran[2]) == 1
    assert halted.evidence.audits <= 80
    assert "points less often than the release before" in halted.reason
    back = world.desired()
    assert (back.release, back.cohort_share, back.previous) == (1, 1.0, 0)
    world.live()
    assert all(device.release == 1 for _, device in world.fleet.devices())
    with pytest.raises(FederationError, match="halted takes no promote"):
        world.rollouts.act(halted.id, Event.PROMOTE, who="anna")


def test_a_loss_too_small_for_one_device_is_found_across_many(make: Callable[..., World]) -> None:
    fleet = [f"edge-{number}.region-{1 + number % 2}" for number in range(40)]
    world = make(devices=fleet, minimum_devices=10, minimum_regions=2, canary_share=0.25, deadline_s=600.0)
    world.lost = {2: 0.04}
    world.rollouts.begin(2, who="anna")
    halted = world.until(State.HALTED)
    assert len(world.ran[2]) == 10
    assert "10 devices that run both find it to agree 4.0 points less often" in halted.reason
    world.lost = {3: 0.0}
    world.rollouts.begin(3, who="anna")
    assert world.until(State.DONE).evidence.clusters.sound


def test_a_device_that_falls_back_or_says_nothing_halts(make: Callable[..., World]) -> None:
    world = make()
    world.falls_back = {2}
    first = world.rollouts.begin(2, who="anna")
    assert "1 of 1 devices took it back" in world.until(State.HALTED).reason
    world.rollouts.begin(3, who="anna")
    assert world.book.rollout(first.id).state is State.HALTED
    canary = [device for device in DEVICES if (choice := wanted(world.desired(), device)) and choice.release == 3]
    world.silent = set(canary)
    halted = world.until(State.HALTED)
    assert "1 have not committed it in time" in halted.reason
    assert halted.changed_at - halted.started_at > SMALL["deadline_s"]


def test_a_fleet_too_small_asks_and_an_operator_promotes(make: Callable[..., World]) -> None:
    world = make(minimum_devices=5, minimum_regions=2)
    begun = world.rollouts.begin(2, who="anna")
    asking = world.until(State.ASKING)
    assert "going on without an operator takes 5 in 2 regions" in asking.reason
    assert len(world.ran[2]) == 1
    world.rollouts.act(begun.id, Event.PROMOTE, who="bert", reason="looks good")
    assert world.until(State.DONE).share == 1.0
    assert ("bert", "looks good") in [(change.who, change.reason) for change in world.book.history(begun.id)]


def test_a_worse_release_is_halted_also_when_paused_or_promoted_by_mistake(make: Callable[..., World]) -> None:
    world = make(minimum_devices=5)
    world.share[2] = 0.63
    begun = world.rollouts.begin(2, who="anna")
    world.rollouts.act(begun.id, Event.PAUSE, who="anna")
    with pytest.raises(FederationError, match="paused takes no pause"):
        world.rollouts.act(begun.id, Event.PAUSE, who="anna")
    assert world.until(State.HALTED).evidence.worse
    assert world.desired().release == 1


def test_pause_holds_the_share_resume_goes_on_and_abort_takes_back(make: Callable[..., World]) -> None:
    world = make()
    begun = world.rollouts.begin(2, who="anna")
    world.rollouts.act(begun.id, Event.PAUSE, who="anna")
    for _ in range(30):
        world.live()
        world.rollouts.look()
    assert len(world.ran[2]) == 1
    assert world.rollouts.act(begun.id, Event.RESUME, who="anna").state is State.WIDENING
    assert world.until(State.WIDENING).share == 1.0
    world.rollouts.act(begun.id, Event.ABORT, who="anna", reason="second thoughts")
    assert world.desired().release == 1


def test_a_newer_release_takes_the_place_of_one_on_trial(make: Callable[..., World]) -> None:
    world = make()
    first = world.rollouts.begin(2, who="round 1", origin="round 1")
    assert world.rollouts.begin(2, who="round 1", origin="round 1").id == first.id  # a resumed round hands it over again
    second = world.rollouts.begin(3, who="round 2", origin="round 2")
    assert world.book.rollout(first.id).state is State.ABORTED
    assert (world.desired().release, world.desired().previous, second.previous) == (3, 1, 1)
    world.until(State.DONE)
    with pytest.raises(FederationError, match="already"):
        world.rollouts.begin(3, who="anna")
    with pytest.raises(InputError, match="no published release 9"):
        world.rollouts.begin(9, who="anna")
    with pytest.raises(InputError, match="no auto release 2"):
        world.rollouts.begin(2, who="anna", role="auto")


def test_what_was_decided_but_not_published_is_published_after_a_crash(make: Callable[..., World]) -> None:
    world = make()
    begun = world.rollouts.begin(2, who="anna")
    changed = world.book.change(begun.id, Event.HALT, reason="r", who="terrace", now=world.now)  # and then the daemon dies
    assert (world.desired().release, changed.published) == (2, 1)
    again = world.runner()
    again.look()
    version = (world.repository.desired("acme") or releases.desire(world.repository, 1)).version
    assert world.desired().release == 1
    with world.database.transaction() as connection:  # or it dies after publishing, before the mark
        connection.execute("UPDATE rollouts SET published = 1")
    again.look()
    after = world.repository.desired("acme")
    assert after is not None
    assert after.version == version
    assert world.book.pending() == []


KILLED = """
import sys
from pathlib import Path
from cloud.configfile import read
from cloud.fleet import Fleet
from cloud.publish import Repository
from cloud.rollout_book import RolloutBook
from cloud.rollouts import Rollouts
from cloud.tables import open_registry
from shared.audit import AuditLog
settings = read(Path(sys.argv[1]))
database = open_registry(settings)
database.start()
repository = Repository(settings.repository_folder, settings.repository.keys)
rollouts = Rollouts(settings, book=RolloutBook(database), fleet=Fleet(database), repository=repository,
                    audit=AuditLog(settings.audit_path), clock=lambda: float(sys.argv[2]))
rollouts.start()
print("looking", flush=True)
rollouts._thread.join()
"""


def test_a_runner_killed_with_9_in_the_middle_goes_on(make: Callable[..., World]) -> None:
    """The runner is a process here; the registry and the repository are all that is left of it."""
    world = make()

    def started() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(world.root / "cloud.toml"), str(world.now)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "looking\n"
        return process

    def passes(condition: Callable[[], bool]) -> None:
        def lives_on() -> bool:
            world.live(0.0, 2)
            return condition()

        until(lives_on, lambda: str(world.book.rollouts()), within_s=20, every_s=0.05)

    world.rollouts.begin(2, who="anna")
    first = started()
    passes(lambda: world.book.rollouts()[0].evidence.audits > 0)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    world.live(1.0, 40)
    second = started()
    try:
        passes(lambda: world.book.rollouts()[0].state is State.DONE)
    finally:
        second.kill()
        second.wait()
    assert world.ran[2] == set(DEVICES)
    assert [change.state for change in world.book.history(1)] == ["canary", "widening", "done"]


def test_people_see_rollouts_and_only_operators_act(make: Callable[..., World]) -> None:
    world = make()
    tokens = TokenStore(world.root / "tokens.db")
    (world.root / "desk").mkdir()
    desk = desk_of(world.root / "desk", world.database, tokens)
    client = TestClient(people_app(msgspec.structs.replace(desk, rollouts=world.rollouts, book=world.book)))
    viewer = {"Authorization": "Bearer " + tokens.create(Role.VIEWER, "vera")}
    operator = {"Authorization": "Bearer " + tokens.create(Role.OPERATOR, "otto")}
    body = {"model": "student", "release": 2, "role": "manual", "reason": "for the line"}
    assert client.post("/v1/rollouts", json=body, headers=viewer).status_code == 403
    begun = client.post("/v1/rollouts", json=body, headers=operator)
    assert (begun.status_code, begun.json()["state"]) == (201, "canary")
    assert client.post("/v1/rollouts", json={"release": 77}, headers=operator).status_code == 400
    assert client.post("/v1/rollouts/1/pause", json={"reason": "lunch"}, headers=viewer).status_code == 403
    assert client.post("/v1/rollouts/1/pause", json={"reason": "lunch"}, headers=operator).json()["state"] == "paused"
    assert client.post("/v1/rollouts/1/pause", json={"reason": ""}, headers=operator).status_code == 409
    assert client.post("/v1/rollouts/1/resume", headers=operator).json()["state"] == "widening"
    assert client.post("/v1/rollouts/1/sing", json={}, headers=operator).status_code == 400
    assert client.post("/v1/rollouts/8/abort", json={}, headers=operator).status_code == 404
    world.live()
    world.rollouts.look()
    shown = client.get("/v1/rollouts", headers=viewer).json()[0]
    assert [(change["who"], change["reason"]) for change in shown["history"][:2]] == [("otto", "for the line"), ("otto", "lunch")]
    assert set(shown) >= {"id", "model", "release", "previous", "state", "share", "reason", "cohort", "votes", "evidence", "started_at"}
    assert "salt" not in shown
    assert shown["evidence"]["audits"] == 10
    assert client.get("/v1/rollouts/1", headers=viewer).json()["votes"] == {shown["cohort"][0]: "committed"}


def test_the_owner_does_the_same_by_commands(make: Callable[..., World]) -> None:
    world = make()

    def command(*words: str) -> str:
        result = CliRunner().invoke(commands, ["rollout", *words, "--config", str(world.root / "cloud.toml")], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "No rollout yet" in command("list")
    world.live(time.time() - world.now)
    assert '"state": "canary"' in command("start", "2", "--reason", "by hand", "--json")
    assert "paused" in command("pause", "1")
    assert "widening" in command("resume", "1")
    assert "100%" in command("promote", "1")
    assert "aborted" in command("abort", "1", "--reason", "enough")
    assert "enough" in command("show", "1")
    assert msgspec.json.decode(command("list", "--json"))[0]["state"] == "aborted"
    assert world.desired().release == 1


def test_a_release_made_by_hand_is_signed_rolled_out_and_stopped(make: Callable[..., World]) -> None:
    """Act 4 of the demo: a bad release under the approver's key, which nothing but the devices' audit samples can stop."""
    world = make()
    bad = releases.model(5)
    onnx, card = world.root / "bad.onnx", world.root / "bad.card.json"
    onnx.write_bytes(bad)
    card.write_bytes(releases.card(bad, 1, parent=1))

    def command(*words: str) -> Any:
        return CliRunner().invoke(commands, [*words, "--config", str(world.root / "cloud.toml")])

    files = ("release", "add", "--onnx", str(onnx), "--card", str(card))
    assert "published with other content" in str(command(*files).exception)
    assert "nobody signs 'auto' releases by hand" in str(command(*files, "--role", "auto").exception)
    added = command(*files, "--number", "0", "--json")
    assert msgspec.json.decode(added.output)["release"] == 4
    assert world.repository.releases("student")[4] == "manual"
    assert world.desired().release == 1  # nobody runs it yet
    assert world.audit.entries()[0].action == "release.add"
    card.write_bytes(releases.card(bad, 9, labels=("x", "y", "z")))
    assert "its labels are x, y, z" in str(command(*files).exception)
    world.share[4] = 0.5
    world.live(time.time() - world.now)
    assert command("rollout", "start", "4").exit_code == 0
    refused = command("release", "rollout", "2", "--family", "student")
    assert "rollout 1 of student is open" in str(refused.exception)
    assert world.until(State.HALTED).release == 4
    assert len(world.ran[4]) == 1
    assert world.desired().release == 1


def test_a_release_is_compared_with_what_the_one_before_did_lately(make: Callable[..., World]) -> None:
    """Drift has made the old release poor; the new one is better than that, and worse than what the old one was long ago."""
    world = make(baseline_audits=100)
    for device in DEVICES:
        world.counts[device, 1] = [2000, 1900]
    world.live(audits=0)
    world.rollouts.look()
    for _ in range(12):
        for device in DEVICES:
            count = world.counts[device, 1]
            count[0], count[1] = count[0] + 12, count[1] + 7
        world.share[1] = world.counts[DEVICES[0], 1][1] / world.counts[DEVICES[0], 1][0]
        world.live(audits=0)
        world.rollouts.look()
    world.share[2] = 0.75
    world.rollouts.begin(2, who="anna")
    done = world.until(State.DONE, State.HALTED)
    assert done.state is State.DONE, done.reason
    assert done.evidence.loss < -0.1


def test_counts_that_start_anew_and_marks_out_of_reach_are_forgotten(make: Callable[..., World]) -> None:
    world = make()
    baselines = Baselines(world.database, most=100)

    def seen(audited: int, agreed: int) -> Counts:
        audit = ReleaseAudit(release=1, audited=audited, agreed=agreed, kept=0, kept_wrong=0)
        baselines.note("a.b", [audit])
        return baselines.recent("a.b", audit)

    assert seen(30, 30) == Counts(audited=30, agreed=30)
    for audited in range(60, 1000, 20):
        found = seen(audited, 30)
    assert (found.agreed, 100 <= found.audited < 160) == (0, True)
    assert len(world.database.rows("SELECT * FROM audit_marks WHERE device = 'a.b'")) <= 5
    assert seen(10, 9) == Counts(audited=10, agreed=9)
    assert Baselines(world.database, most=100).recent("a.b", None) == Counts()


def test_the_defaults_are_those_of_the_trust_page() -> None:
    rules = RolloutSection()
    assert (rules.minimum_devices, rules.minimum_regions, rules.false_stop) == (5, 2, 0.01)
